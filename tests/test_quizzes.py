"""The quiz that ends each chapter: plain HTML that folds by itself, one right answer a question, a reason for each."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest
from project import notebooks, read_notebook

HEADING = "## Check yourself"
OPENING = f"{HEADING}\n\nOpen the answer you would give; each says whether it is right, and why.\n\n"
# The blank lines let Markdown and mathematics in a question be read as such, inside the HTML round it.
QUESTION = re.compile(
    r'<div class="quiz" role="group" aria-label="Question (\d)">\n\n'
    r"\*\*(\d)\.\*\* ([^\n]+)\n\n((?:<details>[^\n]+</details>\n)+)\n</div>(?:\n\n|$)"
)
OPTION = re.compile(r"<details><summary>([A-D])\. (.+?)</summary><p>(Right|No)\. (.+?)</p></details>\n")

each_chapter = pytest.mark.parametrize("path", notebooks(), ids=lambda path: path.stem)


def prose(path: Path) -> list[str]:
    return ["".join(cell["source"]) for cell in read_notebook(path)["cells"] if cell["cell_type"] == "markdown"]


def questions(path: Path) -> list[tuple[str, ...]]:
    """Of each question: its label, its number, its text and its options as they are written."""
    return [found for text in prose(path) if text.startswith(HEADING) for found in QUESTION.findall(text)]


def options(path: Path) -> list[list[tuple[str, ...]]]:
    """Of each question its options: letter, summary, verdict, reason."""
    return [OPTION.findall(written) for *_, written in questions(path)]


@each_chapter
def test_one_quiz_stands_right_before_the_exercises(path: Path) -> None:
    headings = re.findall(r"^## .+", "\n".join(prose(path)), re.MULTILINE)
    assert headings.count(HEADING) == 1
    assert headings[headings.index(HEADING) + 1] == "## Exercises"


@each_chapter
def test_a_quiz_is_made_of_questions_and_of_nothing_else(path: Path) -> None:
    (quiz,) = [text for text in prose(path) if HEADING in text]
    assert quiz.startswith(OPENING)
    assert QUESTION.sub("", quiz.removeprefix(OPENING)) == ""
    numbers = [(label, number) for label, number, *_ in questions(path)]
    assert numbers == [(str(n), str(n)) for n in range(1, len(numbers) + 1)]
    assert len(numbers) in (3, 4)


@each_chapter
def test_exactly_one_answer_is_right_and_each_has_its_letter(path: Path) -> None:
    for (*_, text, written), answers in zip(questions(path), options(path), strict=True):
        assert OPTION.sub("", written) == "", text
        letters = "".join(letter for letter, *_ in answers)
        assert letters in ("ABC", "ABCD"), text
        assert [verdict for _, _, verdict, _ in answers].count("Right") == 1, text
        assert len({summary for _, summary, *_ in answers}) == len(answers), text
    assert options(path)


@each_chapter
def test_answers_are_plain_html(path: Path) -> None:
    """Markdown and mathematics are not read inside an HTML block: they would be printed as typed."""
    for answers in options(path):
        for _, summary, _, reason in answers:
            assert not re.search(r"[$`]|\*\*|\]\(|&(?!\w+;)", summary + reason), (summary, reason)
            assert not re.search(r"<(?!/?(?:code|em|sub|sup)>)", summary + reason), (summary, reason)


def test_the_right_answer_has_no_favourite_place() -> None:
    right = Counter(
        letter for path in notebooks() for answers in options(path) for letter, _, verdict, _ in answers
        if verdict == "Right"
    )  # fmt: skip
    assert set(right) == set("ABCD")
    assert max(right.values()) <= right.total() / 2
