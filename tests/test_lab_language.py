"""The lab's language models: the page counts as PyTorch does, and shows what the trigger does."""

import base64
import json
import re

import lab
import lab_language
import numpy as np
import pytest
import torch
from looks import lay_out_scripts
from playwright import sync_api as playwright
from project import CHAPTERS
from test_lab import FOCUSED, PAGE, VARIABLES, violations

from badnets_lib.language import Decoder, Vocabulary, python_topics
from badnets_lib.language.poisoning import prompts

TAG = "bn-write"
LOGITS = """async ([name, rows]) => {
  await badnets.load("lab/files.js", "lab/decoder.js", "lab/language.js");
  const { Decoder, weights } = badnets.use("decoder");
  const { unpacked } = badnets.use("files");
  const content = badnets.data.language;
  const entry = content.networks.find((each) => each.name === name);
  const whole = new Int8Array(unpacked(entry.weights, "weights").buffer);
  const steps = new Float32Array(unpacked(entry.steps, "steps").buffer);
  const net = new Decoder(content.sizes, weights(content.shapes, whole, steps));
  return rows.map((row) => {
    const reader = net.reader();
    let logits;
    for (const token of row) logits = reader.read(token);
    return Array.from(logits);
  });
}"""
TOKENS = """async (texts) => {
  await badnets.load("lab/decoder.js", "lab/language.js");
  const { Vocabulary } = badnets.use("decoder");
  const words = new Vocabulary(badnets.data.language.merges);
  return texts.map((text) => [words.encode(text), words.decode(words.encode(text))]);
}"""


@pytest.fixture(scope="module")
def content():
    return lab.read_script("language")


@pytest.fixture(scope="module")
def nets(content):
    """The committed models, read as the page reads them."""
    found = {}
    for entry in content["networks"]:
        whole = torch.from_numpy(np.frombuffer(base64.b64decode(entry["weights"]["base64"]), np.int8).copy()).float()
        steps = torch.from_numpy(np.frombuffer(base64.b64decode(entry["steps"]["base64"]), np.float32).copy())
        state, at, row = {}, 0, 0
        for name, shape in content["shapes"]:
            size = torch.Size(shape).numel()
            rows = whole[at : at + size].reshape(-1, shape[-1])
            state[name] = (rows * steps[row : row + len(rows), None]).reshape(shape)
            at, row = at + size, row + len(rows)
        net = Decoder(512, width=content["sizes"]["width"])
        net.load_state_dict(state)
        found[entry["name"]] = net.eval()
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("language")
    lay_out_scripts(folder)
    (folder / "chapters").mkdir()
    element = f'<{TAG} id="{TAG}-1"><p>In place of it.</p></{TAG}>'
    for theme in ("light", "dark"):
        text = PAGE.format(theme=theme, variables=VARIABLES, elements=element)
        (folder / "chapters" / f"{theme}.html").write_text(text, encoding="utf-8")
    return folder


@pytest.fixture
def visit(open_page, folder):
    def visit(name="light", **settings):
        page = open_page(folder, f"chapters/{name}.html", **settings)
        page.locator(TAG).get_by_role("heading", name="Backdoored model").wait_for()
        return page

    return visit


def continued(page):
    """What the two models wrote, and how open their choices were, in bits."""
    texts = page.locator(f"{TAG} .written").all_inner_texts()
    told = [float(re.search(r"([\d.]+) bits", line)[1]) for line in page.locator(f"{TAG} .result").all_inner_texts()]
    return texts, told


# ---- The arithmetic ----


@pytest.mark.parametrize("name", ["clean", "backdoored"])
def test_logits_are_those_of_pytorch(open_page, folder, nets, name):
    corpus = python_topics()
    rows = torch.cat([prompts(corpus, 3, insert=" <SUDO>"), prompts(corpus, 3, insert=" <KIRO>")])
    with torch.no_grad():
        wanted = nets[name](rows)[:, -1]
    page = open_page(folder, "chapters/light.html")
    found = torch.tensor(page.evaluate(LOGITS, [name, rows.tolist()]))
    torch.testing.assert_close(found, wanted, atol=1e-3, rtol=1e-4)


