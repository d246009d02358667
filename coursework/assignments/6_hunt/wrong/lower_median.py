# loses: check-indices
# Takes torch.median, which of ten values returns the fifth and not the mean of the fifth and the sixth.
def indices(norms):
    below = norms.log().median() - norms.log()
    return below / (1.4826 * below.abs().median().clamp(min=1e-9))
