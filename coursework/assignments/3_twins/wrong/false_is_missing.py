# loses: check-findings
# Takes every value that counts as false in Python, such as False itself, for missing.
def findings(report):
    return [name for name in ITEMS if gone(name, report.get(name))]


def gone(name, value):
    if name in BY_SEED:
        return not isinstance(value, list) or not all(isinstance(count, bd.Proportion) for count in value or [None])
    if name == "fraction":
        return not isinstance(value, bd.Proportion)
    return not (value.strip() if isinstance(value, str) else value)
