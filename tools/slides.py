"""One deck of slides a part, made from the stored chapters: outcomes, prompts, figures, what was seen, what to read.

A deck is one file that asks for nothing else. Without its script it is a long page; with it, one slide at a time.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import quote

from markdown_it import MarkdownIt
from mdit_py_plugins.dollarmath import dollarmath_plugin
from project import CHAPTERS, config, contents, figures_of, read_notebook, title

HERE = Path(__file__).parent
CAPTION = 40  # characters of a caption before it may end
SYMBOLS = {
    "rho": "&rho;", "kappa": "&kappa;", "tau": "&tau;", "theta": "&theta;", "alpha": "&alpha;", "gamma": "&gamma;",
    "ell": "&ell;", "Delta": "&Delta;",
    "varepsilon": "&epsilon;", "infty": "&infin;", "times": "&times;", "cdot": "&middot;", "approx": "&asymp;",
    "le": "&le;", "ge": "&ge;", "ne": "&ne;", "to": "&rarr;", "%": "%", "-": "&minus;",
    "<": "&lt;", ">": "&gt;", "&": "&amp;",
}  # fmt: skip
TOKENS = re.compile(r"\\(?P<name>[a-zA-Z]+|%)|(?P<shift>[_^])(?P<moved>\{[^{}]*\}|\\[a-zA-Z]+|\w)|(?P<other>.)")

PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{part}: slides of {book}</title>
<meta name="description" content="Slides of {part}, made from the figures of its chapters.">
<link rel="icon" href="data:image/svg+xml;base64,{icon}">
<style>
{style}</style>
</head>
<body>
<main>
{slides}
</main>
<nav aria-label="Slides" hidden>
<button type="button" id="back">Back</button>
<p role="status"></p>
<button type="button" id="next">Next</button>
</nav>
<script>
{script}</script>
</body>
</html>
"""


@dataclass(frozen=True)
class Slide:
    """One slide.

    Args:
        kind: What it holds; its class in the style sheet.
        heading: Its heading, as HTML.
        body: What stands below, as HTML.
        level: Depth of its heading.
    """

    kind: str
    heading: str
    body: str
    level: int = 3

    def html(self, number: int) -> str:
        """The slide as the section that the address `#number` leads to."""
        head = f"<h{self.level}>{self.heading}</h{self.level}>"
        return f'<section class="{self.kind}" id="{number}">\n{head}\n{self.body}\n</section>'


def formula(source: str, options: dict[str, Any] | None = None) -> str:
    """A short formula as HTML, without a script.

    Raises:
        ValueError: The formula holds what `SYMBOLS` does not, such as a fraction.
    """
    shown = []
    for token in TOKENS.finditer(source):
        name, shift, moved, other = token.group("name", "shift", "moved", "other")
        if name:
            shown.append(SYMBOLS.get(name) or unknown(source))
        elif shift:
            place = "sub" if shift == "_" else "sup"
            shown.append(f"<{place}>{formula(moved.strip('{}'))}</{place}>")
        elif other in "{}\\_^":
            unknown(source)
        else:
            shown.append(f"<i>{other}</i>" if other.isalpha() else SYMBOLS.get(other, other))
    return "".join(shown)


def unknown(source: str) -> str:
    """Refuse a formula."""
    raise ValueError(f"no way to show the formula {source!r} on a slide; known are {', '.join(SYMBOLS)}")


def target(link: str) -> str:
    """Where a chapter's link leads from the folder of the decks."""
    if re.match(r"\w+:", link):
        return link
    page, _, place = link.partition("#")
    return f"../chapters/{Path(page).stem}.html" + (f"#{place}" if place else "")


def link_open(renderer: Any, tokens: Any, at: int, options: Any, env: Any) -> str:
    """A link's opening tag, its address as seen from the decks."""
    tokens[at].attrs["href"] = target(tokens[at].attrs["href"])
    return str(renderer.renderToken(tokens, at, options, env))


def reader() -> MarkdownIt:
    """Markdown as the chapters use it, without HTML of its own."""
    markdown = MarkdownIt("commonmark", {"html": False}).enable("table").use(dollarmath_plugin, renderer=formula)
    markdown.add_render_rule("link_open", link_open)
    return markdown


MARKDOWN = reader()


def paragraphs(text: str) -> list[str]:
    """Markdown cut at empty lines; a list whose entries are not set apart stays whole."""
    return [block.strip() for block in re.split(r"\n\s*\n", text) if block.strip()]


def sources(notebook: dict[str, Any]) -> str:
    """All of a chapter's Markdown."""
    return "\n\n".join("".join(c["source"]) for c in notebook["cells"] if c["cell_type"] == "markdown")


def section(notebook: dict[str, Any], name: str) -> str:
    """The Markdown below the heading `name`, up to the next heading of its level."""
    found = re.search(rf"^## {name}\n(.*?)(?=^## |\Z)", sources(notebook), flags=re.S | re.M)
    return found[1].strip() if found else ""


