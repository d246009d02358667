# loses: check-precision-at-recall
# Takes images one by one, so images with equal scores are told apart by where they stand.
def precision_at_recall(scores, poisoned, recall):
    total = int(poisoned.sum())
    if total == 0:
        raise ValueError("no poison")
    hits = poisoned[scores.argsort(descending=True, stable=True)].cumsum(0)
    flagged = int((hits < recall * total).sum()) + 1
    return int(hits[flagged - 1]), flagged
