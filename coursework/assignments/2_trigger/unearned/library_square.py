# loses: check-stamp, check-stamp-refuses, check-visibility, check-batch, check-set
# The library's square.
def stamp(x, size, value, corner):
    return bd.Patch(size=size, corner=corner, value=value)(x)