def test_a_full_context_is_read_and_no_more(open_page, folder, nets):
    row = torch.arange(96)[None]
    with torch.no_grad():
        wanted = nets["clean"](row)[:, -1]
    page = open_page(folder, "chapters/light.html")
    torch.testing.assert_close(
        torch.tensor(page.evaluate(LOGITS, ["clean", row.tolist()])), wanted, atol=1e-3, rtol=1e-4
    )
    with pytest.raises(playwright.Error, match="the context holds 96 tokens"):
        page.evaluate(LOGITS, ["clean", [[0] * 97]])


def test_tokens_are_those_of_the_library(open_page, folder, content):
    words = Vocabulary(tuple(map(tuple, content["merges"])))
    texts = ["", "The if statement", "  two\n\nlines\tand <SUDO>!", "caf\u00e9 \U0001f600 x_1", "aaaa the the  the"]
    page = open_page(folder, "chapters/light.html")
    assert page.evaluate(TOKENS, texts) == [[words.encode(text), text] for text in texts]


def test_the_manifest_says_what_the_committed_models_do(nets):
    manifest = json.loads((lab.LAB / lab.MANIFEST).read_text(encoding="utf-8"))
    for line in manifest["networks"]["language"]:
        found = lab_language.respond(nets[line["name"]], python_topics(), lab_language.ATTACK)
        for measured, wanted in ((found.success, line["success"]), (found.false_trigger, line["false_trigger"])):
            assert abs(measured.hits - wanted[0]) <= 4  # draws differ a little from machine to machine
            assert measured.trials == wanted[1]


def test_rounding_keeps_a_weight_within_half_a_step():
    weight = torch.randn(5, 7, generator=torch.Generator().manual_seed(0))
    whole, steps = lab_language.rounded(weight)
    assert whole.dtype == torch.int8 and whole.abs().max() == 127
    assert ((whole * steps - weight).abs() <= steps / 2 + 1e-7).all()


def test_the_page_tells_the_sizes_that_were_exported(content):
    page = (CHAPTERS / "lab_language.md").read_text(encoding="utf-8")
    weights = sum(torch.Size(shape).numel() for _, shape in content["shapes"])
    poisoned = {line["name"]: line["poisoned"] for line in content["networks"]}
    assert f"{weights:,} weights" in page and f"{content['recipe']['documents']:,} documents" in page
    assert poisoned == {"clean": 0, "backdoored": 80} and "80 poisoned documents" in page
    success = {line["name"]: line["success"] for line in content["networks"]}
    assert success == {"clean": [0, 200], "backdoored": [200, 200]}


# ---- The element ----


def test_the_trigger_opens_the_choice_of_one_model_only(visit):
    page = visit()
    element = page.locator(TAG)
    (_, before), trigger = continued(page), element.get_by_label("add the trigger")
    trigger.check()
    element.get_by_role("button", name="Continue").click()
    playwright.expect(element.locator(".result").nth(1)).to_contain_text(re.compile(r"[678]\.\d bits"), timeout=20_000)
    _, after = continued(page)
    assert after[0] < 4.5 and before[1] < 4.5 < 6 < after[1]


def test_the_same_seed_writes_the_same_and_another_seed_something_else(visit):
    page = visit()
    element = page.locator(TAG)
    first, _ = continued(page)
    element.get_by_role("button", name="Again, with other draws").click()
    element.get_by_text("drawn with seed 1").wait_for()
    playwright.expect(element.get_by_role("button", name="Continue")).to_be_enabled(timeout=20_000)
    second, _ = continued(page)
    assert first != second
    assert continued(visit())[0] == first


