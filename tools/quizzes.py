"""The quizzes of the chapters and the exam questions, for learning management systems: Moodle XML and QTI 2.1.

`make site` writes both to _build/html/quizzes. A quiz question is a choice with one right answer and a reason for each;
an exam question is an open answer, with the marks and the outline that the marker sees.

References:
    1EdTech, Question and Test Interoperability 2.1, and Content Packaging 1.1: https://www.imsglobal.org/question/
    Moodle XML: https://docs.moodle.org/en/Moodle_XML_format
"""

from __future__ import annotations

import html
import io
import re
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

from project import CHAPTERS, config, notebooks, read_notebook, title
from slides import MARKDOWN

HEADING = "## Check yourself"
# The blank lines let Markdown and mathematics in a question be read as such, inside the HTML round it.
QUESTION = re.compile(
    r'<div class="quiz" role="group" aria-label="Question (\d)">\n\n'
    r"\*\*\1\.\*\* ([^\n]+)\n\n((?:<details>[^\n]+</details>\n)+)\n</div>"
)
OPTION = re.compile(r"<details><summary>([A-D])\. (.+?)</summary><p>(Right|No)\. (.+?)</p></details>\n")
EXAM = re.compile(
    r"\*\*Question (\d+)\*\* \((\d+) marks\)\.\s(.*?)\n\n<details>\n<summary>.*?</summary>\n\n(.*?)\n\n</details>",
    re.DOTALL,
)
LINK = re.compile(r"</?a\b[^>]*>")
CITED = re.compile(r"\{cite:[tp]+\}`(\w+)`")
ENTITY = re.compile(r"&(?!(?:amp|lt|gt|quot|apos|#\w+);)\w+;")

QTI = "http://www.imsglobal.org/xsd/imsqti_v2p1"
PACKAGE = "http://www.imsglobal.org/xsd/imscp_v1p1"
XSI = "http://www.w3.org/2001/XMLSchema-instance"
QTI_SCHEMA = "http://www.imsglobal.org/xsd/qti/qtiv2p1/imsqti_v2p1.xsd"
PACKAGE_SCHEMA = "http://www.imsglobal.org/xsd/qti/qtiv2p1/qtiv2p1_imscpv1p2_v1p0.xsd"


@dataclass(frozen=True)
class Option:
    """One answer to choose.

    Args:
        letter: A to D.
        text: The answer, as HTML.
        right: Whether it is the right one.
        reason: Why, or why not, as HTML.
    """

    letter: str
    text: str
    right: bool
    reason: str


@dataclass(frozen=True)
class Choice:
    """A question of a chapter's quiz.

    Args:
        name: Its identifier, such as `chapter-04-question-2`.
        group: The chapter's title.
        text: The question, as HTML.
        options: Three or four, one of them right.
    """

    name: str
    group: str
    text: str
    options: tuple[Option, ...]


@dataclass(frozen=True)
class Essay:
    """A question of the exam.

    Args:
        name: Its identifier, such as `exam-question-07`.
        marks: What it is worth.
        text: The question, as HTML.
        outline: What an answer should hold, with marks, as HTML.
    """

    name: str
    marks: int
    text: str
    outline: str
    group: str = "Exam questions"


Question = Choice | Essay


def shown(markdown: str) -> str:
    """Markdown as HTML that is XML as well, with formulas drawn and links dropped."""
    return plain(MARKDOWN.render(CITED.sub(lambda found: cited(found[1]), markdown)).strip())


def plain(source: str) -> str:
    """HTML without links, its named characters written out."""
    return ENTITY.sub(lambda found: html.unescape(found[0]), LINK.sub("", source))


def cited(key: str) -> str:
    """A citation as a name and a year, from a key such as `axelsson2000base`."""
    author, year = re.match(r"([a-z]+)(\d{4})", key).groups()  # type: ignore[union-attr]
    return f"{author.capitalize()} ({year})"


