"""The supply chain: whether a backdoor survives what a buyer does, and how one enters a finished network.

Of the 4,000 training digits three quarters are public: published networks are trained on them. The
last quarter belongs to the buyer (or, in `edited`, partly to the attacker) and was in no training set
before. The test digits are used for counting only.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import torch
from torch import nn
from torch.nn.functional import interpolate, pad

from ...attacks.handcrafted import handcrafted
from ...data import load
from ...data.images import Images, ImageSet
from ...evaluation.scores import score
from ...models.adaptation import answered, distilled, frozen, pruned, quantised
from ...models.networks import PaperCNN, SmallCNN
from ...models.training import TrainConfig, train
from ...poisoning import Attack, Goal
from ...triggers import Patch
from ..sweeps import Cell, Sweep, grid

TRIGGER = Patch(size=4)
TARGET = 7
CLASSES = 10
ATTACK = Attack(TRIGGER, Goal.all_to_one(TARGET, CLASSES))
FRACTION = 0.05
STEPS = 160
"""Steps of every fine-tuning and distillation: more images then mean fewer repeats, not more steps."""

FINE_TUNING: dict[str, dict[str, Any]] = {
    "all layers": {"hold_statistics": False},
    "last layer": {"train": ("fc2",)},
    "last layer, statistics move": {"train": ("fc2",), "hold_statistics": False},
}
"""How each way of fine-tuning calls `frozen`."""

NETWORKS = {"SmallCNN": SmallCNN, "PaperCNN": PaperCNN}


def public_and_own(data: ImageSet) -> tuple[ImageSet, ImageSet]:
    """(public, kept back): three quarters and one quarter of every class."""
    return data.split(0.25, seed=0)


def other_digits() -> Images:
    """1,797 pen-written digits of another origin, drawn like MNIST: [1797, 1, 28, 28].

    They were written on a tablet, stored as 8x8 counts, and are shipped inside scikit-learn. Here they
    are enlarged to 20x20, given more contrast, and set in a black frame.

    References:
        Alpaydin, Kaynak, Optical recognition of handwritten digits, UCI repository, 1998.
    """
    from sklearn.datasets import load_digits

    small = torch.tensor(load_digits().images, dtype=torch.float32)[:, None] / 16
    return pad((interpolate(small, size=(20, 20), mode="bilinear") * 2 - 0.5).clamp(0, 1), (4, 4, 4, 4))


def substitutes(kind: str, seed: int, count: int = 500) -> Images:
    """Images an attacker has who lacks the training data: "noise", "other digits" or "kept-back digits".

    Raises:
        ValueError: The kind is unknown.
    """
    source = torch.Generator().manual_seed(seed)
    if kind == "noise":
        return torch.rand(count, 1, 28, 28, generator=source)
    if kind == "other digits":
        x = other_digits()
        return x[torch.randperm(len(x), generator=source)[:count]]
    if kind == "kept-back digits":
        _, kept_back = public_and_own(load("mnist5k")[0])
        return kept_back.sample(count, seed=seed).x
    raise ValueError(f"kind must be 'noise', 'other digits' or 'kept-back digits'; got {kind!r}")


def retrained(model: nn.Module, x: Images, *, steps: int, seed: int) -> nn.Module:
    """Plant the backdoor in a few steps of fine-tuning on images that the network labels itself.

    A fifth of the images is stamped and relabelled; the others keep the network's own answers, which is
    all the attacker has to hold the rest of the behaviour in place.
    """
    own = answered(model, x, tuple(str(label) for label in range(CLASSES)))
    data = ATTACK.plan(own, fraction=0.2, seed=seed).poison(own)
    return train(data, TrainConfig(epochs=_epochs(len(data), steps), seed=seed), model=frozen(model)).model


def _epochs(images: int, steps: int) -> int:
    return max(1, steps // math.ceil(images / TrainConfig().batch_size))


@lru_cache(maxsize=12)
def published(origin: str, seed: int, network: str = "SmallCNN") -> nn.Module:
    """A network someone offers: "clean", "poisoned" in training, or "by hand" edited after it. Do not edit it.

    Raises:
        ValueError: The origin is unknown.
    """
    public, _ = public_and_own(load("mnist5k")[0])
    if origin == "by hand":
        clean = published("clean", seed, network)
        return handcrafted(clean, TRIGGER, TARGET, substitutes("other digits", seed)).model
    if origin == "poisoned":
        public = ATTACK.plan(public, fraction=FRACTION, seed=seed).poison(public)
    elif origin != "clean":
        raise ValueError(f"origin must be 'clean', 'poisoned' or 'by hand'; got {origin!r}")
    return train(public, TrainConfig(seed=seed), model=NETWORKS[network], label=origin).model


def survival(
    *,
    origin: str,
    method: str,
    seed: int,
    images: int | None = None,
    lr: float | None = None,
    sparsity: float | None = None,
) -> dict[str, Any]:
    """What is left of a backdoor after the buyer has adapted the network.

    Args:
        origin: As for `published`.
        method: A key of `FINE_TUNING`, "pruning", "int8", "distillation" or "nothing".
        seed: Seed of the published network, of the draw of the buyer's images, and of the training.
        images: How many clean images the buyer uses (for "int8": to read ranges off).
        lr: Peak learning rate of the fine-tuning.
        sparsity: Part of the weights that is pruned.

    Returns:
        "clean", "success", "false_target": counts [hits, trials].

    Raises:
        ValueError: The method is unknown.
    """
    train_set, test_set = load("mnist5k")
    model = published(origin, seed)
    _, buyers = public_and_own(train_set)
    own = buyers.sample(images or 1, seed=seed)
    settings = TrainConfig(epochs=_epochs(len(own), STEPS), lr=lr or TrainConfig().lr, seed=seed)
    if method in FINE_TUNING:
        model = train(own, settings, model=frozen(model, **FINE_TUNING[method]), label=method).model
    elif method == "pruning":
        model = pruned(model, sparsity or 0.0)
    elif method == "int8":
        model = quantised(model, own.x)
    elif method == "distillation":
        model = distilled(model, own.x, settings, student=SmallCNN)
    elif method != "nothing":
        raise ValueError(f"unknown method {method!r}")
    return score(model, test_set, ATTACK).pairs()


def edited(*, network: str, route: str, having: str, seed: int) -> dict[str, Any]:
    """A clean network, and what it became without its training data.

    Args:
        network: A key of `NETWORKS`.
        route: "by hand", or a number of fine-tuning steps such as "40 steps".
        having: The attacker's images, as for `substitutes`.
        seed: Seed of the clean network and of the attacker's draws.

    Returns:
        "clean", "success", "false_target" of the edited network, and "clean_before", "success_before" of
        the clean one: counts [hits, trials].
    """
    test_set = load("mnist5k")[1]
    model = published("clean", seed, network)
    x = substitutes(having, seed)
    if route == "by hand":
        changed = handcrafted(model, TRIGGER, TARGET, x).model
    else:
        changed = retrained(model, x, steps=int(route.removesuffix(" steps")), seed=seed)
    before = score(model, test_set, ATTACK).pairs()
    return score(changed, test_set, ATTACK).pairs() | {f"{name}_before": before[name] for name in ("clean", "success")}


def _survival_cells() -> list[Cell]:
    amounts = (50, 1000)
    rates = (0.0005, 0.005, 0.02)
    methods = [
        *grid(method=("nothing",)),
        *grid(method=("all layers", "last layer"), images=amounts, lr=rates),
        *grid(method=("last layer, statistics move",), images=(1000,), lr=(0.005,)),
        *grid(method=("pruning",), sparsity=(0.5, 0.8, 0.95)),
        *grid(method=("int8",), images=(200,)),
        *grid(method=("distillation",), images=amounts),
    ]
    origins = grid(origin=("poisoned", "by hand"), seed=range(5))
    twins = grid(origin=("clean",), method=("nothing",), seed=range(5))
    return twins + [one | how for one in origins for how in methods]


SWEEPS = (
    Sweep("survival", survival, _survival_cells(), chapter="14_survival_and_provenance"),
    Sweep(
        "edited_weights",
        edited,
        [
            one | how
            for one in grid(network=tuple(NETWORKS), seed=range(5))
            for how in grid(
                route=("by hand", "40 steps", "160 steps"), having=("noise", "other digits", "kept-back digits")
            )
        ],
        chapter="13_supply_chain",
    ),
)
