"""The decks: every figure with its text, nothing raw, one file each; and in a browser keys, looks, paper, no script."""

import gzip
import json
import re
from html.parser import HTMLParser
from urllib.parse import unquote

import nbformat
import pytest
from looks import AXE_TAGS
from playwright.sync_api import expect
from project import CHAPTERS, contents, figures_of, notebooks, read_notebook
from slides import caption, deck, formula, target, write_decks

LIMIT = 1_500_000  # bytes of a deck, compressed as a server sends it


def svg(width, height):
    """A grey picture."""
    box = f'viewBox="0 0 {width} {height}"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {box}><rect width="100%" height="100%" fill="#888"/></svg>'


class Read(HTMLParser):
    """What a deck holds: its pictures, links, headings, and the text outside style and script."""

    def __init__(self, page):
        super().__init__()
        self.pictures, self.links, self.kinds, self.text, self.open = [], [], [], "", []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        if tag not in ("meta", "link", "img", "br"):
            self.open.append(tag)
        if tag == "img":
            data = found["src"].removeprefix("data:image/svg+xml,")
            self.pictures.append((unquote(data), found["alt"]))
        elif tag == "a":
            self.links.append(found["href"])
        elif tag == "section":
            self.kinds.append(found["class"])

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if not {"style", "script"} & set(self.open):
            self.text += data


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site") / "slides"
    write_decks(folder, notebooks())
    return folder


@pytest.fixture(scope="module")
def decks(folder):
    return [Read(path.read_text(encoding="utf-8")) for path in sorted(folder.iterdir())]


def members():
    """The chapters of each part, in order."""
    parts = {}
    for page in contents():
        if page.notebook.exists():
            parts.setdefault(page.part, []).append(read_notebook(page.notebook))
    return list(parts.values())


def stored(notebook):
    """The figures a chapter stores, each with its alternative text."""
    return [(svg, cell["metadata"]["mystnb"]["image"]["alt"]) for cell in notebook["cells"] for svg in figures_of(cell)]


def test_every_figure_of_a_part_is_in_its_deck_with_its_text(decks):
    for read, part in zip(decks, members(), strict=True):
        figures = [figure for notebook in part for figure in stored(notebook)]
        assert read.pictures == [(svg.replace("\n", " "), text) for svg, text in figures]


def test_every_chapter_has_its_slides(decks):
    for read, part in zip(decks, members(), strict=True):
        counts = {kind: read.kinds.count(kind) for kind in ("title", "outcomes", "seen", "links")}
        assert set(counts.values()) == {len(part)}, counts
        assert read.kinds[:2] == ["front", "title"] and read.kinds.count("predict") >= len(part)


def test_nothing_raw_is_shown(decks):
    for read in decks:
        assert not re.findall(r".{0,40}(?:\$|\*\*|\\|\]\(|<).{0,40}", read.text)


def test_links_lead_to_slides_pages_or_out(decks):
    pages = {f"../chapters/{page.name}.html" for page in contents()}
    for read in decks:
        for link in read.links:
            known = link.startswith("https://") or link.partition("#")[0] in pages
            assert known or (link[0] == "#" and read.kinds[int(link[1:]) - 1] == "title"), link


def test_decks_are_light_and_ask_for_nothing(folder):
    for path in folder.iterdir():
        page = path.read_text(encoding="utf-8")
        assert len(gzip.compress(page.encode())) < LIMIT
        assert not re.findall(r"(?:src|srcset)=\"(?!data:)|<link(?![^>]*href=\"data:)|url\((?!%23)|@import", page)


def test_the_page_for_teachers_links_every_deck(folder):
    linked = re.findall(r'href="\.\./slides/([^"]+)"', (CHAPTERS / "teach.md").read_text(encoding="utf-8"))
    assert linked == sorted(path.name for path in folder.iterdir())


# ---- small pieces ----


def test_formulas_become_text_and_what_is_unknown_is_refused():
    assert formula(r"\rho = 5\%") == "&rho; = 5%"
    assert formula(r"x_i^{10} - K\rho/(1+K\rho)") == (
        "<i>x</i><sub><i>i</i></sub><sup>10</sup> &minus; <i>K</i>&rho;/(1+<i>K</i>&rho;)"
    )
    for source in (r"\frac12", r"\sqrt{2}", "a_{b_{c}}"):
        with pytest.raises(ValueError, match="no way to show the formula"):
            formula(source)


def test_links_are_seen_from_the_folder_of_the_decks():
    assert target("08_how_much_poison.ipynb") == "../chapters/08_how_much_poison.html"
    assert target("assumptions.md#half-a-class") == "../chapters/assumptions.html#half-a-class"
    assert target("https://arxiv.org/abs/1708.06733") == "https://arxiv.org/abs/1708.06733"


def test_a_caption_is_what_the_text_says_first():
    assert caption("Two panels. Left: success over poison, a line for each seed; right: the same.") == (
        "Two panels. Left: success over poison, a line for each seed."
    )
    assert caption("Bars.") == "Bars."


def made(folder, *cells):
    """A chapter of these cells, as a file."""
    new = nbformat.v4
    notebook = new.new_notebook(cells=[])
    for cell in cells:
        if isinstance(cell, str):
            notebook.cells.append(new.new_markdown_cell(cell))
        else:
            figure = new.new_output("display_data", {"image/svg+xml": svg(4, 2)})
            metadata = {"mystnb": {"image": {"alt": cell["alt"]}}} if "alt" in cell else {}
            notebook.cells.append(
                new.new_code_cell("draw()", outputs=[figure] if "alt" in cell else [], metadata=metadata)
            )
    nbformat.write(notebook, folder / "01_made.ipynb")
    return folder / "01_made.ipynb"


