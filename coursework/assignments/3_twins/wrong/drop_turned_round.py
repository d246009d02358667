# loses: check-differences
# Takes all differences the same way round, so that lost accuracy comes out negative.
def differences(backdoored, clean):
    return tuple(100 * (one.value - two.value) for one, two in zip(backdoored, clean, strict=True))
