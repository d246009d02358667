"""Triggers that change a few pixels: one square, one checkerboard, single pixels."""

from __future__ import annotations

from dataclasses import dataclass
from math import isnan
from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from .._numbers import check_numbers, number, numbers, of_kind, pair, several, shown, whole
from ..data.images import Images, check_images
from .base import Description, check_fit, check_unit

Corner = Literal["top-left", "top-right", "bottom-left", "bottom-right"]


def stamp_square_trigger(x: Float[Tensor, "*batch h w"], size: int = 4, value: float = 1.0) -> Tensor:
    """Set the last `size` rows and columns of every channel of `x` to `value`.

    Args:
        x: Images [..., H, W], float.
        size: Side of the square in pixels, from 1 to min(H, W).
        value: Intensity of the square.

    Returns:
        A new tensor of the same shape, clamped to [0, 1]; `x` is not changed.

    Raises:
        ValueError: `x` is not a float tensor with at least two axes and values in [0, 1], or the square does not fit.

    References:
        Gu et al., BadNets, 2017. arXiv:1708.06733.
    """
    of_kind("images", x, Tensor)
    size = whole("size", size)
    if isnan(number("value", value)):
        raise ValueError(f"value must be a number; got {value}")
    if x.ndim < 2 or not x.is_floating_point():
        raise ValueError(f"images need a float dtype and shape [..., H, W]; got {x.dtype} {list(x.shape)}")
    if x.numel() and not (float(x.min()) >= 0 and float(x.max()) <= 1):  # written so that NaN fails too
        raise ValueError(
            f"images need values in [0, 1]; got [{float(x.min()):.3g}, {float(x.max()):.3g}] "
            "(stamp before normalisation; divide levels up to 255 by 255)"
        )
    check_fit(size, 0, x)
    stamped = x.clone()
    stamped[..., -size:, -size:] = value
    return stamped.clamp(0, 1)


@dataclass(frozen=True)
class _Square:
    """What the square triggers share: a window near one corner. Settings as in `Patch`."""

    size: int = 4
    corner: Corner = "bottom-right"
    margin: int = 0
    opacity: float = 1.0

    def __post_init__(self) -> None:
        check_numbers(self)
        if self.size < 1 or self.margin < 0:
            raise ValueError(f"size must be at least 1 and margin at least 0; got {self.size} and {self.margin}")
        if self.corner not in get_args(Corner):
            raise ValueError(f"corner must be one of {', '.join(get_args(Corner))}; got {shown(self.corner)}")
        check_unit(opacity=self.opacity)

    def _blend(self, x: Images, pattern: Tensor | float) -> Images:
        """Checked images with a pattern in the window."""
        check_fit(self.size, self.margin, x)
        height, width = x.shape[-2:]
        top = self.margin if self.corner.startswith("top") else height - self.margin - self.size
        left = self.margin if self.corner.endswith("left") else width - self.margin - self.size
        out = x.clone()
        window = out[:, :, top : top + self.size, left : left + self.size]
        window.mul_(1 - self.opacity).add_(torch.as_tensor(pattern).to(x) * self.opacity).clamp_(0, 1)
        return out

    def _describe(self, pattern: str) -> Description:
        where = self.corner if not self.margin else f"{self.corner}, {self.margin} pixels from the edge"
        return Description(pattern, f"{self.size}x{self.size} pixels", where, self.opacity, physical=False)


@dataclass(frozen=True)
class Patch(_Square):
    """A plain square near one corner.

    Args:
        size: Side length in pixels.
        corner: "top-left", "top-right", "bottom-left" or "bottom-right".
        margin: Gap to the edge of the image in pixels.
        opacity: 1 replaces the pixels, 0.2 mixes in a fifth of the square.
        value: Intensity in [0, 1], the same in every channel; or one for each channel, as (1, 1, 0) for yellow.

    Raises:
        ValueError: A setting is out of range, or (when called) the square does not fit the images, or they have
            another number of channels.

    Example:
        >>> Patch(size=3)(torch.zeros(1, 1, 28, 28)).sum().item()
        9.0
        >>> Patch(size=1, value=(1, 1, 0))(torch.zeros(1, 3, 8, 8))[0, :, 7, 7]
        tensor([1., 1., 0.])

    References:
        Gu et al., BadNets, 2017. arXiv:1708.06733.
    """

    value: float | tuple[float | int, ...] = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.value, tuple | list):
            object.__setattr__(self, "value", numbers("value", self.value))
        for value in self._values:
            check_unit(value=value)

    @property
    def _values(self) -> tuple[float, ...]:
        return self.value if isinstance(self.value, tuple) else (self.value,)

    def __call__(self, x: Images) -> Images:
        channels = check_images(x).shape[1]
        if isinstance(self.value, tuple) and len(self.value) != channels:
            raise ValueError(f"the square has {len(self.value)} intensities; the images have {channels} channels")
        return self._blend(x, torch.tensor(self._values)[:, None, None])

    def describe(self) -> Description:
        """The trigger in words."""
        intensity = " ".join(f"{value:g}" for value in self._values)
        return self._describe(f"solid square of intensity {intensity}")


@dataclass(frozen=True)
class Checkerboard(_Square):
    """An alternating black and white square; its top-left pixel is black. Settings as in `Patch`."""

    def __call__(self, x: Images) -> Images:
        step = torch.arange(self.size)
        return self._blend(check_images(x), (step[:, None] + step) % 2)

    def describe(self) -> Description:
        """The trigger in words."""
        return self._describe("checkerboard of black and white pixels")


@dataclass(frozen=True)
class Pixels:
    """Single pixels set to one intensity in every channel.

    Args:
        at: (row, column) of each pixel, counted from 0 at the top left; negative numbers count
            from the bottom right, so (-2, -2) is (26, 26) in a 28x28 image.
        value: Intensity in [0, 1].

    Raises:
        ValueError: No pixel, a value out of range, or (when called) a pixel outside the images.
    """

    at: tuple[tuple[int, int], ...]
    value: float = 1.0

    def __post_init__(self) -> None:
        check_numbers(self)
        pixels = several("at must be (row, column) of each pixel, in a tuple", self.at)
        object.__setattr__(self, "at", tuple(pair("(row, column)", each) for each in pixels))
        if not self.at:
            raise ValueError("a pixel trigger needs at least one (row, column); got none")
        check_unit(value=self.value)

    def __call__(self, x: Images) -> Images:
        height, width = check_images(x).shape[-2:]
        for row, column in self.at:
            if not (-height <= row < height and -width <= column < width):
                raise ValueError(f"pixel ({row}, {column}) lies outside {height}x{width} images")
        rows, columns = zip(*self.at, strict=True)
        out = x.clone()
        out[:, :, rows, columns] = self.value
        return out

    def describe(self) -> Description:
        """The trigger in words."""
        count = len(self.at)
        return Description(
            f"{count} pixel{'s' if count > 1 else ''} of intensity {self.value:g}",
            f"{count} of the image's pixels",
            "(row, column) "
            + ", ".join(map(str, self.at))
            + ("; negative from the bottom right" if min(map(min, self.at)) < 0 else ""),
            opacity=1.0,
            physical=False,
        )


SINGLE_PIXEL = Pixels(((-2, -2),))
"""The BadNets paper's single bright pixel: (26, 26) in a 28x28 digit. arXiv:1708.06733."""

FOUR_PIXELS = Pixels(((-4, -2), (-3, -3), (-2, -4), (-2, -2)))
"""The paper's pattern: (24, 26), (25, 25), (26, 24) and (26, 26) in a 28x28 digit. arXiv:1708.06733."""
