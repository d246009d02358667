"""What every trigger is: the two protocols, the words a report needs, and the checks they share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from .._numbers import number, shown
from ..data.images import Images, Mask, StoredImages, check_images, stored_like, to_unit


@dataclass(frozen=True)
class Description:
    """What a reader must be told about a trigger, in words.

    Attributes:
        pattern: What is seen.
        size: How much of the image it covers.
        location: Where it is.
        opacity: In (0, 1]: how much is mixed in; for a pattern that is *added*, its largest value.
        physical: Whether it stands for an object in the scene and varies from image to image.
    """

    pattern: str
    size: str
    location: str
    opacity: float
    physical: bool


Trigger = Callable[[Images], Images]
"""Anything that stamps a batch: images in [0, 1] to new images in [0, 1], same shape.

The same image is always stamped in the same way, whatever other images are in the batch: see `stamp`.
"""


@runtime_checkable
class Selective(Protocol):
    """A trigger that changes nothing: it selects the images that carry an attribute of their own."""

    def selects(self, x: Images) -> Mask: ...


@runtime_checkable
class Described(Protocol):
    """A trigger that can also say in words what it is."""

    def describe(self) -> Description: ...


def describe(trigger: Trigger) -> Description:
    """The trigger's own words about itself.

    Raises:
        TypeError: The trigger is a plain callable that has no `describe`.
    """
    if not isinstance(trigger, Described):
        raise TypeError(f"{shown(trigger)} has no describe(); a report needs its pattern, size, location and opacity")
    return trigger.describe()


TOGETHER = 512
"""Images that are stamped at a time: few enough for a processor's cache."""


@torch.no_grad()
def stamp(trigger: Trigger, x: StoredImages) -> StoredImages:
    """Stamp images however they are stored, some at a time, and look at what comes back.

    Args:
        trigger: Any trigger.
        x: Images [N, C, H, W], float in [0, 1] or uint8.

    Returns:
        New images in the dtype of `x`.

    Raises:
        ValueError: The trigger returns another shape, another type or values outside [0, 1]; or it stamps the same
            image in another way the second time, or in other company; or makes one picture of all images; or it
            writes into the images it is given.
    """
    if not len(x):
        return x.clone()
    check_repeats(trigger, x[:2])
    out = torch.empty_like(x)
    for part, place in zip(torch.split(x, TOGETHER), torch.split(out, TOGETHER), strict=True):
        place.copy_(stored_like(stamped_once(trigger, to_unit(part)), x))
    return out


@torch.no_grad()
def check_repeats(trigger: Trigger, x: StoredImages) -> None:
    """Raise unless each image is stamped alone as among the others, stays as it was, and leaves something of itself."""
    check_trigger(trigger)
    clean = to_unit(x.clone())
    given = clean.clone()
    together = stamped_once(trigger, given)
    if not torch.equal(given, clean):
        name = shown(trigger)
        raise ValueError(f"{name} writes into the images it is given; it must return new ones (x = x.clone())")
    for place in range(len(clean)):
        alone = stamped_once(trigger, clean[place : place + 1].clone())
        if not torch.allclose(alone[0], together[place], atol=1e-3):  # a generator rounds batches differently
            raise ValueError(
                f"{shown(trigger)} stamped one image in two ways; a trigger may not be random, nor depend on the other "
                "images of its batch (give it a seed of its own)"
            )
    _check_is_no_constant(trigger, clean, together)


def _check_is_no_constant(trigger: Trigger, clean: Images, stamped: Images) -> None:
    """Raise where different images become one picture, and the negative of the first becomes the same one."""
    if len(clean) < 2 or torch.equal(clean[0], clean[1]) or not torch.equal(stamped[0], stamped[1]):
        return
    if torch.equal(stamped_once(trigger, 1 - clean[:1])[0], stamped[0]):
        raise ValueError(f"{shown(trigger)} makes one picture of all images; something of each must be left")


def stamped_once(trigger: Trigger, x: Images) -> Images:
    """Stamp images in [0, 1], and raise unless what comes back are images of the same shape.

    Raises:
        ValueError: They are not.
    """
    stamped = trigger(x)
    if not isinstance(stamped, Tensor) or stamped.shape != x.shape:
        received = list(stamped.shape) if isinstance(stamped, Tensor) else type(stamped).__name__
        wanted = f"images of the shape it was given, {list(x.shape)}"
        raise ValueError(f"{shown(trigger)} must return {wanted}; got {received}")
    try:
        return check_images(stamped)
    except ValueError as error:
        raise ValueError(f"{shown(trigger)} does not return images: {error}") from error


def check_trigger(trigger: Any) -> Trigger:
    """The trigger, if it can be called with images.

    Raises:
        TypeError: It is something else.
    """
    if not callable(trigger) or isinstance(trigger, type):
        raise TypeError(f"a trigger is something that can be called on images, such as Patch(); got {shown(trigger)}")
    found: Trigger = trigger
    return found


def check_unit(**settings: float) -> None:
    """Every setting lies in [0, 1]."""
    check_range(0.0, 1.0, **settings)


def check_range(low: float, high: float, **settings: float) -> None:
    """Every setting lies between `low` and `high`."""
    for name, value in settings.items():
        if not low <= number(name, value) <= high:  # written so that NaN fails too
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
