"""The environment of a Colab user: what is asked for, what counts as a failure, and what the status page says of it.

The runs themselves take minutes and a connection: `make colab`, and the weekly workflow, which must pass first.
"""

from __future__ import annotations

import json
import sys
from datetime import date
from pathlib import Path
from typing import Any

import colab
import pytest
import yaml
from address import extras
from packaging.requirements import Requirement
from project import ROOT, read_notebook, settings
from status import colab_section

RUN = {"kind": "run", "python": "3.12.1", "torch": "2.13.0", "numpy": "2.4.6", "chapters": ["04_x", "11_y"]}


def test_the_chapters_that_run_take_every_extra_together() -> None:
    offered = dict(settings()["project"]["optional-dependencies"])
    del offered["supply-chain"]  # Chapter 25 installs it itself, where it first needs it
    code = ""
    for name in colab.CHAPTERS_RUN:
        cells = read_notebook(ROOT / "chapters" / f"{name}.ipynb")["cells"]
        code += "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    assert extras(code) == sorted(line for lines in offered.values() for line in lines)


def test_the_oldest_torch_is_the_lowest_that_the_library_allows_and_the_tested_one_is_pinned() -> None:
    required = [Requirement(line) for line in settings()["project"]["dependencies"]]
    ranges = {each.name: str(each.specifier) for each in required}
    oldest, tested, newest = (Requirement(colab.TORCHES[age][0]) for age in ("oldest", "tested", "newest"))
    assert str(oldest.specifier) == "==" + ranges["torch"].removeprefix(">=") + ".0"
    pins = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    assert set(colab.TORCHES["tested"]) <= set(pins) and str(tested) in pins
    assert not newest.specifier


def test_everything_else_is_left_to_the_resolver() -> None:
    asked = {Requirement(line).name for line in colab.core()}
    assert {"torchao", "cryptography", "torchmetrics", "mlxtend"} <= asked
    assert not asked & {"torch", "torchvision"}


def test_a_command_that_fails_says_how() -> None:
    with pytest.raises(colab.Failed, match="no such digit"):
        colab.told([sys.executable, "-c", "raise SystemExit('no such digit')"])
    assert colab.told([sys.executable, "-c", "print(7)"]) == "7\n"


@pytest.fixture
def pretended(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """An environment that is only pretended; the commands that would run in it."""
    commands: list[list[str]] = []
    said = {"numpy": ["2.13.0", "0.28.0", "2.4.6"], "seen": {}}

    def told(command: list[str], **more: Any) -> str:
        commands.append(command)
        if command[2] == colab.VERSIONS:
            answer = json.dumps(said["numpy"])
            said["numpy"] = said.get("later", said["numpy"])  # type: ignore[assignment]
            return answer
        if command[2] == colab.EXECUTE:
            said["seen"] = {path.name for path in more["cwd"].iterdir()}  # type: ignore[assignment]
            assert more["env"]["BADNETS_SOURCE"].endswith(".whl") and "PYTHONPATH" not in more["env"]
            assert said["seen"] == set(command[3:]), "the folder holds the chapters and nothing else"
        return "3.12.1\n"

    monkeypatch.setattr(colab, "told", told)
    monkeypatch.setattr(colab, "environment", lambda place, interpreter, torch: place / "bin" / "python")
    monkeypatch.setattr(colab, "build_wheel", lambda folder: folder / "badnets_lib-0.1.0-py3-none-any.whl")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setattr(colab, "_said", said, raising=False)
    return commands


def test_chapters_run_in_an_empty_folder_from_a_wheel(pretended: list[list[str]]) -> None:
    found = colab.run_chapters("python3.12", colab.TORCHES["newest"])
    assert found == {"python": "3.12.1", "torch": "2.13.0", "numpy": "2.4.6", "chapters": list(colab.CHAPTERS_RUN)}
    assert [f"{name}.ipynb" for name in colab.CHAPTERS_RUN] in [command[3:] for command in pretended]


def test_a_setup_cell_that_replaces_torch_or_numpy_fails(pretended: list[list[str]]) -> None:
    colab._said["later"] = ["2.13.0", "0.28.0", "1.26.4"]  # type: ignore[attr-defined]
    with pytest.raises(colab.Failed, match=r"the setup cell replaced .*2\.4\.6.* became .*1\.26\.4"):
        colab.run_chapters("python3.12", colab.TORCHES["newest"])


def test_a_record_keeps_the_other_kind(tmp_path: Path) -> None:
    file = tmp_path / "colab.json"
    colab.record({"kind": "resolved", "cases": []}, file)
    colab.record(RUN, file)
    known = json.loads(file.read_text(encoding="utf-8"))
    assert set(known) == {"run", "resolved"} and known["run"]["date"] == date.today().isoformat()


def test_the_status_page_dates_the_run_and_calls_a_dry_run_one(tmp_path: Path) -> None:
    file = tmp_path / "colab.json"
    assert "No run is on record" in colab_section(file)
    colab.record({"kind": "resolved", "cases": [{"python": "3.13", "torch": "2.10.0", "numpy": "2.5.5"}]}, file)
    assert "No run is on record" in colab_section(file) and "installs and runs nothing" in colab_section(file)
    colab.record(RUN, file)
    shown = colab_section(file)
    assert f"last success: {date.today().isoformat()}, Python 3.12.1, torch 2.13.0" in shown and "(04, 11)" in shown


def test_the_weekly_workflow_runs_every_python_with_every_torch() -> None:
    flow = yaml.safe_load((ROOT / ".github" / "workflows" / "colab.yml").read_text(encoding="utf-8"))
    matrix = flow["jobs"]["run"]["strategy"]["matrix"]
    assert tuple(matrix["python"]) == colab.PYTHONS and list(matrix["torch"]) == list(colab.TORCHES)
    assert flow[True]["schedule"] and flow["jobs"]["record"]["needs"] == "run"  # YAML reads the key `on` as true
