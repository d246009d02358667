"""Answers to the exercises and predictions; and that code, figures and drawings are as CONTRIBUTING says."""

import json
import re

import pytest
from project import CHAPTERS, figures_of  # tools/

import badnets_lib as bd
from badnets_lib.study.exercises import answers

NUMBER = re.compile(r"-?\d[\d,]*\.?\d*(?:e[+-]?\d+)?")


def told(capsys, *arguments):
    bd.check(*arguments)
    return capsys.readouterr().out.strip()


@pytest.fixture
def known(monkeypatch):
    from badnets_lib.study import exercises

    made = {
        "2.1": exercises.Answer(0.5, 0.01, "a share, as a fraction"),
        "2.2": exercises.Answer("Blend", 0, "the family's name"),
    }
    monkeypatch.setattr(exercises, "answers", lambda: made)


@pytest.mark.parametrize(("answer", "words"), [
    (..., "Exercise 2.1 asks for a share, as a fraction."),
    (0.495, "Exercise 2.1: 0.495 is right."),
    (0.6, "Exercise 2.1: 0.6 is too high."),
    (0, "Exercise 2.1: 0 is too low."),
    (float("nan"), "Exercise 2.1: nan is not a number."),
    ("half", "Exercise 2.1 asks for a number, a share, as a fraction; got 'half'."),
    (True, "Exercise 2.1 asks for a number, a share, as a fraction; got True."),
])  # fmt: skip
def test_a_number_is_right_or_too_high_or_too_low(capsys, known, answer, words):
    assert told(capsys, "2.1", answer) == words


def test_a_word_may_be_written_in_any_case(capsys, known):
    assert told(capsys, "2.2", " blend ") == "Exercise 2.2:  blend  is right."
    assert told(capsys, "2.2", "warp") == "Exercise 2.2: warp is not right yet."


def test_an_unknown_exercise_is_refused(known):
    with pytest.raises(ValueError, match=r"no exercise '9.9' has an answer to check; those that have: 2.1, 2.2"):
        bd.check("9.9", 1)


# ---- the pages ----


def chapters():
    return sorted(CHAPTERS.glob("[0-9][0-9]_*.ipynb"))


def cells(path):
    return json.loads(path.read_text(encoding="utf-8"))["cells"]


def exercises_of(path):
    """(name, text, code cell after it, all that the cells up to the next exercise print), for each exercise."""
    number, found = int(path.stem[:2]), []
    for cell in cells(path):
        source = "".join(cell["source"])
        match = re.search(r"\*\*Exercise (\d+)\.\*\*", source) if cell["cell_type"] == "markdown" else None
        if match:
            found.append((f"{number}.{match[1]}", source, []))
        elif found:
            found[-1][2].append(cell)
    return found


@pytest.mark.parametrize("path", chapters(), ids=lambda path: path.stem)
def test_an_exercise_has_a_level_a_hint_and_a_cell(path):
    for name, source, after in exercises_of(path):
        assert re.search(r"\*\*Exercise \d+\.\*\* \*\((easy|medium|hard)\)\* ", source), name
        assert source.count("<details><summary>Hint</summary>") == 1, name
        assert after[0]["cell_type"] == "code" and after[0]["metadata"]["tags"] == ["exercise"], name


def test_every_answer_is_asked_for_by_the_cell_below_its_exercise():
    asked = {}
    for path in chapters():
        for name, _, after in exercises_of(path):
            for line in re.findall(r'bd\.check\("([\d.]+)", answer\)', "".join(after[0]["source"])):
                asked[line] = name
    assert asked == {name: name for name in answers()}


def test_the_solution_says_the_answer():
    for path in chapters():
        for name, _, after in exercises_of(path):
            if name not in answers():
                continue
            value = answers()[name].value
            text = " ".join(_said(cell) for cell in after[1:])
            if isinstance(value, str):
                assert value.casefold() in text.casefold(), name
            else:
                numbers = [float(found.replace(",", "").rstrip(".")) for found in NUMBER.findall(text)]
                gaps = [abs(scaled - value) for each in numbers for scaled in (each, each / 100, each * 100)]
                assert min(gaps) <= answers()[name].within, f"{name}: {value} is not among {numbers}"


def _said(cell):
    """Source and text outputs of a cell."""
    outputs = cell.get("outputs", [])
    texts = [
        text for output in outputs for text in (output.get("text", []), output.get("data", {}).get("text/plain", []))
    ]
    return "".join(cell["source"]) + " " + " ".join("".join(text) for text in texts)


# ---- predictions ----


@pytest.mark.parametrize("path", chapters(), ids=lambda path: path.stem)
def test_a_prediction_has_one_right_answer(path):
    for cell in cells(path):
        source = "".join(cell["source"])
        if cell["cell_type"] != "markdown":
            continue
        groups = re.findall(
            r'<div class="predict" role="group" aria-label="Prediction">\n\n(.*?)\n\n</div>', source, re.S
        )
        assert len(groups) == source.count('class="predict"') == source.count("**Predict.**"), source[:200]
        for group in groups:
            options = re.findall(r"<details><summary>([A-D])\. .+?</summary><p>(Right|No)\. .+?</p></details>", group)
            assert len(options) == len(group.splitlines()), group
            assert [letter for letter, _ in options] == list("ABCD")[: len(options)], group
            assert [verdict for _, verdict in options].count("Right") == 1, group


# ---- code and figures ----

COLUMNS = 78


@pytest.mark.parametrize("path", chapters(), ids=lambda path: path.stem)
def test_code_fits_the_page(path):
    wide = [
        line.strip()
        for cell in cells(path)
        if cell["cell_type"] == "code"
        for line in "".join(cell["source"]).splitlines()
        if len(line) > COLUMNS
    ]
    assert not wide


@pytest.mark.parametrize("path", chapters(), ids=lambda path: path.stem)
def test_every_figure_has_a_caption(path):
    for cell in cells(path):
        drawn = bool(figures_of(cell))
        if drawn and "hide-cell" not in cell["metadata"].get("tags", []):
            assert cell["metadata"]["mystnb"]["figure"]["caption"].endswith("."), cell["id"]
        for drawing in re.findall(r"^!\[.*\]\(images/(?!colab|lab_)\w+\.svg.*$", "".join(cell["source"]), re.M):
            assert re.fullmatch(r'!\[[^\]]{40,}\]\(images/\w+\.svg "[^"]+\."\)', drawing), drawing


def test_there_are_thirty_drawings():
    shown = {
        name
        for path in chapters()
        for cell in cells(path)
        for name in re.findall(r"\]\(images/(\w+)\.svg ", "".join(cell["source"]))
    }
    assert len(shown) >= 30
    assert {path.stem for path in (CHAPTERS / "images").glob("*.svg")} - shown == {"colab", "lesson", "own_model"}
