"""Marks for a folder of submissions: the checks run here, the students' functions in the sandbox.

A check is the code of the master's cell, run in this process with the students' functions replaced by
stand-ins that call into the sandbox. So the expected values stay here and only raw results come out.
Two submissions are graded at a time in two processes: checks use the same networks and torch's random
numbers, so within one process they have to wait for each other.
Each submission's marks are written as soon as they are known: a run that was stopped goes on where it was.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy
import torch

from badnets_lib import load
from badnets_lib._progress import track
from badnets_lib.files import write_atomically
from badnets_lib.handing_in.wire import Malformed

from . import submissions
from .apart import spread
from .masters import Check, Master
from .sandbox import LIBRARY, USUAL, Limits, Lost, NoSandbox, Raised, Sandbox, Short, check_available
from .submissions import Submission, Unreadable, Work, file_name
from .variants import MASTERS, Variant

WAITS = (5.0, 20.0)
"""Seconds before a check is repeated on a machine that was short of memory."""

TOLD = 400
"""Characters of a message to a student."""

LOST = "lost"
"""How the message begins about a check that was lost to the clock or to memory, and the word that asks for it again."""


@dataclass(frozen=True)
class Mark:
    """What one check gave: its points or none, and why not.

    Points that are None were not given or taken: the check could not be run, through no fault of the student's.
    """

    check: str
    points: float | None
    possible: float
    message: str = ""


@dataclass(frozen=True)
class Marks:
    """What one submission gave.

    Attributes:
        student: Whose it is.
        marks: One a check, in the master's order.
        problem: Why nothing could be graded; empty if it could.
        texts: The written answers, by grade_id, for anyone who marks them.
        note: What the student should know about how the work was read.
        sandbox: "bubblewrap", or "UNSAFE" if the code ran with the teacher's rights.
        seconds: What grading it took; for a process's first, with the start of its sandbox.
        key: Of the submission, checks, variant, sandbox, digits, the grader's own code and what it computes with: with
            another one, marks are made again.
    """

    student: str
    marks: tuple[Mark, ...]
    problem: str
    texts: dict[str, str]
    sandbox: str
    seconds: float
    key: str
    note: str = ""

    @property
    def points(self) -> float:
        """The sum of the points."""
        return sum(mark.points or 0.0 for mark in self.marks)

    @property
    def possible(self) -> float:
        """What they could have been, in the checks that were run."""
        return sum(mark.possible for mark in self.marks if mark.points is not None)

    @property
    def waiting(self) -> tuple[str, ...]:
        """The checks that could not be run."""
        return tuple(mark.check for mark in self.marks if mark.points is None)


class Grader:
    """Grades submissions for one assignment, one after the other; what the checks share is made once.

    It can be sent to another process, which then makes its own.

    Args:
        master: The assignment.
        variant: The cohort's numbers, with the seed of the checks' inputs.
        limits: For the code of each question.
        unsafe: Run students' code without bubblewrap.

    Raises:
        NoSandbox: There is no working bubblewrap, and `unsafe` was not said.
    """

    def __init__(
        self, master: Master, variant: Variant = MASTERS, *, limits: Limits = USUAL, unsafe: bool = False
    ) -> None:
        if not unsafe:
            check_available()
        self.master = master
        self.variant = variant
        self.limits = limits
        self.unsafe = unsafe
        self.given = master.given(variant)

    def __reduce__(self) -> tuple[Callable[..., Grader], tuple[Any, ...]]:
        return _of_this_process, (self.master.folder, self.variant, self.limits, self.unsafe)

    @cached_property
    def shared(self) -> dict[str, Any]:
        """The namespace that the given cells make, with the cohort's numbers."""
        torch.set_num_threads(1)  # as inside: with other threads, training gives slightly other weights
        namespace: dict[str, Any] = {"__name__": self.master.name}
        for code in self.given:
            exec(compile(code, f"{self.master.name}: given", "exec", dont_inherit=True), namespace)
        return namespace | self.variant.names()

    @cached_property
    def desk(self) -> Sandbox:
        """The sandbox in which this process grades a class."""
        return self.sandbox()

    def sandbox(self) -> Sandbox:
        """A place for students' code to run, for one submission after the other."""
        return Sandbox(self.limits, unsafe=self.unsafe, preload=self.master.preload, closed=self.master.closed)

    def grade(self, submission: Submission, sandbox: Sandbox, kept: Marks | None = None) -> Marks:
        """The marks of one submission, whatever it is.

        Args:
            submission: What was handed in.
            sandbox: Where its code runs.
            kept: Earlier marks. Checks that have one there are not run again, if it was given for the same.

        Raises:
            NoSandbox: No submission can be run here.
        """
        _ = self.shared  # which may take a while, and not on account of this submission
        start = time.monotonic()
        key = self.key(submission)  # of what is read now: a file that changes while it is graded is graded again
        known = {mark.check: mark for mark in kept.marks if mark.points is not None} if kept and kept.key == key else {}
        try:
            work = submissions.read(submission, self.master, self.variant)
            marks = tuple(
                known.get(each.name) or self._mark(each, work.sources, sandbox) for each in self.master.checks
            )
            if not sandbox.apart:  # the next submission must not meet what this one could have spoilt
                sandbox.stop()
        except NoSandbox:  # this machine's fault, not the student's: grading stops
            raise
        except (Unreadable, OSError) as error:
            return self._ungraded(submission, key, start, str(error))
        except Exception as error:  # the grader's fault, perhaps: it costs nobody else the marks
            sandbox.stop()
            return self._ungraded(submission, key, start, f"the grader failed: {type(error).__name__}: {error}")
        return self._marks(submission, marks, work, key, start)

    def key(self, submission: Submission) -> str:
        """A hash over everything that decides the marks of a submission."""
        setting = (self.variant, self.limits, self.unsafe, own_code(), surroundings())
        digest = hashlib.sha256(repr(setting).encode())
        digest.update(json.dumps(self.master.notebook, sort_keys=True).encode())
        for path in submission.files:
            try:
                content = submissions.contents(path)
            except (Unreadable, OSError) as error:
                content = str(error).encode("utf-8", "backslashreplace")
            digest.update(hashlib.sha256(os.fsencode(path.name) + content).digest())
        return digest.hexdigest()

    def _ungraded(self, submission: Submission, key: str, start: float, problem: str) -> Marks:
        marks = tuple(Mark(check.name, 0.0, check.points, "not graded") for check in self.master.checks)
        return self._marks(submission, marks, Work([], {}), key, start, problem=problem[:TOLD])

    def _marks(
        self, submission: Submission, marks: tuple[Mark, ...], work: Work, key: str, start: float, problem: str = ""
    ) -> Marks:
        sandbox = "UNSAFE" if self.unsafe else "bubblewrap"
        seconds = round(time.monotonic() - start, 2)
        return Marks(submission.student, marks, problem, work.texts, sandbox, seconds, key, work.note)

    def _run(self, check: Check, sources: list[str], sandbox: Sandbox) -> None:
        """Run one check; once more, after a while, if the machine was short of memory."""
        for wait in (*WAITS, None):
            try:
                with sandbox.question(self.given, sources, check.needs) as functions:
                    exec(compile(check.code, check.name, "exec", dont_inherit=True), self.shared | functions)
                return
            except Short:
                if wait is None:
                    raise
                time.sleep(wait)

    def _mark(self, check: Check, sources: list[str], sandbox: Sandbox) -> Mark:
        """Run one check; its points if nothing stops it."""
        try:
            self._run(check, sources, sandbox)
        except AssertionError as error:
            text = str(error)[:TOLD] or "a condition of this check does not hold"
            return Mark(check.name, 0.0, check.points, text + _received(sandbox))
        except NoSandbox:  # this machine's fault, not the student's: grading stops
            raise
        except Short:
            return Mark(check.name, None, check.points, "not graded yet: the machine was short of memory")
        except (Lost, Malformed) as error:
            return Mark(check.name, 0.0, check.points, f"{LOST}: {error}"[:TOLD])
        except Raised as error:
            return Mark(check.name, 0.0, check.points, str(error)[:TOLD])
        except Exception as error:  # the check could not use what the function returned
            return Mark(check.name, 0.0, check.points, f"{type(error).__name__}: {error}"[:TOLD] + _received(sandbox))
        return Mark(check.name, check.points, check.points)


