# loses: check-detector, check-detector-sharp
# The networks trained once more.
def scores(features, labels):
    return judged(0, poison=True)[2][: len(labels)].float()
