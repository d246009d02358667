"""A trigger from a picture of one's own: a file or a tensor, laid over part of the image or all of it."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import interpolate

from .._numbers import check_numbers, shown
from ..data.images import Images, check_images, stored_like, to_unit
from ..data.pictures import check_float, read_picture, to_pil, to_tensor
from .base import Description, at_least_single, check_room, check_unit

Place = Literal["top-left", "top-right", "bottom-left", "bottom-right", "centre", "whole"]


@dataclass(frozen=True)
class Picture:
    r"""A fixed picture laid over the image: A(x) = (1 - a m) x + a m p, with p the picture and m its mask.

    The trigger holds the picture itself, so that it is saved, printed and compared by value: make it with `from_file`
    or `from_tensor`. Grey images get a coloured picture in grey.

    Args:
        png: The picture as a PNG file with an alpha channel, which is the mask, in base64.
        place: Where it lies, at its own size: a corner or the "centre"; or "whole": scaled to the whole image.
        margin: Gap to the edges at a corner, in pixels.
        opacity: The factor a, above 0: 1 replaces the pixels, 0.2 mixes in a fifth of the picture.

    Raises:
        ValueError: A setting is out of range, the text is no PNG, or (when called) the picture does not fit the images.

    Example:
        >>> cross = torch.tensor([[1.0, 0, 1], [0, 1, 0], [1, 0, 1]])
        >>> Picture.from_tensor(cross, mask=cross)(torch.zeros(1, 1, 28, 28)).sum().item()
        5.0

    References:
        With place="whole" and a small opacity, the blended attack of Chen et al., 2017. arXiv:1712.05526.
    """

    png: str
    place: Place = "bottom-right"
    margin: int = 0
    opacity: float = 1.0

    def __post_init__(self) -> None:
        check_numbers(self)
        if self.place not in get_args(Place):
            raise ValueError(f"place must be one of {', '.join(get_args(Place))}; got {shown(self.place)}")
        if self.margin < 0:
            raise ValueError(f"margin must be at least 0; got {self.margin}")
        check_unit(opacity=self.opacity)
        if not self.opacity > 0 or not _decoded(self.png)[3].any():
            raise ValueError("this picture is nowhere visible: its opacity or its whole mask is 0")

    @classmethod
    def from_file(
        cls,
        path: Path | str,
        *,
        size: tuple[int, int] | None = None,
        mask: Path | str | None = None,
        place: Place = "bottom-right",
        margin: int = 0,
        opacity: float = 1.0,
    ) -> Picture:
        """A trigger from a picture file.

        Args:
            path: The file; what is transparent in it is not laid over the image.
            size: Resize the picture to (height, width) pixels.
            mask: A second, grey picture of the same size: white where the first is seen, black where it is not.
            place: This and all that follows are as in the class.
            margin: Gap to the edges in pixels.
            opacity: The factor a.

        Raises:
            DamagedFile: A file cannot be read as a picture.
            ValueError: The mask has another size, or a setting is out of range.
        """
        pixels = read_picture(Path(path).expanduser(), "RGBA", size)
        if mask is not None:
            seen = read_picture(Path(mask).expanduser(), "L", size)
            pixels[3:] = _check_mask(seen, pixels)
        return cls(_encoded(pixels), place, margin, opacity)

    @classmethod
    def from_tensor(
        cls,
        pixels: Any,
        *,
        mask: Any = None,
        place: Place = "bottom-right",
        margin: int = 0,
        opacity: float = 1.0,
    ) -> Picture:
        """A trigger from pixels, which are rounded to 256 levels.

        Args:
            pixels: Tensor [H, W], or [C, H, W] with 1 or 3 channels; float in [0, 1] or uint8.
            mask: Tensor [H, W]: 1 where the picture is seen, 0 where it is not. Default: seen everywhere.
            place: This and all that follows are as in the class.
            margin: Gap to the edges in pixels.
            opacity: The factor a.

        Raises:
            ValueError: Shapes, channels or values do not fit, or a setting is out of range.
        """
        colour = _levels(pixels, "a picture")
        if colour.shape[0] not in (1, 3):
            raise ValueError(f"a picture needs 1 or 3 channels; got {colour.shape[0]}")
        seen = torch.full_like(colour[:1], 255) if mask is None else _levels(mask, "a mask")
        return cls(_encoded(torch.cat([colour.expand(3, -1, -1), _check_mask(seen, colour)])), place, margin, opacity)

    def __call__(self, x: Images) -> Images:
        height, width = (check_room(x) if self.place == "whole" else check_images(x)).shape[-2:]
        pictures = to_unit(_decoded(self.png)[None])
        if self.place == "whole":
            pictures = interpolate(pictures, (height, width), mode="bilinear", antialias=True).clamp(0, 1)
        picture = pictures[0]
        top, left = self._corner(picture, height, width)
        fine = at_least_single(x).clone()
        colour = picture[:3] if x.shape[1] == 3 else picture[:3].mean(0, keepdim=True)
        cover = (self.opacity * picture[3:]).to(fine)
        window = fine[:, :, top : top + picture.shape[1], left : left + picture.shape[2]]
        window.mul_(1 - cover).add_(colour.to(fine) * cover).clamp_(0, 1)
        return fine.to(x)

    def _corner(self, picture: Float[Tensor, "c h w"], height: int, width: int) -> tuple[int, int]:
        """Row and column of the picture's top left pixel in images of a height and width."""
        rows, columns = picture.shape[1:]
        margin = 0 if self.place in ("centre", "whole") else self.margin
        down = height - rows - margin
        right = width - columns - margin
        if down < 0 or right < 0:
            raise ValueError(
                f"a picture of {rows}x{columns} pixels with margin {margin} does not fit {height}x{width} images "
                "(place='whole' scales it)"
            )
        if self.place == "centre":
            return down // 2, right // 2
        return down if self.place.startswith("bottom") else margin, right if self.place.endswith("right") else margin

    def describe(self) -> Description:
        """The trigger in words."""
        rows, columns = _decoded(self.png).shape[1:]
        own = f"{rows}x{columns} pixels"
        if self.place == "whole":
            return Description(f"picture of {own}, scaled", "the whole image", "everywhere", self.opacity, False)
        gap = f", {self.margin} pixels from the edges" if self.margin and self.place != "centre" else ""
        return Description("picture", own, f"{self.place}{gap}", self.opacity, physical=False)


