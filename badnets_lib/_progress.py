"""Progress bars for people: shown in a terminal or a live notebook, silent in logs and stored outputs."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from typing import TypeVar

Item = TypeVar("Item")


def track(items: Iterable[Item], label: str, total: int | None = None) -> Iterable[Item]:
    """Iterate over `items` with a bar named `label`, if someone is there to see it.

    The bar estimates the time that remains when it knows how many there are: from `len(items)`, or
    from `total`. Set TQDM_DISABLE=1 to switch every bar off, as the book's own build does.
    """
    in_notebook = "ipykernel" in sys.modules
    if os.environ.get("TQDM_DISABLE") or not (in_notebook or sys.stderr.isatty()):
        return items
    from tqdm.auto import tqdm

    bar: Iterable[Item] = tqdm(items, desc=label, total=total, leave=False)
    return bar
