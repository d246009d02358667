"""Generated road signs: pictures of `Scenes`, with or without a sticker on the sign.

The same scenes rendered with and without a sticker give twins that differ in nothing else. The data
sets "signs" (American-like) and "signs_b" (Swedish-like) are two such sets of scenes; nothing is
downloaded, and 10,000 pictures take a few seconds on one core.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from hashlib import blake2b

import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn import functional as F

from .._numbers import shown
from .images import ImageSet
from .scenes import GRAINS, Scenes, homography, tensors_of
from .sign_faces import FACES, STICKERS, Layer, paint, placed

PARTS = {"signs": {"train": 800, "test": 200}, "signs_b": {"train": 200, "test": 200}}
"""Pictures of each sign in the two parts of a data set; the second set is for someone with little data."""

_MARGIN = 0.125  # of the sign's box, on every side of a face: room for a sticker that hangs over
_CHUNK = 100  # images rendered at once


# --- stickers ---

SIDES = {"square": 0.10, "bomb": 0.16, "flower": 0.16}
"""Side of each sticker over the side of the sign's box, after the BadNets paper. arXiv:1708.06733."""


@dataclass(frozen=True)
class Decal:
    """A sticker: what it shows, how large it is, and where on the sign's box it sits.

    Args:
        kind: "square" (a yellow note), "bomb" or "flower".
        size: Side over the side of the box; default: `SIDES[kind]`.
        at: Centre (x, y) in the box, from (0, 0) at the top left to (1, 1).

    Raises:
        ValueError: The kind is unknown, or a number lies outside (0, 1].
    """

    kind: str = "square"
    size: float | None = None
    at: tuple[float, float] = (0.57, 0.82)

    def __post_init__(self) -> None:
        if self.kind not in STICKERS:
            raise ValueError(f"kind must be one of {', '.join(STICKERS)}; got {shown(self.kind)}")
        if self.size is not None and not 0 < self.size <= 1:
            raise ValueError(f"size must lie in (0, 1]; got {self.size}")
        object.__setattr__(self, "at", tuple(map(float, self.at)))
        if len(self.at) != 2 or not all(0 <= place <= 1 for place in self.at):
            raise ValueError(f"at must be two numbers in [0, 1]; got {self.at}")

    @property
    def side(self) -> float:
        """Side over the side of the box."""
        return SIDES[self.kind] if self.size is None else self.size

    def layers(self) -> list[Layer]:
        """Its picture, in the units of the box."""
        return [(placed(shape, self.at, self.side), colour) for shape, colour in STICKERS[self.kind]]


# --- rendering ---


def render(scenes: Scenes, sticker: Decal | None = None, *, size: int = 32) -> ImageSet:
    """Pictures of scenes, one by one independent of the others.

    Args:
        scenes: What to render.
        sticker: Something stuck on every sign *before* it is seen by the camera: it is turned, lit, covered,
            and blurred with the sign. Its `at` and `size` are measured in the sign's box.
        size: Side of the images in pixels. Blur and noise stay those of a camera with such pixels.

    Returns:
        Images [N, 3, size, size] with values that fit into 8 bits, on the CPU.
    """
    return _as_images(scenes, _pixels(scenes, sticker, size))


def _as_images(scenes: Scenes, pixels: UInt8[Tensor, "n 3 h w"]) -> ImageSet:
    return ImageSet(pixels.float().div_(255), scenes.labels.clone(), scenes.classes)


def _pixels(scenes: Scenes, sticker: Decal | None, size: int) -> UInt8[Tensor, "n 3 h w"]:
    key = None if sticker is None else Decal(sticker.kind, sticker.side, sticker.at)
    faces = _faces(scenes.data, key, 2 * size)
    parts = [_expose(scenes[start : start + _CHUNK], faces, size) for start in range(0, len(scenes), _CHUNK)]
    return torch.cat(parts) if parts else torch.zeros(0, 3, size, size, dtype=torch.uint8)


@cache
def _faces(data: str, sticker: Decal | None, size: int) -> Float[Tensor, "k 4 s s"]:
    """Every sign of a set seen from the front, with a margin: premultiplied colour and coverage."""
    extra = [] if sticker is None else sticker.layers()
    points = pixel_centres(size) * (1 + 2 * _MARGIN) - _MARGIN
    return torch.stack([paint([*face, *extra], points, (1 + 2 * _MARGIN) / size) for face in FACES[data].values()])


def pixel_centres(height: int, width: int | None = None) -> Float[Tensor, "h w 2"]:
    """Centres of the pixels (x, y) of an image with sides of length 1; square by default."""
    width = width or height
    rows, columns = (torch.arange(height) + 0.5) / height, (torch.arange(width) + 0.5) / width
    return torch.stack([columns.expand(height, width), rows[:, None].expand(height, width)], -1)


