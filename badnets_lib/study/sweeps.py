"""Many experiments from one function: a grid of keyword cells, one row kept per cell as soon as it is done.

Cells run through joblib: on every core of this machine by default, and unchanged on a cluster inside
`joblib.parallel_config("dask")` or `("ray")`. The process that called writes the rows, so workers need
the library but no shared folder.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import platform
import time
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from .._progress import track
from ..files import write_atomically
from ..models.training import pick_device

Cell = dict[str, Any]
Outcome = dict[str, Any]
Experiment = Callable[..., Outcome]


class SweepError(RuntimeError):
    """Some cells failed. The rows of all others are kept; the next call tries only the failed ones."""


@dataclass(frozen=True)
class Row:
    """One finished cell.

    Attributes:
        cell: The keywords of the call.
        outcome: What the experiment returned; counts are lists [hits, trials].
        run: How it ran: seconds, threads, device, versions of torch and of this library, date.
    """

    cell: Cell
    outcome: Outcome
    run: dict[str, Any]

    def __post_init__(self) -> None:
        both = sorted(set(self.cell) & set(self.outcome))
        if both:
            raise ValueError(f"an outcome may not repeat a keyword of its cell; both hold {', '.join(both)}")


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
        _check_cells(self.cells)


def grid(**axes: Iterable[Any]) -> list[Cell]:
    """Every combination of the given axes, the last one running fastest.

    Example:
        >>> grid(fraction=(0.01, 0.1), seed=(0, 1))[1]
        {'fraction': 0.01, 'seed': 1}
    """
    return [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]


def sweep(
    run: Experiment, cells: Sequence[Cell], folder: Path | str, *, jobs: int = -1, label: str = "sweep"
) -> list[Row]:
    """Call `run(**cell)` for every cell that `folder` holds no row of; return all rows in the cells' order.

    Each row is written, whole or not at all, as its cell finishes: a killed sweep goes on where it
    was. A row that is damaged or belongs to another experiment is run again, with a warning.
    A row does not know whether the code behind `run` has changed since: clear the folder then.

    Args:
        run: A function at the top level of a module, so that workers can import it. It runs on one
            thread: small networks train more of them at once that way.
        cells: Keywords of each call, JSON-ready and all different.
        folder: Where the rows are kept, one file each.
        jobs: Cells at a time, as joblib counts: -1 for every core (or every worker of a cluster),
            1 for this process alone, which is right for one GPU.
        label: Name on the progress bar, which also estimates the time that remains.

    Raises:
        ValueError: Two cells are equal, or a cell is not JSON-ready.
        SweepError: Some cells failed; the message tells which, and why the first one did.
    """
    from joblib import Parallel, delayed

    _check_cells(cells)
    paths = [Path(folder) / f"{_key(run, cell)}.json" for cell in cells]
    rows: dict[int, Row] = {}
    for place, (path, cell) in enumerate(zip(paths, cells, strict=True)):
        known = _kept(path, cell)
        if known:
            rows[place] = known
    todo = [place for place in range(len(cells)) if place not in rows]
    failed: list[str] = []
    tasks = (delayed(_attempt)(run, place, cells[place]) for place in todo)
    done = Parallel(n_jobs=jobs, return_as="generator_unordered")(tasks)
    for place, row in track(done, label, total=len(todo)):
        if isinstance(row, str):
            failed.append(f"{cells[place]}: {row}")
        else:
            _keep(paths[place], row)
            rows[place] = row
    if failed:
        raise SweepError(f"{len(failed)} of {len(cells)} cells failed; the first is {failed[0]}")
    return [rows[place] for place in range(len(cells))]


def _attempt(run: Experiment, place: int, cell: Cell) -> tuple[int, Row | str]:
    """Run one cell on one thread, wherever joblib sent it; an error comes back as text."""
    threads, started = torch.get_num_threads(), time.perf_counter()
    torch.set_num_threads(1)
    try:
        outcome = run(**cell)
        return place, _row(cell, outcome, time.perf_counter() - started)
    except Exception as error:  # a failed cell must not cost the others
        return place, f"{type(error).__name__}: {error}"
    finally:
        torch.set_num_threads(threads)


def _row(cell: Cell, outcome: Outcome, seconds: float) -> Row:
    return Row(cell, json.loads(json.dumps(outcome)), _circumstances(round(seconds, 2)))


def _circumstances(seconds: float) -> dict[str, Any]:
    return {
        "seconds": seconds,
        "threads": torch.get_num_threads(),
        "device": pick_device().type,
        "machine": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "badnets_lib": version("badnets_lib"),
        "date": date.today().isoformat(),
    }


def _check_cells(cells: Sequence[Cell]) -> None:
    try:
        texts = [_canonical(cell) for cell in cells]
    except (TypeError, ValueError) as error:
        raise ValueError(f"a cell holds something that JSON cannot: {error}") from error
    twice = next((text for text in texts if texts.count(text) > 1), None) if len(set(texts)) < len(texts) else None
    if twice:
        raise ValueError(f"every cell may stand once; {twice} stands {texts.count(twice)} times")


def _canonical(data: Any) -> str:
    return json.dumps(data, sort_keys=True, allow_nan=False)


def _key(run: Experiment, cell: Cell) -> str:
    return hashlib.sha256(f"{run.__module__}.{run.__qualname__} {_canonical(cell)}".encode()).hexdigest()[:16]


def _seal(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _keep(path: Path, row: Row) -> None:
    content = {"cell": row.cell, "outcome": row.outcome, "run": row.run}
    write_atomically(path, json.dumps(content | {"sha256": _seal(content)}, indent=1))


def _kept(path: Path, cell: Cell) -> Row | None:
    """The row that `path` holds, if it is whole and answers this cell."""
    try:
        content = json.loads(path.read_bytes())
        seal = content.pop("sha256")
        if seal != _seal(content):
            raise ValueError("its content does not match its SHA-256")
        if _canonical(content["cell"]) != _canonical(cell):
            raise ValueError(f"it answers {content['cell']}")
        return Row(**content)
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
        warnings.warn(f"{path} is not a usable row ({error}); {cell} runs again", stacklevel=3)
        return None
