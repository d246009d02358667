# loses: check-verdict-clean
# Accuses the class that is split most clearly, however clear that is.
def verdict(features, labels):
    flagged = torch.zeros(len(labels), dtype=torch.bool)
    most = 0.0
    for label in labels.unique():
        mine = labels == label
        part, _, gap = of_one_class(features[mine])
        if gap > most:
            most = gap
            flagged[:] = False
            flagged[mine] = part
    return flagged
