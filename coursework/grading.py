"""Marks for a folder of submissions: the checks run here, the students' functions in the sandbox.

A check is the code of the master's cell, run in this process with the students' functions replaced by
stand-ins that call into the sandbox. So the expected values stay here and only raw results come out.
Each submission's marks are written as soon as they are known: a run that was stopped goes on where it was.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import torch

from badnets_lib.files import write_atomically
from badnets_lib.progress import track

from . import submissions
from .inside.wire import Malformed
from .masters import Check, Master
from .sandbox import USUAL, Limits, Lost, NoSandbox, Raised, Sandbox, check_available
from .submissions import Submission, Unreadable
from .variants import MASTERS, Variant

TOLD = 400
"""Characters of a message to a student."""


@dataclass(frozen=True)
class Mark:
    """What one check gave: its points or none, and why not."""

    check: str
    points: float
    possible: float
    message: str = ""


@dataclass(frozen=True)
class Marks:
    """What one submission gave.

    Attributes:
        student: Whose it is.
        marks: One a check, in the master's order.
        problem: Why nothing could be graded; empty if it could.
        texts: The written answers, by grade_id, for whoever marks them.
        sandbox: "bubblewrap", or "UNSAFE" if the code ran with the teacher's rights.
        seconds: What grading it took, without the start of the sandbox.
        key: Of the submission, checks, variant and sandbox: marks with another key are made again.
    """

    student: str
    marks: tuple[Mark, ...]
    problem: str
    texts: dict[str, str]
    sandbox: str
    seconds: float
    key: str

    @property
    def points(self) -> float:
        """The sum of the points."""
        return sum(mark.points for mark in self.marks)

    @property
    def possible(self) -> float:
        """What they could have been."""
        return sum(mark.possible for mark in self.marks)


class Grader:
    """Grades submissions for one assignment; what the checks share is made once.

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
        torch.set_num_threads(1)  # as inside: with other threads, training gives slightly other weights
        self.master, self.variant, self.limits, self.unsafe = master, variant, limits, unsafe
        self.given = master.given(variant)
        self.shared: dict[str, Any] = {"__name__": master.name}
        for code in self.given:
            exec(compile(code, f"{master.name}: given", "exec", dont_inherit=True), self.shared)
        self.shared |= variant.names()

    def sandbox(self) -> Sandbox:
        """A place for students' code to run, for one submission after the other."""
        return Sandbox(self.limits, unsafe=self.unsafe, preload=self.master.preload)

    def grade(self, submission: Submission, sandbox: Sandbox) -> Marks:
        """The marks of one submission, whatever it is."""
        start = time.monotonic()
        try:
            work = submissions.read(submission, self.master, self.variant)
        except (Unreadable, OSError) as error:
            marks = tuple(Mark(check.name, 0.0, check.points, "not graded") for check in self.master.checks)
            return self._marks(submission, marks, str(error)[:TOLD], {}, start)
        marks = tuple(self._mark(check, work.sources, sandbox) for check in self.master.checks)
        if not sandbox.apart:  # the next submission must not meet what this one could have spoilt
            sandbox.stop()
        return self._marks(submission, marks, "", work.texts, start)

    def key(self, submission: Submission) -> str:
        """A hash over everything that decides the marks of a submission."""
        digest = hashlib.sha256(repr((self.variant, self.limits, self.unsafe)).encode())
        digest.update(json.dumps(self.master.notebook, sort_keys=True).encode())
        for path in submission.files:
            try:
                content = submissions.contents(path)
            except (Unreadable, OSError) as error:
                content = str(error).encode()
            digest.update(hashlib.sha256(path.name.encode() + content).digest())
        return digest.hexdigest()

    def _marks(
        self, submission: Submission, marks: tuple[Mark, ...], problem: str, texts: dict[str, str], start: float
    ) -> Marks:
        sandbox = "UNSAFE" if self.unsafe else "bubblewrap"
        seconds = round(time.monotonic() - start, 2)
        return Marks(submission.student, marks, problem, texts, sandbox, seconds, self.key(submission))

    def _mark(self, check: Check, sources: list[str], sandbox: Sandbox) -> Mark:
        """Run one check; its points if nothing stops it."""
        try:
            with sandbox.question([*self.given, *sources], check.needs) as functions:
                exec(compile(check.code, check.name, "exec", dont_inherit=True), self.shared | functions)
        except AssertionError as error:
            return Mark(check.name, 0.0, check.points, str(error)[:TOLD] or "a condition of this check does not hold")
        except NoSandbox:  # this machine's fault, not the student's: grading stops
            raise
        except (Lost, Malformed) as error:
            return Mark(check.name, 0.0, check.points, f"lost: {error}"[:TOLD])
        except Raised as error:
            return Mark(check.name, 0.0, check.points, str(error)[:TOLD])
        except Exception as error:  # the check could not use what the function returned
            return Mark(check.name, 0.0, check.points, f"{type(error).__name__}: {error}"[:TOLD])
        return Mark(check.name, check.points, check.points)


def grade_all(grader: Grader, found: Sequence[Submission], kept: Path, *, workers: int = 2) -> list[Marks]:
    """The marks of all submissions, in order; those that `kept` holds already are taken from there.

    Args:
        grader: For the assignment.
        found: The submissions.
        kept: Folder in which each submission's marks are kept as JSON.
        workers: How many are graded at a time.
    """
    idle: SimpleQueue[Sandbox] = SimpleQueue()

    def one(submission: Submission) -> Marks:
        path = kept / f"{submission.student}.json"
        marks = _kept(path, grader.key(submission))
        if marks is None:
            sandbox = idle.get()
            marks = grader.grade(submission, sandbox)
            idle.put(sandbox)
            write_atomically(path, json.dumps(asdict(marks), indent=1))
        return marks

    with ExitStack() as stack:
        for _ in range(workers):
            idle.put(stack.enter_context(grader.sandbox()))
        pool = stack.enter_context(ThreadPoolExecutor(workers))
        graded: Iterable[Marks] = track(pool.map(one, found), "grading", total=len(found))
        return list(graded)


def seed_of(kept: Path) -> int:
    """The seed of what the checks draw: secret, drawn once for a folder of marks, so that a stopped run can go on."""
    path = kept / "seed"
    if not path.exists():
        write_atomically(path, str(secrets.randbelow(2**31)))
    return int(path.read_text(encoding="utf-8"))


def _kept(path: Path, key: str) -> Marks | None:
    """Marks that were kept, if they are whole and were given for the same."""
    try:
        plain = json.loads(path.read_text(encoding="utf-8"))
        marks = Marks(**plain | {"marks": tuple(Mark(**mark) for mark in plain["marks"])})
    except (OSError, ValueError, TypeError, KeyError):
        return None
    return marks if marks.key == key else None
