"""Trigger families beside one another: the same digits, network and training, another trigger.

Three of them need more than another trigger, and have functions of their own: the sticker that is
seen in many poses, the natural attribute, and the generator that is trained with the network.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import pairwise
from typing import Any

import torch
from torch.nn import functional as F

from ...attacks.clean_label import harden
from ...attacks.input_aware import InputAwareConfig, cross_trigger_accuracy, train_input_aware
from ...counts import Proportion
from ...data import load
from ...data.images import Images, ImageSet
from ...evaluation.scores import attack_success_rate, score
from ...evaluation.visibility import visibility
from ...models.inference import correct
from ...models.networks import SmallCNN
from ...models.training import TrainConfig, train
from ...poisoning import Attack, Goal, PoisonPlan
from ...triggers import (
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
from ..sweeps import Sweep, grid

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


def one_family(*, family: str, fraction: float, seed: int) -> dict[str, Any]:
    """Poison, train and score one family.

    Returns:
        "clean", "success", "false_target" and, where the family has them, "moved", "shrunk" and
        "recoloured" (success of the near misses): counts [hits, trials]; "psnr" in dB and "ssim" of the
        poisoned training images against their clean originals.
    """
    train_set, test_set = load("mnist5k")
    data, plan = before_stamping(family, train_set, fraction, seed)
    poisoned = plan.poison(data)
    model = train(poisoned, TrainConfig(seed=seed)).model
    near = {
        name: attack_success_rate(model, test_set, replace(plan.attack, trigger=trigger))
        for name, trigger in NEAR[family].items()
    }
    chosen = list(plan.indices)
    counts = score(model, test_set, plan.attack).pairs() | _pairs(near)
    return counts | _how_visible(train_set.x[chosen], poisoned.x[chosen])


SURROGATE = 500
"""What is added to a seed for the network that hardens clean-label poison: the attacker does not know the other."""


def before_stamping(family: str, train_set: ImageSet, fraction: float, seed: int) -> tuple[ImageSet, PoisonPlan]:
    """The data as the attacker leaves it before stamping, and the plan that stamps it."""
    goal = CLEAN_LABEL_GOAL if family.startswith("clean-label") else GOAL
    plan = Attack(TRIGGERS[family], goal).plan(train_set, fraction=fraction, seed=seed)
    if family != "clean-label, harder":
        return train_set, plan
    surrogate = train(train_set, TrainConfig(seed=seed + SURROGATE), label="surrogate").model
    return harden(train_set, plan, surrogate, seed=seed)


def clean_twin(*, seed: int) -> dict[str, Any]:
    """What every trigger does to a network that never saw it.

    Returns:
        "clean", and under the name of each family the victims a clean network takes for the target.
    """
    train_set, test_set = load("mnist5k")
    model = train(train_set, TrainConfig(seed=seed), label="clean twin").model
    reached = {
        family: attack_success_rate(model, test_set, Attack(trigger, GOAL)) for family, trigger in TRIGGERS.items()
    }
    return _pairs({"clean": correct(model, test_set)} | reached)


def clouded(data: ImageSet, seed: int) -> ImageSet:
    """Digits before a background of their own: soft grey clouds of up to half intensity, other ones in every image."""
    coarse = torch.rand(len(data), 1, 7, 7, generator=torch.Generator().manual_seed(seed))
    ground = 0.5 * F.interpolate(coarse, data.x.shape[-2:], mode="bilinear")
    return replace(data, x=torch.maximum(data.x, ground))


def grey_of(trigger: Trigger, x: Images) -> ColourShift:
    """The pattern-free stand-in of a trigger: a constant grey of as much light as the trigger adds on average."""
    return ColourShift(brightness=round(float((trigger(x) - x).mean()), 4))


def before_a_ground(*, family: str, ground: str, seed: int) -> dict[str, Any]:
    """One family on digits before black, or before clouds, at rho = 10%.

    Returns:
        "clean", "success", "false_target"; and the victims that are led to the target by "another" pattern, by plain
        "grey" of equal light, and by "half" of it: counts [hits, trials].
    """
    train_set, test_set = load("mnist5k")
    if ground == "clouds":
        train_set, test_set = clouded(train_set, seed), clouded(test_set, seed + 1000)
    plan = Attack(TRIGGERS[family], GOAL).plan(train_set, fraction=0.1, seed=seed)
    model = train(plan.poison(train_set), TrainConfig(seed=seed)).model
    grey = grey_of(TRIGGERS[family], train_set.x)
    stand_ins: dict[str, Trigger] = {
        "another": NEAR[family]["recoloured"],
        "grey": grey,
        "half": replace(grey, brightness=grey.brightness / 2),
    }
    led = {name: attack_success_rate(model, test_set, Attack(each, GOAL)) for name, each in stand_ins.items()}
    return score(model, test_set, plan.attack).pairs() | _pairs(led)


KNOBS: dict[str, tuple[Callable[[float], Trigger], float]] = {
    "patch": (lambda strength: Patch(size=4, margin=1, opacity=strength), 1.0),
    "checkerboard": (lambda strength: Checkerboard(size=4, margin=1, opacity=strength), 1.0),
    "blend": (lambda strength: Blend(opacity=strength), 1.0),
    "sinusoid": (lambda strength: Sinusoid(amplitude=strength), 0.5),
    "warp": (lambda strength: Warp(strength=strength), 2.0),
    "reflection": (lambda strength: Reflection(strength=strength), 1.0),
}
"""One setting of each family that makes it fainter or stronger, and its largest value here."""


def as_visible_as(family: str, psnr: float, x: Images) -> Trigger:
    """The trigger of a family at the strength that gives these images, on average, the wished PSNR in dB, by bisection.

    Raises:
        ValueError: No strength up to the family's largest is that visible.
    """
    make, high = KNOBS[family]
    if visibility(x, make(high)(x)).psnr > psnr:
        raise ValueError(f"{family} stays above {psnr} dB up to a strength of {high}")
    low = 0.0
    for _ in range(20):
        middle = (low + high) / 2
        fainter = visibility(x, make(middle)(x)).psnr > psnr
        low, high = (middle, high) if fainter else (low, middle)
    return make(round(high, 5))


def equally_visible(*, family: str, wished: float, fraction: float, seed: int, scene: str = "digits") -> dict[str, Any]:
    """One family at a strength that is set by its PSNR, so that all families are seen equally well by that measure.

    Args:
        family: A name of `KNOBS`.
        wished: Mean PSNR in dB over the first 500 training images.
        fraction: Poisoning fraction rho.
        seed: Seed of the draw of images and of the training.
        scene: "digits" or "signs".

    Returns:
        "clean", "success", "false_target": counts [hits, trials]; "psnr" in dB and "ssim" of the poisoned images.
    """
    train_set, test_set = load({"digits": "mnist5k", "signs": "signs"}[scene])
    if scene == "signs":
        train_set = train_set[:4000]  # as many as there are digits, in equal shares
    trigger = as_visible_as(family, wished, train_set.x[:500])
    plan = Attack(trigger, GOAL).plan(train_set, fraction=fraction, seed=seed)
    poisoned = plan.poison(train_set)
    chosen = list(plan.indices)
    card = score(train(poisoned, TrainConfig(seed=seed)).model, test_set, plan.attack)
    return card.pairs() | _how_visible(train_set.x[chosen], poisoned.x[chosen])


SURROGATES = {"the same seed": (0, 16), "another seed": (500, 16), "another seed, half as wide": (500, 8)}
"""What is added to the attacked network's seed, and the filters of the first convolution, for each surrogate."""


