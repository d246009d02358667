# loses: check-activity, check-prune-within
# The features that the library's filters look at.
from badnets_lib.defenses.features import features_of


def activity(network, x):
    return features_of(network, x, "relu2").view(len(x), network.conv2.out_channels, -1).mean((0, 2))
