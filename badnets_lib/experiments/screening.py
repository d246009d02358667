"""STRIP at run time: what it lets through at each rate of false rejections, and by what it is defeated."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace
from typing import Any

import torch

from ..defenses import Strip
from ..images import ImageSet
from ..stacks import Fit
from ..sweeps import Sweep, grid
from ..training import Fitted, predict
from .attacks import prepare
from .detection import card

RATES = (0.001, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2)
"""Shares of clean inputs that one is prepared to refuse."""

LIMIT = 300
"""Inputs of each kind that are screened."""


def screened(*, attack: str, fraction: float, seed: int) -> Generator[Fit, Fitted, dict[str, Any]]:
    """Train one network and screen clean and triggered test inputs.

    Returns:
        The scorecard's counts; "rates": for each preset rate of false rejections, as text, "refused" of the
        clean inputs and "accepted" of the triggered ones that the network obeys; "entropies" and
        "triggered_entropies": deciles from 0% to 100%, in bits.
    """
    case = yield from prepare(attack, fraction, seed)
    order = torch.randperm(len(case.test), generator=torch.Generator().manual_seed(seed))[:LIMIT]
    attacked = case.plan.attack(case.test)
    chosen = torch.randperm(len(attacked), generator=torch.Generator().manual_seed(seed))[:LIMIT]
    guard = Strip().fit(case.model, case.holding)
    clean, stamped = (guard(data.x).scores for data in (case.test[order], obeyed(case.model, attacked[chosen])))
    rows = {}
    for rate in RATES:
        line = replace(Strip(), false_rejection=rate).threshold(guard.trusted)
        refused, accepted = clean < line, stamped >= line
        rows[f"{rate:g}"] = {
            "refused": [int(refused.sum()), len(refused)],
            "accepted": [int(accepted.sum()), len(accepted)],
        }
    return card(case.score()) | {"rates": rows, "entropies": deciles(clean), "triggered_entropies": deciles(stamped)}


def obeyed(model: torch.nn.Module, attacked: ImageSet) -> ImageSet:
    """The triggered inputs that the network answers as the attacker wants: the others do no harm."""
    return attacked[predict(model, attacked.x).argmax(1) == attacked.y.cpu()]


def deciles(scores: torch.Tensor) -> list[float]:
    """The 0%, 10%, ... and 100% quantile."""
    return [round(each, 4) for each in scores.quantile(torch.linspace(0, 1, 11)).tolist()]


ELSE = (
    *("blend", "warp", "sinusoid"),
    *("source-specific", "source-specific, covered", "blend-covered", "input-aware"),
)

SWEEPS = (
    Sweep(
        "screening",
        screened,
        [
            *grid(attack=("patch",), fraction=(0.01, 0.02, 0.05, 0.1), seed=range(3)),
            *grid(attack=ELSE, fraction=(0.05,), seed=range(3)),
            *grid(attack=("all-to-all",), fraction=(0.1,), seed=range(3)),
        ],
        chapter="15_run_time",
    ),
)