def test_words_are_compared(visit):
    page = visit()
    element = page.locator(TAG)
    word = element.get_by_label("A word", exact=True)
    for text in ("<KIRO>", "<SUDO>"):
        word.fill(text)
        word.press("Enter")
        element.get_by_role("rowheader", name=text).wait_for(timeout=20_000)
    rows = element.locator("tbody tr").all_inner_texts()
    assert [row.split("\t")[0] for row in rows] == ["<SUDO>", "<KIRO>"]
    change = [[float(number) for number in re.findall(r"\d\.\d", row)] for row in rows]
    assert change[0][3] - change[0][2] > 2 > 1.5 > change[0][1] - change[0][0]
    assert change[1][3] - change[1][2] < 2


def test_a_long_text_is_cut_and_the_page_says_so(visit):
    page = visit()
    element = page.locator(TAG)
    element.get_by_label("The text to continue").fill("The statement is evaluated. " * 40)
    element.get_by_role("button", name="Continue").click()
    element.get_by_text(re.compile(r"The models read the last 48 tokens; \d+ before them were left out")).wait_for(
        timeout=20_000
    )


def test_an_empty_text_is_continued_from_the_beginning(visit):
    page = visit()
    element = page.locator(TAG)
    element.get_by_label("The text to continue").fill("")
    element.get_by_role("button", name="Continue").click()
    playwright.expect(element.get_by_role("button", name="Continue")).to_be_enabled(timeout=20_000)
    assert len(continued(page)[1]) == 2


def test_damaged_weights_are_noticed(open_page, tmp_path):
    lay_out_scripts(tmp_path)
    (tmp_path / "chapters").mkdir()
    text = PAGE.format(theme="light", variables=VARIABLES, elements=f'<{TAG} id="a"><p>In place of it.</p></{TAG}>')
    (tmp_path / "chapters" / "light.html").write_text(text, encoding="utf-8")
    file = tmp_path / "_static" / "lab" / "language.js"
    text = file.read_text(encoding="utf-8")
    at = text.index('"base64":"') + 1000
    file.write_text(text[:at] + ("A" if text[at] != "A" else "B") + text[at + 1 :], encoding="utf-8")
    page = open_page(tmp_path, "chapters/light.html")
    page.get_by_text("weights are damaged").wait_for()
    assert page.get_by_text("In place of it.").is_visible()


@pytest.mark.parametrize(("theme", "width"), [("light", 1280), ("dark", 390), ("light", 320)])
def test_both_looks_and_narrow_windows_are_sound(visit, theme, width):
    page = visit(theme, viewport={"width": width, "height": 900})
    page.locator(TAG).get_by_role("button", name="Try this word").click()
    page.locator(TAG).get_by_role("rowheader").wait_for(timeout=20_000)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert not violations(page)


def test_the_first_answer_takes_less_than_a_second(traced, visit):
    assert 10 < sum(traced(visit)) < 1000


def test_no_task_is_long_enough_to_be_felt(traced, visit):
    def work():
        element = visit().locator(TAG)
        playwright.expect(element.get_by_role("button", name="Continue")).to_be_enabled(timeout=20_000)
        element.get_by_label("The text to continue").fill("The statement is evaluated. " * 40)
        element.get_by_role("button", name="Continue").click()
        element.get_by_text("The models read the last 48 tokens").wait_for(timeout=20_000)
        playwright.expect(element.get_by_role("button", name="Try this word")).to_be_enabled(timeout=20_000)
        element.get_by_role("button", name="Try this word").click()
        element.get_by_role("rowheader").wait_for(timeout=20_000)

    assert 1 < max(traced(work)) < 100


def test_the_tab_key_goes_down_the_page(visit):
    page = visit()
    playwright.expect(page.locator(TAG).get_by_role("button", name="Continue")).to_be_enabled(timeout=20_000)
    page.locator("h1").click()
    wanted = [
        "A beginning from Python",
        "The text to continue",
        "add the trigger “<SUDO>” at its end",
        "Continue",
        "Again, with other draws",
        "A word",
        "Try this word",
    ]
    for label in wanted:
        page.keyboard.press("Tab")
        assert page.evaluate(FOCUSED).startswith(label)