def test_the_deck_of_a_made_chapter(tmp_path):
    path = made(
        tmp_path,
        "# 1. Made\n\n**After this chapter you can**\n\n- read $\\tau$.\n\n**Question:** Why `x`?\n\n**Time:** 1 s",
        "## One\n\n**Predict.** Not for the figure.",
        {},
        "The answer.\n\n## Two\n\n**Predict.** Is $x < 1$?",
        {},
        {"alt": 'A "quoted" <figure>.'},
        {"alt": "Another."},
        "## What was seen\n\n- It [works](02_next.ipynb).\n\n| a | table |\n|---|---|\n\n## Pitfalls\n\n- None.",
        "## Further reading\n\n- Nothing.",
    )
    page = deck("Part I & only", [path])
    read = Read(page)
    assert read.kinds == ["front", "title", "outcomes", "predict", "figure", "figure", "seen", "links"]
    assert [alt for _, alt in read.pictures] == ['A "quoted" <figure>.', "Another."]
    assert re.findall(r"<h[123][^>]*>(.*?)</h", page) == [
        "Part I &amp; only", "1. Made", "After this chapter you can", "Predict", "Two", "Two", "What was seen",
        "Read on",
    ]  # fmt: skip
    assert "Is x < 1?" in read.text and "Why x?" in read.text and "read τ." in read.text
    assert "../chapters/02_next.html" in read.links and "../chapters/01_made.html" in read.links
    for absent in ("Not for the figure", "table", "None.", "1 s"):
        assert absent not in read.text
    assert 'style="--shape: 2.000"' in page


# ---- in a browser ----


def wait_for_slide(page, number):
    """In a moment the slide one can see is `number`, by its own account and by the address too."""
    expect(page.locator("section:visible")).to_have_attribute("id", str(number))
    expect(page.get_by_role("status")).to_have_text(re.compile(f"^{number} / "))
    if number > 1:
        expect(page).to_have_url(re.compile(f"#{number}$"))


def test_keys_move_and_the_address_follows(open_page, folder):
    page = open_page(folder, "part_1.html")
    last = page.locator("section").count()
    wait_for_slide(page, 1)
    for key, expected in [
        ("ArrowLeft", 1), ("ArrowRight", 2), ("Space", 3), ("Shift+Space", 2), ("PageDown", 3), ("PageUp", 2),
        ("End", last), ("ArrowRight", last), ("Home", 1), ("ArrowRight", 2),
    ]:  # fmt: skip
        page.keyboard.press(key)
        wait_for_slide(page, expected)


def test_buttons_links_and_the_address_move(open_page, folder):
    page = open_page(folder, "part_1.html#3")
    wait_for_slide(page, 3)
    page.get_by_role("button", name="Next").click()
    wait_for_slide(page, 4)
    page.keyboard.press("Space")  # the button has the focus, and is pressed once
    wait_for_slide(page, 5)
    page.get_by_role("button", name="Back").click()
    wait_for_slide(page, 4)
    page.keyboard.press("Home")
    wait_for_slide(page, 1)
    expect(page.get_by_role("button", name="Back")).to_be_disabled()
    page.get_by_role("link", name="1. The construction").click()
    expect(page.locator("section.now h2")).to_have_text("1. The construction")


def test_a_swipe_moves_and_a_scroll_does_not(open_page, folder):
    page = open_page(folder, "part_1.html", has_touch=True, viewport={"width": 390, "height": 800})
    swipe = """([across, down]) => {
      const touch = (x, y) => new Touch({identifier: 1, target: document.body, clientX: x, clientY: y});
      const [from, to] = [touch(200, 300), touch(200 + across, 300 + down)];
      document.body.dispatchEvent(new TouchEvent("touchstart", {bubbles: true, touches: [from]}));
      document.body.dispatchEvent(new TouchEvent("touchend", {bubbles: true, changedTouches: [to]}));
    }"""
    page.evaluate(swipe, [-120, 10])
    wait_for_slide(page, 2)
    page.evaluate(swipe, [-60, 200])
    page.evaluate(swipe, [120, 0])
    wait_for_slide(page, 1)


def test_without_a_script_it_is_a_page_and_on_paper_a_slide_a_page(open_page, folder):
    page = open_page(folder, "part_1.html", java_script_enabled=False)
    assert page.locator("section:visible").count() == page.locator("section").count()
    assert not page.locator("nav").is_visible()
    page = open_page(folder, "part_1.html")
    page.emulate_media(media="print")
    assert page.locator("section:visible").count() == page.locator("section").count()
    assert not page.locator("nav").is_visible()
    pages = re.findall(rb"/Type\s*/Page\b", page.pdf(prefer_css_page_size=True))
    assert len(pages) == page.locator("section").count()


@pytest.mark.parametrize(("look", "width"), [("light", 1280), ("dark", 390)])
def test_the_audit_finds_no_barrier(open_page, folder, look, width):
    from axe_playwright_python.sync_playwright import Axe

    options = {"preload": False, "runOnly": {"type": "tag", "values": AXE_TAGS}, "resultTypes": ["violations"]}
    settings = {"color_scheme": look, "viewport": {"width": width, "height": 800}, "reduced_motion": "reduce"}
    page = open_page(folder, "part_1.html", **settings)
    for long in (False, True):  # the slide in front, then all of them as one page
        page.evaluate("long => document.documentElement.classList.toggle('live', !long)", long)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        found = Axe().run(page, options=options).response["violations"]
        assert not found, json.dumps(found, indent=1)
    for name in ("part_2.html", "part_3.html"):
        page.goto(f"{folder.as_uri()}/{name}")
        page.evaluate("document.documentElement.classList.remove('live')")
        assert page.evaluate("document.documentElement.scrollWidth") <= width
