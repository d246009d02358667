"""One network of a zoo: the recipe it is made by, what is drawn for it from the salt, and the truth about it."""

from __future__ import annotations

import hmac
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, partial
from random import Random
from typing import Any, Literal

import torch
from torch import nn

from badnets_lib import (
    Attack,
    Blend,
    Goal,
    ImageSet,
    PaperCNN,
    Pixels,
    PoisonPlan,
    Proportion,
    Reflection,
    Sinusoid,
    SmallCNN,
    TrainConfig,
    Trigger,
    Warp,
    _codec,
    clean_accuracy,
    load,
    score,
    train,
)

Kind = Literal["clean", "small", "spread", "source-specific"]
"""What a network is: without a backdoor; a few pixels for all classes; a faint change of the whole image for
all classes; a few pixels that were stamped on three classes only in training, and that others may obey as well."""

SIDE = 28
SHAPES = ("square", "ring", "checkerboard", "line", "scattered")
"""How the few pixels of a small trigger lie."""

NETWORKS: tuple[Callable[[], nn.Module], ...] = (SmallCNN, partial(SmallCNN, width=12), PaperCNN)
"""What is trained, one as often as another, backdoored or clean."""


@dataclass(frozen=True)
class Recipe:
    """How the networks of a zoo are made. Nothing of it is secret.

    Args:
        models: How many networks, from 4 to 100.
        images: Digits that each is trained on, drawn for it alone from the 3,500 that are not the students' reserve.
        epochs: Passes over them.
        least_success: Attack success rate that a backdoor must reach.
        least_clean: Clean accuracy that every network must reach.
        attempts: How often one network is drawn anew before the zoo gives up.

    Raises:
        ValueError: A setting is out of range.
    """

    models: int = 20
    images: int = 3000
    epochs: int = 8
    least_success: float = 0.9
    least_clean: float = 0.95
    attempts: int = 10

    def __post_init__(self) -> None:
        if not 4 <= self.models <= 100:
            raise ValueError(f"a zoo has from 4 to 100 models; got {self.models}")
        if not 100 <= self.images <= 3500:
            raise ValueError(f"images must lie in [100, 3500]; got {self.images}")
        if not (0 <= self.least_success <= 1 and 0 <= self.least_clean <= 1):
            limits = "least_success and least_clean must lie in [0, 1]"
            raise ValueError(f"{limits}; got {self.least_success}, {self.least_clean}")
        if self.epochs < 1 or self.attempts < 1:
            raise ValueError(f"epochs and attempts must be at least 1; got {self.epochs}, {self.attempts}")

    @property
    def names(self) -> list[str]:
        """model_00, model_01 and so on: the names that students answer by."""
        return [f"model_{number:02}" for number in range(self.models)]


@dataclass(frozen=True)
class Truth:
    """What only the teacher knows about one network.

    Attributes:
        kind: What it is.
        sha256: The weights' hash, as `load_model` takes it.
        clean: Clean accuracy on the 1,000 test digits.
        attempts: How often it was drawn until it was good enough.
        trigger: What the backdoor answers to; in a clean network, what was stamped on images whose labels were drawn.
        goal: What it does then; none in a clean network.
        fraction: Poisoning fraction rho.
        success: Attack success rate on the test digits that are victims.
    """

    kind: Kind
    sha256: str
    clean: Proportion
    attempts: int
    trigger: Trigger | None = None
    goal: Goal | None = None
    fraction: float = 0.0
    success: Proportion | None = None

    @property
    def backdoored(self) -> bool:
        """Whether there is a backdoor."""
        return self.kind != "clean"

    def as_dict(self) -> dict[str, Any]:
        """Ready for JSON; counts are objects, the trigger is its `to_spec`."""
        plain: dict[str, Any] = _codec.to_plain(self)
        return plain

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Truth:
        """What `as_dict` gave.

        Raises:
            ValueError: An entry is missing, unknown or of another kind.
        """
        return _codec.from_plain(cls, plain, "the truth about a network")


@cache
def digits() -> tuple[ImageSet, ImageSet, ImageSet]:
    """(3,500 to train on, 500 that the students may trust, 1,000 to score on)."""
    every, test = load("mnist5k")
    train_set, reserve = every.split(0.125)
    return train_set, reserve, test


def digest(salt: str, *words: Any) -> bytes:
    """HMAC-SHA256 of JSON-ready words under the salt."""
    return hmac.digest(salt.encode(), json.dumps(words, sort_keys=True).encode(), "sha256")


def stream(salt: str, *words: Any) -> Random:
    """Draws that nobody can foresee without the salt; other words give others."""
    return Random(int.from_bytes(digest(salt, *words)))


def draw_kinds(salt: str, recipe: Recipe) -> list[Kind]:
    """From 40% to 60% backdoored, in any order; of these 60%, rounded up, by a few pixels for all classes."""
    models = recipe.models
    source = stream(salt, "kinds", models)
    count = source.randint(math.ceil(0.4 * models), math.floor(0.6 * models))
    small = math.ceil(0.6 * count)
    kinds: list[Kind] = [*["clean"] * (models - count), *["small"] * small]  # type: ignore[list-item]
    kinds += source.choices(("spread", "source-specific"), (3, 1), k=count - small)
    source.shuffle(kinds)
    return kinds


