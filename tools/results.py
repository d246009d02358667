"""Makes and checks the committed results: `make results` and `make results-check`.

    python tools/results.py run [NAME ...]      run sweeps, all by default, and write their result files
    python tools/results.py run NAME --missing  run only the cells that the result file lacks
    python tools/results.py check [NAME ...]    rerun a few cells of each and compare

Finished cells are kept in _build/sweeps, so a run that was stopped goes on where it was.
"""

from __future__ import annotations

import argparse
import importlib
import math
import os
import pkgutil
import random
import sys
from collections.abc import Iterable
from typing import Any, get_args

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from project import ROOT

from badnets_lib import DataUnavailable, load
from badnets_lib.counts import Difference, Proportion
from badnets_lib.models.training import pick_device
from badnets_lib.study import experiments, results
from badnets_lib.study.sweeps import Cell, Reuse, Sweep, sweep

FOLDER = results.FOLDER
KEPT = ROOT / "_build" / "sweeps"
TOLERANCE = 0.03  # a rerun on another machine may differ this much even where counts are exact
CLOSE = {"rel_tol": 0.1, "abs_tol": 0.02}  # and so much in what is measured on a scale, such as a norm or a perplexity
VERDICTS = ("flagged", "flagged_paper", "accused")  # lists of labels: two of them are no count
UNREPEATABLE = ("seconds", "took", "scan_seconds")  # time depends on the machine and on what else it does


def sweeps() -> dict[str, Sweep]:
    """Every sweep of badnets_lib.study.experiments, by name."""
    modules = [
        importlib.import_module(f"{experiments.__name__}.{found.name}")
        for found in pkgutil.iter_modules(experiments.__path__)
    ]
    return {found.name: found for module in modules for found in getattr(module, "SWEEPS", ())}


def run(chosen: Iterable[Sweep], jobs: int, reuse: Reuse, missing: bool) -> None:
    """Run sweeps, or those of their cells that the result files lack, and write the files."""
    for made in chosen:
        cells = lacking(made) if missing else made.cells
        print(f"{made.name}: {len(cells)} of {len(made.cells)} cells", flush=True)
        try:
            for name in made.data:
                load(name)
        except DataUnavailable as error:
            raise SystemExit(f"{made.name} needs data that is not here: {error}") from None
        if not cells:
            continue
        rows = sweep(made.run, cells, KEPT / made.name, jobs=jobs, label=made.name, reuse=reuse)
        table = results.table_of(made, rows)
        if len(cells) < len(made.cells):
            table = results.with_rows(results.load(made.name, FOLDER), table, made.cells)
        path = results.save(table, FOLDER)
        print(f"  {path.relative_to(ROOT)}", flush=True)


def lacking(made: Sweep) -> list[Cell]:
    """The cells of a sweep that its result file holds no row for."""
    if not (FOLDER / f"{made.name}.json").exists():
        return made.cells
    kept = results.load(made.name, FOLDER)
    return [cell for cell in made.cells if not holds(kept, cell)]


def holds(kept: results.Results, cell: Cell) -> bool:
    """Whether a result has a row for a cell."""
    return any(all(row.get(axis) == cell.get(axis) for axis in {*kept.axes, *cell}) for row in kept.rows)


def check(chosen: Iterable[Sweep], cells: int, seed: int, jobs: int) -> int:
    """Rerun a few random cells of each result and compare; return how many disagree."""
    wrong = 0
    for made in chosen:
        kept = results.load(made.name, FOLDER)
        sample = random.Random(f"{seed} {made.name}").sample(made.cells, min(cells, len(made.cells)))
        rows = sweep(made.run, sample, KEPT / "check" / f"{seed}" / made.name, jobs=jobs, label=f"check {made.name}")
        for row in rows:
            found = differences(kept.where(**row.cell).rows[0], row.outcome)
            wrong += bool(found)
            print(f"{made.name} {row.cell}: {'; '.join(found) or 'agrees'}", flush=True)
    return wrong


def differences(kept: Any, found: Any, name: str = "") -> list[str]:
    """What of a rerun's outcome differs from the kept one, to the depth, each in a line.

    Counts may differ as far as chance and TOLERANCE explain, other decimal numbers as far as CLOSE does; whole numbers,
    texts, truths and VERDICTS not at all. UNREPEATABLE measures are not compared.
    """
    key = name.rpartition(", ")[2]
    if key in UNREPEATABLE:
        return []
    if isinstance(found, dict) and isinstance(kept, dict):
        return [
            line
            for part, value in found.items()
            for line in differences(kept.get(part), value, f"{name}, {part}" if name else part)
        ]
    if key not in VERDICTS and is_count(found) and is_count(kept):
        gap = Difference(Proportion(*kept), Proportion(*found))
        low, high = gap.interval(0.999)
        apart = low > TOLERANCE or high < -TOLERANCE
        return [f"{name} was {gap.first}, is {gap.second}"] if apart else []
    if key not in VERDICTS and isinstance(found, list) and isinstance(kept, list) and len(found) == len(kept):
        pairs = enumerate(zip(kept, found, strict=True))
        return [line for place, pair in pairs for line in differences(*pair, f"{name}, {place}")]
    if isinstance(found, float | int) and isinstance(kept, float) and math.isclose(kept, found, **CLOSE):
        return []
    return [] if found == kept else [f"{name} was {kept}, is {found}"]


def is_count(value: Any) -> bool:
    """Whether a value is a count [hits, trials]."""
    if not (isinstance(value, list) and len(value) == 2 and all(type(part) is int for part in value)):
        return False
    hits, trials = value
    return bool(0 <= hits <= trials > 0)


def pick(names: list[str]) -> list[Sweep]:
    """The named sweeps, or all."""
    known = sweeps()
    strangers = sorted(set(names) - set(known))
    if strangers:
        raise SystemExit(f"no sweep {', '.join(strangers)}; there are {', '.join(known)}")
    return [known[name] for name in names or known]


def main() -> None:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(description="Make or check the committed results.")
    parser.add_argument("what", choices=["run", "check"])
    parser.add_argument("names", nargs="*", help="sweeps; all by default")
    jobs = 1 if pick_device().type == "cuda" else -1
    parser.add_argument("--jobs", type=int, default=jobs, help="cells at a time; -1 for one a core, 1 for one GPU")
    parser.add_argument("--cells", type=int, default=2, help="for check: cells of each sweep")
    parser.add_argument("--seed", type=int, default=0, help="for check: another seed checks other cells")
    parser.add_argument("--reuse", choices=get_args(Reuse), default="same", help="any: take rows of older code too")
    parser.add_argument("--missing", action="store_true", help="for run: only cells that the result file lacks")
    asked = parser.parse_args()
    if asked.what == "run":
        run(pick(asked.names), asked.jobs, asked.reuse, asked.missing)
    elif check(pick(asked.names), asked.cells, asked.seed, asked.jobs):
        sys.exit("some cells disagree with the committed results; see above")


if __name__ == "__main__":
    main()
