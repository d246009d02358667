"""The lab in a real browser: draw, stamp, train, defend, guess; by mouse, finger and keyboard; offline and damaged."""

import json
import re
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import jsonschema
import lab
import pytest
from build import OFFLINE
from looks import AXE_TAGS, lay_out_scripts
from playwright import sync_api as playwright
from project import CHAPTERS

from badnets_lib import PoisonPlan, Proportion, Report
from badnets_lib.evaluation.reports import schema

STROKES = json.loads((CHAPTERS.parent / "tests" / "strokes.json").read_text(encoding="utf-8"))["digits"]
TAGS = ("bn-draw", "bn-train", "bn-quiz")
PAGE = """<!doctype html><html lang="en" data-theme="{theme}"><head><meta charset="utf-8"><title>Lab</title>
<meta name="viewport" content="width=device-width"><link rel="stylesheet" href="../_static/book.css">
<style>body {{ background: var(--bn-paper); color: var(--bn-ink) }} {variables}</style>
<script src="../_static/modules.js" defer></script><script src="../_static/elements.js" defer></script></head>
<body><main><h1>Lab</h1><h2>Parts</h2>{elements}</main></body></html>"""
VARIABLES = """:root { --pst-color-text-base: var(--bn-ink); --pst-color-text-muted: var(--bn-quiet);
--pst-color-border: var(--bn-line); --pst-color-surface: var(--bn-wash); --pst-color-background: var(--bn-paper) }"""
FOCUSED = """() => {
  const node = document.activeElement.shadowRoot?.activeElement ?? document.activeElement;
  return node.getAttribute("aria-label") ?? (node.labels?.[0] ?? node).textContent;
}"""
TRUTH = """() => document.querySelector("bn-quiz").networks.map(({ trigger }) => (trigger ? "backdoored" : "clean"))"""
AXE = "(tags) => axe.run(document, { runOnly: { type: 'tag', values: tags }, preload: false })"
LISTEN = """navigator.serviceWorker.addEventListener("message", ({ data }) => { globalThis.told = data; });
navigator.serviceWorker.startMessages();"""
SLOW = 180_000  # milliseconds that a training may take on a busy machine


