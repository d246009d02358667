"""Adap-Blend and Adap-Patch: data poisoned so that triggered images form no heap of their own inside the network.

Many filters look for poison that lies apart from clean images of its label. Two measures work against that. Some
stamped images keep their true labels, so that the trigger alone is not the reason for the target. And what is stamped
on training images differs from image to image and is weaker than what will be shown to the network later.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import isqrt
from typing import Any

import torch
from torch import Tensor

from .._numbers import number, of_kind, several, whole
from ..data.images import Images, ImageSet, seeded_generator, stored_like, to_unit
from ..poisoning import PoisonPlan
from ..triggers import Chain, Checkerboard, Patch, Trigger, check_trigger, stamp

WEAK = (
    Patch(size=4, corner="top-left", margin=1, opacity=0.5),
    Checkerboard(size=4, corner="top-right", margin=1, opacity=0.2),
    Patch(size=4, corner="bottom-left", margin=1, opacity=0.5),
    Checkerboard(size=4, corner="bottom-right", margin=1, opacity=0.3),
)
"""Four triggers for training images, at the opacities of the authors' four pictures; see `adaptive_patch`."""

STRONG = Chain((replace(WEAK[0], opacity=1.0), replace(WEAK[2], opacity=1.0)))
"""Two of them at full opacity: what the network is shown afterwards."""


def adaptive_blend(
    train: ImageSet, plan: PoisonPlan, *, amount: float, pieces: int = 16, masked: float = 0.5, seed: int = 0
) -> ImageSet:
    """The training set of Adap-Blend: of the trigger each image gets half of the pieces, and some keep their labels.

    The image is cut into a grid of square pieces. On every poisoned image, and on every cover image, `masked` of the
    pieces are left as they were, drawn anew for each. Covers keep their labels. Afterwards the whole trigger is used:
    that is the plan's, under which the network is scored.

    Args:
        train: The clean training set.
        plan: What is poisoned, and with what; `Blend(opacity=0.2)` is the authors' opacity.
        amount: Cover images over all images. The authors poison 0.3% and cover 0.3%.
        pieces: A square number; 16 in the authors' code.
        masked: The part of the pieces that is left out, in [0, 1); 0.5 there.
        seed: Seed of the draws.

    Raises:
        ValueError: The pieces are no square grid of the images, the plan adds copies, or the amount asks for no
            image or for more than there are.

    References:
        Qi, Xie, Li, Mahloujifar, Mittal, Revisiting the Assumption of Latent Separability for Backdoor Defenses, 2023.
            openreview.net/forum?id=_wSHsgrVali; the authors' code, github.com/Unispac/Circumventing-Backdoor-Defenses,
            poison_tool_box/adaptive_blend.py.

    Differs from the authors' code: there the picture is Hello Kitty, and images of the target may be poisoned, too.

    Example:
        >>> blend = bd.Attack(bd.Blend(opacity=0.2), bd.Goal.all_to_one(0, 10))
        >>> handed_over = adaptive_blend(train, blend.plan(train, fraction=0.003), amount=0.003)
        >>> int((handed_over.x != train.x).flatten(1).any(1).sum())
        24
    """
    each_side = _grid(train, pieces)
    if not 0 <= number("masked", masked) < 1:
        raise ValueError(f"masked must lie in [0, 1); got {masked}")
    trigger = of_kind("plan", plan, PoisonPlan).attack.trigger
    source = seeded_generator(seed)

    def disguised(x: Images) -> Images:
        kept = _pieces_kept(len(x), each_side, round(masked * pieces), source)
        height, width = x.shape[-2] // each_side, x.shape[-1] // each_side
        seen = kept.repeat_interleave(height, 1).repeat_interleave(width, 2)[:, None].to(x.device)
        stamped: Any = stamp(trigger, x)
        return torch.where(seen, stamped, x)

    covers = _covers(train, plan, amount, source)
    return _with(_with(plan.poison(train), plan.indices, train, disguised), covers, train, disguised)


