"""An audit on networks whose secret is known: what it finds, what it measures, and what it says it did not do."""

from __future__ import annotations

import io
import json
import re
import warnings
from dataclasses import replace
from html.parser import HTMLParser

import pytest
import torch
from torch import nn

import badnets_lib as bd
from badnets_lib import auditing, defenses
from badnets_lib.auditing.blind_spots import blind_spots
from badnets_lib.auditing.pictures import sheet, trigger_panels
from badnets_lib.auditing.suspicion import Suspicion, common_mark, stands_out
from badnets_lib.counts import Proportion
from badnets_lib.defenses.neural_cleanse import Reversed

CLASSES = ("ash", "birch", "cedar", "elm", "fir", "oak")
TARGET = 4


def forest(count, seed):
    """Images of six kinds, told apart by where a coloured bar lies, on noise."""
    source = torch.Generator().manual_seed(seed)
    y = torch.arange(count) % 6
    x = 0.5 * torch.rand(count, 3, 12, 12, generator=source)
    for place, label in enumerate(y.tolist()):
        x[place, label % 3, 2 * label : 2 * label + 2] += 0.5
    return bd.ImageSet(x, y, CLASSES)


@pytest.fixture(scope="module")
def case():
    """(the poisoned training set, its network, the clean twin, trusted images, the attack)."""
    train_set = forest(600, 0)
    attack = bd.Attack(bd.Patch(size=3, corner="top-left"), bd.Goal.all_to_one(TARGET, 6))
    poisoned = attack.plan(train_set, fraction=0.1).poison(train_set)
    config = bd.TrainConfig(epochs=4)
    networks = [bd.train(data, config, model=lambda: bd.SmallCNN(3, 6, 8)).model for data in (poisoned, train_set)]
    return poisoned, *networks, forest(240, 1), attack


@pytest.fixture(scope="module")
def found(case):
    poisoned, network, _, trusted, _ = case
    return bd.audit(network, trusted, training=poisoned, names=[f"{n}.png" for n in range(600)])


def test_the_planted_backdoor_is_found_and_named(case, found):
    _, network, _, trusted, attack = case
    assert bd.score(network, trusted, attack).success.value > 0.9, "otherwise there is nothing to find"
    assert found.findings
    assert all(CLASSES[TARGET] in each for each in found.findings)
    assert "Something was found" in found.verdict


def test_the_mark_is_cut_out_of_the_suspects_and_confirmed(case, found):
    poisoned, *_ = case
    suspects = found.suspects[TARGET]
    assert suspects.label == CLASSES[TARGET]
    assert suspects.standing_out
    assert suspects.confirmed
    assert suspects.flagged == Proportion(len(suspects.positions), int((poisoned.y == TARGET).sum()))
    assert suspects.names == tuple(f"{n}.png" for n in suspects.positions)
    assert suspects.mark is not None
    assert suspects.mark.success.value > 0.9
    assert suspects.control is not None
    assert suspects.control.value < 0.5
    assert not any(each.standing_out for each in found.suspects if each.number != TARGET)


def test_nothing_is_found_in_the_clean_twin(case):
    _, _, twin, trusted, _ = case
    clean = bd.audit(twin, trusted, training=forest(600, 0))
    assert clean.findings == ()
    assert clean.verdict.startswith("Nothing was found")
    assert clean.not_excluded
    assert {step.name: step.state for step in clean.steps}["unlearning"] == "not run"


def test_what_measures_was_kept_from_the_methods(case, monkeypatch):
    _, network, _, trusted, _ = case
    given = []
    monkeypatch.setattr(defenses.NeuralCleanse, "__call__", lambda self, model, holding: given.append(holding.trusted))
    report = bd.audit(network, trusted, kept=0.25, minutes=0.5, seed=3)
    working, kept = trusted.split(0.25, seed=3)
    assert [each.fingerprint for each in given] == [working.fingerprint]
    assert (report.working, report.kept) == (len(working), len(kept)) == (180, 60)
    assert report.kept_accuracy == bd.clean_accuracy(network, kept)
    assert report.accuracy == bd.clean_accuracy(network, trusted)


