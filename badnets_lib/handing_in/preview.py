"""For the student, before handing in: what the grader would load of a notebook, what not, and why."""

from __future__ import annotations

import importlib
import io
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import chdir, contextmanager, redirect_stdout
from pathlib import Path
from typing import Any
from unittest import mock

from . import wire
from ._statements import BUILTINS, bound_and_used
from .closing import closed
from .loading import load
from .written import written

SECONDS = 20
"""That a question's code has when it is graded: for loading, and for all calls together."""

READ, MISSING, FAILS, UNTRIED = "read", "MISSING", "fails what is visible", "not tried"
"""What is said of functions, and of checks."""

Cell = tuple[str, dict[str, Any], str]
"""Its kind, what nbgrader's metadata say, its text."""


def as_graded(name: str, wanted: Iterable[str], path: Path | str | None = None) -> str:
    """What the grader would load of a notebook, what not, and why; and what the visible checks say to that.

    In Colab the notebook is read as it stands; elsewhere from its file, so save it first.

    Args:
        name: The assignment, and its file's name without the ending.
        wanted: The functions that the assignment asks for.
        path: The file, if it is somewhere else or has another name. Where there is none, the text says so.
    """
    try:
        notebook = open_notebook(name, path)
    except FileNotFoundError as error:
        return str(error)
    return "\n".join(report(notebook, list(wanted), vars(sys.modules["__main__"])))


def report(notebook: dict[str, Any], wanted: list[str], kernel: Mapping[str, Any] | None = None) -> list[str]:
    """The lines of `as_graded`.

    Args:
        notebook: As it is handed in.
        wanted: The functions that the assignment asks for.
        kernel: The values that the notebook's cells have made: checks use them besides the functions.
    """
    about = notebook["metadata"].get("badnets", {})
    questions = about.get("questions", {})
    cells = [_cell(cell) for cell in notebook["cells"]]
    given = [text for kind, flags, text in cells if kind == "code" and flags.get("locked") and not flags.get("grade")]
    own = [text for kind, flags, text in cells if kind == "code" and not flags.get("locked")]
    checks = {flags["grade_id"]: text for kind, flags, text in cells if kind == "code" and flags.get("grade")}
    answers = written([(kind, str(flags.get("grade_id", "")), text) for kind, flags, text in cells], questions)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as empty:
        place = _Place(about.get("closed", []), empty)
        start = time.monotonic()
        with place.entered():
            namespace, problems = load(given, own, wanted)
        loading = time.monotonic() - start
        states = {name: _state(namespace.get(name)) for name in wanted}
        ready = {name: namespace[name] if states[name] == READ else None for name in wanted}
        tried = {name: _tried(code, ready, kernel or {}, place, loading) for name, code in checks.items()}
    states |= {name: text for name, text in tried.items() if text}
    states |= {name: _words(answers.get(name)) for name in questions}
    lines = [f"{name}: {text}" for name, text in states.items()]
    if problems:
        lines += ["", "Not loaded, and why:", *(f"- {problem}" for problem in problems)]
    worth_a_look = problems or any(text.startswith((MISSING, FAILS, UNTRIED)) for text in states.values())
    lines += ["", "Look at the lines above." if worth_a_look else "All of it is read as it stands."]
    return [*lines, "Whether the answers are right is another question: that is for the checks, the hidden ones too."]


def _cell(cell: dict[str, Any]) -> Cell:
    return cell["cell_type"], cell.get("metadata", {}).get("nbgrader", {}), "".join(cell["source"])


