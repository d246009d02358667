"""Timing two ways of doing the same thing, in turns: what `make bench` measures with."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import Any

Act = Callable[[], Any]


@dataclass(frozen=True)
class Row:
    """One comparison: seconds of both ways, and what we hoped for."""

    what: str
    plain: str
    ours: float
    theirs: float
    goal: str

    @property
    def ratio(self) -> float:
        """How many times faster ours is."""
        return self.theirs / self.ours


def compare(
    what: str, ours: Act, plain: dict[str, tuple[Act, str]], *, repeats: int, warm_up: bool = True
) -> list[Row]:
    """Time `ours` and each plain way {name: (act, goal)} in turns; one row per plain way.

    What takes minutes needs no warming up.
    """
    acts = {"": ours} | {name: act for name, (act, _) in plain.items()}
    times: dict[str, list[float]] = {name: [] for name in acts}
    for act in acts.values() if warm_up else ():
        act()
    for turn in range(repeats):
        order = list(acts.items())
        for name, act in order[turn % len(order) :] + order[: turn % len(order)]:  # nobody always follows the same
            started = time.perf_counter()
            act()
            times[name].append(time.perf_counter() - started)
    return [Row(what, name, median(times[""]), median(times[name]), goal) for name, (_, goal) in plain.items()]


HEAD = "| what | plain way | ours | plain | ratio | goal |\n|---|---|--:|--:|--:|---|"


def line(row: Row) -> str:
    """One row of the Markdown table."""
    times = f"{1000 * row.ours:,.0f} ms | {1000 * row.theirs:,.0f} ms | {row.ratio:.2f}x"
    return f"| {row.what} | {row.plain} | {times} | {row.goal} |"
