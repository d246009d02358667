"""Sweeps keep each row as it comes, go on after a kill, notice damage, and run on a cluster unchanged."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from badnets_lib.stacks import Fit

from badnets_lib import ImageSet, TrainConfig
from badnets_lib.study import sweeps as s

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
    return json.dumps(content | {"sha256": s._seal(content)})


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
    with pytest.raises(s.SweepError, match=r"1 of 3 cells failed; the first is \{'a': 13\}: RuntimeError: unlucky"):
        s.sweep(experiment, cells, tmp_path / "rows", jobs=1)
    assert calls() == 3
    with pytest.raises(s.SweepError):
        s.sweep(experiment, cells, tmp_path / "rows", jobs=1)
    assert calls() == 4  # only the failed one was tried again


def test_equal_cells_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r'every cell may stand once; \{"a": 1\} stands 2 times'):
        s.sweep(experiment, [{"a": 1}, {"a": 1}], tmp_path)


def test_a_cell_that_json_cannot_hold_is_refused(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        s.sweep(experiment, [{"a": {1, 2}}], tmp_path)
    with pytest.raises(ValueError, match="JSON"):
        s.Sweep("named", experiment, [{"a": float("nan")}])


def test_an_outcome_may_not_shadow_its_cell():
    with pytest.raises(ValueError, match="both hold a"):
        s.Row({"a": 1}, {"a": 2}, {})


def test_a_sweeps_name_is_a_plain_word():
    with pytest.raises(ValueError, match="letters, digits and underscores; got 'no/path'"):
        s.Sweep("no/path", experiment, [])


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


WORKERS = """
import json, os, sys
from joblib import parallel_config
from dask.distributed import Client, LocalCluster
from badnets_lib.study.sweeps import grid, sweep
import importlib.util
import where_am_i

if __name__ == "__main__":
    with LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None) as cluster:
        with Client(cluster), parallel_config("dask"):
            rows = sweep(where_am_i.run, grid(a=range(8)), sys.argv[1])
    print(json.dumps({"driver": os.getpid(), "workers": [row.outcome["pid"] for row in rows],
                      "folders": [row.outcome["folder"] for row in rows]}))
"""

WORKER = """
import os, time

def run(*, a):
    time.sleep(0.2)
    return {"pid": os.getpid(), "folder": os.getcwd(), "double": 2 * a}
"""


def test_it_runs_on_a_cluster_whose_workers_share_no_folder(tmp_path):
    pytest.importorskip("distributed")
    (tmp_path / "driver.py").write_text(WORKERS)
    (tmp_path / "where_am_i.py").write_text(WORKER)
    rows = tmp_path / "rows"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), str(Path(__file__).parent.parent)])}
    done = subprocess.run(
        [sys.executable, "driver.py", rows], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=180
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert len(set(told["workers"])) == 2 and told["driver"] not in told["workers"]
    assert sorted(json.loads(p.read_text())["outcome"]["double"] for p in rows.glob("*.json")) == list(range(0, 16, 2))


# --- experiments that leave their training to the sweep ---


def trained(*, seed, bad=False):
    """A generator experiment: counts what two networks after another answer."""
    x = torch.rand(24, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    data = ImageSet(x, torch.arange(24) % 3, ("a", "b", "c"))
    config = TrainConfig(epochs=1, batch_size=8, seed=seed)
    first = yield Fit(data, config)
    if bad:
        raise RuntimeError("unlucky")
    second = yield Fit(data, config, first.model)
    return {"loss": second.history[-1].loss}


def test_an_experiment_may_leave_its_training_to_the_sweep(tmp_path):
    rows = s.sweep(trained, s.grid(seed=(0, 1)), tmp_path, jobs=2)
    assert [row.cell["seed"] for row in rows] == [0, 1]
    assert rows[0].outcome["loss"] != rows[1].outcome["loss"]
    assert s.sweep(trained, [{"seed": 1}], tmp_path / "again", jobs=1)[0].outcome == rows[1].outcome


def test_on_a_gpu_cells_are_trained_together_to_the_same_results(tmp_path, monkeypatch, request):
    cells = s.grid(seed=range(5))
    alone = s.sweep(trained, cells, tmp_path / "alone", jobs=1)
    sizes = request.getfixturevalue("on_a_gpu")
    monkeypatch.setattr(s, "TOGETHER", 3)
    together = s.sweep(trained, cells, tmp_path / "together", jobs=1)
    assert sizes == [3, 3, 2, 2]  # two trainings of three cells, then of two
    assert [row.cell for row in together] == cells
    for one, other in zip(alone, together, strict=True):
        assert other.outcome["loss"] == pytest.approx(one.outcome["loss"], rel=1e-3)
    assert s.sweep(trained, cells, tmp_path / "together", jobs=1) == together and len(sizes) == 4


def test_a_failed_cell_costs_its_stack_nothing(tmp_path, on_a_gpu):
    cells = [{"seed": 0}, {"seed": 1, "bad": True}, {"seed": 2}]
    with pytest.raises(s.SweepError, match=r"1 of 3 cells failed; .*'bad': True.*unlucky"):
        s.sweep(trained, cells, tmp_path, jobs=1)
    assert len(list(tmp_path.glob("*.json"))) == 2


def test_an_experiment_that_trains_by_itself_is_not_stacked(tmp_path, on_a_gpu):
    s.sweep(experiment, s.grid(a=(1, 2)), tmp_path, jobs=1)
    assert on_a_gpu == []