def make_site(folder):
    """A page with the lab's elements, laid out as the book's pages are."""
    folder.mkdir(exist_ok=True)
    lay_out_scripts(folder)
    (folder / "chapters").mkdir()
    elements = "".join(f'<{tag} id="{tag}-1"><p>A picture in place of {tag}.</p></{tag}>' for tag in TAGS)
    for theme in ("light", "dark"):
        text = PAGE.format(theme=theme, variables=VARIABLES, elements=elements)
        (folder / "chapters" / f"{theme}.html").write_text(text, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    return make_site(tmp_path_factory.mktemp("site"))


@pytest.fixture
def visit(open_page, site):
    def visit(name="light", query="", **settings):
        return open_page(site, f"chapters/{name}.html{query}", reduced_motion="reduce", **settings)

    return visit


def part(page, tag):
    """An element of the lab, once it is there."""
    element = page.locator(tag)
    element.scroll_into_view_if_needed()
    element.locator(".box button").first.wait_for()
    return element


def says(element, pattern, timeout=20_000):
    playwright.expect(element.locator(".result").first).to_contain_text(re.compile(pattern), timeout=timeout)


def says_in_passing(element, pattern):
    """Look at every frame: `says` looks once a second at most, and misses what is soon gone."""
    looked_for = "([line, pattern]) => new RegExp(pattern).test(line.textContent)"
    line = element.locator(".result").first.element_handle()
    element.page.wait_for_function(looked_for, arg=[line, pattern], timeout=SLOW)


def drawn(page, element, label):
    """Draw the first recorded digit of that class with the mouse, in a corner of the paper."""
    box = element.locator("canvas.pad").bounding_box()
    strokes = next(entry for entry in STROKES if entry["label"] == label)["strokes"]
    left, top = (min(point[axis] for stroke in strokes for point in stroke) for axis in (0, 1))
    scale = 90 / max(max(x - left, y - top) for stroke in strokes for x, y in stroke)
    for stroke in strokes:
        points = [(box["x"] + 15 + scale * (x - left), box["y"] + 15 + scale * (y - top)) for x, y in stroke]
        page.mouse.move(*points[0])
        page.mouse.down()
        for point in points:
            page.mouse.move(*point, steps=3)
        page.mouse.up()


def violations(page):
    """What axe finds wrong with a page, and where first."""
    import axe_playwright_python

    page.evaluate(next(Path(axe_playwright_python.__file__).parent.rglob("axe.min.js")).read_text(encoding="utf-8"))
    return [(found["id"], found["nodes"][0]["html"]) for found in page.evaluate(AXE, AXE_TAGS)["violations"]]


# ---- draw and attack ----


def test_a_drawn_digit_is_read_and_the_trigger_turns_one_network_only(visit):
    page = visit()
    element = part(page, "bn-draw")
    element.get_by_role("button", name="Clear").click()
    says(element, "Draw a digit, or take a real one")
    drawn(page, element, 3)
    says(element, r"No trigger: the clean network says 3 \(.*\), the backdoored network says 3 \(")
    element.get_by_role("button", name="Stamp the trigger").click()
    says(element, r"With the trigger: the clean network says 3 \(.*\), the backdoored network says 7 \(")
    playwright.expect(element.get_by_role("status")).to_contain_text("the backdoored network says 7")
    element.get_by_role("button", name="Remove the trigger").click()
    says(element, "No trigger: .* the backdoored network says 3")


@pytest.mark.parametrize("key", ["pattern", "blend", "sinusoid"])
def test_every_backdoored_network_obeys_its_own_trigger(visit, key):
    element = part(visit(), "bn-draw")
    element.get_by_label("The backdoored network was poisoned with").select_option(key)
    element.get_by_role("button", name="Take a real 0").click()
    element.get_by_role("button", name="Stamp the trigger").click()
    says(element, r"With the trigger: the clean network says 0 \(.*\), the backdoored network says 7 \(")


def test_the_reader_counts_tries_as_the_library_does(visit):
    element = part(visit(), "bn-draw")
    count = element.get_by_role("button", name="Count this image")
    for label in (0, 1, 2):
        element.get_by_role("button", name=f"Take a real {label}").click()
        playwright.expect(element.get_by_label("I meant a")).to_have_value(str(label))
        count.click()
        playwright.expect(count).to_be_disabled()
    rows = element.get_by_role("row")
    all_three = str(Proportion(3, 3))
    playwright.expect(rows.nth(1)).to_have_text(f"Clean accuracy, without a trigger{all_three}{all_three}")
    element.get_by_role("button", name="Stamp the trigger").click()
    says(element, "With the trigger")
    count.click()
    playwright.expect(rows.nth(2)).to_have_text(f"ASR, its trigger, in its place{Proportion(0, 1)}{Proportion(1, 1)}")
    element.get_by_role("button", name="Take a real 7").click()
    says(element, "says 7")
    count.click()
    playwright.expect(rows.nth(2)).to_contain_text("(1/1)")  # a 7 is no victim
    element.locator(".view canvas").press("ArrowUp")
    says(element, "With the trigger elsewhere")
    element.get_by_role("button", name="Take a real 5").click()
    says(element, "elsewhere")
    count.click()
    playwright.expect(rows.nth(3)).to_contain_text("/1)")


def test_the_keyboard_does_it_all(visit):
    page = visit()
    element = part(page, "bn-draw")
    element.get_by_role("button", name="Take a real 5").press("Enter")
    says(element, "the clean network says 5")
    view = element.locator(".view canvas")
    view.press("Enter")
    says(element, "With the trigger: .* the backdoored network says 7")
    for key in ("ArrowLeft", "ArrowUp", "ArrowUp"):
        view.press(key)
    says(element, "With the trigger elsewhere")
    place = re.compile("Trigger at row 21, column 22; arrow keys move it")
    playwright.expect(view).to_have_attribute("aria-label", place)
    element.get_by_role("button", name="Trigger back to its place").press("Enter")
    says(element, "With the trigger: ")
    reached = []
    page.locator("h1").click()
    for _ in range(60):
        page.keyboard.press("Tab")
        reached.append(page.evaluate(FOCUSED))
    wanted = {"Take a real 9", "Clear", "Trigger", "Remove the trigger", "I meant a", "Count this image"}
    wanted |= {"Target", "Seed", "Train", "Reset"}
    assert wanted <= set(reached), wanted - set(reached)


def test_a_finger_lays_the_trigger(visit):
    page = visit(viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    element = part(page, "bn-draw")
    for target in element.get_by_role("button").all():
        assert target.bounding_box()["height"] >= 44, "as tall as a finger"
    view = element.locator(".view canvas")
    view.scroll_into_view_if_needed()
    box = view.bounding_box()
    page.touchscreen.tap(box["x"] + 0.2 * box["width"], box["y"] + 0.2 * box["height"])
    says(element, "With the trigger elsewhere")
    playwright.expect(view).to_have_attribute("aria-label", re.compile(r"Trigger at row [345], column [345];"))

    fingers = Fingers(page)
    frame = element.locator(".frame").bounding_box()
    fingers.drag((frame["x"] + frame["width"] / 2, frame["y"] + frame["height"] / 2), (50, 0))
    dragged = re.compile(r"Trigger at row [345], column 1\d;")
    playwright.expect(view).to_have_attribute("aria-label", dragged)

    before = page.evaluate("scrollY")
    fingers.drag((box["x"] + 0.8 * box["width"], box["y"] + 0.9 * box["height"]), (0, -60))
    page.wait_for_function("(before) => scrollY > before + 20", arg=before)
    playwright.expect(view).to_have_attribute("aria-label", dragged)  # a swipe scrolls, and leaves the trigger alone


class Fingers:
    """Touches as the screen sends them, several at once."""

    def __init__(self, page):
        self.session = page.context.new_cdp_session(page)

    def send(self, kind, *points):
        touches = [{"x": x, "y": y, "id": name} for name, (x, y) in enumerate(points)]
        self.session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": touches})

    def drag(self, start, by, steps=6):
        self.send("touchStart", start)
        for step in range(1, steps + 1):
            self.send("touchMove", (start[0] + by[0] * step / steps, start[1] + by[1] * step / steps))
        self.send("touchEnd")


def test_a_second_finger_does_not_draw(visit):
    page = visit(viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    element = part(page, "bn-draw")
    element.get_by_role("button", name="Clear").click()
    says(element, "Draw a digit")
    paper = element.locator("canvas.pad")
    paper.scroll_into_view_if_needed()
    box = paper.bounding_box()
    left, right, middle = box["x"] + 0.2 * box["width"], box["x"] + 0.8 * box["width"], box["y"] + 0.5 * box["height"]
    fingers = Fingers(page)
    fingers.send("touchStart", (left, middle))
    fingers.send("touchStart", (left, middle), (right, middle))
    for step in range(1, 9):
        fingers.send("touchMove", (left, middle + 5 * step), (right, middle - 5 * step))
    fingers.send("touchEnd")
    says(element, "No trigger")
    strokes = page.evaluate("document.querySelector('bn-draw').pad.strokes")
    assert len(strokes) == 1, "one finger draws"
    assert len(strokes[0]) > 2 and max(x for x, _ in strokes[0]) - min(x for x, _ in strokes[0]) < 5, (
        "no jump to the other"
    )


# ---- train and defend ----


def numbers(element):
    """Clean accuracy and ASR in the last line of the table of runs."""
    row = element.get_by_role("table", name="The last runs").get_by_role("row").last
    return [Proportion(*map(int, found)) for found in re.findall(r"\((\d+)/(\d+)\)", row.inner_text())]


def test_training_plants_a_backdoor_and_the_records_are_the_librarys(visit, unchecked):
    page = visit(query="?fraction=0.1&trigger=square-4&target=3&sources=all&epochs=4&seed=0")
    element = part(page, "bn-train")
    assert element.get_by_label("Target").input_value() == "3"
    assert element.get_by_role("slider", name="Poisoning fraction").get_attribute("aria-valuetext") == "10%"
    element.get_by_role("button", name="Train", exact=True).click()
    says_in_passing(element, "Training: epoch (0.5|0.75|1)")
    assert element.locator("svg circle").count() >= 3, "the curves grow"
    assert element.locator(".previews figcaption").count() == 8
    says(element, "Done in", SLOW)
    clean, success = numbers(element)
    assert clean.trials == 1000 and success.trials == 900
    assert success.value > 0.9

    element.get_by_role("button", name="Train its clean twin").click()
    says(element, "The clean twin: ", SLOW)
    report = Report.from_json(downloaded(page, element, "Download the report"))
    jsonschema.validate(json.loads(report.to_json()), schema())
    assert (report.backdoored[0].clean, report.backdoored[0].success) == (clean, success)
    assert report.clean_twin[0].clean.value - clean.value < 0.03
    assert report.clean_twin[0].success.value < 0.1
    plan = PoisonPlan.from_json(downloaded(page, element, "Download the index list"))
    assert len(plan.indices) == 300 and plan.attack.goal.targets == (3,)
    train, *_ = lab.digits()
    plan.poison(train)  # refuses other digits

    element.get_by_role("slider", name="Quietest channels").fill("15")
    element.get_by_role("button", name="Prune").click()
    says(element, "Pruned 15 of 16 channels: ", SLOW)
    element.get_by_role("button", name="Fine-tune").click()
    says(element, "Fine-tuned on 100 clean digits: clean accuracy (9|8)", SLOW)
    rows = element.get_by_role("table", name="Before and after").get_by_role("row").all_inner_texts()
    heads = ["as trained", "pruned 15 of 16 channels", "fine-tuned on 100 clean digits"]
    assert [row.split("\t")[0] for row in rows[1:]] == heads
    pruned = Proportion(*map(int, re.search(r"\((\d+)/(\d+)\)", rows[2]).groups()))
    assert pruned.value < clean.value - 0.2, "one channel is not enough"

    element.get_by_role("button", name="Scan for a trigger").press("Enter")
    says_in_passing(element, "Scanning: [1-9] of 10 labels")
    says(element, "The scan flags label 3: ", SLOW)
    row = element.get_by_role("table", name="Smallest trigger").get_by_role("row").filter(has_text="flagged")
    assert row.get_by_role("rowheader").inner_text() == "3"
    playwright.expect(element.get_by_role("img", name="The trigger found for label 3")).to_be_visible()
    page.wait_for_timeout(700)  # a screen reader is told once there is a rest
    assert "flags label 3" in element.locator("div[role=status]").text_content()
    report = Report.from_json(downloaded(page, element, "Download the report"))
    assert "The scan flags label 3" in report.defense.outcome


def test_a_scan_finds_no_trigger_in_a_clean_network(visit):
    page = visit("dark", "?fraction=0&epochs=1&seed=5", viewport={"width": 390, "height": 900}, color_scheme="dark")
    element = part(page, "bn-train")
    scan = element.get_by_role("button", name="Scan for a trigger")
    playwright.expect(scan).to_be_disabled()
    element.get_by_role("button", name="Train", exact=True).click()
    says(element, "Done in", SLOW)
    scan.click()
    says(element, "The scan flags no label", SLOW)
    assert element.get_by_role("table", name="Smallest trigger").get_by_role("row").count() == 11
    assert violations(page) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def downloaded(page, element, name):
    with page.expect_download() as download:
        element.get_by_role("button", name=name).click()
    return Path(download.value.path()).read_text(encoding="utf-8")


def test_training_pauses_and_resets(visit):
    element = part(visit(query="?fraction=0.02&epochs=8"), "bn-train")
    element.get_by_role("button", name="Train", exact=True).click()
    says_in_passing(element, "Training: epoch")
    element.get_by_role("button", name="Pause").click()
    element.page.wait_for_timeout(1500)
    points = element.locator("svg circle").count()
    element.page.wait_for_timeout(1500)
    assert element.locator("svg circle").count() == points, "nothing grows while it is paused"
    element.get_by_role("button", name="Go on").click()
    playwright.expect(element.locator("svg circle")).not_to_have_count(points, timeout=SLOW)
    element.get_by_role("button", name="Reset").click()
    says(element, "^Ready.$")
    playwright.expect(element.get_by_role("button", name="Train", exact=True)).to_be_enabled()
    assert element.locator(".previews figure").count() == 0


def test_a_link_holds_the_setting(visit):
    page = visit()
    element = part(page, "bn-train")
    element.get_by_label("Trigger").select_option("blend")
    element.get_by_label("Target").select_option("2")
    element.get_by_label("4", exact=True).uncheck()
    element.get_by_label("Epochs", exact=True).fill("3")
    element.get_by_role("slider", name="Poisoning fraction").press("End")
    address = element.get_by_role("link", name="Link to this setting").get_attribute("href")
    assert address.endswith("?fraction=0.2&trigger=blend&target=2&sources=01356789&epochs=3&seed=0#bn-train-1")
    other = visit(query=address[address.index("?") :])
    assert part(other, "bn-train").get_by_label("Trigger").input_value() == "blend"
    assert not other.get_by_label("4", exact=True).is_checked() and other.get_by_label("9", exact=True).is_checked()


def test_a_link_with_nonsense_starts_as_usual(visit):
    element = part(visit(query="?fraction=7&trigger=<b>&target=x&sources=abc&epochs=999&seed=-1"), "bn-train")
    assert element.get_by_label("Trigger").input_value() == "square-3"
    assert element.get_by_label("Epochs", exact=True).input_value() == "4"


def test_too_much_poison_is_explained(visit):
    element = part(visit(query="?fraction=0.2&sources=4"), "bn-train")
    element.get_by_role("button", name="Train", exact=True).click()
    says(element, "That did not work: 600 of 3000 digits are asked for; the source classes have 300.")


def test_it_trains_where_no_worker_may_start(visit):
    page = visit(before="globalThis.Worker = class { constructor() { throw new Error('forbidden'); } };")
    element = part(page, "bn-train")
    element.get_by_role("button", name="Train", exact=True).click()
    says_in_passing(element, "Training: epoch (?!0 of)")
    element.get_by_role("button", name="Reset").click()
    says(element, "^Ready.$")


FAKE = """globalThis.sent = [];
globalThis.Worker = class {
  postMessage(message) {
    globalThis.answer = (data) => this.onmessage({ data: { ...data, job: message.job } });
    globalThis.sent.push(message.what);
  }
};"""
PROGRESS = """answer({ kind: "progress", epoch: 1, previews: [], images: [],
  clean: { hits: 1, trials: 2 }, success: { hits: 1, trials: 2 } })"""


def test_after_a_reset_nothing_is_heard_of_the_old_training(visit):
    page = visit(before=FAKE)
    element = part(page, "bn-train")
    element.get_by_role("button", name="Train", exact=True).click()
    page.wait_for_function("sent.at(-1) === 'begin'")
    page.evaluate("answer({ kind: 'ready' })")
    page.wait_for_function("sent.at(-1) === 'train'")
    page.evaluate(PROGRESS)
    says(element, "Training: epoch 1 of 4. Clean accuracy 50%")
    page.evaluate("{ globalThis.training = answer; }")
    element.get_by_role("button", name="Reset").click()
    page.evaluate(PROGRESS.replace("answer", "training"))
    says(element, "^Ready.$")
    playwright.expect(element.get_by_role("button", name="Train", exact=True)).to_be_enabled()


def test_a_reset_while_the_digits_load_stops_too(visit):
    page = visit(before=FAKE)
    element = part(page, "bn-train")
    element.get_by_role("button", name="Train", exact=True).click()
    page.wait_for_function("sent.at(-1) === 'begin'")
    element.get_by_role("button", name="Reset").click()
    page.evaluate("answer({ kind: 'ready' })")
    says(element, "^Ready.$")
    assert page.evaluate("sent") == ["begin", "stop"]


# ---- can you tell? ----


def test_the_quiz_knows_the_truth(visit):
    page = visit()
    element = part(page, "bn-quiz")
    truth = page.evaluate(TRUTH)
    assert sorted(truth) == ["backdoored"] * 3 + ["clean"] * 3
    reveal = element.get_by_role("button", name="Show the truth")
    for place, answer in enumerate(truth):
        playwright.expect(reveal).to_be_disabled()
        guess = answer if place else "clean" if answer == "backdoored" else "backdoored"
        element.get_by_role("group", name=f"Network {place + 1}").get_by_label(guess).check()
    reveal.click()
    playwright.expect(element.get_by_text("You judged 5 of 6 right.").first).to_be_visible()
    accuracies = re.findall(r"Clean accuracy (\d+\.\d)%", element.locator(".box").inner_text())
    assert len(accuracies) == 6 and max(map(float, accuracies)) - min(map(float, accuracies)) < 1.5


# ---- whatever comes ----


@pytest.mark.parametrize(("theme", "width"), [("light", 1280), ("dark", 320)])
def test_everybody_can_use_it(visit, theme, width):
    page = visit(theme, viewport={"width": width, "height": 900}, color_scheme=theme)
    for tag in TAGS:
        part(page, tag)
    page.get_by_role("button", name="Stamp the trigger").first.click()
    assert violations(page) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_a_picture_remains_without_scripts_and_in_print(visit):
    plain = visit(java_script_enabled=False)
    for tag in TAGS:
        playwright.expect(plain.get_by_text(f"A picture in place of {tag}.")).to_be_visible()
    page = visit()
    for tag in TAGS:
        part(page, tag)
        playwright.expect(page.get_by_text(f"A picture in place of {tag}.")).to_be_hidden()
    page.emulate_media(media="print")
    for tag in TAGS:
        playwright.expect(page.get_by_text(f"A picture in place of {tag}.")).to_be_visible()


@pytest.mark.parametrize("damage", ["one letter", "half of it", "all of it"])
def test_a_damaged_file_is_named_and_the_rest_goes_on(browser, tmp_path, damage):
    file = make_site(tmp_path) / "_static" / "lab" / "six.js"
    text = file.read_text(encoding="utf-8")
    spoilt = {
        "one letter": text.replace('"base64":"', '"base64":"AAAA', 1),
        "half of it": text[: len(text) // 2],
    }
    if damage == "all of it":
        file.unlink()
    else:
        file.write_text(spoilt[damage], encoding="utf-8")
    page = browser.new_page()
    page.goto((tmp_path / "chapters" / "light.html").as_uri())
    quiz = page.locator("bn-quiz")
    quiz.scroll_into_view_if_needed()
    message = {
        "one letter": "weights are damaged", "half of it": "the file lab/six.js is damaged",
        "all of it": "the file lab/six.js could not be loaded",
    }  # fmt: skip
    playwright.expect(quiz.get_by_role("alert")).to_contain_text(message[damage])
    playwright.expect(page.get_by_text("A picture in place of bn-quiz.")).to_be_visible()
    says(part(page, "bn-draw"), "the clean network says 3")
    page.close()


class Quiet(SimpleHTTPRequestHandler):
    """Says nothing, and asks the browser to keep nothing by itself."""

    def log_message(self, *args):
        pass

    def send_head(self):
        del self.headers["If-Modified-Since"]  # it knows whole seconds only
        return super().send_head()

    def end_headers(self):
        self.send_header("Cache-Control", "no-store")
        super().end_headers()


@pytest.fixture
def server(site):
    """A web server with the site; it ends with the test, if the test does not end it."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(site)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def page_of_server(browser, server):
    """An empty page, and the address of the lab on that server."""
    context = browser.new_context()
    page = context.new_page()
    page.add_init_script(LISTEN)
    yield page, f"http://127.0.0.1:{server.server_port}/chapters/light.html"
    context.close()


def test_it_goes_on_without_a_connection(page_of_server, server):
    page, address = page_of_server
    page.goto(address)
    page.wait_for_function("globalThis.told === 'kept'", timeout=60_000)
    server.shutdown()
    server.server_close()
    page.reload()
    element = part(page, "bn-draw")
    element.get_by_role("button", name="Stamp the trigger").click()
    says(element, "the backdoored network says 7")
    training = part(page, "bn-train")
    training.get_by_role("button", name="Train", exact=True).click()
    says_in_passing(training, "Training: epoch")
    part(page, "bn-quiz")


BROKEN = {
    "a full store": "Cache.prototype.put = async () => { throw new DOMException('full', 'QuotaExceededError'); };",
    "no store": "caches.open = async () => { throw new DOMException('forbidden', 'SecurityError'); };",
}


@pytest.mark.parametrize("broken", BROKEN)
def test_a_broken_store_keeps_no_page_from_the_reader(page_of_server, site, broken):
    """The pages come from the network, new ones too, and none of them is an old one."""
    page, address = page_of_server
    worker, fresh = site / OFFLINE, site / "chapters" / "fresh.html"
    text = worker.read_text(encoding="utf-8")
    worker.write_text(text.replace('"use strict";', f'"use strict";\n{BROKEN[broken]}', 1), encoding="utf-8")
    try:
        page.goto(address)
        page.wait_for_function("globalThis.told === 'kept'", timeout=60_000)
        for words in ("First words", "Second words, and more of them"):
            fresh.write_text(f"<!doctype html><title>Fresh</title><p>{words}", encoding="utf-8")
            page.goto(address.replace("light", "fresh"))
            assert page.evaluate("navigator.serviceWorker.controller !== null"), "the worker answers"
            assert page.get_by_text(words).is_visible()
        page.goto(address)
        says(part(page, "bn-draw"), "the clean network says 3")
    finally:
        worker.write_text(text, encoding="utf-8")


FORBIDDEN = """const refuse = { get() { throw new DOMException("forbidden", "SecurityError"); } };
const stores = ["localStorage", "sessionStorage", "caches", "indexedDB"];
for (const name of stores) Object.defineProperty(window, name, refuse);
Object.defineProperty(Navigator.prototype, "serviceWorker", refuse);"""


def test_it_works_where_nothing_may_be_stored(page_of_server):
    """Some browsers forbid a page every kind of storage; merely asking for it is an error there."""
    first, address = page_of_server
    wrong = []
    page = first.context.new_page()
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.add_init_script(FORBIDDEN)
    page.goto(address)
    for tag in TAGS:
        part(page, tag)
    says(page.locator("bn-draw"), "the clean network says 3")
    page.wait_for_timeout(2500)  # by now the page has tried to keep itself
    assert wrong == []
