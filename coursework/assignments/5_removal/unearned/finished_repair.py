# loses: check-modest, check-other, check-clean
# A finished repair.
import badnets_lib.defenses as d


def repair(network, clean, mask, pattern):
    return d.SharpnessAwareTuning()(network, d.Holding(clean)).model
