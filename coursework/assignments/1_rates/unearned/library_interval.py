# loses: check-interval
# The library's interval.
import badnets_lib as bd


def interval(hits, trials):
    return bd.Proportion(hits, trials).interval()
