"""The book on paper: names and links of the joined pages, and a small book that Chromium prints."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import paper
import pytest
from bs4 import BeautifulSoup
from project import Page, contents

ARTICLE = """<html><head><link rel="stylesheet" href="../_static/a.css"><script src="x/katex.min.js"></script></head>
<body><nav>elsewhere</nav><article class="bd-article"><h1 id="top">{title}<a class="headerlink" href="#top">#</a></h1>
{text}<script>alert(1)</script>
<details><summary>s</summary><p id="deep">folded words</p></details></article></body></html>"""
TWO = [Page("", "index"), Page("Part I", "one"), Page("Part I", "lab"), Page("Part II", "two")]


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A site of four pages, one of which is not printed."""
    monkeypatch.setattr(paper, "contents", lambda: TWO)
    monkeypatch.setattr(Page, "notebook", property(lambda page: tmp_path / "chapters" / f"{page.name}.html"))
    (tmp_path / "chapters").mkdir()
    (tmp_path / "index.html").write_text("front")
    texts = {
        "index": '<p><a href="one.html">one</a> <a href="two.html#deep">deep</a></p>',
        "one": '<p id="here"><a href="#here">here</a> <a href="lab.html">lab</a></p>' + "<p>A line of text.</p>" * 150,
        "lab": "<p>drawing</p>",
        "two": '<p aria-labelledby="top">end <a href="https://arxiv.org/abs/1708.06733">paper</a></p>',
    }
    for name, text in texts.items():
        (tmp_path / "chapters" / f"{name}.html").write_text(ARTICLE.format(title=f"Page {name}", text=text))
    return tmp_path


def test_every_page_is_printed_but_the_lab_and_the_reference() -> None:
    assert {page.name for page in contents()} - {page.name for page in paper.pages()} == set(paper.LEFT_OUT)


def test_links_lead_to_their_place_in_the_joined_document(site: Path) -> None:
    soup = BeautifulSoup(paper.joined(site, {}), "html.parser")
    names = [element["id"] for element in soup.find_all(id=True)]
    assert len(names) == len(set(names))
    links = {a.get_text(): a.get("href") for a in soup.select("article a")}
    assert links == {
        "one": "#one", "deep": "#two--deep", "here": "#one--here", "lab": None,
        "paper": "https://arxiv.org/abs/1708.06733",
    }  # fmt: skip
    assert all(link[1:] in names for link in links.values() if link and link.startswith("#"))
    assert soup.select_one("[aria-labelledby]")["aria-labelledby"] == "two--top"  # type: ignore[index]


def test_folds_are_open_and_scripts_are_left_out(site: Path) -> None:
    soup = BeautifulSoup(paper.joined(site, {}), "html.parser")
    assert all(fold.has_attr("open") for fold in soup.find_all("details"))
    assert [str(script) for script in soup.find_all("script")] == ['<script src="x/katex.min.js"></script>']
    assert not soup.select(".headerlink, nav:not(.contents)")


def test_the_printed_contents_name_the_sheets_on_which_the_pages_begin(site: Path, browser: Any) -> None:
    from pypdf import PdfReader

    pdf = paper.print_book(browser, site, site / "book.pdf")
    reader = PdfReader(pdf)
    numbers = paper.starts(pdf)
    assert numbers.keys() == {"index", "one", "two"}
    assert numbers["two"] > numbers["one"] + 1 > numbers["index"] + 1 > 3, "a page of 150 lines is longer than a sheet"
    for name, number in numbers.items():
        assert f"Page {name}" in reader.pages[number - 1].extract_text()
    listed = reader.pages[1].extract_text()
    assert "Contents" in listed
    assert all(f"Page {name}" in listed and str(number) in listed for name, number in numbers.items())
    assert reader.outline and "folded words" in reader.pages[-1].extract_text()
    assert str(len(reader.pages)) in reader.pages[-1].extract_text()  # the number at its foot
    assert not (site / "chapters" / paper.JOINED).exists()


def test_without_a_site_there_is_nothing_to_print(tmp_path: Path, browser: Any) -> None:
    with pytest.raises(FileNotFoundError, match="run `make site` first"):
        paper.print_book(browser, tmp_path, tmp_path / "book.pdf")
