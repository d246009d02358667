# %% NumPy, with helpers
import random

import numpy as np


def place(height, width, size, corner):
    """Which pixels of an image belong to the square."""
    rows, columns = np.arange(height), np.arange(width)
    vertical, horizontal = corner.split("-")
    in_rows = rows < size if vertical == "top" else rows >= height - size
    in_columns = columns < size if horizontal == "left" else columns >= width - size
    return np.logical_and.outer(in_rows, in_columns)


def refuse(condition, text):
    if condition:
        raise ValueError(text)


def stamp(x, size, value, corner):
    *_, height, width = x.shape
    refuse(size not in range(1, min(height, width) + 1), f"size {size}: the largest is {min(height, width)}")
    refuse(not (value >= 0 and value <= 1), f"value {value} is no grey")
    refuse(corner not in CORNERS, f"no corner {corner}")
    new = x.numpy().copy()
    new[:, :, place(height, width, size, corner)] = value
    return torch.from_numpy(new)


def visibility(x, size, value, corner):
    change = (
        stamp(x, size, value, corner).numpy()
        - x.numpy()
    )
    share = [np.any(one != 0, axis=0).mean() for one in change]
    largest = [np.abs(one).max() for one in change]
    length = [np.linalg.norm(one) for one in change]
    return tuple(torch.tensor(np.array(numbers, dtype=np.float32)) for numbers in (share, largest, length))


# %%
def blend(x, pattern, opacity):
    refuse(not 0 < opacity <= 1, f"opacity {opacity}")
    refuse(any(one.shape != pattern.shape for one in x), f"pattern {tuple(pattern.shape)}")
    return torch.stack([torch.lerp(one, pattern, float(opacity)) for one in x])


def draw_indices(labels, rate, target, seed):
    candidates = [at for at, label in enumerate(labels.tolist()) if label != target]
    count = round(rate * len(labels))
    refuse(count < 1 or count > len(candidates), f"{count} images of {len(candidates)} that may be poisoned")
    return torch.tensor(sorted(random.Random(seed).sample(candidates, count)))


# %% one image after the other
def poison_batch(x, y, mask, target, size, value, corner):
    refuse(mask.dtype != torch.bool, f"the mask is {mask.dtype}")
    refuse(len({len(x), len(y), len(mask)}) > 1, "lengths differ")
    images, labels = [], []
    for image, label, marked in zip(x, y, mask):
        images.append(stamp(image[None], size, value, corner)[0] if marked else image)
        labels.append(torch.full_like(label, target) if marked else label)
    return torch.stack(images), torch.stack(labels)


def poison_set(x, y, indices, target, size, value, corner, added):
    chosen = set(indices.tolist())
    if not added:
        mask = torch.tensor([at in chosen for at in range(len(y))])
        return (*poison_batch(x, y, mask, target, size, value, corner), mask)
    copies = torch.stack([stamp(x[at : at + 1], size, value, corner)[0] for at in indices])
    labels = torch.full((len(copies),), target, dtype=y.dtype)
    return (
        torch.vstack([x, copies]),
        torch.hstack([y, labels]),
        torch.hstack([torch.zeros(len(x)), torch.ones(len(copies))]) > 0,
    )