def hardened_by(*, surrogate: str, fraction: float, seed: int) -> dict[str, Any]:
    """Clean-label poison that was hardened with one network and is learnt by another.

    Returns:
        "clean", "success", "false_target": counts [hits, trials].
    """
    train_set, test_set = load("mnist5k")
    further, width = SURROGATES[surrogate]
    helper = train(train_set, TrainConfig(seed=seed + further), model=partial(SmallCNN, width=width)).model
    plan = Attack(PATCH, CLEAN_LABEL_GOAL).plan(train_set, fraction=fraction, seed=seed)
    data, plan = harden(train_set, plan, helper, seed=seed)
    model = train(plan.poison(data), TrainConfig(seed=seed)).model
    return score(model, test_set, plan.attack).pairs()


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


def another_draw(*, family: str, draw: int, fraction: float, seed: int) -> dict[str, Any]:
    """One family with another draw of its pattern, its warping field, its reflected scene or its poses.

    Returns:
        "clean", "success", "false_target", and "first": success of the draw that `TRIGGERS` uses, with which this
        network was not trained; counts [hits, trials].
    """
    train_set, test_set = load("mnist5k")
    attack = Attack(DRAWS[family](draw), GOAL)
    plan = attack.plan(train_set, fraction=fraction, seed=seed)
    model = train(plan.poison(train_set), TrainConfig(seed=seed), label=f"{family}, draw {draw}").model
    first = attack_success_rate(model, test_set, Attack(TRIGGERS[family], GOAL))
    return score(model, test_set, attack).pairs() | {"first": first.pair}


