"""The status page: how long each chapter ran, where, and with which versions."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from project import read_notebook, title

INTRO = """# Status of the chapters

Each row was written by the run that made the outputs you see in that chapter; numbers can differ in their last digits
on another machine, another version of torch or another count of threads.

| Chapter | Seconds | Device | Threads | Machine | torch | Python | Run on |
|---|---:|---|---:|---|---|---|---|
"""


def row(notebook: Path) -> str:
    """One chapter's line, from the metadata its run left; dashes where it has not been run."""
    content = read_notebook(notebook)
    run = content["metadata"].get("badnets_run", {})
    keys = ("seconds", "device", "threads", "machine", "torch", "python", "date")
    cells = [f"[{title(content)}]({notebook.name})"] + [str(run.get(key, "-")) for key in keys]
    return "| " + " | ".join(cells) + " |\n"


def status_page(notebooks: Iterable[Path]) -> str:
    """The whole page, as MyST Markdown."""
    return INTRO + "".join(row(path) for path in notebooks)
