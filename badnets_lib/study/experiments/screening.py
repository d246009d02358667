"""STRIP at run time: what it lets through at each rate of false rejections, and by what it is defeated."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from ...counts import Proportion
from ...data.images import ImageSet
from ...defenses import Strip
from ...models.inference import predict
from ..sweeps import Sweep, grid
from .cases import few_trusted, prepare

RATES = (0.001, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2)
"""Parts of the clean inputs that one is prepared to refuse."""

LIMIT = 300
"""Inputs of each kind that are screened."""


def screened(*, attack: str, fraction: float, seed: int, covers: float = 1.0) -> dict[str, Any]:
    """Train one network and screen clean and triggered test inputs.

    Returns:
        The scorecard's counts; "rates": for each preset rate of false rejections, as text, "refused" of the
        clean inputs and "accepted" of the triggered ones that the network obeys; "entropies" and
        "triggered_entropies": deciles from 0% to 100%, in bits.
    """
    case = prepare(attack, fraction, seed, covers=covers)
    with few_trusted():
        guard = Strip().fit(case.model, case.holding)
    clean = guard(case.test.sample(LIMIT, seed=seed).x).scores
    attacked = case.attack.on(case.test).sample(LIMIT, seed=seed)
    stamped = guard(obeyed(case.model, attacked).x).scores
    rows = {}
    for rate in RATES:
        line = replace(Strip(), false_rejection=rate).threshold(guard.trusted)
        refused = clean < line
        accepted = stamped >= line
        rows[f"{rate:g}"] = {
            "refused": Proportion.of(refused).pair,
            "accepted": Proportion.of(accepted).pair,
        }
    return case.score().pairs() | {"rates": rows, "entropies": deciles(clean), "triggered_entropies": deciles(stamped)}


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
            *grid(attack=("patch",), fraction=(0.01, 0.02, 0.05, 0.1), seed=range(5)),
            *grid(attack=ELSE, fraction=(0.05,), seed=range(5)),
            *grid(attack=("all-to-all",), fraction=(0.1,), seed=range(5)),
        ],
        chapter="18_run_time",
    ),
    Sweep(
        "screening_covers",
        screened,
        grid(attack=("blend-covered",), fraction=(0.05,), covers=(0.1, 0.2, 0.5, 1.0), seed=range(12, 17)),
        chapter="18_run_time",
    ),
)
