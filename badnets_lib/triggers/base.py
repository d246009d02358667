"""What every trigger is: the two protocols, the words a report needs, and the checks they share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from ..images import Images, check_images


@dataclass(frozen=True)
class Description:
    """What a reader must be told about a trigger, in words.

    Attributes:
        pattern: What is seen.
        size: How much of the image it covers.
        location: Where it is.
        opacity: In (0, 1]: the share that is mixed in; for a pattern that is *added*, its largest value.
        physical: Whether it stands for an object in the scene and varies from image to image.
    """

    pattern: str
    size: str
    location: str
    opacity: float
    physical: bool


@runtime_checkable
class Trigger(Protocol):
    """Anything that stamps a batch: images in [0, 1] to new images in [0, 1], same shape."""

    def __call__(self, x: Images) -> Images: ...


@runtime_checkable
class Described(Trigger, Protocol):
    """A trigger that can also say in words what it is."""

    def describe(self) -> Description: ...


def describe(trigger: Trigger) -> Description:
    """The trigger's own words about itself.

    Raises:
        TypeError: The trigger is a plain callable that has no `describe`.
    """
    if not isinstance(trigger, Described):
        raise TypeError(f"{trigger!r} has no describe(); a report needs its pattern, size, location and opacity")
    return trigger.describe()


def check_unit(**settings: float) -> None:
    """Every setting lies in [0, 1]."""
    check_range(0.0, 1.0, **settings)


def check_range(low: float, high: float, **settings: float) -> None:
    """Every setting lies between `low` and `high`."""
    for name, value in settings.items():
        if not low <= value <= high:  # written so that NaN fails too
            raise ValueError(f"{name} must lie in [{low:g}, {high:g}]; got {value:g}")


def check_fit(size: int, margin: int, x: Tensor) -> None:
    """A square of `size` pixels fits the images, `margin` pixels from the edge."""
    height, width = x.shape[-2:]
    if not 1 <= size <= min(height, width) - margin:
        limit = f"{min(height, width) - margin} pixels with margin {margin}"
        raise ValueError(f"a square of {size} pixels does not fit {height}x{width} images: from 1 to {limit}")


def check_room(x: Images, least: int = 2) -> Images:
    """Return a batch of images that are at least `least` pixels high and wide."""
    height, width = check_images(x).shape[-2:]
    if min(height, width) < least:
        raise ValueError(f"this trigger needs at least {least}x{least} pixels; got {height}x{width} images")
    return x


def at_least_single(x: Images) -> Images:
    """The images in single precision or better, for arithmetic that half precision would spoil."""
    return x.to(torch.promote_types(x.dtype, torch.float32))
