"""Five proofs for every assignment, and that no solution or hidden check is in what students can read.

1. The teacher's notebook runs to its end. 2. The students' notebook fails exactly in its check cells.
3. The solution gets all points and the students' version none. 4. Every wrong answer that is committed
passes the visible checks and loses exactly its own points. 5. An honest but different solution gets all points.
"""

import json
import pkgutil
import re
import subprocess
import sys
from dataclasses import dataclass
from fnmatch import fnmatch
from html import escape

import pytest
import torch
from leaks import leaks, plain, secrets
from project import ROOT, settings

import badnets_lib as bd
from badnets_lib import defenses, handing_in, triggers
from coursework import masters
from coursework.grading import Grader
from coursework.masters import HIDDEN, MARKS, SOLUTION, Master, source
from coursework.submissions import Submission
from coursework.variants import MASTERS, Variant

NAMES = [path.parent.name for path in sorted(masters.ASSIGNMENTS.glob("*/master.ipynb"))]
ANSWERS = sorted(masters.ASSIGNMENTS.glob("*/wrong/*.py"))
VARIANT = Variant.draw(2027, seed=5)
SETUP = "# Setup, the same in every chapter"


def assignment(name):
    return Master(masters.ASSIGNMENTS / name)


@pytest.fixture(scope="module")
def graders(bubblewrap):
    """One an assignment, made when it is first asked for: what a check needs may take a while."""
    made = {}
    return lambda name: made.setdefault(name, Grader(assignment(name), VARIANT))


def failing(grader, notebook, *, hidden):
    """The names of the cells that fail when a notebook is run from top to bottom."""
    namespace, failed = dict(grader.shared), []
    for cell in notebook["cells"]:
        if cell["cell_type"] != "code" or masters.is_given(cell) or source(cell).startswith(SETUP):
            continue
        code = source(cell) if hidden else HIDDEN.sub("", source(cell))
        try:
            exec(compile(code, cell["id"], "exec"), namespace)
        except Exception:
            failed.append(cell["metadata"].get("nbgrader", {}).get("grade_id", cell["id"]))
    return failed


def black(code):
    """Code as Black lays it out, 88 columns wide."""
    command = [sys.executable, "-m", "ruff", "format", "--isolated", "--line-length", "88", "-"]
    return subprocess.run(command, input=code, capture_output=True, text=True, check=True).stdout


def handed_in(path, notebook):
    path.write_text(json.dumps(notebook), encoding="utf-8")
    return Submission(path.stem, (path,))


@dataclass(frozen=True)
class Answer:
    """A committed wrong answer: its code, the checks it loses, in the order of the file, and what it defines."""

    code: str
    loses: list[str]
    defines: set[str]

    @classmethod
    def read(cls, path):
        code = path.read_text(encoding="utf-8")
        loses = re.match(r"# loses: (.+)\n# \S", code)[1].split(", ")
        return cls(code, loses, set(re.findall(r"^(?:def|class) (\w+)|^(\w+) =", code, re.MULTILINE)))


def groups(answers):
    """The answers in as few groups as a greedy choice gives, no two of a group losing or defining the same."""
    made = []
    for answer in answers:
        fits = (g for g in made if not any(set(a.loses) & set(answer.loses) or a.defines & answer.defines for a in g))
        group = next(fits, None)
        if group is None:
            made.append([answer])
        else:
            group.append(answer)
    return made


def with_answers(master, answers):
    """The solution with wrong answers that stand before the checks and replace it."""
    cells = master.solution(VARIANT)["cells"]
    wrong = [{"cell_type": "code", "metadata": {}, "source": answer.code, "id": "wrong"} for answer in answers]
    first = [cell for cell in cells if not masters.is_check(cell)]
    return {"cells": [*first, *wrong, *filter(masters.is_check, cells)], "metadata": {}, "nbformat": 4}


# ---- the five proofs ----


@pytest.mark.parametrize("name", NAMES)
def test_the_solution_passes(name, graders):
    grader = graders(name)
    assert failing(grader, grader.master.solution(VARIANT), hidden=True) == []


@pytest.mark.parametrize("name", NAMES)
def test_the_students_version_fails_exactly_its_checks(name, graders):
    grader = graders(name)
    assert failing(grader, grader.master.student(VARIANT), hidden=False) == [c.name for c in grader.master.checks]


@pytest.mark.parametrize("name", NAMES)
def test_the_solution_gets_all_points_and_the_students_version_none(name, graders, tmp_path):
    grader = graders(name)
    with grader.sandbox() as sandbox:
        whole = grader.grade(handed_in(tmp_path / "teacher.ipynb", grader.master.solution(VARIANT)), sandbox)
        stubs = grader.grade(handed_in(tmp_path / "student.ipynb", grader.master.student(VARIANT)), sandbox)
    assert [mark for mark in whole.marks if mark.points != mark.possible] == [] and not whole.problem
    assert stubs.points == 0 and stubs.possible == whole.possible


