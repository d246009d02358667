"""Small pictures for a report, as PNG and without matplotlib."""

from __future__ import annotations

import io
import math
from collections.abc import Collection
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from ..data.images import Images

MAKER = "badnets_lib.auditing"
"""What a picture says of who made it: by that a report knows the pictures of earlier ones."""

GAP = 4
"""White pixels between two images."""

SIDE = 96
"""About so many pixels an image is high on the sheet."""


def sheet(x: Images, *, columns: int = 10) -> bytes:
    """Images [N, C, H, W] in [0, 1] side by side, enlarged without smoothing, as a PNG."""
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    scale = max(1, round(SIDE / x.shape[-2]))
    large = in_colour(x).repeat_interleave(scale, 2).repeat_interleave(scale, 3)
    columns = min(columns, len(large))
    rows = math.ceil(len(large) / columns)
    height, width = large.shape[-2] + GAP, large.shape[-1] + GAP
    canvas = torch.ones(3, rows * height + GAP, columns * width + GAP)
    for place, image in enumerate(large):
        top, left = place // columns * height + GAP, place % columns * width + GAP
        canvas[:, top : top + height - GAP, left : left + width - GAP] = image
    pixels = (canvas * 255).round().to(torch.uint8).permute(1, 2, 0).contiguous()
    file = io.BytesIO()
    maker = PngInfo()
    maker.add_text("Software", MAKER)
    Image.fromarray(pixels.numpy()).save(file, "PNG", optimize=True, pnginfo=maker)
    return file.getvalue()


def remove_others(folder: Path, wanted: Collection[str]) -> None:
    """Remove pictures that an earlier report left behind; whatever `sheet` did not make is left alone.

    Args:
        folder: Where the pictures of a report lie; it goes too if it is empty then, and need not be there.
        wanted: Names of the files that stay.
    """
    if not folder.is_dir():
        return
    for path in folder.glob("*.png"):
        if path.name not in wanted and path.is_file() and _made_here(path):
            path.unlink()
    if not any(folder.iterdir()):
        folder.rmdir()


def _made_here(path: Path) -> bool:
    """Whether a PNG says that `sheet` made it; what a PNG says of its maker stands before its pixels."""
    with path.open("rb") as file:
        return b"tEXtSoftware\0" + MAKER.encode() in file.read(200)


def in_colour(x: Images) -> Float[Tensor, "n 3 h w"]:
    """The images on the CPU with three channels: grey is repeated, of more than three the first three are shown."""
    shown = x.detach().cpu().float()
    return shown.expand(-1, 3, -1, -1) if shown.shape[1] < 3 else shown[:, :3]


def trigger_panels(mask: Float[Tensor, "1 h w"], pattern: Float[Tensor, "c h w"]) -> Float[Tensor, "3 3 h w"]:
    """A reversed trigger as three images: its mask, its pattern, and the pattern where the mask lets it show."""
    three = [mask.expand_as(pattern), pattern, mask * pattern]
    return in_colour(torch.stack(three))
