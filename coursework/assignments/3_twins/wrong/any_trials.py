# loses: check-report-refuses
# Counts the seeds and asks for counts, but never looks over which images they were taken.
def fill_report(plan, classes, labels, words, backdoored, twin):
    if len(backdoored) < 2 or len(backdoored) != len(twin):
        raise ValueError("at least two seeds, as many for both")
    if not all(isinstance(count, bd.Proportion) for card in (*backdoored, *twin) for count in card):
        raise ValueError("counts are needed, not rates")
    ours, theirs = summed(backdoored), summed(twin)
    return read_plan(plan, classes) | {name: words[name] for name in WORDS} | {
        "clean accuracy": ours[0], "success": ours[1], "false target": ours[2],
        "clean accuracy, twin": theirs[0], "success, twin": theirs[1], "false target, twin": theirs[2],
        "success by seed": [card[1] for card in backdoored],
    }