@pytest.mark.parametrize("path", ANSWERS, ids=lambda path: f"{path.parent.parent.name}/{path.stem}")
def test_a_wrong_answer_passes_what_is_visible_and_loses_exactly_its_checks(path, graders):
    grader, answer = graders(path.parent.parent.name), Answer.read(path)
    notebook = with_answers(grader.master, [answer])
    assert failing(grader, notebook, hidden=False) == []
    assert failing(grader, notebook, hidden=True) == answer.loses


@pytest.mark.parametrize("name", NAMES)
def test_wrong_answers_are_graded_so(name, graders, tmp_path):
    """In the sandbox, as many at once as have nothing in common: starting it is what takes time."""
    grader = graders(name)
    answers = [Answer.read(path) for path in ANSWERS if path.parent.parent.name == name]
    with grader.sandbox() as sandbox:
        for number, group in enumerate(groups(answers)):
            submission = handed_in(tmp_path / f"{number}.ipynb", with_answers(grader.master, group))
            marks = grader.grade(submission, sandbox).marks
            lost = [mark.check for mark in marks if mark.points != mark.possible]
            assert sorted(lost) == sorted(check for answer in group for check in answer.loses)


@pytest.mark.parametrize("name", NAMES)
def test_every_check_is_lost_by_some_wrong_answer(name):
    files = (masters.ASSIGNMENTS / name / "wrong").glob("*.py")
    lost = {check for path in files for check in path.read_text().splitlines()[0].removeprefix("# loses: ").split(", ")}
    assert lost == {check.name for check in assignment(name).checks}


@pytest.mark.parametrize("name", NAMES)
def test_an_honest_but_different_solution_gets_all_points(name, graders, tmp_path):
    """NumPy, comprehensions, helpers, lines that begin with their operator: none of the solution's code."""
    grader = graders(name)
    cells = [cell for cell in grader.master.solution(VARIANT)["cells"] if not masters.is_solution(cell)]
    parts = (grader.master.folder / "other.py").read_text(encoding="utf-8").split("# %%")[1:]
    own = [{"cell_type": "code", "metadata": {}, "source": f"# {part}", "id": "own"} for part in parts]
    formatted = [cell | {"source": black(cell["source"])} for cell in own]
    assert [cell["source"] for cell in formatted] != [cell["source"] for cell in own]
    with grader.sandbox() as sandbox:  # with the seconds that students have
        for number, answers in enumerate((own, formatted)):
            notebook = {"cells": cells + answers, "metadata": {}, "nbformat": 4}
            marks = grader.grade(handed_in(tmp_path / f"other-{number}.ipynb", notebook), sandbox).marks
            assert [(mark.check, mark.message) for mark in marks if mark.points != mark.possible] == []


# ---- points for the work ----


@pytest.mark.parametrize("name", NAMES)
def test_points_are_for_the_work(name, graders, tmp_path):
    """And what answers wrote into networks and data is no other student's loss: the solution gets all, afterwards."""
    grader = graders(name)
    answers = [Answer.read(path) for path in sorted((grader.master.folder / "unearned").glob("*.py"))]
    with grader.sandbox() as sandbox:
        for number, answer in enumerate(answers):
            submission = handed_in(tmp_path / f"{number}.ipynb", with_answers(grader.master, [answer]))
            marks = grader.grade(submission, sandbox).marks
            lost = [mark.check for mark in marks if not mark.points]
            assert lost == answer.loses, [mark.message for mark in marks]
        if answers:
            whole = grader.grade(handed_in(tmp_path / "whole.ipynb", grader.master.solution(VARIANT)), sandbox)
            assert whole.points == whole.possible


def test_the_detectors_data_are_what_they_were_after_an_answer_wrote_into_them(graders, tmp_path):
    grader = graders("4_detector")
    before = [part.clone() for part in grader.shared["FIRST"]]
    code = "def scores(features, labels):\n    features -= features.mean(0)\n    return features.norm(dim=1)"
    with grader.sandbox() as sandbox:
        notebook = with_answers(grader.master, [Answer(code, [], set())])
        grader.grade(handed_in(tmp_path / "ann.ipynb", notebook), sandbox)
    assert all(map(torch.equal, before, grader.shared["FIRST"]))


@pytest.mark.parametrize("name", ["4_detector", "5_removal", "6_hunt"])
def test_no_finished_defense_is_open(name):
    """One that the library gets has to be closed here, too."""
    finished = {f"badnets_lib.defenses.{cls.__name__}" for cls in defenses.ALL}
    assert finished - set(assignment(name).closed) == set()


def test_no_finished_trigger_is_open_where_a_trigger_is_asked_for():
    found = {pkgutil.resolve_name(name) for name in assignment("2_trigger").closed}
    assert set(triggers.REGISTERED.values()) - found == set()


def test_a_prune_that_works_in_place_is_told_what_is_wrong(graders, tmp_path):
    grader = graders("5_removal")
    code = """def prune(network, channels):
    with torch.no_grad():
        for weight in (network.conv2.weight, network.norm2.weight, network.norm2.bias):
            weight[channels] = 0
    return network"""
    with grader.sandbox() as sandbox:
        notebook = with_answers(grader.master, [Answer(code, [], set())])
        marks = grader.grade(handed_in(tmp_path / "ann.ipynb", notebook), sandbox).marks
    lost = {mark.check: mark.message for mark in marks if not mark.points}
    assert set(lost) == {"check-prune", "check-prune-within"}
    assert "let prune change a copy" in lost["check-prune-within"]


