"""The supply chain of parts: adapters attached and merged, and a backdoor that sleeps until int8.

Of the 4,000 training digits three quarters train the base network; the last quarter belongs to the one who fits an
adapter or calibrates int8. The test digits are used for counting only.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import Any

from torch import nn

from ...attacks.adapters import Adapter, attached, fit_adapter
from ...attacks.dormant import coarsened, put_to_sleep
from ...counts import Proportion
from ...data import load
from ...evaluation.scores import score
from ...models.adaptation import quantised
from ...models.inference import predict
from ...models.networks import SmallCNN
from ...models.training import TrainConfig, train
from ...poisoning import Attack, Goal
from ...triggers import Patch
from ..sweeps import Cell, Sweep, grid
from .supply_chain import public_and_own

ATTACK = Attack(Patch(size=4), Goal.all_to_one(7, 10))
FRACTION = 0.1
ADAPTING = TrainConfig(epochs=25, lr=0.003)
"""Settings of every adapter, honest or not."""

SLEEPING = TrainConfig(epochs=8, lr=0.05, weight_decay=0.0)
COARSER = 12.0
"""How many times larger the attacker makes the steps of int8."""

CALIBRATION = 200
"""The buyer's clean images that int8 reads its ranges off."""


@lru_cache(maxsize=2)
def base(seed: int) -> nn.Module:
    """An honest network, trained on the public digits. Do not edit it."""
    public, _ = public_and_own(load("mnist5k")[0])
    return train(public, TrainConfig(seed=seed), label="base").model


@lru_cache(maxsize=8)
def adapter(seed: int, rank: int, poisoned: bool, number: int = 0) -> Adapter:
    """One fitted on half of the digits kept back; honest ones differ by their `number`."""
    _, own = public_and_own(load("mnist5k")[0])
    data = own.sample(500, seed=seed + 100 * number)
    if poisoned:
        data = ATTACK.plan(data, fraction=FRACTION, seed=seed).poison(data)
    return fit_adapter(base(seed), data, replace(ADAPTING, seed=seed + number), rank=rank)


def adapted(*, how: str, rank: int, seed: int) -> dict[str, Any]:
    """A base network with adapters.

    Args:
        how: "base" (none), "honest" or "poisoned" (one), or "mean 1", "sum 1", "mean 3", "sum 3": the poisoned one
            merged in that way with so many honest ones. "honest mean 1" and so on put an honest adapter, fitted on
            the same images, in the place of the poisoned one.
        rank: Rank of every adapter.
        seed: Seed of base, draws and adapters.

    Returns:
        The counts of a scorecard.
    """
    test = load("mnist5k")[1]
    if how == "base":
        return score(base(seed), test, ATTACK).pairs()
    if how in ("honest", "poisoned"):
        one = adapter(seed, rank, True) if how == "poisoned" else adapter(seed, rank, False, 1)
        return score(attached(base(seed), one), test, ATTACK).pairs()
    merge, count = how.removeprefix("honest ").split()
    first = adapter(seed, rank, not how.startswith("honest"))
    others = [adapter(seed, rank, False, number) for number in range(1, int(count) + 1)]
    model = attached(base(seed), first, *others, merge="mean" if merge == "mean" else "sum")
    return score(model, test, ATTACK).pairs()


@lru_cache(maxsize=2)
def sleeper(seed: int, origin: str) -> dict[str, nn.Module]:
    """A network "trained" on "poisoned" or on "clean" digits, and the same "asleep"."""
    public, own = public_and_own(load("mnist5k")[0])
    data = ATTACK.plan(public, fraction=FRACTION, seed=seed).poison(public) if origin == "poisoned" else public
    trained = train(data, TrainConfig(seed=seed), label=origin).model
    assert isinstance(trained, SmallCNN)
    coarse = coarsened(trained, own.sample(CALIBRATION, seed=seed + 1).x, COARSER)
    quiet = put_to_sleep(coarse, public, ATTACK.trigger, replace(SLEEPING, seed=seed)).model
    return {"trained": trained, "asleep": quiet}


def slept(*, origin: str, state: str, precision: str, seed: int) -> dict[str, Any]:
    """A backdoored network, or its clean twin, as it was trained and after it was put to sleep, in one precision.

    Args:
        origin: "poisoned" or "clean": what the network was trained on.
        state: "trained" or "asleep"; the clean twin goes through the same steps.
        precision: "float32" or "int8".
        seed: Seed of training and of the calibration images.

    Returns:
        The counts of a scorecard, and the test images that get the same class as from the float32 network: "agree"
        as they are, "agree_stamped" with the trigger, [hits, trials].
    """
    digits, test = load("mnist5k")
    floating = model = sleeper(seed, origin)[state]
    if precision == "int8":
        _, own = public_and_own(digits)
        model = quantised(floating, own.sample(CALIBRATION, seed=seed).x)
    images = {"agree": test.x, "agree_stamped": ATTACK.trigger(test.x)}
    same = {name: predict(model, x).argmax(1) == predict(floating, x).argmax(1) for name, x in images.items()}
    return score(model, test, ATTACK).pairs() | {name: Proportion.of(each).pair for name, each in same.items()}


def _adapter_cells() -> list[Cell]:
    merges = ("mean 1", "sum 1", "mean 3", "sum 3")
    honest = tuple(f"honest {merge}" for merge in merges)
    return [
        *grid(seed=range(5), rank=(4,), how=("base", "honest", "poisoned", *merges, *honest)),
        *grid(seed=range(5), rank=(1, 16), how=("poisoned", "honest")),
    ]


SWEEPS = (
    Sweep("adapters", adapted, _adapter_cells(), chapter="25_parts"),
    Sweep(
        "dormant",
        slept,
        grid(origin=("poisoned", "clean"), seed=range(5), state=("trained", "asleep"), precision=("float32", "int8")),
        chapter="25_parts",
    ),
)