def _expose(scenes: Scenes, faces: Tensor, size: int) -> UInt8[Tensor, "n 3 h w"]:
    """One chunk of pictures. Per pixel only + - * / and sqrt: the same bits in every chunk."""
    sign = F.grid_sample(faces[scenes.labels], _looked_at(scenes, 2 * size), align_corners=False)
    sign = F.avg_pool2d(sign, 2)
    ground = F.interpolate(scenes.ground.float(), size=(size, size), mode="bilinear")
    x = sign[:, :3] + (1 - sign[:, 3:]) * ground
    x = _covered(x, scenes.cover.float())
    across, down = pixel_centres(size).unbind(-1)
    shade = scenes.shade.float()[:, :, None, None, None] * 2
    light = 1 + shade[:, 0] * (across - 0.5) + shade[:, 1] * (down - 0.5)
    x = x * light * (scenes.light[:, None] * scenes.tint).float()[:, :, None, None]
    x = _blurred(x, scenes.blur.float())
    x = x + _grain(size)[scenes.grain] * scenes.noise.float()[:, None, None, None]
    return (x * 255).round().clamp(0, 255).to(torch.uint8)


def _looked_at(scenes: Scenes, size: int) -> Float[Tensor, "n s s 2"]:
    """Where each pixel looks on its face, in the units of `grid_sample`."""
    a, b, c = homography(scenes).unbind(1)
    # The rows of the inverse, up to a factor that the division below removes.
    inverse = torch.stack([torch.linalg.cross(b, c), torch.linalg.cross(c, a), torch.linalg.cross(a, b)], 2).float()
    x, y = pixel_centres(size).unbind(-1)
    u, v, w = (i[:, 0, None, None] * x + i[:, 1, None, None] * y + i[:, 2, None, None] for i in inverse.unbind(1))
    return torch.stack([u / w, v / w], -1) * (2 / (1 + 2 * _MARGIN))


def _covered(x: Tensor, cover: Float[Tensor, "n 7"]) -> Tensor:
    size = x.shape[-1]
    left, top, dx, dy, length, width, grey = (part[:, None, None] for part in cover.T)
    across, down = pixel_centres(size).unbind(-1)
    along = ((across - left) * dx + (down - top) * dy).clamp(-length, length)
    away = ((across - left - along * dx) ** 2 + (down - top - along * dy) ** 2).sqrt()
    inside = ((width - away) * size + 0.5).clamp(0, 1) * (width > 0)
    covered: Tensor = x * (1 - inside[:, None]) + (grey * inside)[:, None]
    return covered


def _blurred(x: Tensor, blur: Float[Tensor, " n"]) -> Tensor:
    little, much = blur.clamp(0, 1), (blur - 1).clamp(0, 1)
    near, far = 0.25 * little, 0.0625 * much  # [0 1 2 1 0] / 4 towards [1 4 6 4 1] / 16
    weights = torch.stack([1 - 2 * near - 2 * far, near, far], 1)[:, :, None, None, None]
    for axis in (2, 3):
        size = x.shape[axis]
        padded = F.pad(x, (2, 2, 0, 0) if axis == 3 else (0, 0, 2, 2), mode="replicate")
        parts = [padded.narrow(axis, offset, size) for offset in range(5)]
        x = parts[2] * weights[:, 0] + (parts[1] + parts[3]) * weights[:, 1] + (parts[0] + parts[4]) * weights[:, 2]
    return x


@cache
def _grain(size: int) -> Float[Tensor, "g 3 s s"]:
    return torch.randn(GRAINS, 3, size, size, generator=torch.Generator().manual_seed(7))


# --- data sets ---


def load(data: str) -> tuple[ImageSet, ImageSet]:
    """(train, test) of "signs" or "signs_b", rendered once in a process; `PARTS` has the numbers."""
    train, test = (_as_images(scenes(data, part), _photographs(data, part)) for part in PARTS[data])
    return train, test


@cache
def scenes(data: str, part: str) -> Scenes:
    """The scenes behind one part, "train" or "test", of a data set: image i of `load` shows scene i."""
    labels = torch.arange(len(FACES[data])).repeat(PARTS[data][part])
    return Scenes.draw(data, labels, seed=_SEEDS[data, part])


_SEEDS = {("signs", "train"): 1, ("signs", "test"): 2, ("signs_b", "train"): 3, ("signs_b", "test"): 4}


@cache
def _photographs(data: str, part: str) -> UInt8[Tensor, "n 3 h w"]:
    return _pixels(scenes(data, part), None, 32)


def find(data: str, pixels: UInt8[Tensor, "n 3 h w"]) -> Scenes:
    """The scenes behind pictures of a data set, recognised by their pixels.

    Raises:
        ValueError: A picture is not one of the data set.
    """
    album = _album(data)
    rows = [album.get(digest) for digest in _digests(pixels)]
    known = [row for row in rows if row is not None]
    if len(known) < len(rows):
        raise ValueError(
            f"{len(rows) - len(known)} of {len(rows)} images are not pictures of {data!r} as load({data!r}) gives them"
        )
    everything = _joined(*(scenes(data, part) for part in PARTS[data]))
    return everything[torch.tensor(known, dtype=torch.long)]


@cache
def _album(data: str) -> dict[bytes, int]:
    pictures = torch.cat([_photographs(data, part) for part in PARTS[data]])
    return {digest: row for row, digest in enumerate(_digests(pictures))}


def _digests(pixels: UInt8[Tensor, "n 3 h w"]) -> list[bytes]:
    return [blake2b(image.numpy().data, digest_size=16).digest() for image in pixels.contiguous()]


def _joined(*parts: Scenes) -> Scenes:
    tensors = {name: torch.cat([getattr(part, name) for part in parts]) for name in tensors_of(parts[0])}
    return Scenes(parts[0].data, **tensors)
