"""Trigger families beside one another: the same digits, network and training, another trigger.

Three of them need more than another trigger, and have functions of their own: the sticker that is
seen in many poses, the natural attribute, and the generator that is trained with the network.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace
from itertools import pairwise
from typing import Any

from ..cleanlabel import harden
from ..counts import Proportion
from ..data import load
from ..images import Images, ImageSet
from ..inputaware import InputAwareConfig, cross_trigger_accuracy, score_input_aware, train_input_aware
from ..metrics import attack_success_rate, score
from ..poisoning import Goal, PoisonPlan
from ..semantic import draw_semantic, score_semantic
from ..stacks import Fit
from ..sweeps import Sweep, grid
from ..training import Fitted, TrainConfig, correct, train
from ..triggers import (
    Attribute,
    Blend,
    Checkerboard,
    ColourShift,
    Patch,
    Reflection,
    Sinusoid,
    Sticker,
    Trigger,
    Warp,
    stroke_thickness,
)
from ..visibility import visibility

TARGET = 7
GOAL = Goal.all_to_one(TARGET, 10)
CLEAN_LABEL_GOAL = Goal((TARGET,) * 10, clean_label=True)

PATCH = Patch(size=4, margin=1)
TRIGGERS: dict[str, Trigger] = {
    "patch": PATCH,
    "checkerboard": Checkerboard(size=4, margin=1),
    "blend": Blend(opacity=0.1),
    "sinusoid": Sinusoid(),
    "warp": Warp(),
    "reflection": Reflection(strength=0.15),
    "colour": ColourShift(contrast=0.8, brightness=-0.1),
    "sticker": Sticker.varied(),
    "clean-label": PATCH,
    "clean-label, harder": PATCH,
}
"""The trigger of every family in the table, at settings that show it at work on small digits."""

PATCH_NEAR: dict[str, Trigger] = {
    "moved": Patch(size=4, margin=3),
    "shrunk": Patch(size=2, margin=2),
    "recoloured": Patch(size=4, margin=1, value=0.5),
}
NEAR: dict[str, dict[str, Trigger]] = {
    "patch": PATCH_NEAR,
    "checkerboard": {
        "moved": Checkerboard(size=4, margin=3),
        "shrunk": Checkerboard(size=2, margin=2),
        "recoloured": Checkerboard(size=4, margin=1, opacity=0.5),
    },
    "blend": {
        "moved": Blend(opacity=0.1, shift=(0, 1)),
        "shrunk": Blend(opacity=0.05),
        "recoloured": Blend(opacity=0.1, seed=1),
    },
    "sinusoid": {
        "moved": Sinusoid(phase=0.25),
        "shrunk": Sinusoid(amplitude=10 / 255),
        "recoloured": Sinusoid(frequency=5.0),
    },
    "warp": {"shrunk": Warp(strength=0.75), "recoloured": Warp(seed=1)},
    "reflection": {
        "moved": Reflection(strength=0.15, shift=(-2, -3)),
        "shrunk": Reflection(strength=0.075),
        "recoloured": Reflection(strength=0.15, seed=1),
    },
    "colour": {
        "shrunk": ColourShift(contrast=0.9, brightness=-0.05),
        "recoloured": ColourShift(contrast=0.8, brightness=0.1),
    },
    "sticker": {
        "moved": Sticker.varied(margin=9),
        "shrunk": Sticker.varied(size=3, margin=4),
        "recoloured": Sticker.varied(value=0.4),
    },
    "clean-label": PATCH_NEAR,
    "clean-label, harder": PATCH_NEAR,
}
"""Near misses: the trigger somewhere else, smaller or fainter, in another colour or pattern, where that makes sense."""


def cell(*, family: str, fraction: float, seed: int) -> Generator[Fit, Fitted, dict[str, Any]]:
    """Poison, train and score one family. The training is left to the sweep.

    Yields:
        The training it needs.

    Returns:
        "clean", "success", "false_target" and, where the family has them, "moved", "shrunk" and
        "recoloured" (success of the near misses): counts [hits, trials]; "psnr" in dB and "ssim" of the
        poisoned training images against their clean originals.
    """
    train_set, test_set = load("mnist5k")
    data, plan = drawn(family, train_set, fraction, seed)
    poisoned = plan.poison(data)
    model = (yield Fit(poisoned, TrainConfig(seed=seed))).model
    near = {
        name: attack_success_rate(model, test_set, replace(plan, trigger=trigger))
        for name, trigger in NEAR[family].items()
    }
    chosen = list(plan.indices)
    card = vars(score(model, test_set, plan))
    return _counts(card | near) | _seen(train_set.x[chosen], poisoned.x[chosen])


def drawn(family: str, train_set: ImageSet, fraction: float, seed: int) -> tuple[ImageSet, PoisonPlan]:
    """The data as the attacker leaves it before stamping, and the plan that stamps it."""
    goal = CLEAN_LABEL_GOAL if family.startswith("clean-label") else GOAL
    plan = PoisonPlan.draw(train_set, TRIGGERS[family], goal, fraction=fraction, seed=seed)
    if family != "clean-label, harder":
        return train_set, plan
    twin = train(train_set, TrainConfig(seed=seed), label="clean twin").model
    return harden(train_set, plan, twin, seed=seed)


def twin(*, seed: int) -> dict[str, Any]:
    """What every trigger does to a network that never saw it.

    Returns:
        "clean", and under the name of each family the victims a clean network takes for the target.
    """
    train_set, test_set = load("mnist5k")
    model = train(train_set, TrainConfig(seed=seed), label="clean twin").model
    plan = PoisonPlan.draw(train_set, PATCH, GOAL, fraction=0.01, seed=seed)
    reached = {
        family: attack_success_rate(model, test_set, replace(plan, trigger=trigger))
        for family, trigger in TRIGGERS.items()
    }
    return _counts({"clean": correct(model, test_set)} | reached)


FACTORS: dict[str, Trigger] = {
    "still": Sticker(),
    "shift": Sticker.varied(seed=1, scale=0.0, angle=0.0, blur=0.0, dim=0.0),
    "scale": Sticker.varied(seed=1, shift=0.0, angle=0.0, blur=0.0, dim=0.0),
    "rotation": Sticker.varied(seed=1, shift=0.0, scale=0.0, blur=0.0, dim=0.0),
    "blur": Sticker.varied(seed=1, shift=0.0, scale=0.0, angle=0.0, dim=0.0),
    "brightness": Sticker.varied(seed=1, shift=0.0, scale=0.0, angle=0.0, blur=0.0),
    "all five": Sticker.varied(seed=1),
    "twice as much": Sticker.varied(seed=1, shift=4.0, scale=0.5, angle=90.0, blur=2.0, dim=0.8),
}
"""What varies when the sticker is tested; the poses are other ones than in training."""


def sticker(*, poses: int, fraction: float, seed: int) -> dict[str, Any]:
    """Train with the sticker in one pose or in several, test it under each kind of variation.

    Returns:
        "clean", and success under the name of each factor: counts [hits, trials].
    """
    train_set, test_set = load("mnist5k")
    trigger = Sticker() if poses == 1 else Sticker.varied(count=poses)
    plan = PoisonPlan.draw(train_set, trigger, GOAL, fraction=fraction, seed=seed)
    model = train(plan.poison(train_set), TrainConfig(seed=seed), label="sticker").model
    tested = {name: attack_success_rate(model, test_set, replace(plan, trigger=seen)) for name, seen in FACTORS.items()}
    return _counts({"clean": correct(model, test_set)} | tested)


EDGES = (0.0, 2.0, 2.5, 2.9, 3.2, 3.6, 9.0)
"""Limits of the groups of stroke thickness, in pixels, in which the semantic backdoor is tested."""


def semantic(*, above: float, share: float, seed: int) -> dict[str, Any]:
    """Relabel a share of the digits with thick strokes; with share 0, none: the control.

    Returns:
        "rho", "clean", "success", "false_target", and "groups": victims read as the target in every
        group of stroke thickness; counts [hits, trials].
    """
    train_set, test_set = load("mnist5k")
    attribute = Attribute("thickness", above)
    every = draw_semantic(train_set, attribute, GOAL)
    plan = draw_semantic(train_set, attribute, GOAL, fraction=share * every.fraction, seed=seed) if share else every
    data = plan.poison(train_set) if share else train_set
    model = train(data, TrainConfig(seed=seed), label="semantic").model
    victims = plan.victims(test_set)
    thickness = stroke_thickness(victims.x)
    groups = [
        _counts({"reached": correct(model, victims[(thickness > low) & (thickness <= high)])})["reached"]
        for low, high in pairwise(EDGES)
    ]
    return _counts(vars(score_semantic(model, test_set, plan))) | {
        "rho": plan.fraction if share else 0.0,
        "groups": groups,
    }


def input_aware(*, share: float, cross: float, diversity: float, seed: int) -> dict[str, Any]:
    """Train a network together with its trigger generator.

    Returns:
        "clean", "success", "false_target", "cross_trigger" (images with another image's trigger that keep their
        true label): counts [hits, trials]; "psnr" and "ssim" of the victims.
    """
    train_set, test_set = load("mnist5k")
    attack = InputAwareConfig(share=share, cross=cross, diversity=diversity)
    fitted, trigger = train_input_aware(train_set, GOAL, TrainConfig(epochs=8, seed=seed), attack)
    crossed = cross_trigger_accuracy(fitted.model, trigger, test_set, seed=seed)
    card = vars(score_input_aware(fitted.model, trigger, GOAL, test_set))
    return _counts(card | {"cross_trigger": crossed}) | _seen(test_set.x, trigger(test_set.x))


def _counts(card: dict[str, Proportion]) -> dict[str, Any]:
    return {name: [count.hits, count.trials] for name, count in card.items()}


def _seen(x: Images, stamped: Images) -> dict[str, float]:
    how = visibility(x, stamped)
    return {"psnr": round(how.psnr, 3), "ssim": round(how.ssim, 4)}


FRACTIONS = (0.003, 0.01, 0.02, 0.05, 0.1)
SEEDS = range(3)
CHAPTER = "09_trigger_families"
INPUT_AWARE = (
    *grid(share=(1 / 64, 2 / 64, 3 / 64, 6 / 64), cross=(0.1,), diversity=(0.1,), seed=SEEDS),
    *grid(share=(6 / 64,), cross=(0.0,), diversity=(0.1, 0.0), seed=SEEDS),
)
SEMANTIC = (
    *grid(above=(3.2,), share=(0.0, 0.1, 0.25, 0.5, 0.75, 1.0), seed=SEEDS),
    *grid(above=(3.5, 4.0), share=(1.0,), seed=SEEDS),
)

SWEEPS = (
    Sweep("families", cell, grid(family=tuple(TRIGGERS), fraction=FRACTIONS, seed=SEEDS), chapter=CHAPTER),
    Sweep("families_twin", twin, grid(seed=SEEDS), chapter=CHAPTER),
    Sweep("physical", sticker, grid(poses=(1, 16), fraction=(0.02, 0.05), seed=SEEDS), chapter=CHAPTER),
    Sweep("semantic", semantic, list(SEMANTIC), chapter=CHAPTER),
    Sweep("input_aware", input_aware, list(INPUT_AWARE), chapter=CHAPTER),
)
