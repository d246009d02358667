# loses: check-precision-recall
# A share without a denominator becomes (0, 0), as if it were a count.
def precision_recall(flagged, poisoned):
    hits = int((flagged & poisoned).sum())
    return (hits, int(flagged.sum())), (hits, int(poisoned.sum()))
