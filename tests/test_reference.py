"""The reference: a page for every public room, nothing of private ones, signatures as they are written."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import griffe
import pytest
from project import ROOT
from reference import layers_picture, module_text, signature, write_reference

MADE = '''"""What it holds.

See arXiv:1708.06733 for `more`.
"""

LIMIT = 3


class Found(Exception):
    """Raised."""


def find(x: int, *, named: dict[str, int] | None = None, another_long_name: tuple[int, ...] = (1, 2)) -> list[Found]:
    """Looks.

    Args:
        x: Where it
            looks.

    Raises:
        Found: It does.

    Example:
        >>> find(1)
        []

    References:
        arXiv:1708.06733.
    """


def _private() -> None:
    """Not shown."""
'''


@pytest.fixture
def made(tmp_path: Path) -> griffe.Module:
    (tmp_path / "made.py").write_text(MADE)
    module = griffe.load("made", search_paths=[str(tmp_path)], docstring_parser="google", allow_inspection=False)
    assert isinstance(module, griffe.Module)
    return module


def test_a_long_signature_has_a_line_for_each_parameter(made: griffe.Module) -> None:
    assert signature(made["find"], "find") == (
        "find(\n    x: int,\n    *,\n    named: dict[str, int] | None = None,\n"
        "    another_long_name: tuple[int, ...] = (1, 2),\n) -> list[Found]"
    )
    assert signature(made["Found"], "Found") == "class Found"


def test_a_docstring_becomes_a_section(made: griffe.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reference.ROOT", made.filepath.parent)  # type: ignore[union-attr]
    text = module_text(made)
    assert re.findall(r"^#+ .*", text, flags=re.M) == ["# `made`", "## `Found`", "## `find`"]
    assert "LIMIT = 3" in text and "Not shown" not in text
    assert "- **x** (`int`): Where it\n  looks." in text
    assert "```pycon\n>>> find(1)\n[]\n```" in text
    assert "[arXiv:1708.06733](https://arxiv.org/abs/1708.06733)" in text


def test_the_picture_has_a_box_for_each_room_and_says_its_layers() -> None:
    picture = layers_picture([["ground"], ["left", "right"], ["roof"]])
    assert picture.count("<rect") == 4
    assert "lowest first: ground; left and right; roof." in picture
    heights = {name: int(y) for y, name in re.findall(r'y="(\d+)" text-anchor="middle"[^>]*>(\w+)<', picture)}
    assert heights["roof"] < heights["left"] == heights["right"] < heights["ground"]


def test_every_public_module_has_its_place_and_no_private_one(tmp_path: Path) -> None:
    write_reference(tmp_path)
    text = "".join(path.read_text(encoding="utf-8") for path in (tmp_path / "reference").glob("*.md"))
    shown = re.findall(r"^##? `(badnets_lib[\w.]+)`$", text, flags=re.M)
    paths = [path.relative_to(ROOT).with_suffix("") for path in (ROOT / "badnets_lib").rglob("*.py")]
    modules = {".".join(path.parts).removesuffix(".__init__") for path in paths}
    assert set(shown) == {name for name in modules if "._" not in name} - {"badnets_lib"}
    assert len(shown) == len(set(shown))


def test_it_needs_neither_the_library_nor_torch(tmp_path: Path) -> None:
    code = "import sys; from pathlib import Path; from reference import write_reference; "
    code += "write_reference(Path(sys.argv[1])); print('torch' in sys.modules or 'badnets_lib' in sys.modules)"
    command = [sys.executable, "-c", code, str(tmp_path)]
    assert subprocess.run(command, cwd=ROOT / "tools", capture_output=True, text=True, check=True).stdout == "False\n"
