"""What runs at the moment, for someone who looks at a terminal; silent in logs."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn


@contextmanager
def step_shown(first: str) -> Iterator[Callable[[str], None]]:
    """One line that names the step which runs, and for how long all have run; it is gone at the end.

    Args:
        first: What runs first.

    Yields:
        A function to call with the name of the next step.
    """
    console = Console(stderr=True)
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    silent = not console.is_terminal or bool(os.environ.get("TQDM_DISABLE"))
    before = os.environ.get("TQDM_DISABLE")
    os.environ["TQDM_DISABLE"] = "1"  # one line is enough: no second bar from inside of the methods
    try:
        with Progress(*columns, console=console, transient=True, disable=silent) as progress:
            task = progress.add_task(first, total=None)
            yield lambda name: progress.update(task, description=name)
    finally:
        if before is None:
            del os.environ["TQDM_DISABLE"]
        else:
            os.environ["TQDM_DISABLE"] = before
