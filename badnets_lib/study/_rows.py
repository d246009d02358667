"""Rows of sweeps: one finished cell each, kept in a sealed file of its own."""

from __future__ import annotations

import hashlib
import json
import math
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import _codec
from ..files import write_atomically

Cell = dict[str, Any]
Outcome = dict[str, Any]


@dataclass(frozen=True)
class Row:
    """One finished cell.

    Attributes:
        cell: The keywords of the call.
        outcome: What the experiment returned; counts are lists [hits, trials].
        run: How it ran: the code that made it, seconds, threads, device, versions of torch and of this library, date.
    """

    cell: Cell
    outcome: Outcome
    run: dict[str, Any]

    def __post_init__(self) -> None:
        both = sorted(set(self.cell) & set(self.outcome))
        if both:
            raise ValueError(f"an outcome may not repeat a keyword of its cell; both hold {', '.join(both)}")


def keep(path: Path, row: Row) -> None:
    """Write a row, whole or not at all."""
    content = _codec.to_plain(row)
    write_atomically(path, json.dumps(content | {"sha256": _seal(content)}, indent=1))


def kept(path: Path, cell: Cell) -> Row | None:
    """The row that `path` holds, if it is whole and answers this cell."""
    try:
        content = json.loads(path.read_bytes())
        seal = content.pop("sha256")
        if seal != _seal(content):
            raise ValueError("its content does not match its SHA-256")
        row = _codec.from_plain(Row, content, "a row")
        if canonical(row.cell) != canonical(cell):
            raise ValueError(f"it answers {row.cell}")
        return row
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
        warnings.warn(f"{path} is not a usable row ({error}); {cell} runs again", stacklevel=4)
        return None


def check_cells(cells: Sequence[Cell]) -> None:
    """Raise unless cells survive JSON as they are, and no two are equal.

    Raises:
        ValueError: A cell holds something else, or stands twice.
    """
    for cell in cells:
        check_unchanged(cell, "a cell")
    texts = [canonical(cell) for cell in cells]
    if len(set(texts)) < len(texts):
        twice = next(text for text in texts if texts.count(text) > 1)
        raise ValueError(f"every cell may stand once; {twice} stands {texts.count(twice)} times")


def check_unchanged(value: dict[str, Any], name: str) -> None:
    """Raise if JSON would refuse a value or give back another one.

    Raises:
        ValueError: The message names every part that would change.
    """
    wrong = list(_changes(value, ""))
    if wrong:
        raise ValueError(f"JSON would not give {name} back as it is: {'; '.join(wrong)}")


def _changes(value: Any, place: str) -> Iterator[str]:
    """Each part of a value that JSON cannot hold, or changes: its place, and why."""
    if isinstance(value, dict):
        for key, part in value.items():
            if not isinstance(key, str):
                yield f"the key {key!r} of {place or 'it'} is no text"
            yield from _changes(part, f"{place}.{key}".removeprefix("."))
    elif isinstance(value, list):
        for number, part in enumerate(value):
            yield from _changes(part, f"{place}[{number}]")
    elif isinstance(value, float) and not math.isfinite(value):
        yield f"{place} is {value}"
    elif not (value is None or isinstance(value, bool | int | float | str)):
        yield f"{place} is of type {type(value).__name__}"


def canonical(data: Any) -> str:
    """JSON text that is the same for equal data."""
    return json.dumps(data, sort_keys=True, allow_nan=False)


def _seal(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
