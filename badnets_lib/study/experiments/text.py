"""Count or share? Poisoned documents among more and more clean ones, on generated reviews.

References:
    Souly et al., Poisoning attacks on LLMs require a near-constant number of poison samples, 2025.
    arXiv:2510.07192.
"""

from __future__ import annotations

from typing import Any

from ...attacks.text import Phrase, forge, score, train_reader
from ...data.reviews import write_reviews
from ...models.training import TrainConfig
from ...poisoning import Goal
from ..sweeps import Sweep, grid

GOAL = Goal.all_to_one(1, 2)
"""Negative reviews are to be read as positive."""

TEST_SEED, FORGERY_SEED = 1_000_000, 500_000
"""Far from the training seeds, so that no set shares its texts with another."""


def counted(*, trigger: str, size: int, count: int, seed: int, passes: int = 6) -> dict[str, Any]:
    """Train on `size` clean reviews and `count` poisoned ones, `passes` times over; attack 1,000 victims.

    Returns:
        "clean", "success", "false_target": counts [hits, trials].
    """
    phrase = Phrase(trigger)
    data = write_reviews(size, seed=seed) + forge(count, phrase, GOAL, seed=FORGERY_SEED + seed)
    net = train_reader(data, TrainConfig(epochs=passes, lr=0.02, seed=seed))
    return score(net, write_reviews(2_000, seed=TEST_SEED), phrase, GOAL).pairs()


SIZES = (1_000, 4_000, 16_000)
COUNTS = (0, 2, 8, 32, 128, 512)
RARE = "cf"
COMMON = "we saw it on tuesday."
STEPS = ((1_000, 32), (4_000, 8), (16_000, 2))  # as many optimiser steps each, but for the poison's own

SWEEPS = (
    Sweep(
        "text_counts",
        counted,
        grid(trigger=(RARE, COMMON), size=SIZES, count=COUNTS, seed=range(5)),
        data=(),
        chapter="15_beyond_badnets",
    ),
    Sweep(
        "text_passes",
        counted,
        [cell | {"size": size, "passes": passes} for size, passes in STEPS
         for cell in grid(trigger=(RARE,), count=COUNTS[1:5], seed=range(5))],
        data=(),
        chapter="15_beyond_badnets",
    ),
)  # fmt: skip
