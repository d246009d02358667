"""The setup cell and the Colab badges: one source, installed from nowhere until the address is real, then by hash."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import zipfile
from importlib.metadata import version
from pathlib import Path

import address
import pytest
from address import BADGE, Release, badges, extras, release, rewritten, setup_cell, stale
from project import ROOT, notebooks, read_notebook, settings

SHA = "ab" * 32
PLACEHOLDER = Release("https://github.com/owner/book", "1.2.0", False, "")
RELEASED = Release("https://github.com/owner/book", "1.2.0", True, SHA)
HIDDEN = """
import importlib.util, json, subprocess, sys
absent, calls, found = set(json.loads(sys.argv[1])), [], importlib.util.find_spec
importlib.util.find_spec = lambda name: None if name in absent else found(name)
subprocess.run = lambda command, check: calls.append(command)
try:
    exec(sys.stdin.read())
except Exception as error:
    print("ERROR", error)
print(json.dumps(calls))
"""


def run(cell: str, absent: list[str], source: str | None = None) -> tuple[str, list[list[str]]]:
    """What a setup cell prints, and the commands that it would have given, where these packages are missing."""
    import json

    environment = {name: value for name, value in os.environ.items() if name != "BADNETS_SOURCE"}
    environment |= {"BADNETS_SOURCE": source} if source else {}
    command = [sys.executable, "-c", HIDDEN, json.dumps(absent)]
    done = subprocess.run(command, input=cell, env=environment, capture_output=True, text=True, cwd=ROOT, check=True)
    printed, _, calls = done.stdout.strip().rpartition("\n")
    return printed, json.loads(calls)


# ---- the committed notebooks ----


def test_every_notebook_and_badge_is_what_the_one_source_gives() -> None:
    assert [path.name for path in stale(release())] == [], "run `make address`"


def test_every_notebook_begins_with_the_setup_cell() -> None:
    for path in [*notebooks(), *ROOT.glob("coursework/assignments/*/master.ipynb")]:
        first = next(cell for cell in read_notebook(path)["cells"] if cell["cell_type"] == "code")
        assert "".join(first["source"]).startswith(address.BEGINS), path


def test_nothing_else_installs_from_an_address_that_is_not_ours() -> None:
    if release().published:
        pytest.skip("the address is the authors' own")
    pages = [*ROOT.glob("*.md"), *ROOT.glob("chapters/*.md"), *ROOT.glob("chapters/*.ipynb")]
    assert [p.name for p in pages if f"git+{release().address}" in p.read_text(encoding="utf-8")] == []


# ---- what the cell does ----


def test_without_an_address_the_cell_installs_nothing_and_says_what_to_set() -> None:
    printed, calls = run(setup_cell(["torchao>=0.15"], PLACEHOLDER), ["badnets_lib", "torchao"])
    assert calls == []
    assert printed.startswith("ERROR") and "set BADNETS_SOURCE" in printed
    assert "owner/book" not in setup_cell([], PLACEHOLDER)


def test_a_source_of_the_readers_own_is_installed_and_torch_is_kept() -> None:
    _, calls = run(setup_cell([], PLACEHOLDER), ["badnets_lib"], source="/content/book")
    (command,) = calls
    assert command[1:5] == ["-m", "pip", "install", "-q"] and command[5] == "/content/book"
    assert f"torch=={version('torch')}" in command, "of the installed package, without a build's +cu130"


@pytest.mark.parametrize("where", [PLACEHOLDER, RELEASED])
def test_where_everything_is_installed_only_the_device_is_printed(where: Release) -> None:
    printed, calls = run(setup_cell(["torchao>=0.15", "cryptography>=42"], where), [])
    assert calls == [] and "torch" in printed and "\n" not in printed


@pytest.mark.parametrize("where", [PLACEHOLDER, RELEASED])
def test_a_missing_extra_is_installed_alone(where: Release) -> None:
    _, calls = run(setup_cell(["torchao>=0.15", "cryptography>=42"], where), ["torchao"])
    (command,) = calls
    assert "torchao>=0.15" in command
    assert not [word for word in command if "cryptography" in word or "badnets" in word]


def test_a_released_cell_takes_the_wheel_of_the_tag_by_its_hash() -> None:
    _, calls = run(setup_cell([], RELEASED), ["badnets_lib"])
    wheel = "releases/download/v1.2.0/badnets_lib-1.2.0-py3-none-any.whl"
    assert f"https://github.com/owner/book/{wheel}#sha256={SHA}" in calls[0]
    assert "main" not in setup_cell([], RELEASED)


@pytest.mark.slow  # pip starts twice
def test_pip_refuses_a_wheel_with_another_hash(tmp_path: Path) -> None:
    """What the released cell relies on, with a wheel of one empty module."""
    wheel = tmp_path / "tiny-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("tiny.py", "")
        archive.writestr("tiny-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n")
        archive.writestr("tiny-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr("tiny-1.0.dist-info/RECORD", "tiny.py,,\n")
    right = hashlib.sha256(wheel.read_bytes()).hexdigest()

    def install(sha256: str) -> subprocess.CompletedProcess[str]:
        pip = [sys.executable, "-m", "pip", "install", "--no-index", "--target", str(tmp_path / "to")]
        return subprocess.run([*pip, f"{wheel.as_uri()}#sha256={sha256}"], capture_output=True, text=True)

    refused = install(SHA)
    assert refused.returncode and "do not match the hashes" in refused.stderr.lower().replace("\n", " ")
    assert not (tmp_path / "to" / "tiny.py").exists()
    assert install(right).returncode == 0 and (tmp_path / "to" / "tiny.py").exists()


def test_a_published_book_without_a_hash_is_refused() -> None:
    with pytest.raises(ValueError, match="64 hex digits; got 'main'"):
        Release("https://github.com/owner/book", "1.2.0", True, "main")


@pytest.mark.parametrize("where", [PLACEHOLDER, RELEASED])
def test_the_cell_fits_the_page(where: Release) -> None:
    every = [line for lines in settings()["project"]["optional-dependencies"].values() for line in lines]
    assert max(map(len, setup_cell(every, where).splitlines())) <= 78


# ---- extras and badges ----


def test_a_chapter_asks_for_the_extras_that_its_code_takes() -> None:
    assert extras("adaptation.quantised(model, x)") == ["torchao>=0.15"]
    assert extras("key = manifests.new_key()") == ["cryptography>=42"]
    assert extras("from badnets_lib.evaluation.visibility import psnr") == ["torchmetrics>=1.4"]
    assert extras("def visibility(x): ...\nimport badnets_lib as bd") == []


def test_badges_name_the_branch_before_a_release_and_the_tag_after(monkeypatch: pytest.MonkeyPatch) -> None:
    old = "[run](https://colab.research.google.com/github/a/b/blob/main/chapters/x.ipynb) and text"
    monkeypatch.setattr(address, "slug", lambda: "owner/book")
    assert "github/owner/book/blob/main/chapters/x.ipynb" in badges(old, PLACEHOLDER)
    assert "github/owner/book/blob/v1.2.0/chapters/x.ipynb" in badges(old, RELEASED)
    assert BADGE.search(old)


def test_rewriting_changes_sources_alone() -> None:
    path = notebooks()[0]
    before = read_notebook(path)
    after = rewritten(before, RELEASED)
    assert after["cells"] != before["cells"]
    for old, new in zip(before["cells"], after["cells"], strict=True):
        assert {**old, "source": ""} == {**new, "source": ""}
    assert rewritten(after, release()) == before
