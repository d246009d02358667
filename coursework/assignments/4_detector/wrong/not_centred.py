# loses: check-spectral-scores
# Forgets to centre: the first direction is that of the mean.
def spectral_scores(features):
    return (features @ torch.linalg.svd(features, full_matrices=False)[2][0]).square()
