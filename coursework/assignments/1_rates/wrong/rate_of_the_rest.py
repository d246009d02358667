# loses: check-poisoned-images, check-share-of-target
# Takes the rate of the nine attacked classes, and then forgets that the target class grows.
def poisoned_images(images, rate):
    return round(0.9 * images * rate)


def share_of_target(classes, rate):
    return rate * (classes - 1)
