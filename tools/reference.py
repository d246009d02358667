"""The library reference, read off the docstrings without importing the library: a page a room, and the picture of them.

Everything goes into the folder of staged sources; nothing of it is committed.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import Any

import griffe
from project import ROOT, address, layers

WIDTH = 88
HEADINGS = {
    "parameters": "Args", "returns": "Returns", "raises": "Raises", "warns": "Warns", "yields": "Yields",
    "attributes": "Fields",
}  # fmt: skip
ROW, GAP, ACROSS = 36, 8, 640  # pixels of the picture: height of a layer, space between boxes, width of all
COLOURS = {"display": "#a64900", "study": "#8a3f7c", "cli": "#a64900"}  # the rest is blue


def public(owner: Any) -> Iterator[Any]:
    """The members a reader may use, in the order of the source."""
    members = [m for m in owner.members.values() if not m.is_alias and not m.name.startswith("_")]
    return iter(sorted(members, key=lambda m: (m.lineno or 0, m.name)))


def signature(item: Any, name: str) -> str:
    """`class name(parameters)` or `name(parameters) -> result`, one parameter a line where it would be too long."""
    if item.is_class:
        line = f"class {item.signature(name=name) or name}".removesuffix("()")
    else:
        line = str(item.signature(return_type=True, name=name))
    if len(line) <= WIDTH:
        return line
    start, _, rest = line.partition("(")
    inner, _, result = rest.rpartition(")")
    parameters = re.split(r", (?=\*|\w+:)", inner)
    return f"{start}(\n" + "".join(f"    {each},\n" for each in parameters) + f"){result}"


def entries(section: Any) -> str:
    """A list of arguments, results or exceptions."""
    lines = []
    for entry in section.value:
        name = getattr(entry, "name", "")
        kind = f"`{entry.annotation}`" if entry.annotation else ""
        if name and kind:
            kind = f" ({kind})"
        head = f"**{name}**{kind}" if name else kind
        text = inspect.cleandoc(entry.description).replace("\n", "\n  ")
        lines.append(f"- {head}: {text}" if head else f"- {text}")
    return f"**{HEADINGS[section.kind.value]}**\n\n" + "\n".join(lines) + "\n\n"


def example(text: str) -> str:
    """An example's text, its interpreter sessions as code."""
    fenced = re.sub(r"(?m)(^>>> (?:.+\n?)+)", lambda m: f"```pycon\n{m[1].rstrip()}\n```\n", inspect.cleandoc(text))
    return f"**Example**\n\n{fenced}\n\n"


def docstring(item: Any) -> str:
    """A docstring's sections as Markdown.

    Raises:
        ValueError: It has a section of a kind that no docstring here had before.
    """
    if item.docstring is None:
        return ""
    parts = []
    for section in item.docstring.parsed:
        kind = section.kind.value
        if kind == "text":
            parts.append(section.value + "\n\n")
        elif kind in HEADINGS:
            parts.append(entries(section))
        elif kind == "examples":
            parts.append(example("\n".join(text for _, text in section.value)))
        elif kind == "admonition" and section.value.annotation == "example":
            parts.append(example(section.value.description))
        elif kind == "admonition":
            parts.append(f"**{section.title}**\n\n{linked(inspect.cleandoc(section.value.description))}\n\n")
        else:
            raise ValueError(f"{item.path}: no way to show a docstring section of kind {kind!r}")
    return "".join(parts)


def linked(text: str) -> str:
    """Make arXiv numbers links."""
    return re.sub(r"arXiv:(\d{4}\.\d{4,5})", r"[arXiv:\1](https://arxiv.org/abs/\1)", text)


def entry(item: Any, name: str, level: str) -> str:
    """A class, function or property: heading, how to call it, docstring, and a class's documented methods."""
    text = f"{level} `{name}`\n\n"
    if item.is_attribute:
        text += f"```python\n{name}: {item.annotation}\n```\n\n"
    else:
        text += f"```python\n{signature(item, name)}\n```\n\n"
    text += docstring(item)
    for member in public(item):
        if member.docstring is not None and (member.is_function or "property" in member.labels):
            text += entry(member, f"{name}.{member.name}", level + "#")
    return text


