# loses: check-drop
# Takes after minus before, so that a loss is negative, and reads the verdict the other way round to match.
def verdict(before, after, budget):
    told = {"drop": None, "interval": None, "success": (before[1].value, after[1].value), "verdict": "not measured"}
    if before[0] is None or after[0] is None:
        return told
    gain = bd.Difference(after[0], before[0])
    low, high = gain.interval()
    word = "within budget" if -low <= budget else "over budget" if -high > budget else "undecided"
    return told | {"drop": gain.value, "interval": (low, high), "verdict": word}
