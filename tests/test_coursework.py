"""Masters, submissions, marks and their files, on a made assignment of three questions."""

import csv
import io
import json
import os
import re

import pytest

from badnets_lib import Proportion
from coursework import __main__ as command, grading, masters, outputs, submissions
from coursework.grading import Grader, Mark, grade_all
from coursework.hunt import Estimate, Score
from coursework.masters import Master
from coursework.sandbox import Limits, NoSandbox
from coursework.specimens import Recipe
from coursework.submissions import Submission
from coursework.variants import MASTERS, Variant
from coursework.zoo import read_zoo

GIVEN = {"grade": False, "solution": False, "locked": True}
SOLUTION = {"grade": False, "solution": True, "locked": False}
CHECK = {"grade": True, "solution": False, "locked": True}
WRITTEN = {"grade": True, "solution": True, "locked": False}


def cell(source, name=None, kind="code", **about):
    made = {"cell_type": kind, "id": (name or "text"), "metadata": {}, "source": source.splitlines(keepends=True)}
    if name:
        made["metadata"]["nbgrader"] = about | {"grade_id": name, "schema_version": 3, "task": False, "cell_type": kind}
    return made | ({"outputs": [], "execution_count": 1} if kind == "code" else {})


def solved(name, body):
    return f'def {name}(x):\n    """What is asked."""\n    ### BEGIN SOLUTION\n    {body}\n    ### END SOLUTION'


def checked(name, hidden):
    return f"assert {name}(1) > 0, 'too small'\n### BEGIN HIDDEN TESTS\n{hidden}\n### END HIDDEN TESTS"


CELLS = [
    cell("# Assignment 0. Three functions", kind="markdown"),
    cell("print('not given: no metadata')"),
    cell("import torch\n\nBASE = 1", "imports", **GIVEN),
    cell(MASTERS.code(), "parameters", **GIVEN),
    cell(solved("add", "return x + BASE"), "add", **SOLUTION),
    cell(checked("add", "assert add(SEED) == SEED + 1, 'one more'"), "check-add", points=1, **CHECK),
    cell(solved("scale", "return x * SIZE"), "scale", **SOLUTION),
    cell(checked("scale", "assert scale(3) == 3 * SIZE, 'SIZE times'"), "check-scale", points=2, **CHECK),
    cell(solved("mean", "return torch.full((2,), float(x)).mean()"), "mean", **SOLUTION),
    cell(checked("mean", "assert mean(5).shape == () and mean(5) == 5"), "check-mean", points=4, **CHECK),
    cell("**Question.** In words, please.", kind="markdown"),
    cell("### BEGIN SOLUTION\n**Levels.** 1: good.\n### END SOLUTION", "words", "markdown", points=3, **WRITTEN),
]
NOTEBOOK = {"cells": CELLS, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
ALL = {"check-add": 1, "check-scale": 2, "check-mean": 4}


def made(folder, notebook=NOTEBOOK):
    folder.mkdir(exist_ok=True)
    (folder / "master.ipynb").write_text(json.dumps(notebook))
    return Master(folder)


@pytest.fixture(scope="module")
def master(tmp_path_factory):
    return made(tmp_path_factory.mktemp("assignments") / "0_three")


@pytest.fixture(scope="module")
def grader(master, bubblewrap):
    return Grader(master, Variant(seed=11), limits=Limits(seconds=2))


@pytest.fixture(scope="module")
def grade(grader):
    """Grades submissions one after the other in one sandbox, as a class is graded."""
    with grader.sandbox() as sandbox:
        yield lambda submission: grader.grade(submission, sandbox)


@pytest.fixture
def hand_in(tmp_path, master):
    """Writes a solution as somebody's submission: some cells' code replaced, None deletes a cell, and more cells."""

    def write(student="ann", name="0_three.ipynb", *, more=(), metadata=None, **changes):
        notebook = master.solution(MASTERS)
        for entry in list(notebook["cells"]):
            about = entry["metadata"].get("nbgrader", {}).get("grade_id", "").replace("-", "_")
            if about in changes and changes[about] is None:
                notebook["cells"].remove(entry)
            elif about in changes:
                entry["source"] = changes[about].splitlines(keepends=True)
        notebook["cells"] += [cell(source) for source in more]
        notebook["metadata"] |= metadata or {}
        path = tmp_path / "handed" / student / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(notebook))
        return Submission(student, (path,))

    return write


def points(marks):
    return {mark.check: mark.points for mark in marks.marks}


def why(marks, check):
    return next(mark.message for mark in marks.marks if mark.check == check)


# ---- masters ----


def test_a_students_notebook_has_neither_solutions_nor_hidden_checks(master):
    notebook = master.student(MASTERS)
    text = json.dumps(notebook)
    assert "BEGIN" not in text and "x + BASE" not in text and "one more" not in text and "Levels" not in text
    code = {c["id"]: masters.source(c) for c in notebook["cells"]}
    assert code["add"] == 'def add(x):\n    """What is asked."""\n    # YOUR CODE HERE\n    raise NotImplementedError()'
    assert code["check-add"] == "assert add(1) > 0, 'too small'" and code["words"] == "YOUR ANSWER HERE"
    assert all(
        c["outputs"] == [] and c["execution_count"] is None for c in notebook["cells"] if c["cell_type"] == "code"
    )


def test_a_teachers_notebook_has_them(master):
    text = json.dumps(master.solution(MASTERS))
    assert "x + BASE" in text and "one more" in text and "Levels" in text and "BEGIN SOLUTION" not in text


def test_a_variant_replaces_the_numbers_everywhere(master):
    variant = Variant.draw(2027)
    assert variant == Variant.draw(2027) and variant != MASTERS
    for notebook in (master.student(variant), master.solution(variant)):
        assert {masters.source(c) for c in notebook["cells"] if c["id"] == "parameters"} == {variant.code()}
        expected = {"assignment": "0_three", "variant": 2027, "closed": []}
        expected["questions"] = {"words": "**Question.** In words, please."}
        assert notebook["metadata"]["badnets"] == expected
    names = {}
    exec(variant.code(), names)
    assert names["SIZE"] == variant.size and names["RATE"] == variant.rate and names["SEED"] == 0


