# loses: check-auroc
# A pair with equal scores counts nothing.
def auroc(scores, poisoned):
    if poisoned.all() or not poisoned.any():
        raise ValueError("one kind only")
    return float((scores[poisoned][:, None] > scores[~poisoned]).float().mean())
