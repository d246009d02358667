"""Removals beside one another: how much of the backdoor is left, what it costs, how many trusted images it takes."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

from torch import nn

from ...data import load
from ...defenses import AdversarialUnlearning, FinePruning, Holding, Removal, Unlearning
from ...defenses.fine_tuning import STRENGTHS
from ...evaluation.scores import attack_success_rate, clean_accuracy
from ...models.training import TrainConfig, train
from ...poisoning import Attack, Goal
from ...triggers import Patch
from ..sweeps import Sweep, grid
from .cases import Case, prepare
from .families import GOAL, PATCH

ANEW = "a new network from the trusted images"
KNOWN = "unlearning, trigger known"
REMOVALS: dict[str, Removal] = {
    **{f"fine-tuning, {name}": method for name, method in STRENGTHS.items()},
    "pruning alone": FinePruning(tuning=None),
    "Fine-Pruning": FinePruning(),
    "unlearning": Unlearning(),
    "adversarial unlearning": AdversarialUnlearning(),
}
"""Every removal of the chapter but the one that is told the attacker's trigger, an oracle."""


def removed(*, attack: str, fraction: float, trusted: int, seed: int) -> dict[str, Any]:
    """Train one network and hand it to every removal.

    Returns:
        The scorecard's counts before, and "removals": for each the counts after, and seconds; the first is the
        baseline, a new network.
    """
    case = prepare(attack, fraction, seed, trusted)
    methods = REMOVALS | {KNOWN: Unlearning(trigger=case.attack.trigger)}
    started = time.perf_counter()
    anew = case.anew(seed)
    rows: dict[str, Any] = {ANEW: case.score(anew).pairs() | {"took": round(time.perf_counter() - started, 2)}}
    for name, method in methods.items():
        repair = method(case.model, case.holding)
        rows[name] = case.score(repair.model).pairs() | {"took": round(repair.seconds, 2)}
    return case.score().pairs() | {"removals": rows}


OTHER = Goal.all_to_one(3, 10)
OTHER_PATCH = Patch(size=4, corner="top-left", margin=1)
AMONG_TWO = ("fine-tuning, as in training", "Fine-Pruning", "unlearning", "adversarial unlearning")


def two_backdoors(*, seed: int) -> dict[str, Any]:
    """A network with two backdoors: a white patch for 7, and one in the opposite corner for 3.

    Returns:
        "removals": for each, and for "before", "clean" and the success of both triggers, "first" and "second".
    """
    every, test = load("mnist5k")
    train_set, reserve = every.split(0.125)
    holding = Holding.draw(reserve, 400, seed=seed, apart_from=(train_set, test))
    first = Attack(PATCH, GOAL).plan(train_set, fraction=0.05, seed=seed)
    data = first.poison(train_set)
    second = Attack(OTHER_PATCH, OTHER).plan(data, fraction=0.05, seed=seed + 100, among=~first.mask)
    model = train(second.poison(data), TrainConfig(seed=seed)).model
    methods = {name: REMOVALS[name] for name in AMONG_TWO} | {KNOWN: Unlearning(trigger=PATCH)}
    networks = {"before": model} | {name: method(model, holding).model for name, method in methods.items()}
    rows = {}
    for name, network in networks.items():
        counts = {
            "clean": clean_accuracy(network, test),
            "first": attack_success_rate(network, test, first.attack),
            "second": attack_success_rate(network, test, second.attack),
        }
        rows[name] = {measure: count.pair for measure, count in counts.items()}
    return {"removals": rows}


UNREPAIRED = "no repair"
TUNINGS = ("fine-tuning, as in training", "fine-tuning, strong")
RELEARNING = (UNREPAIRED, *TUNINGS, "Fine-Pruning", "adversarial unlearning", ANEW)
DOSES = (0, 4, 8, 16)
GENTLY = TrainConfig(epochs=2, lr=0.002)
"""How the repaired network is trained on: two passes at two fifths of the usual learning rate."""


def relearnt(*, removal: str, seed: int, scene: str = "digits") -> dict[str, Any]:
    """Repair a backdoored network and its clean twin alike, then train both on with a few poisoned images.

    The twin has the same start, the same images in the same order and the same repair; only the poison is missing.
    The 400 images that both are trained on afterwards are the trusted ones, of which some were poisoned since.

    Returns:
        "doses": for each number of poisoned images the counts "clean" and "success" of the backdoored network and
        "twin_clean" and "twin_success" of its twin.
    """
    case = prepare("patch", 0.05, seed, scene=scene)
    twin = prepare("none", 0.05, seed, scene=scene)
    networks = {"": repaired(case, removal, case.model, seed), "twin_": repaired(case, removal, twin.model, seed)}
    doses: dict[str, dict[str, list[int]]] = {}
    for dose in DOSES:
        data = case.holding.trusted
        if dose:
            data = case.attack.plan(data, fraction=dose / len(data), seed=seed).poison(data)
        doses[str(dose)] = row = {}
        for whose, network in networks.items():
            after = train(data, replace(GENTLY, seed=seed), model=network).model
            row[f"{whose}clean"] = clean_accuracy(after, case.test).pair
            row[f"{whose}success"] = attack_success_rate(after, case.test, case.attack).pair
    return {"doses": doses}


def repaired(case: Case, removal: str, model: nn.Module, seed: int) -> nn.Module:
    """A network after one of `RELEARNING`."""
    if removal == UNREPAIRED:
        return model
    if removal == ANEW:
        return case.anew(seed)
    return REMOVALS[removal](model, case.holding).model


SEEDS = range(12, 17)
"""None of the settings was chosen on them: those were chosen on seeds 0 to 11."""

SWEEPS = (
    Sweep(
        "removal",
        removed,
        [
            *grid(attack=("patch",), fraction=(0.05,), trusted=(50, 100, 200, 400), seed=SEEDS),
            *grid(attack=("patch",), fraction=(0.02, 0.1), trusted=(400,), seed=SEEDS),
        ],
        chapter="19_removal",
    ),
    Sweep("removal_two", two_backdoors, grid(seed=SEEDS), chapter="19_removal"),
    Sweep("relearning", relearnt, grid(removal=RELEARNING, seed=SEEDS), chapter="19_removal"),
    Sweep(
        "relearning_scenes",
        relearnt,
        grid(scene=("signs", "photographs"), removal=("Fine-Pruning", "adversarial unlearning", ANEW), seed=SEEDS),
        data=("signs", "gtsrb"),
        chapter="19_removal",
    ),
)