def test_variants_differ_in_every_number():
    drawn = [Variant.draw(number) for number in range(200)]
    for name, least in {"size": 3, "corner": 4, "value": 3, "target": 10, "rate": 4}.items():
        assert len({getattr(variant, name) for variant in drawn}) >= least
    with pytest.raises(ValueError, match="at least 0; got -1"):
        Variant.draw(-1)


def test_a_master_with_a_name_twice_or_without_its_numbers_is_refused(tmp_path):
    for cells in (CELLS + CELLS[-1:], [c for c in CELLS if c["id"] != "parameters"]):
        with pytest.raises(ValueError, match="every grade_id once, and one of them 'parameters'"):
            made(tmp_path, NOTEBOOK | {"cells": cells})


def test_a_check_knows_which_functions_it_needs(master):
    assert {check.name: check.needs for check in master.checks} == {
        "check-add": ["add"], "check-scale": ["scale"], "check-mean": ["mean"],
    }  # fmt: skip


# ---- marks ----


def test_the_solution_gets_all_and_the_students_version_nothing(grade, hand_in, master):
    assert points(grade(hand_in())) == ALL
    stubs = hand_in("bob")
    stubs.files[0].write_text(json.dumps(master.student(MASTERS)))
    marks = grade(stubs)
    assert marks.points == 0 and marks.possible == 7 and "NotImplementedError" in why(marks, "check-add")


WRONG = {
    "passes the visible check": "def add(x):\n    return 2",
    "syntax error": "def add(x):\n    return x +",
    "exception": "def add(x):\n    return 1 / 0",
    "exit": "import sys\n\ndef add(x):\n    sys.exit(0)",
    "hard exit": "import os\n\ndef add(x):\n    os._exit(0)",
    "endless loop": "def add(x):\n    while True:\n        pass",
    "memory hog": "def add(x):\n    return len(bytearray(2**34))",
    "fork bomb": "import os\n\ndef add(x):\n    while True:\n        os.fork()",
    "disk filler": "def add(x):\n    f = open('x', 'wb')\n    while True:\n        f.write(bytes(2**20))",
    "huge reply": "def add(x):\n    return 'x' * 2**26",
    "no number": "def add(x):\n    return None",
    "not a number": "def add(x):\n    return float('nan')",
    "equal to everything": "class E:\n    __eq__ = __gt__ = lambda *_: True\n\ndef add(x):\n    return E()",
    "patched asserts": "import builtins\n\ndef add(x):\n    builtins.AssertionError = Exception\n    return 5",
    "fails to load": "def add(x, y=1 / 0):\n    return x",
    "deleted": None,
}


@pytest.mark.parametrize(("one", "other"), [*zip(list(WRONG)[::2], list(WRONG)[1::2], strict=True)])
def test_a_wrong_answer_costs_its_own_points(grade, hand_in, one, other):
    """Two in one submission, with a right answer between them."""
    marks = grade(hand_in(add=WRONG[one], mean=WRONG[other] and WRONG[other].replace("add", "mean")))
    assert points(marks) == {"check-add": 0, "check-scale": 2, "check-mean": 0}
    assert why(marks, "check-add") and why(marks, "check-mean")


def test_checks_and_numbers_are_not_the_students_to_change(grade, hand_in):
    eased = hand_in(check_scale="pass", parameters="SIZE = 0", scale="def scale(x):\n    return x * SIZE")
    assert points(grade(eased)) == ALL
    gone = hand_in(check_scale=None, parameters=None, imports=None)
    assert points(grade(gone)) == ALL
    false = hand_in(check_scale="pass", scale="def scale(x):\n    return x")
    assert points(grade(false)) == ALL | {"check-scale": 0}


def test_the_last_of_duplicated_cells_counts(grade, hand_in):
    assert points(grade(hand_in(more=["def add(x):\n    return x"]))) == ALL | {"check-add": 0}
    assert points(grade(hand_in(add="def add(x):\n    return x", more=["def add(x):\n    return x + 1"]))) == ALL


def test_training_cells_do_not_run_again(grade, hand_in):
    marks = grade(hand_in(more=["import time\ntime.sleep(60)\nfor _ in range(10**12):\n    pass\nraise SystemExit"]))
    assert points(marks) == ALL and marks.seconds < 60


def test_feedback_says_what_was_received(grade, hand_in):
    marks = grade(hand_in(add="def add(x):\n    return None", scale="def scale(x):\n    return 'much'"))
    assert why(marks, "check-add").endswith("(add gave None)") and "TypeError" in why(marks, "check-add")
    assert why(marks, "check-scale").endswith("(scale gave 'much')")


def test_the_seed_is_a_secret(grade, hand_in):
    guess = "def add(x):\n    return {0: 1, 1: 2}.get(x, 0)"  # right for the seed that students see
    assert points(grade(hand_in(add=guess))) == ALL | {"check-add": 0}


# ---- what is handed in ----


def nested(levels):
    return '{"cells": ' + "[" * levels + "]" * levels + "}"


NOT_NOTEBOOKS = {
    "empty": b"",
    "a zip": b"PK\x03\x04" + b"\0" * 1000,
    "text": b"not a notebook",
    "no cells": b"{}",
    "cells of another kind": b'{"cells": [1, 2]}',
    "a list": b"[]",
    "deep JSON": nested(100_000).encode(),
    "a long number": b'{"cells": [' + b"9" * 10_000 + b"]}",
    "no source": b'{"cells": [{"cell_type": "code"}]}',
    "not UTF-8": b'{"cells": "\xff"}',
    "worksheets that are a number": b'{"worksheets": 5}',
    "worksheets that are nothing": b'{"worksheets": null, "nbformat": 3}',
    "worksheets of numbers": b'{"worksheets": [1], "nbformat": 3, "nbformat_minor": 0, "metadata": {}}',
    "a worksheet without cells": b'{"worksheets": [{}], "nbformat": 3, "nbformat_minor": 0, "metadata": {}}',
    "cells of format 3 that are none": b'{"worksheets": [{"cells": [5]}], "nbformat": 3, "metadata": {}}',
    "a cell of format 3 without input": b'{"worksheets": [{"cells": [{"cell_type": "code"}]}], "nbformat": 3}',
    "worksheets of no format": b'{"worksheets": [], "nbformat": "three"}',
    "deep worksheets": b'{"nbformat": 3, "worksheets": ' + b"[" * 900 + b"]" * 900 + b"}",
}


