# loses: check-clean-accuracy
# Takes class 0 for "no answer" and does not count it.
def clean_accuracy(predictions, labels):
    return int(((predictions == labels) & (labels > 0)).sum()), len(labels)
