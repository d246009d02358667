"""Neural Cleanse on many models: clean ones, backdoored ones, and backdoors it was not made for."""

from __future__ import annotations

from typing import Any

from ...defenses import NeuralCleanse
from ..sweeps import Sweep, grid
from .cases import prepare
from .families import TARGET

PAPER = NeuralCleanse(logarithm=False, ratio=1.0)
"""The verdict as published: an index above 2 of the norms themselves, whatever their size."""


def scanned(*, attack: str, fraction: float, seed: int, target: int = TARGET) -> dict[str, Any]:
    """Train one network and scan it with 400 trusted digits.

    Returns:
        The scorecard's counts; "norms": the reversed masks' sums in pixels, one per label; "flagged" and
        "flagged_paper": the labels that the library's rule and the published one name; "scan_seconds".
    """
    case = prepare(attack, fraction, seed, target=target)
    scan = NeuralCleanse()(case.model, case.holding)
    return case.score().pairs() | {
        "norms": [round(norm, 3) for norm in scan.norms.tolist()],
        "flagged": list(scan.flagged),
        "flagged_paper": list(PAPER.judge(scan.norms)[1]),
        "scan_seconds": round(scan.seconds, 2),
    }


CHOOSING = range(12)
TESTING = range(12, 24)
"""Seeds of the networks on which the scan's `ratio` was chosen, and of those that say how well it does."""

SEEDS = range(5)
ELSE = (
    *("patch of 2", "patch of 8", "patch of 12", "blend", "warp"),
    *("source-specific", "source-specific, covered", "part-covered", "input-aware"),
)

EASY = (2, 3)
"""Targets that are easy to reach in clean networks too: their masks are small in any network."""

SWEEPS = (
    Sweep(
        "scans",
        scanned,
        [
            *grid(attack=("none", "patch"), fraction=(0.05,), seed=(*CHOOSING, *TESTING)),
            *grid(attack=("patch",), fraction=(0.1,), seed=TESTING),
            *grid(attack=ELSE, fraction=(0.05,), seed=SEEDS),
            *grid(attack=("all-to-all",), fraction=(0.1,), seed=SEEDS),
        ],
        chapter="17_reversed_triggers",
    ),
    Sweep(
        "scans_targets",
        scanned,
        grid(attack=("patch",), fraction=(0.05,), target=EASY, seed=range(12, 17)),
        chapter="17_reversed_triggers",
    ),
)
