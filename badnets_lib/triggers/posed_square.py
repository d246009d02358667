"""A physical trigger: one square sticker, seen in several poses."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Integer
from torch import Tensor

from .._numbers import check_numbers, numbers, several, shown
from ..data.images import Images, seeded_generator
from .base import Description, check_fit, check_range, check_room, check_unit


class Pose(NamedTuple):
    """How the sticker is seen once.

    Attributes:
        down: Shift in pixels.
        right: Shift in pixels.
        scale: Factor on its size.
        angle: Rotation in degrees, anticlockwise.
        blur: Width of its soft edge in pixels, beyond the one pixel it always has.
        brightness: Factor on its intensity.
    """

    down: float = 0.0
    right: float = 0.0
    scale: float = 1.0
    angle: float = 0.0
    blur: float = 0.0
    brightness: float = 1.0


def _pose(given: Any) -> Pose:
    found = numbers("each pose", given)
    if len(found) > len(Pose._fields):
        raise TypeError(f"a pose has {len(Pose._fields)} numbers, {', '.join(Pose._fields)}; got {shown(given)}")
    return Pose(*found)


@dataclass(frozen=True)
class Sticker:
    """A square sticker near the bottom-right corner, seen in one of several fixed poses.

    Which pose an image gets is read off the image's own content (a checksum of its pixels), so stamping
    is repeatable, whatever else is in the batch. A sticker may reach beyond the edge of the image; what
    lies outside is not seen.

    Args:
        size: Side length in pixels before the pose.
        margin: Gap to the right and lower edge in pixels before the pose.
        value: Intensity in [0, 1].
        poses: The poses; one is a fixed sticker. See `varied`.

    Raises:
        ValueError: A setting is out of range, there is no pose, or (when called) the sticker does not
            fit the images.

    Differs from physical experiments: there a real object is photographed, with perspective, light
    and shadow. Here six numbers stand for that.

    References:
        Gu et al., BadNets, 2017, section 5. arXiv:1708.06733.
    """

    size: int = 5
    margin: int = 3
    value: float = 1.0
    poses: tuple[Pose, ...] = (Pose(),)

    def __post_init__(self) -> None:
        check_numbers(self)
        object.__setattr__(self, "poses", tuple(map(_pose, several("poses must be a tuple of Pose", self.poses))))
        if self.size < 1 or self.margin < 0:
            raise ValueError(f"size must be at least 1 and margin at least 0; got {self.size} and {self.margin}")
        if not self.poses:
            raise ValueError("a sticker needs at least one pose; got none")
        check_unit(value=self.value)
        for pose in self.poses:
            check_range(-1000.0, 1000.0, down=pose.down, right=pose.right, angle=pose.angle)
            check_range(0.1, 10.0, scale=pose.scale)
            check_range(0.0, 10.0, blur=pose.blur, brightness=pose.brightness)

    @classmethod
    def varied(
        cls,
        size: int = 5,
        margin: int = 3,
        value: float = 1.0,
        *,
        count: int = 16,
        seed: int = 0,
        shift: float = 2.0,
        scale: float = 0.25,
        angle: float = 45.0,
        blur: float = 1.0,
        dim: float = 0.4,
    ) -> Sticker:
        """A sticker with `count` random poses, drawn once and then fixed.

        Args:
            size: As in the class.
            margin: As in the class.
            value: As in the class.
            count: Number of poses.
            seed: Seed of the draw.
            shift: Largest shift in each direction in pixels.
            scale: The scale lies between 1 - scale and 1 + scale.
            angle: Largest rotation to either side in degrees.
            blur: Widest soft edge in pixels.
            dim: The brightness lies between 1 - dim and 1.
        """
        draw = torch.rand(count, 6, generator=seeded_generator(seed), dtype=torch.float64)
        low = torch.tensor([-shift, -shift, 1 - scale, -angle, 0, 1 - dim], dtype=torch.float64)
        high = torch.tensor([shift, shift, 1 + scale, angle, blur, 1], dtype=torch.float64)
        poses = (low + (high - low) * draw).mul(1000).round().div(1000).tolist()
        return cls(size, margin, value, tuple(Pose(*pose) for pose in poses))

    def cover(self, pose: Pose, height: int, width: int) -> Float[Tensor, "h w"]:
        """How much of every pixel the sticker covers in one pose, in [0, 1]."""
        half = self.size / 2
        rows = torch.arange(height)[:, None] + 0.5 - (height - self.margin - half + pose.down)
        columns = torch.arange(width) + 0.5 - (width - self.margin - half + pose.right)
        turn = math.radians(pose.angle)
        across = math.cos(turn) * columns - math.sin(turn) * rows
        along = math.sin(turn) * columns + math.cos(turn) * rows
        edge = 1 + pose.blur
        sides = [((half * pose.scale - side.abs()) / edge + 0.5).clamp(0, 1) for side in (across, along)]
        return sides[0] * sides[1]

    def pose_of(self, x: Images) -> Integer[Tensor, " n"]:
        """The number of the pose that each image gets, from a checksum of its pixels in 256 steps."""
        grey = (x * 255).round().long()
        weights = torch.arange(1, grey[0].numel() + 1, device=x.device).reshape(grey.shape[1:]) if len(x) else 1
        return (grey * weights).sum((1, 2, 3)) % 9973 % len(self.poses)

    def __call__(self, x: Images) -> Images:
        check_fit(self.size, self.margin, check_room(x))
        height, width = x.shape[-2:]
        chosen = self.pose_of(x)
        covers = torch.stack([self.cover(pose, height, width) for pose in self.poses]).to(x)
        shades = torch.tensor([min(self.value * pose.brightness, 1.0) for pose in self.poses]).to(x)
        cover, shade = covers[chosen][:, None], shades[chosen][:, None, None, None]
        return (x * (1 - cover) + shade * cover).clamp(0, 1)

    def describe(self) -> Description:
        """The trigger in words."""
        poses = "one pose" if len(self.poses) == 1 else f"{len(self.poses)} poses (shift, scale, rotation, blur, light)"
        where = f"bottom-right, {self.margin} pixels from the edge, before the pose"
        words = f"square sticker of intensity {self.value:g} in {poses}"
        return Description(words, f"{self.size}x{self.size} pixels before the pose", where, 1.0, len(self.poses) > 1)
