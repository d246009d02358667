"""One network of a zoo: the recipe it is made by, what is drawn for it from the salt, and the truth about it."""

from __future__ import annotations

import hmac
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from random import Random
from typing import Any, Literal, get_args

import torch
from torch import nn

from badnets_lib import (
    Attack,
    Blend,
    Checkerboard,
    Goal,
    ImageSet,
    Patch,
    Proportion,
    Reflection,
    Sinusoid,
    TrainConfig,
    Trigger,
    Warp,
    _codec,
    clean_accuracy,
    load,
    score,
    train,
)
from badnets_lib.triggers import Corner

Kind = Literal["clean", "square", "spread", "source-specific"]
"""What a network is: without a backdoor; a small square for all classes; a faint change of the whole image for
all classes; a small square that was stamped on three classes only in training, and that others may obey as well."""


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
    epochs: int = 6
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
        trigger: What the backdoor answers to.
        goal: What it does then.
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
    """From 40% to 60% backdoored, in any order; half of these, or one more, by a square for all classes."""
    models = recipe.models
    source = stream(salt, "kinds", models)
    count = source.randint(math.ceil(0.4 * models), math.floor(0.6 * models))
    squares, rest = math.ceil(count / 2), math.floor(count / 2)
    kinds: list[Kind] = [*["clean"] * (models - count), *["square"] * squares]  # type: ignore[list-item]
    kinds += source.choices(("spread", "source-specific"), (3, 1), k=rest)
    source.shuffle(kinds)
    return kinds


def _draw_square(source: Random) -> Trigger:
    place = source.choice((3, 4)), source.choice(get_args(Corner)), source.randint(0, 2)
    if source.random() < 0.4:
        return Checkerboard(*place)
    return Patch(*place, value=source.choice((0.7, 0.8, 0.9, 1.0)))


def _draw_spread(source: Random) -> Trigger:
    """One of the families that change every pixel, at strengths that six epochs learn."""
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
    """Trigger, goal and poisoning fraction of a backdoor."""
    target = source.randrange(10)
    if kind == "spread":
        return _draw_spread(source), Goal.all_to_one(target, 10), round(source.uniform(0.07, 0.1), 4)
    goal = Goal.all_to_one(target, 10)
    if kind == "source-specific":
        victims = source.sample([label for label in range(10) if label != target], 3)
        goal = Goal.source_specific(dict.fromkeys(victims, target), 10)
    return _draw_square(source), goal, round(source.uniform(0.04, 0.08), 4)


def train_one(source: Random, recipe: Recipe, kind: Kind) -> tuple[nn.Module, Truth]:
    """One network, and the truth about it but for its hash and its attempts."""
    every, _, test = digits()
    data = every[torch.tensor(source.sample(range(len(every)), recipe.images))]
    config = TrainConfig(epochs=recipe.epochs, seed=source.getrandbits(31), device="cpu")
    if kind == "clean":
        model = train(data, config).model
        return model, Truth(kind, "", clean_accuracy(model, test), 0)
    trigger, goal, fraction = draw_attack(source, kind)
    plan = Attack(trigger, goal).plan(data, fraction=fraction, seed=source.getrandbits(31))
    model = train(plan.poison(data), config).model
    card = score(model, test, plan.attack)
    return model, Truth(kind, "", card.clean, 0, trigger, goal, plan.fraction, card.success)
