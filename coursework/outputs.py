"""What a teacher takes away: a table of grades, a page of feedback a student, and Gradescope's results."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from badnets_lib.files import write_atomically

from .grading import Mark, Marks
from .hunt import Score
from .masters import Master

FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""A cell that begins so is a formula to a spreadsheet."""


def write(folder: Path, master: Master, graded: Sequence[Marks]) -> Path:
    """Write `grades.csv`, `feedback/<student>.md` and `gradescope/<student>/results.json`; return the table's path."""
    for marks in graded:
        write_atomically(folder / "feedback" / f"{marks.student}.md", feedback(master, marks))
        results = json.dumps(gradescope(master, marks), indent=1)
        write_atomically(folder / "gradescope" / marks.student / "results.json", results)
    return write_atomically(folder / "grades.csv", table(master, graded))


def table(master: Master, graded: Sequence[Marks]) -> str:
    """One line a student: the points of each check, their sum, room for the written parts, and how it was run."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    checks = [check.name for check in master.checks]
    rows.writerow(["student", "points", "of", *checks, *master.written, "sandbox", "seconds", "problem"])
    for marks in graded:
        points = {mark.check: f"{mark.points:g}" for mark in marks.marks}
        rows.writerow(
            [
                _plain(marks.student), f"{marks.points:g}", f"{marks.possible:g}", *(points[name] for name in checks),
                *("" for _ in master.written), marks.sandbox, marks.seconds, _plain(marks.problem),
            ]
        )  # fmt: skip
    return text.getvalue()


def feedback(master: Master, marks: Marks) -> str:
    """The marks and the reasons, for the student."""
    lines = [f"# {master.title}", "", f"{marks.student}: **{marks.points:g} of {marks.possible:g} points**", ""]
    if marks.problem:
        lines += [f"Not graded: {_code(marks.problem)}", ""]
    lines += ["| check | points | why |", "|---|---|---|"]
    lines += [f"| {mark.check} | {mark.points:g} of {mark.possible:g} | {_why(mark)} |" for mark in marks.marks]
    for name, points in master.written.items():
        state = "to be marked by a person" if marks.texts.get(name, "").strip() else "no answer found"
        lines.append(f"| {name} | ? of {points:g} | written: {state} |")
    if marks.sandbox == "UNSAFE":
        lines += ["", "Graded without a sandbox."]
    return "\n".join(lines) + "\n"


def gradescope(master: Master, marks: Marks) -> dict[str, Any]:
    """The same in the format of Gradescope's `results.json`."""
    return {
        "score": marks.points,
        "output": marks.problem or f"{master.title}: {marks.points:g} of {marks.possible:g} points by machine.",
        "execution_time": round(marks.seconds),
        "visibility": "visible",
        "tests": [
            {
                "name": mark.check,
                "score": mark.points,
                "max_score": mark.possible,
                "status": "passed" if mark.points == mark.possible else "failed",
                "output": mark.message,
            }
            for mark in marks.marks
        ],
    }


def _why(mark: Mark) -> str:
    return _code(mark.message) if mark.message else "passed"


def _code(text: str) -> str:
    """Text of a student's making: shown as it is, neither markup nor the end of a table's cell."""
    return "`" + " ".join(text.replace("`", "'").replace("|", "/").split()) + "`"


def _plain(text: str) -> str:
    """Text that no spreadsheet calculates with."""
    return f"'{text}" if text.startswith(FORMULA) else text


HUNT = ("auc", "cross_entropy", "triggers", "ranking", "certainty", "trigger_points", "points", "of", "problem")


def hunts(folder: Path, scored: Mapping[str, Score | str]) -> Path:
    """Write `hunt.csv` and `feedback/<student>.md` for the hunt; return the table's path.

    Args:
        folder: Where to.
        scored: By student: the score, or why there is none.
    """
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["student", *HUNT])
    for student, score in scored.items():
        told = f"Not scored: {_code(score)}\n" if isinstance(score, str) else score.to_markdown()
        write_atomically(folder / "feedback" / f"{student}.md", f"# Trojan hunt\n\n{told}")
        rows.writerow([_plain(student), *_hunt(score)])
    return write_atomically(folder / "hunt.csv", text.getvalue())


def _hunt(score: Score | str) -> list[Any]:
    if isinstance(score, str):
        return ["", "", "", 0, 0, 0, 0, 30, _plain(score)]
    problems = _plain("; ".join(score.problems))
    return [score.auc, score.cross_entropy, score.triggers, *score.points.values(), score.total, 30, problems]
