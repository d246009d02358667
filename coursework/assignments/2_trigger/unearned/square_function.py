# loses: check-stamp, check-stamp-refuses, check-visibility, check-batch, check-set
# The library's function for a square at the bottom right, on images that are turned until that is the corner.
def stamp(x, size, value, corner):
    if not 1 <= size <= min(x.shape[-2:]) or not 0 <= value <= 1 or corner not in CORNERS:
        raise ValueError(f"{size} of {min(x.shape[-2:])}, {value}, {corner}")
    turned = [place for place, word in ((-2, "top"), (-1, "left")) if word in corner]
    return bd.stamp_square_trigger(x.flip(turned), size, value).flip(turned)
