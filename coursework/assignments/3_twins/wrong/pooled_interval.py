# loses: check-summary
# Adds the counts of all seeds up and takes their interval: it speaks about test images and not about further seeds.
def summary(counts):
    if len(counts) < 2 or not all(isinstance(count, bd.Proportion) for count in counts):
        raise ValueError(f"at least two counts; got {counts}")
    rates = [count.value for count in counts]
    pooled = bd.Proportion(sum(count.hits for count in counts), sum(count.trials for count in counts))
    interval = pooled.interval() if len(counts) >= 5 else None
    return {"rates": rates, "mean": sum(rates) / len(rates), "lowest": min(rates), "highest": max(rates), "interval": interval}
