"""The quiz that ends each chapter: plain HTML that folds by itself, one right answer a question, a reason for each."""

from __future__ import annotations

import re
from pathlib import Path

from project import notebooks, read_notebook

HEADING = "## Check yourself"
# The blank lines let Markdown and mathematics in a question be read as such, inside the HTML round it.
QUESTION = re.compile(
    r'<div class="quiz" role="group" aria-label="Question (\d)">\n\n'
    r"\*\*\1\.\*\* [^\n]+\n\n((?:<details>[^\n]+</details>\n)+)\n</div>"
)
OPTION = re.compile(r"<details><summary>([A-D])\. (.+?)</summary><p>(Right|No)\. (.+?)</p></details>\n")
RAW = re.compile(r"[$`]|\*\*|\]\(|&(?!\w+;)|<(?!/?(?:code|em|sub|sup)>)")  # printed as typed inside a block of HTML


def quiz(path: Path) -> str:
    cells = read_notebook(path)["cells"]
    (found,) = [text for cell in cells if (text := "".join(cell["source"])).startswith(HEADING)]
    return found


def test_every_question_has_one_right_answer() -> None:
    for path in notebooks():
        text = quiz(path)
        questions = QUESTION.findall(text)
        assert len(questions) == text.count("<div") >= 3, f"{path.name}: a question is not written as the others are"
        for number, written in questions:
            options = OPTION.findall(written)
            place = f"{path.name}, question {number}"
            assert "".join(letter for letter, *_ in options) in ("ABC", "ABCD"), place
            assert [verdict for _, _, verdict, _ in options].count("Right") == 1, place
            assert not OPTION.sub("", written), place


def test_answers_hold_nothing_that_would_be_printed_as_typed() -> None:
    options = [option for path in notebooks() for option in OPTION.findall(quiz(path))]
    assert options
    assert [option for option in options if RAW.search(option[1] + option[3])] == []
