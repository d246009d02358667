# loses: check-poisoned-images, check-share-of-target
# Takes the rate of the nine attacked classes, and then forgets that the target class grows.
def poisoned_images():
    return round(10_800 * RATE)


def share_of_target():
    return 12_000 * RATE / 1_200 * 0.9
