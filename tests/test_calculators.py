"""The calculators of the site say what the notebooks' controls say, in a real browser and from a folder."""

import json
import random
import re
import shutil
from pathlib import Path

import pytest
from looks import AXE_TAGS, DARK
from playwright import sync_api as playwright

from badnets_lib.display import widgets

SCRIPT = Path(__file__).parents[1] / "chapters" / "_static" / "calculators.js"
PAGE = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Calculators</title>
<meta name="viewport" content="width=device-width"><style>{style}</style>{script}</head><body><main><h1>Calculators</h1>
<bn-fraction><p>500 of 50,000 images is 1%.</p></bn-fraction>
<bn-success><p>1,860 of 2,000 victims is 93%.</p></bn-success></main></body></html>"""
PYTHON = {"bn-fraction": widgets.fraction_calculator, "bn-success": widgets.success_calculator}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    shutil.copy(SCRIPT, folder)
    script = '<script src="calculators.js" defer></script>'
    for name, style, tag in (("light", "", script), ("dark", DARK, script), ("plain", "", "")):
        (folder / f"{name}.html").write_text(PAGE.format(style=style, script=tag), encoding="utf-8")
    return folder


@pytest.fixture
def visit(open_page, folder):
    return lambda name="light", **settings: open_page(folder, f"{name}.html", **settings)


def python_text(text, **settings):
    try:
        return text(**settings)
    except ValueError as error:
        return str(error)


def browser_texts(page, name, cases):
    return page.evaluate(
        """([name, cases]) => cases.map(settings => {
             try { return bnCalculators[name](settings); }
             catch (error) { if (!(error instanceof RangeError)) throw error; return error.message; }
           })""",
        [name, cases],
    )


def test_the_fraction_reads_the_same_in_both_languages(visit):
    draw = random.Random(0)
    cases = [
        {
            "poisoned": draw.choice([0, 1, 500, draw.randrange(7000)]),
            "clean": draw.choice([0, 1, 1000, 50_000, draw.randrange(1, 60_001)]),
            "batch": draw.choice([0, 1, 64, 128, draw.randrange(1, 513)]),
            "added": draw.random() < 0.5,
        }
        for _ in range(2000)
    ]
    texts = browser_texts(visit(), "fractionText", cases)
    assert texts == [python_text(widgets.fraction_text, **case) for case in cases]
    assert 100 < sum(text.startswith("cannot") for text in texts) < 1500


def test_the_success_rate_reads_the_same_in_both_languages(visit):
    draw = random.Random(1)
    cases = []
    for _ in range(2000):
        victims = draw.choice([0, 1, 16, 400, 2000, draw.randrange(1, 9001)])
        most = draw.choice([victims, victims, victims + 5])
        case = {name: draw.choice([0, most, draw.randrange(most + 1)]) for name in ("hits", "false_hits")}
        twin = {"twin_hits": draw.choice([0, draw.randrange(most + 1)])} if draw.random() < 0.7 else {}
        cases.append({"victims": victims} | case | twin)
    texts = browser_texts(visit(), "successText", cases)
    assert texts == [python_text(widgets.success_text, **case) for case in cases]
    assert 100 < sum(not text.startswith("ASR") for text in texts) < 1500


def test_halves_are_rounded_as_python_rounds_them(visit):
    numbers = [sign * k / 16 for k in range(400) for sign in (1, -1)] + [0.15, 0.35, 2.675, 1e-9, 99.95]
    cases = [[x, digits] for x in numbers for digits in (0, 1, 2, 3)]
    found = visit().evaluate("cases => cases.map(([x, digits]) => bnCalculators.fixed(x, digits))", cases)
    assert found == [f"{x:.{digits}f}" for x, digits in cases]


@pytest.mark.parametrize("tag", PYTHON)
def test_sliders_and_first_words_are_those_of_the_notebook(visit, tag):
    *controls, line = PYTHON[tag]().children
    expected = [
        {"label": c.description, "value": c.value}
        | ({} if isinstance(c.value, bool) else {"min": c.min, "max": c.max, "step": c.step})
        for c in controls
    ]
    found = visit().evaluate(
        """tag => [...document.querySelector(tag).shadowRoot.querySelectorAll("input")].map(input => ({
             label: input.labels[0].textContent,
             ...(input.type === "checkbox" ? {value: input.checked}
                 : {value: +input.value, min: +input.min, max: +input.max, step: +input.step})}))""",
        tag,
    )
    assert found == expected
    assert visit().locator(f"{tag} .result").inner_text() == line.value


def test_keys_move_a_slider_and_the_words_follow(visit):
    page = visit()
    slider = page.get_by_role("slider", name="poisoned k")
    slider.focus()
    page.keyboard.press("ArrowRight")
    expected = widgets.fraction_text(550, 50_000, 128, added=False)
    assert page.locator("bn-fraction .result").inner_text() == expected
    assert slider.get_attribute("aria-valuetext") == "550 poisoned images"
    playwright.expect(page.locator("bn-fraction [role=status]")).to_have_text(expected)
    assert "1.41 of 128" in page.locator("bn-fraction svg").get_attribute("aria-label")

    page.get_by_role("checkbox", name="added as copies").focus()
    page.keyboard.press("Space")
    assert page.locator("bn-fraction .result").inner_text() == widgets.fraction_text(550, 50_000, 128, added=True)
    page.locator("bn-fraction").get_by_role("button").press("Enter")
    first = widgets.fraction_text(500, 50_000, 128, added=False)
    assert page.locator("bn-fraction .result").inner_text() == first


def test_the_screen_reader_is_told_after_a_rest_and_not_at_every_step(visit):
    page = visit()
    words, told = page.evaluate("""() => {
      const root = document.querySelector("bn-fraction").shadowRoot, slider = root.querySelector("#poisoned");
      slider.value = 600;
      slider.dispatchEvent(new Event("input", {bubbles: true}));
      return [root.querySelector(".result").textContent, root.querySelector("[role=status]").textContent];
    }""")
    assert words == widgets.fraction_text(600, 50_000, 128, added=False) != told
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
    page = visit(viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    slider = page.get_by_role("slider", name="victims")
    slider.scroll_into_view_if_needed()
    box = slider.bounding_box()
    assert box["height"] >= 44, "a slider is as tall as a finger"
    page.touchscreen.tap(box["x"] + box["width"] * 0.9, box["y"] + box["height"] / 2)
    playwright.expect(slider).to_have_value(re.compile("[789]...$"))
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


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


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("look", ["light", "dark"])
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
    sentences = [plain.get_by_text("500 of 50,000"), plain.get_by_text("1,860 of 2,000")]
    page = visit()
    for sentence in sentences:
        assert sentence.is_visible()
    assert not page.get_by_text("500 of 50,000").is_visible()
    page.emulate_media(media="print")
    assert page.get_by_text("500 of 50,000").is_visible()
    assert not page.get_by_role("slider").first.is_visible()


def test_the_script_is_small():
    assert len(SCRIPT.read_bytes()) < 20_000
