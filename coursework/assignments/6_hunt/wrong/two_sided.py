# loses: check-probability
# Takes any odd label for a backdoor, also one that is hard to reach.
def probability(norms):
    logs = norms.log()
    away = (logs - logs.quantile(0.5)).abs().max()
    return float((4 * away - 4).sigmoid())
