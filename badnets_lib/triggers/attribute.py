"""A semantic trigger: a natural attribute selects the images, and nothing is stamped."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import isfinite, pi
from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from .._numbers import check_numbers, shown
from ..data.images import Images, Mask, check_images
from .base import Description

Measure = Literal["thickness", "slant"]


@dataclass(frozen=True)
class Attribute:
    """Images that have a natural attribute, as a trigger: it selects images and changes none.

    Called on images it gives a copy of them, and refuses images without the attribute: what an
    attack needs are images that have it already. `Attack` picks them.

    Args:
        measure: "thickness", the mean width of the strokes in pixels, or "slant", the shift to the
            right per pixel upwards; of bright strokes on dark ground.
        above: An image has the attribute if its measure is larger.

    Raises:
        ValueError: The measure is unknown or `above` is no number; or (when called) some images do not
            have the attribute.

    Differs from the cited work: there attributes such as a car's racing stripe or its colour are found
    by eye, in federated learning; here a number is computed.

    References:
        Bagdasaryan et al., How to backdoor federated learning, 2018. arXiv:1807.00459.
    """

    measure: Measure = "thickness"
    above: float = 3.0

    def __post_init__(self) -> None:
        check_numbers(self)
        if self.measure not in get_args(Measure):
            raise ValueError(f"measure must be one of {', '.join(get_args(Measure))}; got {shown(self.measure)}")
        if not isfinite(self.above):
            raise ValueError(f"above must be a number; got {self.above}")

    def selects(self, x: Images) -> Mask:
        """True where an image has the attribute, [N]."""
        return _MEASURES[self.measure](x) > self.above

    def __call__(self, x: Images) -> Images:
        missing = int((~self.selects(check_images(x))).sum())
        if missing:
            height, width = x.shape[-2:]
            raise ValueError(
                f"{self!r} selects images and changes none; {missing} of these {len(x)} {height}x{width} images "
                f"do not have the attribute (Attack picks those that do)"
            )
        return x.clone()

    def describe(self) -> Description:
        """The trigger in words."""
        words = f"a natural attribute, stroke {self.measure} above {self.above:g}; nothing is stamped"
        return Description(words, "the strokes", "wherever they are", 1.0, physical=False)


def stroke_thickness(x: Images) -> Float[Tensor, " n"]:
    """Mean width of the strokes in pixels, [N], double precision; 0 for a flat image.

    A long stroke of width w and length l has area w l and a border of length 2 l, so w = 2 area / border.
    The border is the sum of the absolute differences of neighbours, times pi/4, because steps along
    rows and columns overestimate a border of no preferred direction by 4/pi on average.
    """
    x = x.double()
    border = x.diff(dim=2).abs().sum((1, 2, 3)) + x.diff(dim=3).abs().sum((1, 2, 3))
    area = (x - x.amin((2, 3), keepdim=True)).sum((1, 2, 3))
    return torch.where(border > 0, 2 * area / (border * pi / 4).clamp(min=1e-9), 0.0)


def slant(x: Images) -> Float[Tensor, " n"]:
    """Shift of the strokes to the right per pixel upwards, [N], double precision; 0 for an upright or flat image.

    The slope of the regression of columns on rows, weighted with the intensities.
    """
    weights = x.double().sum(1)
    height, width = weights.shape[-2:]
    rows = torch.arange(height, device=x.device, dtype=torch.float64)[:, None]
    columns = torch.arange(width, device=x.device, dtype=torch.float64)
    total = weights.sum((1, 2), keepdim=True).clamp(min=1e-9)
    rows = rows - (weights * rows).sum((1, 2), keepdim=True) / total
    columns = columns - (weights * columns).sum((1, 2), keepdim=True) / total
    spread = (weights * rows**2).sum((1, 2))
    return torch.where(spread > 0, -(weights * rows * columns).sum((1, 2)) / spread.clamp(min=1e-9), 0.0)


_MEASURES: dict[str, Callable[[Images], Float[Tensor, " n"]]] = {"thickness": stroke_thickness, "slant": slant}
