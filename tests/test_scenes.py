"""Scenes and networks of the experiments of Part III, on a handful of images."""

import warnings

import pytest
import torch

from badnets_lib import ImageSet, load
from badnets_lib.defenses import FineTuning, NeuralCleanse, Strip
from badnets_lib.defenses.assumptions import FEW_TRUSTED, REFUSES_NOTHING
from badnets_lib.models.networks import SmallResNet
from badnets_lib.study.experiments import cases, detection, scenes

pytestmark = pytest.mark.filterwarnings("ignore::badnets_lib.AssumptionWarning")


@pytest.fixture
def signs(monkeypatch):
    """The drawn signs, one in ten, and little training."""
    train, test = load("signs")
    monkeypatch.setattr(cases, "parts", cases.parts.__wrapped__)
    monkeypatch.setattr(cases, "load", lambda name: (train[::7], test[::10]))
    config = cases.TrainConfig
    monkeypatch.setattr(cases, "TrainConfig", lambda **given: config(**given | {"epochs": 1}))
    draw = cases.Holding.draw
    monkeypatch.setattr(cases.Holding, "draw", lambda reserve, n, **given: draw(reserve, min(n, 60), **given))
    return test[::10]


def tracks(images, classes=4, each=8):
    """Unlike photographs of `classes` classes, `each` in a track."""
    x = torch.arange(images).div(images)[:, None, None, None].expand(images, 3, 8, 8)
    groups = torch.arange(images) // each
    return ImageSet(x.contiguous(), groups % classes, tuple(map(str, range(classes))), groups)


def test_photographs_keep_tracks_apart_and_drop_what_the_test_set_holds(monkeypatch):
    train, other = tracks(512), tracks(24)
    test = ImageSet(torch.cat([other.x + 0.001, train.x[:2]]), torch.cat([other.y, train.y[:2]]), other.classes)
    monkeypatch.setattr(cases, "load", lambda name: (train, test))
    kept, reserve, scored = cases.parts.__wrapped__("photographs")
    known = set(cases.pixel_keys(test))
    assert not known & {*cases.pixel_keys(kept), *cases.pixel_keys(reserve)}
    assert not set(kept.groups.tolist()) & set(reserve.groups.tolist())
    assert len(kept.groups.unique()) + len(reserve.groups.unique()) == 64
    assert len(kept) == pytest.approx((512 - len(reserve)) / 4, abs=1) and len(scored) == 5


def test_a_scene_and_a_network_are_what_was_asked_for(signs):
    case = cases.prepare("patch", 0.05, 0, 60, scene="signs", network="SmallResNet", target=2)
    assert isinstance(case.model, SmallResNet) and case.model.spec["channels"] == 3
    assert case.targets == (2,) and case.data.x.shape[1:] == (3, 32, 32)
    assert isinstance(case.anew(0), SmallResNet)


@pytest.mark.parametrize(("wrong", "told"), [({"scene": "sea"}, "no scene 'sea'; there are digits, signs"),
                                             ({"network": "Net"}, "no network 'Net'; there are SmallCNN")])  # fmt: skip
def test_an_unknown_scene_or_network_is_refused(wrong, told):
    with pytest.raises(ValueError, match=told):
        cases.prepare("patch", 0.05, 0, **wrong)


def test_cover_images_are_as_many_as_asked_for(signs):
    fewer, more = (cases.prepare("blend-covered", 0.05, 0, 60, scene="signs", covers=c) for c in (0.2, 1.0))
    plain = cases.prepare("none", 0.05, 0, 60, scene="signs").data.x
    changed = [int((case.data.x != plain).flatten(1).any(1).sum()) for case in (fewer, more)]
    poisoned = int(more.poisoned.sum())
    assert changed == [poisoned + round(0.2 * poisoned), 2 * poisoned]


def test_only_too_few_trusted_images_are_not_announced():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with cases.few_trusted():
            FEW_TRUSTED.warn("a rate of 0.01 needs at least 1000 trusted images; got 400")
            REFUSES_NOTHING.warn("the threshold of 0 bits refuses nothing")
    assert [each.message.page for each in caught] == [REFUSES_NOTHING.page]


def test_every_defense_is_told_and_only_of_an_attack_a_removal(signs, monkeypatch):
    monkeypatch.setattr(scenes, "NeuralCleanse", lambda: NeuralCleanse(rounds=2, batches=1))
    monkeypatch.setattr(scenes, "REMOVALS", {"fine-tuning": FineTuning(epochs=1)})
    monkeypatch.setattr(scenes, "Strip", lambda **given: Strip(overlays=5, **given))
    monkeypatch.setattr(scenes, "INPUTS", 20)
    told = scenes.defended(scene="signs", network="SmallCNN", attack="patch", fraction=0.1, seed=0)
    assert list(told["filters"]) == list(scenes.FILTERS) and set(told["removals"]) == {scenes.ANEW, "fine-tuning"}
    assert len(told["scan"]["norms"]) == 10 and set(told["screening"]) == {"0.01", "0.05"}
    poisoned, labelled = told["share"]
    for name, flagged in told["filters"].items():
        assert flagged["caught"][1] == poisoned and flagged["honest"][1] == labelled - poisoned, name
        assert flagged["honest"][0] <= flagged["alarms"][0]
    for each in (told, *told["removals"].values()):
        assert each["recovered"][1] == each["success"][1] >= each["recovered"][0] + each["success"][0]
    clean = scenes.defended(scene="signs", network="SmallCNN", attack="none", fraction=0.1, seed=0)
    assert "removals" not in clean and all("caught" not in row for row in clean["filters"].values())


def test_filters_agree_with_judging_the_set_by_themselves(signs):
    case = cases.prepare("patch", 0.1, 0, 60, scene="signs")
    shared = scenes.filters(case)
    for name in ("spectral, uncentred", "clustering, neighbours", "Deep k-NN, pool1"):
        alone = detection.judgement(scenes.FILTERS[name](case.model, case.data), case)
        assert {key: value for key, value in shared[name].items() if key != "honest"} == alone
