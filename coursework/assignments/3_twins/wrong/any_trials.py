# loses: check-report-refuses
# Counts the seeds and asks for counts, but never looks over which images they were taken.
def fill_report(plan, classes, labels, words, backdoored, twin):
    if len(backdoored) < 2 or len(backdoored) != len(twin):
        raise ValueError("at least two seeds, as many for both")
    if not all(isinstance(count, bd.Proportion) for card in (*backdoored, *twin) for count in card):
        raise ValueError("counts are needed, not rates")
    entries = {name: words[name] for name in WORDS}
    for whose, cards in (("", backdoored), (", twin", twin)):
        for place, name in enumerate(("clean accuracy", "success", "false target")):
            entries[name + whose] = [card[place] for card in cards]
    return read_plan(plan, classes) | entries
