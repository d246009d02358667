"""What a teacher takes away: tables of grades, feedback for each student, a sheet for each written question.

`written.csv` is the teacher's own: points typed there are read back and never overwritten. Columns that are no question
stay as they are and count nothing.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from badnets_lib.files import write_atomically

from .attack_round import Outcome
from .grading import Mark, Marks
from .hunt import Score
from .masters import Master
from .roster import Member, canvas_table, moodle_table
from .submissions import file_name
from .tables import as_text, read_table

FORMULA = re.compile(r"\A[\s\u200b-\u200f\ufeff]*[=+\-@]")
"""A cell that begins so is a formula to a spreadsheet."""

NUMBER = re.compile(r"\A\d+([.,]\d+)?\Z")
"""Points as a teacher types them."""

HIDDEN_MARKS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]")
"""Characters that are not seen, or turn a line round: they are written out."""

TYPED = "written.csv"

ByStudent = Mapping[str, Mapping[str, str]]
"""Text by student, then by question or column."""


@dataclass(frozen=True)
class Typed:
    """What stands in the teacher's table.

    Attributes:
        points: Points of written answers, as they were typed.
        own: Whatever else the teacher keeps there.
        columns: The columns of that, in order.
        delimiter: What stands between two entries of the file.
    """

    points: ByStudent = field(default_factory=dict)
    own: ByStudent = field(default_factory=dict)
    columns: tuple[str, ...] = ()
    delimiter: str = ","


def write(folder: Path, master: Master, graded: Sequence[Marks], late: Mapping[str, str] | None = None) -> Path:
    """Write everything about a class into a folder; return the path of `grades.csv`.

    `grades.csv`, `feedback/*.md`, `gradescope/*/results.json`, `written/*.md` (a sheet for each written question, with
    the rubric and every answer) and `written.csv`, in which a teacher types the points of these.

    Args:
        folder: Where to.
        master: The assignment.
        graded: Everybody's marks.
        late: By student, how late the work came.
    """
    typed = read_typed(folder / TYPED, master.written)
    write_text(folder / TYPED, typed_table(master, graded, typed))
    path = write_text(folder / "grades.csv", table(master, graded, typed.points, late))
    for name in master.written:
        write_text(folder / "written" / f"{name}.md", sheet(master, name, graded))
    for marks in graded:
        name, own = file_name(marks.student), typed.points.get(marks.student, {})
        write_text(folder / "feedback" / f"{name}.md", feedback(master, marks, own))
        results = json.dumps(gradescope(master, marks, own), indent=1)
        write_text(folder / "gradescope" / name / "results.json", results)
    return path


def write_text(path: Path, text: str) -> Path:
    """Write text, whole or not at all; what UTF-8 cannot hold is written out. Tables get the mark Excel looks for."""
    data = text.encode("utf-8", "backslashreplace")
    return write_atomically(path, b"\xef\xbb\xbf" + data if path.suffix == ".csv" else data)


def read_typed(path: Path, written: Mapping[str, float]) -> Typed:
    """What a teacher has typed, if there is anything.

    Args:
        path: The table.
        written: The points of each written question.

    Raises:
        ValueError: The table cannot be read, or an entry is no number or too large; nothing is overwritten then.
    """
    if not path.is_file():
        return Typed()
    read = read_table(path, ["student"], hint="repair it, or move it away", strict=True)
    columns = tuple(name for name in read.columns if name and name != "student" and name not in written)
    points: dict[str, dict[str, str]] = {}
    own: dict[str, dict[str, str]] = {}
    for row in read.rows:
        student = _unquoted(row["student"])
        if student in points:
            raise ValueError(f"{path}: {student!r} stands there twice")
        points[student] = {name: row[name] for name in written if row.get(name)}
        own[student] = {name: row[name] for name in columns if row.get(name)}
        for question, typed in points[student].items():
            _check_points(f"{path}: {student}, {question}", typed, written[question])
    return Typed(points, own, columns, read.delimiter)


def _check_points(place: str, typed: str, most: float) -> None:
    """Raise unless these are points that the question has.

    Raises:
        ValueError: They are not.
    """
    if not NUMBER.match(typed):
        raise ValueError(f"{place}: {typed[:40]!r} is no number of points")
    if _number(typed) > most:
        raise ValueError(f"{place}: {typed[:40]} points; the question has {most:g}")


def typed_table(master: Master, graded: Sequence[Marks], typed: Typed) -> str:
    """The teacher's table: one line a student, also for those who are no longer in the folder but have an entry."""
    noted = [name for table in (typed.points, typed.own) for name, row in table.items() if row]
    students = dict.fromkeys([*(marks.student for marks in graded), *noted])
    rows = []
    for name in students:
        entries = {**typed.own.get(name, {}), **typed.points.get(name, {})}
        rows.append([_plain(name), *(entries.get(column, "") for column in (*master.written, *typed.columns))])
    return as_text(["student", *master.written, *typed.columns], rows, typed.delimiter)


