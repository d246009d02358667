"""The other zoo of the capstone: one honest network, and low-rank adapters for it, some with a backdoor.

The base is a clean network whose hash is right. Trigger, target and fraction are drawn for each adapter as for a
network of the other zoo, and a clean adapter saw stamps too, with labels drawn at random. All adapters have one rank
and change the same layers, so that their files differ in nothing but the numbers.

Of the 3,500 digits that are not the students' reserve, half train the base. Each adapter is fitted to 1,500 digits of
its own, drawn from the other half.

What gives adapters away is measured by `python -m coursework.cheap --kind adapters`: on 12 adapters of the salt
"practice" the norm of the change of `fc1` alone tells the clean from the backdoored, the clean having the larger one.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from random import Random

import torch
from torch import nn

from badnets_lib import ImageSet, SmallCNN, TrainConfig, train
from badnets_lib.attacks.adapters import Adapter, attached, fit_adapter

from .specimens import Kind, Recipe, Truth, digits, stamped, stream, truth_about

MOST_IMAGES = 1750
"""Digits that adapters draw theirs from."""


@dataclass(frozen=True)
class AdapterRecipe(Recipe):
    """How the adapters of a zoo are made, and the network that they belong to. Nothing of it is secret.

    Args:
        models: How many adapters, from 4 to 100.
        images: Digits that each is fitted to, drawn for it alone from the half that the base was not trained on.
        epochs: Passes over them.
        rank: Rank of every change.
        lr: Learning rate.
        base_epochs: Passes of the base over its own digits.

    Raises:
        ValueError: A setting is out of range.
    """

    images: int = 1500
    epochs: int = 12
    rank: int = 8
    lr: float = 0.005
    base_epochs: int = 8

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.images > MOST_IMAGES:
            raise ValueError(f"images of an adapter must lie in [100, {MOST_IMAGES}]; got {self.images}")
        if self.rank < 1 or self.base_epochs < 1:
            raise ValueError(f"rank and base_epochs must be at least 1; got {self.rank}, {self.base_epochs}")

    @property
    def names(self) -> list[str]:
        """adapter_00, adapter_01 and so on."""
        return [f"adapter_{number:02}" for number in range(self.models)]


@cache
def halves() -> tuple[ImageSet, ImageSet]:
    """(digits that train the base, digits that adapters draw theirs from)."""
    return digits()[0].split(0.5, seed=0)


def train_base(salt: str, recipe: AdapterRecipe) -> nn.Module:
    """The honest network that all adapters belong to."""
    seed = stream(salt, "base").getrandbits(31)
    config = TrainConfig(epochs=recipe.base_epochs, seed=seed, device="cpu")
    return train(halves()[0], config, model=SmallCNN, label="base").model


def fit_one(source: Random, recipe: AdapterRecipe, kind: Kind, base: nn.Module) -> tuple[Adapter, Truth]:
    """One adapter, and the truth about the base with it but for its hash and its attempts."""
    own = halves()[1]
    data = own[torch.tensor(source.sample(range(len(own)), recipe.images))]
    config = TrainConfig(epochs=recipe.epochs, lr=recipe.lr, seed=source.getrandbits(31), device="cpu")
    images, plan = stamped(source, data, kind)
    adapter = fit_adapter(base, images, config, rank=recipe.rank)
    return adapter, truth_about(attached(base, adapter), kind, plan)
