"""Predictions in the browser: the result waits for a choice, the first one counts, and the page keeps count."""

import shutil

import pytest
from looks import STATIC, lay_out_scripts
from playwright import sync_api as playwright

PAGE = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Predictions</title>
<meta name="viewport" content="width=device-width"><link rel="stylesheet" href="_static/book.css">
<script src="_static/modules.js" defer></script><script src="_static/predictions.js" defer></script></head>
<body><main><article class="bd-article"><h1>Predictions</h1>
<section id="one"><h2>One</h2>{first}<div class="cell"><div class="cell_output"><pre>the result</pre></div></div>
<p>What it means.</p><div class="cell"><div class="cell_output"><pre>another result</pre></div></div></section>
<section id="two"><h2>Two</h2>{second}</section>
<section id="check-yourself"><h2>Check yourself</h2><p>Open the answer.</p></section>
</article></main></body></html>"""
GROUP = """<div class="predict" role="group" aria-label="Prediction">
<details><summary>A. {word} falls</summary><p>No. It grows.</p></details>
<details><summary>B. {word} grows</summary><p>Right. So it is.</p></details></div>"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("predictions")
    lay_out_scripts(folder)
    shutil.copy(STATIC / "predictions.js", folder / "_static")
    page = PAGE.format(first=GROUP.format(word="It"), second=GROUP.format(word="The other"))
    (folder / "page.html").write_text(page, encoding="utf-8")
    (folder / "plain.html").write_text(page.replace("predictions.js", "modules.js"), encoding="utf-8")
    return folder


@pytest.fixture
def page(open_page, folder):
    page = open_page(folder, "page.html")
    page.get_by_role("status").wait_for()
    return page


def told(page):
    return page.get_by_role("status").inner_text().strip()


def test_the_next_result_and_its_text_wait_for_a_choice_and_only_those(page):
    result, button = page.get_by_text("the result", exact=True), page.get_by_role("button", name="show the result")
    assert not result.is_visible() and button.count() == 1
    told = page.get_by_text("What it means.")
    assert not told.is_visible() and page.get_by_text("another result").is_visible()
    page.get_by_text("B. It grows").click()
    playwright.expect(result).to_be_visible()
    playwright.expect(told).to_be_visible()
    playwright.expect(button).to_have_count(0)
    playwright.expect(page.get_by_text("So it is.").first).to_be_visible()


def test_the_first_choice_counts_and_is_kept(page):
    assert told(page) == "This page asks for 2 predictions. You made none yet."
    page.get_by_text("A. It falls").click()
    page.get_by_text("B. It grows").click()
    page.get_by_text("B. The other grows").click()
    told_now = "This page asks for 2 predictions. You made 2, and 1 came true. Forget them"
    page.get_by_role("status").get_by_text("You made 2").wait_for()
    assert told(page) == told_now
    page.reload()
    page.get_by_role("status").wait_for()
    assert told(page) == told_now
    assert [text.split("\n")[0] for text in page.locator("details.chosen").all_inner_texts()] == [
        "A. It falls",
        "B. The other grows",
    ]
    assert page.get_by_text("the result", exact=True).is_visible()


def test_what_is_forgotten_is_asked_again(page):
    page.get_by_text("B. It grows").click()
    page.get_by_role("button", name="Forget them").click()
    assert told(page).endswith("You made none yet.")
    assert not page.get_by_text("the result", exact=True).is_visible()
    assert page.locator("details[open]").count() == 0
    page.get_by_text("A. It falls").click()
    page.get_by_role("status").get_by_text("You made 1, and 0 came true.").wait_for()


def test_the_keyboard_reaches_the_result_without_a_prediction(page):
    page.get_by_role("button", name="show the result").focus()
    page.keyboard.press("Enter")
    assert page.get_by_text("the result", exact=True).is_visible()
    assert page.evaluate("document.activeElement.className").startswith("cell_output")


def test_paper_and_a_browser_without_scripts_show_all(page, open_page, folder):
    page.emulate_media(media="print")
    assert page.get_by_text("the result", exact=True).is_visible()
    assert page.get_by_text("What it means.").is_visible()
    assert not page.get_by_role("button", name="show the result").is_visible()
    plain = open_page(folder, "plain.html")
    assert plain.get_by_text("the result", exact=True).is_visible()


def test_a_browser_that_forbids_the_store_counts_for_one_visit(open_page, folder):
    page = open_page(
        folder,
        "page.html",
        before="Storage.prototype.getItem = Storage.prototype.setItem = () => { throw Error('no'); }",
    )
    page.get_by_text("B. It grows").click()
    page.get_by_role("status").get_by_text("You made 1, and 1 came true.").wait_for()
