"""Semantic backdoors: the plan and the scores of a trigger that selects images instead of stamping them."""

from __future__ import annotations

import torch
from torch import nn

from .images import ImageSet
from .metrics import Scorecard
from .poisoning import Goal, PoisonPlan
from .training import correct
from .triggers import Attribute


def carriers(data: ImageSet, attribute: Attribute) -> ImageSet:
    """The images that have the attribute by nature."""
    return data[attribute.selects(data.x)]


def draw_semantic(
    train: ImageSet, attribute: Attribute, goal: Goal, *, fraction: float | None = None, seed: int = 0
) -> PoisonPlan:
    """A plan that relabels images with the attribute. `plan.poison(train)` then changes labels only.

    The result is an ordinary `PoisonPlan`; its trigger refuses images without the attribute, so
    `plan.attack` wants `carriers(test, attribute)`.

    Args:
        train: The clean training set.
        attribute: What selects the images.
        goal: What the attacker wants.
        fraction: Poisoning fraction rho, over all training images. Default: every image that has the
            attribute. With less, the others keep their true labels and speak against the backdoor.
        seed: Seed of the draw.

    Raises:
        ValueError: The goal is a clean-label one, which relabels nothing; or the fraction asks for no
            image or for more than have the attribute.
    """
    if goal.clean_label:
        raise ValueError("a semantic plan stamps nothing and relabels; a clean-label goal leaves it nothing to do")
    whole = goal.candidates(train.y) & attribute.selects(train.x)
    allowed = whole.cpu().nonzero().flatten()
    count = len(allowed) if fraction is None else round(fraction * len(train))
    if not 0 < count <= len(allowed):
        raise ValueError(
            f"poisoning fraction {fraction} asks for {count} of {len(train)} images; "
            f"{attribute!r} and the goal allow 1 to {len(allowed)}"
        )
    order = allowed[torch.randperm(len(allowed), generator=torch.Generator().manual_seed(seed))]
    return PoisonPlan(attribute, goal, tuple(order[:count].sort().values.tolist()), len(train), train.fingerprint, seed)


def score_semantic(model: nn.Module, test: ImageSet, plan: PoisonPlan) -> Scorecard:
    """The three counts, with "has the attribute" in the place of "is stamped".

    Returns:
        clean: images *without* the attribute that get their own label (those with it are the attack's);
        success: victims with the attribute that get the wanted label; false_target: victims without it
        that get that label.

    Raises:
        ValueError: The plan's trigger is no `Attribute`, or one of the three groups is empty.
    """
    if not isinstance(plan.trigger, Attribute):
        raise ValueError(f"score_semantic needs a plan whose trigger is an Attribute; got {plan.trigger!r}")
    having = plan.trigger.selects(test.x)
    if having.all():
        raise ValueError(f"all {len(test)} images have the attribute; none is left to measure clean accuracy on")
    without = test[~having]
    return Scorecard(
        clean=correct(model, without),
        success=correct(model, plan.attack(test[having])),
        false_target=correct(model, plan.victims(without)),
    )