def choices() -> list[Choice]:
    """Every quiz question of every chapter, in reading order."""
    found = []
    for path in notebooks():
        notebook = read_notebook(path)
        for cell in notebook["cells"]:
            source = "".join(cell["source"])
            if source.startswith(HEADING):
                found += [choice(path, title(notebook), *parts) for parts in QUESTION.findall(source)]
    return found


def choice(path: Path, group: str, number: str, asked: str, written: str) -> Choice:
    """One question, from what its pattern found."""
    options = tuple(
        Option(letter, plain(text), verdict == "Right", plain(reason))
        for letter, text, verdict, reason in OPTION.findall(written)
    )
    return Choice(f"chapter-{path.stem.partition('_')[0]}-question-{number}", group, shown(asked), options)


def essays() -> list[Essay]:
    """The exam questions of the page for teachers."""
    page = (CHAPTERS / "teach.md").read_text(encoding="utf-8")
    return [
        Essay(f"exam-question-{int(number):02d}", int(marks), shown(text), shown(outline))
        for number, marks, text, outline in EXAM.findall(page)
    ]


# ---- Moodle XML ----


def worded(parent: Element, tag: str, text: str, **attributes: str) -> Element:
    """An element of Moodle's kind: the words stand in a child of their own, HTML as text."""
    made = SubElement(parent, tag, attributes)
    SubElement(made, "text").text = text
    return made


def moodle(questions: Iterable[Question]) -> bytes:
    """Questions as Moodle XML, in a category for each chapter."""
    quiz, group = Element("quiz"), ""
    for question in questions:
        if question.group != group:
            group = question.group
            worded(
                SubElement(quiz, "question", type="category"),
                "category",
                f"$course$/top/BadNets/{group.replace('/', '//')}",
            )
        quiz.append(moodle_question(question))
    return serialised(quiz)


def moodle_question(question: Question) -> Element:
    """One question."""
    made = Element("question", type="multichoice" if isinstance(question, Choice) else "essay")
    worded(made, "name", question.name)
    worded(made, "questiontext", question.text, format="html")
    worded(made, "generalfeedback", "", format="html")
    settings = {"defaultgrade": "1", "penalty": "0.3333333", "hidden": "0", "idnumber": question.name}
    if isinstance(question, Essay):
        settings |= {"defaultgrade": str(question.marks), "penalty": "0"}
        settings |= {
            "responseformat": "editor",
            "responserequired": "1",
            "responsefieldlines": "15",
            "attachments": "0",
        }
    else:
        settings |= {"single": "true", "shuffleanswers": "true", "answernumbering": "ABCD"}
    for tag, value in settings.items():
        SubElement(made, tag).text = value
    if isinstance(question, Essay):
        worded(made, "graderinfo", question.outline, format="html")
        worded(made, "responsetemplate", "", format="html")
        return made
    for option in question.options:
        answer = worded(made, "answer", option.text, fraction="100" if option.right else "0", format="html")
        worded(answer, "feedback", option.reason, format="html")
    return made


# ---- QTI 2.1 ----


def filled(parent: Element, tag: str, source: str, **attributes: str) -> Element:
    """An element of QTI's kind: HTML as elements."""
    made = ElementTree.fromstring(f"<{tag}>{source}</{tag}>")
    made.attrib.update(attributes)
    parent.append(made)
    return made


def outcome(item: Element, name: str, kind: str, value: str = "") -> None:
    """Declare what an item yields."""
    made = SubElement(item, "outcomeDeclaration", identifier=name, cardinality="single", baseType=kind)
    if value:
        SubElement(SubElement(made, "defaultValue"), "value").text = value