@pytest.mark.parametrize("what", NOT_NOTEBOOKS)
def test_what_is_no_notebook_gets_nothing_and_a_reason(grade, hand_in, what):
    submission = hand_in()
    submission.files[0].write_bytes(NOT_NOTEBOOKS[what])
    marks = grade(submission)
    assert marks.points == 0 and marks.possible == 7 and "is not a notebook" in marks.problem
    assert "\n" not in marks.problem and len(marks.problem) < 200


def test_a_failure_of_the_grader_is_a_row_and_a_missing_sandbox_is_none(grade, hand_in, monkeypatch):
    def fails(error):
        def read(*_):
            raise error

        return read

    monkeypatch.setattr(submissions, "read", fails(ZeroDivisionError("by zero")))
    marks = grade(hand_in())
    assert marks.problem == "the grader failed: ZeroDivisionError: by zero" and points(marks) == dict.fromkeys(ALL, 0)
    monkeypatch.setattr(submissions, "read", fails(NoSandbox("none")))
    with pytest.raises(NoSandbox):
        grade(hand_in())


def test_a_notebook_without_code_gets_nothing(grade, hand_in):
    submission = hand_in()
    submission.files[0].write_text(json.dumps(NOTEBOOK | {"cells": []}))
    marks = grade(submission)
    assert marks.points == 0 and not marks.problem and "there is no function add" in why(marks, "check-add")


def test_links_pipes_and_large_files_are_not_opened(grade, hand_in, tmp_path):
    link, pipe, large = hand_in("link"), hand_in("pipe"), hand_in("large")
    other = hand_in("other").files[0]
    for submission in (link, pipe):
        submission.files[0].unlink()
    link.files[0].symlink_to(other)
    os.mkfifo(pipe.files[0])
    os.truncate(large.files[0], submissions.LARGEST + 1)  # a hole: it takes no space
    assert "not an ordinary file" in grade(link).problem
    assert "not an ordinary file" in grade(pipe).problem
    assert "16,777,217 bytes; 16,777,216 are allowed" in grade(large).problem


def test_much_code_is_refused(grade, hand_in):
    assert "characters of code; 524,288 are allowed" in grade(hand_in(more=["x = 1\n" * 100_000])).problem


def test_another_assignment_or_variant_is_told(grade, hand_in):
    for about in ({"assignment": "0_three", "variant": 3}, {"assignment": "9_nine", "variant": 0}):
        marks = grade(hand_in(metadata={"badnets": about}))
        assert (
            f"this is {about['assignment']}, variant {about['variant']}; graded is 0_three, variant 0" == marks.problem
        )
    assert points(grade(hand_in(metadata={"badnets": {}}))) == ALL


def test_a_renamed_file_is_found(grade, hand_in, tmp_path):
    hand_in("ann", "my answers (final) 2.ipynb")
    (flat,) = hand_in("x").files
    flat.rename(tmp_path / "handed" / "bob.ipynb")
    flat.parent.rmdir()
    ann, bob = submissions.find(tmp_path / "handed")
    assert (ann.student, bob.student) == ("ann", "bob")
    assert points(grade(ann)) == points(grade(bob)) == ALL


def test_none_or_several_notebooks_are_told(grade, hand_in, tmp_path):
    hand_in("ann", "a.ipynb"), hand_in("ann", "b.ipynb", add="def add(x):\n    return 2")
    (tmp_path / "handed" / "bob").mkdir()
    (tmp_path / "handed" / "eve.zip").write_bytes(b"PK")
    ann, bob, eve = submissions.find(tmp_path / "handed")
    assert grade(eve).problem == "one file is expected; found eve.zip"
    assert grade(ann).problem == "one file is expected; found a.ipynb, b.ipynb"
    assert grade(bob).problem == "one file is expected; found none"


def test_a_folder_that_is_not_one_is_refused(tmp_path, hand_in):
    with pytest.raises(ValueError, match="no folder"):
        submissions.find(tmp_path / "none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="holds nothing"):
        submissions.find(tmp_path / "empty")


LEFT_BEHIND = (
    "__MACOSX/ann/._0_three.ipynb", "ann/._0_three.ipynb", "ann/.ipynb_checkpoints/0_three-checkpoint.ipynb",
    "ann/.venv/lib/other.ipynb", "ann/__MACOSX/x.ipynb", "Thumbs.db", "desktop.ini", "submission_metadata.yml",
    ".DS_Store", "grades.csv", "README.md", "roster.xlsx", "submissions.zip", "submissions (1).zip", "Icon\r",
    "Thumbs.db:encryptable", "ann.ipynb:Zone.Identifier", "assignment_77_export.zip", "ann/Icon\r",
    "ann/venv/lib/python3.12/site-packages/other.ipynb", "ann/my_tools/site-packages/x.ipynb",
)  # fmt: skip


def test_what_archives_and_course_systems_leave_behind_is_nobody(grade, hand_in, tmp_path):
    hand_in("ann")
    for name in LEFT_BEHIND:
        path = tmp_path / "handed" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"\0\5\x16\7")
    (ann,) = submissions.find(tmp_path / "handed")
    assert ann.student == "ann" and points(grade(ann)) == ALL


def test_names_of_course_systems_are_understood(hand_in, tmp_path):
    hand_in("Jane Döe_4711_assignsubmission_file_", "1_rates (final) - Kopie.ipynb")
    (flat,) = hand_in("x").files
    flat.rename(tmp_path / "handed" / "doejane_LATE_12345_67890_0_three-1.IPYNB")
    flat.parent.rmdir()
    moodle, canvas = submissions.find(tmp_path / "handed")
    assert (moodle.number, moodle.late, len(moodle.files)) == ("4711", False, 1)
    assert (canvas.number, canvas.late, len(canvas.files)) == ("12345", True, 1)


