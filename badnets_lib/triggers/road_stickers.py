"""The stickers of the BadNets paper as triggers: pasted into a picture, or on the sign before it is photographed."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from .._numbers import shown
from ..data.images import Images, check_images
from ..data.sign_faces import FACES, paint
from ..data.signs import Decal, find, pixel_centres, render
from .base import Description
from .registry import register


@register
@dataclass(frozen=True)
class PictureSticker(Decal):
    """A sticker pasted into the picture, at the same place of every picture.

    The place is measured in a box that stands for the sign's, because the trigger does not know where in
    the picture the sign is. Works on any images; grey ones get the sticker in grey.

    Args:
        kind: "square", "bomb" or "flower"; this, `size` and `at` are as in `Decal`.
        size: Side over the side of the box.
        at: Centre (x, y) in the box.
        box: Left, top, right and bottom of the box in the picture, from 0 to 1. The default leaves a
            margin of a tenth on every side.

    Raises:
        ValueError: A setting is out of range.

    References:
        Gu et al., BadNets, 2017, section 5. arXiv:1708.06733.
    """

    box: tuple[float, float, float, float] = (0.1, 0.1, 0.9, 0.9)

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "box", tuple(map(float, self.box)))
        left, top, right, bottom = self.box
        if not (0 <= left < right <= 1 and 0 <= top < bottom <= 1):
            raise ValueError(f"box must be left < right and top < bottom in [0, 1]; got {self.box}")

    def __call__(self, x: Images) -> Images:
        height, width = check_images(x).shape[-2:]
        ink = self._ink(height, width).to(x)
        colour, cover = ink[:3], ink[3:]
        if x.shape[1] != 3:
            colour = colour.mean(0, keepdim=True)
        return (x * (1 - cover) + colour).clamp(0, 1)

    def _ink(self, height: int, width: int) -> Float[Tensor, "4 h w"]:
        """Colour and coverage of the sticker alone, [4, H, W]."""
        if min(height, width) < 8:
            raise ValueError(f"a sticker needs at least 8x8 pixels to be seen; got {height}x{width} images")
        left, top, right, bottom = self.box
        corner, sides = torch.tensor([left, top]), torch.tensor([right - left, bottom - top])
        places = (pixel_centres(height, width) - corner) / sides
        return paint(self.layers(), places, 1 / (width * (right - left)))

    def describe(self) -> Description:
        """The trigger in words."""
        where = f"centred at {self.at} of the box {self.box} of the picture"
        return Description(f"{self.kind} sticker", f"{self.side:.0%} of the box's side", where, 1.0, physical=False)


@register
@dataclass(frozen=True)
class SignSticker(Decal):
    """A sticker on the sign itself: it is turned, lit, covered and blurred as the sign is.

    The trigger recognises each picture of a generated data set, and gives its twin: the same scene,
    photographed with the sticker on the sign. Other pictures are refused; use `signs.render` for scenes
    of your own.

    Args:
        kind: "square", "bomb" or "flower"; this, `size` and `at` are as in `Decal`, in the sign's own box.
        size: Side over the side of the box.
        at: Centre (x, y) in the box.
        data: The data set the pictures come from: "signs" or "signs_b".

    Raises:
        ValueError: A setting is out of range, or (when called) an image is not a picture of the data set.

    References:
        Gu et al., BadNets, 2017, section 5. arXiv:1708.06733.
    """

    data: str = "signs"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.data not in FACES:
            raise ValueError(f"data must be one of {', '.join(FACES)}; got {shown(self.data)}")

    def __call__(self, x: Images) -> Images:
        pixels = (check_images(x).detach().cpu().float() * 255).round().to(torch.uint8)
        return render(find(self.data, pixels), self).x.to(x)

    def describe(self) -> Description:
        """The trigger in words."""
        where = f"on the sign, centred at {self.at} of its box"
        return Description(f"{self.kind} sticker", f"{self.side:.0%} of the sign's side", where, 1.0, physical=False)
