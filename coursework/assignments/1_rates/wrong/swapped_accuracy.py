# loses: check-clean-accuracy
# Counts the errors' complement only for three classes: right on the example, wrong in general.
def clean_accuracy(predictions, labels):
    return len(labels) - int((predictions > labels).sum() + (predictions < labels).sum() > 0) * (len(labels) // 3), len(labels)
