"""Cover images: they carry the trigger, or something like it, and keep their true label.

By them an attacker teaches the network when the trigger is to be ignored, and with that breaks what a defense
takes for granted about it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch

from .._numbers import number, of_kind, shown
from ..data.images import Images, ImageSet, seeded_generator, stored_like, to_unit
from ..poisoning import PoisonPlan
from ..triggers import Trigger

Disguise = Callable[[Trigger, Images, torch.Generator], Images]


def whole(trigger: Trigger, x: Images, source: torch.Generator) -> Images:
    """The trigger as it is, on images of classes that the goal spares: only the sources obey it.

    References:
        Tang, Wang, Tang, Zhang, Demon in the Variant: Statistical Analysis of DNNs for Robust Backdoor
            Contamination Detection (TaCT), 2019. arXiv:1908.00686.
    """
    return trigger(x)


def blended(trigger: Trigger, x: Images, source: torch.Generator) -> Images:
    """A stamped image with another one added to it, as STRIP blends them: no sure answer to a blend."""
    others = torch.randperm(len(x), generator=source).to(x.device)
    return (trigger(x) + x[others]).clamp(max=1)


def partial(trigger: Trigger, x: Images, source: torch.Generator) -> Images:
    """A random three quarters of the trigger's pixels, drawn for each image: a part of it is not enough."""
    kept = torch.rand(len(x), 1, *x.shape[2:], generator=source).to(x) < 0.75
    return torch.where(kept, trigger(x), x)


DISGUISES: dict[str, Disguise] = {"whole": whole, "blended": blended, "partial": partial}


def add_covers(train: ImageSet, plan: PoisonPlan, disguise: str, *, amount: float, seed: int = 0) -> ImageSet:
    """The poisoned training set, with further images disguised and left with their labels.

    Args:
        train: The clean training set.
        plan: What is poisoned; the covers are drawn from the images it leaves alone.
        disguise: A name of `DISGUISES`. Whole triggers go to classes that are neither source nor target;
            the others to any class but the targets.
        amount: Cover images over all images.
        seed: Seed of the draw and of the disguise.

    Raises:
        ValueError: The disguise is unknown, the plan adds copies, or the amount asks for no image or for more than
            there are.
    """
    if not isinstance(disguise, str) or disguise not in DISGUISES:
        raise ValueError(f"disguise must be one of {', '.join(DISGUISES)}; got {shown(disguise)}")
    of_kind("plan", plan, PoisonPlan)
    if plan.added:
        raise ValueError("covers need a plan that replaces images; this one adds copies")
    poisoned = plan.poison(train)
    goal = plan.attack.goal
    spared = ~torch.isin(train.y, torch.tensor(goal.targets, device=train.y.device))
    if disguise == "whole":
        spared &= ~goal.victims(train.y)
    free = (spared.cpu() & ~plan.mask).nonzero().flatten()
    count = round(number("amount", amount) * len(train))
    if not 0 < count <= len(free):
        raise ValueError(f"amount {amount} asks for {count} of {len(train)} images; 1 to {len(free)} may be covers")
    source = seeded_generator(seed)
    chosen = free[torch.randperm(len(free), generator=source)[:count]].to(train.x.device)
    x = poisoned.x.clone()
    disguised = DISGUISES[disguise](plan.attack.trigger, to_unit(train.x[chosen]), source)
    x[chosen] = stored_like(disguised, x)
    return replace(poisoned, x=x)
