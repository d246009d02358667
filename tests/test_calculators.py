"""The calculators count as the library does: on the site, from a folder, and as a notebook's output."""

import json
import re

import pytest
from looks import AXE_TAGS, DARK, SCRIPTS, lay_out_scripts
from playwright import sync_api as playwright

from badnets_lib import Difference, Proportion
from badnets_lib.display import widgets
from badnets_lib.display.elements import MODULES, ON_THE_SITE, scripts

PAGE = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Calculators</title>
<meta name="viewport" content="width=device-width"><style>{style}</style>{script}</head><body><main><h1>Calculators</h1>
{content}</main></body></html>"""
FIRST = "rho = 500/50,000 = 1.000%. A batch of 128 holds 1.28 poisoned images on average; 27.6% of batches hold none."
MORE = "rho = 550/50,000 = 1.100%. A batch of 128 holds 1.41 poisoned images on average; 24.3% of batches hold none."
ADDED = "rho = 550/50,550 = 1.088%. A batch of 128 holds 1.39 poisoned images on average; 24.7% of batches hold none."


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    lay_out_scripts(folder)
    content = widgets.fraction_calculator().html + widgets.success_calculator().html
    for name, style, script in (("light", "", SCRIPTS), ("dark", DARK, SCRIPTS), ("plain", "", "")):
        text = PAGE.format(style=style, script=script, content=content)
        (folder / f"{name}.html").write_text(text, encoding="utf-8")
    return folder


@pytest.fixture
def visit(open_page, folder):
    def visit(name="light", **settings):
        page = open_page(folder, f"{name}.html", **settings)
        if name != "plain":
            page.locator("bn-success").get_by_role("button").wait_for()
        return page

    return visit


def success_text(hits, victims, false_hits, twin_hits):
    success, bare, twin = (Proportion(count, victims) for count in (hits, false_hits, twin_hits))
    return (
        f"ASR = {success}. Without the trigger: {bare}. "
        f"Clean network, with the trigger: {twin}; difference {Difference(success, twin)}."
    )


def call(page, module, name, *arguments):
    """What a function of a module says; an error says its message."""
    return page.evaluate(
        """([module, name, given]) => {
             try { return badnets.use(module)[name](...given); }
             catch (error) { if (!(error instanceof RangeError)) throw error; return error.message; }
           }""",
        [module, name, arguments],
    )


# ---- counting ----


@pytest.mark.parametrize(("setting", "text"), [
    ((500, 50_000, 128, False), FIRST),
    ((550, 50_000, 128, True), ADDED),
    ((0, 1_000, 8, False), "rho = 0/1,000 = 0.000%. A batch of 8 holds 0.00 poisoned images on average; "
                           "100.0% of batches hold none."),
    ((1_000, 1_000, 8, False), "rho = 1,000/1,000 = 100.000%. A batch of 8 holds 8.00 poisoned images on average; "
                               "0.0% of batches hold none."),
    ((1_001, 1_000, 8, False), "cannot poison 1,001 of 1,000 images in batches of 8"),
    ((1, 0, 8, False), "cannot poison 1 of 0 images in batches of 8"),
])  # fmt: skip
def test_a_fraction_in_words(visit, setting, text):
    names = ("poisoned", "clean", "batch", "added")
    assert call(visit(), "calculators", "fractionText", dict(zip(names, setting, strict=True))) == text


def test_rates_and_their_differences_are_the_librarys(visit):
    """Every pair of counts among some victims: rate, Wilson's and Newcombe's interval, and how they are printed."""
    page = visit()
    for victims in (1, 16, 400, 9000):
        counts = sorted({0, 1, victims // 3, victims // 2, victims - 1, victims})
        cases = [(hits, other) for hits in counts for other in counts]
        found = page.evaluate(
            """([victims, cases]) => cases.map(([hits, other]) => badnets.use("calculators").successText(
                 { hits, victims, false_hits: other, twin_hits: other }))""",
            [victims, cases],
        )
        assert found == [success_text(hits, victims, other, other) for hits, other in cases]


@pytest.mark.parametrize(("setting", "text"), [
    ((11, 10, 0, 0), "hits must lie between 0 and the 10 victims; got 11"),
    ((0, 10, 11, 0), "hits without the trigger must lie between 0 and the 10 victims; got 11"),
    ((0, 10, 0, -1), "clean network's hits must lie between 0 and the 10 victims; got -1"),
    ((0, 0, 0, 0), "at least one victim is needed; got 0"),
])  # fmt: skip
def test_an_impossible_success_is_refused(visit, setting, text):
    names = ("hits", "victims", "false_hits", "twin_hits")
    assert call(visit(), "calculators", "successText", dict(zip(names, setting, strict=True))) == text


def test_halves_are_rounded_as_python_rounds_them(visit):
    numbers = [sign * k / 16 for k in range(400) for sign in (1, -1)] + [0.15, 0.35, 2.675, 1e-9, 99.95]
    cases = [[x, digits] for x in numbers for digits in (0, 1, 2, 3)]
    found = visit().evaluate("cases => cases.map(([x, digits]) => badnets.use('counts').fixed(x, digits))", cases)
    assert found == [f"{x:.{digits}f}" for x, digits in cases]


# ---- in the page ----


def test_keys_move_a_slider_and_the_words_follow(visit):
    page = visit()
    assert page.locator("bn-fraction .result").inner_text() == FIRST
    assert page.locator("bn-success .result").inner_text() == success_text(1860, 2000, 8, 12)
    slider = page.get_by_role("slider", name="poisoned k")
    slider.focus()
    page.keyboard.press("ArrowRight")
    assert page.locator("bn-fraction .result").inner_text() == MORE
    assert slider.get_attribute("aria-valuetext") == "550 poisoned images"
    playwright.expect(page.locator("bn-fraction [role=status]")).to_have_text(MORE)
    assert "1.41 of 128" in page.locator("bn-fraction svg").get_attribute("aria-label")

    page.get_by_role("checkbox", name="added as copies").focus()
    page.keyboard.press("Space")
    assert page.locator("bn-fraction .result").inner_text() == ADDED
    page.locator("bn-fraction").get_by_role("button").press("Enter")
    assert page.locator("bn-fraction .result").inner_text() == FIRST


def test_the_screen_reader_is_told_after_a_rest_and_not_at_every_step(visit):
    page = visit()
    words, told = page.evaluate("""() => {
      const root = document.querySelector("bn-fraction").shadowRoot, slider = root.querySelector("#poisoned");
      slider.value = 600;
      slider.dispatchEvent(new Event("input", {bubbles: true}));
      return [root.querySelector(".result").textContent, root.querySelector("[role=status]").textContent];
    }""")
    assert words.startswith("rho = 600/50,000 = 1.200%.") and words != told
    playwright.expect(page.locator("bn-fraction [role=status]")).to_have_text(words)


def test_every_control_is_reached_by_tab(visit):
    page, reached = visit(), []
    for _ in range(10):
        page.keyboard.press("Tab")
        reached.append(
            page.evaluate("(document.activeElement.shadowRoot?.activeElement ?? document.activeElement).id || 'reset'")
        )
    assert reached == [
        "clean", "poisoned", "batch", "added", "reset", "victims", "hits", "false_hits", "twin_hits", "reset",
    ]  # fmt: skip


def test_a_finger_moves_a_slider(visit):
    page = visit(viewport={"width": 320, "height": 844}, has_touch=True, is_mobile=True)
    slider = page.get_by_role("slider", name="victims")
    slider.scroll_into_view_if_needed()
    box = slider.bounding_box()
    assert box["height"] >= 44, "a slider is as tall as a finger"
    page.touchscreen.tap(box["x"] + box["width"] * 0.9, box["y"] + box["height"] / 2)
    playwright.expect(slider).to_have_value(re.compile("[789]...$"))
    assert page.evaluate("document.documentElement.scrollWidth") <= 320


@pytest.mark.parametrize(
    ("tag", "settings", "message"),
    [
        ("bn-fraction", {"clean": 1000, "poisoned": 6000}, "cannot poison 6,000 of 1,000 images in batches of 128"),
        ("bn-success", {"victims": 1000}, "hits must lie between 0 and the 1,000 victims; got 1,860"),
    ],
)
def test_an_impossible_setting_is_explained_and_left_again(visit, tag, settings, message):
    page = visit()
    for name, value in settings.items():
        page.locator(f"{tag} #{name}").fill(str(value))
    assert page.locator(f"{tag} .result").inner_text() == message
    assert page.locator(f"{tag} svg").count() == 0, "no picture of what cannot be"
    page.locator(tag).get_by_role("button").click()
    assert page.locator(f"{tag} .result").inner_text() != message
    assert page.locator(f"{tag} svg").count() == 1


@pytest.mark.parametrize(("look", "width"), [("light", 1280), ("dark", 390)])
def test_the_audit_finds_no_barrier(visit, look, width):
    from axe_playwright_python.sync_playwright import Axe

    page = visit(look, viewport={"width": width, "height": 900})
    for impossible in (False, True):
        if impossible:
            page.locator("bn-success #victims").fill("10")
        results = Axe().run(page, options={"runOnly": {"type": "tag", "values": AXE_TAGS}})
        assert not results.response["violations"], json.dumps(results.response["violations"], indent=1)
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_the_example_remains_without_the_script_and_in_print(visit):
    plain = visit("plain")
    sentences = [plain.get_by_text("500 poisoned of 50,000"), plain.get_by_text("1,860 hits among 2,000")]
    for sentence in sentences:
        assert sentence.is_visible()
    page = visit()
    assert not page.get_by_text("500 poisoned of 50,000").is_visible()
    page.emulate_media(media="print")
    assert page.get_by_text("500 poisoned of 50,000").is_visible()
    assert not page.get_by_role("slider").first.is_visible()


# ---- in a notebook ----


def test_the_examples_are_the_librarys():
    assert "is a poisoning fraction of 1.000%" in widgets.fraction_calculator().html
    assert "holds 1.28 poisoned images on average, and 27.6% of batches hold none" in widgets.fraction_calculator().html
    assert str(Difference(Proportion(1860, 2000), Proportion(12, 2000))) in widgets.success_calculator().html


def test_a_notebooks_output_needs_nothing_else(open_page, tmp_path, monkeypatch):
    """Twice the same output in one page, put there as JupyterLab does it: each script anew, after its element."""
    monkeypatch.delenv(ON_THE_SITE, raising=False)
    output = widgets.fraction_calculator()._repr_html_()
    (tmp_path / "page.html").write_text(PAGE.format(style="", script="", content=""), encoding="utf-8")
    page = open_page(tmp_path, "page.html")
    for _ in range(2):
        page.evaluate(
            """(html) => {
                 const cell = document.createElement("div");
                 cell.innerHTML = html;
                 document.querySelector("main").append(cell);
                 for (const script of cell.querySelectorAll("script")) {
                   const again = document.createElement("script");
                   again.textContent = script.textContent;
                   script.replaceWith(again);
                 }
               }""",
            output,
        )
    assert page.locator("bn-fraction .result").all_inner_texts() == [FIRST, FIRST]
    page.get_by_role("slider", name="poisoned k").last.press("ArrowRight")
    assert page.locator("bn-fraction .result").all_inner_texts() == [FIRST, MORE]


def test_the_site_brings_its_own_scripts(monkeypatch):
    monkeypatch.setenv(ON_THE_SITE, "1")
    calculator = widgets.success_calculator()
    assert calculator._repr_html_() == calculator.html and "<script" not in calculator.html


@pytest.mark.parametrize("tag", MODULES)
def test_no_script_ends_early(tag):
    """A script in a page ends at the first closing tag in it, be it in a comment."""
    texts = re.findall(r"<script>(.*?)</script>", scripts(tag), re.DOTALL)
    assert len(texts) == len(MODULES[tag]) + 1
    assert all(text.rstrip().endswith((";", ")")) for text in texts)
