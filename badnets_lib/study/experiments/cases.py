"""The attacks that the experiments of Part III defend against, each as attacker and defender meet it."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cache

import torch
from torch import nn

from ...attacks.covers import add_covers
from ...attacks.input_aware import InputAwareConfig, train_input_aware
from ...data import load
from ...data.images import ImageSet, Mask
from ...defenses import AssumptionWarning, Holding
from ...defenses.assumptions import FEW_TRUSTED
from ...defenses.knowledge import pixel_keys
from ...evaluation.scores import Scorecard, score
from ...models.networks import PaperCNN, SmallCNN, SmallResNet
from ...models.training import TrainConfig, train
from ...poisoning import Attack, Goal, PoisonPlan
from ...triggers import Patch
from .families import PATCH, TARGET, TRIGGERS, before_stamping

SCENES = {"digits": "mnist5k", "signs": "signs", "photographs": "gtsrb"}
"""What the images show, and the name under which `load` knows them."""

NETWORKS: dict[str, Callable[[int, int], nn.Module]] = {
    "SmallCNN": SmallCNN,
    "SmallResNet": SmallResNet,
    "PaperCNN": lambda channels, classes: PaperCNN(),
}
"""Makers of fresh networks, from channels and classes; that of the paper is for digits alone."""

GOALS: dict[str, Callable[[int, int], Goal]] = {
    "source-specific": lambda target, classes: Goal.source_specific({1: target}, classes),
    "source-specific, covered": lambda target, classes: Goal.source_specific({1: target}, classes),
    "all-to-all": lambda _, classes: Goal.all_to_all(classes),
}
"""Attacks that differ from the plain patch by their goal: from the target and the number of classes to it."""

COVERS = {"source-specific, covered": "whole", "blend-covered": "blended", "part-covered": "partial"}
"""Attacks that differ from the plain patch by cover images."""

SIZES = {f"patch of {size}": Patch(size=size, margin=1) for size in (2, 8, 12)}
"""Patches of other sizes."""

ATTACKS = ("none", *TRIGGERS, *GOALS, "blend-covered", "part-covered", *SIZES, "input-aware")
"""Every attack that `prepare` knows; all but those of `GOALS` are all-to-one."""


@dataclass(frozen=True, eq=False)
class Case:
    """One attack, the network it made, and what a defender holds against it.

    Attributes:
        data: The training set, as the defender gets it; see `parts` for its size.
        poisoned: The truth about it: True where it is stamped and carries the target, [N]. Covers do not count.
        attack: Trigger and goal; of "none" what they would have been.
        model: The network that was trained on the data; "input-aware" comes with a network, its data are clean.
        holding: Trusted images, from neither the training nor the test set.
        test: Clean test images that no defense sees.
        targets: The labels the attacker wants; of "none", none.
        fresh: Makes a new network of the same kind.
    """

    data: ImageSet
    poisoned: Mask
    attack: Attack
    model: nn.Module
    holding: Holding
    test: ImageSet
    targets: tuple[int, ...]
    fresh: Callable[[], nn.Module] = field(repr=False)

    def score(self, model: nn.Module | None = None) -> Scorecard:
        """Clean accuracy and attack success of a network, by default of the one that was trained."""
        return score(model or self.model, self.test, self.attack)

    def anew(self, seed: int) -> nn.Module:
        """A fresh network from the trusted images alone, the given one thrown away: what any repair has to beat.

        40 epochs at 32 images a step are twice as many steps as fine-tuning's strongest setting takes.
        """
        config = TrainConfig(seed=seed, epochs=40, batch_size=32)
        return train(self.holding.trusted, config, model=self.fresh).model


def prepare(
    attack: str,
    fraction: float,
    seed: int,
    trusted: int = 400,
    *,
    scene: str = "digits",
    network: str = "SmallCNN",
    target: int = TARGET,
    covers: float = 1.0,
) -> Case:
    """Make a case. In every scene the patch is white and stands in the lower right corner.

    Args:
        attack: A name of `ATTACKS`.
        fraction: Poisoning fraction rho. Of "input-aware" the part of each batch; of "none" it is without effect.
        seed: Seed of the draws and of the training.
        trusted: How many trusted images the defender holds, at most 500.
        scene: A name of `SCENES`.
        network: A name of `NETWORKS`.
        target: The label the attacker wants, where there is one; "clean-label" always wants 7.
        covers: Cover images for every poisoned one, in the attacks of `COVERS`.

    Raises:
        ValueError: There is no such attack, scene or network, or one of its parts refuses the numbers.
        DataUnavailable: The photographs are not there and cannot be fetched; see `load`.
    """
    for kind, name, known in (("attack", attack, ATTACKS), ("scene", scene, SCENES), ("network", network, NETWORKS)):
        if name not in known:
            raise ValueError(f"no {kind} {name!r}; there are {', '.join(known)}")
    train_set, reserve, test = parts(scene)
    holding = Holding.draw(reserve, trusted, seed=seed, apart_from=(train_set, test))
    channels, classes = train_set.x.shape[1], len(train_set.classes)
    goal = GOALS[attack](target, classes) if attack in GOALS else Goal.all_to_one(target, classes)
    if attack.startswith("clean-label"):
        train_set, plan = before_stamping(attack, train_set, fraction, seed)
    else:
        trigger = (TRIGGERS | SIZES).get(attack, PATCH)
        plan = Attack(trigger, goal).plan(train_set, fraction=fraction, seed=seed)
    config = TrainConfig(seed=seed)
    nothing = torch.zeros(plan.size, dtype=torch.bool)

    def fresh() -> nn.Module:
        return NETWORKS[network](channels, classes)

    if attack == "input-aware":
        settings = InputAwareConfig(fraction=fraction)
        trained, generator = train_input_aware(train_set, goal, replace(config, epochs=8), settings, model=fresh)
        return Case(train_set, nothing, Attack(generator, goal), trained.model, holding, test, goal.targets, fresh)
    data = _as_handed_over(attack, train_set, plan, covers, seed)
    model = train(data, config, model=fresh).model
    if attack == "none":
        return Case(data, nothing, plan.attack, model, holding, test, (), fresh)
    return Case(data, plan.mask, plan.attack, model, holding, test, plan.attack.goal.targets, fresh)


@cache
def parts(scene: str) -> tuple[ImageSet, ImageSet, ImageSet]:
    """(training set, clean reserve of the defender, test set) of a scene.

    Digits: 3,500, 500 and 1,000. Signs: half of the drawn training signs, so that they are as many as the digits:
    3,500, 1,000 and 2,000. Photographs: the reserve is an eighth of the tracks, whole; of the others every
    fourth photograph is kept, which leaves 8,563 of all tracks (neighbours in a track hardly differ), and every sixth
    of the test set, 2,105. Training photographs that stand in the test set too are dropped first.
    """
    every, test = load(SCENES[scene])
    if scene == "photographs":
        known = set(pixel_keys(test))
        every = every[[key not in known for key in pixel_keys(every)]]
    train_set, reserve = every.split(0.125)
    if scene == "signs":
        return train_set.split(0.5)[0], reserve, test
    if scene == "photographs":
        return train_set[::4], reserve, test[::6]
    return train_set, reserve, test


@contextmanager
def few_trusted() -> Iterator[None]:
    """Say nothing of too few trusted images: STRIP's preset 1% needs more than 400, and Chapter 18 counts the price."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", f".*{FEW_TRUSTED.anchor}", AssumptionWarning)
        yield


def _as_handed_over(attack: str, train: ImageSet, plan: PoisonPlan, covers: float, seed: int) -> ImageSet:
    if attack == "none":
        return train
    if attack in COVERS:
        return add_covers(train, plan, COVERS[attack], amount=covers * plan.fraction, seed=seed)
    return plan.poison(train)