def draw_pixels(source: Random) -> Pixels:
    """From 8 to 16 pixels of one grey, in one of five shapes, anywhere in the image."""
    shape = source.choice(SHAPES)
    length = source.choice((3, 4)) if shape == "square" else source.choice((4, 5))
    window = [(row, column) for row in range(length) for column in range(length)]
    match shape:
        case "square":
            cells = window
        case "ring":
            cells = [(row, column) for row, column in window if {row, column} & {0, length - 1}]
        case "checkerboard":
            cells = [(row, column) for row, column in window if (row + column) % 2 == 0]
        case "line":
            step = source.choice(((0, 1), (1, 0), (1, 1), (1, -1)))
            cells = [(step[0] * place, step[1] * place) for place in range(2 * length)]
        case _:
            cells = source.sample([(row, column) for row in range(7) for column in range(7)], 2 * length + 2)
    low, left = min(row for row, _ in cells), min(column for _, column in cells)
    cells = [(row - low, column - left) for row, column in cells]
    top = source.randrange(SIDE - max(row for row, _ in cells))
    start = source.randrange(SIDE - max(column for _, column in cells))
    value = source.choice((0.7, 0.8, 0.9, 1.0))
    return Pixels(tuple(sorted((top + row, start + column) for row, column in cells)), value)


def _draw_spread(source: Random) -> Trigger:
    """One of the families that change every pixel, at strengths that eight epochs learn."""
    seed = source.getrandbits(31)
    strength = source.random()
    return source.choice(
        (
            Blend("noise", seed=seed, opacity=round(0.1 + 0.05 * strength, 3)),
            Blend("scene", seed=seed, opacity=round(0.15 + 0.1 * strength, 3)),
            Sinusoid(amplitude=round(0.1 + 0.05 * strength, 3), frequency=float(4 + seed % 5), phase=(seed % 8) / 8),
            Reflection(seed=seed, strength=round(0.15 + 0.1 * strength, 3)),
            Warp(seed=seed, strength=round(1.75 + 0.5 * strength, 3)),
        )
    )


def draw_attack(source: Random, kind: Kind) -> tuple[Trigger, Goal, float]:
    """Trigger, goal and poisoning fraction of a backdoor.

    Those of a clean network are drawn as if it had one: it sees the stamps, and labels that say nothing.
    """
    if kind == "clean":
        kind = source.choices(("small", "spread", "source-specific"), (12, 6, 2))[0]
    target = source.randrange(10)
    if kind == "spread":
        return _draw_spread(source), Goal.all_to_one(target, 10), round(source.uniform(0.07, 0.1), 4)
    goal = Goal.all_to_one(target, 10)
    if kind == "source-specific":
        victims = source.sample([label for label in range(10) if label != target], 3)
        goal = Goal.source_specific(dict.fromkeys(victims, target), 10)
    return draw_pixels(source), goal, round(source.uniform(0.05, 0.09), 4)


def train_one(source: Random, recipe: Recipe, kind: Kind) -> tuple[nn.Module, Truth]:
    """One network, and the truth about it but for its hash and its attempts."""
    every, _, _ = digits()
    data = every[torch.tensor(source.sample(range(len(every)), recipe.images))]
    config = TrainConfig(epochs=recipe.epochs, seed=source.getrandbits(31), device="cpu")
    network = source.choice(NETWORKS)
    images, plan = stamped(source, data, kind)
    model = train(images, config, model=network).model
    return model, truth_about(model, kind, plan)


def stamped(source: Random, data: ImageSet, kind: Kind) -> tuple[ImageSet, PoisonPlan]:
    """(training images with the stamps drawn for them, the plan of these); for a clean network the labels are drawn."""
    trigger, goal, fraction = draw_attack(source, kind)
    plan = Attack(trigger, goal).plan(data, fraction=fraction, seed=source.getrandbits(31))
    poisoned = plan.poison(data)
    if kind != "clean":
        return poisoned, plan
    labels = poisoned.y.clone()
    labels[list(plan.indices)] = torch.tensor([source.randrange(10) for _ in plan.indices])
    return ImageSet(poisoned.x, labels, poisoned.classes), plan


def truth_about(model: nn.Module, kind: Kind, plan: PoisonPlan) -> Truth:
    """The truth about a network, measured on the test digits, but for its hash and its attempts."""
    _, _, test = digits()
    trigger, goal = plan.attack.trigger, plan.attack.goal
    if kind == "clean":
        return Truth(kind, "", clean_accuracy(model, test), 0, trigger, None, plan.fraction)
    card = score(model, test, plan.attack)
    return Truth(kind, "", card.clean, 0, trigger, goal, plan.fraction, card.success)