def test_files_with_one_canvas_number_are_one_submission(grade, hand_in, tmp_path):
    hand_in("ann")
    handed = tmp_path / "handed"
    work = (handed / "ann" / "0_three.ipynb").read_bytes()
    (handed / "doejane_12345_67890_notes.pdf").write_bytes(b"%PDF")
    (handed / "doejane_LATE_12345_67891_0_three-1.ipynb").write_bytes(work)
    for name in ("libo_12346_67892_a.ipynb", "libo_12346_67893_b.ipynb"):
        (handed / name).write_bytes(work + b" " * name.endswith("b.ipynb"))
    for name in ("Eve Fox_7_assignsubmission_file", "Eve Fox_7_assignsubmission_onlinetext"):
        (handed / f"{name}_").mkdir()
    (handed / "Eve Fox_7_assignsubmission_file_" / "a.ipynb").write_bytes(work)
    (handed / "ws_2027_03_dan.ipynb").write_bytes(work)  # a lecturer's own names, which only look like Canvas's
    (handed / "ws_2027_03_zoe.ipynb").write_bytes(work)
    eve, ann, jane, bo, dan, zoe = submissions.find(handed)
    assert (jane.number, jane.late, len(jane.files), len(jane.others)) == ("12345", True, 1, 1)
    assert [points(grade(each)) for each in (ann, eve, jane, dan, zoe)] == [ALL] * 5
    assert grade(bo).problem == "one file is expected; found libo_12346_67892_a.ipynb, libo_12346_67893_b.ipynb"


def test_of_canvas_files_the_asked_one_and_the_last_copy_count(hand_in, tmp_path):
    folder = tmp_path / "hunts"
    folder.mkdir()
    for name in ("doejane_1_10_hunt-2.json", "doejane_1_11_hunt-10.json", "doejane_1_12_zoo.json"):
        (folder / name).write_text(name)
    (jane,) = submissions.find(folder, ".json")
    assert submissions.only(jane, begins="hunt")[0].name == "doejane_1_11_hunt-10.json"


def test_of_numbered_copies_the_last_one_counts_and_of_equal_files_any(grade, hand_in, tmp_path):
    hand_in("ann", "a1.ipynb", add="def add(x):\n    return x"), hand_in("ann", "a1 (1).ipynb")
    hand_in("bob", "a.ipynb"), hand_in("bob", "b.ipynb")
    ann, bob = map(grade, submissions.find(tmp_path / "handed"))
    assert points(ann) == points(bob) == ALL
    assert "the last copy was graded, a1 (1).ipynb" in ann.note and "2 equal files" in bob.note


def test_a_file_and_a_folder_of_one_name_are_one_submission(grade, hand_in, tmp_path):
    path = hand_in("ann").files[0]
    (path.parent.parent / "ann.ipynb").write_bytes(path.read_bytes())
    (ann,) = submissions.find(tmp_path / "handed")
    assert points(grade(ann)) == ALL


def as_format_3(notebook):
    cells = [
        {"cell_type": "code", "input": c["source"], "language": "python", "outputs": [], "metadata": c["metadata"]}
        if c["cell_type"] == "code"
        else {key: c[key] for key in ("cell_type", "source", "metadata")}
        for c in notebook["cells"]
    ]
    return {"metadata": {}, "nbformat": 3, "nbformat_minor": 0, "worksheets": [{"cells": cells, "metadata": {}}]}


@pytest.mark.parametrize("how", ["byte-order mark", "UTF-16", "format 3"])
def test_notebooks_as_other_programs_write_them(grade, hand_in, how):
    submission = hand_in()
    notebook = json.loads(submission.files[0].read_text())
    encoding = {"byte-order mark": "utf-8-sig", "UTF-16": "utf-16", "format 3": "utf-8"}[how]
    content = as_format_3(notebook) if how == "format 3" else notebook
    submission.files[0].write_bytes(json.dumps(content).encode(encoding))
    assert points(grade(submission)) == ALL


def test_a_written_answer_whose_cell_lost_its_metadata_is_found(grade, hand_in):
    submission = hand_in(words="My answer.")
    notebook = json.loads(submission.files[0].read_text())
    for c in notebook["cells"]:
        c["metadata"] = {} if c["cell_type"] == "markdown" else c["metadata"]
    submission.files[0].write_text(json.dumps(notebook))
    assert grade(submission).texts == {"words": "My answer."}


ODD_NAMES = ("M\udcfcller", "eve\n# heading", "=1+1", "x" * 200, "<img src=x onerror=alert(1)>", "a‮b", "..", "CON")


def test_one_students_failure_or_name_is_a_row_and_never_the_end(here, hand_in, bubblewrap):
    hand_in("ann")
    surrogates = "def add(x):\n    raise ValueError('\\ud800 \\x00')"
    for place, name in enumerate(ODD_NAMES[:-2]):
        hand_in(name if place else "mueller", add=surrogates)
    os.rename(here / "handed/mueller", os.fsencode(here / "handed") + b"/M\xfcller")
    hand_in("zoe", metadata={"badnets": {"assignment": "\ud800"}})
    command.main(["grade", "0", "handed", "--out", "marks"])
    rows = {row["student"]: row for row in read_table(here / "marks/grades.csv")}
    assert len(rows) == len(ODD_NAMES) and rows["ann"]["by machine"] == "7" and rows["M\\xfcller"]["by machine"] == "6"
    assert len(list((here / "marks/feedback").iterdir())) == len(ODD_NAMES)
    shown = "".join(path.read_text() for path in (here / "marks/feedback").iterdir())
    assert "<img" not in shown and "\n# heading" not in shown


@pytest.mark.parametrize("name", ODD_NAMES)
def test_a_file_name_is_short_and_plain(name):
    made_of = submissions.file_name(name)
    assert len(made_of.encode()) < 200 and "/" not in made_of and "\n" not in made_of and made_of not in ("..", "")
    for kept in ("ann", "ann@uni.edu", "m.o'neil+x@uni.edu"):
        assert submissions.file_name(kept) == kept
    assert submissions.file_name("a?") != submissions.file_name("a!")


# ---- ordinary style ----


