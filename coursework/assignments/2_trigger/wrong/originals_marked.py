# loses: check-set
# Marks the clean originals of added copies, and leaves the copies the labels of their originals.
def poison_set(x, y, indices, target, size, value, corner, added):
    mask = torch.zeros(len(x), dtype=torch.bool)
    mask[indices] = True
    if added:
        copies = stamp(x[mask], size, value, corner)
        return torch.cat([x, copies]), torch.cat([y, y[mask]]), torch.cat([mask, torch.zeros(len(copies), dtype=torch.bool)])
    return *poison_batch(x, y, mask, target, size, value, corner), mask
