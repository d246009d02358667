"""Training that resists, beside plain training on the same poisoned data."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ...counts import Proportion
from ...defenses import AntiBackdoor, CutMix
from ...models.training import TrainConfig
from ..sweeps import Sweep, grid
from .cases import prepare

ANTI_BACKDOOR = {
    "anti-backdoor": AntiBackdoor(),
    "anti-backdoor, gamma 0.5": replace(AntiBackdoor(), gamma=0.5),
    "anti-backdoor, twice the unlearning": replace(AntiBackdoor(), unlearn=4),
}
"""As in the library; with the ascent of the paper while images are isolated; and with more epochs of unlearning."""


def resisted(*, attack: str, fraction: float, seed: int, others: bool = True) -> dict[str, Any]:
    """Train plainly and in ways that resist.

    Args:
        attack: As for `attacks.prepare`.
        fraction: Poisoning fraction rho.
        seed: Seed of all trainings.
        others: Whether to run the other settings of Anti-Backdoor Learning too.

    Returns:
        "trainings": for each the scorecard's counts, and of Anti-Backdoor Learning "isolated", how many of the
        isolated images are poison.
    """
    case = prepare(attack, fraction, seed)
    config = TrainConfig(seed=seed)
    rows: dict[str, Any] = {"plain": case.score().pairs()}
    for name, method in ANTI_BACKDOOR.items() if others else [("anti-backdoor", AntiBackdoor())]:
        repair = method(case.data, config)
        isolated = case.poisoned[list(repair.history[0]["isolated"])]
        counted = {"isolated": Proportion.of(isolated).pair}
        rows[name] = case.score(repair.model).pairs() | counted | {"took": round(repair.seconds, 2)}
    mixed = CutMix()(case.data, config)
    rows["CutMix"] = case.score(mixed.model).pairs() | {"took": round(mixed.seconds, 2)}
    return {"trainings": rows}


SWEEPS = (
    Sweep(
        "resistance",
        resisted,
        [
            *grid(attack=("patch",), fraction=(0.005, 0.01, 0.02, 0.1, 0.2), seed=range(3), others=(False,)),
            *grid(attack=("patch",), fraction=(0.05,), seed=range(3)),
        ],
        chapter="17_resistant_training",
    ),
)
