"""The masters: one notebook an assignment, from which students' and teachers' versions and the checks are made.

The cells carry nbgrader's metadata and markers, so that a course which runs nbgrader can take them as they are.

| a cell is | metadata | for students | when grading |
|---|---|---|---|
| given | locked | as it is | run outside for the checks; its definitions go inside |
| a solution | solution | what stands between the markers is taken out | from the submission, inside |
| a check | grade, locked, points | without its hidden part | run outside, on functions that call inside |
| written | grade, solution, points, Markdown | the answer is taken out | by a person, with the rubric |
"""

from __future__ import annotations

import ast
import json
import re
from copy import deepcopy
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

from .variants import Variant

ASSIGNMENTS = Path(__file__).parent / "assignments"
SOLUTION = re.compile(r"^([ \t]*)### BEGIN SOLUTION\n.*?^[ \t]*### END SOLUTION$", re.DOTALL | re.MULTILINE)
HIDDEN = re.compile(r"^[ \t]*### BEGIN HIDDEN TESTS\n.*?^[ \t]*### END HIDDEN TESTS\n?", re.DOTALL | re.MULTILINE)
MARKS = re.compile(r"^[ \t]*### (BEGIN|END) (SOLUTION|HIDDEN TESTS)\n?", re.MULTILINE)
CODE_STUB = "# YOUR CODE HERE\nraise NotImplementedError()"
TEXT_STUB = "YOUR ANSWER HERE"
PARAMETERS = "parameters"  # the cell that a variant replaces

Cell = dict[str, Any]
Notebook = dict[str, Any]


@dataclass(frozen=True)
class Check:
    """One question that a machine marks.

    Attributes:
        name: nbgrader's grade_id.
        points: What it is worth.
        code: The whole cell, hidden part included.
        needs: The student's functions that it calls.
    """

    name: str
    points: float
    code: str
    needs: list[str]


class Master:
    """An assignment.

    Args:
        folder: Where its `master.ipynb` lies.

    Raises:
        ValueError: A cell's metadata is not what nbgrader and the grader need; the text names the cell.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.name = folder, folder.name
        self.notebook: Notebook = json.loads((folder / "master.ipynb").read_text(encoding="utf-8"))
        names = [_about(cell).get("grade_id", "") for cell in self.notebook["cells"] if _about(cell)]
        twice = {name for name in names if names.count(name) > 1 or not name}
        if twice or PARAMETERS not in names:
            raise ValueError(f"{self.name}: every grade_id once, and one of them {PARAMETERS!r}; got {names}")

    @property
    def title(self) -> str:
        """The first heading."""
        return source(self.notebook["cells"][0]).splitlines()[0].lstrip("# ")

    @cached_property
    def kept(self) -> set[str]:
        """grade_ids of the cells that a student may not change: whatever a submission has there is ignored."""
        return {_about(cell)["grade_id"] for cell in self.notebook["cells"] if _about(cell).get("locked")}

    @property
    def preload(self) -> list[str]:
        """Modules that the sandbox imports once and not for each question; "preload" in the notebook's metadata."""
        return list(self.notebook["metadata"].get("badnets", {}).get("preload", []))

    @property
    def closed(self) -> list[str]:
        """What of the library answers may not use; "closed" in the notebook's metadata."""
        return list(self.notebook["metadata"].get("badnets", {}).get("closed", []))

    def given(self, variant: Variant) -> list[str]:
        """The code that every student has, in order."""
        return [source(cell) for cell in self._variant(variant)["cells"] if is_given(cell)]

    @cached_property
    def checks(self) -> list[Check]:
        """The questions that a machine marks, in order."""
        asked = {name for cell in self.notebook["cells"] if is_solution(cell) for name in _functions(source(cell))}
        return [_check(cell, asked) for cell in self.notebook["cells"] if is_check(cell)]

    @property
    def written(self) -> dict[str, float]:
        """Points of the questions that a person marks, by grade_id."""
        return {_about(cell)["grade_id"]: _about(cell)["points"] for cell in self.notebook["cells"] if is_written(cell)}

    @cached_property
    def questions(self) -> dict[str, str]:
        """The text in front of each written answer, by the answer's grade_id."""
        pairs = pairwise(self.notebook["cells"])
        return {_about(cell)["grade_id"]: source(before).strip() for before, cell in pairs if is_written(cell)}

    @cached_property
    def rubrics(self) -> dict[str, str]:
        """What a written answer is marked by, by its grade_id: the teacher's version of the cell."""
        cells = [cell for cell in self.notebook["cells"] if is_written(cell)]
        return {_about(cell)["grade_id"]: MARKS.sub("", source(cell)).strip() for cell in cells}

    def student(self, variant: Variant) -> Notebook:
        """The notebook that is handed out: no solution, no hidden check, no output."""
        notebook = self._variant(variant)
        for cell in notebook["cells"]:
            if is_solution(cell):
                _rewrite(cell, SOLUTION.sub(_stub, source(cell)))
            elif is_written(cell):
                _rewrite(cell, TEXT_STUB)
            elif is_check(cell):
                _rewrite(cell, HIDDEN.sub("", source(cell)))
        return notebook

    def solution(self, variant: Variant) -> Notebook:
        """The notebook with everything in it: solutions, hidden checks, rubrics."""
        notebook = self._variant(variant)
        for cell in notebook["cells"]:
            if not is_check(cell):
                _rewrite(cell, MARKS.sub("", source(cell)))
        return notebook

    def _variant(self, variant: Variant) -> Notebook:
        notebook = deepcopy(self.notebook)
        notebook["metadata"]["badnets"] = {
            "assignment": self.name, "variant": variant.number, "closed": self.closed, "questions": self.questions
        }  # fmt: skip
        for cell in notebook["cells"]:
            if cell["cell_type"] == "code":
                cell["outputs"], cell["execution_count"] = [], None
            if _about(cell).get("grade_id") == PARAMETERS:
                _rewrite(cell, variant.code())
        return notebook