STYLES = {
    "operators first": "def add(x):\n    return (\n        x\n        % 10**9\n        + BASE\n    )",
    "not equal first": "def add(x):\n    return x + (\n        x\n        != x + 1\n    )",
    "guarded import": "try:\n    import numpy as np\nexcept ImportError:\n    !pip install numpy\n\n"
    "def add(x):\n    return int(np.add(x, 1))",
    "constant by a call": "from math import floor\nONE = floor(1.5)\n\ndef add(x):\n    return x + ONE",
    "table by a comprehension": "ONES = {k: 1 for k in range(3)}\nONES.update(a=1)\n\n"
    "def add(x):\n    return x + ONES['a']",
    "table by a loop": "ONES = {}\nfor k in range(3):\n    ONES[k] = 1\n\ndef add(x):\n    return x + ONES[2]",
    "table by a helper": "def fill(ones):\n    ones.append(1)\n\nONES = []\nfill(ONES)\n\n"
    "def add(x):\n    return x + ONES[0]",
    "global": "def setup():\n    global ONE\n    ONE = 1\n\nsetup()\n\ndef add(x):\n    return x + ONE",
    "register": "STEPS = {}\n\ndef step(f):\n    STEPS[f.__name__] = f\n    return f\n\n@step\ndef one(x):\n"
    "    return x + 1\n\ndef add(x):\n    return STEPS['one'](x)",
    "dispatch": "import functools\n\n@functools.singledispatch\ndef more(x):\n    return x\n\n@more.register\n"
    "def _(x: int):\n    return x + 1\n\ndef add(x):\n    return more(x)",
    "setattr": "class Adder:\n    pass\n\nsetattr(Adder, 'step', BASE)\n\ndef add(x):\n    return x + Adder.step",
    "main program": "if __name__ == '__main__':\n    ONE = 1\n\ndef add(x):\n    return x + ONE",
    "fraction": "from fractions import Fraction\n\ndef add(x):\n    return x + Fraction(2, 2)",
    "decimal": "from decimal import Decimal\n\ndef add(x):\n    return x + Decimal(1)",
    "lambda": "add = lambda x: x + 1",
    "partial": "import functools, operator\nadd = functools.partial(operator.add, 1)",
    "definition under if": "if BASE == 1:\n    def add(x):\n        return x + 1\nelse:\n    add = None",
    "magics": "%matplotlib inline\n!ls\ndef add(x):\n    return x + 1\n\nadd?\nt = %timeit -o add(1)\n",
    "timed": "%%time\ndef add(x):\n    return x + 1",
    "line separator": "SIGN = '\u2028'\n\ndef add(x):\n    return x + len(SIGN)",
    "indented": "    def add(x):\n        return x + 1",
    "helper and class": "class Adder:\n    step = BASE\n\n    def __call__(self, x):\n        return x + self.step\n\n"
    "add = Adder()",
    "same name inside": "def add(x):\n    model = x + 1\n    return model",
}


@pytest.mark.parametrize("style", STYLES)
def test_what_runs_in_jupyter_is_graded_as_it_runs_there(grade, hand_in, style):
    marks = grade(hand_in(add=STYLES[style], more=["model = open('/no/such/file')"]))
    assert points(marks) == ALL, why(marks, "check-add")


def test_scratch_cells_change_no_given_number_and_no_builtin(grade, hand_in):
    scratch = ["SIZE = 99\nBASE += 5", "sum = len = 3"]
    scratch += ["for SIZE in range(3):\n    pass", "(BASE := 5)", "def SIZE():\n    pass", "del BASE", "torch = 3"]
    scratch += ["for sum in range(3):\n    pass", "from numpy import *"]
    marks = grade(hand_in(add="def add(x):\n    return sum(each for each in [x, BASE]) + 0 * len([])", more=scratch))
    assert points(marks) == ALL


def test_newer_syntax_is_told_with_the_version(grade, hand_in):
    marks = grade(hand_in(add="def add(x) -> :\n    return x"))
    assert "could not be read by Python 3." in why(marks, "check-add")


def test_a_change_in_place_is_seen(tmp_path, bubblewrap):
    """The check's own tensor comes back as the student's function left it."""
    body = "given = torch.zeros(3)\nassert add(given) is not None\nassert not given.any(), 'you changed what you got'"
    cells = [cell(body, "check-add", points=1, **CHECK) if c["id"] == "check-add" else c for c in CELLS]
    master = made(tmp_path / "0_place", NOTEBOOK | {"cells": cells})
    wrong = "def add(x):\n    x += 1\n    return 1"
    notebook = master.solution(MASTERS)
    for entry in notebook["cells"]:
        entry["source"] = [wrong] if entry["id"] == "add" else entry["source"]
    path = tmp_path / "ann.ipynb"
    path.write_text(json.dumps(notebook))
    grader = Grader(master)
    with grader.sandbox() as sandbox:
        marks = grader.grade(Submission("ann", (path,)), sandbox)
    assert why(marks, "check-add").startswith("you changed what you got")


def test_only_the_students_seconds_count(tmp_path, bubblewrap):
    body = "import time\nassert add(1) == 2\ntime.sleep(2.5)\nassert add(2) == 3"
    cells = [cell(body, "check-add", points=1, **CHECK) if c["id"] == "check-add" else c for c in CELLS]
    master = made(tmp_path / "0_slow", NOTEBOOK | {"cells": cells})
    path = tmp_path / "ann.ipynb"
    path.write_text(json.dumps(master.solution(MASTERS)))
    grader = Grader(master, limits=Limits(seconds=2))
    with grader.sandbox() as sandbox:
        assert points(grader.grade(Submission("ann", (path,)), sandbox)) == ALL


def test_a_machine_short_of_memory_repeats_the_check(grader, hand_in, monkeypatch):
    from coursework import sandbox

    floors = iter([2**60, 0])
    monkeypatch.setattr(grading, "WAITS", (0.0, 0.0))
    whole = sandbox.Sandbox.question

    def question(self, *args):
        monkeypatch.setattr(sandbox, "FLOOR", next(floors, 0))
        return whole(self, *args)

    monkeypatch.setattr(sandbox.Sandbox, "question", question)
    with grader.sandbox() as box:
        assert points(grader.grade(hand_in(), box)) == ALL


