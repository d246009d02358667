"""A table that a reader can sort and filter on the site; where no script runs it is an ordinary table."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from html import escape

from .elements import Element

Entry = str | tuple[str, float | None]
"""What a cell shows; or that, and the number it is sorted by. None sorts last either way."""

ROW_HEAD = 'th scope="row"'


def sortable(
    heads: Sequence[str], rows: Sequence[Sequence[Entry]], *, caption: str, filters: Collection[str] = ()
) -> Element:
    """A table that a notebook shows: `web/tables.js` makes the heads buttons and adds the filters.

    Args:
        heads: One title per column.
        rows: One entry per column in each. The first column names its row.
        caption: What the table shows, in a sentence.
        filters: Heads of the columns from whose values a reader can choose.

    Raises:
        ValueError: A row has another number of entries, or a filter is no head.

    Example:
        >>> from badnets_lib.display.tables import sortable
        >>> sortable(["trigger", "ASR"], [["patch", ("99%", 0.99)], ["none", ("", None)]], caption="Two triggers.")
        <bn-table>
    """
    for row in rows:
        if len(row) != len(heads):
            raise ValueError(f"{len(heads)} heads need as many entries in every row; got {len(row)}: {row}")
    strangers = sorted(set(filters) - set(heads))
    if strangers:
        raise ValueError(f"filters must be heads of the table; {', '.join(strangers)} is none of {', '.join(heads)}")
    head = "".join(_head(name, filtered=name in filters) for name in heads)
    body = "".join(f"<tr>{_cell(row[0], ROW_HEAD)}{''.join(map(_cell, row[1:]))}</tr>\n" for row in rows)
    table = (
        f"<table><caption>{escape(caption)}</caption><thead><tr>{head}</tr></thead>\n<tbody>\n{body}</tbody></table>"
    )
    return Element("bn-table", table)


def _head(name: str, *, filtered: bool) -> str:
    mark = " data-filter" if filtered else ""
    return f'<th scope="col"{mark}>{escape(name)}</th>'


def _cell(entry: Entry, tag: str = "td") -> str:
    end = tag.split()[0]
    if isinstance(entry, str):
        return f"<{tag}>{escape(entry)}</{end}>"
    text, number = entry
    key = "" if number is None else f"{number:g}"
    return f'<{tag} data-sort="{key}">{escape(text)}</{end}>'
