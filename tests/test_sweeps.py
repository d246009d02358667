"""Sweeps keep each row as it comes, know the code that made it, go on after a kill, and lose no cell to another."""

import json
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import psutil
import pytest
import torch

from badnets_lib.study import _code, _rows, sweeps as s

ROOT = Path(__file__).parent.parent
CALLS = "BADNETS_TEST_CALLS"


def experiment(*, a, b=0):
    """Counts its calls in a file, since it may run in another process."""
    if folder := os.environ.get(CALLS):
        handle, _ = s_temporary(folder)
        os.close(handle)
    if a == 13:
        raise RuntimeError("unlucky")
    return {"sum": [a + b, 100], "threads_seen": torch.get_num_threads()}


def s_temporary(folder):
    import tempfile

    return tempfile.mkstemp(dir=folder)


@pytest.fixture
def calls(tmp_path, monkeypatch):
    folder = tmp_path / "calls"
    folder.mkdir()
    monkeypatch.setenv(CALLS, str(folder))
    return lambda: len(list(folder.iterdir()))


def test_a_grid_runs_its_last_axis_fastest():
    assert s.grid(a=(1, 2), b=(3, 4)) == [{"a": 1, "b": 3}, {"a": 1, "b": 4}, {"a": 2, "b": 3}, {"a": 2, "b": 4}]
    assert s.grid() == [{}]


@pytest.mark.parametrize("jobs", [1, 2])
def test_rows_come_in_the_order_of_the_cells(tmp_path, jobs):
    cells = s.grid(a=(3, 1, 2), b=(10, 20))
    rows = s.sweep(experiment, cells, tmp_path, jobs=jobs)
    assert [row.cell for row in rows] == cells
    assert [row.outcome["sum"] for row in rows] == [[cell["a"] + cell["b"], 100] for cell in cells]


def test_a_row_tells_how_it_ran(tmp_path):
    (row,) = s.sweep(experiment, [{"a": 1}], tmp_path, jobs=1)
    assert row.run["torch"] == torch.__version__ and row.run["device"] in ("cpu", "cuda")
    assert row.run["threads"] == row.outcome["threads_seen"] == 1
    assert row.run["seconds"] >= 0 and len(row.run["date"]) == 10 and row.run["badnets_lib"] and row.run["python"]


def test_the_callers_threads_are_put_back(tmp_path):
    before = torch.get_num_threads()
    s.sweep(experiment, [{"a": 1}], tmp_path, jobs=1)
    assert torch.get_num_threads() == before


def test_finished_cells_are_not_run_again(tmp_path, calls):
    rows = s.sweep(experiment, s.grid(a=(1, 2)), tmp_path / "rows", jobs=1)
    assert calls() == 2
    assert s.sweep(experiment, s.grid(a=(1, 2)), tmp_path / "rows", jobs=1) == rows
    assert calls() == 2
    s.sweep(experiment, s.grid(a=(1, 2, 3)), tmp_path / "rows", jobs=1)
    assert calls() == 3


def test_the_order_of_keywords_does_not_matter(tmp_path, calls):
    s.sweep(experiment, [{"a": 1, "b": 2}], tmp_path / "rows", jobs=1)
    s.sweep(experiment, [{"b": 2, "a": 1}], tmp_path / "rows", jobs=1)
    assert calls() == 1


def flip_a_digit(text):
    return text.replace('"sum": [\n   1', '"sum": [\n   7')


def answer_another_cell(text):
    content = json.loads(text)
    content.pop("sha256")
    content["cell"]["a"] = 2
    return json.dumps(content | {"sha256": _rows._seal(content)})


