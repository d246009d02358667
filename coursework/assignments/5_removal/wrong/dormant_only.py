# loses: check-modest, check-other
# Silences the dormant channels as long as no clean image is lost; the backdoor lives in others.
def repair(network, clean, mask, pattern):
    return prune_within(network, clean, 0)[1]
