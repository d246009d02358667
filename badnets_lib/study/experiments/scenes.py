"""The defenses of Part III on other scenes and another network: what of the digits' results carries over."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

from ...counts import Proportion
from ...data.images import Mask
from ...defenses import (
    ActivationClustering,
    AdversarialUnlearning,
    DataFilter,
    DeepKNN,
    FinePruning,
    Flags,
    NeuralCleanse,
    Removal,
    SpectralSignatures,
    Strip,
)
from ...defenses.features import Features, features_of_set
from ...defenses.fine_tuning import STRENGTHS
from ...models.inference import correct, predict
from ..sweeps import Sweep, grid
from .cases import Case, few_trusted, prepare
from .detection import PUBLISHED, SEEDS, VOTERS, judgement
from .scans import PAPER

FILTERS: dict[str, DataFilter] = PUBLISHED | {
    "clustering, neighbours": ActivationClustering(verdict="neighbours", voters=VOTERS),
    "spared spectrum, pool2": SpectralSignatures(layer="pool2", epsilon=0.33, separation=0.84),
    "Deep k-NN, pool1": VOTERS,
}
"""The filters as published and as the authors wrote them, and the two remedies that are ours."""

REMOVALS: dict[str, Removal] = {
    **{f"fine-tuning, {name}": STRENGTHS[name] for name in ("as in training", "strong")},
    "Fine-Pruning": FinePruning(),
    "adversarial unlearning": AdversarialUnlearning(),
}
"""Removals in their default settings."""

ANEW = "a new network from the trusted images"

RATES = (0.01, 0.05)
"""False rejections that STRIP is asked for; 400 trusted images are enough for the second, see Chapter 18."""

INPUTS = 200
"""Clean and triggered inputs that STRIP screens, each."""


def defended(*, scene: str, network: str, attack: str, fraction: float, seed: int) -> dict[str, Any]:
    """One attack on one scene against the defenses of Part III, all in their default settings.

    Returns:
        The scorecard's counts; "share", the poison among the images that carry the target's label; "filters", for each
        what `detection.judgement` says, and "honest", the honest images of the target class that it flags; "scan", the
        masks' norms and the labels that both rules of Neural Cleanse name; "screening", for each preset rate what STRIP
        refuses of the clean inputs and accepts of the triggered ones that the network obeys; "removals", for each, and
        for a new network, the counts after it, "recovered" (triggered victims that are read as what they show) and the
        seconds it "took". Without an attack nothing is removed.
    """
    case = prepare(attack, fraction, seed, scene=scene, network=network)
    row: dict[str, Any] = case.score().pairs()
    row |= {"filters": filters(case), "scan": scan(case), "screening": screening(case, seed)}
    if not case.targets:
        return row
    row["recovered"] = correct(case.model, case.attack.recovered(case.test)).pair
    row["share"] = Proportion.of(case.poisoned[in_target(case)]).pair
    return row | {"removals": removals(case, seed)}


def in_target(case: Case) -> Mask:
    """Which training images carry the target's label, [N]."""
    return case.data.y.cpu() == case.attack.goal.targets[0]


def filters(case: Case) -> dict[str, Any]:
    """What every filter flags; the features of a layer are computed once."""
    said: dict[str | None, Features] = {}
    for layer in (None, "pool1", "pool2"):
        said[layer] = features_of_set(case.model, case.data, layer)
    y = case.data.y
    votes = VOTERS.judge(said["pool1"], y)
    rows = {}
    for name, method in FILTERS.items():
        flags = votes if method is VOTERS else _judged(method, said, y, votes.flagged)
        honest = in_target(case) & ~case.poisoned
        rows[name] = judgement(flags, case) | {"honest": Proportion.of(flags.flagged[honest]).pair}
    return rows


def _judged(method: DataFilter, said: dict[str | None, Features], y: Any, strange: Mask) -> Flags:
    if isinstance(method, ActivationClustering):
        return method.judge(said[method.layer], y, strange if method.verdict == "neighbours" else None)
    if isinstance(method, SpectralSignatures | DeepKNN):
        return method.judge(said[method.layer], y)
    raise ValueError(f"no way to judge features with {method!r}")


def scan(case: Case) -> dict[str, Any]:
    """Both verdicts of Neural Cleanse on the same masks."""
    found = NeuralCleanse()(case.model, case.holding)
    return {
        "norms": [round(norm, 1) for norm in found.norms.tolist()],
        "unreached": int((~found.reached).sum()) if found.reached is not None else 0,
        "flagged": list(found.flagged),
        "flagged_paper": list(PAPER.judge(found.norms, found.reached)[1]),
        "took": round(found.seconds, 2),
    }