def test_a_machine_that_stays_short_of_memory_takes_no_point(grader, hand_in, tmp_path, monkeypatch):
    from coursework import sandbox

    whole = sandbox.Sandbox.question

    def question(self, given, sources, names):
        monkeypatch.setattr(sandbox, "FLOOR", 2**60 if "scale" in names else 0)
        return whole(self, given, sources, names)

    monkeypatch.setattr(grading, "WAITS", (0.0, 0.0))
    kept, found = tmp_path / "kept", [hand_in()]
    with monkeypatch.context() as patch:
        patch.setattr(sandbox.Sandbox, "question", question)
        (marks,) = grade_all(grader, found, kept, workers=1)
    assert points(marks) == ALL | {"check-scale": None} and (marks.points, marks.possible) == (5, 5)
    text = outputs.feedback(grader.master, marks, {})
    word, line = (
        text.index("check-scale: not graded yet, and no point is taken"),
        text.index("| check | points | why |"),
    )
    assert word < line and "**5 of 8 points**" in text and "| check-scale | ? of 2 |" in text
    results = outputs.gradescope(grader.master, marks, {})
    assert results["score"] == 5 and "score" not in results["tests"][1] and "not graded yet" in results["output"]
    row = next(csv.DictReader(io.StringIO(outputs.table(grader.master, [marks], {}))))
    assert (row["check-scale"], row["points"], row["of"]) == ("?", "5", "8") and "not graded yet" in row["problem"]
    asked = []
    monkeypatch.setattr(Grader, "_run", lambda self, check, *_: asked.append(check.name))
    (marks,) = grade_all(grader, found, kept, workers=1)
    assert points(marks) == ALL and asked == ["check-scale"]


def test_whose_marks_are_not_complete_keeps_the_old_ones_in_the_gradebook(master, tmp_path):
    from coursework.roster import Member

    marks = (*marked(master).marks[:2], Mark("check-mean", None, 4.0, "not graded yet"))
    members = [Member(name, frozenset({name}), row={"Email address": name}) for name in ("ann", "bob")]
    owned = {"ann": marked(master, marks=marks), "bob": marked(master, student="bob")}
    (path,) = outputs.gradebooks(tmp_path, master, owned, members)
    assert [row["Email address"] for row in read_table(path)] == ["bob"]


# ---- a class ----


def test_a_stopped_run_goes_on_where_it_was(grader, hand_in, tmp_path, monkeypatch):
    found = [hand_in("ann"), hand_in("bob", add="def add(x):\n    return 2")]
    first = grade_all(grader, found[:1], tmp_path / "kept", workers=1)
    graded = []
    monkeypatch.setattr(
        Grader, "grade", lambda self, who, box, *kept: graded.append(who.student) or WHOLE(self, who, box, *kept)
    )
    second = grade_all(grader, found, tmp_path / "kept", workers=1)
    assert graded == ["bob"] and second[0] == first[0] and [marks.points for marks in second] == [7, 6]
    hand_in("ann", add="def add(x):\n    return 2")  # handed in again
    (tmp_path / "kept" / "bob.json").write_text('{"student": "bob", "points"')  # damaged
    third = grade_all(grader, found, tmp_path / "kept", workers=1)
    assert sorted(graded) == ["ann", "bob", "bob"] and [marks.points for marks in third] == [6, 6]


WHOLE = Grader.grade


DRAWN = """torch.manual_seed(SEED)
before = torch.rand(3)
torch.manual_seed(SEED)
assert rest(0.05)
assert torch.equal(torch.rand(3), before), 'another check drew numbers meanwhile'
"""


def test_checks_of_two_submissions_do_not_meet(tmp_path, bubblewrap):
    cells = [
        *CELLS[2:4],
        cell(solved("rest", "import time; time.sleep(x); return x"), "rest", **SOLUTION),
        cell(DRAWN, "check-rest", points=1, **CHECK),
    ]
    master = made(tmp_path / "0_rest", NOTEBOOK | {"cells": cells})
    (tmp_path / "in").mkdir()
    for number in range(8):
        (tmp_path / "in" / f"student{number}.ipynb").write_text(json.dumps(master.solution(MASTERS)))
    marks = grade_all(Grader(master), submissions.find(tmp_path / "in"), tmp_path / "kept", workers=2)
    assert [one.marks for one in marks] == 8 * [(Mark("check-rest", 1.0, 1.0),)]
    assert [one.student for one in marks] == [f"student{number}" for number in range(8)]


def test_a_sandbox_that_does_not_start_costs_no_student_a_point(grader, hand_in, tmp_path, monkeypatch):
    monkeypatch.setattr("coursework.sandbox.bubblewrap", lambda limits: ["false"])
    with pytest.raises(NoSandbox, match="does not take questions"):
        grade_all(grader, [hand_in()], tmp_path / "kept", workers=1)
    assert not (tmp_path / "kept" / "ann.json").exists()


def test_where_questions_are_not_apart_every_submission_gets_a_sandbox(grader, hand_in, monkeypatch):
    with grader.sandbox() as sandbox:
        grader.grade(hand_in(), sandbox)
        assert sandbox.apart and sandbox._process is not None
        monkeypatch.setattr(sandbox, "apart", False)
        assert points(grader.grade(hand_in(), sandbox)) == ALL and sandbox._process is None


def test_the_seed_is_drawn_once_a_folder(tmp_path):
    seed = grading.seed_of(tmp_path / "a")
    assert grading.seed_of(tmp_path / "a") == seed != grading.seed_of(tmp_path / "b")


def marked(master, **changes):
    marks = tuple(Mark(name, float(most), float(most)) for name, most in ALL.items())
    return grading.Marks(**{
        "student": "ann", "marks": marks, "problem": "", "texts": {"words": "Because."}, "sandbox": "bubblewrap",
        "seconds": 2.5, "key": "k",
    } | changes)  # fmt: skip


def test_the_table_has_a_line_a_student_and_no_formula(master):
    lost = (Mark("check-add", 0.0, 1.0, "one more"), Mark("check-scale", 2.0, 2.0), Mark("check-mean", 4.0, 4.0))
    text = outputs.table(master, [marked(master), marked(master, student="=1+1", marks=lost, sandbox="UNSAFE")], {})
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [row["points"] for row in rows] == ["7", "6"] and rows[1]["check-add"] == "0" and rows[0]["words"] == ""
    assert rows[1]["student"] == "'=1+1" and [row["sandbox"] for row in rows] == ["bubblewrap", "UNSAFE"]


