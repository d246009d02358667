# loses: check-verdict
# Flags only the outer part of the heap, to be on the safe side.
def verdict(features, labels):
    flagged = torch.zeros(len(labels), dtype=torch.bool)
    clearest = 0.0
    for label in labels.unique():
        mine = labels == label
        part, line, gap = of_one_class(features[mine])
        if gap > clearest and part.float().mean() < 1 / 3:
            clearest, flagged = gap, torch.zeros_like(flagged)
            flagged[mine] = part & (line > line[part].quantile(0.35))
    return flagged
