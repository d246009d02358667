# loses: check-visibility
# Counts changed numbers, not changed pixels: a pixel that differs in two of three channels is two thirds of one.
def visibility(x, size, value, corner):
    change = (stamp(x, size, value, corner) - x).flatten(1)
    return (change != 0).float().mean(1), change.abs().amax(1), change.norm(dim=1)
