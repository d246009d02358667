"""`python -m tools`: the targets of make, where there is no make."""

import importlib.util
import re
import shlex
import subprocess
import sys

import pytest
from project import ROOT

spec = importlib.util.spec_from_file_location("commands", ROOT / "tools" / "__main__.py")
commands = importlib.util.module_from_spec(spec)
spec.loader.exec_module(commands)


def test_make_has_the_same_targets_and_calls_them():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):.*##", makefile, re.M)) - {"help"}
    assert targets == set(commands.TARGETS)
    called = set(re.findall(r"-m tools ([a-z-]+)", makefile))
    assert called == targets


def test_what_make_is_told_about_grading_reaches_the_grader():
    told = {"ASSIGNMENT": "2", "FROM": "in", "ROSTER": "r.csv", "DUE": "2027-03-01 23:59", "AGAIN": "Bo Li_7_x"}
    asked = ["make", "-n", "grade", *(f"{name}={value}" for name, value in told.items())]
    shown = subprocess.run(asked, cwd=ROOT, capture_output=True, text=True).stdout
    words = shlex.split(shown[shown.index("-m tools grade") :].replace("\\\n", " "))
    assert words[2:5] == ["grade", "2", "in"]
    for flag, value in {"--roster": "r.csv", "--due": "2027-03-01 23:59", "--again": "Bo Li_7_x"}.items():
        assert words[words.index(flag) + 1] == value


def test_every_script_that_a_target_names_is_there():
    for name, (says, parts) in commands.TARGETS.items():
        assert says, name
        for part in parts:
            if part[1].endswith(".py"):
                assert (ROOT / part[1]).is_file(), part


@pytest.fixture
def ran(monkeypatch):
    """What a target would run; a command with the word "fails" fails."""
    seen = []

    def run(command, *, cwd, env):
        assert cwd == ROOT and env["TQDM_DISABLE"] == "1"
        seen.append(command)
        return subprocess.CompletedProcess(command, int("fails" in command))

    monkeypatch.setattr(commands.subprocess, "run", run)
    return seen


def test_what_follows_a_target_goes_to_its_last_command(ran):
    assert commands.run("zip", ["more"]) == 0
    assert [command[1].rpartition("/")[2] for command in ran] == ["build.py", "takeaway.py"]
    assert ran[0][-1] == "site" and ran[1][-1] == "more"


def test_a_failure_ends_a_target(ran, monkeypatch):
    monkeypatch.setitem(commands.TARGETS, "zip", ("", (("python", "fails"), ("python", "never"))))
    assert commands.run("zip", []) == 1
    assert ran == [["python", "fails"]]


def test_the_server_takes_a_port(ran, tmp_path, monkeypatch):
    monkeypatch.setattr(commands, "BUILT", tmp_path)
    commands.run("serve", ["9000"])
    assert [command[1:3] for command in ran] == [[str(ROOT / "tools" / "build.py"), "site"], ["-m", "http.server"]]
    assert ran[-1][-1] == "9000"


def test_clean_spares_finished_cells_and_marks(tmp_path):
    for name in ("_build/sweeps/one", "_build/coursework/marks", "_build/html", ".mypy_cache"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "_build" / "book.pdf").touch()
    commands.clean(tmp_path)
    assert sorted(path.name for path in (tmp_path / "_build").iterdir()) == ["coursework", "sweeps"]
    assert not (tmp_path / ".mypy_cache").exists()


def test_an_unknown_target_is_named_after_the_list():
    found = subprocess.run([sys.executable, "-m", "tools", "bok"], cwd=ROOT, capture_output=True, text=True)
    assert found.returncode == 1 and "no target 'bok'" in found.stderr
    assert "  book " in found.stdout
