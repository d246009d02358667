"""Rows of (group, item, answer) as a table, in Markdown and in HTML: what every report of the library is made of."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

Rows = Sequence[tuple[str, str, str]]


def markdown_table(title: str, rows: Rows) -> str:
    """The rows as a Markdown table under a bold title."""
    table = "\n".join(f"| {group} | {markdown_cell(item)} | {markdown_cell(answer)} |" for group, item, answer in rows)
    return f"**{markdown_cell(title)}**\n\n| Group | Item | Answer |\n|---|---|---|\n{table}\n"


def html_table(title: str, rows: Rows) -> str:
    """The rows as an HTML table; the name of a group stands in its first row only."""
    body: list[str] = []
    last = ""
    for group, item, answer in rows:
        name = escape(group) if group != last else ""
        body.append(f"<tr><th scope='row'>{name}</th><td>{escape(item)}</td><td>{escape(answer)}</td></tr>")
        last = group
    head = "<thead><tr><th>Group</th><th>Item</th><th>Answer</th></tr></thead>"
    return f"<table class='report'><caption>{escape(title)}</caption>{head}<tbody>{''.join(body)}</tbody></table>"


def markdown_cell(text: str) -> str:
    """Text as one line of Markdown that neither ends a table's cell nor brings HTML of its own."""
    line = " ".join(text.split()).replace("\\", "\\\\").replace("|", "\\|")
    return escape(line, quote=False)
