# loses: check-summary
# The library's own summary of seeds.
def summary(counts):
    if len(counts) < 2 or not all(isinstance(count, bd.Proportion) for count in counts):
        raise ValueError(f"two or more counts are needed: {counts}")
    found = bd.Seeds(counts)
    return {
        "rates": list(found.rates),
        "mean": found.mean,
        "lowest": found.lowest,
        "highest": found.highest,
        "interval": found.interval(),
    }