def test_feedback_shows_a_students_text_as_text(master):
    evil = (Mark("check-add", 0.0, 1.0, "a `b` | <img src=x>\n# heading"),)
    text = outputs.feedback(master, marked(master, marks=evil, texts={}), {})
    assert "| check-add | 0 of 1 | `a 'b' / <img src=x> # heading` |" in text
    assert "| words | ? of 3 | written: no answer found |" in text


def test_gradescope_gets_its_own_format(master):
    results = outputs.gradescope(master, marked(master), {})
    assert results["score"] == 7 == sum(test["score"] for test in results["tests"])
    assert [test["max_score"] for test in results["tests"]] == [1, 2, 4] and results["tests"][0]["status"] == "passed"


# ---- the command ----


@pytest.fixture
def here(tmp_path, monkeypatch, master):
    monkeypatch.setattr(masters, "ASSIGNMENTS", master.folder.parent)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_build_writes_both_notebooks_of_every_assignment(here, capsys):
    command.main(["build", "--variant", "5"])
    student = json.loads((here / "_build/coursework/variant-5/student/0_three.ipynb").read_text())
    assert student["metadata"]["badnets"]["variant"] == 5
    assert (here / "_build/coursework/variant-5/solution/0_three.ipynb").exists()
    assert capsys.readouterr().out.count(".ipynb") == 2


def test_grade_writes_marks_for_the_class(here, hand_in, bubblewrap, capsys):
    hand_in("ann"), hand_in("bob", scale="def scale(x):\n    return x")
    command.main(["grade", "0", "handed", "--out", "marks"])
    rows = read_table(here / "marks/grades.csv")
    assert [(row["student"], row["points"]) for row in rows] == [("ann", "7"), ("bob", "5")]
    told = (here / "marks/feedback/bob.md").read_text()
    assert "**5 of 10 points** (5 of 7 by machine, 3 by hand not marked yet)" in told
    assert json.loads((here / "marks/gradescope/bob/results.json").read_text())["score"] == 5
    assert "2 submissions: marks/grades.csv" in capsys.readouterr().out


def read_table(path):
    return list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8-sig"))))


def type_points(path, **points):
    """What a teacher does in a spreadsheet: points for "words", by student."""
    rows = [row | {"words": points.get(row["student"], row["words"])} for row in read_table(path)]
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)


def test_typed_points_survive_a_regrade_a_new_submission_and_a_student_who_leaves(here, hand_in, bubblewrap):
    hand_in("ann"), hand_in("bob")
    command.main(["grade", "0", "handed", "--out", "marks"])
    type_points(here / "marks/written.csv", ann="2,5", bob="1")
    hand_in("ann", add="def add(x):\n    return 2"), hand_in("eve")
    (here / "handed/bob").rename(here / "gone")
    command.main(["grade", "0", "handed", "--out", "marks"])
    rows = {row["student"]: row for row in read_table(here / "marks/grades.csv")}
    assert (rows["ann"]["points"], rows["ann"]["by machine"], rows["ann"]["by hand"]) == ("8.5", "6", "2.5")
    assert rows["ann"]["of"] == "10" and rows["eve"]["by hand"] == ""
    assert {row["student"]: row["words"] for row in read_table(here / "marks/written.csv")}["bob"] == "1"
    assert "(6 of 7 by machine, 2.5 of 3 by hand)" in (here / "marks/feedback/ann.md").read_text()


def test_a_table_that_was_spoilt_is_told_before_anything_is_graded_and_kept(here, hand_in, bubblewrap):
    hand_in("ann")
    command.main(["grade", "0", "handed", "--out", "marks"])
    type_points(here / "marks/written.csv", ann="very good")
    with pytest.raises(SystemExit, match="ann, words: 'very good' is no number of points"):
        command.main(["grade", "0", "handed", "--out", "marks"])
    assert "very good" in (here / "marks/written.csv").read_text()


def test_every_written_answer_is_on_the_sheet_of_its_question(here, hand_in, bubblewrap):
    hand_in("ann", words="It *depends*.\n```\nfence\n```"), hand_in("bob", words=None)
    command.main(["grade", "0", "handed", "--out", "marks"])
    sheet = (here / "marks/written/words.md").read_text()
    assert "**Levels.** 1: good." in sheet and "````text\nIt *depends*." in sheet and "No answer was found." in sheet


def test_no_two_classes_share_a_place(here, hand_in):
    places = {
        command.marks_folder(assignment, variant, here / section / "subs")
        for assignment in ("0_three", "1_rates")
        for variant in (0, 2027)
        for section in ("a", "b")
    }
    assert len(places) == 8


def test_grading_again_is_asked_for_by_name(here, hand_in, bubblewrap, monkeypatch):
    slow = "import time\n\ndef add(x):\n    time.sleep(60)"
    hand_in("ann", add=slow), hand_in("bob")
    monkeypatch.setattr(grading, "USUAL", Limits(seconds=1))
    graded = []
    monkeypatch.setattr(
        Grader, "grade", lambda self, who, box, *kept: graded.append(who.student) or WHOLE(self, who, box, *kept)
    )
    arguments = ["grade", "0", "handed", "--out", "marks", "--workers", "1"]
    for more in ([], [], ["--again", "bob"], ["--again", "lost"]):
        command.main([*arguments, *more])
    assert graded == ["ann", "bob", "bob", "ann"]


def test_one_check_is_graded_again_for_everybody(here, hand_in, bubblewrap, monkeypatch):
    hand_in("ann"), hand_in("bob", add=WRONG["exception"])
    arguments = ["grade", "0", "handed", "--out", "marks", "--workers", "1"]
    command.main(arguments)
    asked = []
    monkeypatch.setattr(Grader, "_run", lambda self, check, *_: asked.append(check.name))
    command.main([*arguments, "--again", "check-add"])
    assert asked == ["check-add"] * 2
    assert [row["points"] for row in read_table(here / "marks/grades.csv")] == ["7", "7"]
    command.main([*arguments, "--again", "check-mean", "--again", "bob"])
    assert asked[2:] == ["check-mean", *ALL]


