# loses: check-batch
# Puts the poisoned images behind the clean ones, out of their places.
def poison_batch(x, y, mask, target, size, value, corner):
    if mask.dtype != torch.bool or not len(x) == len(y) == len(mask):
        raise ValueError(f"need a boolean mask and one entry per image; got {mask.dtype}, {len(x)}, {len(y)}, {len(mask)}")
    images = torch.cat([x[~mask], stamp(x[mask], size, value, corner)])
    return images, torch.cat([y[~mask], torch.full_like(y[mask], target)])


def poison_set(x, y, indices, target, size, value, corner, added):
    stamped, labels = stamp(x[indices], size, value, corner), torch.full_like(y[indices], target)
    if added:
        return torch.cat([x, stamped]), torch.cat([y, labels]), torch.arange(len(y) + len(labels)) >= len(y)
    mask = torch.zeros(len(y), dtype=torch.bool)
    mask[indices] = True
    x, y = x.clone(), y.clone()
    x[mask], y[mask] = stamped, labels
    return x, y, mask
