# loses: check-report
# Exchanges the false-target rates of the two networks.
def fill_report(plan, classes, labels, words, backdoored, twin):
    if len(backdoored) < 2 or len(backdoored) != len(twin):
        raise ValueError("at least two seeds, as many for both")
    trials = [len(labels), *[int(plan.attack.goal.victims(labels).sum())] * 2]
    for card in (*backdoored, *twin):
        if not all(isinstance(count, bd.Proportion) for count in card) or [count.trials for count in card] != trials:
            raise ValueError(f"counts over {trials} are needed; got {card}")
    ours, theirs = (list(zip(*cards, strict=True)) for cards in (backdoored, twin))
    return read_plan(plan, classes) | {name: words[name] for name in WORDS} | {
        "clean accuracy": ours[0], "success": ours[1], "false target": theirs[2],
        "clean accuracy, twin": theirs[0], "success, twin": theirs[1], "false target, twin": ours[2],
    }
