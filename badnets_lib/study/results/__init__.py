"""The measured results the book quotes: rows of finished sweeps with the record of how they came about.

The files lie beside this module, so that a page, a notebook on another machine and a test all read the
same numbers. `make results` writes them. The format is read and written here and nowhere else: a table with
one line a row, so that a change shows as the rows it changed.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ... import _codec
from ...files import write_atomically
from ..sweeps import Cell, Row, Sweep
from ._origin import UNKNOWN as UNKNOWN, Origin as Origin
from ._table import Results as Results

FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class _File:
    """What a result file holds; an entry that a row does not have is null."""

    name: str
    origin: Origin
    axes: tuple[str, ...]
    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]


def names() -> list[str]:
    """The results that can be loaded."""
    return sorted(path.stem for path in FOLDER.glob("*.json"))


def load(name: str, folder: Path | str = FOLDER) -> Results:
    """Read one result.

    Raises:
        ValueError: There is no result of that name, or its file holds something else.
    """
    path = Path(folder) / f"{name}.json"
    if not path.is_file():
        raise ValueError(f"no result {name!r}; there are {', '.join(names())}")
    file = _codec.from_json(_File, path.read_text(encoding="utf-8"), f"a result file ({path})")
    rows = tuple(
        {key: value for key, value in zip(file.columns, row, strict=True) if value is not None} for row in file.rows
    )
    return Results(file.name, file.axes, rows, file.origin)


def table_of(made: Sweep, rows: Sequence[Row]) -> Results:
    """The rows of a finished sweep as a result, with their origin."""
    entries = tuple(row.cell | row.outcome | {"seconds": row.run["seconds"]} for row in rows)
    axes = dict.fromkeys(key for row in rows for key in row.cell)
    return Results(made.name, tuple(axes), entries, Origin.of(made, rows))


def save(table: Results, folder: Path | str = FOLDER) -> Path:
    """Write a result to its file, whole or not at all."""
    measured = (key for row in table.rows for key in row if key != "seconds")
    columns = (*dict.fromkeys((*table.axes, *measured)), "seconds")
    rows = tuple(tuple(row.get(column) for column in columns) for row in table.rows)
    plain = _codec.to_plain(_File(table.name, table.origin, table.axes, columns, rows))
    lines = ",\n  ".join(json.dumps(row, allow_nan=False) for row in plain.pop("rows"))
    head = json.dumps(plain, indent=1)
    return write_atomically(Path(folder) / f"{table.name}.json", f'{head[:-2]},\n "rows": [\n  {lines}\n ]\n}}\n')


def with_rows(table: Results, newer: Results, cells: Sequence[Cell]) -> Results:
    """A result with some of its rows measured anew and some added.

    Args:
        table: The rows there were.
        newer: Rows of the same sweep; each takes the place of the one with the same keywords.
        cells: What the result is to hold, in this order. Rows with other keywords are left out.

    Raises:
        ValueError: Neither has a row for one of the cells, or the two were made from different data.
    """
    found = {_cell(made, row): row for made in (table, newer) for row in made.rows}
    wanted = [json.dumps(cell, sort_keys=True) for cell in cells]
    missing = [text for text in wanted if text not in found]
    if missing:
        raise ValueError(f"{table.name} has no row for {', '.join(missing)}")
    rows = tuple(found[text] for text in wanted)
    old, new = table.origin, newer.origin
    if old.data != new.data:
        raise ValueError(f"{table.name} was made from other data: {old.data}, now {new.data}; run all of its cells")
    origin = replace(
        new,
        dates=tuple(dict.fromkeys((min(old.dates + new.dates), max(old.dates + new.dates)))),
        code=_both(old.code, new.code),
        versions=_both(old.versions, new.versions),
        hardware=_both(old.hardware, new.hardware),
        seconds=round(sum(row["seconds"] for row in rows), 1),
    )
    return replace(table, axes=tuple(dict.fromkeys(table.axes + newer.axes)), rows=rows, origin=origin)


def _cell(table: Results, row: dict[str, Any]) -> str:
    return json.dumps({axis: row[axis] for axis in table.axes if row.get(axis) is not None}, sort_keys=True)


def _both(some: tuple[str, ...], others: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(sorted({*some, *others}))
