# loses: check-batch, check-set
# Labels written into the batch.
def poison_batch(x, y, mask, target, size, value, corner):
    if mask.dtype != torch.bool or not len(x) == len(y) == len(mask):
        raise ValueError(f"{mask.dtype}, {len(mask)}")
    y[mask] = target
    return torch.where(mask[:, None, None, None], stamp(x, size, value, corner), x), y