DAMAGE = {
    "truncated": lambda text: text[: len(text) // 2],
    "altered": flip_a_digit,
    "empty": lambda text: "",
    "not a row": lambda text: "[1, 2]",
    "not text": lambda text: b"\xff\xfe\x00",
    "of another cell": answer_another_cell,
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_row_is_run_again(tmp_path, damage, calls):
    folder = tmp_path / "rows"
    good = s.sweep(experiment, s.grid(a=(1, 2)), folder, jobs=1)
    path = next(p for p in folder.glob("*.json") if json.loads(p.read_text())["cell"]["a"] == 1)
    broken = damage(path.read_text())
    assert broken != path.read_text()
    path.write_bytes(broken if isinstance(broken, bytes) else broken.encode())
    with pytest.warns(UserWarning, match="not a usable row"):
        again = s.sweep(experiment, s.grid(a=(1, 2)), folder, jobs=1)
    assert calls() == 3
    assert [row.outcome for row in again] == [row.outcome for row in good]
    assert s.sweep(experiment, s.grid(a=(1, 2)), folder, jobs=1) == again  # and it is whole again


def test_a_failed_cell_costs_nobody_else(tmp_path, calls):
    cells = s.grid(a=(1, 13, 2))
    with pytest.raises(s.SweepError, match=r"(?s)1 of 3 cells failed.*\{'a': 13\}: RuntimeError: unlucky \(see "):
        s.sweep(experiment, cells, tmp_path / "rows", jobs=1)
    assert calls() == 3
    with pytest.raises(s.SweepError):
        s.sweep(experiment, cells, tmp_path / "rows", jobs=1)
    assert calls() == 4  # only the failed one was tried again


def test_equal_cells_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r'every cell may stand once; \{"a": 1\} stands 2 times'):
        s.sweep(experiment, [{"a": 1}, {"a": 1}], tmp_path)


@pytest.mark.parametrize(("cell", "words"), [
    ({"a": {1, 2}}, "a is of type set"), ({"a": float("nan")}, "a is nan"), ({"a": {3: 1}}, "the key 3 of a is no"),
    ({"a": (1, 2)}, "a is of type tuple"), ({"a": [1, {"b": float("inf")}]}, r"a\[1\].b is inf"),
])  # fmt: skip
def test_a_cell_that_json_would_change_is_refused(tmp_path, cell, words):
    with pytest.raises(ValueError, match=f"JSON would not give a cell back as it is: {words}"):
        s.sweep(experiment, [cell], tmp_path)
    with pytest.raises(ValueError, match=words):
        s.Sweep("named", experiment, [cell])


OUTCOMES = {
    "tensor": torch.zeros(2), "numbered": {7: [1, 2]}, "pair": (1, 2), "deep": {"list": [{"score": float("nan")}]},
}  # fmt: skip


def careless(*, kind):
    return {"fine": 1, kind: OUTCOMES[kind]}


def test_an_outcome_that_json_would_change_is_refused_by_name(tmp_path):
    with pytest.raises(s.SweepError) as caught:
        s.sweep(careless, s.grid(kind=tuple(OUTCOMES)), tmp_path, jobs=1)
    told = {failure.cell["kind"]: failure.reason for failure in caught.value.failures}
    words = (
        "tensor is of type Tensor",
        "the key 7 of numbered is no text",
        "pair is of type tuple",
        "deep.list[0].score is nan",
    )
    for kind, why in zip(OUTCOMES, words, strict=True):
        assert told[kind] == f"ValueError: JSON would not give the outcome back as it is: {why}"
    assert not list(tmp_path.glob("*.json"))


@pytest.mark.parametrize(("axis", "words"), [("patch", r"such as trigger=\('patch',\); got 'patch'"), (3, "got 3")])
def test_an_axis_is_several_values(axis, words, unchecked):
    with pytest.raises(TypeError, match=f"the axis trigger needs several values, .*{words}"):
        s.grid(trigger=axis)


def test_an_outcome_may_not_shadow_its_cell():
    with pytest.raises(ValueError, match="both hold a"):
        s.Row({"a": 1}, {"a": 2}, {})


def test_a_sweeps_name_is_a_plain_word():
    with pytest.raises(ValueError, match="letters, digits and underscores; got 'no/path'"):
        s.Sweep("no/path", experiment, [])


# ---- the code behind a row ----


def versions(tmp_path, monkeypatch, *bodies):
    """The same function of the same module, as it was at several times."""
    monkeypatch.syspath_prepend(tmp_path)
    for number, body in enumerate(bodies):
        path = tmp_path / f"version{number}.py"
        path.write_text(f"def measure(*, a):\n    return {{'b': {body}}}\n")
        namespace = {"__name__": "versioned"}
        exec(compile(path.read_text(), str(path), "exec"), namespace)
        yield namespace["measure"]


def test_a_row_of_an_edited_function_is_made_again_and_told(tmp_path, monkeypatch):
    first, same, second = versions(tmp_path, monkeypatch, "a", "a", "a + 1")
    cells = s.grid(a=(1, 2))
    assert [row.outcome["b"] for row in s.sweep(first, cells, tmp_path / "rows", jobs=1)] == [1, 2]
    s.sweep(same, cells, tmp_path / "rows", jobs=1)  # warns of nothing: the suite would fail
    assert s.sweep(second, cells, tmp_path / "rows", jobs=1, reuse="any")[0].outcome["b"] == 1
    with pytest.warns(UserWarning, match="2 of 2 cells run again.*another version of the function") as told:
        rows = s.sweep(second, cells, tmp_path / "rows", jobs=1)
    assert [row.outcome["b"] for row in rows] == [2, 3] and len(told) == 1


def test_a_row_of_another_library_is_made_again(tmp_path, monkeypatch, calls):
    s.sweep(experiment, [{"a": 1}], tmp_path / "rows", jobs=1)
    monkeypatch.setattr(_code, "library_hash", lambda: "0" * 12)
    with pytest.warns(UserWarning, match="1 of 1 cells run again.*another library"):
        (row,) = s.sweep(experiment, [{"a": 1}], tmp_path / "rows", jobs=1)
    assert calls() == 2 and row.run["code"]["library"] == "0" * 12


def test_the_librarys_hash_covers_what_computes_and_not_what_shows(tmp_path, monkeypatch):
    for name in ("counts.py", "study/sweeps.py", "study/results/__init__.py", "display/plots.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("one")
    monkeypatch.setattr(_code, "LIBRARY", tmp_path)
    monkeypatch.setattr(_code, "SHOWN", (tmp_path / "display", tmp_path / "study" / "results"))
    fresh = _code.library_hash.__wrapped__
    before = fresh()
    (tmp_path / "display" / "plots.py").write_text("two")
    (tmp_path / "study" / "results" / "__init__.py").write_text("two")
    assert fresh() == before
    (tmp_path / "study" / "sweeps.py").write_text("two")
    assert fresh() != before


def other(*, a):
    return {"b": a}


class Called:
    def __call__(self, *, a):
        return {"b": a}


def closed(value):
    def inner(*, a):
        return {"b": a + value}

    return inner


def sourceless():
    namespace = {"__name__": "nowhere"}
    exec("def made(*, a):\n    return {'b': a}", namespace)
    return namespace["made"]


@pytest.mark.parametrize(("make", "words"), [
    (lambda: lambda *, a: {"b": a}, "a lambda has no name"),
    (lambda: Called(), "a function written with def; got"),
    (lambda: partial(other, a=1), "a function written with def; got functools.partial"),
    (lambda: closed(3), "inner uses value of the function around it; make them keywords"),
    (sourceless, "the source of made cannot be read"),
])  # fmt: skip
def test_a_function_whose_rows_could_be_anothers_is_refused(make, words, tmp_path):
    with pytest.raises(TypeError, match=words):
        s.sweep(make(), [{"a": 1}], tmp_path, jobs=1)


def test_functions_of_one_name_inside_others_have_rows_of_their_own(tmp_path):
    def one():
        def inner(*, a):
            return {"b": a}

        return inner

    def two():
        def inner(*, a):
            return {"b": -a}

        return inner

    two_inner = two()
    two_inner.__qualname__ = one().__qualname__
    assert s.sweep(one(), [{"a": 1}], tmp_path, jobs=1)[0].outcome["b"] == 1
    assert s.sweep(two_inner, [{"a": 1}], tmp_path, jobs=1)[0].outcome["b"] == -1
    assert s.sweep(one(), [{"a": 1}], tmp_path, jobs=1)[0].outcome["b"] == 1
    assert len(list(tmp_path.glob("*.json"))) == 2


SCRIPT = """
import sys
from badnets_lib.study.sweeps import grid, sweep

def run(*, a):
    return {{"script": "{name}", "again": a}}

print(*(row.outcome["script"] for row in sweep(run, grid(a=range(2)), sys.argv[1], jobs={jobs})))
"""


def run_script(text, tmp_path, *arguments):
    script = tmp_path / "script.py"
    script.write_text(text)
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, script, *arguments], capture_output=True, text=True, timeout=120, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


@pytest.mark.slow
def test_two_scripts_do_not_answer_for_each_other(tmp_path):
    """Their functions have one name, `__main__.run`; the second script has no guard, and two processes."""
    assert run_script(SCRIPT.format(name="A", jobs=1), tmp_path, tmp_path / "rows") == ["A", "A"]
    assert run_script(SCRIPT.format(name="B", jobs=2), tmp_path, tmp_path / "rows") == ["B", "B"]


# ---- failures ----


def mortal(*, a):
    """One cell kills its own process, as the system does for want of memory; one fails; the others do well."""
    if a == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    if a == 2:
        raise RuntimeError("unlucky")
    return {"b": a}


@pytest.mark.slow
def test_a_dead_process_costs_its_cell_and_is_named(tmp_path):
    cells = s.grid(a=range(6))
    for _ in range(2):  # the next call tries those two again, and loses nothing either
        with pytest.raises(s.SweepError, match="2 of 6 cells failed") as caught:
            s.sweep(mortal, cells, tmp_path, jobs=2)
        dead, failed = sorted(caught.value.failures, key=lambda failure: failure.cell["a"])
        assert dead.cell == {"a": 1} and "its process died of SIGKILL" in dead.reason
        assert failed.cell == {"a": 2} and failed.reason == "RuntimeError: unlucky"
        assert len(list(tmp_path.glob("*.json"))) == 4
        assert {path.name for path in tmp_path.glob("*.error.txt")} == {dead.path.name, failed.path.name}


def test_a_failed_cell_keeps_its_traceback_until_it_succeeds(tmp_path, monkeypatch):
    monkeypatch.setattr(sys.modules[__name__], "UNLUCKY", 1)
    with pytest.raises(s.SweepError) as caught:
        s.sweep(fickle, [{"a": 1}], tmp_path, jobs=1)
    (failure,) = caught.value.failures
    text = failure.path.read_text()
    assert text.startswith('{"a": 1}') and 'raise RuntimeError("unlucky")' in text and "test_sweeps.py" in text
    assert str(failure.path) in str(caught.value)
    monkeypatch.setattr(sys.modules[__name__], "UNLUCKY", 0)
    s.sweep(fickle, [{"a": 1}], tmp_path, jobs=1)
    assert not failure.path.exists()


UNLUCKY = 0


def fickle(*, a):
    if a == UNLUCKY:
        raise RuntimeError("unlucky")
    return {"b": a}


def test_no_jobs_at_all_are_refused(tmp_path):
    with pytest.raises(ValueError, match="jobs must be a number of processes, or -1 for one a core; got 0"):
        s.sweep(other, [{"a": 1}], tmp_path, jobs=0)


# ---- kills ----


SLOW = """
import sys, time
from pathlib import Path
from badnets_lib.study.sweeps import grid, sweep

def slow(*, a):
    if a == 2:
        Path(sys.argv[2]).touch()
        time.sleep(60)
    return {"a_again": a}

if __name__ == "__main__":
    sweep(slow, grid(a=range(4)), sys.argv[1], jobs=1)
"""


def test_a_killed_sweep_keeps_its_finished_rows(tmp_path):
    script, reached, rows = tmp_path / "slow.py", tmp_path / "reached", tmp_path / "rows"
    script.write_text(SLOW)
    process = subprocess.Popen([sys.executable, script, rows, reached], cwd=Path(__file__).parent.parent)
    try:
        for _ in range(600):
            if reached.exists():
                break
            time.sleep(0.1)
        assert reached.exists()
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    kept = [json.loads(path.read_text())["cell"]["a"] for path in rows.glob("*.json")]
    assert sorted(kept) == [0, 1]


ORPHANS = """
import os, sys, time
from pathlib import Path
from badnets_lib.study.sweeps import grid, sweep

def slow(*, a):
    Path(sys.argv[2], str(os.getpid())).touch()
    while True:
        pass

if __name__ == "__main__":
    sweep(slow, grid(a=range(2)), sys.argv[1], jobs=2)
"""


def test_workers_end_with_a_killed_parent_though_they_compute(tmp_path):
    script, seen = tmp_path / "orphans.py", tmp_path / "seen"
    script.write_text(ORPHANS.replace("sys.argv[2]", repr(str(seen))))
    seen.mkdir()
    process = subprocess.Popen([sys.executable, script, tmp_path / "rows"], env=os.environ | {"PYTHONPATH": str(ROOT)})
    try:
        assert patient(lambda: len(list(seen.iterdir())) == 2, 60)
        workers = [psutil.Process(int(path.name)) for path in seen.iterdir()]
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert patient(lambda: not any(worker.is_running() for worker in workers), 10)


def patient(condition, seconds):
    """Whether a condition comes true within some seconds."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.1)
    return False
