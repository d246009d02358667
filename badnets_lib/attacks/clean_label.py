"""Clean-label poisoning made harder: before they are stamped, the poisoned images lose what they are recognised by."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import nn

from .._numbers import of_kind
from ..data.images import ImageSet, stored_like, to_unit
from ..poisoning import PoisonPlan
from .evasion import pgd


def harden(
    train: ImageSet, plan: PoisonPlan, model: nn.Module, *, eps: float = 0.3, steps: int = 20, seed: int = 0
) -> tuple[ImageSet, PoisonPlan]:
    """Perturb the images a clean-label plan will stamp, so that the network needs the trigger to explain their label.

    Projected gradient ascent moves each of them away from its own class, as a clean network sees it.
    No label changes. The returned plan poisons the returned set: `plan.poison(train)`.

    Args:
        train: The clean training set; it is not changed.
        plan: A clean-label plan drawn for it.
        model: A network trained on clean data, which the attacker needs for this.
        eps: Largest change of any pixel, in units of [0, 1].
        steps: Steps of the ascent, each of length 2.5 eps / steps.
        seed: Seed of the ascent's starting point.

    Raises:
        ValueError: The plan is not a clean-label one, or was drawn for other data.

    Differs from the cited work: the method is one of its two (the other interpolates in the latent
    space of a generative network); networks, data and budgets are smaller.

    References:
        Turner, Tsipras, Madry, Label-consistent backdoor attacks, 2019. arXiv:1912.02771.
    """
    if not of_kind("plan", plan, PoisonPlan).attack.goal.clean_label:
        raise ValueError("only a clean-label plan is hardened; this plan changes labels, which is enough")
    plan.check_data(train)
    chosen = torch.tensor(plan.indices, device=train.y.device)
    x = train.x.clone()
    clean = to_unit(train.x[chosen])
    moved = pgd(model, clean, train.y[chosen], eps=eps, step=2.5 * eps / steps, steps=steps, seed=seed)
    x[chosen] = stored_like(moved, x)
    hardened = replace(train, x=x)
    return hardened, replace(plan, fingerprint=hardened.fingerprint)
