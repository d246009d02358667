"""The coursework's commands, as `python -m coursework --help` lists them."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from badnets_lib.files import write_atomically

from . import masters, outputs, submissions
from .grading import Grader, grade_all, seed_of
from .sandbox import NoSandbox
from .variants import Variant

OUT = Path("_build") / "coursework"


def build(variant: Variant, out: Path) -> None:
    """Write every assignment's notebooks for students and for teachers."""
    for master in masters.every():
        for kind, notebook in (("student", master.student(variant)), ("solution", master.solution(variant))):
            path = out / kind / f"{master.name}.ipynb"
            write_atomically(path, json.dumps(notebook, indent=1, ensure_ascii=False) + "\n")
            print(path)


def grade(assignment: str, folder: Path, variant: int, out: Path | None, *, unsafe: bool, workers: int) -> None:
    """Grade a folder of submissions and say where the marks are."""
    master = masters.find(assignment)
    found = submissions.find(folder)
    out = out or OUT / "marks" / f"{master.name}-{folder.resolve().name}"
    kept = out / "kept"
    grader = Grader(master, Variant.draw(variant, seed=seed_of(kept)), unsafe=unsafe)
    graded = grade_all(grader, found, kept, workers=workers)
    print(f"{len(graded)} submissions: {outputs.write(out, master, graded)}")


def arguments(given: Sequence[str] | None) -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(prog="python -m coursework", description="Build and grade the coursework.")
    commands = parser.add_subparsers(dest="command", required=True)
    building = commands.add_parser("build", help="write the students' and the teachers' notebooks")
    building.add_argument("--out", type=Path, help="where to; by default _build/coursework/variant-N")
    grading = commands.add_parser("grade", help="grade a folder of submissions")
    grading.add_argument("assignment", help="how its folder's name begins: 1, 2, ...")
    grading.add_argument("folder", type=Path, help="holds <student>/anything.ipynb or <student>.ipynb")
    grading.add_argument("--out", type=Path, help="where to; by default _build/coursework/marks/...")
    grading.add_argument("--unsafe", action="store_true", help="run students' code without a sandbox")
    grading.add_argument("--workers", type=int, default=2, help="submissions graded at a time")
    for command in (building, grading):
        command.add_argument("--variant", type=int, default=0, help="the cohort's number, such as 2027")
    return parser.parse_args(given)


def main(given: Sequence[str] | None = None) -> None:
    """Do what the command line says."""
    wanted = arguments(given)
    try:
        if wanted.command == "build":
            build(Variant.draw(wanted.variant), wanted.out or OUT / f"variant-{wanted.variant}")
        else:
            grade(
                wanted.assignment, wanted.folder, wanted.variant, wanted.out,
                unsafe=wanted.unsafe, workers=wanted.workers,
            )  # fmt: skip
    except (ValueError, NoSandbox) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
