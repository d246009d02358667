"""What students hand in, read as text and nothing more: no archive is opened, nothing is parsed but JSON."""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from badnets_lib.handing_in import written

from .masters import Master
from .variants import Variant

LARGEST = 16 * 2**20
"""Bytes of a notebook at most, outputs included."""

MOST_CODE = 2**19
"""Characters of code that are looked at, at most."""

STRANGE = re.compile(
    r"\A(\..*|__MACOSX|Thumbs\.db|desktop\.ini|Icon\r|.*:(encryptable|Zone\.Identifier)|submission_metadata\.yml)\Z",
    re.IGNORECASE,
)
"""What file managers, archives and course systems leave behind: no student's work."""

BESIDE = re.compile(
    r"\A((readme|roster|submissions)\b.*|assignment_\d+_export\..*|.*\.(csv|tsv|xlsx?|ods|numbers))\Z", re.IGNORECASE
)
"""Files beside the submissions that are about the class: tables, and the archive that everything came in."""

INSTALLED = re.compile(r"\A(v?env|site-packages|node_modules|__pycache__)\Z", re.IGNORECASE)
"""Folders in a student's folder that hold other people's work."""

CANVAS = re.compile(r"\A(?P<name>[^_]+)_(?P<late>LATE_)?(?P<number>\d+)_(?P<upload>\d+)_(?P<file>.+)\Z")
"""`doejane_LATE_12345_67890_1_rates-1`: how Canvas names the files of a class; every upload has a number of its own."""

MOODLE = re.compile(r"\A(?P<name>[^_]+)_(?P<number>\d+)_assignsubmission_(?P<upload>(file|onlinetext)_?(?P<file>.*))\Z")
"""`Jane Doe_4711_assignsubmission_file_`: how Moodle names them."""

COPY = re.compile(r"(?: \((\d+)\)|-(\d+))\Z")
"""`1_rates (2)` or `1_rates-2`: a copy that a browser or a course system numbered."""


class Unreadable(ValueError):
    """What was handed in cannot be graded; the text says why."""


@dataclass(frozen=True)
class Submission:
    """Who handed in what.

    Attributes:
        student: The name of the folder, or of the file without its ending; as text that can be shown and written.
        files: The files of the right kind, usually one.
        others: Names of what else is there, for the message if no file is.
        number: The student's number in Canvas or Moodle, where the name holds it.
        late: Canvas says that it came late.
    """

    student: str
    files: tuple[Path, ...]
    others: tuple[str, ...] = ()
    number: str = ""
    late: bool = False


@dataclass(frozen=True)
class Work:
    """What of a submission is graded.

    Attributes:
        sources: The code of the student's own cells, in order.
        texts: The written answers, by grade_id.
        note: What the student should know about how it was read.
    """

    sources: list[str]
    texts: dict[str, str]
    note: str = field(default="")


def find(folder: Path, ending: str = ".ipynb") -> list[Submission]:
    """Everybody's submission, by name: `folder/<student>/anything.ipynb` or `folder/<student>.ipynb`.

    Who handed in a file of another kind is there too, without a file. What is in both a folder and a file of one
    name is one submission, and so are the files that Canvas or Moodle gave one student's number.

    Args:
        folder: Where they lie.
        ending: Of the files that are handed in, whatever their case.

    Raises:
        ValueError: There is no such folder, or nothing in it.
    """
    if not folder.is_dir():
        raise ValueError(f"no folder {folder}")
    entries = [entry for entry in sorted(folder.iterdir()) if not _is_nobodys(entry, ending)]
    if not entries:
        raise ValueError(f"{folder} holds nothing")
    uploads = Counter(map(_upload, entries))
    found: dict[str, list[Path]] = {}
    first: dict[tuple[str, str], str] = {}
    for entry in entries:
        student, upload = _called(entry), _upload(entry)
        if upload and uploads[upload] == 1:  # else the numbers are not the course system's
            student = first.setdefault(upload[:2], student)
        found.setdefault(student, []).extend(_inside(entry))
    return [_submission(student, paths, ending) for student, paths in sorted(found.items())]


def _is_nobodys(entry: Path, ending: str) -> bool:
    """Whether something among the submissions is none."""
    of_the_class = BESIDE.match(entry.name) and entry.suffix.lower() != ending and not entry.is_dir()
    return bool(STRANGE.match(entry.name) or of_the_class)


def _called(entry: Path) -> str:
    """What an entry calls its student."""
    return shown(entry.name if entry.is_dir() else entry.stem)


def _upload(entry: Path) -> tuple[str, str, str] | None:
    """(name, number, number of the upload) where Canvas or Moodle named an entry."""
    about = CANVAS.match(_called(entry)) or MOODLE.match(_called(entry))
    return (about["name"], about["number"], about["upload"]) if about else None


def _inside(entry: Path) -> Iterable[Path]:
    """The files of one entry, without what archives and course systems leave behind, or what was installed there."""
    if entry.is_symlink() or not entry.is_dir():
        yield entry
        return
    for path in sorted(entry.rglob("*")):
        parts = path.relative_to(entry).parts
        if not path.is_dir() and not any(STRANGE.match(part) or INSTALLED.match(part) for part in parts):
            yield path


def _submission(student: str, paths: list[Path], ending: str) -> Submission:
    files = tuple(path for path in paths if path.suffix.lower() == ending)
    others = tuple(shown(path.name) for path in paths if path not in files)
    about = CANVAS.match(student) or MOODLE.match(student)
    if about is None:
        return Submission(student, files, others)
    named = [CANVAS.match(name) for name in (student, *(path.name for path in paths))]
    return Submission(student, files, others, about["number"], any(each and each["late"] for each in named))


