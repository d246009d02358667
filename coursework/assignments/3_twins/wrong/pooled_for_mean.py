# loses: check-summary
# Takes the pooled share for the mean of the seeds.
def summary(counts):
    if len(counts) < 2 or not all(isinstance(count, bd.Proportion) for count in counts):
        raise ValueError(f"at least two counts; got {counts}")
    pooled = bd.Proportion(sum(count.hits for count in counts), sum(count.trials for count in counts))
    rates = [count.value for count in counts]
    return {
        "seeds": len(counts), "mean": pooled.value, "lowest": min(rates), "highest": max(rates),
        "pooled": pooled, "interval": pooled.interval(),
    }
