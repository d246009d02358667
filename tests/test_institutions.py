"""What a department reads: a plan for each chapter, times that add up, links and sources that exist."""

from __future__ import annotations

import json
import re
import tomllib

import pytest
from project import CHAPTERS, ROOT, contents, notebooks

LESSONS = (CHAPTERS / "lessons.md").read_text(encoding="utf-8")
PAGES = ("lessons", "institutions", "accessibility")
PLAN = re.compile(r"^### \[(\d+)\. [^\]]+\]\((\w+)\.ipynb\)\n(.*?)(?=^##|\Z)", flags=re.M | re.S)


def test_every_chapter_has_a_plan_in_its_order() -> None:
    planned = [name for _, name, _ in PLAN.findall(LESSONS)]
    assert planned == [path.stem for path in notebooks()]


@pytest.mark.parametrize("number", [int(number) for number, *_ in PLAN.findall(LESSONS)])
def test_a_plan_adds_up_and_has_its_three_parts(number: int) -> None:
    (text,) = [text for found, _, text in PLAN.findall(LESSONS) if int(found) == number]
    assert re.findall(r"^- \*\*(Time|They believe|On the board)", text, flags=re.M) == [
        "Time",
        "They believe",
        "On the board",
    ]
    total = int(re.search(r"\*\*Time, (\d+) minutes\.\*\*", text)[1])  # type: ignore[index]
    steps = re.sub(r"\s+", " ", text.partition("minutes.**")[2].partition("- **They")[0])
    assert sum(int(minutes) for minutes in re.findall(r"(?:^|\. |\? |: )\s*(\d+): ", steps)) == total


@pytest.mark.parametrize("name", PAGES)
def test_links_lead_to_pages_and_citations_to_the_bibliography(name: str) -> None:
    text = (CHAPTERS / f"{name}.md").read_text(encoding="utf-8")
    known = {page.name for page in contents()}
    assert {link for link in re.findall(r"\]\((\w+)\.(?:md|ipynb)", text)} <= known
    keys = {key for found in re.findall(r"\{cite:[tp]+\}`([\w,]+)`", text) for key in found.split(",")}
    bibliography = (CHAPTERS / "references.bib").read_text(encoding="utf-8")
    assert [key for key in keys if f"{{{key}," not in bibliography] == []


def test_the_map_names_every_framework_with_a_source() -> None:
    text = (CHAPTERS / "institutions.md").read_text(encoding="utf-8")
    for name in ("NCAE-C", "CyBOK 1.1", "CS2023", "MITRE ATLAS", "OWASP", "NIST AI 100-2"):
        assert re.search(rf"{name}[^|{{]*\{{cite", text), name


def test_the_statement_names_the_rules_that_the_tests_use() -> None:
    tests = (ROOT / "tests" / "test_site.py").read_text(encoding="utf-8")
    text = (CHAPTERS / "accessibility.md").read_text(encoding="utf-8")
    assert '"wcag2a", "wcag2aa", "wcag21a", "wcag21aa"' in tests and "WCAG 2.0 and 2.1, A and AA" in text
    assert {1280, 390} == {int(width) for _, width in re.findall(r'\("(light|dark)", (\d+)\)', tests)}
    assert "## Known gaps" in text and "1280 pixels" in text and "390" in text


def test_the_container_holds_what_the_tests_and_the_grader_need() -> None:
    image = (ROOT / ".devcontainer" / "Dockerfile").read_text(encoding="utf-8")
    assert {"bubblewrap", "chromium", "make", "git"} <= set(image.replace("\\", " ").split())
    settings = json.loads((ROOT / ".devcontainer" / "devcontainer.json").read_text(encoding="utf-8"))
    assert settings["build"]["dockerfile"] == "Dockerfile"
    assert "seccomp=unconfined" in settings["runArgs"], "the sandbox makes namespaces"
    python = re.search(r"FROM python:(\d+)\.(\d+)", image)
    assert python and (int(python[1]), int(python[2])) >= (3, 11)


def test_no_file_names_the_host_of_a_package_registry() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert project["project"]["name"]
    places = [*ROOT.glob("*.md"), *ROOT.glob(".devcontainer/*"), *ROOT.glob(".github/workflows/*"), ROOT / "Makefile"]
    hosts = re.compile(r"pypi\.org|pythonhosted|download\.pytorch\.org|index-url")
    assert [path.name for path in places if hosts.search(path.read_text(encoding="utf-8"))] == []