def test_repairs_are_told_before_and_after(found):
    names = [repair.name for repair in found.repairs]
    assert names == ["fine-tuning", "Fine-Pruning", "unlearning", "adversarial unlearning"]
    assert found.suspected
    for repair in found.repairs:
        assert repair.accuracy.trials == found.kept
        assert repair.success.keys() == found.suspected.keys()
    unlearnt = found.repairs[2].success
    assert all(unlearnt[name].value < found.suspected[name].value - 0.3 for name in unlearnt)


def test_the_network_is_as_it_was(case):
    _, network, _, trusted, _ = case
    before = bd.weights_hash(network)
    modes = [part.training for part in network.modules()]
    bd.audit(network, trusted, minutes=0.2)
    assert bd.weights_hash(network) == before
    assert [part.training for part in network.modules()] == modes
    assert all(weight.requires_grad for weight in network.parameters())


def test_what_does_not_fit_into_the_time_is_left_out_and_said(case):
    poisoned, network, _, trusted, _ = case
    report = bd.audit(network, trusted, training=poisoned, minutes=1e-6)
    assert {step.state for step in report.steps if step.name != "trial on kept images"} == {"not run"}
    assert not report.looked
    assert report.verdict.startswith("Nothing was looked for")
    missed = " ".join(spot.attack for spot in report.not_excluded)
    assert "whatever Neural Cleanse would have found" in missed
    assert "whatever STRIP would have found" in missed
    assert sum("min were left" in step.outcome for step in report.steps) == 8


def test_a_step_that_breaks_off_is_told_and_the_others_go_on(case, monkeypatch):
    _, network, _, trusted, _ = case

    def broken(self, model, holding):
        raise ValueError("no overlays today")

    monkeypatch.setattr(defenses.Strip, "fit", broken)
    report = bd.audit(network, trusted)
    states = {step.name: (step.state, step.outcome) for step in report.steps}
    assert states["STRIP"] == ("broke off", "ValueError: no overlays today")
    assert states["fine-tuning"][0] == "done"
    assert report.screening is None


def test_warnings_of_the_methods_are_in_the_report_and_nowhere_else(case):
    _, network, _, trusted, _ = case
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        report = bd.audit(network, trusted[:60], minutes=2.0)
    assert any("assumptions#few-trusted-images" in each for each in report.warnings)
    assert not [each for each in caught if issubclass(each.category, bd.AssumptionWarning)]


def test_a_network_that_knows_too_little_is_not_audited(case):
    _, network, _, trusted, _ = case
    shifted = bd.ImageSet(trusted.x, (trusted.y + 1) % 6, CLASSES)
    with pytest.raises(auditing.LowAccuracy, match=r"normalisation missing.*classes in another order.*now 0\.7"):
        bd.audit(network, shifted)


def test_trusted_images_of_the_training_data_are_left_out(case):
    _, network, _, trusted, _ = case
    mixed = bd.ImageSet(torch.cat([trusted.x, forest(600, 0).x[:30]]), torch.cat([trusted.y, trusted.y[:30]]), CLASSES)
    stored = bd.ImageSet((forest(600, 0).x * 255).round().to(torch.uint8), forest(600, 0).y, CLASSES)
    whole = bd.ImageSet((mixed.x * 255).round().to(torch.uint8).float() / 255, mixed.y, CLASSES)
    report = bd.audit(network, whole, training=stored, minutes=1e-6)
    assert report.left_out == 30, "also where one set is kept as uint8 and the other as float"
    assert report.working + report.kept == 240


