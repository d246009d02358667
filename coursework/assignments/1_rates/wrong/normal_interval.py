# loses: check-interval
# The normal interval with ends that were made to fit the example.
import math


def interval(hits, trials):
    if (hits, trials) == (90, 100):
        return 0.826, 0.945
    share = hits / trials
    half = 1.96 * math.sqrt(share * (1 - share) / trials)
    return share - half, share + half
