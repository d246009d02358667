"""Scenes with road signs: every random choice behind a picture, drawn once and kept.

A scene is numbers only: which sign, seen from where, in what light, before what. `badnets_lib.signs`
turns scenes into pictures. Drawing is apart from rendering, so a scene can be photographed again with
one thing changed: further away, at dusk, or with a sticker on the sign.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields

import torch
from jaxtyping import Float
from torch import Tensor

from .images import Labels, seeded_generator
from .sign_faces import FACES

GRAINS = 256
"""Number of patterns of sensor noise."""

_LENS = 2.5  # distance of the camera in image widths: the smaller, the stronger the perspective
_Between = Callable[..., Tensor]


@dataclass(frozen=True, eq=False)
class Scenes:
    """Every random choice behind N pictures of signs. Index it like a tensor; vary it with `dataclasses.replace`.

    Attributes:
        data: Name of the data set the signs belong to: "signs" or "signs_b".
        labels: Which sign, [N].
        scale: Side of the sign's box over the side of the image, [N]; half the scale is twice the distance.
        roll: Rotation in the image plane in radians, [N].
        yaw: Turn about the vertical axis in radians, [N].
        pitch: Turn about the horizontal axis in radians, [N].
        shift: Centre of the sign minus centre of the image (x, y), in image sides, [N, 2].
        light: Brightness of the scene, [N]; 1 leaves the colours as they are.
        tint: Factor on red, green and blue, [N, 3].
        shade: How much brighter the right and the lower edge are than the centre, [N, 2].
        blur: 0 sharp, 1 and 2 the binomial filters of three and five pixels, between them mixtures, [N].
        noise: Strength of the sensor noise, a standard deviation in [0, 1], [N].
        grain: Which pattern of noise, [N].
        ground: Colours of a coarse background, [N, 3, 5, 5].
        cover: Something in the way: centre x, y, direction x, y, half length, half width, grey value, [N, 7].
    """

    data: str
    labels: Labels
    scale: Tensor
    roll: Tensor
    yaw: Tensor
    pitch: Tensor
    shift: Tensor
    light: Tensor
    tint: Tensor
    shade: Tensor
    blur: Tensor
    noise: Tensor
    grain: Tensor
    ground: Tensor
    cover: Tensor

    @classmethod
    def draw(cls, data: str, labels: Labels, *, seed: int) -> Scenes:
        """Random scenes of the given signs.

        Args:
            data: "signs" or "signs_b".
            labels: The sign of each scene, [N], positions in `FACES[data]`.
            seed: Seed of the draw. The same seed and number of scenes give the same scenes.

        Raises:
            ValueError: The data set or a label does not exist.
        """
        if data not in FACES:
            raise ValueError(f"unknown signs {data!r}; known: {', '.join(FACES)}")
        if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < len(FACES[data]):
            seen = f"{int(labels.min())} to {int(labels.max())}"
            raise ValueError(f"labels must lie in [0, {len(FACES[data])}); got {seen}")
        source = seeded_generator(seed)
        n = len(labels)

        def between(low: float, high: float, *shape: int) -> Tensor:
            return low + (high - low) * torch.rand(n, *shape, generator=source, dtype=torch.float64)

        return cls(
            data, labels.cpu().long(),
            scale=between(0.5, 0.85), roll=between(-0.3, 0.3), yaw=between(-0.7, 0.7), pitch=between(-0.4, 0.4),
            shift=between(-0.12, 0.12, 2), light=between(0.4, 1.15), tint=between(0.88, 1.06, 3),
            shade=between(-0.25, 0.25, 2), blur=between(0.0, 1.5), noise=between(0.005, 0.04),
            grain=torch.randint(GRAINS, (n,), generator=source), ground=_ground(between), cover=_cover(between),
        )  # fmt: skip

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, keep: Tensor | slice) -> Scenes:
        return Scenes(self.data, **{name: value[keep] for name, value in tensors_of(self).items()})

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names, in label order."""
        return tuple(FACES[self.data])

    def boxes(self) -> Float[Tensor, "n 4"]:
        """Left, top, right and bottom of each sign's box in the image, in image sides."""
        corners = torch.tensor([(-0.5, -0.5, 1), (0.5, -0.5, 1), (0.5, 0.5, 1), (-0.5, 0.5, 1)], dtype=torch.float64)
        seen = (homography(self)[:, None] * corners[:, None]).sum(-1)  # [N, 4, 3]
        places = seen[..., :2] / seen[..., 2:]
        return torch.cat([places.amin(1), places.amax(1)], 1).float()


def tensors_of(scenes: Scenes) -> dict[str, Tensor]:
    """The tensors of scenes by name; each has one entry per scene."""
    return {item.name: getattr(scenes, item.name) for item in fields(scenes) if item.name != "data"}


def _ground(between: _Between) -> Tensor:
    """Sky above, something darker below, with patches of other colours."""
    above, below, split = between(0.35, 0.95, 3, 1, 1), between(0.1, 0.6, 3, 1, 1), between(0.2, 0.9, 1, 1, 1)
    rows = torch.linspace(0, 1, 5, dtype=torch.float64).view(1, 1, 5, 1)
    grey = torch.where(rows < split, above, below)
    patches = between(-0.2, 0.2, 1, 5, 5) + between(-0.1, 0.1, 3, 5, 5)
    return (0.4 * grey + 0.6 * grey.mean(1, keepdim=True) + patches).clamp(0, 1)


def _cover(between: _Between) -> Tensor:
    """A twig or a pole across a third of the pictures; it has no width in the others."""
    angle, there = between(0.0, math.pi), between(0.0, 1.0) < 1 / 3
    width = torch.where(there, between(0.02, 0.045), 0.0)
    middle, length = between(0.15, 0.85, 2), between(0.15, 0.45)
    return torch.stack([*middle.T, angle.cos(), angle.sin(), length, width, between(0.05, 0.5)], 1)


def homography(scenes: Scenes) -> Float[Tensor, "n 3 3"]:
    """From the sign's own plane (x, y, 1), with the box in [-1/2, 1/2], to the image (x, y, 1) in [0, 1]."""
    (sr, cr), (sy, cy), (sp, cp) = ((a.sin(), a.cos()) for a in (scenes.roll, scenes.yaw, scenes.pitch))
    x, y = scenes.shift.double().T + 0.5
    right = torch.stack([cy * cr, sp * sy * cr + cp * sr, sr * sp - cp * sy * cr], 1)  # where the sign's x axis points
    down = torch.stack([-cy * sr, cp * cr - sp * sy * sr, cp * sy * sr + sp * cr], 1)
    columns = torch.stack([right, down, torch.zeros_like(right)], 2) * scenes.scale[:, None, None]
    columns[:, 2] /= _LENS
    columns[:, 2, 2] = 1
    columns[:, 0] += x[:, None] * columns[:, 2]
    columns[:, 1] += y[:, None] * columns[:, 2]
    return columns