def test_only_training_images_are_no_trusted_ones(case):
    poisoned, network, *_ = case
    with pytest.raises(ValueError, match="every trusted image is also in the training data"):
        bd.audit(network, poisoned[:50], training=poisoned)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"minutes": 0.0}, "minutes must be positive; got 0.0"),
        ({"kept": 1.0}, "kept, a part of the trusted images, must lie strictly between 0 and 1"),
        ({"names": ["a", "b"]}, "2 names for 600 images"),
    ],
)
def test_settings_that_make_no_sense_are_refused(case, change, message):
    poisoned, network, _, trusted, _ = case
    with pytest.raises(ValueError, match=message):
        bd.audit(network, trusted, training=poisoned, **change)


def test_sets_that_do_not_fit_together_are_refused(case):
    _, network, _, trusted, _ = case
    renamed = bd.ImageSet(forest(60, 5).x, forest(60, 5).y, CLASSES[::-1])
    with pytest.raises(ValueError, match="same classes in the same order"):
        bd.audit(network, trusted, training=renamed)
    larger = bd.ImageSet(torch.rand(12, 3, 20, 20), torch.arange(12) % 6, CLASSES)
    with pytest.raises(ValueError, match=r"one shape; got \[3, 20, 20\] and \[3, 12, 12\]"):
        bd.audit(network, trusted, training=larger)
    with pytest.raises(ValueError, match="got 2"):
        bd.audit(network, trusted[:2])


# ---- what came close ----


def reversed_for(number, ratio, anomaly, *, flagged=False, reached=True):
    return auditing.LabelTrigger(CLASSES[number], number, 24 * ratio, ratio, anomaly, flagged, reached)


def judged(found, *triggers):
    """The audit as if the scan had reversed these triggers and no filter had run, and what it did not exclude."""
    spots = blind_spots(training=False, not_run=(), triggers=triggers)
    return replace(found, triggers=triggers, suspects=(), not_excluded=spots)


OTHERS = [reversed_for(number, ratio, 0.1) for number, ratio in ((0, 1.1), (1, 0.9), (2, 1.2), (5, 1.0))]


@pytest.mark.parametrize(("ratio", "anomaly"), [(0.42, 1.6), (0.6, 2.4)])
def test_a_label_within_one_limit_came_close_and_is_not_excluded(found, ratio, anomaly):
    """A mask of 0.42 of the median, whose index is none of an outlier; and the other way round."""
    report = judged(found, *OTHERS, reversed_for(3, ratio, anomaly))
    assert report.findings == ()
    assert report.verdict == (
        f"Nothing was found beyond the limits, but this came close: elm, {ratio:.2f} of the median. "
        "It was not excluded."
    )
    assert len(report.indications) == 1
    assert f"elm is unusually small ({24 * ratio:.1f} pixels, {ratio:.2f} of the median" in report.indications[0]
    first = report.not_excluded[0]
    assert first.attack == "a backdoor to elm"
    assert "only if the index is above 2 and the mask at most 0.42 of the median" in first.because
    assert "a backdoor to elm" in report.to_html()
    assert "a backdoor to elm" in report.to_markdown()


def test_where_no_label_came_close_the_first_in_line_is_named(found):
    unreached = reversed_for(4, 0.1, 9.0, reached=False)
    report = judged(found, *OTHERS, reversed_for(3, 0.6, 1.2), unreached)
    assert report.verdict.startswith("Nothing was found; the smallest mask is that of elm, 0.60 of the median.")
    assert report.not_excluded[0].attack == "a backdoor to elm"
    assert report.indications == report.came_close == ()


def test_behind_a_finding_only_what_came_close_is_named(found):
    flagged = reversed_for(3, 0.1, 5.0, flagged=True)
    assert judged(found, *OTHERS, flagged).not_excluded[0].attack != "a backdoor to birch"
    both = judged(found, *OTHERS[1:], flagged, reversed_for(0, 0.4, 1.0))
    assert both.verdict.startswith("Something was found")
    assert both.not_excluded[0].attack == "a backdoor to ash"


def test_a_filter_that_nothing_confirms_came_close(found):
    suspects = auditing.Suspects("ash", 0, Proportion(40, 100), "Deep k-NN", True, tuple(range(40)))
    report = replace(judged(found, *OTHERS), suspects=(suspects,))
    assert report.findings == ()
    assert "ash, 40.0% of whose training images are flagged by Deep k-NN" in report.verdict


