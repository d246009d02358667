"""The attacks that the experiments of Part III defend against, each as attacker and defender meet it."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, replace

from torch import nn

from ..covers import add_covers
from ..data import load
from ..defenses import Holding
from ..images import ImageSet, Mask
from ..inputaware import InputAwareConfig, train_input_aware
from ..metrics import Scorecard, score
from ..poisoning import Goal, PoisonPlan
from ..stacks import Fit
from ..training import Fitted, TrainConfig
from ..triggers import Patch
from .families import GOAL, PATCH, TARGET, TRIGGERS, drawn

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
        plan: The attack; of "none" what it would have been.
        model: The network that was trained on the data; "input-aware" comes with a network, its data are clean.
        holding: Trusted digits, from neither the training nor the test set.
        test: 1,000 clean digits that no defense sees.
        targets: The labels the attacker wants; of "none", none.
    """

    data: ImageSet
    poisoned: Mask
    plan: PoisonPlan
    model: nn.Module
    holding: Holding
    test: ImageSet
    targets: tuple[int, ...]

    def score(self, model: nn.Module | None = None) -> Scorecard:
        """Clean accuracy and attack success of a network, by default of the one that was trained."""
        return score(model or self.model, self.test, self.plan)


def prepare(attack: str, fraction: float, seed: int, trusted: int = 400) -> Generator[Fit, Fitted, Case]:
    """Make a case; the training is left to the sweep.

    Args:
        attack: A name of `ATTACKS`.
        fraction: Poisoning fraction rho. Of "input-aware" the share of each batch; of "none" it is without effect.
        seed: Seed of the draws and of the training.
        trusted: How many trusted images the defender holds, at most 500.

    Yields:
        The training it needs.

    Raises:
        ValueError: The attack is unknown, or one of its parts refuses the numbers.
    """
    if attack not in ATTACKS:
        raise ValueError(f"no attack {attack!r}; there are {', '.join(ATTACKS)}")
    every, test = load("mnist5k")
    train, reserve = every.split(0.125)
    holding = Holding.draw(reserve, trusted, seed=seed, apart_from=(train, test))
    if attack in TRIGGERS:
        train, plan = drawn(attack, train, fraction, seed)
    else:
        plan = PoisonPlan.draw(train, SIZES.get(attack, PATCH), GOALS.get(attack, GOAL), fraction=fraction, seed=seed)
    config, nothing = TrainConfig(seed=seed), plan.mask & False
    if attack == "input-aware":
        settings = InputAwareConfig(share=fraction)
        fitted, trigger = train_input_aware(train, GOAL, replace(config, epochs=8), settings)
        return Case(train, nothing, replace(plan, trigger=trigger), fitted.model, holding, test, GOAL.targets)
    data, truth = _as_handed_over(attack, train, plan, seed), nothing if attack == "none" else plan.mask
    model = (yield Fit(data, config)).model
    return Case(data, truth, plan, model, holding, test, () if attack == "none" else plan.goal.targets)


def _as_handed_over(attack: str, train: ImageSet, plan: PoisonPlan, seed: int) -> ImageSet:
    if attack == "none":
        return train
    if attack in COVERS:
        return add_covers(train, plan, COVERS[attack], share=plan.fraction, seed=seed)
    return plan.poison(train)