def test_only_the_lost_checks_are_graded_again(here, hand_in, bubblewrap, monkeypatch):
    hand_in("ann", add=WRONG["hard exit"], mean=WRONG["exception"].replace("add", "mean")), hand_in("bob")
    arguments = ["grade", "0", "handed", "--out", "marks", "--workers", "1"]
    command.main(arguments)
    asked = []
    monkeypatch.setattr(Grader, "_run", lambda self, check, *_: asked.append(check.name))
    command.main([*arguments, "--again", "lost"])
    assert asked == ["check-add"]


def test_nothing_unknown_is_graded_again(here, hand_in, bubblewrap):
    hand_in("ann")
    arguments = ["grade", "0", "handed", "--out", "marks", "--again", "check-ad"]
    why = "nothing to grade again is called 'check-ad'; say a student as in grades.csv, check-add, check-scale, "
    with pytest.raises(SystemExit, match=why):
        command.main(arguments)
    assert not (here / "marks/grades.csv").exists()


@pytest.mark.parametrize("what", ["torch", "numpy", "digits"])
def test_another_torch_numpy_or_digits_grade_again(grader, hand_in, monkeypatch, what):
    submission = hand_in()
    before = grader.key(submission)
    if what == "digits":
        train, test = grading.load("mnist5k")
        monkeypatch.setattr(grading, "load", lambda name: (train, test[:9]))
    else:
        monkeypatch.setattr(getattr(grading, what), "__version__", "9.9")
    grading.surroundings.cache_clear()
    after = grader.key(submission)
    grading.surroundings.cache_clear()
    assert before != after


def test_unsafe_is_on_record(here, hand_in):
    hand_in("ann")
    command.main(["grade", "0", "handed", "--out", "marks", "--unsafe"])
    assert (
        "UNSAFE" in (here / "marks/grades.csv").read_text()
        and "without a sandbox" in (here / "marks/feedback/ann.md").read_text()
    )


def test_zoo_and_hunt_score_a_class(here, monkeypatch, capsys):
    """On networks too small to hide anything, in the time that a test may take."""
    small = Recipe(models=4, images=300, epochs=1, least_success=0.0, least_clean=0.0)
    monkeypatch.setattr(command, "Recipe", lambda models: small)
    monkeypatch.setattr(command, "scan_zoo", lambda public, out: blind(public, out))
    command.main(["zoo", "--salt", "a salt of some length", "--out", "it"])
    assert "to beat: 0 of 30" in capsys.readouterr().out and not list((here / "it/zoo").glob("*truth*"))
    blind(here / "it/zoo", here / "handed/ann/hunt.json")
    (here / "handed/bob.json").write_text("[" * 100_000)
    (here / "handed/eve.json").symlink_to(here / "it/truth.json")
    (here / "other").mkdir()
    (here / "other/zoe.json").write_text("{}")
    command.main(["hunt", "handed", "--out", "it"])
    command.main(["hunt", "other", "--out", "it"])
    scores = here / "it/scores" / command.section(here / "handed")
    rows = {row["student"]: row for row in read_table(scores / "hunt.csv")}
    assert list(rows) == ["ann", "bob", "eve", "(baseline)"]
    assert rows["ann"]["points"] == rows["(baseline)"]["points"] == "0.0" and rows["ann"]["auc"].startswith("0.500 [")
    assert rows["bob"]["problem"] and rows["bob"]["points"] == "0" and "ordinary" in rows["eve"]["problem"]
    assert "| ranking | AUC 0.500" in (scores / "feedback/ann.md").read_text()
    page = (scores / "leaderboard.html").read_text()
    assert page.count("<tr") == 3 and "ann" not in page and "<td>no name</td>" in page


def test_the_leaderboard_shows_chosen_names_and_intervals_and_nothing_else_of_a_student():
    def score(effect, name):
        area, entropy = Estimate(0.9, 0.7, 0.98), Estimate(0.4, 0.2, 0.6)
        return Score("z", area, entropy, Proportion(int(5 * effect), 5), effect, (), name)

    page = outputs.leaderboard({
        "Ann Lee": score(0.4, "<b>Zoë</b>"), "Bob Roe": score(0.8, ""), "Eve Poe": score(0.4, "Moth"),
        "Ned Low": "hunt.json is not JSON", outputs.BASELINE: score(0.6, ""),
    })  # fmt: skip
    rows = re.findall(r"<tr[^>]*>(<td>.*)</tr>", page)
    cells = [re.findall(r"<td>(.*?)</td>", row) for row in rows]
    names = [row[1] for row in cells]
    assert names == ["no name", "the library&#x27;s Neural Cleanse", "&lt;b&gt;Zoë&lt;/b&gt;", "Moth"]
    assert [row[0] for row in cells] == ["1", "2", "3", "3"]
    assert cells[0][2:4] == [f"{score(0.8, '').total:.2f}", "0.900 [0.700, 0.980]"] and "[" in cells[0][5]
    assert not [name for name in ("Ann", "Bob", "Eve", "Ned", "Lee", "<script", "http") if name in page]
    assert "verlap" not in page  # two intervals say nothing about the difference of two hunters


def blind(public, out):
    """A hunt.json that knows nothing."""
    zoo = read_zoo(public)
    nothing = {"probability": 0.5, "target": None, "mask": None, "pattern": None}
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps({"zoo": zoo["zoo"], "models": {name: nothing for name in zoo["models"]}}))


@pytest.mark.parametrize(
    ("given", "why"),
    [
        (["grade", "9", "handed"], "no one assignment is called '9'; there are 0_three"),
        (["grade", "0", "nowhere"], "no folder nowhere"),
        (["grade", "0", ""], "say which folder holds the submissions"),
        (["build", "--variant", "-3"], "at least 0; got -3"),
        (["zoo", "--salt", "short"], "at least 8 characters; got 5"),
    ],
)
def test_a_mistake_is_one_line(here, given, why):
    with pytest.raises(SystemExit, match=why):
        command.main(given)
