"""The page for teachers: it covers every chapter, and its marks add up."""

import re
from itertools import pairwise

from project import CHAPTERS, notebooks

PAGE = (CHAPTERS / "teach.md").read_text(encoding="utf-8")
QUESTIONS = re.findall(r"\*\*Question (\d+)\*\* \((\d+) marks\)\.(.*?)</details>", PAGE, flags=re.S)


def section(name):
    (found,) = re.findall(rf"^## {name}\n(.*?)(?=^## |\Z)", PAGE, flags=re.S | re.M)
    return found


def test_every_chapter_has_an_outcome_and_something_that_checks_it():
    rows = re.findall(r"^\| [a-z].*\| \[\d+\]\((\w+)\.ipynb\) \| (.+) \|$", section("Outcomes"), flags=re.M)
    assert [name for name, _ in rows] == [path.stem for path in notebooks()]
    asked = {number for _, checks in rows for group in re.findall(r"questions? ([\d, ]+)", checks)
             for number in re.findall(r"\d+", group)}  # fmt: skip
    assert asked == {number for number, _, _ in QUESTIONS}, "a row names no question that exists, or a question no row"


def test_the_questions_are_numbered_and_their_marks_add_up():
    assert [int(number) for number, _, _ in QUESTIONS] == list(range(1, len(QUESTIONS) + 1))
    assert len(QUESTIONS) >= 12
    for number, marks, text in QUESTIONS:
        outline = text.partition("<summary>Outline of an answer</summary>")[2]
        assert sum(int(part) for part in re.findall(r"\((\d)\)", outline)) == int(marks), f"question {number}"
        assert re.search(r"\[Chapter \d+\]\(\d\d_\w+\.ipynb\)", outline), f"question {number} names no chapter"
    total = sum(int(marks) for _, marks, _ in QUESTIONS)
    assert f"{total} marks" in section("Exam questions")


def test_every_part_has_questions_to_discuss():
    parts = re.split(r"^### .*$", section("Discussion questions"), flags=re.M)[1:]
    assert len(parts) == 3
    assert all(len(re.findall(r"^- \*\*", part, flags=re.M)) >= 2 for part in parts)


def test_the_plan_of_ninety_minutes_fills_them():
    times = [(int(a), int(b)) for a, b in re.findall(r"^\| (\d+) to (\d+) \|", PAGE, flags=re.M)]
    assert times[0][0] == 0 and times[-1][1] == 90
    assert all(end == start for (_, end), (start, _) in pairwise(times))
