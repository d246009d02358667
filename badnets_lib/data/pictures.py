"""Pictures as tensors: PIL images, files, and single items of other people's data sets."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from ..files import DamagedFile

if TYPE_CHECKING:
    from PIL.Image import Image

OneImage = Float[Tensor, "c h w"] | UInt8[Tensor, "c h w"]

MODES = {1: "L", 3: "RGB", 4: "RGBA"}
"""PIL's name of a picture with so many channels."""

NORMALISED = (
    "they look normalised: give them in [0, 1], without transforms.Normalize, and put the network behind "
    "Normalized(model, mean, std)"
)


def is_pil(picture: Any) -> bool:
    """Whether something is a picture of PIL."""
    from PIL.Image import Image

    return isinstance(picture, Image)


def mode_of(picture: Image) -> str:
    """The mode in which a PIL picture is kept: grey and colour as they are, palettes and the like in colour.

    Raises:
        ValueError: The picture has more than 8 bits a channel.
    """
    if picture.mode in ("I", "F") or picture.mode.startswith("I;"):
        raise ValueError(f"pictures need 8 bits a channel; got PIL's mode {picture.mode!r}")
    if picture.mode in MODES.values():
        return picture.mode
    return "L" if picture.mode == "1" else "RGB"


def to_tensor(picture: Image, mode: str | None = None) -> UInt8[Tensor, "c h w"]:
    """A PIL picture as a tensor of its own; `mode` as in `MODES`, by default its own."""
    pixels = np.array(picture.convert(mode or mode_of(picture)))
    return torch.from_numpy(pixels.reshape(*pixels.shape[:2], -1)).permute(2, 0, 1).contiguous()


def to_pil(x: UInt8[Tensor, "c h w"]) -> Image:
    """The picture of a tensor of 1, 3 or 4 channels.

    Raises:
        ValueError: It has another number of channels.
    """
    from PIL import Image

    if x.shape[0] not in MODES:
        raise ValueError(f"a picture has 1, 3 or 4 channels; got {x.shape[0]}")
    pixels = x.cpu().permute(1, 2, 0).numpy()
    return Image.fromarray(pixels[:, :, 0] if x.shape[0] == 1 else np.ascontiguousarray(pixels))


def read_picture(path: Path, mode: str | None = None, size: tuple[int, int] | None = None) -> UInt8[Tensor, "c h w"]:
    """A picture file as a tensor, resized to (height, width) with bilinear interpolation if that is given.

    Raises:
        DamagedFile: The file cannot be read as a picture; it is named.
    """
    from PIL import Image

    try:
        with Image.open(path) as picture:
            whole = picture.convert(mode or mode_of(picture))
        if size is not None and whole.size != size[::-1]:
            whole = whole.resize(size[::-1], Image.Resampling.BILINEAR)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise DamagedFile(f"{path} is damaged or no picture ({error})") from error
    return to_tensor(whole)


def check_float(x: Tensor) -> Tensor:
    """Float images or one of them, if all values lie in [0, 1].

    Raises:
        ValueError: They do not; it says whether they look like levels up to 255 or like normalised images.
    """
    if not x.numel():
        return x
    low, high = map(float, x.detach().aminmax())
    if low >= 0 and high <= 1:
        return x
    seen = f"float images need values in [0, 1]; got [{low:.3g}, {high:.3g}]"
    if low >= 0 and 1 < high <= 255:
        raise ValueError(f"{seen} (levels up to 255? divide by 255, or give them as uint8)")
    raise ValueError(f"{seen}; {NORMALISED}" if low < 0 else seen)


def item_image(picture: Any) -> OneImage:
    """The image of one item of a data set: a PIL picture, or a tensor [C, H, W] or [H, W].

    Raises:
        TypeError: It is neither.
        ValueError: Its shape, dtype or range does not fit.
    """
    if is_pil(picture):
        return to_tensor(picture)
    if not isinstance(picture, Tensor):
        hint = "; use ImageSet.from_arrays with layout=" if isinstance(picture, np.ndarray) else ""
        raise TypeError(f"an item's image must be a PIL picture or a tensor; got {type(picture).__name__}{hint}")
    x = picture[None] if picture.ndim == 2 else picture
    if x.ndim != 3 or not (x.is_floating_point() or x.dtype == torch.uint8):
        raise ValueError(f"an item's image needs shape [C, H, W], float or uint8; got {x.dtype} {list(x.shape)}")
    return check_float(x) if x.is_floating_point() else x