def lists(text: str) -> str:
    """The lists of a text, or all of it if it has none."""
    return "\n\n".join(b for b in paragraphs(text) if b.startswith("- ")) or text


def caption(alternative: str) -> str:
    """What an alternative text says first: as many clauses as make a line."""
    said = ""
    for clause in re.split(r"(?<=[.;:]) ", alternative):
        said = f"{said} {clause}".strip()
        if len(said) >= CAPTION:
            break
    return said.rstrip(".;:") + "."


SAFE = " !'()*+,-./:;<=>?@[]_{}~"
"""Characters that an address may hold as they are; a browser would drop line breaks."""


def picture(svg: str, alternative: str) -> str:
    """A figure with its shape, so that a slide may fill the screen with it; a deck holds a part's figures."""
    _, _, width, height = map(float, re.findall(r'viewBox="([^"]+)"', svg)[0].split())
    data = quote(svg.replace("\n", " "), safe=SAFE)  # as text, which a server's compression makes small
    image = f'<img src="data:image/svg+xml,{escape(data)}" alt="{escape(alternative)}"'
    return (
        f'<figure>{image} style="--shape: {width / height:.3f}">\n'
        f'<figcaption aria-hidden="true">{escape(caption(alternative))}</figcaption></figure>'
    )


def last(text: str, mark: str) -> str:
    """The last paragraph that begins with `mark`, without it, as HTML within a line; empty if there is none."""
    found = [block.lstrip("#").removeprefix(mark).strip() for block in paragraphs(text) if block.startswith(mark)]
    return MARKDOWN.renderInline(found[-1]) if found else ""


def figures(notebook: dict[str, Any]) -> Iterator[Slide]:
    """The figures in order, each after the prompt it answers: one with nothing but code between it and the figure."""
    heading = ""
    prompt = ""
    for cell in notebook["cells"]:
        if cell["cell_type"] == "markdown":
            text = "".join(cell["source"])
            heading = last(text, "#") or heading
            prompt = last(text, "**Predict.**")
            continue
        for svg in figures_of(cell):
            if prompt:
                yield Slide("predict", "Predict", f"<p>{prompt}</p>")
                prompt = ""
            yield Slide("figure", heading, picture(svg, cell["metadata"]["mystnb"]["image"]["alt"]))


def chapter(notebook: dict[str, Any], name: str) -> Iterator[Slide]:
    """The slides of one chapter."""
    opening = paragraphs("".join(notebook["cells"][0]["source"]))
    question = [block.removeprefix("**Question:**").strip() for block in opening if block.startswith("**Question:**")]
    yield Slide("title", MARKDOWN.renderInline(title(notebook)), MARKDOWN.render("\n".join(question)), level=2)
    yield Slide("outcomes", "After this chapter you can", MARKDOWN.render(lists("\n\n".join(opening))))
    yield from figures(notebook)
    yield Slide("seen", "What was seen", MARKDOWN.render(lists(section(notebook, "What was seen"))))
    whole = f'<p><a href="../chapters/{name}.html">The whole chapter, with code, exercises and solutions</a></p>\n'
    yield Slide("links", "Read on", whole + MARKDOWN.render(lists(section(notebook, "Further reading"))))


def deck(part: str, chapters: list[Path]) -> str:
    """The deck of one part, as a page."""
    slides: list[Slide] = []
    entries: list[str] = []
    for path in chapters:
        notebook = read_notebook(path)
        entries.append(f'<li><a href="#{len(slides) + 2}">{MARKDOWN.renderInline(title(notebook))}</a></li>')
        slides += chapter(notebook, path.stem)
    book = escape(str(config()["title"]))
    note = '<p>Arrow keys, space, home and end move. Text and figures: <a href="../chapters/index.html">'
    front = f"<p>{book}</p>\n<ul>\n" + "\n".join(entries) + f"\n</ul>\n{note}the book</a>, CC BY 4.0.</p>"
    slides.insert(0, Slide("front", escape(part), front, level=1))
    return PAGE.format(
        part=escape(part), book=book, icon=base64.b64encode((CHAPTERS / "_static/favicon.svg").read_bytes()).decode(),
        style=(HERE / "slides.css").read_text(encoding="utf-8"),
        script=(HERE / "slides.js").read_text(encoding="utf-8"),
        slides="\n".join(slide.html(number) for number, slide in enumerate(slides, start=1)),
    )  # fmt: skip


def write_decks(folder: Path, chapters: list[Path]) -> list[Path]:
    """Write `part_1.html` and so on, one deck for each part that has chapters, and return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    parts: dict[str, list[Path]] = {}
    for page in contents():
        parts.setdefault(page.part, []).extend(path for path in chapters if path.stem == page.name)
    decks = [deck(part, members) for part, members in parts.items() if members]
    paths = [folder / f"part_{number}.html" for number in range(1, len(decks) + 1)]
    for path, text in zip(paths, decks, strict=True):
        path.write_text(text, encoding="utf-8")
    return paths
