"""Cells in processes of their own: one that dies costs its cell, and all of them end with the process that called.

Each job has an executor with a single process (loky's, which joblib brings): if it dies, it is known which cell it was
running. A pool of several processes loses all cells that are under way.
"""

from __future__ import annotations

import os
import platform
import re
import threading
import time
import traceback
from collections.abc import Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, wait
from dataclasses import dataclass
from datetime import date
from importlib.metadata import version
from typing import Any

import torch

from ..models.training import pick_device
from ._code import Experiment
from ._rows import Cell, Row, check_unchanged

ONE_THREAD = {name: "1" for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")}


@dataclass(frozen=True)
class Trouble:
    """Why a cell has no row.

    Attributes:
        reason: In one line.
        details: The traceback, or what is known of a process that died.
    """

    reason: str
    details: str


def finished(
    run: Experiment, cells: Mapping[int, Cell], code: dict[str, str], jobs: int
) -> Iterator[tuple[int, Row | Trouble]]:
    """Run cells as `sweep` says; give each one's number and what came of it, as they finish."""
    if jobs == 1:
        for place, cell in cells.items():
            yield place, attempt(run, cell, code)
    else:
        yield from _finished_apart(run, cells, code, jobs)


def _finished_apart(
    run: Experiment, cells: Mapping[int, Cell], code: dict[str, str], jobs: int
) -> Iterator[tuple[int, Row | Trouble]]:
    """The same in processes, each of which is replaced if it dies."""
    waiting = iter(cells.items())
    running: dict[Any, tuple[int, Any]] = {}
    idle = [_executor() for _ in range(min(_processes(jobs), len(cells)))]
    try:
        while True:
            while idle and (following := next(waiting, None)):
                executor = idle.pop()
                place, cell = following
                running[executor.submit(attempt, run, cell, code)] = (place, executor)
            if not running:
                return
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                place, executor = running.pop(future)
                result = _outcome(future)
                if isinstance(future.exception(), BrokenExecutor):
                    executor.shutdown(kill_workers=True)
                    executor = _executor()
                idle.append(executor)
                yield place, result
    finally:
        for executor in [*idle, *(each for _, each in running.values())]:
            executor.shutdown(kill_workers=True)


def attempt(run: Experiment, cell: Cell, code: dict[str, str]) -> Row | Trouble:
    """Run one cell on one thread; an error comes back with its traceback."""
    threads = torch.get_num_threads()
    started = time.perf_counter()
    torch.set_num_threads(1)
    try:
        outcome = run(**cell)
        check_unchanged(outcome, "the outcome")
        return Row(cell, outcome, {"code": code} | _circumstances(time.perf_counter() - started))
    except Exception as error:  # a failed cell must not cost the others
        return Trouble(f"{type(error).__name__}: {error}", traceback.format_exc())
    finally:
        torch.set_num_threads(threads)


def _outcome(future: Any) -> Row | Trouble:
    error = future.exception()
    if error is None:
        result: Row | Trouble = future.result()
        return result
    if not isinstance(error, BrokenExecutor):  # the function or its answer could not cross to another process
        return Trouble(f"{type(error).__name__}: {error}", "".join(traceback.format_exception(error)))
    how = re.search(r"exit codes? of the workers? (?:is|are) \{(.*?)\}", str(error))
    reason = f"its process died{f' of {how[1]}' if how else ''}, for want of memory perhaps"
    return Trouble(reason, f"{reason}\n\n{error}\n")


def _executor() -> Any:
    from joblib.externals.loky import ProcessPoolExecutor

    return ProcessPoolExecutor(1, initializer=end_with, initargs=(os.getpid(),), env=ONE_THREAD)


def end_with(parent: int) -> None:
    """End this process soon after its parent has ended, however that ended and whatever is being computed."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _processes(jobs: int) -> int:
    from joblib import cpu_count

    if not jobs:
        raise ValueError("jobs must be a number of processes, or -1 for one a core; got 0")
    return jobs if jobs > 0 else max(1, cpu_count() + 1 + jobs)


def _circumstances(seconds: float) -> dict[str, Any]:
    return {
        "seconds": round(seconds, 2),
        "threads": torch.get_num_threads(),
        "device": pick_device().type,
        "machine": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "badnets_lib": version("badnets_lib"),
        "date": date.today().isoformat(),
    }
