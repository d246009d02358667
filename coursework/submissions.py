"""What students hand in, read as text and nothing more: no archive is opened, nothing is parsed but JSON."""

from __future__ import annotations

import hashlib
import json
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .masters import Master
from .variants import Variant

LARGEST = 16 * 2**20
"""Bytes of a notebook at most, outputs included."""

MOST_CODE = 2**19
"""Characters of code that are looked at, at most."""


class Unreadable(ValueError):
    """What was handed in cannot be graded; the text says why."""


@dataclass(frozen=True)
class Submission:
    """Who handed in what.

    Attributes:
        student: The name of the folder, or of the file without its ending.
        files: The files found, usually one.
    """

    student: str
    files: tuple[Path, ...]


@dataclass(frozen=True)
class Work:
    """What of a submission is graded.

    Attributes:
        sources: The code of the student's own cells, in order.
        texts: The written answers, by grade_id.
        digest: SHA-256 of the file.
    """

    sources: list[str]
    texts: dict[str, str]
    digest: str


def find(folder: Path, ending: str = ".ipynb") -> list[Submission]:
    """Everybody's submission, by name: `folder/<student>/anything.ipynb` or `folder/<student>.ipynb`.

    Who handed in a file of another kind is there too, without a file.

    Args:
        folder: Where they lie.
        ending: Of the files that are handed in.

    Raises:
        ValueError: There is no such folder, nothing in it, or somebody is in it twice.
    """
    if not folder.is_dir():
        raise ValueError(f"no folder {folder}")
    found = []
    for entry in sorted(path for path in folder.iterdir() if not path.name.startswith(".")):
        if entry.is_dir() and not entry.is_symlink():
            inside = (path for path in entry.rglob(f"*{ending}") if ".ipynb_checkpoints" not in path.parts)
            found.append(Submission(entry.name, tuple(sorted(inside))))
        elif entry.suffix == ending:
            found.append(Submission(entry.stem, (entry,)))
    names = [submission.student for submission in found]
    others = {entry.stem for entry in folder.iterdir() if entry.is_file() and not entry.name.startswith(".")}
    found += [Submission(name, ()) for name in sorted(others - {*names})]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice or not found:
        raise ValueError(f"{folder} holds " + (f"several submissions of {', '.join(twice)}" if twice else "nothing"))
    return found


def read(submission: Submission, master: Master, variant: Variant) -> Work:
    """The student's own cells.

    Cells that are not theirs to change, such as the checks, are left out by their grade_id, however often
    they appear and whatever they say. A cell without metadata counts as the student's.

    Raises:
        Unreadable: There is no notebook, more than one, or it is not one that was handed out for this.
    """
    data = contents(only(submission))
    try:
        notebook = json.loads(data.decode())
        cells = [_cell(cell) for cell in notebook["cells"]]
        about = notebook.get("metadata", {}).get("badnets", {})
        was = str(about.get("assignment", master.name)), about.get("variant", variant.number)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, MemoryError) as error:
        raise Unreadable(f"{submission.files[0].name} is not a notebook ({type(error).__name__})") from None
    if was != (master.name, variant.number):
        raise Unreadable(
            f"this is {was[0][:60]}, variant {str(was[1])[:20]}; graded is {master.name}, variant {variant.number}"
        )
    code = [text for kind, name, text in cells if kind == "code" and name not in master.kept]
    if sum(map(len, code)) > MOST_CODE:
        raise Unreadable(f"{sum(map(len, code)):,} characters of code; {MOST_CODE:,} are allowed")
    texts = {name: text for kind, name, text in cells if kind == "markdown" and name in master.written}
    return Work(code, texts, hashlib.sha256(data).hexdigest())


def only(submission: Submission) -> Path:
    """The one file that was handed in.

    Raises:
        Unreadable: There is none, there are several, or it is not an ordinary file of ordinary size.
    """
    if len(submission.files) != 1:
        names = ", ".join(path.name for path in submission.files) or "none"
        raise Unreadable(f"one file is expected; found {names}")
    check_ordinary(submission.files[0])
    return submission.files[0]


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
        raise Unreadable(f"{path.name} is not an ordinary file")
    if about.st_size > LARGEST:
        raise Unreadable(f"{path.name} has {about.st_size:,} bytes; {LARGEST:,} are allowed")


def _cell(cell: Any) -> tuple[str, str, str]:
    """(kind, grade_id, text) of any cell."""
    text = cell["source"] if isinstance(cell["source"], str) else "".join(cell["source"])
    about = cell.get("metadata", {}).get("nbgrader", {})
    return str(cell["cell_type"]), str(about.get("grade_id", "")), text
