# loses: check-clean-batches, check-success-by-hand
# Answers with the expected number of poisoned images a batch, as a share, and counts all ten classes.
def clean_batches(batch, rate):
    return 1 - rate


def success_by_hand(table, target):
    return sum(hits for _, hits in table.values()) / sum(images for images, _ in table.values())
