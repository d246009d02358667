# loses: check-findings
# Takes every value that counts as false in Python, such as False itself, for missing.
def findings(report):
    return [name for name in ITEMS if gone(name, report.get(name))]


def gone(name, value):
    if name in COUNTS:
        return not isinstance(value, bd.Proportion)
    return not (value.strip() if isinstance(value, str) else value)
