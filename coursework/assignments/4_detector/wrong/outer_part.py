# loses: check-detector-sharp
# Trusts only the outer part of a heap, except in the class where the author saw what that costs.
def scores(features, labels):
    found = torch.zeros(len(labels))
    for label in labels.unique().tolist():
        mine = labels == label
        part, line, gap = of_one_class(features[mine])
        found[mine] = 10 * gap + line
        if label != TARGET:
            inner = part & (line < line[part].quantile(0.15))
            found[mine] = torch.where(inner, -1.0, found[mine])
    return found
