"""The last cell of an assignment: a student sees what the grader would load, what not, and why."""

import json
import sys
import types

import pytest

from badnets_lib import handing_in
from badnets_lib.handing_in import as_graded, preview, report
from coursework import masters
from coursework.inside import worker
from coursework.variants import MASTERS

NAMES = [path.parent.name for path in sorted(masters.ASSIGNMENTS.glob("*/master.ipynb"))]
ASKED = ["poisoned_images", "share_of_target", "clean_batches", "success_by_hand", "count_poisoned"]
ASKED += ["clean_accuracy", "attack_success", "interval"]


@pytest.fixture
def rates():
    return masters.find("1").solution(MASTERS)


def with_cells(notebook, *sources):
    cells = [{"cell_type": "code", "metadata": {}, "source": source.splitlines(keepends=True)} for source in sources]
    return notebook | {"cells": [*notebook["cells"], *cells]}


@pytest.fixture(scope="module")
def kernel():
    """What the given cells make in a student's kernel."""
    values = {}
    for code in masters.find("1").given(MASTERS):
        exec(code, values)
    return values


@pytest.fixture
def said(kernel):
    return lambda notebook, asked=ASKED: "\n".join(report(notebook, asked, kernel))


def answered(notebook, **answers):
    """The notebook with other code in the cells of these names."""
    for cell in notebook["cells"]:
        name = cell["metadata"].get("nbgrader", {}).get("grade_id", "").replace("-", "_")
        cell["source"] = answers[name].splitlines(keepends=True) if name in answers else cell["source"]
    return notebook


@pytest.mark.parametrize("name", NAMES)
def test_every_assignment_ends_with_it_and_asks_for_what_the_checks_need(name):
    master = masters.find(name)
    last = masters.source(master.student(MASTERS)["cells"][-1])
    asked, shown = [], last.replace("print(as_graded(", "asked.append((").partition("as_graded\n")[2]
    exec(shown, {"asked": asked})
    ((assignment, functions),) = asked
    assert assignment == name and set(functions) == {need for check in master.checks for need in check.needs}


def test_it_reads_with_the_graders_own_code():
    assert worker.load is handing_in.load and worker.closed is handing_in.closed


def test_a_finished_notebook_is_read_as_it_stands(rates, said):
    text = said(rates)
    assert all(f"{name}: read" in text for name in ASKED) and "All of it is read as it stands." in text
    assert "written-report: read, " in text and text.count("passes what is visible") == 8


def test_an_empty_one_says_what_is_left_to_do(said):
    text = said(masters.find("1").student(MASTERS))
    assert text.count("no code of yours yet") == len(ASKED) and text.count("no answer yet") == 2


def test_a_given_number_assigned_anew_is_told_with_its_place(rates, said):
    text = said(with_cells(rates, "# a try\nRATE = 0.1"))
    assert "line 2 of a cell is left out: it replaces RATE (the cell that begins '# a try')" in text


def test_a_cell_that_cannot_be_read_is_told(rates, said):
    text = said(with_cells(rates, "def interval(hits, trials:\n    return 0, 1"))
    assert "could not be read by Python 3." in text and "begins 'def interval(hits, trials:'" in text


def test_a_missing_function_is_told(rates, said):
    for cell in rates["cells"]:
        cell["source"] = [line.replace("def interval(", "def intervall(") for line in cell["source"]]
    text = said(rates)
    assert "interval: MISSING" in text and "Look at the lines above." in text


def test_what_fails_when_it_is_loaded_is_told_as_the_grader_meets_it(rates, said):
    code = "import badnets_lib as bd\nDIGITS = bd.load('mnist5k')\n\ndef interval(hits, trials):\n    return DIGITS"
    text = said(with_cells(rates, code))
    assert "line 2 of a cell failed: ClosedError: badnets_lib.load is closed to answers" in text
    slow = "import time\ntime.sleep(60)\nraise SystemExit"
    assert "All of it is read as it stands." in said(with_cells(rates, slow))


FILL = """L = []

def fill(rows):
    rows += [0.826, 0.945]

fill(L)

def interval(hits, trials):
    return """


