# loses: check-detector, check-detector-sharp
# A newer finished filter.
import badnets_lib.defenses as d


def scores(features, labels):
    return d.Spectre().judge(features, labels).scores
