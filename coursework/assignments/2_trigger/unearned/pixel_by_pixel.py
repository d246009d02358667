# loses: check-stamp, check-stamp-refuses, check-visibility, check-batch, check-set
# Another trigger of the library, that paints single pixels.
def stamp(x, size, value, corner):
    if not 1 <= size <= min(x.shape[-2:]) or not 0 <= value <= 1 or corner not in CORNERS:
        raise ValueError(f"{size} of {min(x.shape[-2:])}, {value}, {corner}")
    rows, columns = (range(size) if word in corner else range(-size, 0) for word in ("top", "left"))
    return bd.Pixels(tuple((row, column) for row in rows for column in columns), value)(x)
