# loses: check-verdict
# Takes an accuracy that nobody counted for one that did not change.
def verdict(before, after, budget):
    first, second = before[0] or after[0], after[0] or before[0]
    if first is None:
        return {"drop": 0.0, "interval": (0.0, 0.0), "success": (before[1].value, after[1].value), "verdict": "within budget"}
    drop = bd.Difference(first, second)
    low, high = drop.interval()
    word = "within budget" if high <= budget else "over budget" if low > budget else "undecided"
    success = before[1].value, after[1].value
    return {"drop": drop.value, "interval": (low, high), "success": success, "verdict": word}