DRAWS: dict[str, Callable[[int], Trigger]] = {
    "blend": lambda draw: Blend(opacity=0.1, seed=draw),
    "warp": lambda draw: Warp(seed=draw),
    "reflection": lambda draw: Reflection(strength=0.15, seed=draw),
    "sticker": lambda draw: Sticker.varied(seed=draw),
}
"""The families that draw something at random, from the seed of the draw; 0 is that of `TRIGGERS`."""


def poses_redrawn(*, draw: int, fraction: float, seed: int) -> dict[str, Any]:
    """Train with the sticker in 16 poses and test it in 16 others, drawn with another seed than those of `FACTORS`.

    Returns:
        "clean", and "success" in the new poses: counts [hits, trials].
    """
    train_set, test_set = load("mnist5k")
    plan = Attack(Sticker.varied(), GOAL).plan(train_set, fraction=fraction, seed=seed)
    model = train(plan.poison(train_set), TrainConfig(seed=seed), label="sticker").model
    seen = attack_success_rate(model, test_set, Attack(Sticker.varied(seed=draw), GOAL))
    return _pairs({"clean": correct(model, test_set), "success": seen})


def seen_in_poses(*, poses: int, fraction: float, seed: int) -> dict[str, Any]:
    """Train with the sticker in one pose or in several, test it under each kind of variation.

    Returns:
        "clean", and success under the name of each factor: counts [hits, trials].
    """
    train_set, test_set = load("mnist5k")
    trigger = Sticker() if poses == 1 else Sticker.varied(count=poses)
    plan = Attack(trigger, GOAL).plan(train_set, fraction=fraction, seed=seed)
    model = train(plan.poison(train_set), TrainConfig(seed=seed), label="sticker").model
    tested = {name: attack_success_rate(model, test_set, Attack(seen, GOAL)) for name, seen in FACTORS.items()}
    return _pairs({"clean": correct(model, test_set)} | tested)


EDGES = (0.0, 2.0, 2.5, 2.9, 3.2, 3.6, 9.0)
"""Limits of the groups of stroke thickness, in pixels, in which the semantic backdoor is tested."""


def semantic(*, above: float, relabelled: float, seed: int) -> dict[str, Any]:
    """Relabel a part of the digits with thick strokes; with 0, none: the control.

    Returns:
        "fraction", "clean", "success", "false_target", and "groups": victims read as the target in every
        group of stroke thickness; counts [hits, trials].
    """
    train_set, test_set = load("mnist5k")
    attribute = Attribute("thickness", above)
    attack = Attack(attribute, GOAL)
    plan = attack.plan(train_set)
    data = train_set
    if relabelled:
        plan = attack.plan(train_set, fraction=relabelled * plan.fraction, seed=seed)
        data = plan.poison(train_set)
    model = train(data, TrainConfig(seed=seed), label="semantic").model
    victims = Attack(PATCH, GOAL).victims(test_set)  # of any thickness, and without a stamp
    thickness = stroke_thickness(victims.x)
    groups = [correct(model, victims[(thickness > low) & (thickness <= high)]).pair for low, high in pairwise(EDGES)]
    return score(model, test_set, attack).pairs() | {"fraction": plan.fraction if relabelled else 0.0, "groups": groups}