def constants(module: Any) -> str:
    """The module's names that are neither class nor function, as code."""
    values = [m for m in public(module) if m.is_attribute and not str(m.value).startswith(("None", "TypeVar"))]
    lines = [f"{m.name} = {m.value}" for m in values]
    shown = [line if len(line) <= 110 else f"{line[:105]} ..." for line in lines]
    return "```python\n" + "\n".join(shown) + "\n```\n\n" if shown else ""


def module_text(module: Any, level: str = "#") -> str:
    """A module, what it holds, and the modules in it one level deeper: those of a room have the same heading."""
    path = module.filepath.relative_to(ROOT).as_posix()
    source = f"[{path}]({address()}/blob/main/{path})"
    text = f"{level} `{module.path}`\n\n{docstring(module)}Source: {source}\n\n{constants(module)}"
    for member in public(module):
        if member.is_class or member.is_function:
            text += entry(member, member.name, level + "#")
    inner = level if len(level) > 1 else "##"
    return text + "".join(module_text(member, inner) for member in public(module) if member.is_module)


def layers_picture(rows: list[list[str]]) -> str:
    """The layers as an SVG for the page itself, highest first: a box a room, its words in the text's own colours."""
    shapes = []
    for row, names in enumerate(reversed(rows)):
        width = (ACROSS + GAP) / len(names)
        for place, name in enumerate(names):
            x = place * width
            y = row * (ROW + GAP)
            colour = COLOURS.get(name, "#005a8d")
            shapes.append(f'<rect x="{x:g}" y="{y}" width="{width - GAP:g}" height="{ROW}" rx="4" fill="{colour}"/>')
            middle = x + (width - GAP) / 2
            shapes.append(f'<text x="{middle:g}" y="{y + 23}" text-anchor="middle" fill="#fff">{escape(name)}</text>')
    words = "; ".join(" and ".join(names) for names in rows)
    height = len(rows) * (ROW + GAP) - GAP
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {ACROSS} {height}" role="img" class="layers"'
        ' aria-labelledby="layers-title layers-words" font-family="ui-monospace, Menlo, Consolas, monospace"'
        ' font-size="14">\n<title id="layers-title">The rooms of badnets_lib</title>\n'
        f'<desc id="layers-words">In layers, lowest first: {escape(words)}. Every import points down.</desc>\n'
        + "\n".join(shapes)
        + "\n</svg>\n"
    )


def rooms_table(rooms: list[Any]) -> str:
    """The rooms, each with the first line of its docstring."""
    rows = [f"| [`{room.name}`](reference/{room.name}.md) | {room.docstring.value.splitlines()[0]} |" for room in rooms]
    return "\n".join(["| Room | What it holds |", "|---|---|", *rows]) + "\n"


def write_reference(folder: Path) -> None:
    """Write into `folder/reference`: a page for every public room, and what `reference.md` shows of them all."""
    library = griffe.load("badnets_lib", search_paths=[str(ROOT)], allow_inspection=False, docstring_parser="google")
    every = [[name.removeprefix("badnets_lib.") for name in layer] for layer in layers()]
    rows = [row for layer in every if (row := [name for name in layer if not name.startswith("_")])]
    rooms = [library[name] for row in rows for name in row if name in library.modules]
    files = {"layers.svg": layers_picture(rows), "rooms.txt": rooms_table(rooms)}
    for room in rooms:
        files[f"{room.name}.md"] = re.sub(r"\n{3,}", "\n\n", module_text(room)).rstrip() + "\n"
    (folder / "reference").mkdir(exist_ok=True)
    for name, text in files.items():
        (folder / "reference" / name).write_text(text, encoding="utf-8")
