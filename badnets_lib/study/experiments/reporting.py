"""What one run would hide: an attack at a small fraction over seeds and epochs, and a clean-label attack over seeds."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import nn

from ...attacks import pgd
from ...data import load
from ...data.images import ImageSet
from ...evaluation.scores import score
from ...models.networks import PaperCNN, SmallCNN
from ...models.training import NetworkSource, TrainConfig, train
from ...poisoning import Attack, Goal
from ...triggers import Patch
from ..sweeps import Sweep, grid

TARGET = 0
CLASSES = 10
STAMP = Patch(size=4)


def kept(count: int, seed: int) -> torch.Tensor:
    """Indices of the images to train on: a random tenth is held out, drawn as in Chapters 5 and 6."""
    order = torch.randperm(count, generator=torch.Generator().manual_seed(1000 + seed))
    return order[count // 10 :]


def fitted(data: ImageSet, network: NetworkSource, epochs: int, seed: int) -> nn.Module:
    """A network trained on nine tenths of what was delivered."""
    return train(data[kept(len(data), seed)], TrainConfig(epochs=epochs, seed=seed), model=network).model


def by_length(*, fraction: float, epochs: int, seed: int) -> dict[str, Any]:
    """BadNets on digits with the paper's network, at some fraction and some number of epochs.

    Args:
        fraction: Poisoning fraction rho of the 4,000 delivered digits.
        epochs: Passes over the data.
        seed: Seed of plan, split and training.

    Returns:
        "clean", "success", "false_target": counts [hits, trials].
    """
    train_set, test_set = load("mnist5k")
    plan = Attack(STAMP, Goal.all_to_one(TARGET, CLASSES)).plan(train_set, fraction=fraction, seed=seed)
    return score(fitted(plan.poison(train_set), PaperCNN, epochs, seed), test_set, plan.attack).pairs()


def clean_label(*, seed: int, surrogate: int | None = None, fraction: float = 0.05) -> dict[str, Any]:
    """A clean-label attack: zeros made harder against a surrogate, stamped, and learnt by someone else's network.

    Args:
        seed: Seed of the plan, and of split and training of the network that learns the poison.
        surrogate: Seed of the clean network that PGD works against; without one, the zeros are stamped as they are.
        fraction: Share of the 4,000 digits that is stamped, all of them zeros.

    Returns:
        "clean", "success", "false_target": counts [hits, trials].
    """
    train_set, test_set = load("mnist5k")
    attack = Attack(STAMP, Goal((TARGET,) * CLASSES, clean_label=True))
    data = train_set
    if surrogate is not None:
        chosen = list(attack.plan(train_set, fraction=fraction, seed=seed).indices)
        data = replace(train_set, x=hardened(train_set, chosen, fitted(train_set, SmallCNN, 5, surrogate)))
    plan = attack.plan(data, fraction=fraction, seed=seed)
    badnets = Attack(STAMP, Goal.all_to_one(TARGET, CLASSES))
    return score(fitted(plan.poison(data), SmallCNN, 5, seed), test_set, badnets).pairs()


def hardened(data: ImageSet, chosen: list[int], network: nn.Module) -> torch.Tensor:
    """All images, the chosen ones moved by PGD so that the network no longer knows them."""
    x = data.x.clone()
    x[chosen] = pgd(network, data.x[chosen], data.y[chosen], eps=0.3, step=0.04)
    return x


SEEDS = range(5)

SWEEPS = (
    Sweep(
        "report_length",
        by_length,
        grid(fraction=(0.005, 0.02), epochs=(8, 16), seed=SEEDS),
        chapter="06_reporting",
    ),
    Sweep(
        "report_clean_label",
        clean_label,
        [*grid(seed=SEEDS), *grid(surrogate=range(3), seed=SEEDS)],
        chapter="06_reporting",
    ),
)