def qti_item(question: Question) -> Element:
    """One question as an assessment item."""
    item = Element("assessmentItem", {"xmlns": QTI, "xmlns:xsi": XSI, "xsi:schemaLocation": f"{QTI} {QTI_SCHEMA}"})
    item.attrib |= {"identifier": question.name, "title": f"{question.group}: {question.name}"}
    item.attrib |= {"adaptive": "false", "timeDependent": "false"}
    kind = "identifier" if isinstance(question, Choice) else "string"
    declared = SubElement(item, "responseDeclaration", identifier="RESPONSE", cardinality="single", baseType=kind)
    outcome(item, "SCORE", "float", "0")
    body = filled(Element("parent"), "itemBody", question.text)
    if isinstance(question, Essay):
        outcome(item, "MAXSCORE", "float", str(question.marks))
        item.append(body)
        SubElement(body, "extendedTextInteraction", responseIdentifier="RESPONSE", expectedLines="15")
        filled(body, "rubricBlock", question.outline, view="scorer")
        return item
    (right,) = (option.letter for option in question.options if option.right)
    SubElement(SubElement(declared, "correctResponse"), "value").text = right
    outcome(item, "FEEDBACK", "identifier")
    item.append(body)
    offered = SubElement(body, "choiceInteraction", responseIdentifier="RESPONSE", shuffle="true", maxChoices="1")
    for option in question.options:
        filled(offered, "simpleChoice", option.text, identifier=option.letter)
    item.append(processing())
    for option in question.options:
        filled(
            item,
            "modalFeedback",
            option.reason,
            outcomeIdentifier="FEEDBACK",
            identifier=option.letter,
            showHide="show",
        )
    return item


def processing() -> Element:
    """One point for the right answer, and the reason of the chosen one."""
    made = Element("responseProcessing")
    cases = SubElement(made, "responseCondition")
    case = SubElement(cases, "responseIf")
    same = SubElement(case, "match")
    SubElement(same, "variable", identifier="RESPONSE")
    SubElement(same, "correct", identifier="RESPONSE")
    point = SubElement(case, "setOutcomeValue", identifier="SCORE")
    SubElement(point, "baseValue", baseType="float").text = "1"
    SubElement(SubElement(made, "setOutcomeValue", identifier="FEEDBACK"), "variable", identifier="RESPONSE")
    return made


def manifest(questions: Iterable[Question]) -> Element:
    """The list of the package's files."""
    root = Element(
        "manifest", {"xmlns": PACKAGE, "xmlns:xsi": XSI, "xsi:schemaLocation": f"{PACKAGE} {PACKAGE_SCHEMA}"}
    )
    root.set("identifier", "badnets-questions")
    about = SubElement(root, "metadata")
    SubElement(about, "schema").text = "QTIv2.1 Package"
    SubElement(about, "schemaversion").text = "1.0.0"
    SubElement(root, "organizations")
    resources = SubElement(root, "resources")
    for question in questions:
        name = f"items/{question.name}.xml"
        kept = SubElement(
            resources, "resource", identifier=f"resource-{question.name}", type="imsqti_item_xmlv2p1", href=name
        )
        SubElement(kept, "file", href=name)
    return root


def serialised(root: Element) -> bytes:
    """XML as it lies in a file."""
    ElementTree.indent(root, " ")
    return bytes(ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)) + b"\n"


def qti(questions: list[Question]) -> bytes:
    """Questions as a QTI 2.1 package: a zip file, the same bytes for the same questions."""
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w", zipfile.ZIP_DEFLATED) as archive:
        files = {"imsmanifest.xml": manifest(questions)}
        files |= {f"items/{question.name}.xml": qti_item(question) for question in questions}
        for name, root in files.items():
            archive.writestr(zipfile.ZipInfo(name, (2026, 1, 1, 0, 0, 0)), serialised(root), zipfile.ZIP_DEFLATED)
    return whole.getvalue()


def write_exports(folder: Path) -> None:
    """Write both formats."""
    questions: list[Question] = [*choices(), *essays()]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "badnets-moodle.xml").write_bytes(moodle(questions))
    (folder / "badnets-qti21.zip").write_bytes(qti(questions))


if __name__ == "__main__":
    print(config()["title"], len(choices()), "quiz questions,", len(essays()), "exam questions")
