"""Tables as spreadsheets and course systems write them: UTF-8, with commas, semicolons or tabs between the entries."""

from __future__ import annotations

import csv
import io
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DELIMITERS = ",;\t"
"""What stands between two entries; Excel writes semicolons where numbers have a comma."""


@dataclass(frozen=True)
class Table:
    """What a file holds.

    Attributes:
        columns: Their names, in order.
        rows: The entries by column; a row without any entry is left out.
        delimiter: What stands between two entries.
    """

    columns: tuple[str, ...] = ()
    rows: tuple[dict[str, str], ...] = ()
    delimiter: str = ","


def read_table(path: Path, needed: Collection[str], *, hint: str, strict: bool = False) -> Table:
    """A table, if it has one of the needed columns.

    Args:
        path: The file.
        needed: Names of columns; one of them must be there.
        hint: What to do about a table that has none of them.
        strict: No entry may stand outside of the columns, and no two columns may have one name.

    Raises:
        ValueError: It is no such table; one line says why.
        FileNotFoundError: There is no such file.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 (byte {error.start + 1}); save it as 'CSV UTF-8'") from None
    for delimiter in DELIMITERS:
        try:
            lines = csv.reader(io.StringIO(text), delimiter=delimiter)
            columns = tuple(name.strip() for name in next(lines, []))
            if set(needed) & set(columns):
                rows = [(lines.line_num, [entry.strip() for entry in line]) for line in lines]
                break
        except csv.Error as error:
            raise ValueError(f"{path} is not a table: {error}") from None
    else:
        raise ValueError(f"{path} has no column {next(iter(needed))!r}; {hint}")
    if strict:
        _check(path, columns, rows)
    named = [dict(zip(columns, entries, strict=False)) for _, entries in rows if any(entries)]
    return Table(columns, tuple(named), delimiter)


def _check(path: Path, columns: Sequence[str], rows: Sequence[tuple[int, list[str]]]) -> None:
    """Raise if an entry would be lost.

    Raises:
        ValueError: It stands in no column, or its column's name stands there twice.
    """
    twice = [name for name in columns if name and columns.count(name) > 1]
    if twice:
        raise ValueError(f"{path} has the column {twice[0]!r} twice")
    for line, entries in rows:
        for place, entry in enumerate(entries):
            if entry and not (place < len(columns) and columns[place]):
                raise ValueError(
                    f"{path}, line {line}: {entry[:40]!r} stands in no column; write 4.5, or put 4,5 in quotes"
                )


def as_text(head: Sequence[str], rows: Sequence[Sequence[Any]], delimiter: str = ",") -> str:
    """A table as it is written."""
    text = io.StringIO()
    csv.writer(text, delimiter=delimiter, lineterminator="\n").writerows([head, *rows])
    return text.getvalue()
