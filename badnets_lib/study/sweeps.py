"""Many experiments from one function: a grid of keyword cells, one row kept per cell as soon as it is done."""

from __future__ import annotations

import hashlib
import itertools
import json
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from .._progress import track
from ..files import write_atomically
from ._code import Experiment as Experiment, check_experiment, code_of, identity
from ._rows import Cell as Cell, Outcome as Outcome, Row as Row, canonical, check_cells, keep, kept
from ._workers import Trouble, finished

Reuse = Literal["same", "any"]
"""Which rows to take: those that the present code made, or any."""


@dataclass(frozen=True)
class Failure:
    """A cell without a row.

    Attributes:
        cell: The keywords of the call.
        reason: Why, in one line.
        path: File with the whole traceback.
    """

    cell: Cell
    reason: str
    path: Path

    def __str__(self) -> str:
        return f"{self.cell}: {self.reason} (see {self.path})"


class SweepError(RuntimeError):
    """Some cells failed. The rows of all others are kept; the next call tries only the failed ones.

    Attributes:
        failures: Every failed cell.
    """

    def __init__(self, failures: Sequence[Failure], cells: int) -> None:
        self.failures = tuple(failures)
        lines = "\n  ".join(map(str, failures))
        super().__init__(f"{len(failures)} of {cells} cells failed; the rows of the others are kept:\n  {lines}")


@dataclass(frozen=True)
class Sweep:
    """A named experiment and the cells to run it on.

    Args:
        name: Name of the result; letters, digits and underscores.
        run: A function at the top level of a module, from keywords to JSON-ready data.
        cells: Keywords of each call, JSON-ready; see `grid`.
        data: Names of the data sets it loads, for the record.
        chapter: Name of the notebook that quotes it.

    Raises:
        ValueError: The name is not a plain word, or two cells are equal.
    """

    name: str
    run: Experiment
    cells: list[Cell] = field(repr=False)
    data: tuple[str, ...] = ("mnist5k",)
    chapter: str = ""

    def __post_init__(self) -> None:
        if not self.name.isidentifier():
            raise ValueError(f"a sweep's name may hold letters, digits and underscores; got {self.name!r}")
        check_cells(self.cells)


def grid(**axes: Iterable[Any]) -> list[Cell]:
    """Every combination of the given axes, the last one running fastest.

    Raises:
        TypeError: An axis is a single value, or a text, which would fall into its letters.

    Example:
        >>> grid(fraction=(0.01, 0.1), seed=(0, 1))[1]
        {'fraction': 0.01, 'seed': 1}
    """
    for name, values in axes.items():
        if isinstance(values, str | bytes) or not isinstance(values, Iterable):
            raise TypeError(f"the axis {name} needs several values, such as {name}=({values!r},); got {values!r}")
    return [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]


def sweep(
    run: Experiment,
    cells: Sequence[Cell],
    folder: Path | str,
    *,
    jobs: int = -1,
    label: str = "sweep",
    reuse: Reuse = "same",
) -> list[Row]:
    """Call `run(**cell)` for every cell that `folder` holds no row of; return all rows in the cells' order.

    Each row is written, whole or not at all, as its cell finishes: a killed sweep goes on where it was. A cell that
    fails, or whose process dies, costs nobody else: its traceback is kept in a file beside the rows.

    A row knows the code that made it, the function's own source and the library's files (but not other modules that
    the function calls). If that has changed since, the cell runs again; so it does if its row is damaged.

    Args:
        run: A function written with `def` that uses no values of a function around it. It runs on one thread:
            small networks train more of them at once that way.
        cells: Keywords of each call, JSON-ready and all different.
        folder: Where the rows are kept, one file each.
        jobs: Processes at a time: -1 for one a core, -2 for all cores but one, and so on. 1 runs the cells in this
            process, which is right for one GPU; there, a cell that dies takes this process with it.
        label: Name on the progress bar, which also estimates the time that remains.
        reuse: "same" takes rows that the present code made, "any" takes them whatever made them.

    Raises:
        TypeError: The rows of `run` could not be told from another function's.
        ValueError: Two cells are equal, a cell is not JSON-ready, or `jobs` is 0.
        SweepError: Some cells failed; the message names each, why, and the file with its traceback.

    Warns:
        UserWarning: Rows are damaged, or were made by other code, and run again.
    """
    check_experiment(run)
    check_cells(cells)
    code = code_of(run)
    paths = [Path(folder) / f"{_key(run, cell)}.json" for cell in cells]
    rows = _usable(paths, cells, code, reuse)
    todo = {place: cell for place, cell in enumerate(cells) if place not in rows}
    failures: list[Failure] = []
    for place, result in track(finished(run, todo, code, jobs), label, total=len(todo)):
        notes = paths[place].with_suffix(".error.txt")
        if isinstance(result, Trouble):
            write_atomically(notes, f"{json.dumps(cells[place])}\n\n{result.details}")
            failures.append(Failure(cells[place], result.reason, notes))
        else:
            keep(paths[place], result)
            notes.unlink(missing_ok=True)
            rows[place] = result
    if failures:
        raise SweepError(failures, len(cells))
    return [rows[place] for place in range(len(cells))]


def _usable(paths: Sequence[Path], cells: Sequence[Cell], code: dict[str, str], reuse: Reuse) -> dict[int, Row]:
    """The rows that are there, whole and made by this code, by their cell's number."""
    rows: dict[int, Row] = {}
    changed: list[str] = []
    for place, (path, cell) in enumerate(zip(paths, cells, strict=True)):
        row = kept(path, cell)
        if row is None:
            continue
        if reuse == "any" or row.run.get("code") == code:
            rows[place] = row
        else:
            changed.append(_difference(row.run.get("code"), code))
    if changed:
        why = ", ".join(sorted(set(changed)))
        warnings.warn(
            f"{len(changed)} of {len(cells)} cells run again, because other code made their rows: {why} "
            "(reuse='any' would take them)",
            stacklevel=3,
        )
    return rows


def _difference(before: dict[str, str] | None, now: dict[str, str]) -> str:
    if before is None:
        return "it is not recorded which"
    return "another version of the function" if before["function"] != now["function"] else "another library"


def _key(run: Experiment, cell: Cell) -> str:
    return hashlib.sha256(f"{identity(run)} {canonical(cell)}".encode()).hexdigest()[:16]
