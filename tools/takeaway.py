"""The book as a folder to take along: site, slides, notebooks, results and library in one zip file.

    python tools/takeaway.py    writes _build/badnets-book.zip from _build/html and the sources

Unpacked, `start.html` opens the site in a browser, without a server and without a connection.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from html import escape
from pathlib import Path

from project import CHAPTERS, ROOT, config, contents, notebooks

SITE = ROOT / "_build" / "html"
ZIP = ROOT / "_build" / "badnets-book.zip"
FOLDER = "badnets-book"
DATE = (2026, 1, 1, 0, 0, 0)  # of every file, so that the same book gives the same zip
LIBRARY = ("pyproject.toml", "README.md", "LICENSE", "CITATION.cff", "requirements.txt", "constraints.txt")

START = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>body {{ font: 1.05rem/1.6 system-ui, sans-serif; max-width: 42rem; margin: 3rem auto; padding: 0 1rem; }}</style>
</head>
<body>
<main>
<h1>{title}</h1>
<p>Everything here opens without a connection.</p>
<ul>
<li><a href="site/chapters/{front}.html">Read the book</a></li>
{slides}
<li><a href="site/chapters/lab.html">The lab</a>, in your browser</li>
</ul>
<h2>Run the notebooks</h2>
<p>They lie in <code>notebooks/</code>, the library in <code>library/</code>, the results that the pages quote in
<code>data/</code>. With Python 3.11 or newer, in this folder:</p>
<pre>python -m venv venv
venv/bin/pip install "./library[int8,signing,visibility]" jupyterlab
venv/bin/jupyter lab notebooks</pre>
<p>On Windows it is <code>venv\\Scripts\\pip</code> and <code>venv\\Scripts\\jupyter</code>. The installation takes a
connection, once.</p>
</main>
</body>
</html>
"""


def start_page(site: Path) -> str:
    """The page that leads to everything."""
    decks = sorted(path.name for path in (site / "slides").glob("*.html"))
    slides = "\n".join(
        f'<li><a href="site/slides/{name}">Slides, {escape(name[:-5].replace("_", " "))}</a></li>' for name in decks
    )
    return START.format(title=escape(config()["title"]), front=contents()[0].name, slides=slides)


def members(site: Path) -> Iterator[tuple[str, Path]]:
    """Every file of the zip: its name there, and where it lies now."""
    yield from ((f"site/{path.relative_to(site).as_posix()}", path) for path in site.rglob("*") if path.is_file())
    yield from ((f"notebooks/{path.name}", path) for path in notebooks())
    yield from ((f"notebooks/images/{path.name}", path) for path in (CHAPTERS / "images").iterdir())
    results = ROOT / "badnets_lib" / "study" / "results"
    yield from ((f"data/{path.name}", path) for path in results.glob("*.json"))
    yield from ((f"library/{name}", ROOT / name) for name in LIBRARY)
    for path in (ROOT / "badnets_lib").rglob("*"):
        if path.is_file() and "__pycache__" not in path.parts:
            yield f"library/{path.relative_to(ROOT).as_posix()}", path


def pack(site: Path = SITE, to: Path = ZIP) -> Path:
    """Write the zip file, and return its path.

    Raises:
        FileNotFoundError: The site was not built.
    """
    if not (site / "index.html").exists():
        raise FileNotFoundError(f"no site in {site}: run `make site` first")
    part = to.with_suffix(".part")
    with zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(zipfile.ZipInfo(f"{FOLDER}/start.html", DATE), start_page(site), zipfile.ZIP_DEFLATED)
        for name, path in sorted(members(site)):
            archive.writestr(zipfile.ZipInfo(f"{FOLDER}/{name}", DATE), path.read_bytes(), zipfile.ZIP_DEFLATED)
    part.replace(to)
    return to


if __name__ == "__main__":
    try:
        print(f"The book is in {pack()}.")
    except FileNotFoundError as error:
        raise SystemExit(str(error)) from None
