"""The explorer shows the committed numbers and nothing else: in Python, in a real browser, and from a folder."""

import itertools
import json
import random
import re
from dataclasses import replace

import pytest
from looks import AXE_TAGS, DARK, SCRIPTS, lay_out_scripts
from playwright import sync_api as playwright

from badnets_lib.display.widgets import explorer, explorer_text
from badnets_lib.study.results import Origin, Results
from badnets_lib.study.sweeps import grid

PAGE = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Explorer</title>
<meta name="viewport" content="width=device-width"><style>{style}</style>{script}</head><body><main><h1>Explorer</h1>
{content}<p>After it.</p></main></body></html>"""
CONTROLS = {"size": "side of the square (pixels)", "opacity": "opacity"}
AXES = {"size": (1, 2, 4), "opacity": (0.1, 0.5, 1.0), "fraction": (0.005, 0.0075, 0.01, 0.05)}
START = {"size": 4, "opacity": 0.5, "fraction": 0.01}
FIRST = "Size 4, opacity 0.5, rho = 1.00%: ASR "


def measure(*, fraction, seed, size=4, opacity=1.0):
    """An experiment that takes no time: hits that differ from setting to setting."""
    chance = random.Random(f"{size} {opacity} {fraction} {seed}")
    hits = min(900, round(900 * 40 * fraction * opacity * size / 4))
    hits -= chance.randrange(1 + hits // 4)
    return {"clean": [970 + chance.randrange(15), 1000], "success": [hits, 900], "false_target": [2, 900]}


def finished(name, **axes):
    """The result of a sweep over all combinations, as `results.load` gives it."""
    rows = tuple(cell | measure(**cell) | {"seconds": 0.1} for cell in grid(**axes))
    return Results(name, tuple(axes), rows, Origin("make", (), {}, (), (), (), 0.0))


@pytest.fixture(scope="module")
def made():
    """Results: `trigger` (two controls, five seeds) and `curve` (none, seven seeds, with its clean twins)."""
    return {
        "trigger": finished("trigger", seed=range(5), **AXES),
        "curve": finished("curve", seed=range(7), fraction=(0.0, 0.0005, 0.002, 0.00125, 0.1)),
    }


@pytest.fixture(scope="module")
def twins(made):
    return made["curve"].where(fraction=0.0)


def island(shown):
    """The data inside the element."""
    return json.loads(re.search(r'<script type="application/json">(.*?)</script>', shown.html, re.DOTALL)[1])


def settings():
    return [dict(zip(AXES, values, strict=True)) for values in itertools.product(*AXES.values())]


# ---- in Python ----


def spread(rows, measure):
    """(mean, low, high) of five seeds."""
    seeds = rows.seeds(measure)
    return seeds.mean, *seeds.interval()


def test_a_setting_in_words_is_the_spread_of_its_seeds(made, twins):
    rows = made["trigger"].where(**START)
    mean, low, high = spread(rows, "success")
    text = explorer_text(made["trigger"], START, twin=twins)
    assert text.startswith(f"{FIRST}{mean:.1%} [{low:.1%}, {high:.1%}] over 5 seeds; clean accuracy ")
    mean, low, high = spread(rows, "clean")
    assert f"; clean accuracy {mean:.1%} [{low:.1%}, {high:.1%}]; clean twin's accuracy " in text
    mean, low, high = spread(twins, "clean")
    assert text.endswith(f"; clean twin's accuracy {mean:.1%} [{low:.1%}, {high:.1%}].")


def test_one_seed_has_no_interval(made):
    one = made["trigger"].where(seed=1)
    text = explorer_text(one, START)
    success, clean = one.where(**START).count("success"), one.where(**START).count("clean")
    assert text == f"{FIRST}{success.value:.1%} from one seed; clean accuracy {clean.value:.1%}."
    page = explorer(one, CONTROLS)
    assert "in percent, one seed</caption>" in page.html
    assert all(len(cell[name]["spread"]) == 1 for cell in island(page)["cells"] for name in ("success", "clean"))


def test_few_seeds_have_no_interval(made):
    few = replace(made["trigger"], rows=tuple(row for row in made["trigger"].rows if row["seed"] < 3))
    rows = few.where(**START)
    text = explorer_text(few, START)
    success, clean = rows.seeds("success").mean, rows.seeds("clean").mean
    assert text == f"{FIRST}{success:.1%} over 3 seeds; clean accuracy {clean:.1%}."
    cells = island(explorer(few, CONTROLS))["cells"]
    assert all(len(cell["success"]["spread"]) == 1 and len(cell["success"]["seeds"]) == 3 for cell in cells)


def test_the_page_holds_every_setting_once_in_order(made):
    data = island(explorer(made["trigger"], CONTROLS, start=START))
    assert [axis["values"] for axis in data["axes"]] == [list(values) for values in AXES.values()]
    assert [axis["unit"] for axis in data["axes"]] == ["pixels", "", ""]
    assert data["axes"][2]["texts"] == ["0.50%", "0.75%", "1.00%", "5.00%"]
    assert data["start"] == [2, 1, 2]
    for setting, cell in zip(settings(), data["cells"], strict=True):
        rows = made["trigger"].where(**setting)
        assert cell["text"] == explorer_text(rows, setting)
        for name in ("success", "clean"):
            assert cell[name]["spread"] == pytest.approx(spread(rows, name), abs=5e-5)
            assert cell[name]["seeds"] == pytest.approx([count.value for count in rows.counts(name)], abs=5e-5)


def test_the_table_holds_the_same_means(made):
    page = explorer(made["trigger"], CONTROLS).html
    assert "<caption>ASR / clean accuracy in percent, means over 5 seeds</caption>" in page
    fractions = [f"rho = {text}" for text in ("0.50%", "0.75%", "1.00%", "5.00%")]
    assert re.findall(r'<th scope="col">(.*?)</th>', page) == [*CONTROLS.values(), *fractions]
    rows = re.findall(r"<tr>(<th scope=\"row\">.*?)</tr>", page)
    assert len(rows) == 9 and rows[-2].startswith('<th scope="row">4</th><th scope="row">0.5</th>')
    found = re.findall(r"<td>(.*?)</td>", page)
    for setting, text in zip(settings(), found, strict=True):
        part = made["trigger"].where(**setting)
        assert text == f"{100 * part.seeds('success').mean:.1f} / {100 * part.seeds('clean').mean:.1f}"


def test_rows_without_poison_are_the_twins_and_not_drawn(made):
    data = island(explorer(made["curve"]))
    (axis,) = data["axes"]
    assert axis["values"] == [0.0005, 0.00125, 0.002, 0.1] and data["start"] == [2]
    assert axis["texts"] == ["0.05%", "0.125%", "0.20%", "10.00%"]
    mean, low, high = spread(made["curve"].where(fraction=0.0), "clean")
    for cell in data["cells"]:
        assert cell["text"].startswith("rho = ")
        assert cell["text"].endswith(f"clean twin's accuracy {mean:.1%} [{low:.1%}, {high:.1%}].")


def test_twins_kept_elsewhere_are_those_of_the_same_seeds(made, twins):
    same = replace(twins, rows=tuple(row for row in twins.rows if row["seed"] < 5))
    text = island(explorer(made["trigger"], CONTROLS, twin=twins))["cells"][0]["text"]
    assert text == explorer_text(made["trigger"], settings()[0], twin=same)
    with pytest.raises(
        ValueError, match=r"curve needs one row for each seed of \[0, 1, 2, 3, 4\] at \{\}; got seeds \[1\]"
    ):
        explorer(made["trigger"], CONTROLS, twin=twins.where(seed=1))


def test_any_numeric_grid_can_be_explored(made):
    shown = explorer(made["trigger"].where(opacity=0.5), {"fraction": "rho"}, "size", success="false_target")
    data = island(shown)
    assert [axis["label"] for axis in data["axes"]] == ["rho", "size"] and data["axes"][1]["texts"] == ["1", "2", "4"]
    assert data["cells"][0]["text"].startswith("rho = 0.50%, size 1: ASR 0.2% over 5 seeds;")
    by_default = island(explorer(made["trigger"]))
    assert [axis["label"] for axis in by_default["axes"]] == ["size", "opacity", "poisoning fraction rho"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"controls": {"width": "width"}}, "has no axis width to explore; it has seed, size, opacity, fraction"),
        ({"along": "epochs"}, "no axis epochs"),
        ({"along": "seed"}, "no axis seed to explore"),
        ({"controls": {"size": "side"}}, "trigger varies opacity too: make it a control"),
        ({"start": {"size": 3}}, r"cannot start at size 3; the grid is \{'size': \[1, 2, 4\]"),
        ({"success": "hits"}, "'hits' is no count"),
    ],
)
def test_a_wrong_wish_is_refused_with_what_there_is(made, settings, message):
    with pytest.raises(ValueError, match=message):
        explorer(made["trigger"], **({"controls": CONTROLS} | settings))


def test_a_grid_with_a_hole_is_refused(made):
    rows = made["trigger"].rows
    place = r"at \{'size': 4, 'opacity': 1.0, 'fraction': 0.05\}"
    with pytest.raises(
        ValueError, match=rf"one row for each seed of \[0, 1, 2, 3, 4\] {place}; got seeds \[0, 1, 2, 3\]"
    ):
        explorer(replace(made["trigger"], rows=rows[:-1]), CONTROLS)
    with pytest.raises(ValueError, match=rf"{place}; got seeds \[0, 1, 2, 3, 4, 4\]"):
        explorer(replace(made["trigger"], rows=(*rows, rows[-1])), CONTROLS)


def test_an_axis_that_no_slider_can_show_is_refused(made):
    named = replace(made["trigger"], rows=tuple(row | {"size": f"size {row['size']}"} for row in made["trigger"].rows))
    with pytest.raises(ValueError, match="a slider needs numbers; size has"):
        explorer(named, CONTROLS)
    with pytest.raises(ValueError, match=r"fraction needs 2 values above 0 and none below; got \[0.01\]"):
        explorer(made["trigger"].where(fraction=0.01), CONTROLS)


def test_no_label_can_end_the_script_or_begin_another(made):
    evil = "</script><script>document.title = 'taken'</script><b>"
    page = explorer(made["trigger"], {"size": evil, "opacity": "opacity"}).html
    assert page.count("<script") == page.count("</script") == 1 and "<b>" not in page
    assert island(explorer(made["trigger"], CONTROLS | {"size": evil}))["axes"][0]["label"] == evil


# ---- in a browser ----


@pytest.fixture(scope="module")
def folder(tmp_path_factory, made, twins):
    folder = tmp_path_factory.mktemp("page")
    lay_out_scripts(folder)
    script = SCRIPTS
    shown = explorer(made["trigger"], CONTROLS, start=START, twin=twins).html
    pages = {
        "light": ("", script, shown),
        "dark": (DARK, script, shown),
        "plain": ("", "", shown),
        "curve": ("", script, explorer(made["curve"], start={"fraction": 0.1}).html),
        "one_seed": ("", script, explorer(made["trigger"].where(seed=0), CONTROLS).html),
        "evil": ("", script, explorer(made["trigger"], CONTROLS | {"size": "</script><img src=x>"}).html),
    }
    for name, (style, tag, content) in pages.items():
        (folder / f"{name}.html").write_text(PAGE.format(style=style, script=tag, content=content), encoding="utf-8")
    return folder


@pytest.fixture
def visit(open_page, folder):
    def visit(name="light", **settings):
        page = open_page(folder, f"{name}.html", **settings)
        if name != "plain":
            page.wait_for_function(
                "[...document.querySelectorAll('bn-explorer')].every((element) => element.shadowRoot)"
            )
        return page

    return visit


SET = """([places, name]) => {
  const root = document.querySelector("bn-explorer").shadowRoot;
  return places.map((indices) => {
    indices.forEach((index, axis) => {
      const slider = root.querySelectorAll("input")[axis];
      slider.value = index;
      slider.dispatchEvent(new Event("input"));
    });
    return root.querySelector(name).textContent;
  });
}"""


def test_every_setting_reads_as_python_says_it(visit, made, twins):
    places = [list(indices) for indices in itertools.product(*(range(len(values)) for values in AXES.values()))]
    random.Random(0).shuffle(places)
    texts = visit().evaluate(SET, [places, ".result"])
    same = replace(twins, rows=tuple(row for row in twins.rows if row["seed"] < 5))
    for indices, text in zip(places, texts, strict=True):
        setting = {axis: values[index] for (axis, values), index in zip(AXES.items(), indices, strict=True)}
        assert text == explorer_text(made["trigger"], setting, twin=same)


def test_the_picture_shows_the_numbers(visit, made):
    """Heights of all marks are measured back into shares, and the band's corners into intervals."""
    page = visit()
    found = page.evaluate("""() => {
      const svg = document.querySelector("bn-explorer").shadowRoot.querySelector("svg");
      const number = (node, name) => Number(node.getAttribute(name));
      const ys = (name) => [...svg.querySelectorAll(name)].map((node) =>
        node.localName === "circle" ? number(node, "cy") : number(node, "y") + number(node, "height") / 2);
      const path = (name) => svg.querySelector(name).getAttribute("d").match(/[\\d.]+ [\\d.]+/g)
        .map((pair) => pair.split(" ").map(Number));
      const label = (text) => [...svg.querySelectorAll("text")].find((node) => node.textContent === text);
      return { none: number(label("0%"), "y") - 4, all: number(label("100%"), "y") - 4,
        x: number(svg.querySelector(".chosen"), "x1"),
        success: [ys("rect.mark"), ys("rect.seed"), path(".backdoored.band")],
        clean: [ys("circle.mark"), ys("circle.seed"), path(".clean.band")] };
    }""")

    def share(y):
        return (found["none"] - y) / (found["none"] - found["all"])

    parts = [made["trigger"].where(**(START | {"fraction": fraction})) for fraction in AXES["fraction"]]
    for name in ("success", "clean"):
        marks, seeds, band = found[name]
        spreads = [spread(part, name) for part in parts]
        counts = [count.value for part in parts for count in part.counts(name)]
        assert [share(y) for y in marks[:4]] == pytest.approx([mean for mean, _, _ in spreads], abs=1e-4)
        assert [share(y) for y in seeds] == pytest.approx(counts, abs=1e-4)
        ends = [low for _, low, _ in spreads] + [high for _, _, high in reversed(spreads)]
        assert [share(y) for _, y in band] == pytest.approx(ends, abs=1e-4)
        x = [x for x, _ in band[:4]]
        assert (x[2] - x[0]) / (x[3] - x[0]) == pytest.approx(0.30103, abs=1e-4), "log 2 of log 10"
        assert found["x"] == pytest.approx(x[2]), "the marker stands at the chosen fraction"


