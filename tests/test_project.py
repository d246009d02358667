"""The repository's files agree with one another: each fact is owned by one file, and the copies are held to it."""

from __future__ import annotations

import ast
import os
import re
import subprocess
from pathlib import Path
from urllib.parse import unquote

import pytest
from build import GENERATED, write_generated
from packaging.requirements import Requirement
from project import CHAPTERS, ROOT, address, config, contents, notebooks, read_notebook, settings, site, slug

OURS = re.compile(r"github\.com/([\w.-]+/badnets[\w-]*)")
SOURCES = sorted(p for p in CHAPTERS.glob("*") if p.suffix in {".md", ".ipynb"})


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def requirement_lines(name: str) -> list[str]:
    lines = (line.split("#")[0].strip() for line in read(name).splitlines())
    return [line for line in lines if line and not line.startswith("-")]


# ---- the address of the repository: pyproject.toml owns it ----


def test_the_configuration_names_the_same_address() -> None:
    book = config()
    sphinx = book["sphinx"]["config"]
    assert book["repository"]["url"] == address()
    assert book["html"]["baseurl"] == sphinx["ogp_site_url"] == site()
    assert sphinx["ogp_image"] == site() + "_static/social.png"
    assert (CHAPTERS / "_static" / "social.png").exists()


@pytest.mark.parametrize("name", ["README.md", "CITATION.cff"])
def test_the_files_at_the_top_name_it(name: str) -> None:
    assert address() in read(name)


@pytest.mark.parametrize("path", [ROOT / "README.md", ROOT / "CITATION.cff", *SOURCES], ids=lambda path: path.name)
def test_nothing_names_another(path: Path) -> None:
    named = {found.removesuffix(".git") for found in OURS.findall(path.read_text(encoding="utf-8"))}
    assert named <= {slug()}


@pytest.mark.parametrize("name", ["README.md", "_config.yml", "badnets_lib/evaluation/report.schema.json"])
def test_the_published_site_has_one_address(name: str) -> None:
    assert set(re.findall(r"https://[\w.-]+\.github\.io/[\w.-]+/", read(name))) == {site()}


def test_the_title_stands_in_one_place() -> None:
    assert read("_config.yml").count(config()["title"]) == 1


# ---- requirements: pyproject.toml owns the library's, constraints.txt the tested set ----


def test_requirements_hold_the_librarys_ranges() -> None:
    project = settings()["project"]
    extras = [line for lines in project["optional-dependencies"].values() for line in lines]
    assert {*project["dependencies"], *extras} <= set(requirement_lines("requirements.txt"))


def test_the_tested_set_is_exact_and_within_the_ranges() -> None:
    pins = {Requirement(line).name.lower(): line.split("==")[1] for line in requirement_lines("constraints.txt")}
    for line in requirement_lines("requirements.txt") + requirement_lines("tools/requirements-site.txt"):
        wanted = Requirement(line)
        assert wanted.specifier.contains(pins[wanted.name.lower()]), line
    assert not [name for name in pins if name.startswith(("nvidia", "triton"))]
    assert not [version for version in pins.values() if "+" in version]


# ---- the environment ----


@pytest.mark.parametrize(("lacks", "message"), [
    ("version_info", "The book needs Python 3.11 or newer"),
    ("ensurepip", "cannot make environments. On Debian or Ubuntu: apt install python3-venv"),
])  # fmt: skip
def test_a_python_that_will_not_do_is_explained_and_leaves_nothing(tmp_path: Path, lacks: str, message: str) -> None:
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\ncase "$*" in *{lacks}*) exit 1;; *venv*) mkdir "$3";; esac\n')
    python.chmod(0o755)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    command = ["make", "-C", str(ROOT), f"PYTHON={python}", f"VENV={tmp_path}/venv", "site"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode and message in done.stdout
    assert list(tmp_path.iterdir()) == [python]


# ---- the contents ----


def test_the_contents_and_the_folder_agree() -> None:
    names = [page.name for page in contents()]
    assert len(names) == len(set(names))
    assert {path.stem for path in SOURCES} == set(names)


def test_generated_pages_are_up_to_date(tmp_path: Path) -> None:
    write_generated(tmp_path, notebooks())
    for name in GENERATED:
        assert (tmp_path / name).read_bytes() == (CHAPTERS / name).read_bytes(), (
            f"chapters/{name} is old: run `make pages`"
        )


# ---- sources ----


def test_every_linked_paper_is_in_the_bibliography() -> None:
    known = read("chapters/references.bib")
    linked = {
        unquote(number)
        for path in SOURCES
        if path.name not in GENERATED
        for number in re.findall(r"https?://(?:arxiv\.org/(?:abs|pdf)/|doi\.org/)([^\s)\"\\>\]]+)", path.read_text())
    }
    assert {number for number in linked if number not in known} == set()


# ---- what others made ----


def test_licences_are_kept() -> None:
    assert "MIT" in read("LICENSE")
    assert "KaTeX" in read("chapters/_static/katex/LICENSE") or "Khan Academy" in read("chapters/_static/katex/LICENSE")


def test_the_mathematics_style_fits_its_script() -> None:
    from sphinxcontrib import katex

    assert f'"{katex.katex_version}"' in read("chapters/_static/katex/katex.min.css")
    fonts = set(re.findall(r"fonts/[\w-]+\.\w+", read("chapters/_static/katex/katex.min.css")))
    assert fonts == {f"fonts/{p.name}" for p in (CHAPTERS / "_static/katex/fonts").iterdir()}


def anchors() -> set[str]:
    """The sections that the library names where it warns, or says what a defense assumes: last arguments."""
    found = set()
    for path in (ROOT / "badnets_lib").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("warn_assumption", "Assumption"):
                anchor = [*node.args, *(keyword.value for keyword in node.keywords)][-1]
                found |= {anchor.value} if isinstance(anchor, ast.Constant) else set()
    assert found
    return found


def test_every_warning_has_a_section_on_its_page() -> None:
    headings = re.findall(r"^##+ (.*)", read("chapters/assumptions.md"), flags=re.M)
    assert anchors() <= {heading.lower().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b'\xef\xbb\xbf{"cells": []}', "BOM"),
        (b"<<<<<<< ours\n{}\n=======\n[]\n>>>>>>> theirs\n", "it holds the marks of a merge conflict"),
        (b'{"cells": [\n<<<<<<< HEAD\n', "it holds the marks of a merge conflict"),
        (b"", "Expecting value"),
        (b'{"cells": "\xff"}', "can't decode byte"),
    ],
    ids=["byte-order mark", "conflict", "conflict inside", "empty", "no UTF-8"],
)
def test_a_file_that_is_no_notebook_is_named(tmp_path: Path, data: bytes, why: str) -> None:
    path = tmp_path / "01_construction.ipynb"
    path.write_bytes(data)
    with pytest.raises(ValueError, match=rf"01_construction\.ipynb is not a notebook: .*{why}"):
        read_notebook(path)
