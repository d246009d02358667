"""The page for teachers: its table covers every chapter, the questions it names exist, and their marks add up."""

import json
import re
import subprocess
import sys

import pytest
from project import CHAPTERS, notebooks

from coursework import masters, outputs
from coursework.grading import Mark, Marks

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


@pytest.fixture
def autograder(tmp_path):
    """Runs the page's script, as it is printed there, as Gradescope runs it; for a folder in place of its own."""
    script = re.search(r"```python\n(#!/usr/bin/env python3\n.*?)```", PAGE, flags=re.S)[1]
    assert '"/autograder"' in script
    (tmp_path / "results").mkdir()
    (tmp_path / "run_autograder").write_text(script.replace('"/autograder"', repr(str(tmp_path))), encoding="utf-8")

    def run(*emails):
        about = {"users": [{"email": email, "name": "Ann"} for email in emails]}
        (tmp_path / "submission_metadata.json").write_text(json.dumps(about), encoding="utf-8")
        subprocess.run([sys.executable, tmp_path / "run_autograder"], check=True)
        return json.loads((tmp_path / "results" / "results.json").read_text(encoding="utf-8"))

    return run


def test_the_script_for_gradescope_hands_over_what_the_grader_wrote(autograder, tmp_path):
    master = masters.find("1")
    marks = tuple(Mark(check.name, check.points, check.points) for check in master.checks)
    graded = [Marks(name, marks, "", {}, "bubblewrap", 1.0, "k") for name in ("ann@uni.edu", "m.o'neil+1@uni.edu")]
    outputs.write(tmp_path / "source", master, graded)
    for emails in (["ann@uni.edu"], ["m.o'neil+1@uni.edu"], ["partner@uni.edu", "ann@uni.edu"]):
        assert autograder(*emails)["score"] == sum(check.points for check in master.checks)
    assert autograder("bob@uni.edu") == {"score": 0, "output": "There are no marks for bob@uni.edu yet."}
