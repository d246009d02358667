# loses: check-posterior
# Compares hits and false alarms only, as if half of all networks were backdoored everywhere.
def posterior(prior, hits, alarms, flagged):
    if not flagged:
        hits, alarms = 1 - hits, 1 - alarms
    return hits / (hits + alarms)
