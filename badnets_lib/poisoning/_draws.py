"""Which images are poisoned: drawn once, from a seed."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from torch import Tensor

from .._numbers import shown
from ..data.images import Labels, Mask, seeded_generator

Sampling = Literal["uniform", "per-class"]


def draw_indices(
    y: Labels, allowed: Mask, fraction: float | None, *, seed: int, sampling: Sampling, added: bool
) -> tuple[int, ...]:
    """Positions of the images to poison, ascending.

    Args:
        y: Labels of the clean training set, [N].
        allowed: True where an image may be poisoned, [N].
        fraction: Poisoning fraction rho of all images the network will see; None for every allowed image.
        seed: Seed of the draw.
        sampling: "uniform" or "per-class".
        added: Whether poisoned copies are added to the N images.

    Raises:
        ValueError: The fraction is out of range, asks for no image, or for more than are allowed.
    """
    if fraction is not None and not isinstance(fraction, int | float | np.number):
        raise TypeError(f"the poisoning fraction is a number in [0, 1]; got {shown(fraction)}")
    if fraction is not None and (not 0 <= fraction <= 1 or (added and fraction == 1)):
        raise ValueError(f"poisoning fraction must lie in [0, 1], below 1 for added copies; got {fraction}")
    places = allowed.cpu().nonzero().flatten()
    count = len(places)
    if fraction is not None:
        count = round(len(y) * (fraction / (1 - fraction) if added else fraction))
    if not 0 < count <= len(places):
        raise ValueError(
            f"poisoning fraction {fraction} asks for {count} of {len(y)} images; "
            f"goal, trigger and `among` allow 1 to {len(places)}"
        )
    order = places[torch.randperm(len(places), generator=seeded_generator(seed))]
    if sampling == "per-class":
        order = _interleave(order, y.cpu()[order])
    return tuple(order[:count].sort().values.tolist())


def _interleave(order: Tensor, labels: Labels) -> Tensor:
    """Reorder so that every prefix holds the classes in equal shares, as far as they last."""
    turn = torch.zeros(len(order), dtype=torch.long)
    for label in labels.unique():
        members = labels == label
        turn[members] = torch.arange(int(members.sum()))
    return order[turn.argsort(stable=True)]
