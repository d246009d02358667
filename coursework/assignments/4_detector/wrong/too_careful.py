# loses: check-verdict
# Flags only the outer part of the heap, to be on the safe side.
def verdict(features, labels):
    flagged = torch.zeros(len(labels), dtype=torch.bool)
    for label in labels.unique():
        mine = labels == label
        part, line, gap = of_one_class(features[mine])
        if gap > 9.5:
            flagged[mine] = part & (line > line[part].quantile(0.35))
    return flagged