def test_keys_move_a_slider_and_everything_follows(visit, made):
    page = visit()
    slider = page.get_by_role("slider", name="side of the square")
    assert slider.get_attribute("aria-valuetext") == "4 pixels"
    before = page.locator("bn-explorer svg").get_attribute("aria-label")
    slider.focus()
    page.keyboard.press("ArrowLeft")
    expected = explorer_text(made["trigger"], START | {"size": 2}).removesuffix(".")
    assert page.locator("bn-explorer .result").inner_text().startswith(f"{expected}; clean twin's accuracy ")
    assert slider.get_attribute("aria-valuetext") == "2 pixels"
    assert page.locator("bn-explorer output").first.inner_text() == "2"
    playwright.expect(page.locator("bn-explorer [role=status]")).to_contain_text(expected)
    label = page.locator("bn-explorer svg").get_attribute("aria-label")
    assert label != before and "at side of the square (pixels) 2, opacity 0.5. 0.50%: ASR " in label

    page.get_by_role("slider", name="poisoning fraction rho").press("End")
    assert page.get_by_role("slider", name="poisoning fraction rho").get_attribute("aria-valuetext") == "5.00%"
    page.get_by_role("button", name="Back to the start").press("Enter")
    assert page.locator("bn-explorer .result").inner_text().startswith(FIRST)


