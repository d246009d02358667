"""Every attack against every defense, in three dimensions: detection, clean accuracy, attack success."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from ...data.images import ImageSet, Mask
from ...defenses import (
    ActivationClustering,
    AdversarialUnlearning,
    CutMix,
    DataFilter,
    DeepKNN,
    FilterAndRetrain,
    FinePruning,
    FineTuning,
    IsolateAndUnlearn,
    Removal,
    RobustTraining,
    SpectralSignatures,
    Strip,
    Unlearning,
)
from ...defenses.strip import FittedStrip
from ...models.inference import correct, predict
from ...models.training import TrainConfig
from ..sweeps import Sweep, grid
from .cases import ATTACKS, Case, few_trusted, prepare
from .detection import VOTERS, rates

Counts = dict[str, Any]

FILTERS: dict[str, DataFilter] = {
    "Activation Clustering": ActivationClustering(layer="relu3", silhouette=0.15),
    "clustering by neighbours (ours)": ActivationClustering(layer="relu3", verdict="neighbours", voters=VOTERS),
    "Spectral Signatures": SpectralSignatures(layer="relu3", centred=False),
    "spared spectrum (ours, oracle)": SpectralSignatures(layer="pool2", epsilon=0.33, separation=0.84),
    "Deep k-NN": DeepKNN(layer="pool1"),
}
"""Each judges the training set; what it leaves is trained on anew.

The first has the paper's higher limit, 0.15; the third the score of its authors' code, and an epsilon that was set
without looking. That of the fourth is the truth wherever 5% of all images are poison: an oracle.
"""

TRAININGS: dict[str, RobustTraining] = {"isolate and unlearn (ours)": IsolateAndUnlearn(), "CutMix": CutMix()}
REMOVALS: dict[str, Removal] = {
    "fine-tuning": FineTuning(),
    "Fine-Pruning": FinePruning(),
    "adversarial unlearning": AdversarialUnlearning(),
}

SEES = {
    "data filter": "the training data, and the network trained on them",
    "robust training": "the training data",
    "model scan": "the network and 400 trusted images",
    "input filter": "the network, 400 trusted images, and every input",
    "removal": "the network and 400 trusted images",
    "baseline": "400 trusted images, or nothing",
}
"""What a defense of each kind has to see."""

KINDS = (
    dict.fromkeys(FILTERS, "data filter")
    | dict.fromkeys(TRAININGS, "robust training")
    | {"Neural Cleanse": "model scan", "STRIP": "input filter"}
    | dict.fromkeys(REMOVALS, "removal")
    | {"a new network from the trusted images": "baseline", "no defense": "baseline"}
)
"""Every defense on the board, in its order, and its kind."""

INPUTS = 200
"""Clean, triggered and victim inputs that STRIP screens, each."""


def every_defense(*, attack: str, fraction: float, seed: int) -> dict[str, Any]:
    """One attack against every defense.

    Returns:
        The scorecard's counts before; and "defenses": for each "clean", "success" and "false_target" after it;
        "recovered", triggered victims that are read as what they show; of detectors "caught" and "alarms", in the
        units of their kind: training images, labels, or inputs; and "took", the seconds of one core beyond the first
        training. Against a network that comes ready-made there is no data filter and no robust training.
    """
    case = prepare(attack, fraction, seed)
    plays: dict[str, Callable[[Case], Counts]] = {
        "Neural Cleanse": cleanse,
        "STRIP": screen,
        "a new network from the trusted images": lambda case: scored(case, case.anew(seed)),
        "no defense": lambda case: scored(case, case.model),
    }
    plays |= {name: partial(remove, removal) for name, removal in REMOVALS.items()}
    if attack != "input-aware":
        plays |= {name: partial(filter_and_retrain, data_filter, seed) for name, data_filter in FILTERS.items()}
        plays |= {name: partial(resist, training, seed) for name, training in TRAININGS.items()}
    return case.score().pairs() | {"defenses": {name: timed(plays[name], case) for name in KINDS if name in plays}}


def scored(case: Case, network: torch.nn.Module) -> Counts:
    """The counts of a scorecard, and how many triggered victims are read as what they show."""
    recovered = correct(network, case.attack.recovered(case.test))
    return case.score(network).pairs() | {"recovered": recovered.pair}


def timed(play: Callable[[Case], Counts], case: Case) -> Counts:
    """What a defense did, and the processor's seconds it took: the machine may have been busy otherwise."""
    started = time.process_time()
    row = play(case)
    return row | {"took": round(time.process_time() - started, 2)}


def filter_and_retrain(data_filter: DataFilter, seed: int, case: Case) -> Counts:
    """Judge the training set with the network that was trained on it, and train a fresh one on what is left."""
    repair = FilterAndRetrain(data_filter).retrain(case.model, case.data, TrainConfig(seed=seed))
    flags = repair.history[0]["flags"]
    return rates(flags.rates(case.poisoned)) | scored(case, repair.model)


def resist(training: RobustTraining, seed: int, case: Case) -> Counts:
    """Train on the poisoned data in a way that resists."""
    return scored(case, training(case.data, TrainConfig(seed=seed)).model)


def remove(removal: Removal, case: Case) -> Counts:
    """Repair the network with the trusted images."""
    return scored(case, removal(case.model, case.holding).model)


def cleanse(case: Case) -> Counts:
    """Scan the network, and unlearn what was found. What it may catch are targets; what it may accuse, other labels."""
    repair = Unlearning()(case.model, case.holding)
    scan = repair.history[0]["scan"]
    return rates(scan.rates(case.targets)) | scored(case, repair.model)


def screen(case: Case) -> Counts:
    """Screen inputs at run time: what is refused does no good and no harm.

    It may catch triggered inputs that the network obeys; clean ones that are refused are false alarms, and no longer
    count as right answers.
    """
    with few_trusted():
        guard = Strip().fit(case.model, case.holding)
    attack = case.attack
    sets = (case.test, attack.on(case.test), attack.victims(case.test), attack.recovered(case.test))
    clean, success, false_target, recovered = (_screened(guard, case.model, data.sample(INPUTS)) for data in sets)
    counts = {"clean": clean, "success": success, "false_target": false_target, "recovered": recovered}
    row = {name: [int((right & ~refused).sum()), len(right)] for name, (right, refused) in counts.items()}
    row["alarms"] = [int(clean[1].sum()), len(clean[1])]
    obeyed, refused = success
    if case.targets and bool(obeyed.any()):
        row["caught"] = [int((obeyed & refused).sum()), int(obeyed.sum())]
    return row


def _screened(guard: FittedStrip, network: torch.nn.Module, data: ImageSet) -> tuple[Mask, Mask]:
    """(the answer is the label in `data`, the input is refused), [N] each."""
    return predict(network, data.x).argmax(1) == data.y.cpu(), guard(data.x).refused


SEEDS = range(12, 17)
"""No setting on the board was made on networks of these seeds."""

LEFT_OUT = ("none", "patch", "clean-label", "all-to-all", "patch of 2", "patch of 12")
OTHERS = tuple(name for name in ATTACKS if name not in LEFT_OUT)
GAMES = (
    *grid(attack=("none",), fraction=(0.05,)),
    *grid(attack=("patch",), fraction=(0.05, 0.01, 0.02, 0.1)),
    *grid(attack=OTHERS, fraction=(0.05,)),
    *grid(attack=("all-to-all",), fraction=(0.1,)),
)

SWEEPS = (
    Sweep(
        "scoreboard",
        every_defense,
        [{"seed": seed, **game} for seed in SEEDS for game in GAMES],
        chapter="21_scoreboard",
    ),
)
