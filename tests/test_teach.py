"""The page for teachers: its table covers every chapter, the questions it names exist, and their marks add up."""

import re

from project import CHAPTERS, notebooks

PAGE = (CHAPTERS / "teach.md").read_text(encoding="utf-8")
QUESTIONS = re.findall(r"\*\*Question (\d+)\*\* \((\d+) marks\)\.(.*?)</details>", PAGE, flags=re.S)


def test_the_table_of_outcomes_has_every_chapter_and_names_questions_that_exist():
    rows = re.findall(r"^\| [a-z].*\| \[\d+\]\((\w+)\.ipynb\) \| (.+) \|$", PAGE, flags=re.M)
    assert [name for name, _ in rows] == [path.stem for path in notebooks()]
    groups = [group for _, checks in rows for group in re.findall(r"questions? ([\d, ]+)", checks)]
    assert {number for group in groups for number in re.findall(r"\d+", group)} == {number for number, *_ in QUESTIONS}


def test_the_marks_of_the_questions_add_up():
    for number, marks, text in QUESTIONS:
        outline = text.partition("<summary>")[2]
        assert sum(int(part) for part in re.findall(r"\((\d)\)", outline)) == int(marks), f"question {number}"
    assert f"{sum(int(marks) for _, marks, _ in QUESTIONS)} marks" in PAGE