def table(master: Master, graded: Sequence[Marks], typed: ByStudent, late: Mapping[str, str] | None = None) -> str:
    """One line a student: points by machine and by hand, of each check, and how it was run."""
    checks = [check.name for check in master.checks]
    head = ["student", "points", "of", "by machine", "by hand", *checks, *master.written]
    rows: list[list[Any]] = []
    for marks in graded:
        points = {mark.check: _points(mark) for mark in marks.marks}
        own = typed.get(marks.student, {})
        hand = by_hand(own)
        rows.append(
            [
                _plain(marks.student), f"{marks.points + hand:g}", f"{whole(master, marks):g}",
                f"{marks.points:g}", f"{hand:g}" if own else "", *(points[name] for name in checks),
                *(own.get(name, "") for name in master.written), (late or {}).get(marks.student, ""), marks.sandbox,
                marks.seconds, _plain(marks.problem or waiting(marks)),
            ]
        )  # fmt: skip
    return as_text([*head, "late", "sandbox", "seconds", "problem"], rows)


def by_hand(own: Mapping[str, str]) -> float:
    """The sum of what a teacher typed for one student."""
    return sum(map(_number, own.values()))


def _number(points: str) -> float:
    return float(points.replace(",", "."))


def _points(mark: Mark) -> str:
    """The points of a check, as far as there are any."""
    return "?" if mark.points is None else f"{mark.points:g}"


def waiting(marks: Marks) -> str:
    """A word about the checks that could not be run; empty if there are none."""
    if not marks.waiting:
        return ""
    return f"{', '.join(marks.waiting)}: not graded yet, and no point is taken, because the machine was short of memory"


def whole(master: Master, marks: Marks) -> float:
    """All points that there are, by machine and by hand; without those of checks that could not be run."""
    return marks.possible + sum(master.written.values())


def sheet(master: Master, question: str, graded: Sequence[Marks]) -> str:
    """One written question: what was asked, the rubric, and everybody's answer."""
    lines = [
        f"# {master.title}: {question}",
        "",
        master.questions[question],
        "",
        "## Rubric",
        "",
        master.rubrics[question],
    ]
    lines += ["", f"Type the points, of {master.written[question]:g}, into {TYPED}.", ""]
    for marks in graded:
        answer = marks.texts.get(question, "").strip()
        lines += [f"## {_heading(marks.student)}", "", _quoted(answer) if answer else "No answer was found.", ""]
    return "\n".join(lines)


def feedback(master: Master, marks: Marks, own: Mapping[str, str]) -> str:
    """The marks and the reasons, for the student."""
    total = f"**{marks.points + by_hand(own):g} of {whole(master, marks):g} points**"
    lines = [f"# {master.title}", "", f"{_heading(marks.student)}: {total} ({shares(master, marks, own)})", ""]
    if marks.problem:
        lines += [f"Not graded: {_code(marks.problem)}", ""]
    if marks.note:
        lines += [f"{_heading(marks.note)}.", ""]
    if marks.waiting:
        lines += [f"{waiting(marks)}.", ""]
    lines += ["| check | points | why |", "|---|---|---|"]
    lines += [f"| {mark.check} | {_points(mark)} of {mark.possible:g} | {_why(mark)} |" for mark in marks.marks]
    for name, points in master.written.items():
        state = "to be marked by a person" if marks.texts.get(name, "").strip() else "no answer found"
        lines.append(f"| {name} | {own.get(name, '?')} of {points:g} | written: {'marked' if name in own else state} |")
    if marks.sandbox == "UNSAFE":
        lines += ["", "Graded without a sandbox."]
    return "\n".join(lines) + "\n"


