"""Writes what follows from the repository's address and release: the setup cell and the Colab badge of every notebook.

    python tools/address.py          rewrites them, in chapters/, coursework/ and the Markdown pages
    python tools/address.py check    names the files that differ, and fails if there are any

`[project.urls]`, `version` and `[tool.badnets]` of pyproject.toml say what the address is and whether it is real.
No notebook is run, and no output changes: where the library is installed, the cell prints the device and nothing else.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from project import ROOT, address, read_notebook, settings, slug

BEGINS = "# Setup, the same in every chapter"
# What a chapter's code says when it takes an extra of the library.
TAKES = {
    "int8": re.compile(r"\bquantised\("),
    "signing": re.compile(r"\b(new_key|verified)\("),
    "visibility": re.compile(r"badnets_lib\.evaluation(\.visibility\b| import .*\bvisibility\b)"),
}

SETUP = """\
# Setup, the same in every chapter: installs badnets_lib only where missing,
# and leaves an installed torch and numpy as they are.
import importlib.metadata, importlib.util, os, subprocess, sys


def here(name):
    return importlib.util.find_spec(name) is not None


# What this chapter takes beside the library:
extras = {extras}
wanted = [each for each in extras if not here(each.partition(">")[0])]
if not here("badnets_lib"):
{source}
if wanted:
    kept = [name for name in ("torch", "torchvision", "numpy") if here(name)]
    keep = [f"{{name}}=={{importlib.metadata.version(name)}}" for name in kept]
    pip = [sys.executable, "-m", "pip", "install", "-q"]
    subprocess.run([*pip, *wanted, *keep], check=True)

import badnets_lib as bd

print(bd.describe_device())"""

NOWHERE = """\
    source = os.environ.get("BADNETS_SOURCE")  # a folder or a wheel, for pip
    if not source:
        raise RuntimeError(
            "badnets_lib is not installed, and this copy of the book has no"
            " address to install it from: set BADNETS_SOURCE to the folder of"
            " the book, as in os.environ['BADNETS_SOURCE'] = '/content/book'"
        )
    wanted.append(source)"""

RELEASED = """\
    released = "{folder}"
    released += "{wheel}"
    sha = "{sha256}"
    source = os.environ.get("BADNETS_SOURCE", f"{{released}}#sha256={{sha}}")
    wanted.append(source)  # pip refuses a file with another hash"""

BADGE = re.compile(r"https://colab\.research\.google\.com/github/[\w.-]+/[\w.-]+/blob/[\w.-]+/")


@dataclass(frozen=True)
class Release:
    """Where the book is published, as pyproject.toml has it.

    Args:
        address: The repository, without a slash at the end.
        version: Of the library and the book.
        published: Whether the address is the authors' own; false for a placeholder.
        sha256: Of the release's wheel, 64 hex digits; empty before the first release.

    Raises:
        ValueError: It is published, and the hash is not one.
    """

    address: str
    version: str
    published: bool
    sha256: str

    def __post_init__(self) -> None:
        if self.published and not re.fullmatch(r"[0-9a-f]{64}", self.sha256):
            raise ValueError(f"a published book needs wheel-sha256, 64 hex digits; got {self.sha256!r}")

    @property
    def tag(self) -> str:
        """The tag of the release."""
        return f"v{self.version}"

    @property
    def wheel(self) -> str:
        """The file name of the release's wheel."""
        return f"badnets_lib-{self.version}-py3-none-any.whl"

    @property
    def reference(self) -> str:
        """What a Colab badge names: the tag of a release, which does not move, or else the branch."""
        return self.tag if self.published else "main"


def release() -> Release:
    """The release that pyproject.toml describes."""
    project, book = settings()["project"], settings()["tool"]["badnets"]
    return Release(address(), project["version"], bool(book["published"]), book["wheel-sha256"])


def extras(code: str) -> list[str]:
    """The requirements of the extras that a notebook's code takes, as pyproject.toml states them."""
    offered = settings()["project"]["optional-dependencies"]
    return sorted(line for extra, sign in TAKES.items() if sign.search(code) for line in offered[extra])


def setup_cell(needed: Iterable[str], where: Release) -> str:
    """The setup cell of a notebook that needs these requirements beside the library."""
    names = [str(Requirement(line)) for line in needed]
    listed = json.dumps(names) if len(names) < 3 else json.dumps(names, indent=4)
    folder = f"{where.address}/releases/download/{where.tag}/"
    source = RELEASED.format(folder=folder, wheel=where.wheel, sha256=where.sha256) if where.published else NOWHERE
    return SETUP.format(extras=listed, source=source)


def text(cell: dict[str, Any]) -> str:
    """The source of a cell."""
    return "".join(cell["source"])


def rewritten(notebook: dict[str, Any], where: Release) -> dict[str, Any]:
    """The notebook with the setup cell and the badge that belong to it; outputs stay as they are."""
    others = [text(cell) for cell in notebook["cells"] if cell["cell_type"] == "code" and BEGINS not in text(cell)]
    needed = extras("\n".join(others))

    def new(cell: dict[str, Any]) -> dict[str, Any]:
        source = text(cell)
        if cell["cell_type"] == "code" and source.startswith(BEGINS):
            source = setup_cell(needed, where)
        elif cell["cell_type"] == "markdown":
            source = badges(source, where)
        return cell if source == text(cell) else {**cell, "source": source.splitlines(keepends=True)}

    return {**notebook, "cells": [new(cell) for cell in notebook["cells"]]}


def badges(source: str, where: Release) -> str:
    """Text whose links to Colab open the release's own tag."""
    return BADGE.sub(f"https://colab.research.google.com/github/{slug()}/blob/{where.reference}/", source)


def files() -> list[Path]:
    """Everything that names the address in a badge, or holds a setup cell."""
    found = [*ROOT.glob("chapters/*.ipynb"), *ROOT.glob("coursework/assignments/*/master.ipynb")]
    return sorted([*found, *ROOT.glob("chapters/*.md"), ROOT / "README.md"])


def expected(path: Path, where: Release) -> str:
    """What a file of `files` should hold."""
    if path.suffix == ".ipynb":
        return json.dumps(rewritten(read_notebook(path), where), indent=1, ensure_ascii=False) + "\n"
    return badges(path.read_text(encoding="utf-8"), where)


def stale(where: Release) -> dict[Path, str]:
    """The files that differ from what they should hold, with that."""
    return {path: new for path in files() if (new := expected(path, where)) != path.read_text(encoding="utf-8")}


def main() -> None:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(description="Write setup cells and Colab badges.")
    parser.add_argument("what", nargs="?", choices=["write", "check"], default="write")
    what = parser.parse_args().what
    old = stale(release())
    for path, new in old.items():
        if what == "write":
            path.write_text(new, encoding="utf-8")
        print(f"{'rewritten' if what == 'write' else 'old'}: {path.relative_to(ROOT)}")
    if what == "check" and old:
        raise SystemExit("run `make address`")
    print(f"{len(files()) - len(old)} of {len(files())} files were right")


if __name__ == "__main__":
    main()
