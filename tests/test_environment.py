"""`make` tells what is in the way, repairs what it can, and two of them do not meet."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import environment as e
import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from project import ROOT

HOLD = """
import sys, time
from pathlib import Path
from environment import alone
with alone("building", Path(sys.argv[1])):
    print("mine", flush=True)
    time.sleep(float(sys.argv[2]))
"""


def make(*arguments: str) -> subprocess.CompletedProcess[str]:
    variables = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    return subprocess.run(["make", "-C", str(ROOT), *arguments], env=variables, capture_output=True, text=True)


def environment_of(folder: Path, version: str) -> Path:
    """What looks like an environment whose Python has that version."""
    python = folder / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f"#!/bin/sh\necho {version}\n")
    python.chmod(0o755)
    return folder


# ---- what stands in the way ----


def test_another_python_than_the_environments_is_told(tmp_path: Path) -> None:
    old = environment_of(tmp_path / "old", "3.9.9")
    here = ".".join(map(str, sys.version_info[:3]))
    done = make("help", f"VENV={old}", f"PYTHON={sys.executable}")
    assert done.returncode and f"{old} was made by Python 3.9.9, and {sys.executable} is {here}. Remove" in done.stderr
    assert "does not run" in make("help", f"VENV={old}", "PYTHON=python-that-is-not-there").stderr
    same = environment_of(tmp_path / "same", here)
    assert make("help", f"VENV={same}", f"PYTHON={sys.executable}").returncode == 0
    assert make("help", f"VENV={old}").returncode == 0, "nobody asked for another one"


def test_a_path_that_make_cannot_use_is_refused() -> None:
    done = make("help", "VENV=my env")
    assert done.returncode and 'VENV is "my env"; make cannot use a path with spaces' in done.stderr


def test_pip_says_why_it_failed() -> None:
    text = (ROOT / "Makefile").read_text() + (ROOT / "tools" / "environment.py").read_text()
    assert "--quiet" not in text and '"-q"' not in text


# ---- Pythons ----


@pytest.mark.parametrize("python", ["3.11.0", "3.11.2", "3.11.7", "3.12.1", "3.13.0", "3.14.0"])
def test_every_package_has_one_tested_version_for_every_python(python: str) -> None:
    lines = [line.split("#")[0].strip() for line in (ROOT / "constraints.txt").read_text().splitlines()]
    pins = [Requirement(line) for line in lines if line]
    assert pins
    holding = [pin.name for pin in pins if pin.marker is None or pin.marker.evaluate({"python_full_version": python})]
    assert sorted(holding) == sorted({pin.name for pin in pins})


def test_the_pins_hold_for_the_oldest_python_as_their_own_files_say() -> None:
    """Of what is installed here: a pin without a condition must run on Python 3.11.0."""
    from importlib.metadata import PackageNotFoundError, distribution

    looked, strict = 0, []
    for line in (ROOT / "constraints.txt").read_text().splitlines():
        if "==" not in line or line.startswith("#") or ";" in line:
            continue
        try:
            asked = distribution(line.partition("==")[0]).metadata["Requires-Python"]
        except PackageNotFoundError:
            continue
        looked += 1
        if asked and not SpecifierSet(asked).contains("3.11.0"):
            strict.append(f"{line} asks for {asked}")
    assert looked > 50 and not strict


# ---- one at a time ----


def test_the_second_one_waits_and_says_so(tmp_path: Path) -> None:
    first = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path), "1.5"],
        cwd=ROOT / "tools", stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert first.stdout is not None and first.stdout.readline() == "mine\n"
    second = subprocess.run(
        [sys.executable, "-c", HOLD, str(tmp_path), "0"],
        cwd=ROOT / "tools", capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert second.stdout == "another make is building; this one waits for it\nmine\n"
    assert first.wait(5) == 0, "it was done before the second began"


def test_a_killed_one_holds_nothing(tmp_path: Path) -> None:
    first = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path), "60"],
        cwd=ROOT / "tools", stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert first.stdout is not None and first.stdout.readline() == "mine\n"
    first.kill()
    first.wait()
    started = time.monotonic()
    with e.alone("building", tmp_path):
        assert time.monotonic() - started < 5


def test_what_another_one_has_just_installed_is_not_installed_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[tuple[str, ...]] = []
    monkeypatch.setattr(e, "pip", lambda *arguments: ran.append(arguments))
    source, stamp = tmp_path / "requirements", tmp_path / "site.stamp"
    source.touch()
    e.fill(stamp, [source], tmp_path)
    assert len(ran) == 1 and stamp.exists()
    e.fill(stamp, [source], tmp_path)
    assert len(ran) == 1
    os.utime(source, (time.time() + 10, time.time() + 10))
    e.fill(stamp, [source], tmp_path)
    assert len(ran) == 2


@pytest.mark.slow  # environments are made
def test_an_environment_without_pip_gets_it(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "env")], check=True)
    python = str(tmp_path / "env" / "bin" / "python")
    call = "from environment import bring_pip; bring_pip()"
    subprocess.run([python, "-c", call], cwd=ROOT / "tools", check=True, capture_output=True)
    subprocess.run([python, "-m", "pip", "--version"], check=True, capture_output=True)
