"""Whether every cohort has it equally hard: two solutions, one good and one fair, graded under many variants.

    python -m coursework.hardness 1 2            assignments, by how their folders' names begin
    python -m coursework.hardness 4 --variants 5

prints a line for each assignment and solution: how many points in how many variants. The good solution is the folder's
`other.py`; the fair one is the same with one of the typical mistakes of `wrong/`. Both are our own code, so they run in
this process. The checks of assignments 3 to 6 train networks.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
from typing import Any

from badnets_lib._progress import track

from .grading import Grader
from .masters import Master, find
from .variants import Variant

FAIR = {
    "1_rates": "normal_interval",
    "2_trigger": "rate_of_the_rest",
    "3_twins": "any_trials",
    "4_detector": "too_careful",
    "5_removal": "dormant_only",
    "6_hunt": "two_sided",
}
"""The mistake of the fair solution."""


def solutions(master: Master) -> dict[str, list[str]]:
    """The code of the good and of the fair solution, cell by cell."""
    good = (master.folder / "other.py").read_text(encoding="utf-8").split("# %%")[1:]
    mistake = (master.folder / "wrong" / f"{FAIR[master.name]}.py").read_text(encoding="utf-8")
    cells = [part.partition("\n")[2] for part in good]
    return {"good": cells, "fair": [*cells, mistake]}


def points(grader: Grader, cells: Sequence[str]) -> float:
    """What a solution of our own gets, in this process."""
    namespace: dict[str, Any] = dict(grader.shared)
    for code in cells:
        exec(compile(code, grader.master.name, "exec", dont_inherit=True), namespace)
    total = 0.0
    for check in grader.master.checks:
        try:
            exec(compile(check.code, check.name, "exec", dont_inherit=True), dict(namespace))
            total += check.points
        except Exception:  # whatever stops a check costs its points, as for a student
            continue
    return total


def spread_of(master: Master, variants: int) -> dict[str, Counter[float]]:
    """How many variants give how many points, by solution."""
    found: dict[str, Counter[float]] = {"good": Counter(), "fair": Counter()}
    for number in track(range(1, variants + 1), master.name, total=variants):
        grader = Grader(master, Variant.draw(number, seed=1000 + number), unsafe=True)
        for kind, cells in solutions(master).items():
            found[kind][points(grader, cells)] += 1
    return found


def main(given: Sequence[str] | None = None) -> None:
    """Print the spread of what the command line names."""
    parser = argparse.ArgumentParser(prog="python -m coursework.hardness", description="Compare the variants.")
    parser.add_argument("assignments", nargs="+", help="how their folders' names begin: 1, 2, ...")
    parser.add_argument("--variants", type=int, default=20)
    wanted = parser.parse_args(given)
    for name in wanted.assignments:
        master = find(name)
        for kind, counts in spread_of(master, wanted.variants).items():
            told = ", ".join(f"{each:g} points in {counts[each]}" for each in sorted(counts))
            print(f"{master.name}, {kind} solution, {wanted.variants} variants: {told}", flush=True)


if __name__ == "__main__":
    main()
