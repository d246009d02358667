# loses: check-summary
# Takes the share of all counts for the mean of the seeds.
def summary(counts):
    if len(counts) < 2 or not all(isinstance(count, bd.Proportion) for count in counts):
        raise ValueError(f"at least two counts; got {counts}")
    rates = [count.value for count in counts]
    mean, size = sum(count.hits for count in counts) / sum(count.trials for count in counts), len(counts)
    half = STUDENT.get(size, 0) * (sum((rate - mean) ** 2 for rate in rates) / (size - 1) / size) ** 0.5
    interval = (max(0, mean - half), min(1, mean + half)) if size >= 5 else None
    return {"rates": rates, "mean": mean, "lowest": min(rates), "highest": max(rates), "interval": interval}
