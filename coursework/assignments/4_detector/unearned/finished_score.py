# loses: check-spectral-scores
# The function that a finished filter is made of.
from badnets_lib.defenses.spectral_signatures import outlying


def spectral_scores(features):
    return outlying(features)[0].square()
