"""The quiz that ends each chapter: plain HTML that folds by itself, one right answer a question, a reason for each.

And what learning management systems are given of it.
"""

from __future__ import annotations

import io
import re
import zipfile
from pathlib import Path
from xml.etree import ElementTree

import pytest
from project import notebooks, read_notebook
from quizzes import HEADING, OPTION, QTI, QUESTION, Choice, choices, essays, moodle, plain, qti, shown, write_exports

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
        for number, _, written in questions:
            options = OPTION.findall(written)
            place = f"{path.name}, question {number}"
            assert "".join(letter for letter, *_ in options) in ("ABC", "ABCD"), place
            assert [verdict for _, _, verdict, _ in options].count("Right") == 1, place
            assert not OPTION.sub("", written), place


def test_answers_hold_nothing_that_would_be_printed_as_typed() -> None:
    options = [option for path in notebooks() for option in OPTION.findall(quiz(path))]
    assert options
    assert [option for option in options if RAW.search(option[1] + option[3])] == []


# ---- Moodle XML and QTI 2.1 ----

ORDER = ["responseDeclaration", "outcomeDeclaration", "itemBody", "responseProcessing", "modalFeedback"]
"""Of an item's children, as the published schema has them."""


def named(tag: str) -> str:
    return f"{{{QTI}}}{tag}"


@pytest.fixture(scope="module")
def items() -> dict[str, ElementTree.Element]:
    """The items of the package by identifier, read back from the zip file."""
    found = {}
    with zipfile.ZipFile(io.BytesIO(qti([*choices(), *essays()]))) as package:
        assert package.testzip() is None
        listed = ElementTree.fromstring(package.read("imsmanifest.xml"))
        names = [element.get("href") for element in listed.iter() if element.tag.endswith("}resource")]
        assert sorted([*names, "imsmanifest.xml"]) == sorted(package.namelist())
        for name in names:
            item = ElementTree.fromstring(package.read(name))
            found[item.get("identifier")] = item
    return found


def test_every_question_is_exported() -> None:
    asked = sum(quiz(path).count("<div") for path in notebooks())
    assert len(choices()) == asked and len({question.name for question in choices()}) == asked
    teach = (notebooks()[0].parent / "teach.md").read_text(encoding="utf-8")
    assert len(essays()) == len(re.findall(r"^\*\*Question \d+\*\*", teach, flags=re.M)) > 0
    assert {question.marks for question in essays()} <= set(range(1, 11))


def test_nothing_of_markdown_is_left() -> None:
    for question in [*choices(), *essays()]:
        texts = [question.text]
        texts += [o.text + o.reason for o in question.options] if isinstance(question, Choice) else [question.outline]
        assert not re.search(r"\*\*|\]\(|`|<a\b|\{cite|\$[a-zA-Z\\]", " ".join(texts)), question.name


def test_an_item_has_the_schemas_order_and_one_right_answer(items: dict[str, ElementTree.Element]) -> None:
    for question in choices():
        item = items[question.name]
        tags = [child.tag.removeprefix(named("")) for child in item]
        assert tags == sorted(tags, key=ORDER.index)
        offered = {choice.get("identifier") for choice in item.iter(named("simpleChoice"))}
        reasons = {feedback.get("identifier") for feedback in item.iter(named("modalFeedback"))}
        right = {value.text for found in item.iter(named("correctResponse")) for value in found}
        assert right == {option.letter for option in question.options if option.right} and len(right) == 1
        assert offered == reasons == {option.letter for option in question.options}
        declared = {
            d.get("identifier") for d in item if d.tag in (named("outcomeDeclaration"), named("responseDeclaration"))
        }
        used = {v.get("identifier") for v in item.iter() if v.tag in (named("setOutcomeValue"), named("variable"))}
        assert used <= declared
        assert {"adaptive", "timeDependent", "title", "identifier"} <= set(item.keys())


def test_an_exam_question_carries_its_marks_and_shows_the_outline_to_the_marker(
    items: dict[str, ElementTree.Element],
) -> None:
    for question in essays():
        item = items[question.name]
        (most,) = [d for d in item if d.get("identifier") == "MAXSCORE"]
        assert "".join(most.itertext()).strip() == str(question.marks)
        (outline,) = item.iter(named("rubricBlock"))
        assert outline.get("view") == "scorer" and "".join(outline.itertext()).strip()


def test_moodle_gets_a_category_a_chapter_and_full_marks_for_one_answer() -> None:
    root = ElementTree.fromstring(moodle([*choices(), *essays()]))
    kinds = [question.get("type") for question in root]
    assert kinds.count("category") == len(notebooks()) + 1
    assert kinds.count("multichoice") == len(choices()) and kinds.count("essay") == len(essays())
    for question in root.iterfind("question[@type='multichoice']"):
        fractions = sorted(int(answer.get("fraction", "")) for answer in question.iter("answer"))
        assert fractions == [0] * (len(fractions) - 1) + [100]
        assert all(answer.findtext("feedback/text") for answer in question.iter("answer"))
        assert question.findtext("single") == "true" and question.findtext("questiontext/text")


def test_html_that_is_no_xml_becomes_xml() -> None:
    assert plain("&rho; &lt; 1 &amp; <a href='x'>Chapter 2</a>") == "\u03c1 &lt; 1 &amp; Chapter 2"
    assert "<i>t</i>" in shown("the label $t$")
    assert shown("as {cite:t}`axelsson2000base` showed") == "<p>as Axelsson (2000) showed</p>"


def test_the_files_are_the_same_each_time(tmp_path: Path) -> None:
    for name in "ab":
        write_exports(tmp_path / name)
    names = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert names == ["badnets-moodle.xml", "badnets-qti21.zip"]
    assert all((tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes() for name in names)
