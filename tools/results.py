"""Makes and checks the committed results: `make results` and `make results-check`.

    python tools/results.py run [NAME ...]      run sweeps, all by default, and write their result files
    python tools/results.py check [NAME ...]    rerun a few cells of each and compare

Finished cells are kept in _build/sweeps, so a run that was stopped goes on where it was.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import pkgutil
import random
import sys
from collections.abc import Iterable
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from project import ROOT

from badnets_lib import load
from badnets_lib.counts import Difference, Proportion
from badnets_lib.data.loading import DataUnavailable
from badnets_lib.files import write_atomically
from badnets_lib.models.training import pick_device
from badnets_lib.study import experiments
from badnets_lib.study.results import FOLDER, load as load_result
from badnets_lib.study.sweeps import Row, Sweep, sweep

KEPT = ROOT / "_build" / "sweeps"
TOLERANCE = 0.03  # a rerun on another machine may differ this much even where counts are exact


def sweeps() -> dict[str, Sweep]:
    """Every sweep of badnets_lib.study.experiments, by name."""
    modules = [
        importlib.import_module(f"{experiments.__name__}.{found.name}")
        for found in pkgutil.iter_modules(experiments.__path__)
    ]
    return {found.name: found for module in modules for found in getattr(module, "SWEEPS", ())}


def content(made: Sweep, rows: list[Row]) -> dict[str, Any]:
    """What a result file holds: the rows as a table, and where they come from."""
    axes = list(dict.fromkeys(key for row in rows for key in row.cell))
    measures = list(dict.fromkeys(key for row in rows for key in row.outcome))
    columns = [*axes, *measures, "seconds"]
    table = [row.cell | row.outcome | {"seconds": row.run["seconds"]} for row in rows]
    return {
        "name": made.name,
        "origin": origin(made, rows),
        "axes": axes,
        "columns": columns,
        "rows": [[entry.get(column) for column in columns] for entry in table],
    }


def origin(made: Sweep, rows: list[Row]) -> dict[str, Any]:
    """Where a result comes from, from the records of its rows."""
    runs = [row.run for row in rows]
    days = sorted({run["date"] for run in runs})
    return {
        "command": f"make results ONLY={made.name}",
        "dates": list(dict.fromkeys([days[0], days[-1]])),
        "data": {name: [part.fingerprint for part in load(name)] for name in made.data},
        "versions": sorted({f"torch {r['torch']}, badnets_lib {r['badnets_lib']}, Python {r['python']}" for r in runs}),
        "hardware": sorted({f"{r['machine']}, {r['device']}, threads a cell: {r['threads']}" for r in runs}),
        "seconds": round(sum(run["seconds"] for run in runs), 1),
    }


def text(content: dict[str, Any]) -> str:
    """JSON with one line a row, so that a change shows as the rows it changed."""
    rows = ",\n  ".join(json.dumps(row) for row in content["rows"])
    head = json.dumps({key: value for key, value in content.items() if key != "rows"}, indent=1)
    return f'{head[:-2]},\n "rows": [\n  {rows}\n ]\n}}\n'


def run(chosen: Iterable[Sweep], jobs: int) -> None:
    """Run sweeps and write their result files."""
    for made in chosen:
        print(f"{made.name}: {len(made.cells)} cells", flush=True)
        try:
            rows = sweep(made.run, made.cells, KEPT / made.name, jobs=jobs, label=made.name)
        except DataUnavailable as error:
            raise SystemExit(f"{made.name} needs data that is not here: {error}") from None
        path = write_atomically(FOLDER / f"{made.name}.json", text(content(made, rows)))
        print(f"  {path.relative_to(ROOT)}", flush=True)


def check(chosen: Iterable[Sweep], cells: int, seed: int, jobs: int) -> int:
    """Rerun a few random cells of each result and compare; return how many disagree."""
    wrong = 0
    for made in chosen:
        kept = load_result(made.name)
        sample = random.Random(f"{seed} {made.name}").sample(made.cells, min(cells, len(made.cells)))
        rows = sweep(made.run, sample, KEPT / "check" / f"{seed}" / made.name, jobs=jobs, label=f"check {made.name}")
        for row in rows:
            found = differences(kept.where(**row.cell).rows[0], row.outcome)
            wrong += bool(found)
            print(f"{made.name} {row.cell}: {'; '.join(found) or 'agrees'}", flush=True)
    return wrong


def differences(kept: dict[str, Any], found: dict[str, Any]) -> list[str]:
    """Counts of a rerun that lie further from the kept ones than chance and TOLERANCE explain."""
    told = []
    for name, value in found.items():
        if isinstance(value, dict) and isinstance(kept.get(name), dict):
            told += [f"{name}, {line}" for line in differences(kept[name], value)]
        if not (is_count(value) and is_count(kept.get(name))):
            continue
        gap = Difference(Proportion(*kept[name]), Proportion(*value))
        low, high = gap.interval(0.999)
        if low > TOLERANCE or high < -TOLERANCE:
            told.append(f"{name} was {gap.first}, is {gap.second}")
    return told


def is_count(value: Any) -> bool:
    """Whether a value is a count [hits, trials]."""
    return isinstance(value, list) and len(value) == 2 and all(isinstance(part, int) for part in value)


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
    asked = parser.parse_args()
    if asked.what == "run":
        run(pick(asked.names), asked.jobs)
    elif check(pick(asked.names), asked.cells, asked.seed, asked.jobs):
        sys.exit("some cells disagree with the committed results; see above")


if __name__ == "__main__":
    main()