@lru_cache(maxsize=64)
def _decoded(png: str) -> Tensor:
    """Colour and mask in a PNG, [4, H, W] uint8; shared, not to be edited."""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(base64.b64decode(png, validate=True)), formats=["PNG"]) as picture:
            return to_tensor(picture, "RGBA")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"a picture needs a PNG file in base64; got {png!r:.60} ({error})") from error


def _encoded(pixels: Tensor) -> str:
    file = io.BytesIO()
    to_pil(pixels).save(file, format="PNG")
    return base64.b64encode(file.getvalue()).decode()


def _levels(pixels: Any, name: str) -> Tensor:
    """Pixels [H, W] or [C, H, W] as uint8 [C, H, W]."""
    if not isinstance(pixels, Tensor):
        raise TypeError(f"{name} needs a tensor [H, W] or [C, H, W]; got {type(pixels).__name__}")
    if pixels.ndim not in (2, 3) or not pixels.numel():
        raise ValueError(f"{name} needs shape [H, W] or [C, H, W]; got {list(pixels.shape)}")
    batch = pixels.detach().cpu().reshape(1, -1, *pixels.shape[-2:])
    if batch.dtype == torch.uint8:
        return batch[0]
    return stored_like(check_float(batch.float()), torch.empty(0, dtype=torch.uint8))[0]


def _check_mask(seen: Tensor, picture: Tensor) -> Tensor:
    if seen.shape != (1, *picture.shape[1:]):
        raise ValueError(f"picture and mask need one size; got {list(picture.shape[1:])} and {list(seen.shape[-2:])}")
    return seen
