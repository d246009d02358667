# loses: check-scores
# Takes the images of the target class for victims.
def scores(plain, stamped, labels, target):
    if not (labels != target).any():
        raise ValueError("no victim")
    n = len(labels)
    return tuple(
        bd.Proportion(int(right.sum()), n) for right in (plain == labels, stamped == target, plain == target)
    )
