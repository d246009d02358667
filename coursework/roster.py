"""Who is in the class, when work was due, and the tables that Canvas and Moodle read.

A roster is a table with a line a student: one of your own with the column `student`, or the gradebook as Canvas or
Moodle exports it, unchanged. Columns are found by their names.

| Column | Also called | What it is |
|---|---|---|
| `student` | `Student` | the name; of your own table, what the submission's folder is called |
| `id` | `ID`, `ID number` | the number in Canvas or Moodle, which their file names hold |
| `login` | `SIS Login ID`, `Username` | what the submission's folder may be called instead |
| `email` | `Email address` | likewise |
| `due` | | an own date for this student, such as `2027-03-01 23:59` |
| `handed in` | | when the work came, if the file's own time does not say |

A time may end in an offset, such as `+01:00`. Without one it is a time of this machine's zone.

Canvas takes `Student`, `ID`, `SIS User ID`, `SIS Login ID`, `Section` and a column with the assignment's name, and
ignores a line of `Points Possible`; Moodle finds students by `Email address` or `ID number`, as the importer maps it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from pathlib import Path

from .submissions import Submission
from .tables import as_text, read_table

CANVAS = ("Student", "ID", "SIS User ID", "SIS Login ID", "Section")
MOODLE = ("First name", "Last name", "ID number", "Email address")
NAMES = {
    "Student": "student", "ID": "id", "ID number": "id", "SIS Login ID": "login", "Username": "login",
    "Email address": "email",
}  # fmt: skip
"""What our columns are called in Canvas and Moodle."""

NAMING = ("student", "Student", "LastName", "Email address", "ID number")
"""Columns of which a roster has at least one."""

NOBODY = ("points possible", "student, test")
"""How lines of a Canvas export begin that are no student; the one that says `Manual Posting` has no name at all."""


@dataclass(frozen=True)
class Member:
    """One student of the class.

    Attributes:
        student: The name.
        known_as: What a submission of this student may be called: name, number, login, e-mail address.
        due: An own date, if there is one; with its zone, like every date here.
        handed_in: When the work came, if the roster says so.
        row: The line of the roster, for the tables that go back.
    """

    student: str
    known_as: frozenset[str]
    due: datetime | None = None
    handed_in: datetime | None = None
    row: Mapping[str, str] = field(default_factory=dict)


def read_roster(path: Path) -> list[Member]:
    """The class, in the order of the table.

    Raises:
        ValueError: There is no column that names students, a name stands twice, or a date cannot be read.
        FileNotFoundError: There is no such file.
    """
    table = read_table(path, NAMING, hint="Canvas's and Moodle's own exports will do as well")
    members = [_member(path, _one_name(row)) for row in table.rows]
    found = [member for member in members if member.student and not member.student.lower().startswith(NOBODY)]
    names = [member.student for member in found]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"{path}: {', '.join(twice)} stands there twice")
    return found


def _one_name(row: dict[str, str]) -> dict[str, str]:
    """A line of the roster; where Canvas was told to split the names, they are one again."""
    if "LastName" not in row:
        return row
    return {"Student": ", ".join(filter(None, (row["LastName"], row.get("FirstName"))))} | row


def _member(path: Path, row: dict[str, str]) -> Member:
    ours = {NAMES.get(name, name): value for name, value in row.items()}
    whole = f"{row.get('First name', '')} {row.get('Last name', '')}".strip()
    student = ours.get("student") or whole or ours.get("email") or ours.get("id") or ""
    known = {ours.get(name, "") for name in ("student", "id", "login", "email")} | {whole}
    return Member(
        student,
        frozenset(known - {""}),
        moment(ours.get("due", ""), path),
        moment(ours.get("handed in", ""), path),
        row,
    )


def moment(text: str, place: object = "--due") -> datetime | None:
    """A date and time with its zone, None for an empty text; a date alone lasts until midnight.

    Without an offset, it is a time of this machine's zone.

    Raises:
        ValueError: It is none.
    """
    if not text:
        return None
    try:
        when = datetime.fromisoformat(text)
        return (when + timedelta(days=1) if _is_date(text) else when).astimezone()
    except (ValueError, OverflowError):
        raise ValueError(f"{place}: {text!r} is no date; write 2027-03-01 23:59") from None


def _is_date(text: str) -> bool:
    """Whether a text says a day and no time."""
    try:
        date.fromisoformat(text)
    except ValueError:
        return False
    return True


def whose(submission: Submission, roster: Iterable[Member]) -> Member | None:
    """The member of the class that a submission belongs to, None if it is nobody's."""
    names = {submission.student, submission.number, submission.student.partition("_")[0]} - {""}
    return next((member for member in roster if member.known_as & names), None)


def lateness(submission: Submission, due: datetime | None, member: Member | None = None) -> str:
    """How late work is, such as "1 d 3 h"; empty if it is not, or if nobody said when it was due.

    The time is that of the roster, or the file's own; where Canvas writes LATE into the name, it is late at any rate.
    """
    due = (member.due if member else None) or due
    came = (member.handed_in if member else None) or _time(submission)
    if due is not None and came is not None and came > due:
        hours = int((came - due).total_seconds() // 3600) + 1
        return f"{hours // 24} d {hours % 24} h" if hours >= 24 else f"{hours} h"
    return "late in Canvas" if submission.late else ""


def _time(submission: Submission) -> datetime | None:
    times = [path.lstat().st_mtime for path in submission.files]
    return datetime.fromtimestamp(max(times)).astimezone() if times else None


def canvas_table(roster: Sequence[Member], title: str, possible: float, points: Mapping[str, str]) -> str:
    """The gradebook that Canvas imports: its own columns as they were, and one with the points.

    Args:
        roster: What `read_roster` made of Canvas's export.
        title: The assignment's name in Canvas; with its number, `Name (123)`, where it exists already.
        possible: All points.
        points: By member; who has none stays empty, and Canvas leaves that grade as it is.
    """
    rows = [["    Points Possible", "", "", "", "", f"{possible:g}"]]
    rows += [[*(member.row.get(name, "") for name in CANVAS), points.get(member.student, "")] for member in roster]
    return as_text([*CANVAS, title], rows)


def moodle_table(roster: Sequence[Member], title: str, points: Mapping[str, str], words: Mapping[str, str]) -> str:
    """The table that Moodle imports: who, the points, and a sentence of feedback.

    Args:
        roster: What `read_roster` made of Moodle's export.
        title: The grade item's name.
        points: By member; who has none is left out, so that nothing is overwritten.
        words: Feedback by member.
    """
    rows = [
        [*(member.row.get(name, "") for name in MOODLE), points[member.student], words.get(member.student, "")]
        for member in roster
        if member.student in points
    ]
    return as_text([*MOODLE, title, f"{title} feedback"], rows)
