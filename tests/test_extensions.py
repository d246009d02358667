"""The two Sphinx extensions of the book: captions with numbers, terms that lead to the glossary."""

import captions
import pytest
import terms
from docutils import nodes
from docutils.frontend import get_default_settings
from docutils.utils import new_document

GLOSSARY = """# Glossary

```{glossary}
attack success rate
ASR
  The share of {term}`victim`s that get the [wanted](x.md) label. And more.

clean twin
  The same network without poison

STRIP
  A filter.

target
  The label the attacker wants.

update
  What a client sends.
```
"""


class Env:
    """What the transforms ask of Sphinx."""

    def __init__(self, docname, folder):
        self.docname, self.folder, self.noted = docname, folder, []

    def doc2path(self, name):
        return str(self.folder / f"{name.rpartition('/')[2]}.md")

    def note_dependency(self, name):
        self.noted.append(name)


@pytest.fixture
def page(tmp_path, monkeypatch):
    (tmp_path / "glossary.md").write_text(GLOSSARY, encoding="utf-8")

    def page(transform, *parts, docname="chapters/04_rate"):
        document = new_document("page", get_default_settings())
        document.extend(parts)
        env = Env(docname, tmp_path)
        monkeypatch.setattr(transform, "env", env, raising=False)
        transform(document).apply()
        return document

    return page


def paragraph(*parts):
    return nodes.paragraph("", "", *(nodes.Text(part) if isinstance(part, str) else part for part in parts))


def links(document):
    return [(node.astext(), node["refuri"], node["reftitle"]) for node in document.findall(nodes.reference)]


def test_a_definition_is_its_first_sentence_without_marks():
    assert terms.definitions(GLOSSARY) == {
        "attack success rate": "The share of victims that get the wanted label.",
        "ASR": "The share of victims that get the wanted label.",
        "clean twin": "The same network without poison",
        "STRIP": "A filter.",
        "target": "The label the attacker wants.",
        "update": "What a client sends.",
    }


def test_only_the_first_use_of_a_term_is_a_link(page):
    document = page(terms.Terms, paragraph("Clean twins and a target. A target, a clean twin."), paragraph("A target."))
    assert links(document) == [
        ("Clean twins", "glossary.html#term-clean-twin", "The same network without poison"),
        ("target", "glossary.html#term-target", "The label the attacker wants."),
    ]
    assert document.astext() == "Clean twins and a target. A target, a clean twin.\n\nA target."


def test_titles_code_bold_words_and_everyday_words_stay(page):
    kept = paragraph(nodes.strong("", "target"), nodes.literal("", "clean twin"), " you strip and update retargeted")
    document = page(terms.Terms, nodes.title("", "The target"), kept)
    assert not links(document)


def test_other_pages_stay(page):
    assert not links(page(terms.Terms, paragraph("A target."), docname="chapters/teach"))


def image(title=""):
    node = nodes.image(uri="images/a.svg", alt="what it shows")
    if title:
        node["title"] = title
    return node


def test_a_titled_image_alone_becomes_a_numbered_figure(page):
    document = page(
        captions.Captions, paragraph(image("See this.")), paragraph(image()), paragraph("text ", image("No."))
    )
    [figure] = document.findall(nodes.figure)
    assert figure[1].astext() == "Figure 4.1. See this." and figure[0]["alt"] == "what it shows"
    assert "title" not in figure[0]


def test_figures_of_cells_and_of_text_are_counted_in_one_row(page):
    cell = nodes.figure("", image(), nodes.caption("", "Of a cell."))
    document = page(captions.Captions, paragraph(image("See this.")), cell)
    assert [node.astext() for node in document.findall(nodes.caption)] == [
        "Figure 4.1. See this.",
        "Figure 4.2. Of a cell.",
    ]


def test_figures_outside_the_chapters_have_no_number(page):
    document = page(captions.Captions, paragraph(image("See this.")), docname="chapters/own_model")
    assert [node.astext() for node in document.findall(nodes.caption)] == ["See this."]
