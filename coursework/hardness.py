"""Whether every cohort has it equally hard: two solutions, one good and one fair, graded under many variants.

    python -m coursework.hardness 1 2            assignments, by how their folders' names begin
    python -m coursework.hardness 4 --variants 5

writes `hardness.json` beside the notes of each assignment, with the points of both solutions under every variant, and
prints what of it stands in the notes. The good solution is the folder's `other.py`; the fair one is the same with one
of the typical mistakes of `wrong/`. Both are our own code, so they run in this process. The checks of assignments 3
to 6 train networks. A run that was stopped goes on where it was, as long as no check and no solution has changed.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import platform
from collections import Counter
from collections.abc import Sequence
from contextlib import redirect_stdout
from datetime import date
from pathlib import Path
from typing import Any

import torch

from badnets_lib._progress import track
from badnets_lib.files import write_atomically

from .grading import Grader
from .masters import Master, find
from .variants import MASTERS, Variant

FAIR = {
    "1_rates": "normal_interval",
    "2_trigger": "rate_of_the_rest",
    "3_twins": "any_trials",
    "4_detector": "too_careful",
    "5_removal": "dormant_only",
    "6_hunt": "two_sided",
}
"""The mistake of the fair solution."""

VARIANTS = 20

Record = dict[str, Any]
"""What `hardness.json` holds: under "points", for either solution, the points by the variant's number."""


def solutions(master: Master) -> dict[str, list[str]]:
    """The code of the good and of the fair solution, cell by cell."""
    good = (master.folder / "other.py").read_text(encoding="utf-8").split("# %%")[1:]
    mistake = (master.folder / "wrong" / f"{FAIR[master.name]}.py").read_text(encoding="utf-8")
    cells = [part.partition("\n")[2] for part in good]
    return {"good": cells, "fair": [*cells, mistake]}


def code_of(master: Master) -> str:
    """A hash over what decides the points, but for the library: given cells, checks and both solutions."""
    checks = [(check.name, check.points, check.code) for check in master.checks]
    return hashlib.sha256(repr((master.given(MASTERS), checks, solutions(master))).encode()).hexdigest()


def points(grader: Grader, cells: Sequence[str]) -> float:
    """What a solution of our own gets, in this process."""
    namespace: dict[str, Any] = dict(grader.shared)
    for code in cells:
        exec(compile(code, grader.master.name, "exec", dont_inherit=True), namespace)
    total = 0.0
    for check in grader.master.checks:
        try:
            with redirect_stdout(io.StringIO()):
                exec(compile(check.code, check.name, "exec", dont_inherit=True), dict(namespace))
            total += check.points
        except Exception:  # whatever stops a check costs its points, as for a student
            continue
    return total


def place(master: Master) -> Path:
    """Where an assignment's record lies."""
    return master.folder / "hardness.json"


def begun(master: Master) -> Record:
    """The record as far as it was made with the present code, or an empty one."""
    empty = {
        "command": f"python -m coursework.hardness {master.name[0]}",
        "fair": FAIR[master.name],
        "code": code_of(master),
        "points": {"good": {}, "fair": {}},
    }
    if not place(master).is_file():
        return empty
    record: Record = json.loads(place(master).read_text(encoding="utf-8"))
    return record if record["code"] == empty["code"] else empty


def measure(master: Master, variants: int = VARIANTS) -> Record:
    """The points of both solutions under variants 1 to `variants`; each variant is written as soon as it is known."""
    record = begun(master)
    missing = [number for number in range(1, variants + 1) if str(number) not in record["points"]["fair"]]
    for number in track(missing, master.name, total=len(missing)):
        grader = Grader(master, Variant.draw(number, seed=1000 + number), unsafe=True)
        for kind, cells in solutions(master).items():
            record["points"][kind][str(number)] = points(grader, cells)
        record["run"] = {
            "machine": f"{platform.system()} {platform.machine()}",
            "python": platform.python_version(),
            "torch": torch.__version__,
            "date": date.today().isoformat(),
        }
        write_atomically(place(master), json.dumps(record, indent=1) + "\n")
    return record


def told(record: Record) -> str:
    """What of a record stands in the notes."""
    counts = {kind: Counter(each.values()) for kind, each in record["points"].items()}
    words = {
        kind: ", ".join(f"{each:g} points in {count[each]}" for each in sorted(count, reverse=True))
        for kind, count in counts.items()
    }
    variants = len(record["points"]["good"])
    return (
        f"`{record['command']}`, {variants} variants: the good solution gets {words['good']}; "
        f"the fair one, with `{record['fair']}.py`, gets {words['fair']}."
    )


def main(given: Sequence[str] | None = None) -> None:
    """Measure what the command line names, and print what stands in the notes of it."""
    parser = argparse.ArgumentParser(prog="python -m coursework.hardness", description="Compare the variants.")
    parser.add_argument("assignments", nargs="+", help="how their folders' names begin: 1, 2, ...")
    parser.add_argument("--variants", type=int, default=VARIANTS)
    wanted = parser.parse_args(given)
    for name in wanted.assignments:
        print(told(measure(find(name), wanted.variants)), flush=True)


if __name__ == "__main__":
    main()
