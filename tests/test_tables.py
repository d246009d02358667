"""The sortable table: whole without a script, and in a browser sorted, filtered and reached by keyboard."""

import json
import re

import pytest
from looks import AXE_TAGS, DARK, SCRIPTS, lay_out_scripts

from badnets_lib.display.tables import sortable

HEADS = ["attack", "kind", "ASR"]
ROWS = [
    ["patch 10", "shown", ("9.5% [8, 11]", 0.095)],
    ["patch 2", "hidden", ("100%", 1.0)],
    ["warp", "hidden", ("", None)],
    ["blend", "shown", ("30%", 0.3)],
]
PAGE = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Table</title>
<meta name="viewport" content="width=device-width"><link rel="stylesheet" href="_static/book.css"><style>{style}</style>
{scripts}</head>
<body class="bd-article"><main><h1>Table</h1>{content}</main></body></html>"""


def shown(rows=ROWS, **given):
    return sortable(HEADS, rows, caption="Four attacks.", **{"filters": ["kind"]} | given).html


def test_it_is_a_whole_table_where_no_script_runs():
    page = shown()
    assert page.count("<tr>") == 5 and page.count('<th scope="col"') == 3 and page.count('<th scope="row"') == 4
    assert "<caption>Four attacks.</caption>" in page and re.findall("data-sort=.*?>", page)[1:3] == [
        'data-sort="1">', 'data-sort="">'
    ]  # fmt: skip


def test_no_text_becomes_markup():
    page = shown([["<img src=x>", "a & b", ('"quoted"', 1.0)]])
    assert "<img" not in page and "a &amp; b" in page and "&quot;quoted&quot;" in page


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match=r"3 heads need as many entries in every row; got 2: \['a', 'b'\]"):
        shown([["a", "b"]])
    with pytest.raises(ValueError, match="filters must be heads of the table; colour is none of attack, kind, ASR"):
        shown(filters=["colour"])


# ---- in a browser ----


@pytest.fixture
def visit(open_page, tmp_path):
    lay_out_scripts(tmp_path)

    def visit(style="", **settings):
        text = PAGE.format(style=style, scripts=SCRIPTS, content=shown())
        (tmp_path / "page.html").write_text(text, encoding="utf-8")
        page = open_page(tmp_path, "page.html", **settings)
        page.get_by_role("status").wait_for()
        return page

    return visit


def names(page):
    """First column of the rows one can see, in order."""
    return page.locator("tbody tr:not([hidden]) th").all_inner_texts()


def test_a_head_sorts_by_number_up_and_down_with_the_empty_last(visit):
    page = visit()
    assert names(page) == ["patch 10", "patch 2", "warp", "blend"]
    page.get_by_role("button", name="ASR").click()
    assert names(page) == ["patch 10", "blend", "patch 2", "warp"]
    assert page.get_by_role("columnheader", name="ASR").get_attribute("aria-sort") == "ascending"
    page.get_by_role("button", name="ASR").click()
    assert names(page) == ["patch 2", "blend", "patch 10", "warp"]


def test_a_head_sorts_text_as_people_do_and_by_keyboard(visit):
    page = visit()
    page.get_by_role("button", name="attack").focus()
    page.keyboard.press("Enter")
    assert names(page) == ["blend", "patch 2", "patch 10", "warp"]
    states = page.locator("th[aria-sort]").evaluate_all("heads => heads.map((head) => head.ariaSort)")
    assert states == ["ascending", "none", "none"]


def test_a_filter_hides_rows_says_so_and_survives_sorting(visit):
    page = visit()
    assert page.get_by_role("status").inner_text() == "4 of 4 rows"
    page.get_by_label("kind").select_option("hidden")
    assert names(page) == ["patch 2", "warp"] and page.get_by_role("status").inner_text() == "2 of 4 rows"
    page.get_by_role("button", name="attack").click()
    assert names(page) == ["patch 2", "warp"]
    page.get_by_label("kind").select_option("all")
    assert len(names(page)) == 4


@pytest.mark.parametrize(("look", "style", "width"), [("light", "", 1280), ("dark", DARK, 390)])
def test_the_audit_finds_no_barrier(visit, look, style, width):
    from axe_playwright_python.sync_playwright import Axe

    page = visit(style, viewport={"width": width, "height": 800})
    page.evaluate(f"document.documentElement.dataset.theme = '{look}'")
    page.get_by_role("button", name="ASR").click()
    options = {"preload": False, "runOnly": {"type": "tag", "values": AXE_TAGS}}
    found = Axe().run(page, options=options).response["violations"]
    assert not found, json.dumps(found, indent=1)
