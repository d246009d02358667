"""The lab's arithmetic is PyTorch's; its attacks, plans and reports are the library's. Compared in a real browser."""

import base64
import json
import os
import shutil
import zlib

import jsonschema
import lab
import numpy as np
import pytest
import torch
from looks import lay_out_scripts
from playwright import sync_api as playwright
from project import CHAPTERS
from torch.nn.functional import cross_entropy

from badnets_lib import AssumptionWarning, Patch, PoisonPlan, Report
from badnets_lib.defenses import Holding, NeuralCleanse
from badnets_lib.evaluation.reports import schema
from badnets_lib.triggers import describe, to_spec

STROKES = json.loads((CHAPTERS.parent / "tests" / "strokes.json").read_text(encoding="utf-8"))["digits"]
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
MODULES = ("core", "images", "files", "plans", "scan", "setting")
FILES = [f"lab/{name}.js" for name in (*MODULES, "settings", "beside", "six", "triggers", "digits")]
SETTING = {"fraction": 0.1, "trigger": "square-3", "target": 7, "sources": [0, 1, 2], "epochs": 4, "seed": 3}


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    if BROWSER is None and not os.environ.get("CI"):
        pytest.skip("no Chromium on this machine")
    folder = tmp_path_factory.mktemp("page")
    lay_out_scripts(folder)
    blank = folder / "page.html"
    blank.write_text('<!doctype html><title>Core</title><script src="_static/modules.js"></script>', encoding="utf-8")
    with playwright.sync_playwright() as engine:
        chromium = engine.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        page = chromium.new_page()
        page.goto(blank.as_uri())
        page.evaluate("""async (files) => {
          await badnets.load("counts.js", ...files);
          const { unpacked } = badnets.use("files");
          globalThis.noise = new Float32Array(unpacked(badnets.data.triggers.noise, "noise").buffer);
        }""", FILES)  # fmt: skip
        yield page
        chromium.close()


@pytest.fixture(scope="module")
def digits():
    """100 digits of the test set, ten of each class."""
    *_, test = lab.digits()
    return test[torch.arange(len(test)) % 10 == 3]


def weights_of(entry):
    content = base64.b64decode(entry["weights"]["base64"])
    assert zlib.crc32(content) == entry["weights"]["crc"]
    return torch.from_numpy(np.frombuffer(content, np.float16).astype(np.float32))


def network_of(flat):
    """A LabCNN with those weights, laid out as its state dict."""
    network = lab.LabCNN().eval()
    torch.nn.utils.vector_to_parameters(flat.clone(), network.parameters())
    return network


