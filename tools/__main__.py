"""Everything that `make` does once the environment is there, also where there is no make: `python -m tools book`.

    python -m tools                     list the targets
    python -m tools record 03 05        a target; what follows goes to its last command

Run it with the environment's Python, in the book's folder.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
QUIETLY = {"TQDM_DISABLE": "1", "OMP_WAIT_POLICY": "PASSIVE"}
"""Chapters print no progress bars and leave the other cores alone."""

KEPT = ("sweeps", "coursework")  # finished cells and marks
CACHES = (".pytest_cache", ".mypy_cache", ".ruff_cache", ".hypothesis", ".import_linter_cache")

Command = tuple[str, ...]


def tool(name: str, *arguments: str) -> Command:
    """A script of this folder."""
    return (sys.executable, str(ROOT / "tools" / f"{name}.py"), *arguments)


def module(name: str, *arguments: str) -> Command:
    """An installed module, or the coursework."""
    return (sys.executable, "-m", name, *arguments)


def beside(name: str, *arguments: str) -> Command:
    """A program that was installed beside Python."""
    return (str(Path(sys.executable).with_name(name)), *arguments)


SITE = tool("build", "site")
LINT = (module("ruff", "check", "."), module("mypy"), beside("lint-imports", "--no-cache"), tool("scripts"))
TESTS = module("pytest", "-n", "auto", "--dist", "loadgroup")
QUICK = (*TESTS, "-m", "not slow and not browser and not notebooks and not grader")
BUILT = ROOT / "_build" / "html"
SERVER = module("http.server", "--bind", "127.0.0.1", "--directory", str(BUILT))

TARGETS: dict[str, tuple[str, tuple[Command, ...]]] = {
    "book": ("run every chapter here and build the site from what they print", (tool("build", "book"),)),
    "site": ("build the site from the stored outputs", (SITE,)),
    "serve": ("show the site at http://localhost:8000 (or another port)", (SERVER,)),
    "record": ("run chapters (03 05 for some) and keep their outputs", (tool("build", "record"),)),
    "pages": ("rewrite the generated pages in chapters/", (tool("build", "pages"),)),
    "zip": ("pack everything, to open from a folder", (SITE, tool("takeaway"))),
    "pdf": ("print the book with Chromium", (SITE, tool("paper"))),
    "address": ("rewrite setup cells and Colab badges", (tool("address"),)),
    "colab": ("run three chapters as a Colab user does", (tool("colab", "run"),)),
    "release": ("check a release", (tool("release"),)),
    "test": ("check everything", (*LINT, TESTS)),
    "quick": ("check in two minutes what needs no browser, chapter or grader", (*LINT, QUICK)),
    "lint": ("check style, types and layers only", LINT),
    "results": ("run the experiments behind the results again", (tool("results", "run"),)),
    "results-check": ("rerun a few cells of every committed result", (tool("results", "check"),)),
    "lab": ("train and export what the browser lab shows", (tool("lab"), tool("lab_pictures"))),
    "bench": ("measure the library's speed and memory", (tool("bench"),)),
    "assignments": ("write the coursework's notebooks", (module("coursework", "build"),)),
    "grade": ("grade a folder of submissions", (module("coursework", "grade"),)),
    "zoo": ("make the capstone's networks from a secret", (module("coursework", "zoo"),)),
    "hunt": ("score a folder of hunt.json", (module("coursework", "hunt"),)),
    "attack": ("play a folder of plan.json against the detectors", (module("coursework", "attack"),)),
    "clean": ("remove what was built", ()),
}
"""Each target: what it does, and its commands."""


def run(target: str, more: Sequence[str]) -> int:
    """Run a target's commands until one fails; returns its exit status."""
    if target == "clean":
        clean()
    if target == "serve":
        more = more or ["8000"]
        if not (BUILT / "index.html").exists():
            run("site", ())
    commands = TARGETS[target][1]
    for command in commands:
        extra = more if command is commands[-1] else ()
        status = subprocess.run([*command, *extra], cwd=ROOT, env=os.environ | QUIETLY).returncode
        if status:
            return status
    return 0


def clean(root: Path = ROOT) -> None:
    """Remove what was built, but not finished cells of sweeps, or marks."""
    built = [path for path in (root / "_build").glob("*") if path.name not in KEPT]
    for path in [*built, *(root / name for name in CACHES)]:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def main() -> None:
    """Do what the command line says."""
    target, *more = sys.argv[1:] or ["help"]
    if target in TARGETS:
        sys.exit(run(target, more))
    print("\n".join(f"  {name:14} {says}" for name, (says, _) in TARGETS.items()))
    if target not in ("help", "-h", "--help"):
        sys.exit(f"no target {target!r}; the targets are listed above")


if __name__ == "__main__":
    main()
