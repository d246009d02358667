"""Pictures that the overlay triggers are made of, and a blur. All on the CPU, all repeatable from a seed."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import pad

from ..data.images import Images


def noise(channels: int, height: int, width: int, *, seed: int = 0) -> Float[Tensor, "c h w"]:
    """Independent uniform intensities in [0, 1) for every pixel and channel."""
    return torch.rand(channels, height, width, generator=torch.Generator().manual_seed(seed))


def scene(height: int, width: int, *, seed: int = 0) -> Float[Tensor, "h w"]:
    """A grey picture of four soft-edged discs and two bars before a graded background, in [0, 1].

    It plays the part of the photograph that the published attacks blend in; nobody's picture is needed.
    """
    source = torch.Generator().manual_seed(seed)
    down, right = torch.linspace(0, 1, height)[:, None], torch.linspace(0, 1, width)[None, :]
    angle = 2 * math.pi * float(torch.rand((), generator=source))
    picture = 0.35 + 0.25 * (math.sin(angle) * (down - 0.5) + math.cos(angle) * (right - 0.5))
    for number in range(6):
        row, column, size, shade, turn = torch.rand(5, generator=source).tolist()
        if number < 4:
            inside = 0.08 + 0.2 * size - ((down - row) ** 2 + (right - column) ** 2).sqrt()
        else:
            across = math.sin(math.pi * turn) * (down - row) + math.cos(math.pi * turn) * (right - column)
            inside = 0.03 + 0.05 * size - across.abs()
        cover = (40 * inside).sigmoid()
        picture = picture * (1 - cover) + round(shade) * cover
    return picture.clamp(0, 1)


def blur(x: Images, sigma: float) -> Images:
    """A Gaussian blur with a standard deviation of `sigma` pixels; beyond the edge, the edge pixels repeat.

    Added up tap by tap, so that the result does not depend on the other images of the batch.
    """
    if sigma == 0:
        return x
    reach = math.ceil(3 * sigma)
    taps = [math.exp(-0.5 * (step / sigma) ** 2) for step in range(-reach, reach + 1)]
    height, width = x.shape[-2:]
    wide = pad(x, (reach, reach, 0, 0), mode="replicate")
    x = _mean(taps, [wide[..., step : step + width] for step in range(len(taps))])
    tall = pad(x, (0, 0, reach, reach), mode="replicate")
    return _mean(taps, [tall[..., step : step + height, :] for step in range(len(taps))])


def _mean(weights: list[float], parts: list[Tensor]) -> Tensor:
    """The weighted mean of tensors of one shape."""
    total = math.fsum(weights)
    mean = torch.zeros_like(parts[0])
    for weight, part in zip(weights, parts, strict=True):
        mean += part * (weight / total)
    return mean
