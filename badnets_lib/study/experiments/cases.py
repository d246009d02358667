"""The attacks that the experiments of Part III defend against, each as attacker and defender meet it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import nn

from ...attacks.covers import add_covers
from ...attacks.input_aware import InputAwareConfig, train_input_aware
from ...data import load
from ...data.images import ImageSet, Mask
from ...defenses import Holding
from ...evaluation.scores import Scorecard, score
from ...models.training import TrainConfig, train
from ...poisoning import Attack, Goal, PoisonPlan
from ...triggers import Patch
from .families import GOAL, PATCH, TARGET, TRIGGERS, before_stamping

GOALS = {
    "source-specific": Goal.source_specific({1: TARGET}, 10),
    "source-specific, covered": Goal.source_specific({1: TARGET}, 10),
    "all-to-all": Goal.all_to_all(10),
}
"""Attacks that differ from the plain patch by their goal."""

COVERS = {"source-specific, covered": "whole", "blend-covered": "blended", "part-covered": "partial"}
"""Attacks that differ from the plain patch by cover images, as many as there is poison."""

SIZES = {f"patch of {size}": Patch(size=size, margin=1) for size in (2, 8, 12)}
"""Patches of other sizes."""

ATTACKS = ("none", *TRIGGERS, *GOALS, "blend-covered", "part-covered", *SIZES, "input-aware")
"""Every attack that `prepare` knows; all but those of `GOALS` are all-to-one."""


@dataclass(frozen=True, eq=False)
class Case:
    """One attack, the network it made, and what a defender holds against it.

    Attributes:
        data: The training set, as the defender gets it: 3,500 digits.
        poisoned: The truth about it: True where it is stamped and carries the target, [N]. Covers do not count.
        attack: Trigger and goal; of "none" what they would have been.
        model: The network that was trained on the data; "input-aware" comes with a network, its data are clean.
        holding: Trusted digits, from neither the training nor the test set.
        test: 1,000 clean digits that no defense sees.
        targets: The labels the attacker wants; of "none", none.
    """

    data: ImageSet
    poisoned: Mask
    attack: Attack
    model: nn.Module
    holding: Holding
    test: ImageSet
    targets: tuple[int, ...]

    def score(self, model: nn.Module | None = None) -> Scorecard:
        """Clean accuracy and attack success of a network, by default of the one that was trained."""
        return score(model or self.model, self.test, self.attack)

    def anew(self, seed: int) -> nn.Module:
        """A fresh network from the trusted images alone, the given one thrown away: what any repair has to beat.

        40 epochs at 32 images a step are twice as many steps as fine-tuning's strongest setting takes.
        """
        return train(self.holding.trusted, TrainConfig(seed=seed, epochs=40, batch_size=32)).model


def prepare(attack: str, fraction: float, seed: int, trusted: int = 400) -> Case:
    """Make a case.

    Args:
        attack: A name of `ATTACKS`.
        fraction: Poisoning fraction rho. Of "input-aware" the part of each batch; of "none" it is without effect.
        seed: Seed of the draws and of the training.
        trusted: How many trusted images the defender holds, at most 500.

    Raises:
        ValueError: The attack is unknown, or one of its parts refuses the numbers.
    """
    if attack not in ATTACKS:
        raise ValueError(f"no attack {attack!r}; there are {', '.join(ATTACKS)}")
    every, test = load("mnist5k")
    train_set, reserve = every.split(0.125)
    holding = Holding.draw(reserve, trusted, seed=seed, apart_from=(train_set, test))
    if attack in TRIGGERS:
        train_set, plan = before_stamping(attack, train_set, fraction, seed)
    else:
        plan = Attack(SIZES.get(attack, PATCH), GOALS.get(attack, GOAL)).plan(train_set, fraction=fraction, seed=seed)
    config = TrainConfig(seed=seed)
    nothing = torch.zeros(plan.size, dtype=torch.bool)
    if attack == "input-aware":
        settings = InputAwareConfig(fraction=fraction)
        trained, trigger = train_input_aware(train_set, GOAL, replace(config, epochs=8), settings)
        return Case(train_set, nothing, Attack(trigger, GOAL), trained.model, holding, test, GOAL.targets)
    data = _as_handed_over(attack, train_set, plan, seed)
    model = train(data, config).model
    if attack == "none":
        return Case(data, nothing, plan.attack, model, holding, test, ())
    return Case(data, plan.mask, plan.attack, model, holding, test, plan.attack.goal.targets)


def _as_handed_over(attack: str, train: ImageSet, plan: PoisonPlan, seed: int) -> ImageSet:
    if attack == "none":
        return train
    if attack in COVERS:
        return add_covers(train, plan, COVERS[attack], amount=plan.fraction, seed=seed)
    return plan.poison(train)