@pytest.mark.parametrize("name", NAMES)
def test_every_point_depends_on_the_secret_seed(name):
    assert [check.name for check in assignment(name).checks if "SEED" not in check.code] == []


@pytest.mark.parametrize("name", NAMES)
def test_what_is_closed_is_there_and_the_digits_are(name):
    closed = assignment(name).closed
    assert "badnets_lib.load" in closed
    with (
        handing_in.closed(closed),
        pytest.raises(handing_in.ClosedError, match="badnets_lib.load is closed to answers"),
    ):
        bd.load("mnist5k")
    assert callable(bd.load) and bd.Proportion(1, 2).interval()


# ---- what an assignment must have ----


@pytest.mark.parametrize("name", NAMES)
def test_a_master_says_what_it_is_for_and_how_it_is_marked(name):
    master = assignment(name)
    opening = source(master.notebook["cells"][0])
    machine, hand = sum(check.points for check in master.checks), sum(master.written.values())
    assert "**After this assignment you can**" in opening and "**Time:**" in opening
    assert f"**Points:** {machine:g} by machine, {hand:g} for" in opening
    assert all(check.needs and check.points > 0 for check in master.checks)
    parameters = [source(c) for c in master.notebook["cells"] if c["id"] == "parameters"]
    assert parameters == [MASTERS.code()]
    for cell in master.notebook["cells"]:
        if masters.is_written(cell):
            assert "**Levels.**" in source(cell) and source(cell).count("**Sample answer, ") >= 2
    notes = (master.folder / "notes.md").read_text(encoding="utf-8")
    for path in (master.folder / "wrong").glob("*.py"):
        assert path.name in notes, f"notes.md does not name the typical mistake of {path.name}"


@pytest.mark.parametrize("name", NAMES)
def test_nobody_in_an_assignment_is_he_or_she(name):
    text = "\n".join(source(cell) for cell in assignment(name).notebook["cells"])
    assert re.findall(r"\b(?:he|she|his|hers?|him)\b", text, re.IGNORECASE) == []


def test_the_coursework_keeps_to_the_style_sheet():
    banned = re.compile(r"\b(?:somebody|whoever|shall|by nature|for as long as)\b", re.IGNORECASE)
    paths = [path for path in (ROOT / "coursework").rglob("*") if path.suffix in (".py", ".md", ".ipynb")]
    assert len(paths) > 30
    assert [f"{path.name}: {word}" for path in paths for word in banned.findall(path.read_text("utf-8"))] == []


@pytest.mark.parametrize("name", NAMES)
def test_the_metadata_is_nbgraders(name):
    for cell in assignment(name).notebook["cells"]:
        about = cell["metadata"].get("nbgrader")
        if about is None:
            continue
        assert about["schema_version"] == 3 and about["cell_type"] == cell["cell_type"] and about["task"] is False
        assert {type(about[flag]) for flag in ("grade", "solution", "locked")} == {bool}
        assert ("points" in about) == about["grade"]
        assert re.fullmatch(r"[A-Za-z0-9_-]+", about["grade_id"])  # what nbgrader accepts
        has = [flag for flag, pattern in (("solution", SOLUTION), ("hidden", HIDDEN)) if pattern.search(source(cell))]
        assert has == (["solution"] if about["solution"] else ["hidden"] if about["grade"] else [])


# ---- nothing leaks ----


@pytest.mark.parametrize("name", NAMES)
def test_no_solution_is_in_the_students_notebook(name):
    master = assignment(name)
    for variant in (MASTERS, VARIANT):
        text = plain("\n".join(source(cell) for cell in master.student(variant)["cells"]))
        assert "### BEGIN" not in text and "### END" not in text
        assert not [secret for secret in secrets(master) if secret in text]


def test_no_solution_is_in_the_book_or_the_library():
    """The site that is built from the book is searched where it is built."""
    assert [*leaks(ROOT / "chapters"), *leaks(ROOT / "badnets_lib")] == []


def test_a_leak_would_be_found(tmp_path):
    master = assignment(NAMES[0])
    (cell,) = [cell for cell in master.notebook["cells"] if cell["id"] == "interval"]
    body = SOLUTION.search(source(cell))[0]
    for name, text in {
        "a.ipynb": json.dumps({"source": MARKS.sub("", body).splitlines(keepends=True)}, indent=1),
        "b.html": f"<pre>{escape(MARKS.sub('', body))}</pre>",
        "c.py": "### BEGIN SOLUTION",
    }.items():
        (tmp_path / name).write_text(text)
    assert len(list(leaks(tmp_path))) == 3


def test_the_package_holds_the_library_only():
    patterns = settings()["tool"]["setuptools"]["packages"]["find"]["include"]
    packages = [path.parent.name for path in ROOT.glob("*/__init__.py")]
    assert [name for name in packages if any(fnmatch(name, pattern) for pattern in patterns)] == ["badnets_lib"]