def fresh(seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return lab.LabCNN()


def flat(network):
    return torch.nn.utils.parameters_to_vector(network.parameters()).detach()


def listed(x):
    return x.flatten().tolist()


# ---- arithmetic ----


@pytest.mark.parametrize("name", ["beside", "six"])
def test_every_network_answers_as_in_pytorch(page, digits, name):
    found = page.evaluate("""([name, x]) => {
      const { Network } = badnets.use("core"), { unpacked, halves } = badnets.use("files");
      return badnets.data[name].networks.map(({ weights }) => {
        const network = new Network(halves(unpacked(weights, "weights")));
        return Array.from({ length: 100 }, (_, image) => [...network.forward(Float32Array.from(x), image)]);
      });
    }""", [name, listed(digits.x)])  # fmt: skip
    for entry, logits in zip(lab.read_script(name)["networks"], found, strict=True):
        with torch.no_grad():
            expected = network_of(weights_of(entry))(digits.x)
        assert (torch.tensor(logits) - expected).abs().max() < 1e-4, entry["name"]


def test_the_gradients_of_a_batch_are_pytorchs(page, digits):
    network, batch = fresh(), digits[:32]
    loss = cross_entropy(network(batch.x), batch.y, reduction="sum")
    loss.backward()
    found = page.evaluate("""([weights, x, y]) => {
      const network = new (badnets.use("core").Network)(Float32Array.from(weights));
      const images = Float32Array.from(x);
      const loss = y.reduce((sum, label, image) => {
        network.forward(images, image);
        return sum + network.backward(label);
      }, 0);
      return { loss, gradients: [...network.gradients] };
    }""", [flat(network).tolist(), listed(batch.x), batch.y.tolist()])  # fmt: skip
    expected = torch.cat([weight.grad.flatten() for weight in network.parameters()])
    assert found["loss"] == pytest.approx(loss.item(), rel=1e-5)
    assert (torch.tensor(found["gradients"]) - expected).abs().max() / 32 < 1e-5
    assert expected.abs().max() / 32 > 1e-2, "the test sees something"


def test_the_gradient_of_the_image_is_pytorchs(page, digits):
    network, image, labels = fresh(), digits.x[:5].clone().requires_grad_(), [3, 0, 9, 3, 7]
    cross_entropy(network(image), torch.tensor(labels), reduction="sum").backward()
    found = page.evaluate("""([weights, x, labels]) => {
      const network = new (badnets.use("core").Network)(Float32Array.from(weights));
      return labels.map((label, image) => {
        const gradient = new Float64Array(784).fill(1);
        network.forward(Float32Array.from(x), image);
        network.backward(label, gradient);
        return [...gradient];
      });
    }""", [flat(network).tolist(), listed(digits.x[:5]), labels])  # fmt: skip
    assert (torch.tensor(found) - image.grad.flatten(1)).abs().max() < 1e-5
    assert image.grad.abs().max() > 5e-3, "the test sees something"


def test_training_steps_are_those_of_the_library(page, digits):
    """Twelve steps of AdamW with one cycle, from the same weights, on the same batches."""
    network = fresh(1)
    optimizer = torch.optim.AdamW(network.parameters(), lr=0.004, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.004, total_steps=12)
    for step in range(12):
        batch = slice(step * 8, step * 8 + 8)
        optimizer.zero_grad()
        cross_entropy(network(digits.x[batch]), digits.y[batch]).backward()
        optimizer.step()
        schedule.step()
    found = page.evaluate("""([weights, x, y]) => {
      const { Network, Optimizer } = badnets.use("core");
      const network = new Network(Float32Array.from(weights));
      const optimizer = new Optimizer(network, { steps: 12, lr: 0.004, decay: 0.01 });
      const images = Float32Array.from(x);
      for (let step = 0; step < 12; step++) {
        for (let image = 8 * step; image < 8 * step + 8; image++) {
          network.forward(images, image);
          network.backward(y[image]);
        }
        optimizer.step(8);
      }
      return [...network.weights];
    }""", [flat(fresh(1)).tolist(), listed(digits.x), digits.y.tolist()])  # fmt: skip
    assert (flat(network) - flat(fresh(1))).abs().max() > 5e-3, "the weights moved"
    assert (torch.tensor(found) - flat(network)).abs().max() < 2e-4


def test_fresh_weights_and_orders_come_from_the_seed_alone(page):
    found = page.evaluate("""() => {
      const { freshWeights, shuffled, random } = badnets.use("core");
      const draw = random(0);
      return { numbers: [draw(), draw()], same: String(freshWeights(1)) === String(freshWeights(1)),
        other: String(freshWeights(1)) === String(freshWeights(2)), most: Math.max(...freshWeights(1)),
        order: [...shuffled(50, random(1))] };
    }""")
    assert found["numbers"] == [0.26642920868471265, 0.0003297457005828619], "mulberry32's known answers"
    assert found["same"] and not found["other"]
    assert 0.19 < found["most"] <= 0.2, "uniform within 1 / sqrt(25)"
    assert sorted(found["order"]) == list(range(50)) != found["order"]


def test_a_pruned_channel_is_silent(page, digits):
    found = page.evaluate("""(x) => {
      const { Network, freshWeights } = badnets.use("core");
      const network = new Network(freshWeights(1));
      network.prune(3);
      network.forward(Float32Array.from(x));
      return [...network.pooled2.slice(48, 64)].concat(network.pooled2.some((value) => value > 0));
    }""", listed(digits.x[:1]))  # fmt: skip
    assert found == [0] * 16 + [True]


def test_a_wrong_number_of_weights_is_refused(page):
    with pytest.raises(playwright.Error, match="the network has 11978 weights; got 3"):
        page.evaluate('() => new (badnets.use("core").Network)(new Float32Array(3))')


# ---- the scan ----


def test_the_search_is_the_librarys(page, digits):
    """With as many digits as a step takes, both sides see the same ones: the same masks after some rounds."""
    entry = next(network for network in lab.read_script("six")["networks"] if network.get("target") is not None)
    network, few = network_of(weights_of(entry)), digits[:16]
    own = NeuralCleanse(rounds=8)
    with pytest.warns(AssumptionWarning):
        found = own(network, Holding(few))
    searched = page.evaluate("""([weights, x, rounds]) => {
      const { Network, random } = badnets.use("core"), { Search } = badnets.use("scan");
      const network = new Network(Float32Array.from(weights));
      const settings = { ...badnets.data.settings.scan, rounds };
      return Array.from({ length: 10 }, (_, label) => {
        const digits = { x: Float32Array.from(x), y: new Uint8Array(16) };
        const search = new Search(network, digits, label, random(1), settings);
        while (!search.done) search.round();
        const { norm, reached } = search.verified();
        return [norm, reached];
      });
    }""", [flat(network).tolist(), listed(few.x), own.rounds])  # fmt: skip
    assert [reached for _, reached in searched] == found.reached.tolist()
    assert [norm for norm, _ in searched] == pytest.approx(found.norms.tolist(), rel=1e-3)
    assert found.reached.all() and found.norms.max() < 400, "eight rounds are enough for masks of their own"


SIZES = (80, 126, 72, 66, 86, 73, 99, 7, 65, 85)


@pytest.mark.filterwarnings("ignore::badnets_lib.AssumptionWarning")
@pytest.mark.parametrize(("norms", "unreached", "flagged"), [
    (SIZES, [], [7]),
    ((80, 148, 63, 70, 84, 79, 92, 94, 76, 92), [], []),
    ((79, 80, 81, 60, 80, 79, 82, 80, 81, 80), [], []),  # an outlier, but not small enough
    ((50, 50, 50, 50, 50, 50, 50, 50, 50, 50), [], []),
    ((50, 50, 50, 50, 50, 50, 50, 50, 50, 5), [], []),  # no spread: nothing can be called an outlier
    (SIZES, [0, 1, 2, 3], [7]),  # four labels were never reached: the others make the median
    (SIZES, [7], []),
    (SIZES, [0, 1, 2, 3, 4, 5, 6, 8], []),  # of two labels none is an outlier
])  # fmt: skip
def test_the_verdict_is_the_librarys(page, norms, unreached, flagged):
    reached = [label not in unreached for label in range(10)]
    sizes = [norm if known else 784 for norm, known in zip(norms, reached, strict=True)]
    found = page.evaluate("""([norms, reached]) =>
      badnets.use("scan").judge(norms, reached, badnets.data.settings.scan)""", [sizes, reached])  # fmt: skip
    anomaly, labels = NeuralCleanse().judge(torch.tensor(sizes, dtype=torch.float64), torch.tensor(reached))
    assert found["anomaly"] == pytest.approx(anomaly.tolist(), rel=1e-9, abs=1e-9)
    assert found["flagged"] == list(labels) == flagged


def test_a_search_finds_the_trigger_of_an_exported_network(page, digits):
    """The label that a square brings about takes far fewer pixels than its neighbour."""
    six = lab.read_script("six")["networks"]
    entry = next(network for network in six if network.get("trigger", {}).get("name") == "Patch")
    norms = page.evaluate("""([name, x, labels]) => {
      const { Network, random } = badnets.use("core"), { unpacked, halves } = badnets.use("files");
      const { Search } = badnets.use("scan");
      const { weights } = badnets.data.six.networks.find((network) => network.name === name);
      const network = new Network(halves(unpacked(weights, "weights")));
      return labels.map((label) => {
        const digits = { x: Float32Array.from(x), y: new Uint8Array(100) };
        const search = new Search(network, digits, label, random(1), badnets.data.settings.scan);
        while (!search.done) search.round();
        const { norm, mask, pattern } = search.verified();
        const stamped = Float32Array.from(x.slice(0, 784), (value, at) => value + mask[at] * (pattern[at] - value));
        return { norm, sum: mask.reduce((a, b) => a + b), answer: network.answer(stamped) };
      });
    }""", [entry["name"], listed(digits.x), [entry["target"], (entry["target"] + 1) % 10]])  # fmt: skip
    target, other = norms
    assert target["norm"] == pytest.approx(target["sum"]) and target["norm"] < 0.42 * other["norm"]
    assert target["answer"] == entry["target"]


# ---- images ----


def test_every_trigger_is_the_librarys(page, digits):
    entries = lab.read_script("triggers")["entries"]
    assert [entry["key"] for entry in entries] == list(lab.TRIGGERS)
    found = page.evaluate("""(x) => {
      const { stamped } = badnets.use("images");
      return badnets.data.triggers.entries.map(({ spec }) => [...stamped(Float32Array.from(x), spec, noise)]);
    }""", listed(digits.x[:1]))  # fmt: skip
    for entry, image in zip(entries, found, strict=True):
        trigger = lab.TRIGGERS[entry["key"]][1]
        assert (torch.tensor(image) - trigger(digits.x[:1]).flatten()).abs().max() < 1e-6, entry["key"]
        assert entry["description"] == json.loads(json.dumps(describe(trigger).__dict__))


def test_small_triggers_move(page, digits):
    found = page.evaluate("""(x) => {
      const { stampedAt, windowOf } = badnets.use("images");
      const image = Float32Array.from(x);
      return badnets.data.triggers.entries.filter(({ spec }) => windowOf(spec)).map(({ key, spec }) => {
        const home = windowOf(spec);
        return { key, home: [...stampedAt(image, spec, home.top, home.left)], away: [...stampedAt(image, spec, 0, 5)] };
      });
    }""", listed(digits.x[:1]))  # fmt: skip
    assert len(found) == 6
    for entry in found:
        expected = lab.TRIGGERS[entry["key"]][1](digits.x[:1]).flatten()
        assert torch.equal(torch.tensor(entry["home"]), expected), entry["key"]
        assert entry["away"] != entry["home"]
        assert entry["away"][0 * 28 + 5] == 1 or entry["key"] == "pattern"


@pytest.mark.parametrize("trigger", [
    Patch(size=3, corner="top-left", margin=2, value=0.4, opacity=0.5),
    Patch(size=2, corner="top-right", value=0.7),
    Patch(size=5, corner="bottom-left", margin=1, opacity=0.3),
])  # fmt: skip
def test_corner_value_and_opacity_of_a_square_count_where_it_is_moved_too(page, digits, trigger):
    home, moved = page.evaluate("""([x, spec]) => {
      const { stamped, stampedAt, windowOf } = badnets.use("images");
      const image = Float32Array.from(x);
      const { top, left } = windowOf(spec);
      return [[...stamped(image, spec, noise)], [...stampedAt(image, spec, top, left)]];
    }""", [listed(digits.x[:1]), to_spec(trigger)])  # fmt: skip
    expected = trigger(digits.x[:1]).flatten()
    assert (torch.tensor(home) - expected).abs().max() < 1e-6
    assert moved == home
    assert (expected - digits.x[:1].flatten()).abs().max() > 0.1, "the test sees something"


def test_a_trigger_that_the_page_does_not_know_is_refused(page):
    with pytest.raises(playwright.Error, match="no such trigger: Warp; known are Patch, Pixels, Blend, Sinusoid"):
        page.evaluate('() => badnets.use("images").stamped(new Float32Array(784), { name: "Warp" }, noise)')
    with pytest.raises(playwright.Error, match="a Blend covers the whole image and cannot be moved"):
        page.evaluate('() => badnets.use("images").stampedAt(new Float32Array(784), { name: "Blend" }, 0, 0)')


def test_recorded_handwriting_is_read(page):
    """Digits of eight people, brought into MNIST's format, are read right by each network: at least nine in ten."""
    found = page.evaluate("""(digits) => {
      const { Network } = badnets.use("core"), { digitOf } = badnets.use("images");
      const { unpacked, halves } = badnets.use("files");
      const images = digits.map(({ strokes }) => digitOf(strokes));
      return badnets.data.beside.networks.map(({ weights }) => {
        const network = new Network(halves(unpacked(weights, "weights")));
        return images.map((image) => network.answer(image));
      });
    }""", STROKES)  # fmt: skip
    labels = [entry["label"] for entry in STROKES]
    assert sorted(labels) == sorted(8 * list(range(10))) and len({entry["writer"] for entry in STROKES}) == 8
    misread = [[label for label, answer in zip(labels, answers, strict=True) if label != answer] for answers in found]
    assert len(misread) == 5 and max(map(len, misread)) <= 8, misread
    assert all(wrong.count(1) > len(wrong) / 2 for wrong in misread), "the lab's page says so"


def test_size_and_place_of_a_drawing_do_not_matter(page):
    shapes = page.evaluate("""(strokes) => {
      const { digitOf } = badnets.use("images");
      const moved = strokes.map((stroke) => stroke.map(([x, y]) => [3 * x + 100, 3 * y - 50]));
      return [digitOf(strokes), digitOf(moved), digitOf([]), digitOf([[[5, 5]]])].map((image) => [...image]);
    }""", STROKES[8]["strokes"])  # fmt: skip
    image, moved, nothing, dot = (torch.tensor(shape).reshape(28, 28) for shape in shapes)
    assert (image - moved).abs().max() < 1e-5
    assert nothing.sum() == 0 and 2 < dot.sum() < 8
    rows, columns = (image > 0.05).any(1).nonzero(), (image > 0.05).any(0).nonzero()
    assert max(rows.max() - rows.min(), columns.max() - columns.min()) + 1 in (20, 21), "MNIST's box"
    place = torch.arange(28) + 0.5
    assert float((image.sum(1) * place).sum() / image.sum()) == pytest.approx(14, abs=0.1)
    assert float((image.sum(0) * place).sum() / image.sum()) == pytest.approx(14, abs=0.1)


# ---- data ----


def test_the_exported_files_are_the_ones_on_record():
    assert lab.damaged() == []


def test_the_digits_in_the_page_are_the_librarys(page):
    train, defender, test = lab.digits()
    kept = lab.read_script("digits")
    assert kept["counts"] == {"train": 3000, "defender": 100, "test": 1000}
    assert kept["fingerprints"] == {
        "train": train.fingerprint, "defender": defender.fingerprint, "test": test.fingerprint
    }  # fmt: skip
    assert kept["label_fingerprints"]["train"] == train.label_fingerprint
    assert "CC BY-SA 3.0" in kept["licence"]
    found = page.evaluate("""async () => {
      const { images, unpacked } = badnets.use("files"), { pixels, labels } = badnets.data.digits;
      const x = await images(pixels, "digits");
      return { last: [...x.slice(-784)], length: x.length, labels: [...unpacked(labels, "labels")] };
    }""")
    assert found["length"] == 4100 * 784
    assert found["labels"] == torch.cat([train.y, defender.y, test.y]).tolist()
    assert (torch.tensor(found["last"]) - test.x[-1].flatten()).abs().max() < 1e-6


def test_what_needs_no_training_is_up_to_date():
    """Triggers, settings, digits and the explorer's sweep are what the library gives now."""
    for name, text in lab.untrained_files().items():
        assert (lab.LAB / name).read_text(encoding="utf-8") == text, (
            f"run `python tools/lab.py untrained`: {name} is old"
        )


def test_damage_is_noticed(page):
    for spoilt in ("{ ...packed, base64: packed.base64.replace(/./, '/') }", "{ ...packed, base64: '*' }"):
        with pytest.raises(playwright.Error, match="the weights are damaged"):
            page.evaluate(f"""() => {{
              const packed = badnets.data.beside.networks[0].weights;
              badnets.use("files").unpacked({spoilt}, "the weights");
            }}""")


# ---- plans and reports ----


def draw(page, setting):
    return page.evaluate("""(setting) => {
      const { drawn, planOf } = badnets.use("plans"), { unpacked } = badnets.use("files");
      const { digits, triggers } = badnets.data;
      const labels = unpacked(digits.labels, "labels").subarray(0, digits.counts.train);
      const { spec } = triggers.entries.find(({ key }) => key === setting.trigger);
      return planOf(setting, drawn(labels, setting), spec, digits);
    }""", setting)  # fmt: skip


def test_a_plan_of_the_page_is_a_plan_of_the_library(page, unchecked):  # JSON has one kind of number, and 1.0 is 1
    train, *_ = lab.digits()
    plan = PoisonPlan.from_json(json.dumps(draw(page, SETTING)))
    assert plan.attack.goal.sources == (0, 1, 2) and plan.attack.goal.targets == (7,)
    assert len(plan.indices) == 300 and set(train.y[list(plan.indices)].tolist()) == {0, 1, 2}
    poisoned = plan.poison(train)
    assert (poisoned.y != train.y).sum() == 300
    assert PoisonPlan.from_json(json.dumps(draw(page, SETTING | {"seed": 4}))).indices != plan.indices


@pytest.mark.parametrize("key", lab.TRIGGERS)
def test_every_trigger_goes_into_a_plan(page, unchecked, key):
    plan = PoisonPlan.from_json(json.dumps(draw(page, SETTING | {"trigger": key, "fraction": 0.01})))
    assert plan.attack.trigger == lab.TRIGGERS[key][1]


def test_more_poison_than_the_sources_have_is_refused(page):
    with pytest.raises(playwright.Error, match="600 of 3000 digits are asked for; the source classes have 300"):
        draw(page, SETTING | {"fraction": 0.2, "sources": [4]})


def test_a_report_of_the_page_is_a_report_of_the_library(page, unchecked):
    card = {name: {"hits": 900, "trials": 1000} for name in ("clean", "success", "false_target")}
    found = {"card": card, "twin": card, "poisoned": 300}
    found["description"] = describe(Patch(size=3, margin=1)).__dict__
    text = page.evaluate("""([setting, found]) => {
      const { reportOf } = badnets.use("plans");
      return JSON.stringify(reportOf(setting, found, badnets.data.settings));
    }""", [SETTING, found])  # fmt: skip
    jsonschema.validate(json.loads(text), schema())
    report = Report.from_json(text)
    assert report.poisoning.fraction.value == 0.1 and report.poisoning.sources == ("0", "1", "2")
    assert f"learning rate {lab.RECIPE.lr}, batches of {lab.RECIPE.batch_size}" in report.training.recipe


# ---- the setting and its link ----


LINK = "fraction=0.1&trigger=square-3&target=7&sources=012&epochs=4&seed=3"
START = {"fraction": 0.1, "trigger": "square-3", "target": 7, "epochs": 4, "seed": 0}


def test_a_link_holds_the_setting(page):
    assert page.evaluate('(setting) => badnets.use("setting").toQuery(setting)', SETTING) == LINK
    assert from_query(page, LINK) == SETTING
    everybody = SETTING | {"target": 3, "sources": [0, 1, 2, 4, 5, 6, 7, 8, 9]}
    query = page.evaluate('(setting) => badnets.use("setting").toQuery(setting)', everybody)
    assert "sources=all" in query and from_query(page, query) == everybody


@pytest.mark.parametrize("query", ["", "fraction=7&trigger=<b>&target=x&sources=abc&epochs=999&seed=-1", "epochs=1e0"])
def test_a_link_with_nonsense_starts_as_usual(page, query):
    assert from_query(page, query) == START | {"sources": [0, 1, 2, 3, 4, 5, 6, 8, 9]}


def test_the_target_is_never_a_source(page):
    assert from_query(page, "target=1&sources=012")["sources"] == [0, 2]
    assert from_query(page, "target=1&sources=1")["sources"] == []


def from_query(page, query):
    return page.evaluate("""(query) => {
      const keys = badnets.data.triggers.entries.map(({ key }) => key);
      return badnets.use("setting").fromQuery(query, keys);
    }""", query)  # fmt: skip