class _Place:
    """Where answers are graded, as far as it can be had in a student's kernel.

    What is closed to answers is closed, the folder is empty, nothing lies beside the notebook, nothing is printed.

    Args:
        closing: What answers may not use of the library.
        folder: An empty one.
    """

    def __init__(self, closing: Iterable[str], folder: str) -> None:
        self.closing, self.folder = list(closing), folder
        here = os.getcwd()
        self.paths = [path for path in sys.path if os.path.abspath(path) != here]
        files = {name: getattr(module, "__file__", None) or "" for name, module in sys.modules.items()}
        self.beside = [name for name in files if os.path.dirname(files[name]) == here and name != "__main__"]

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Being there."""
        with (
            chdir(self.folder),
            closed(self.closing),
            mock.patch.object(sys, "path", self.paths),
            redirect_stdout(io.StringIO()),
        ):
            beside = {name: sys.modules.pop(name) for name in self.beside if name in sys.modules}
            try:
                yield
            finally:
                sys.modules.update(beside)

    def stand_in(self, name: str, function: Callable[..., Any], spent: list[float]) -> Callable[..., Any]:
        """A function whose results come back as from the grader's sandbox; its seconds are noted."""

        def call(*args: Any, **kwargs: Any) -> Any:
            with self.entered():
                start = time.monotonic()
                try:
                    value = function(*args, **kwargs)
                finally:
                    spent.append(time.monotonic() - start)
            try:
                return wire.unpack(wire.pack(value), trusted=False)
            except wire.Malformed as error:
                raise wire.Malformed(f"{name}: {error}") from None

        return call


def _tried(code: str, functions: Mapping[str, Any], kernel: Mapping[str, Any], place: _Place, loading: float) -> str:
    """What the visible part of a check says to functions as they are loaded; "" if it needs one that is not there yet.

    Args:
        code: The check.
        functions: All that are asked for; those that are not there are None.
        kernel: What the check uses besides.
        place: Where they are called.
        loading: Seconds that loading took.
    """
    try:
        bound, used = bound_and_used(code)
    except SyntaxError as error:
        return f"{UNTRIED}: {error.msg}"
    asked = used & functions.keys()
    values = {name: value for name, value in kernel.items() if name not in BUILTINS}  # they are none where it is graded
    missing = used - bound - asked - values.keys() - BUILTINS
    if any(functions[name] is None for name in asked):
        return ""
    if missing:
        return f"{UNTRIED}: run the cells above, which make {', '.join(sorted(missing))}"
    spent = [loading]
    try:
        with redirect_stdout(io.StringIO()):
            stand_ins = {name: place.stand_in(name, functions[name], spent) for name in asked}
            exec(compile(code, "<check>", "exec", dont_inherit=True), {**values, **stand_ins})
    except AssertionError as error:
        return f"{FAILS}: {error}"
    except (Exception, SystemExit) as error:
        return f"{FAILS}: {type(error).__name__}: {error}"
    if sum(spent) > SECONDS:
        return f"{FAILS}, if it takes {sum(spent):.0f} seconds when it is graded as here: {SECONDS} are allowed"
    return "passes what is visible, graded as it will be"


def _state(function: Any) -> str:
    """What became of a function that is asked for."""
    if not callable(function):
        return MISSING
    names = getattr(getattr(function, "__code__", None), "co_names", ())
    return "no code of yours yet" if "NotImplementedError" in names else READ


def _words(text: str | None) -> str:
    """What is there of a written answer."""
    if text is None:
        return MISSING
    return "no answer yet" if text.strip() in ("", "YOUR ANSWER HERE") else f"read, {len(text.split())} words"


def open_notebook(name: str, path: Path | str | None = None) -> dict[str, Any]:
    """A notebook of an assignment: Colab's, as it stands, or a file.

    Raises:
        FileNotFoundError: There is no such file.
    """
    if path is None and "google.colab" in sys.modules:
        colab: Any = importlib.import_module("google.colab._message")
        return dict(colab.blocking_request("get_ipynb", timeout_sec=30)["ipynb"])
    places = [Path(path)] if path is not None else [Path(os.environ.get("JPY_SESSION_NAME", "")), Path(f"{name}.ipynb")]
    for place in places:
        if place.is_file() and place.suffix == ".ipynb":
            return dict(json.loads(place.read_text(encoding="utf-8-sig")))
    raise FileNotFoundError(
        f"no file {places[-1]} in {Path.cwd()}: save the notebook, or say which file it is, "
        f"as_graded({name!r}, ..., path='my notebook.ipynb')"
    )
