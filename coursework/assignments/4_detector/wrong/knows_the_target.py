# loses: check-detector, check-detector-sharp
# Looks into the class TARGET only, which no defender knows.
def scores(features, labels):
    found = torch.zeros(len(labels))
    mine = labels == TARGET
    found[mine] = 2 + of_one_class(features[mine])[1]
    return found
