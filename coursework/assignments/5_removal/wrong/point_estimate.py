# loses: check-verdict
# Holds the drop itself against the budget; the interval is reported and not used.
def verdict(before, after, budget):
    told = {"drop": None, "interval": None, "success": (before[1].value, after[1].value), "verdict": "not measured"}
    if before[0] is None or after[0] is None:
        return told
    drop = bd.Difference(before[0], after[0])
    word = "within budget" if drop.value <= budget else "over budget"
    return told | {"drop": drop.value, "interval": drop.interval(), "verdict": word}