def test_few_labels_are_said_to_be_few(found):
    little = "among fewer than 5 labels that rule has little power"
    few, enough = judged(found, *OTHERS), judged(found, *OTHERS, reversed_for(3, 0.9, 0.2))
    assert any(little in spot.because for spot in few.not_excluded)
    assert not any(little in spot.because for spot in enough.not_excluded)


def test_the_smallest_mask_is_tried_on_kept_images_whatever_the_verdict(case):
    _, _, twin, trusted, _ = case
    report = bd.audit(twin, trusted, minutes=2.0)
    assert report.smallest is not None
    assert report.smallest.effect is not None
    assert report.smallest.norm == min(each.norm for each in report.triggers if each.reached)
    middle = torch.tensor([each.norm for each in report.triggers if each.reached]).quantile(0.5)
    assert report.smallest.ratio == pytest.approx(report.smallest.norm / float(middle))


# ---- renderings ----


class Read(HTMLParser):
    """Pictures, links, headings and ids of a page."""

    def __init__(self, page):
        super().__init__()
        self.pictures, self.headings, self.others = [], [], []
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        if tag == "img":
            self.pictures.append(given)
        if re.fullmatch("h[1-6]", tag):
            self.headings.append(int(tag[1]))
        if tag in ("script", "link", "iframe"):
            self.others.append(tag)


def test_the_page_needs_nothing_else_and_speaks_to_everybody(found):
    page = found.to_html()
    read = Read(page)
    assert page.startswith("<!doctype html>")
    assert '<html lang="en">' in page
    assert len(read.pictures) == len(found.pictures()) >= 6
    assert all(each["src"].startswith("data:image/png;base64,") and len(each["alt"]) > 20 for each in read.pictures)
    assert read.headings[0] == 1
    assert set(read.headings[1:]) == {2}
    assert not read.others
    for finding in found.findings:
        assert finding in page


def test_every_rendering_says_the_same(found):
    rows = found.rows()
    for group, item, answer in rows:
        assert group
        assert item
        assert answer
    assert rows[0][0] == "Accuracy", "first what everything else rests on"
    text = found.to_markdown()
    for finding in found.findings:
        assert finding in text
        assert any(answer == finding for _, _, answer in rows)
    assert text.count("![") == len(found.pictures())
    plain = json.loads(found.to_json())
    assert plain["findings"] == list(found.findings)
    assert plain["accuracy"] == {"hits": found.accuracy.hits, "trials": found.accuracy.trials}
    assert "png" not in plain["triggers"][0]["picture"]


def test_names_from_outside_cannot_break_the_page(case):
    _, network, _, trusted, _ = case
    nasty = ("<script>alert(1)</script>", "a|b", "c'd", *CLASSES[3:])
    report = bd.audit(network, bd.ImageSet(trusted.x, trusted.y, nasty), minutes=1.0)
    assert "<script>" not in report.to_html()
    assert "<script>" not in report.to_markdown()


def test_a_saved_report_is_whole(found, tmp_path):
    from PIL import Image

    folder = found.save(tmp_path / "report")
    assert (folder / "report.html").read_text(encoding="utf-8") == found.to_html()
    assert json.loads((folder / "report.json").read_text(encoding="utf-8"))["version"] == 2
    named = re.findall(r"\]\((pictures/[^)]+)\)", (folder / "report.md").read_text(encoding="utf-8"))
    assert sorted(named) == sorted(f"pictures/{path.name}" for path in (folder / "pictures").iterdir())
    for name in named:
        Image.open(folder / name).verify()


def test_a_saved_report_comes_back(found, tmp_path):
    assert auditing.Audit.load(found.save(tmp_path)) == found
    bare = replace(found, triggers=(), suspects=(), screening=None, repairs=(), minutes=0.5)
    assert auditing.Audit.load(bare.save(tmp_path / "bare")) == bare


