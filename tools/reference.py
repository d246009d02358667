"""The library reference, read off the source by static analysis: no import of the library, so no torch.

Run as a program it prints the page.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from typing import Any

import griffe
from project import ROOT, address, layers

WIDTH = 88
INTRO = """# Library reference

The chapters call `badnets_lib`; its modules stand here from the ground up. A module imports only from the layers below
its own. This page is made from the docstrings by `tools/reference.py`.

```{figure} images/layers.svg
:alt: The modules of badnets_lib as layers, lowest first. LAYERS
:class: dark-light layers
:width: 640px

The layers of `badnets_lib`. Every import points down.
```
"""
HEADINGS = {
    "parameters": "Args",
    "returns": "Returns",
    "raises": "Raises",
    "warns": "Warns",
    "yields": "Yields",
    "attributes": "Fields",
}


def load() -> Any:
    """The library as griffe sees it."""
    return griffe.load("badnets_lib", search_paths=[str(ROOT)], allow_inspection=False, docstring_parser="google")


def module_names() -> list[str]:
    """Modules in layer order, lowest first."""
    return [name for layer in layers() for name in layer]


def layers_in_words() -> str:
    """The layers as a sentence, for the picture's alternative text."""
    return "; ".join(" and ".join(name.split(".")[-1] for name in layer) for layer in layers()) + "."


def public(owner: Any) -> Iterator[Any]:
    """The members a reader may use, in the order of the source."""
    members = [m for m in owner.members.values() if not m.is_alias and not m.name.startswith("_")]
    return iter(sorted(members, key=lambda m: (m.lineno or 0, m.name)))


def parameters(function: Any) -> list[str]:
    """The parameters as written, with the `*` that begins the keyword-only ones."""
    shown: list[str] = []
    starred = False
    for parameter in function.parameters:
        if parameter.name in ("self", "cls"):
            continue
        kind = parameter.kind.value
        starred = starred or kind == "variadic positional"
        if kind == "keyword-only" and not starred:
            shown.append("*")
            starred = True
        stars = {"variadic positional": "*", "variadic keyword": "**"}.get(kind, "")
        text = f"{stars}{parameter.name}" + (f": {parameter.annotation}" if parameter.annotation is not None else "")
        if parameter.default is not None and not stars:
            text += f"{' = ' if parameter.annotation is not None else '='}{parameter.default}"
        shown.append(text)
    return shown


def signature(item: Any, name: str) -> str:
    """`name(parameters) -> result`, one parameter a line where it would be too long."""
    result = f" -> {item.returns}" if item.is_function and item.returns is not None else ""
    arguments = parameters(item)
    if item.is_class and not arguments:
        return name
    line = f"{name}({', '.join(arguments)}){result}"
    if len(line) <= WIDTH:
        return line
    return f"{name}(\n" + "".join(f"    {a},\n" for a in arguments) + f"){result}"


def indented(text: str, by: str = "  ") -> str:
    """Text whose further lines belong to the list item its first line begins."""
    return inspect.cleandoc(text).replace("\n", f"\n{by}")


def entries(section: Any) -> str:
    """A list of arguments, results or exceptions."""
    lines = []
    for entry in section.value:
        name = getattr(entry, "name", "")
        kind = f"`{entry.annotation}`" if entry.annotation else ""
        head = f"**{name}**" + (f" ({kind})" if kind else "") if name else kind
        lines.append(f"- {head + ': ' if head else ''}{indented(entry.description)}")
    return f"**{HEADINGS[section.kind.value]}**\n\n" + "\n".join(lines) + "\n\n"


def example(text: str) -> str:
    """An example's text, its interpreter sessions as code."""
    fenced = re.sub(r"(?m)(^>>> (?:.+\n?)+)", lambda m: f"```pycon\n{m[1].rstrip()}\n```\n", inspect.cleandoc(text))
    return f"**Example**\n\n{fenced}\n\n"


def docstring(item: Any) -> str:
    """A docstring's sections as Markdown."""
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


def code(text: str) -> str:
    """A block of Python."""
    return f"```python\n{text}\n```\n\n"


def function_text(function: Any, level: str, name: str) -> str:
    """A function or method: heading, signature, docstring."""
    return f"{level} `{name}`\n\n{code(signature(function, name))}{docstring(function)}"


def member_text(owner: Any, member: Any) -> str:
    """A method or property of a class; nothing for plain fields and for what has no docstring."""
    if member.docstring is None or not (member.is_function or "property" in member.labels):
        return ""
    name = f"{owner.name}.{member.name}"
    if member.is_function:
        return function_text(member, "####", name)
    kind = f": {member.annotation}" if member.annotation is not None else ""
    return f"#### `{name}`\n\n{code(name + kind)}{docstring(member)}"


def class_text(item: Any) -> str:
    """A class: heading, how to make one, docstring, its documented methods."""
    head = f"### `{item.name}`\n\n{code('class ' + signature(item, item.name))}{docstring(item)}"
    return head + "".join(member_text(item, member) for member in public(item))


def constants_text(module: Any) -> str:
    """The module's names that are neither class nor function, as code."""
    values = [m for m in public(module) if m.is_attribute and not str(m.value).startswith(("None", "TypeVar"))]
    lines = [f"{m.name} = {m.value}" for m in values]
    return code("\n".join(line if len(line) <= 110 else f"{line[:105]} ..." for line in lines)) if lines else ""


def module_text(module: Any) -> str:
    """One module's section."""
    path = module.filepath.relative_to(ROOT).as_posix()
    source = f"[{path}]({address()}/blob/main/{path})"
    parts = [f"## `{module.path}`\n\n{docstring(module)}Source: {source}\n\n", constants_text(module)]
    for member in public(module):
        if member.is_class:
            parts.append(class_text(member))
        elif member.is_function:
            parts.append(function_text(member, "###", member.name))
        elif member.is_module:
            parts.append(module_text(member))
    return "".join(parts)


def reference_page() -> str:
    """The whole page, as MyST Markdown."""
    library = load()
    names = [name for name in module_names() if name.split(".", 1)[1] in library.modules]
    sections = "".join(module_text(library[name.split(".", 1)[1]]) for name in names)
    return re.sub(r"\n{3,}", "\n\n", INTRO.replace("LAYERS", layers_in_words()) + "\n" + sections).rstrip() + "\n"


if __name__ == "__main__":
    print(reference_page(), end="")