def test_the_screen_reader_is_told_after_a_rest_and_not_at_every_step(visit):
    page = visit()
    (at_once,) = page.evaluate(SET, [[[0, 0, 0]], ".spoken"])
    assert at_once.startswith(FIRST)
    playwright.expect(page.locator("bn-explorer [role=status]")).to_contain_text("Size 1, opacity 0.1, rho = 0.50%: ")


def test_every_control_is_reached_by_tab(visit):
    page, reached = visit(), []
    for _ in range(4):
        page.keyboard.press("Tab")
        focus = "document.activeElement.shadowRoot.activeElement"
        reached.append(page.evaluate(f"({focus}.labels[0] ?? {focus}).textContent"))
    assert reached == [*CONTROLS.values(), "poisoning fraction rho", "Back to the start"]


def test_a_finger_moves_a_slider(visit):
    page = visit(viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    for target in (*page.get_by_role("slider").all(), page.get_by_role("button")):
        assert target.bounding_box()["height"] >= 44, "as tall as a finger"
    slider = page.get_by_role("slider", name="opacity")
    slider.scroll_into_view_if_needed()
    box = slider.bounding_box()
    page.touchscreen.tap(box["x"] + box["width"] * 0.95, box["y"] + box["height"] / 2)
    playwright.expect(slider).to_have_attribute("aria-valuetext", "1")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_labels_of_a_crowded_axis_do_not_overlap(visit):
    page = visit("curve")
    spans = page.evaluate("""() => [...document.querySelector("bn-explorer").shadowRoot.querySelectorAll("svg text")]
      .filter((node) => node.textContent.endsWith("%") && node.getAttribute("text-anchor") === "middle")
      .map((node) => node.getBBox()).map((box) => [box.x, box.x + box.width])""")
    assert len(spans) >= 2
    assert all(end < begin for (_, end), (begin, _) in itertools.pairwise(spans))
    assert page.locator("bn-explorer .result").inner_text().startswith("rho = 10.00%: ASR ")


def test_one_seed_has_no_band(visit):
    page = visit("one_seed")
    assert page.locator("bn-explorer .band").count() == 0 and page.locator("bn-explorer path.curve").count() == 4
    assert "One seed, so there are no bands." in page.locator("bn-explorer .caption").inner_text()
    assert visit().locator("bn-explorer .band").count() == 2


@pytest.mark.parametrize(("look", "width"), [("light", 1280), ("dark", 390)])
def test_the_audit_finds_no_barrier(visit, look, width):
    from axe_playwright_python.sync_playwright import Axe

    page = visit(look, viewport={"width": width, "height": 900}, reduced_motion="reduce")
    results = Axe().run(page, options={"runOnly": {"type": "tag", "values": AXE_TAGS}})
    assert not results.response["violations"], json.dumps(results.response["violations"], indent=1)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    colours = page.evaluate("""() => ["rect.mark", "circle.mark"].map((name) =>
      getComputedStyle(document.querySelector("bn-explorer").shadowRoot.querySelector(name)).fill)""")
    dark = ["rgb(240, 128, 60)", "rgb(86, 180, 233)"]
    assert colours == (dark if look == "dark" else ["rgb(213, 94, 0)", "rgb(0, 114, 178)"])


def test_the_table_remains_without_the_script_and_in_print(visit):
    plain = visit("plain")
    assert plain.get_by_role("table", name="ASR / clean accuracy in percent").is_visible()
    assert not plain.get_by_text('"cells"').is_visible()
    page = visit()
    assert not page.locator("table").is_visible()
    page.emulate_media(media="print")
    assert page.locator("table").is_visible()
    assert not page.get_by_role("slider").first.is_visible()


def break_off(data):
    return json.dumps(data)[:-9]


def lose_a_cell(data):
    return json.dumps(data | {"cells": data["cells"][1:]})


def exceed_one(data):
    data["cells"][5]["success"]["spread"][0] = 97.1
    return json.dumps(data)


def start_outside(data):
    return json.dumps(data | {"start": [2, 1, 4]})


def reach_zero(data):
    data["axes"][-1]["values"][0] = 0
    return json.dumps(data)


def lose_a_text(data):
    data["axes"][0]["texts"].pop()
    return json.dumps(data)


DAMAGE = [
    break_off, lose_a_cell, exceed_one, start_outside, reach_zero, lose_a_text, lambda data: "null", lambda data: "",
]  # fmt: skip


def test_damaged_data_show_the_table_and_spare_the_page(visit, folder):
    page = (folder / "light.html").read_text(encoding="utf-8")
    (element,) = re.findall(r"<bn-explorer>.*</bn-explorer>", page)
    (text,) = re.findall(r"json\">(.*)</script><table>", element)
    broken = [element.replace(text, damage(json.loads(text))) for damage in DAMAGE]
    (folder / "broken.html").write_text(page.replace(element, "".join([*broken, element])), encoding="utf-8")
    page = visit("broken")
    explorers = page.locator("bn-explorer").all()
    for bad in explorers[:-1]:
        assert bad.get_by_text("The interactive figure could not be read").is_visible()
        assert bad.locator("table").is_visible() and bad.get_by_role("slider").count() == 0
    assert len(explorers) == len(DAMAGE) + 1 and explorers[-1].get_by_role("slider").count() == 3


def test_a_label_with_markup_is_text(visit):
    page = visit("evil")
    assert page.locator("img:not(svg)").count() == 0
    assert page.get_by_role("slider", name="</script><img src=x>").count() == 1
