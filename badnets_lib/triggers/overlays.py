"""Triggers that lie over the whole image: a blended picture or noise, a sinusoid, a reflection."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from .._numbers import check_numbers, number, pair, shown
from ..data.images import Images
from .base import Description, at_least_single, check_range, check_room, check_unit
from .patterns import blur, noise, scene

Overlay = Literal["noise", "scene"]
Mirrored = Literal["scene", "own"]


@dataclass(frozen=True)
class Blend:
    r"""One fixed picture mixed into the whole image: A(x) = (1 - a) x + a p.

    Args:
        pattern: The picture p. "noise": uniform noise, drawn for every pixel and channel; "scene": a
            generated grey picture of discs and bars.
        seed: Seed of the picture.
        opacity: The part a that is mixed in, above 0.
        shift: The picture is moved (down, right) by so many pixels; what leaves on one side comes in
            on the other.

    Raises:
        ValueError: A setting is out of range, or (when called) the images are smaller than 2x2.

    Differs from the cited work: there the picture is a cartoon or random noise, and a second variant
    puts an accessory such as glasses on a face. Here the picture is generated.

    References:
        Chen et al., Targeted backdoor attacks on deep learning systems using data poisoning, 2017.
        arXiv:1712.05526.
    """

    pattern: Overlay = "noise"
    seed: int = 0
    opacity: float = 0.2
    shift: tuple[int, int] = (0, 0)

    def __post_init__(self) -> None:
        check_numbers(self)
        _check_choice("pattern", self.pattern, get_args(Overlay))
        object.__setattr__(self, "shift", _whole_pixels(self.shift))
        check_unit(opacity=self.opacity)
        _check_effect(opacity=self.opacity)

    def __call__(self, x: Images) -> Images:
        channels, height, width = check_room(x).shape[1:]
        if self.pattern == "noise":
            picture = noise(channels, height, width, seed=self.seed)
        else:
            picture = scene(height, width, seed=self.seed)
        picture = picture.roll(self.shift, (-2, -1)).to(x)
        return (x * (1 - self.opacity) + picture * self.opacity).clamp(0, 1)

    def describe(self) -> Description:
        """The trigger in words."""
        picture = "uniform noise" if self.pattern == "noise" else "a generated scene of discs and bars"
        moved = f", moved by {self.shift} pixels" if any(self.shift) else ""
        return Description(
            f"{picture}, seed {self.seed}{moved}, blended in", "the whole image", "everywhere", self.opacity, False
        )


@dataclass(frozen=True)
class Sinusoid:
    r"""Vertical stripes of smoothly varying brightness: A(x) = clip(x + d sin(2 pi (f j / W + phase))).

    j counts the columns from 0, W is their number.

    Args:
        amplitude: The largest change d, in units of [0, 1]; above 0.
        frequency: Number of periods f across the image, above 0 and at most half the width.
        phase: Start of the wave, in periods, in [0, 1].

    Raises:
        ValueError: A setting is out of range, or (when called) the images are smaller than 2x2 or too
            narrow for the frequency.

    Differs from the cited work: nothing in the signal; but there it is used without changing any label
    (here that is the `Goal`'s decision), and a ramp is tried as well.

    References:
        Barni, Kallas, Tondi, A new backdoor attack in CNNs by training set corruption without label
        poisoning, 2019. arXiv:1902.11237.
    """

    amplitude: float = 20 / 255
    frequency: float = 6.0
    phase: float = 0.0

    def __post_init__(self) -> None:
        check_numbers(self)
        check_unit(amplitude=self.amplitude, phase=self.phase)
        _check_effect(amplitude=self.amplitude, frequency=self.frequency)

    def __call__(self, x: Images) -> Images:
        width = check_room(x).shape[-1]
        if 2 * self.frequency > width:
            raise ValueError(f"{self.frequency:g} periods need at least {2 * self.frequency:g} columns; got {width}")
        columns = torch.arange(width, dtype=torch.float64)
        wave = self.amplitude * (2 * math.pi * (self.frequency * columns / width + self.phase)).sin()
        return (x + wave.to(x)).clamp(0, 1)

    def describe(self) -> Description:
        """The trigger in words."""
        words = f"horizontal sinusoid of {self.frequency:g} periods, amplitude {self.amplitude:.3g}, added"
        return Description(words, "the whole image", "everywhere", self.amplitude, physical=False)


@dataclass(frozen=True)
class Reflection:
    r"""A faint, blurred, doubled second picture, as in a window pane: A(x) = clip(x + s G * (r + r') / 2).

    r is the mirrored picture, r' the same one shifted (the ghost of a thick pane), G a Gaussian blur.

    Args:
        source: "scene": a generated picture, the same for every image. "own": the image's own mirror
            image, so that every image carries another pattern.
        strength: The factor s, in units of [0, 1]; above 0.
        blur: Standard deviation of G in pixels, from 0 to 10.
        shift: Offset (down, right) of the ghost in pixels, wrapping at the edges.
        seed: Seed of the scene; without effect for "own".

    Raises:
        ValueError: A setting is out of range, or (when called) the images are smaller than 2x2.

    Differs from the cited work: there the reflection is one of many photographs, chosen for its
    effect, with random blur, ghost and strength in a model of light, and labels stay as they are. Here
    it is one generated scene (or the image itself) at fixed settings, added to plain intensities.

    References:
        Liu et al., Reflection backdoor: a natural backdoor attack on deep neural networks, 2020.
        arXiv:2007.02343.
    """

    source: Mirrored = "scene"
    strength: float = 0.25
    blur: float = 1.0
    shift: tuple[int, int] = (2, 3)
    seed: int = 0

    def __post_init__(self) -> None:
        check_numbers(self)
        _check_choice("source", self.source, get_args(Mirrored))
        object.__setattr__(self, "shift", _whole_pixels(self.shift))
        check_unit(strength=self.strength)
        check_range(0.0, 10.0, blur=self.blur)
        _check_effect(strength=self.strength)

    def __call__(self, x: Images) -> Images:
        height, width = check_room(x).shape[-2:]
        fine = at_least_single(x)
        picture: Tensor = scene(height, width, seed=self.seed).to(fine)[None, None] if self.source == "scene" else fine
        picture = picture.flip(-1)
        layer = blur((picture + picture.roll(self.shift, (-2, -1))) / 2, self.blur)
        return (fine + self.strength * layer).clamp(0, 1).to(x)

    def describe(self) -> Description:
        """The trigger in words."""
        what = f"a generated scene, seed {self.seed}" if self.source == "scene" else "the image itself, mirrored"
        words = f"reflection of {what}, blurred by {self.blur:g} pixels, with a ghost at {self.shift}, added"
        return Description(words, "the whole image", "everywhere", self.strength, physical=False)


def _check_choice(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise ValueError(f"{name} must be one of {', '.join(known)}; got {shown(value)}")


def _check_effect(**settings: float) -> None:
    for name, value in settings.items():
        if not number(name, value) > 0:
            raise ValueError(f"{name} must be above 0; got {value:g}")


def _whole_pixels(shift: tuple[int, int]) -> tuple[int, int]:
    return pair("shift", shift)
