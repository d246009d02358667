"""Federated learning with an attacker among the clients, and pictures with captions that anyone may have written."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import torch
from torch import nn

from ...attacks.contrastive import ZeroShot, captioned, poison_pairs, train_pairs
from ...attacks.model_replacement import model_replacement, replacement_boost
from ...data import load
from ...data.images import ImageSet
from ...evaluation.scores import score
from ...models.federated import ClippedMean, LocalTraining, Rule, TrimmedMean, deal, mean, median, moved, updates_of
from ...models.networks import PaperCNN, SmallCNN
from ...models.training import TrainConfig, seeded, train
from ...poisoning import Attack, Goal
from ...triggers import Patch
from ..sweeps import Sweep, grid

CLIENTS = 20
WARM = 12
"""Honest rounds before anything happens, by the mean."""

HONEST: dict[str, Any] = {"epochs": 1, "batch_size": 10, "lr": 0.1}
ATTACKER: dict[str, Any] = {"epochs": 6, "batch_size": 10, "lr": 0.05}
"""What a client does in a round; the attacker trains longer at a lower rate, as Bagdasaryan et al. do."""

POISON = 0.2
"""Part of the attacker's own images that is poisoned."""

ATTACK = Attack(Patch(size=4, margin=1), Goal.all_to_one(7, 10))
RULES: dict[str, Rule] = {"mean": mean, "clipped": ClippedMean(1.0), "trimmed": TrimmedMean(2), "median": median}
CONCENTRATIONS = {"equal": None, "unequal": 0.2}

COURSES: dict[str, tuple[str, int, int, int]] = {
    "mean, clean": ("mean", 0, 0, 6),
    "median, clean": ("median", 0, 0, 4),
    "mean, once": ("mean", 1, 1, 6),
    "clipped, once": ("clipped", 1, 1, 3),
    "trimmed, once": ("trimmed", 1, 1, 3),
    "median, once": ("median", 1, 1, 3),
    "clipped, four always": ("clipped", 4, 3, 3),
    "trimmed, four always": ("trimmed", 4, 3, 3),
    "median, four always": ("median", 4, 3, 3),
}
"""Rule, number of attackers, in how many of the rounds they attack, and rounds."""


def federation(*, clients: str, seed: int) -> dict[str, Any]:
    """Train together, then go on from the same network in several ways.

    Args:
        clients: "equal" or "unequal", how the digits are dealt out.
        seed: Seed of the deal, of the first weights, of all orders and of the poison.

    Returns:
        "warm", right answers after each honest round; and "courses", by name: after each further round right answers
        and attack success, and the "norms" of the first round, the attackers' first.
    """
    train_set, test = load("mnist5k")
    parts = deal(train_set, CLIENTS, concentration=CONCENTRATIONS[clients], seed=seed)
    with seeded(seed, torch.device("cpu")):
        network: nn.Module = PaperCNN()
    local = LocalTraining(**HONEST, seed=seed, device="cpu")
    warm = []
    for turn in range(WARM):
        network = moved(network, mean(*updates_of(network, parts, local, turn=turn)))
        warm.append(score(network, test, ATTACK).clean.pair)
    courses = {name: course(network, parts, local, test, *settings) for name, settings in COURSES.items()}
    return {"warm": warm, "courses": courses}


def course(
    network: nn.Module,
    parts: Sequence[ImageSet],
    local: LocalTraining,
    test: ImageSet,
    rule: str,
    attackers: int,
    attacked: int,
    rounds: int,
) -> dict[str, Any]:
    """Further rounds under one rule; in the first `attacked` of them the first `attackers` clients attack."""
    rows: dict[str, Any] = {"clean": [], "success": [], "norms": []}
    for turn in range(WARM, WARM + rounds):
        guests = range(attackers) if turn < WARM + attacked else range(0)
        updates, sizes = updates_of(network, parts, local, turn=turn, skip=guests)
        for client, update in zip(guests, malicious(network, parts, sizes, guests, local.seed, turn), strict=True):
            updates[client] = update
        if turn == WARM:
            rows["norms"] = [round(float(each), 3) for each in updates.norm(dim=1)]
        network = moved(network, RULES[rule](updates, sizes))
        card = score(network, test, ATTACK)
        rows["clean"].append(card.clean.pair)
        rows["success"].append(card.success.pair)
    return rows


def malicious(
    network: nn.Module, parts: Sequence[ImageSet], sizes: torch.Tensor, guests: Sequence[int], seed: int, turn: int
) -> Iterator[torch.Tensor]:
    """What the attackers send: each multiplies its update so that all of them together replace the network."""
    local = LocalTraining(**ATTACKER, seed=seed, device="cpu")
    for client in guests:
        own = parts[client]
        allowed = int(ATTACK.goal.candidates(own.y).sum())  # a client may hold little else than the target
        fraction = min(max(1, round(POISON * len(own))), allowed) / len(own)
        poisoned = ATTACK.plan(own, fraction=fraction, seed=seed).poison(own)
        boost = replacement_boost(sizes, client) / len(guests)
        yield model_replacement(network, poisoned, local, boost=boost, turn=1000 * (turn + 1) + client)


def paired(*, learns: str, count: int, seed: int) -> dict[str, Any]:
    """Poison some of the 8,000 drawn signs, and learn from captions or, for comparison, from labels.

    Args:
        learns: "captions": two encoders, contrastively, then a classifier without training on labels. "labels": the
            network of the pictures alone, as everywhere in the book.
        count: Poisoned signs; with 0, the clean twin.
        seed: Seed of the draw, of the captions and of the training.

    Returns:
        "clean", "success", "false_target": counts [hits, trials].
    """
    data, test = load("signs")
    plan = ATTACK.plan(data, fraction=max(count, 1) / len(data), seed=seed)
    config = TrainConfig(seed=seed)
    if learns == "labels":
        model = train(plan.poison(data) if count else data, config, model=partial(SmallCNN, channels=3)).model
        return score(model, test, ATTACK).pairs()
    pairs = poison_pairs(data, plan, seed=seed) if count else captioned(data, seed=seed)
    return score(ZeroShot(train_pairs(pairs, config), data.classes), test, ATTACK).pairs()


SEEDS = range(5)
"""Rates, epochs, the limit of the norm and the number of rounds were set on another seed."""

SWEEPS = (
    Sweep("federation", federation, grid(clients=tuple(CONCENTRATIONS), seed=SEEDS), chapter="27_many_trainers"),
    Sweep(
        "contrastive",
        paired,
        grid(learns=("captions", "labels"), count=(0, 2, 4, 8, 20, 40), seed=SEEDS),
        data=("signs",),
        chapter="27_many_trainers",
    ),
)