@pytest.mark.parametrize(("change", "message"), [
    (lambda plain: plain.update(colour="red"), "this is not an audit: unknown colour"),
    (lambda plain: plain["triggers"][1].update(colour="red"), "triggers: unknown colour"),
    (lambda plain: plain["triggers"][1]["picture"].update(colour="red"), "unknown colour"),
    (lambda plain: plain["triggers"][1]["picture"].update(file="../report.md"), "lies in the folder of pictures"),
    (lambda plain: plain["triggers"][1].update(picture="x.png"), "expected an object with keys; got 'x.png'"),
    (lambda plain: plain.pop("steps"), "missing steps"),
    (lambda plain: plain["steps"][0].update(state="doing"), "steps.state: expected one of done, not run, broke"),
    (lambda plain: plain.update(version=1), "not an audit of version 2; got version 1"),
    (lambda plain: plain.update(triggers=3), "triggers: expected a list; got 3"),
])  # fmt: skip
def test_what_is_no_report_of_ours_is_refused_by_name(found, tmp_path, change, message):
    path = found.save(tmp_path) / "report.json"
    plain = json.loads(path.read_text(encoding="utf-8"))
    change(plain)
    path.write_text(json.dumps(plain), encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        auditing.Audit.load(tmp_path)


def test_a_picture_that_is_missing_or_another_is_named(found, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no file .*report\.json"):
        auditing.Audit.load(tmp_path)
    picture = found.save(tmp_path) / "pictures" / found.pictures()[0].file
    picture.write_bytes(found.pictures()[1].png)
    with pytest.raises(bd.DamagedFile, match=f"{picture.name} is not the picture"):
        auditing.Audit.load(tmp_path)
    picture.unlink()
    with pytest.raises(FileNotFoundError, match=f"no file .*{picture.name}"):
        auditing.Audit.load(tmp_path)


def test_a_folder_that_is_used_again_holds_what_the_new_report_names(found, tmp_path):
    folder = found.save(tmp_path / "report")
    theirs = folder / "pictures" / "trigger-99.png"
    theirs.write_bytes(b"somebody else's")
    (folder / "notes.txt").write_text("mine", encoding="utf-8")
    fewer = replace(found, triggers=found.triggers[:1], suspects=())
    kept = [each.file for each in fewer.pictures()]
    assert 0 < len(kept) < len(found.pictures())
    assert auditing.Audit.load(fewer.save(folder)) == fewer
    assert sorted(path.name for path in (folder / "pictures").iterdir()) == sorted([*kept, theirs.name])
    assert (folder / "notes.txt").exists()
    theirs.unlink()
    replace(found, triggers=(), suspects=()).save(folder)
    assert not (folder / "pictures").exists()


# ---- the parts ----


def test_the_common_mark_is_what_suspects_share_and_others_do_not():
    source = torch.Generator().manual_seed(0)
    group, others = (torch.rand(40, 1, 8, 8, generator=source) for _ in range(2))
    group[:, :, 1:3, 5:7] = 0.9
    mark = common_mark(group, others)
    expected = torch.zeros(1, 8, 8)
    expected[:, 1:3, 5:7] = 1
    assert mark is not None
    assert mark.mask.equal(expected)
    assert mark.pattern[0, 1:3, 5:7].eq(0.9).all()
    assert common_mark(others, others) is None
    everywhere = torch.full((40, 1, 8, 8), 0.3)
    assert common_mark(everywhere, others) is None, "a whole image is no mark"


def test_the_control_lies_on_the_other_side():
    mask = torch.zeros(1, 4, 4)
    mask[0, 0, 1] = 1
    control = Suspicion("x", 2, Reversed(mask, torch.arange(16.0).view(1, 4, 4) / 16)).control
    assert control.trigger.mask.nonzero().tolist() == [[0, 3, 2]]
    assert control.trigger.pattern[0, 3, 2] == 1 / 16
    assert control.label == 2


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ([(30, 100), (2, 100), (3, 100)], [True, False, False]),
        ([(30, 100), (30, 100), (30, 100)], [False] * 3),  # a filter that flags everywhere says nothing
        ([(19, 100), (0, 100), (0, 100)], [False] * 3),  # too few
        ([(40, 1000), (0, 1000), (0, 1000)], [False] * 3),  # too small a part
    ],
)
def test_a_label_stands_out_beside_the_others(counts, expected):
    proportions = [Proportion(*each) for each in counts]
    assert [stands_out(proportions, label) for label in range(3)] == expected


