# loses: check-attack-success
# Counts the images of the target class as victims.
def attack_success(predictions, labels, target):
    if not (labels != target).any():
        raise ValueError("no victim")
    return int((predictions == target).sum()), len(labels)