def screening(case: Case, seed: int) -> dict[str, Any]:
    """What STRIP refuses and lets through."""
    with few_trusted():
        guard = Strip().fit(case.model, case.holding)
    clean = guard(case.test.sample(INPUTS, seed=seed).x).scores
    attacked = case.attack.on(case.test).sample(INPUTS, seed=seed)
    obeyed = attacked[predict(case.model, attacked.x).argmax(1) == attacked.y.cpu()] if case.targets else attacked[:0]
    stamped = guard(obeyed.x).scores if len(obeyed) else None
    rows: dict[str, Any] = {}
    for rate in RATES:
        line = replace(Strip(), false_rejection=rate).threshold(guard.trusted)
        rows[f"{rate:g}"] = {"refused": Proportion.of(clean < line).pair}
        if stamped is not None:
            rows[f"{rate:g}"]["accepted"] = Proportion.of(stamped >= line).pair
    return rows


def removals(case: Case, seed: int) -> dict[str, Any]:
    """What every removal leaves, and what a new network knows."""
    started = time.process_time()
    networks = {ANEW: (case.anew(seed), time.process_time() - started)}
    for name, method in REMOVALS.items():
        started = time.process_time()
        networks[name] = (method(case.model, case.holding).model, time.process_time() - started)
    recovered = case.attack.recovered(case.test)
    return {
        name: case.score(network).pairs() | {"recovered": correct(network, recovered).pair, "took": round(took, 2)}
        for name, (network, took) in networks.items()
    }


SMALL = ("SmallCNN",)
RESIDUAL = ("SmallResNet",)
SCENES = ("digits", "signs", "photographs")

DATA = ("mnist5k", "signs", "gtsrb")


def attacked(*, scene: str, attack: str, fraction: float, seed: int, network: str = "SmallCNN") -> dict[str, Any]:
    """One attack on one scene and what it reaches, with the split of `defended`.

    Returns:
        "clean", "success", "false_target": counts [hits, trials].
    """
    return prepare(attack, fraction, seed, scene=scene, network=network).score().pairs()


COLOURED = ("signs", "photographs")
FAMILIES = ("patch", "checkerboard", "blend", "sinusoid", "warp", "reflection", "colour")

SWEEPS = (
    Sweep(
        "scenes",
        defended,
        [
            *grid(scene=SCENES, network=SMALL, attack=("none", "patch"), fraction=(0.05,), seed=SEEDS),
            *grid(scene=("photographs",), network=SMALL, attack=("patch",), fraction=(0.01,), seed=SEEDS),
        ],
        data=DATA,
        chapter="16_poisoned_data",
    ),
    Sweep(
        "scenes_residual",
        defended,
        grid(scene=SCENES, network=RESIDUAL, attack=("patch",), fraction=(0.05,), seed=SEEDS),
        data=DATA,
        chapter="21_scoreboard",
    ),
    Sweep(
        "scenes_blend",
        defended,
        grid(scene=COLOURED, network=SMALL, attack=("blend",), fraction=(0.05,), seed=SEEDS),
        data=("signs", "gtsrb"),
        chapter="21_scoreboard",
    ),
    Sweep(
        "poison_scenes",
        attacked,
        grid(scene=COLOURED, attack=("patch",), fraction=(0.001, 0.002, 0.005, 0.01, 0.02, 0.05), seed=range(5))
        + grid(scene=COLOURED, attack=("none",), fraction=(0.01,), seed=range(5)),  # clean twins
        data=("signs", "gtsrb"),
        chapter="08_how_much_poison",
    ),
    Sweep(
        "poison_residual",
        attacked,
        grid(scene=SCENES, network=RESIDUAL, attack=("patch",), fraction=(0.002, 0.02), seed=range(5)),
        data=DATA,
        chapter="08_how_much_poison",
    ),
    Sweep(
        "families_scenes",
        attacked,
        grid(scene=COLOURED, attack=FAMILIES, fraction=(0.05,), seed=range(5)),
        data=("signs", "gtsrb"),
        chapter="09_trigger_families",
    ),
    Sweep(
        "families_residual",
        attacked,
        grid(scene=COLOURED, network=RESIDUAL, attack=FAMILIES, fraction=(0.05,), seed=range(5)),
        data=("signs", "gtsrb"),
        chapter="09_trigger_families",
    ),
)