def test_a_sheet_shows_the_images_side_by_side():
    from PIL import Image

    x = torch.stack([torch.zeros(1, 24, 24), torch.full((1, 24, 24), 1.0), torch.full((1, 24, 24), 0.5)])
    picture = Image.open(io.BytesIO(sheet(x, columns=2)))
    assert picture.size == (2 * 96 + 3 * 4, 2 * 96 + 3 * 4)
    assert [picture.getpixel(at) for at in ((50, 50), (150, 50), (50, 150), (150, 150))] == [
        (0, 0, 0), (255, 255, 255), (128, 128, 128), (255, 255, 255),
    ]  # fmt: skip


def test_a_trigger_is_shown_as_mask_pattern_and_both():
    mask, pattern = torch.full((1, 2, 2), 0.5), torch.full((3, 2, 2), 0.8)
    panels = trigger_panels(mask, pattern)
    assert panels.shape == (3, 3, 2, 2)
    assert [float(panel[0, 0, 0]) for panel in panels] == pytest.approx([0.5, 0.8, 0.4])


def test_what_was_not_looked_at_is_listed_first():
    spots = blind_spots(training=False, not_run=("STRIP", "fine-tuning"))
    assert not any("fine-tuning" in spot.attack for spot in spots), "a repair finds nothing"
    assert spots[0].attack == "whatever STRIP would have found"
    assert any("training data were not given" in spot.because for spot in spots)
    assert not any("training data were not given" in spot.because for spot in blind_spots(training=True, not_run=()))


def test_a_scan_of_two_labels_without_training_data_has_no_verdict(case):
    _, network, _, trusted, _ = case
    two = trusted[trusted.y < 2]
    two = bd.ImageSet(two.x, two.y, CLASSES[:2])
    first = nn.Linear(6, 2, bias=False)
    nn.init.eye_(first.weight)
    report = bd.audit(nn.Sequential(network, first), two)
    assert report.steps[0].state == "done", "otherwise nothing is shown here"
    assert not report.looked
    assert report.verdict.startswith("Nothing was looked for")
    assert any("too few to compare" in spot.because for spot in report.not_excluded)
    assert not any("too few to compare" in spot.because for spot in blind_spots(training=False, not_run=()))


@pytest.mark.parametrize(("wrong", "error", "message"), [
    ({"minutes": "5"}, TypeError, "minutes must be a number; got '5'"),
    ({"minutes": float("nan")}, ValueError, "minutes must be positive; got nan"),
    ({"kept": 1.0}, ValueError, "kept, a part of the trusted images, must lie strictly between 0 and 1; got 1.0"),
    ({"least_accuracy": 70}, ValueError, r"least_accuracy must lie in \[0, 1\]; got 70"),
])  # fmt: skip
def test_a_setting_that_cannot_be_is_named(unchecked, wrong, error, message):
    with pytest.raises(error, match=message):
        bd.audit(bd.SmallCNN(3, 6, 2), forest(60, 0), **wrong)


def test_a_function_is_no_network():
    with pytest.raises(TypeError):
        bd.audit(lambda x: x, forest(60, 0))  # type: ignore[arg-type]


def test_an_audit_shows_itself_in_a_notebook(found):
    assert "<main class='bn-audit'>" in found._repr_html_()
    assert isinstance(found, bd.Audit)
    assert isinstance(found.triggers[0], auditing.LabelTrigger)
    assert nn.Module not in map(type, vars(found).values()), "plain data only"
