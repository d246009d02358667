"""A trigger that changes no place in particular: another exposure, contrast or colour cast."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from .._numbers import check_numbers, numbers
from ..data.images import Images
from .base import Description, check_range, check_room


@dataclass(frozen=True)
class ColourShift:
    r"""A change of style: A(x) = clip(c (x^g - 1/2) + 1/2 + b + tint), the same at every pixel.

    Args:
        gamma: The exponent g, from 0.1 to 10; above 1 darkens the middle tones.
        contrast: The factor c about middle grey, from 0 to 10.
        brightness: The offset b, from -1 to 1.
        tint: One further offset from -1 to 1 for every channel, or none. Grey images have one channel.

    Raises:
        ValueError: A setting is out of range, the shift changes nothing, or (when called) the tint has
            not one entry a channel or the images are smaller than 2x2.

    Differs from published style attacks, which learn a style or take one from another picture: this is
    the simplest member of the family, five numbers.

    Example:
        >>> ColourShift(brightness=0.25)(torch.zeros(1, 1, 2, 2)).max().item()
        0.25
    """

    gamma: float = 1.0
    contrast: float = 1.0
    brightness: float = 0.1
    tint: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        check_numbers(self)
        object.__setattr__(self, "tint", numbers("tint", self.tint))
        check_range(0.1, 10.0, gamma=self.gamma)
        check_range(0.0, 10.0, contrast=self.contrast)
        check_range(-1.0, 1.0, brightness=self.brightness)
        for offset in self.tint:
            check_range(-1.0, 1.0, tint=offset)
        if self.gamma == self.contrast == 1 and not self.brightness and not any(self.tint):
            raise ValueError("this colour shift changes nothing: gamma 1, contrast 1, brightness 0 and no tint")

    def __call__(self, x: Images) -> Images:
        channels = check_room(x).shape[1]
        if self.tint and len(self.tint) != channels:
            raise ValueError(f"the tint has {len(self.tint)} entries; the images have {channels} channels")
        offset = torch.tensor(self.tint or (0.0,)).to(x)[:, None, None] + self.brightness
        return (self.contrast * (x**self.gamma - 0.5) + 0.5 + offset).clamp(0, 1)

    def describe(self) -> Description:
        """The trigger in words."""
        parts = [f"gamma {self.gamma:g}", f"contrast {self.contrast:g}", f"brightness {self.brightness:+g}"]
        if self.tint:
            parts.append(f"tint {self.tint}")
        return Description(f"colour shift: {', '.join(parts)}", "the whole image", "everywhere", 1.0, physical=False)
