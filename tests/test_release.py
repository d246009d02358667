"""A release is refused until everything agrees: the address, the version, the tag, the notebooks and what was built."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
import release as releases
from address import Release, release
from project import ROOT

REAL = Release("https://github.com/owner/book", "1.2.0", True, "ab" * 32)
TOP = ("CHANGELOG.md", "CITATION.cff", ".zenodo.json")


@pytest.fixture
def top(tmp_path: Path) -> Path:
    """The three files that state the version, copied."""
    for name in TOP:
        shutil.copy2(ROOT / name, tmp_path / name)
    return tmp_path


def test_the_placeholder_is_refused() -> None:
    assert list(releases.placeholder(REAL)) == []
    (fault,) = releases.placeholder(replace(REAL, published=False))
    assert "is a placeholder" in fault


def test_the_committed_files_state_one_version(top: Path) -> None:
    assert list(releases.versions(release(), top)) == []


@pytest.mark.parametrize("name", TOP)
def test_another_version_is_named_with_its_file(top: Path, name: str) -> None:
    text, version = (top / name).read_text(encoding="utf-8"), release().version
    (top / name).write_text(re.sub(rf"(## |version\W+){re.escape(version)}", r"\g<1>9.9.9", text), encoding="utf-8")
    faults = list(releases.versions(release(), top))
    assert len(faults) == 1 and name in faults[0] and "9.9.9" in faults[0]


def test_another_date_is_named(top: Path) -> None:
    text = (top / "CHANGELOG.md").read_text(encoding="utf-8")
    (top / "CHANGELOG.md").write_text(releases.HEADING.sub(r"## \1 (2001-01-01)", text), encoding="utf-8")
    (fault,) = releases.versions(release(), top)
    assert "2001-01-01" in fault


def test_a_commit_without_its_tag_is_refused() -> None:
    assert any("does not carry the tag v99.0.0" in fault for fault in releases.tagged(replace(REAL, version="99.0.0")))


def test_the_rocket_buttons_and_the_badges_lead_to_the_same_place() -> None:
    assert not any("_config.yml" in fault for fault in releases.notebooks(release()))
    assert "_config.yml sends readers to main, and the release is v1.2.0" in list(releases.notebooks(REAL))


def test_old_notebooks_are_named() -> None:
    assert any("03_threat_model.ipynb is old" in fault for fault in releases.notebooks(REAL))


def test_what_was_not_built_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "release"
    folder.mkdir()
    faults = "\n".join(releases.built(REAL, folder))
    assert "badnets_lib-1.2.0-py3-none-any.whl was not built" in faults
    assert "run `make zip`" in faults and "run `make pdf`" in faults
    (folder / REAL.wheel).write_bytes(b"another")
    for name in releases.TAKEN:
        (tmp_path / name).write_bytes(b"new")
    (fault,) = releases.built(REAL, folder)
    assert f"pyproject.toml says {REAL.sha256}" in fault


def test_make_release_says_all_that_is_wrong() -> None:
    if release().published:
        pytest.skip("the address is the authors' own")
    done = subprocess.run([sys.executable, "tools/release.py"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1 and "is a placeholder" in done.stderr


@pytest.mark.slow  # a wheel is built twice
def test_the_wheel_holds_the_library_and_comes_out_the_same_again(tmp_path: Path) -> None:
    first, second = (releases.build_wheel(tmp_path / name) for name in "ab")
    assert releases.sha256(first) == releases.sha256(second)
    with zipfile.ZipFile(first) as wheel:
        names = wheel.namelist()
    assert "badnets_lib/__init__.py" in names and "badnets_lib/_extras.py" in names
    assert {name.split("/")[0].split("-")[0] for name in names} == {"badnets_lib"}
    assert not [name for name in names if name.endswith(".ipynb")]


def test_the_archives_record_is_what_the_citation_says() -> None:
    record = json.loads((ROOT / ".zenodo.json").read_text(encoding="utf-8"))
    cited = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert record["title"] in cited and record["creators"][0]["name"] in cited
    assert all(each["identifier"].removeprefix("arXiv:") for each in record["related_identifiers"])