def shown(name: str) -> str:
    """A file's name as text: bytes that are no UTF-8 are written out."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def file_name(student: str) -> str:
    """A name for files about a student: short, without what a file system minds, another one for every student.

    An e-mail address stays as it is, so that Gradescope's autograder finds the student by it.
    """
    plain = re.sub(r"[^\w .()+@'-]", "_", student)[:60].strip(" .")
    if plain == student:
        return plain
    return f"{plain or 'student'}-{hashlib.sha256(student.encode('utf-8', 'backslashreplace')).hexdigest()[:8]}"


def read(submission: Submission, master: Master, variant: Variant) -> Work:
    """The student's own cells.

    Cells that are not theirs to change, such as the checks, are left out by their grade_id, however often
    they appear and whatever they say. A cell without metadata counts as the student's.

    Raises:
        Unreadable: There is no notebook, several different ones, or it is not one that was handed out for this.
    """
    path, note = only(submission)
    try:
        notebook = as_notebook(contents(path))
        cells = [_cell(cell) for cell in notebook["cells"]]
        about = notebook.get("metadata", {}).get("badnets", {})
        was = str(about.get("assignment", master.name)), about.get("variant", variant.number)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, MemoryError) as error:
        why = str(error) if type(error) is ValueError else type(error).__name__
        raise Unreadable(f"{shown(path.name)} is not a notebook ({why})") from None
    if was != (master.name, variant.number):
        raise Unreadable(
            f"this is {was[0][:60]}, variant {str(was[1])[:20]}; graded is {master.name}, variant {variant.number}"
        )
    code = [text for kind, name, text in cells if kind == "code" and name not in master.kept]
    if sum(map(len, code)) > MOST_CODE:
        raise Unreadable(f"{sum(map(len, code)):,} characters of code; {MOST_CODE:,} are allowed")
    return Work(code, written(cells, master.questions), note)


def as_notebook(data: bytes) -> dict[str, Any]:
    """A notebook from a file's bytes, in whatever encoding Windows or a browser left it; format 3 is brought to 4.

    Raises:
        ValueError: It is none; one line says why.
    """
    text = data.decode("utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig")
    notebook = json.loads(text)
    if isinstance(notebook, dict) and "worksheets" in notebook:
        import nbformat

        try:
            newer: Any = nbformat.convert(nbformat.from_dict(notebook), 4)
            return dict(newer)
        except Exception as error:  # whatever the conversion stumbles over
            raise ValueError(f"of format 3, and not to be brought to format 4: {type(error).__name__}") from None
    if not isinstance(notebook, dict):
        raise ValueError("no object")
    return notebook


def only(submission: Submission, begins: str = "") -> tuple[Path, str]:
    """The one file that is graded, and a note if it was chosen among several.

    Of numbered copies, `1_rates.ipynb` and `1_rates (1).ipynb`, the last one counts; of equal files, any; and where a
    whole working folder was handed in, those whose names begin as asked.

    Raises:
        Unreadable: There is none, there are several, or it is not an ordinary file of ordinary size.
    """
    files = submission.files
    if len(files) > 1 and begins:
        files = tuple(path for path in files if _own_name(path).startswith(begins)) or files
    if not files:
        found = ", ".join(submission.others) or "none"
        raise Unreadable(f"one file is expected; found {found}")
    for path in files:
        check_ordinary(path)
    if len(files) == 1:
        return files[0], ""
    if len({contents(path) for path in files}) == 1:
        return files[0], f"{len(files)} equal files were handed in"
    names = ", ".join(shown(path.name) for path in files)
    if len({COPY.sub("", _own_name(path)) for path in files}) == 1:
        last = max(files, key=_copy_number)
        return last, f"of {names} the last copy was graded, {shown(last.name)}"
    raise Unreadable(f"one file is expected; found {names}")


def _own_name(path: Path) -> str:
    """What a student called a file, without its ending and what the course system put before it."""
    about = CANVAS.match(path.stem) or MOODLE.match(path.stem)
    return about["file"] if about else path.stem


def _copy_number(path: Path) -> int:
    found = COPY.search(path.stem)
    return int(found[1] or found[2]) if found else 0


def contents(path: Path) -> bytes:
    """The bytes of an ordinary file of ordinary size.

    Raises:
        Unreadable: It is another kind of file, or too large.
    """
    check_ordinary(path)
    return path.read_bytes()


def check_ordinary(path: Path) -> None:
    """Raise if a file is a link, a pipe, a device, or too large.

    Raises:
        Unreadable: It is.
    """
    about = path.lstat()
    if not stat.S_ISREG(about.st_mode):
        raise Unreadable(f"{shown(path.name)} is not an ordinary file")
    if about.st_size > LARGEST:
        raise Unreadable(
            f"{shown(path.name)} has {about.st_size:,} bytes; {LARGEST:,} are allowed: clear the outputs and save again"
        )


def _cell(cell: Any) -> tuple[str, str, str]:
    """(kind, grade_id, text) of any cell."""
    text = cell["source"] if isinstance(cell["source"], str) else "".join(cell["source"])
    about = cell.get("metadata", {}).get("nbgrader", {})
    return str(cell["cell_type"]), str(about.get("grade_id", "")), text