def shares(master: Master, marks: Marks, own: Mapping[str, str]) -> str:
    """Where the points come from: "18 of 20 by machine, 6 of 8 by hand"."""
    machine, most = f"{marks.points:g} of {marks.possible:g} by machine", sum(master.written.values())
    if not most:
        return machine
    if not own:
        return f"{machine}, {most:g} by hand not marked yet"
    return f"{machine}, {by_hand(own):g} of {most:g} by hand"


def gradescope(master: Master, marks: Marks, own: Mapping[str, str]) -> dict[str, Any]:
    """The same in the format of Gradescope's `results.json`."""
    said = f"{master.title}: {shares(master, marks, own)}."
    return {
        "score": marks.points + by_hand(own),
        "output": marks.problem or " ".join(filter(None, (said, waiting(marks)))),
        "execution_time": round(marks.seconds),
        "visibility": "visible",
        "tests": [_test(mark) for mark in marks.marks],
    }


def _test(mark: Mark) -> dict[str, Any]:
    """A check in Gradescope's format; one that could not be run has a message and no score."""
    told = {"name": mark.check, "output": mark.message}
    if mark.points is None:
        return told
    passed = "passed" if mark.points == mark.possible else "failed"
    return told | {"score": mark.points, "max_score": mark.possible, "status": passed}


def _why(mark: Mark) -> str:
    return _code(mark.message) if mark.message else "passed"


def _code(text: str) -> str:
    """Text of a student's making: shown as it is, neither markup nor the end of a table's cell."""
    return "`" + " ".join(_seen(text).replace("`", "'").replace("|", "/").split()) + "`"


def _heading(text: str) -> str:
    """Text of a student's making in one line of Markdown: no markup, no HTML."""
    line = html.escape(" ".join(_seen(text).split()), quote=False)
    return re.sub(r"([\\`*_\[\]#|~])", r"\\\1", line)


def _seen(text: str) -> str:
    """Text whose every character is seen."""
    return HIDDEN_MARKS.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def _quoted(text: str) -> str:
    """A student's answer as it was typed, in a block that it cannot end."""
    fence = "`" * max([3, *(len(run) + 1 for run in re.findall(r"`+", text))])
    return f"{fence}text\n{text}\n{fence}"


def _plain(text: str) -> str:
    """Text that no spreadsheet calculates with."""
    return f"'{text}" if FORMULA.match(text) else text


def _unquoted(text: str) -> str:
    """What `_plain` was given."""
    return text[1:] if text.startswith("'") and FORMULA.match(text[1:]) else text


def gradebooks(folder: Path, master: Master, owned: Mapping[str, Marks], roster: Sequence[Member]) -> list[Path]:
    """Write `canvas.csv` or `moodle.csv`, as the roster is Canvas's or Moodle's; return what was written.

    Whose marks are not complete stays as they are there.

    Args:
        folder: Where to; the typed points lie there.
        master: The assignment.
        owned: The marks by the name of their owner on the roster.
        roster: The class.
    """
    typed, written = read_typed(folder / TYPED, master.written).points, []
    columns = set().union(*(member.row for member in roster))
    points, words = {}, {}
    for name, marks in owned.items():
        if not marks.waiting:
            own = typed.get(marks.student, {})
            points[name] = f"{marks.points + by_hand(own):g}"
            words[name] = (marks.problem and "not graded") or shares(master, marks, own)
    title = next((name for name in sorted(columns) if name.startswith(master.title)), master.title)
    if {"Student", "ID", "Section"} <= columns:
        possible = sum(check.points for check in master.checks) + sum(master.written.values())
        written.append(write_text(folder / "canvas.csv", canvas_table(roster, title, possible, points)))
    if "Email address" in columns or "ID number" in columns:
        written.append(write_text(folder / "moodle.csv", moodle_table(roster, title, points, words)))
    return written


def similar(folder: Path, pairs: Sequence[tuple[str, str, float]]) -> Path:
    """Write `similar.csv`: pairs of submissions that a teacher should look at side by side."""
    rows = [[_plain(one), _plain(other), f"{share:.0%}"] for one, other, share in pairs]
    return write_text(folder / "similar.csv", as_text(["student", "other student", "alike"], rows))


