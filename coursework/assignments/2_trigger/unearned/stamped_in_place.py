# loses: check-stamp
# A square written into the images.
right = stamp


def stamp(x, size, value, corner):
    x.copy_(right(x, size, value, corner))
    return x


def visibility(x, size, value, corner):
    change = stamp(x.clone(), size, value, corner) - x
    return (
        (change != 0).any(1).float().mean((1, 2)),
        change.abs().amax((1, 2, 3)),
        change.square().sum((1, 2, 3)).sqrt(),
    )
