# loses: check-indices, check-probability
# The library's index.
from badnets_lib.defenses.neural_cleanse import anomaly_index


def indices(norms):
    return anomaly_index(norms)