def _received(sandbox: Sandbox) -> str:
    """What the check last got from the student's functions, in brackets."""
    return f" ({sandbox.heard})" if sandbox.heard else ""


def nothing(master: Master, student: str) -> Marks:
    """The marks of someone in the class who handed in nothing."""
    marks = tuple(Mark(check.name, 0.0, check.points, "nothing was handed in") for check in master.checks)
    return Marks(student, marks, "nothing was handed in", {}, "", 0.0, "")


@cache
def own_code() -> str:
    """A hash over the grader's own code and the library's: a repaired grader grades again."""
    digest = hashlib.sha256()
    for folder in (Path(__file__).parent, LIBRARY):
        for path in sorted(folder.rglob("*.py")):
            digest.update(path.relative_to(folder).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()


@cache
def surroundings() -> tuple[str, ...]:
    """What the checks compute with: the versions of torch and numpy, and the digits."""
    digits = load("mnist5k")
    return (torch.__version__, numpy.__version__, *(each.fingerprint for each in digits))


def grade_all(
    grader: Grader, found: Sequence[Submission], kept: Path, *, workers: int = 2, again: Collection[str] = ()
) -> list[Marks]:
    """The marks of all submissions, in order; those that `kept` holds already are taken from there.

    Args:
        grader: For the assignment.
        found: The submissions.
        kept: Folder in which each submission's marks are kept as JSON.
        workers: How many are graded at a time, each in a process of its own; 1 for this process alone.
        again: Whose kept marks do not count: students, for all their checks; checks, for all students; "lost" for
            the checks that someone lost to time or memory.

    Raises:
        ValueError: There is nothing of a name that is to be graded again.
        NoSandbox: No submission can be run here.
    """
    from joblib.externals.loky import get_reusable_executor

    check_again(again, found, grader.master)
    paths = [kept / f"{file_name(submission.student)}.json" for submission in found]
    for submission, path in zip(found, paths, strict=True):
        _forget(path, submission.student, again)
    calls = ((grader, each, path) for each, path in zip(found, paths, strict=True))
    try:
        done = spread(_graded, calls, jobs=workers, ordered=True)
        return list(track(done, "grading", total=len(found)))
    finally:
        grader.desk.stop()
        if workers != 1:  # the processes would wait for more, each with its sandbox
            get_reusable_executor().shutdown(kill_workers=True)


def check_again(again: Collection[str], found: Sequence[Submission], master: Master) -> None:
    """Raise unless every name is a student's, a check's, or "lost".

    Raises:
        ValueError: One is nobody's.
    """
    checks = [check.name for check in master.checks]
    unknown = sorted(set(again) - {submission.student for submission in found} - {*checks, LOST})
    if unknown:
        known = f"a student as in grades.csv, {', '.join(checks)} or {LOST}"
        raise ValueError(f"nothing to grade again is called {', '.join(map(repr, unknown))}; say {known}")


def _forget(path: Path, student: str, again: Collection[str]) -> None:
    """Take from a submission's kept marks what is to be graded again, so that a stopped run knows of it, too."""
    if student in again:
        path.unlink(missing_ok=True)
    elif again and (kept := _kept(path)) is not None:
        anew = {mark.check for mark in kept.marks if mark.message.startswith(f"{LOST}: ")} if LOST in again else set()
        marks = tuple(mark for mark in kept.marks if mark.check not in anew.union(again))
        _keep(path, replace(kept, marks=marks))


def _graded(grader: Grader, submission: Submission, path: Path) -> Marks:
    """The marks that are kept, or new ones where one is missing, and those are kept."""
    kept = _kept(path)
    if kept is not None and kept.key == grader.key(submission):
        whole = [mark.check for mark in kept.marks if mark.points is not None]
        if whole == [check.name for check in grader.master.checks]:
            return kept
    marks = grader.grade(submission, grader.desk, kept)
    _keep(path, marks)
    return marks


def _keep(path: Path, marks: Marks) -> None:
    write_atomically(path, json.dumps(asdict(marks), indent=1))  # ASCII: odd characters are escaped


@cache
def _of_this_process(folder: Path, variant: Variant, limits: Limits, unsafe: bool) -> Grader:
    """The grader that a process makes once, for all submissions that it is given."""
    return Grader(Master(folder), variant, limits=limits, unsafe=unsafe)


def seed_of(kept: Path) -> int:
    """The seed of what the checks draw: secret, drawn once for a folder of marks, so that a stopped run can go on."""
    path = kept / "seed"
    if not path.exists():
        write_atomically(path, str(secrets.randbelow(2**31)))
    return int(path.read_text(encoding="utf-8"))


def _kept(path: Path) -> Marks | None:
    """Marks that were kept, if they are whole."""
    try:
        plain = json.loads(path.read_text(encoding="utf-8"))
        return Marks(**plain | {"marks": tuple(Mark(**mark) for mark in plain["marks"])})
    except (OSError, ValueError, TypeError, KeyError):
        return None
