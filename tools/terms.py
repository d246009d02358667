"""A Sphinx extension: the first use of a glossary term in a chapter links to it, and hovering says what it means."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.transforms import SphinxTransform

GLOSSARY = "glossary"
OUTSIDE = (nodes.title, nodes.reference, nodes.literal, nodes.math, nodes.caption, nodes.strong)
"""Text in these stays as it is."""

PLAIN = (
    *("certificate", "goal", "holding", "plan", "probe", "separation", "signature", "stamp", "sweep", "trainer"),
    "update",
)
"""Terms that are everyday words as well: a link at their first use would often lead astray."""


def definitions(text: str) -> dict[str, str]:
    """Every term of the glossary's source, with the first sentence that defines it."""
    found: dict[str, str] = {}
    block = text.partition("```{glossary}\n")[2].partition("\n```")[0]
    for entry in block.split("\n\n"):
        lines = entry.splitlines()
        names = [line.strip() for line in lines if line and not line.startswith(" ")]
        said = " ".join(line.strip() for line in lines if line.startswith(" "))
        said = re.sub(r"\{term\}`([^`<]+?)(?: <[^`]*>)?`", r"\1", said)
        said = re.sub(r"\[([^\]]+)\]\([^)]*\)|[*_`$]", r"\1", said)
        sentence = re.match(r".+?[.](?= |$)", said)
        found |= {name: sentence[0] if sentence else said for name in names}
    return found


class Terms(SphinxTransform):
    """Links the first use of each term in a chapter."""

    default_priority = 800

    def apply(self, **_: Any) -> None:
        """Change the document in place."""
        if not re.match(r"\d\d_", self.env.docname.rpartition("/")[2]):
            return
        source = Path(self.env.doc2path(f"chapters/{GLOSSARY}"))
        self.env.note_dependency(str(source))
        known = definitions(source.read_text(encoding="utf-8"))
        for name in PLAIN:
            known.pop(name, None)
        for text in list(self.document.findall(nodes.Text)):
            if known and isinstance(text.parent, nodes.paragraph):
                self._link(text, known)

    def _link(self, text: nodes.Text, known: dict[str, str]) -> None:
        node: nodes.Node | None = text.parent
        while node is not None:
            if isinstance(node, OUTSIDE):
                return
            node = node.parent
        names = sorted(known, key=len, reverse=True)
        pattern = re.compile(rf"\b(?:{'|'.join(map(_spelt, names))})s?\b")
        parts: list[nodes.Node] = []
        rest = str(text)
        while known and (match := pattern.search(rest)):
            used = next(name for name in names if re.match(_spelt(name), match[0]))
            parts.append(nodes.Text(rest[: match.start()]))
            meaning = known.pop(used, None)
            parts.append(_reference(match[0], used, meaning) if meaning else nodes.Text(match[0]))
            rest = rest[match.end() :]
        if parts:
            text.parent.replace(text, [*parts, nodes.Text(rest)])


def _spelt(name: str) -> str:
    """A pattern for a term, which may begin with a capital."""
    return f"[{name[0]}{name[0].upper()}]{re.escape(name[1:])}"


def _reference(shown: str, name: str, meaning: str) -> nodes.reference:
    uri = f"{GLOSSARY}.html#term-{name.replace(' ', '-')}"
    return nodes.reference("", shown, internal=True, refuri=uri, reftitle=meaning, classes=["term"])


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the transform."""
    app.add_transform(Terms)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
