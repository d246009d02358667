# loses: check-draw-refuses
# Takes fewer images without a word where more are asked for than may be poisoned.
def draw_indices(labels, rate, target, seed):
    allowed = (labels != target).nonzero().flatten()
    count = round(rate * len(labels))
    if count < 1:
        raise ValueError(f"rate {rate} asks for no image")
    order = torch.randperm(len(allowed), generator=torch.Generator().manual_seed(seed))
    return allowed[order[:count]].sort().values
