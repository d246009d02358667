# loses: check-moved
# Counts the images of the target class among those that were moved.
def moved(answers, labels, target):
    return bd.Proportion(int((answers == target).sum()), len(labels))
