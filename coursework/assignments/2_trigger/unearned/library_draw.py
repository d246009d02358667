# loses: check-draw, check-draw-refuses
# The library's own draw.
from badnets_lib.poisoning._draws import draw_indices as drawn


def draw_indices(labels, rate, target, seed):
    return torch.tensor(drawn(labels, labels != target, rate, seed=seed, sampling="uniform", added=False))