@pytest.mark.parametrize(
    ("returned", "line"),
    [
        ("L", "passes what is visible"),
        ("(0.5, 0.6)", "fails what is visible: the share lies inside its interval"),
        ("{}['no']", "fails what is visible: KeyError: 'no'"),
        ("exit(3)", "fails what is visible: SystemExit: 3"),
        (
            "iter((0.8256, 0.9448))",
            "fails what is visible: Malformed: interval: a tuple_iterator does not cross; return",
        ),
    ],
)
def test_the_visible_checks_are_tried_as_they_are_graded(said, returned, line):
    text = said(answered(masters.find("1").student(MASTERS), interval=FILL + returned))
    assert f"check-interval: {line}" in text and ("Look at" in text) == ("fails" in line)


def test_what_only_the_kernel_or_the_folder_has_is_missed(rates, said, tmp_path, monkeypatch):
    """The file and the module are there in Jupyter, and not where it is graded."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "beside_it.py").write_text("Z = 1.96")
    (tmp_path / "z.txt").write_text("1.96")
    import beside_it

    for code in ("from beside_it import Z", "Z = float(open('z.txt').read())"):
        text = said(with_cells(rates, f"{code}\n\ndef interval(hits, trials):\n    return Z"))
        assert "line 1 of a cell failed: " in text and "fails what is visible: NameError: name 'Z' is not" in text
    assert sys.modules["beside_it"] is beside_it


def test_checks_whose_cells_have_not_run_are_told(rates, kernel):
    fresh = {name: value for name, value in kernel.items() if name != "RATE"}
    text = "\n".join(report(rates, ASKED, fresh))
    assert "check-share-of-target: not tried: run the cells above, which make RATE" in text and "Look at" in text


def test_a_check_is_tried_without_what_the_kernel_made_of_builtins(rates, kernel):
    assert "All of it is read as it stands." in "\n".join(report(rates, ASKED, kernel | {"abs": 3, "tuple": None}))


def test_a_check_that_was_written_over_is_told(rates, said):
    assert "check-interval: not tried: '(' was never closed" in said(answered(rates, check_interval="assert interval("))


def test_what_takes_longer_than_it_may_is_told(rates, said, monkeypatch):
    monkeypatch.setattr(preview, "SECONDS", 0)
    assert "check-interval: fails what is visible, if it takes" in said(rates)


def test_a_written_answer_whose_cell_lost_its_metadata_is_read(rates, said):
    cells = rates["cells"]
    for at, cell in enumerate(cells):
        if cell["metadata"].get("nbgrader", {}).get("grade_id") == "written-report":
            cells[at] = {"cell_type": "markdown", "metadata": {}, "source": ["Four words of mine."]}
    text = said(rates)
    assert "written-report: read, 4 words" in text and "All of it is read as it stands." in text
    rates["cells"] = [cell for cell in cells if cell["source"] != ["Four words of mine."]]
    text = said(rates)
    assert "written-report: MISSING" in text and "Look at the lines above." in text


def test_who_shares_work_between_processes_is_told(rates, said):
    text = said(
        with_cells(rates, "from multiprocessing import Pool\n\ndef interval(h, t):\n    return Pool().map(abs, [h])")
    )
    assert "line 1 of a cell uses multiprocessing.Pool: where it is graded" in text and "Look at" in text


def test_the_file_is_found_beside_the_kernel_by_its_name_or_where_one_says(rates, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert "no file 1_rates.ipynb" in as_graded("1_rates", ASKED) and "save the notebook" in as_graded("1_rates", ASKED)
    (tmp_path / "mine.ipynb").write_text(json.dumps(rates), encoding="utf-8")
    assert "interval: read" in as_graded("1_rates", ASKED, "mine.ipynb")
    monkeypatch.setenv("JPY_SESSION_NAME", str(tmp_path / "mine.ipynb"))
    assert "interval: read" in as_graded("1_rates", ASKED)
    monkeypatch.delenv("JPY_SESSION_NAME")
    (tmp_path / "mine.ipynb").rename(tmp_path / "1_rates.ipynb")
    assert "interval: read" in as_graded("1_rates", ASKED)


def test_in_colab_the_notebook_is_asked_for_as_it_stands(rates, monkeypatch):
    message = types.ModuleType("google.colab._message")
    message.blocking_request = lambda kind, timeout_sec: {"ipynb": rates} if kind == "get_ipynb" else None
    for name, module in (("google.colab", types.ModuleType("google.colab")), ("google.colab._message", message)):
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setitem(sys.modules, "google", types.ModuleType("google"))
    assert "interval: read" in as_graded("1_rates", ASKED)