def adaptive_patch(
    train: ImageSet, plan: PoisonPlan, *, amount: float, triggers: Sequence[Trigger] = WEAK, seed: int = 0
) -> ImageSet:
    """The training set of Adap-Patch: each image gets one of several weak triggers, and some keep their labels.

    Every trigger goes to equally many poisoned images and equally many cover images; covers keep their labels.
    Afterwards stronger triggers are used: the plan's, under which the network is scored, such as `STRONG`.

    Args:
        train: The clean training set.
        plan: What is poisoned; its trigger is the one that is used afterwards.
        amount: Cover images over all images. The authors poison 0.3% and cover 0.6%.
        triggers: What training images are stamped with.
        seed: Seed of the draws.

    Raises:
        ValueError: There is no trigger, the plan adds copies, or the amount asks for no image or for more than there
            are.

    References:
        Qi et al., 2023, as in `adaptive_blend`; the authors' code, poison_tool_box/adaptive_patch.py and config.py.

    Differs from the authors' code: there the four triggers are pictures (a phoenix, the Firefox logo, a patch, a
    square), at opacities 0.5, 0.2, 0.5 and 0.3, and two pictures at full opacity are shown afterwards. Here they are
    squares and checkerboards in the four corners, at the same opacities; `Picture` triggers can be given instead.

    Example:
        >>> patches = bd.Attack(STRONG, bd.Goal.all_to_one(0, 10))
        >>> handed_over = adaptive_patch(train, patches.plan(train, fraction=0.003), amount=0.006)
        >>> int((handed_over.y != train.y).sum())
        12
    """
    weak = tuple(several("triggers must be triggers in a tuple", triggers))
    for each in weak:
        check_trigger(each)
    if not weak:
        raise ValueError("Adap-Patch needs at least one trigger for training images; got none")
    source = seeded_generator(seed)
    covers = _covers(train, plan, amount, source)

    def disguised(x: Images) -> Images:
        parts: Any = [
            stamp(trigger, part) if len(part) else part
            for trigger, part in zip(weak, x.tensor_split(len(weak)), strict=True)
        ]
        return torch.cat(parts)

    return _with(_with(plan.poison(train), plan.indices, train, disguised), covers, train, disguised)


def _grid(train: ImageSet, pieces: int) -> int:
    """Pieces along each side."""
    side = isqrt(max(0, whole("pieces", pieces)))
    height, width = train.x.shape[-2:]
    if side < 1 or side**2 != pieces or height % side or width % side:
        raise ValueError(
            f"pieces must be a square number whose root divides the sides; got {pieces} for {height}x{width}"
        )
    return side


def _pieces_kept(images: int, side: int, masked: int, source: torch.Generator) -> Tensor:
    """True where a piece is stamped, drawn for each image, [images, side, side]."""
    order = torch.rand(images, side * side, generator=source).argsort(1)
    return (order.argsort(1) >= masked).view(images, side, side)


def _covers(train: ImageSet, plan: PoisonPlan, amount: float, source: torch.Generator) -> tuple[int, ...]:
    """Positions of the cover images, ascending: any that are not poisoned."""
    if of_kind("plan", plan, PoisonPlan).added:
        raise ValueError("covers need a plan that replaces images; this one adds copies")
    free = (~plan.mask).nonzero().flatten()
    count = round(number("amount", amount) * len(train))
    if not 0 < count <= len(free):
        raise ValueError(f"amount {amount} asks for {count} of {len(train)} images; 1 to {len(free)} may be covers")
    return tuple(free[torch.randperm(len(free), generator=source)[:count]].sort().values.tolist())


def _with(data: ImageSet, places: Sequence[int], clean: ImageSet, disguised: Any) -> ImageSet:
    """The data with some images replaced by disguised clean ones; labels stay as they are."""
    chosen = torch.tensor(places, device=data.x.device)
    x = data.x.clone()
    x[chosen] = stored_like(disguised(to_unit(clean.x[chosen])), x)
    return replace(data, x=x)
