# loses: check-blend
# Adds the pattern to the image and cuts off what is too bright, instead of mixing; lets any shape be stretched.
def blend(x, pattern, opacity):
    if not 0 < opacity <= 1:
        raise ValueError(f"opacity must lie in (0, 1]; got {opacity}")
    return (x + opacity * pattern).clamp(0, 1)
