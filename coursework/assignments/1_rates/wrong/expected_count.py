# loses: check-clean-batches, check-success-by-hand
# Answers with the expected number of poisoned images a batch, as a share, and counts all ten classes.
def clean_batches():
    return 1 - RATE


def success_by_hand():
    return sum(hits for _, hits in TABLE.values()) / 1_000
