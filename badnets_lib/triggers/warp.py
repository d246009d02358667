"""A trigger that adds nothing: every pixel moves a little, along one fixed smooth field."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import grid_sample, interpolate

from .._numbers import check_numbers
from ..data.images import Images
from .base import Description, at_least_single, check_range, check_room


@dataclass(frozen=True)
class Warp:
    r"""A smooth elastic warp: A(x)[p] = x[p + s u(p)], with u a fixed random field.

    u is drawn on a coarse grid of `grid` x `grid` control points, uniformly in both directions, scaled to
    a mean absolute value of 1, and enlarged to the image by bicubic interpolation. Values between
    pixels are interpolated bilinearly; places outside the image are moved to its edge.

    Args:
        grid: Control points along each side, from 2 to 32.
        strength: The factor s: mean displacement of the control points in pixels, in each direction;
            above 0, at most 16.
        seed: Seed of the field.

    Raises:
        ValueError: A setting is out of range, or (when called) the images are smaller than 2x2.

    Differs from the cited work: there s = 0.5 in units of the sampling grid, which is about a quarter
    of a pixel on average whatever the image size, the attacker trains the network, and a "noise mode"
    shows randomly disturbed warps with true labels, so that only the exact field counts. Here the
    warp only poisons data, and needs to be stronger.

    References:
        Nguyen, Tran, WaNet: imperceptible warping-based backdoor attack, 2021. arXiv:2102.10369.
    """

    grid: int = 4
    strength: float = 1.5
    seed: int = 0

    def __post_init__(self) -> None:
        check_numbers(self)
        check_range(2.0, 32.0, grid=float(self.grid))
        check_range(0.0, 16.0, strength=self.strength)
        if not self.strength > 0:
            raise ValueError(f"strength must be above 0; got {self.strength:g}")

    def field(self, height: int, width: int) -> Float[Tensor, "2 h w"]:
        """The displacement s u(p) of every pixel in pixels: first down, then right."""
        coarse = torch.rand(1, 2, self.grid, self.grid, generator=torch.Generator().manual_seed(self.seed)) * 2 - 1
        coarse = coarse / coarse.abs().mean()
        return self.strength * interpolate(coarse, (height, width), mode="bicubic", align_corners=True)[0]

    def __call__(self, x: Images) -> Images:
        height, width = check_room(x).shape[-2:]
        down, right = self.field(height, width)
        rows = (torch.arange(height)[:, None] + down).clamp(0, height - 1)
        columns = (torch.arange(width) + right).clamp(0, width - 1)
        fine = at_least_single(x)
        # grid_sample wants (x, y) in [-1, 1]; with align_corners, -1 and 1 are the centres of the outer pixels.
        places = torch.stack([columns * 2 / (width - 1) - 1, rows * 2 / (height - 1) - 1], -1).to(fine)
        warped = grid_sample(fine, places.expand(len(x), -1, -1, -1), padding_mode="border", align_corners=True)
        return warped.clamp(0, 1).to(x)

    def describe(self) -> Description:
        """The trigger in words."""
        words = f"smooth warp by {self.strength:g} pixels on a {self.grid}x{self.grid} grid, seed {self.seed}"
        return Description(words, "the whole image", "everywhere", 1.0, physical=False)
