"""Filters of training data: which poison each finds, in which layer, and what it takes for poison besides."""

from __future__ import annotations

from itertools import product
from typing import Any, get_args

from ...defenses import ActivationClustering, DataFilter, DeepKNN, Flags, Rates, SpectralSignatures
from ...defenses.activation_clustering import Verdict
from ..sweeps import Sweep, grid
from .cases import Case, prepare

LAYERS = ("pool1", "pool2", "relu3", "fc2")
EPSILONS = (0.1, 0.33)

VOTERS = DeepKNN(layer="pool1")
"""Whom clustering asks which part of a class is strange: neighbours in an early layer."""

FILTERS: dict[str, DataFilter] = {
    **{
        f"clustering, {verdict}, {layer}": ActivationClustering(layer=layer, verdict=verdict, voters=VOTERS)
        for verdict, layer in product(get_args(Verdict), LAYERS)
    },
    **{
        f"spectral {epsilon}, {layer}": SpectralSignatures(layer=layer, epsilon=epsilon)
        for epsilon, layer in product(EPSILONS, LAYERS)
    },
    **{
        f"spectral, spared, {layer}": SpectralSignatures(layer=layer, epsilon=0.33, separation=0.84) for layer in LAYERS
    },
    **{f"neighbours, {layer}": DeepKNN(layer=layer) for layer in LAYERS},
}
"""Every filter and layer of the chapter. "spared" is the spectral filter that leaves quiet classes alone."""


def filtered(*, attack: str, fraction: float, seed: int) -> dict[str, Any]:
    """Train on the attacked data and let every filter judge them.

    Returns:
        The scorecard's counts, and "filters": for each its "caught" (of the poison; absent where there is none),
        "alarms" (of the clean images) and "ranked", the part of the pairs of one poisoned and one clean image of the
        target class that its scores put in the right order (AUROC; absent without poison).
    """
    case = prepare(attack, fraction, seed)
    judged = {name: judgement(method(case.model, case.data), case) for name, method in FILTERS.items()}
    return case.score().pairs() | {"filters": judged}


def rates(counted: Rates) -> dict[str, Any]:
    """{"caught": of what is bad, "alarms": of what is good}, [hits, trials] each, where there is any."""
    counts = {"caught": counted.recall, "alarms": counted.false_positive_rate}
    return {name: count.pair for name, count in counts.items() if count}


def judgement(flags: Flags, case: Case) -> dict[str, Any]:
    """The rates of a filter, and how well its scores rank the images of the target's class."""
    from scipy.stats import mannwhitneyu

    row = rates(flags.rates(case.poisoned))
    if not bool(case.poisoned.any()):
        return row
    mine = case.data.y.cpu() == case.attack.goal.targets[0]
    bad, good = (flags.scores[mine & truth].numpy() for truth in (case.poisoned, ~case.poisoned))
    return row | {"ranked": round(float(mannwhitneyu(bad, good).statistic) / (len(bad) * len(good)), 4)}


PUBLISHED: dict[str, DataFilter] = {
    **{f"clustering {limit:.2f}": ActivationClustering(silhouette=limit) for limit in (0.10, 0.15, 0.20)},
    **{
        f"spectral, {name}{f', {layer}' if layer else ''}": SpectralSignatures(layer=layer, centred=name == "centred")
        for layer, name in product((None, "pool2"), ("centred", "uncentred"))
    },
}
"""Both methods as published, and with what was changed. Where no layer is named, it is the last hidden one.

As published are the silhouettes of 0.10 and 0.15, the ends of what the paper suggests, and the centred spectrum, which
is the paper's formula; the uncentred one is the authors' code. The silhouette of 0.20 is ours.
"""


def as_published(*, attack: str, fraction: float, seed: int) -> dict[str, Any]:
    """Train on the attacked digits, and let the filters of `PUBLISHED` judge them.

    Returns:
        The scorecard's counts, and "filters" as in `filtered`.
    """
    case = prepare(attack, fraction, seed)
    judged = {name: judgement(method(case.model, case.data), case) for name, method in PUBLISHED.items()}
    return case.score().pairs() | {"filters": judged}


SEEDS = range(12, 17)
"""None of the settings was made on networks of these seeds."""

ELSE = ("blend", "warp", "sinusoid", "clean-label, harder", "source-specific", "source-specific, covered", "none")

SWEEPS = (
    Sweep(
        "detection",
        filtered,
        [
            *grid(attack=("patch",), fraction=(0.01, 0.02, 0.05, 0.1), seed=range(5)),
            *grid(attack=ELSE, fraction=(0.05,), seed=range(5)),
        ],
        chapter="16_poisoned_data",
    ),
    Sweep(
        "detection_published",
        as_published,
        [
            *grid(attack=("patch",), fraction=(0.01, 0.02, 0.05, 0.1), seed=SEEDS),
            *grid(attack=("blend", "warp", "sinusoid", "none"), fraction=(0.05,), seed=SEEDS),
        ],
        chapter="16_poisoned_data",
    ),
)