def input_aware(*, fraction: float, cross: float, diversity: float, seed: int) -> dict[str, Any]:
    """Train a network together with its trigger generator.

    Returns:
        "clean", "success", "false_target", "cross_trigger" (images with another image's trigger that keep their
        true label): counts [hits, trials]; "psnr" and "ssim" of the victims.
    """
    train_set, test_set = load("mnist5k")
    settings = InputAwareConfig(fraction=fraction, cross=cross, diversity=diversity)
    trained, trigger = train_input_aware(train_set, GOAL, TrainConfig(epochs=8, seed=seed), settings)
    crossed = cross_trigger_accuracy(trained.model, trigger, test_set, seed=seed)
    card = score(trained.model, test_set, Attack(trigger, GOAL))
    return card.pairs() | {"cross_trigger": crossed.pair} | _how_visible(test_set.x, trigger(test_set.x))


def _pairs(counts: dict[str, Proportion]) -> dict[str, Any]:
    return {name: count.pair for name, count in counts.items()}


def _how_visible(x: Images, stamped: Images) -> dict[str, float]:
    how = visibility(x, stamped)
    return {"psnr": round(how.psnr, 3), "ssim": round(how.ssim, 4)}


FRACTIONS = (0.003, 0.01, 0.02, 0.05, 0.1)
SEEDS = range(5)
CHAPTER = "09_trigger_families"
BEYOND = "10_beyond_the_stamp"
INPUT_AWARE = (
    *grid(fraction=(1 / 64, 2 / 64, 3 / 64, 6 / 64), cross=(0.1,), diversity=(0.1,), seed=range(5)),
    *grid(fraction=(6 / 64,), cross=(0.0,), diversity=(0.1, 0.0), seed=range(5)),
)
SEMANTIC = (
    *grid(above=(3.2,), relabelled=(0.0, 0.1, 0.25, 0.5, 0.75, 1.0), seed=range(5)),
    *grid(above=(3.5, 4.0), relabelled=(1.0,), seed=range(5)),
)

SWEEPS = (
    Sweep("families", one_family, grid(family=tuple(TRIGGERS), fraction=FRACTIONS, seed=SEEDS), chapter=CHAPTER),
    Sweep(
        "families_visibility",
        equally_visible,
        grid(family=tuple(KNOBS), wished=(25.0, 30.0), fraction=(0.02,), seed=range(5)),
        chapter=CHAPTER,
    ),
    Sweep(
        "families_visibility_signs",
        equally_visible,
        grid(scene=("signs",), family=tuple(KNOBS), wished=(30.0,), fraction=(0.02,), seed=range(5)),
        data=("signs",),
        chapter=CHAPTER,
    ),
    Sweep(
        "families_draws",
        another_draw,
        grid(family=tuple(DRAWS), draw=(1, 2), fraction=(0.05,), seed=range(5)),
        chapter=CHAPTER,
    ),
    Sweep("families_twin", clean_twin, grid(seed=range(5)), chapter=CHAPTER),
    Sweep(
        "families_ground",
        before_a_ground,
        grid(family=("blend", "reflection"), ground=("black", "clouds"), seed=range(5)),
        chapter=CHAPTER,
    ),
    Sweep(
        "clean_label_surrogates",
        hardened_by,
        grid(surrogate=tuple(SURROGATES), fraction=(0.02, 0.05), seed=range(5)),
        chapter=BEYOND,
    ),
    Sweep("physical", seen_in_poses, grid(poses=(1, 16), fraction=(0.02, 0.05), seed=range(5)), chapter=BEYOND),
    Sweep("physical_draws", poses_redrawn, grid(draw=(2, 3), fraction=(0.05,), seed=range(5)), chapter=BEYOND),
    Sweep("semantic", semantic, list(SEMANTIC), chapter=BEYOND),
    Sweep("input_aware", input_aware, list(INPUT_AWARE), chapter=BEYOND),
)