HUNT = ("auc", "cross_entropy", "triggers", "ranking", "certainty", "trigger_points", "points", "of", "problem")


def hunts(folder: Path, scored: Mapping[str, Score | str]) -> Path:
    """Write `hunt.csv` and `feedback/*.md` for the hunt; return the table's path.

    Args:
        folder: Where to.
        scored: By student: the score, or why there is none.
    """
    rows: list[list[Any]] = []
    for student, score in scored.items():
        body = f"Not scored: {_code(score)}\n" if isinstance(score, str) else score.to_markdown()
        write_text(folder / "feedback" / f"{file_name(student)}.md", f"# Trojan hunt\n\n{body}")
        rows.append([_plain(student), *_hunt(score)])
    write_text(folder / "leaderboard.html", leaderboard(scored))
    return write_text(folder / "hunt.csv", as_text(["student", *HUNT], rows))


def attacks(folder: Path, played: Mapping[str, Outcome | str]) -> Path:
    """Write `attack.csv` and `feedback/*.md` for the attack round; return the table's path.

    Args:
        folder: Where to.
        played: By student: the outcome, or why there is none.
    """
    rows: list[list[Any]] = []
    for student, outcome in played.items():
        body = f"Not scored: {_code(outcome)}\n" if isinstance(outcome, str) else outcome.to_markdown()
        write_text(folder / "feedback" / f"{file_name(student)}.md", f"# The attack round\n\n{body}")
        if isinstance(outcome, str):
            rows.append([_plain(student), "", "", "", 0, 10, _plain(outcome)])
        else:
            caught = ", ".join(f"{name} {share:.0%}" for name, share in outcome.caught.items())
            rows.append([_plain(student), outcome.success, outcome.clean, caught, outcome.points, 10, ""])
    head = ["student", "attack_success", "clean_accuracy", "caught", "points", "of", "problem"]
    return write_text(folder / "attack.csv", as_text(head, rows))


BOARD = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Trojan hunt: the leaderboard</title>
<style>
body {{ font: 1rem/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }}
table {{ border-collapse: collapse; width: 100%; display: block; overflow-x: auto; }}
th, td {{ padding: 0.4rem 0.8rem; border-bottom: 1px solid #d9dfe5; text-align: left; }}
td:nth-child(3) {{ font-weight: 600; }}
tr.baseline {{ background: #eef5fa; }}
</style>
</head>
<body>
<h1>Trojan hunt</h1>
<table>
<thead><tr><th>Place</th><th>Hunter</th><th>Points of 30</th><th>AUC</th><th>Cross-entropy</th>
<th>Triggers with full effect</th></tr></thead>
<tbody>
{rows}
</tbody>
</table>
<p>Brackets are 95% intervals: another zoo would give other numbers. A small difference between two hunters may be
luck.</p>
</body>
</html>
"""

BASELINE = "(baseline)"
"""The hunt to beat, among the students."""


def leaderboard(scored: Mapping[str, Score | str]) -> str:
    """A page that can be put on any server: the scores, under the names that the hunters chose, and no other."""
    scores = [(student, score) for student, score in scored.items() if isinstance(score, Score)]
    scores.sort(key=lambda each: (-each[1].total, each[1].name, each[0]))
    rows = []
    for student, score in scores:
        name = "the library's Neural Cleanse" if student == BASELINE else score.name or "no name"
        place = 1 + sum(other.total > score.total for _, other in scores)
        cells = (place, name, f"{score.total:.2f}", score.auc, score.cross_entropy, score.triggers)
        row = "".join(f"<td>{html.escape(str(cell))}</td>" for cell in cells)
        mark = ' class="baseline"' if student == BASELINE else ""
        rows.append(f"<tr{mark}>{row}</tr>")
    return BOARD.format(rows="\n".join(rows))


def _hunt(score: Score | str) -> list[Any]:
    if isinstance(score, str):
        return ["", "", "", 0, 0, 0, 0, 30, _plain(score)]
    problems = _plain("; ".join(score.problems))
    return [score.auc, score.cross_entropy, score.triggers, *score.points.values(), score.total, 30, problems]
