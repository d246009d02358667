# loses: check-stamp
# Adds the trigger to the image instead of putting it in the image's place.
def stamp(x, mask, pattern):
    return (x + mask * pattern).clamp(max=1)
