"""Triggers: what the attacker adds to an image.

A trigger is any callable from images [N, C, H, W] in [0, 1] to new images of the same shape and
range. The ones here are frozen dataclasses: each prints as the code that rebuilds it, compares by
value, goes to JSON and back, and describes itself for a report. None is random; where something
varies, it varies by a seed or by the content of the image itself. `dataclasses.replace` on their
fields moves, shrinks or recolours one.

The families after the squares are teaching-size versions of published attacks. Each says how it
differs from the work it is named after.
"""

from .attribute import Attribute as Attribute, slant as slant, stroke_thickness as stroke_thickness
from .base import (
    Described as Described,
    Description as Description,
    Selective as Selective,
    Trigger as Trigger,
    check_trigger as check_trigger,
    describe as describe,
    stamp as stamp,
)
from .chain import Chain as Chain
from .colour import ColourShift as ColourShift
from .overlays import Blend as Blend, Reflection as Reflection, Sinusoid as Sinusoid
from .patterns import blur as blur, noise as noise, scene as scene
from .picture import Picture as Picture
from .posed_square import Pose as Pose, Sticker as Sticker
from .registry import REGISTERED as REGISTERED, from_spec as from_spec, register as register, to_spec as to_spec
from .road_stickers import PictureSticker as PictureSticker, SignSticker as SignSticker
from .squares import (
    FOUR_PIXELS as FOUR_PIXELS,
    SINGLE_PIXEL as SINGLE_PIXEL,
    Checkerboard as Checkerboard,
    Corner as Corner,
    Patch as Patch,
    Pixels as Pixels,
    stamp_square_trigger as stamp_square_trigger,
)
from .warp import Warp as Warp
