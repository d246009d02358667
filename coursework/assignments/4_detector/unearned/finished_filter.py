# loses: check-detector, check-detector-sharp
# A finished filter.
import badnets_lib.defenses as d


def scores(features, labels):
    return d.ActivationClustering().judge(features, labels).scores
