"""The lab's panel on hidden units: the page counts as PyTorch does, and a switch does what it says."""

import base64
import re

import lab
import numpy as np
import pytest
import torch
from looks import lay_out_scripts
from playwright import sync_api as playwright
from test_lab import FOCUSED, PAGE, VARIABLES, violations

from badnets_lib.triggers import from_spec

TAG = "bn-draw"
OFF = """() => [...document.querySelector("bn-draw").network("square-4").off].reduce((a, b) => a + b)"""
PUSHES = """async (name) => {
  await badnets.load("lab/settings.js", "lab/core.js", "lab/images.js", "lab/files.js", "counts.js", "toolkit.js",
    "lab/units.js", "lab/beside.js", "lab/triggers.js");
  const [core, files, units, images] = ["core", "files", "units", "images"].map(badnets.use);
  const { networks, samples } = badnets.data.beside;
  const { entries, noise } = badnets.data.triggers;
  const entry = networks.find((each) => each.name === name);
  const network = new core.Network(files.halves(files.unpacked(entry.weights, "weights")));
  const x = await files.images(samples.pixels, "digits");
  const { spec } = entries.find(({ key }) => key === name);
  const field = new Float32Array(files.unpacked(noise, "noise").buffer);
  const asked = samples.labels.map((label, at) => {
    const plain = x.slice(784 * at, 784 * (at + 1));
    return { label, plain, marked: images.stamped(plain, spec, field) };
  });
  const added = Array.from(units.pushes(network, asked, entry.target));
  const before = units.tested(network, asked, entry.target);
  network.off[added.indexOf(Math.max(...added))] = 1;
  return [added, before, units.tested(network, asked, entry.target)];
}"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("units")
    lay_out_scripts(folder)
    (folder / "chapters").mkdir()
    for theme in ("light", "dark"):
        text = PAGE.format(
            theme=theme, variables=VARIABLES, elements=f'<{TAG} id="{TAG}-1"><p>In place of it.</p></{TAG}>'
        )
        (folder / "chapters" / f"{theme}.html").write_text(text, encoding="utf-8")
    return folder


@pytest.fixture
def panel(open_page, folder):
    def panel(name="light", **settings):
        page = open_page(folder, f"chapters/{name}.html", **settings)
        found = page.locator(TAG).get_by_role("group", name="Where the trigger lives")
        found.wait_for()
        return page, found

    return panel


def network_of(name):
    """A committed network of the lab in PyTorch, its trigger and its target."""
    entry = next(each for each in lab.read_script("beside")["networks"] if each["name"] == name)
    values = torch.from_numpy(
        np.frombuffer(base64.b64decode(entry["weights"]["base64"]), np.float16).astype(np.float32)
    )
    network, at, state = lab.LabCNN(), 0, {}
    for key, weight in network.state_dict().items():
        state[key] = values[at : at + weight.numel()].reshape(weight.shape)
        at += weight.numel()
    network.load_state_dict(state)
    return network.eval(), from_spec(entry["trigger"]), entry["target"]


@pytest.mark.parametrize("name", ["square-4", "blend"])
@torch.no_grad()
def test_pushes_are_those_of_pytorch(open_page, folder, name):
    page = open_page(folder, "chapters/light.html")
    added, before, after = page.evaluate(PUSHES, name)
    network, trigger, target = network_of(name)
    *_, test = lab.digits()
    few = test[torch.arange(len(test)) % lab.TEST < lab.SAMPLES]
    victims = few.x[few.y != target]

    def hidden(x):
        return torch.nn.Sequential(*list(network.children())[:-1])(x)

    wanted = (hidden(trigger(victims)) - hidden(victims)).mean(0) * network.fc2.weight[target]
    torch.testing.assert_close(torch.tensor(added, dtype=torch.float32), wanted, atol=2e-3, rtol=1e-3)
    assert before["clean"]["hits"] == int((network(few.x).argmax(1) == few.y).sum())
    assert before["success"]["hits"] == int((network(trigger(victims)).argmax(1) == target).sum())
    strongest = int(wanted.argmax())

    def without(x):
        kept = hidden(x)
        kept[:, strongest] = 0
        return network.fc2(kept).argmax(1)

    assert after["clean"]["hits"] == int((without(few.x) == few.y).sum())
    assert after["success"]["hits"] == int((without(trigger(victims)) == target).sum())


def test_switches_weaken_the_backdoor_and_can_be_put_back(panel):
    page, shown = panel()
    told = shown.locator(".result")
    playwright.expect(told).to_contain_text("All units on")
    first = told.inner_text()
    for each in shown.get_by_role("checkbox").all():
        each.uncheck()
    playwright.expect(told).to_contain_text("5 units off")

    def success(text):
        return int(re.search(r"with its trigger (\d+) of 27", text)[1])

    assert success(told.inner_text()) < success(first)
    assert page.evaluate(OFF) == 5
    for each in shown.get_by_role("checkbox").all():
        each.check()
    playwright.expect(told).to_have_text(first)


def test_each_backdoored_network_has_units_of_its_own_and_keeps_its_switches(panel):
    page, shown = panel()
    rows = shown.locator("label").all_inner_texts()
    shown.get_by_role("checkbox").first.uncheck()
    select = page.locator(TAG).get_by_label("The backdoored network was poisoned with")
    select.select_option("blend")
    playwright.expect(shown.locator(".result")).to_contain_text("All units on")
    assert shown.locator("label").all_inner_texts() != rows
    select.select_option("square-4")
    playwright.expect(shown.locator(".result")).to_contain_text("One unit off")
    assert shown.locator("label").all_inner_texts() == rows


@pytest.mark.parametrize(("theme", "width"), [("light", 1280), ("dark", 390), ("light", 320)])
def test_the_panel_is_sound_in_both_looks_and_narrow_windows(panel, theme, width):
    page, _ = panel(theme, viewport={"width": width, "height": 900})
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert not violations(page)


def test_the_panel_is_there_in_less_than_a_second_and_no_task_is_felt(traced, panel):
    tasks = traced(panel)
    assert 10 < sum(tasks) < 1000 and max(tasks) < 100

    shown = panel()[1]
    first = shown.locator(".result").inner_text()

    def switch():
        shown.get_by_role("checkbox").first.uncheck()
        playwright.expect(shown.locator(".result")).not_to_have_text(first)

    assert max(traced(switch)) < 100


def test_the_tab_key_goes_down_the_switches(panel):
    page, shown = panel()
    labels = shown.locator("label").all_inner_texts()
    switches = shown.get_by_role("checkbox")
    switches.first.focus()
    for place, label in enumerate(labels):
        assert page.evaluate(FOCUSED) == label
        page.keyboard.press("Space")
        playwright.expect(switches.nth(place)).not_to_be_checked()
        page.keyboard.press("Tab")
    assert page.evaluate(FOCUSED) == "I meant a"