def every() -> list[Master]:
    """The assignments in order."""
    return [Master(path.parent) for path in sorted(ASSIGNMENTS.glob("*/master.ipynb"))]


def find(name: str) -> Master:
    """The assignment whose folder's name begins like this.

    Raises:
        ValueError: None does, or several do.
    """
    found = [master for master in every() if master.name.startswith(name)]
    if len(found) != 1:
        raise ValueError(f"no one assignment is called {name!r}; there are {', '.join(m.name for m in every())}")
    return found[0]


def source(cell: Cell) -> str:
    """A cell's text."""
    return "".join(cell["source"])


def is_given(cell: Cell) -> bool:
    """Code that every student has."""
    return cell["cell_type"] == "code" and _has(cell, grade=False, solution=False, locked=True)


def is_solution(cell: Cell) -> bool:
    """Code that a student writes."""
    return cell["cell_type"] == "code" and _has(cell, grade=False, solution=True)


def is_check(cell: Cell) -> bool:
    """Code that marks."""
    return cell["cell_type"] == "code" and _has(cell, grade=True, solution=False, locked=True)


def is_written(cell: Cell) -> bool:
    """An answer in words."""
    return cell["cell_type"] == "markdown" and _has(cell, grade=True, solution=True)


def _about(cell: Cell) -> dict[str, Any]:
    return dict(cell["metadata"].get("nbgrader", {}))


def _has(cell: Cell, **flags: bool) -> bool:
    return bool(_about(cell)) and all(_about(cell).get(flag) is value for flag, value in flags.items())


def _check(cell: Cell, asked: set[str]) -> Check:
    used = {node.id for node in ast.walk(ast.parse(source(cell))) if isinstance(node, ast.Name)}
    about = _about(cell)
    return Check(about["grade_id"], float(about["points"]), source(cell), sorted(used & asked))


def _functions(code: str) -> set[str]:
    """The functions that a cell defines."""
    return {statement.name for statement in ast.parse(code).body if isinstance(statement, ast.FunctionDef)}


def _stub(found: re.Match[str]) -> str:
    return "\n".join(found[1] + line for line in CODE_STUB.splitlines())


def _rewrite(cell: Cell, text: str) -> None:
    cell["source"] = text.strip("\n").splitlines(keepends=True)
