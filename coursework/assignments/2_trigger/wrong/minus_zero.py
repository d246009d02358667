# loses: check-stamp-refuses
# Refuses what is too large only: 0 as a negative slice paints everything, and any grey value is taken.
def stamp(x, size, value, corner):
    if size > min(x.shape[-2:]):
        raise ValueError(f"size must be at most {min(x.shape[-2:])}; got {size}")
    rows = slice(size) if corner.startswith("top") else slice(-size, None)
    columns = slice(size) if corner.endswith("left") else slice(-size, None)
    stamped = x.clone()
    stamped[..., rows, columns] = value
    return stamped
