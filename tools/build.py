"""Builds the book: stages the sources in _build/source, runs them if asked, and renders the site.

    python tools/build.py site     from the stored outputs; needs no torch
    python tools/build.py book     runs every chapter first
    python tools/build.py record   runs chapters and writes their outputs back into chapters/
    python tools/build.py pages    rewrites the generated pages in chapters/
    python tools/build.py status   the same, but for the page of claims, and so without torch

Only the last three write outside _build. A `book` that was stopped goes on where it was: executed chapters are kept
until the site is whole, and count as long as nothing has changed that could change them.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import time
from html import escape
from pathlib import Path

from environment import alone
from execute import ChapterError, decided_by, execute_all
from project import CHAPTERS, MOVED, ROOT, config, contents, figures_of, notebooks, read_notebook, title
from quizzes import write_exports
from reference import write_reference
from slides import write_decks
from status import status_page

GENERATED = ("status.md", "images/lesson.svg")  # in git all the same: the README shows them
SCHEMA = "report.schema.json"  # published at the address it gives itself
WEB = ROOT / "badnets_lib" / "display" / "web"  # scripts that notebooks show elsewhere, too
OFFLINE = "offline.js"  # a service worker may serve the folder it lies in, and those below
EXTENSIONS = ("captions.py", "terms.py")  # named in _config.yml
SKIP = shutil.ignore_patterns(".ipynb_checkpoints", "__pycache__", ".jupyter_cache")
JUPYTER_BOOK = [sys.executable, "-c", "from jupyter_book.cli.main import main; main()"]

FORWARD = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<meta name="description" content="{title}: this address leads to it.">
<link rel="icon" href="{home}_static/favicon.svg">
<meta http-equiv="refresh" content="0; url={to}">
</head>
<body><main><h1>{title}</h1><p><a href="{to}">Go there</a></p></main></body>
</html>
"""


def staged(path: Path, source: Path) -> Path:
    """The staged twin of a file of chapters/."""
    return source / "chapters" / path.relative_to(CHAPTERS)


def stage(out: Path) -> Path:
    """Copy the book's sources to out/_build/source and return that folder."""
    source = out / "_build" / "source"
    shutil.rmtree(source, ignore_errors=True)
    source.mkdir(parents=True)
    for name in ("_config.yml", "_toc.yml"):
        shutil.copy2(ROOT / name, source / name)
    shutil.copytree(CHAPTERS, source / "chapters", ignore=SKIP)
    (source / "tools").mkdir()
    for name in EXTENSIONS:
        shutil.copy2(ROOT / "tools" / name, source / "tools" / name)
    shutil.copytree(WEB, source / "chapters" / "_static", dirs_exist_ok=True)
    return source


def write_generated(folder: Path, chapters: list[Path]) -> None:
    """Write what follows from the stored runs: the status of the chapters, the front page's picture."""
    (folder / "status.md").write_text(status_page(chapters), encoding="utf-8")
    (folder / "images").mkdir(exist_ok=True)
    (folder / "images" / "lesson.svg").write_text(picture(chapters, "lesson-picture"), encoding="utf-8")


def write_claims(folder: Path) -> None:
    """Write what follows from the committed results; it takes the library, which `make site` does without."""
    from claims import page

    (folder / "claims.md").write_text(page(), encoding="utf-8")


def picture(chapters: list[Path], tag: str) -> str:
    """The figure stored under the one cell that carries `tag`, as SVG.

    Raises:
        ValueError: Not exactly one cell with that tag stores a figure.
    """
    found = [
        svg
        for path in chapters
        for cell in read_notebook(path)["cells"]
        if tag in cell["metadata"].get("tags", [])
        for svg in figures_of(cell)
    ]
    if len(found) != 1:
        raise ValueError(f"need exactly one stored figure tagged {tag!r}; found {len(found)}")
    return found[0]


def render(source: Path, out: Path) -> Path:
    """Run Jupyter Book on staged sources, warnings being errors, and return the site's folder.

    Raises:
        subprocess.CalledProcessError: Jupyter Book refused the sources.
    """
    site = out / "_build" / "html"
    for old in (site, out / "_build" / ".doctrees"):
        shutil.rmtree(old, ignore_errors=True)
    strict = ["-W", "-n", "--keep-going", "-q"]
    command = [*JUPYTER_BOOK, "build", str(source), "--path-output", str(out), *strict]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)  # warnings and errors go to stderr
    shutil.copy2(ROOT / "badnets_lib" / "evaluation" / SCHEMA, site / SCHEMA)
    shutil.copy2(CHAPTERS / "_static" / "lab" / OFFLINE, site / OFFLINE)
    lead_on(site / "index.html", f"chapters/{contents()[0].name}.html", config()["title"])
    for former, name in MOVED.items():
        now = title(read_notebook(CHAPTERS / f"{name}.ipynb"))
        lead_on(site / "chapters" / f"{former}.html", f"{name}.html", now, home="../")
    return site


def lead_on(page: Path, to: str, name: str, *, home: str = "") -> None:
    """Write a page that leads to another one; `home` leads from its folder to the site's."""
    page.write_text(FORWARD.format(title=escape(name), to=to, home=home), encoding="utf-8")


def build_site(out: Path = ROOT, *, run: bool = False) -> Path:
    """Stage and render, running every chapter in between if `run`; return the site's folder."""
    start = time.perf_counter()
    source = stage(out)
    chapters = [staged(path, source) for path in notebooks()]
    executed = out / "_build" / "executed"
    times = execute_all(chapters, kept=executed / decided_by(source)) if run else {}
    write_generated(source / "chapters", chapters)
    write_reference(source / "chapters")
    print("rendering the site", flush=True)
    site = render(source, out)
    write_decks(site / "slides", chapters)
    write_exports(site / "quizzes")
    if run:
        shutil.rmtree(executed)
    for name, seconds in times.items():
        print(f"{name:30s} {seconds:6.1f} s")
    print(f"The site is in {site} ({time.perf_counter() - start:.0f} s). Look at it with `make serve`.")
    return site


def record(names: list[str]) -> None:
    """Run chapters (all, or those whose names begin as given) and keep their outputs in chapters/."""
    chosen = [path for path in notebooks() if not names or path.stem.startswith(tuple(names))]
    if not chosen:
        raise SystemExit(f"no chapter begins with {names}; there are {[path.stem for path in notebooks()]}")
    source = stage(ROOT)
    execute_all([staged(path, source) for path in chosen], keep=lambda done: shutil.copy2(done, CHAPTERS))
    write_generated(CHAPTERS, notebooks())
    write_claims(CHAPTERS)


def main() -> None:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(description="Build the book.")
    parser.add_argument("what", choices=["site", "book", "record", "pages", "status"])
    parser.add_argument("chapters", nargs="*", help="for record: how the names of the chapters begin; all by default")
    wanted = parser.parse_args()
    try:
        with alone("building"):
            if wanted.what == "record":
                record(wanted.chapters)
            elif wanted.what in ("pages", "status"):
                write_generated(CHAPTERS, notebooks())
                if wanted.what == "pages":
                    write_claims(CHAPTERS)
            else:
                build_site(run=wanted.what == "book")
    except ChapterError as error:
        raise SystemExit(f"\nThe build stopped. {error}") from None
    except KeyboardInterrupt:
        raise SystemExit("\nThe build was stopped. `make book` goes on where it was.") from None
    except subprocess.CalledProcessError as error:
        raise SystemExit(f"\nJupyter Book reported warnings or errors above (exit code {error.returncode}).") from None


if __name__ == "__main__":
    main()
