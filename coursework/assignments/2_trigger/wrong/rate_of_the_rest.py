# loses: check-draw
# Takes the rate as a share of the images that may be poisoned.
def draw_indices(labels, rate, target, seed):
    allowed = (labels != target).nonzero().flatten()
    count = round(rate * len(labels))
    if not 1 <= count <= len(allowed):
        raise ValueError(f"rate {rate} asks for {count} images; 1 to {len(allowed)} may be poisoned")
    order = torch.randperm(len(allowed), generator=torch.Generator().manual_seed(seed))
    return allowed[order[: round(rate * len(allowed))]].sort().values
