"""Records go to JSON and come back the same; whatever else a file holds is refused by name."""

import json
import re
from dataclasses import dataclass, make_dataclass, replace

import pytest
import torch
from torch import nn

from badnets_lib import Attack, Goal, Patch, PoisonPlan, triggers as t
from badnets_lib.attacks.evasion import AdversarialPatch
from badnets_lib.attacks.input_aware import InputAware
from badnets_lib.defenses.neural_cleanse import Reversed
from badnets_lib.triggers.registry import REGISTERED

ATTACK = Attack(Patch(3, "top-left", opacity=0.1), Goal.source_specific({1: 2}, 4))
PLAN = PoisonPlan(ATTACK, (1, 4, 7), 9, "00ff", "ff00", seed=3, sampling="per-class", added=True)


# ---- plans ----


def test_a_plan_is_written_as_an_attack_and_a_draw():
    plain = json.loads(PLAN.to_json())
    assert plain["attack"] == {
        "trigger": {
            "name": "Patch", "size": 3, "corner": "top-left", "margin": 0, "opacity": 0.1, "value": 1.0
        },
        "goal": {"table": [0, 2, 2, 3], "clean_label": False},
    }  # fmt: skip
    assert set(plain) == {"attack", "indices", "size", "labels", "fingerprint", "seed", "sampling", "added"}


@pytest.mark.parametrize("plan", [PLAN, replace(PLAN, fingerprint=None), replace(PLAN, added=False, seed=-1)])
def test_a_plan_comes_back_exactly(plan):
    again = PoisonPlan.from_json(plan.to_json())
    assert again == plan and hash(again) == hash(plan) and again.to_json() == plan.to_json()


def at(plain, path):
    for key in path:
        plain = plain[key]
    return plain


PLACES = [(), ("attack",), ("attack", "goal")]


@pytest.mark.parametrize("path", PLACES, ids=str)
def test_missing_and_unknown_items_of_a_plan_are_named(path):
    for name in at(json.loads(PLAN.to_json()), path):
        plain = json.loads(PLAN.to_json())
        del at(plain, path)[name]
        with pytest.raises(ValueError, match=f"this is not a poison plan: .*missing {name}$"):
            PoisonPlan.from_json(json.dumps(plain))
    plain = json.loads(PLAN.to_json())
    at(plain, path)["colour"] = "red"
    with pytest.raises(ValueError, match="this is not a poison plan: .*unknown colour$"):
        PoisonPlan.from_json(json.dumps(plain))


MISFITS = [
    (("size",), True, "size: expected a whole number; got True"),
    (("size",), 9.0, "size: expected a whole number; got 9.0"),
    (("seed",), "3", "seed: expected a whole number; got '3'"),
    (("indices",), "147", "indices: expected a list; got '147'"),
    (("indices",), [1, 2.5], "indices: expected a whole number; got 2.5"),
    (("indices",), [4, 1], "plan indices must ascend"),
    (("labels",), None, "labels: expected a text; got None"),
    (("fingerprint",), 5, "fingerprint: expected a text; got 5"),
    (("sampling",), "some", "sampling: expected one of uniform, per-class; got 'some'"),
    (("added",), 1, "added: expected true or false; got 1"),
    (("attack",), [], "attack: expected an object with keys"),
    (("attack", "goal", "table"), [9, 9, 9, 9], r"attack.goal: goal labels must lie in \[0, 4\)"),
    (("attack", "goal", "clean_label"), 0, "attack.goal.clean_label: expected true or false; got 0"),
    (("attack", "trigger"), "Patch", "attack.trigger: a trigger is given as"),
    (("attack", "trigger", "size"), True, "attack.trigger: .*size: expected a whole number; got True"),
    (("attack", "trigger", "name"), "Postcard", "attack.trigger: unknown trigger 'Postcard'"),
]


@pytest.mark.parametrize(("path", "value", "words"), MISFITS, ids=str)
def test_a_value_of_another_kind_is_refused_with_its_place(path, value, words, unchecked):
    plain = json.loads(PLAN.to_json())
    at(plain, path[:-1])[path[-1]] = value
    with pytest.raises(ValueError, match=f"this is not a poison plan: {words}"):
        PoisonPlan.from_json(json.dumps(plain))


def test_everything_that_is_wrong_is_told_at_once():
    plain = json.loads(PLAN.to_json()) | {"size": "9", "seed": None}
    with pytest.raises(ValueError, match="size: expected.*; seed: expected"):
        PoisonPlan.from_json(json.dumps(plain))


@pytest.mark.parametrize("text", ["", "{", "[]", "5", "null", '"plan"', "{}", '{"size": NaN}', '{"size": Infinity}'])
def test_text_that_is_no_plan_is_refused(text):
    with pytest.raises(ValueError, match="this is not a poison plan: "):
        PoisonPlan.from_json(text)


# ---- triggers ----


@pytest.fixture
def clean_table(monkeypatch):
    """Triggers that a test registers are gone afterwards."""
    monkeypatch.setattr("badnets_lib.triggers.registry.REGISTERED", REGISTERED)
    before = dict(REGISTERED)
    yield
    REGISTERED.clear()
    REGISTERED.update(before)


@dataclass(frozen=True)
class Frame:
    """A trigger as a reader may write it."""

    width: int
    shades: tuple[float, ...] = (0.0, 1.0)
    inner: t.Trigger | None = None

    def __call__(self, x):
        out = x.clone()
        out[:, :, : self.width] = self.shades[0]
        return self.inner(out) if self.inner else out


def test_a_readers_own_trigger_is_saved_and_loaded(clean_table):
    with pytest.raises(TypeError, match=r"cannot save Frame\(.*registered with triggers.register"):
        t.to_spec(Frame(2))
    assert t.register(Frame) is Frame
    trigger = t.Chain((Frame(2, (0.5,), t.Patch(2)), Frame(1)))
    plan = replace(PLAN, attack=replace(ATTACK, trigger=trigger))
    assert PoisonPlan.from_json(plan.to_json()) == plan
    with pytest.raises(ValueError, match="width: expected a whole number; got 'wide'"):
        t.from_spec({"name": "Frame", "width": "wide"})


def test_a_name_belongs_to_one_class(clean_table):
    mine = type("Patch", (Frame,), {"__module__": "mine"})
    with pytest.raises(ValueError, match="named Patch is registered already: badnets_lib.triggers.squares.Patch"):
        t.register(dataclass(frozen=True)(mine))
    assert t.from_spec(t.to_spec(t.Patch(2))) == t.Patch(2)


def test_a_cell_that_runs_again_may_register_its_class_again(clean_table):
    first = type("Frame", (Frame,), {"__module__": "notebook"})
    second = type("Frame", (Frame,), {"__module__": "notebook"})
    t.register(first)
    t.register(second)
    assert type(t.from_spec({"name": "Frame", "width": 1})) is second


@dataclass
class Thawed:
    def __call__(self, x):
        return x


class Called:
    def __call__(self, x):
        return x


@dataclass(frozen=True)
class Dumb:
    size: int = 1


@pytest.mark.parametrize(("cls", "words"), [
    (Thawed, "only a frozen dataclass can be registered"),
    (int, "only a frozen dataclass can be registered"),
    (Dumb, r"Dumb has no __call__\(self, x\)"),
    (make_dataclass("Lost", [("a", "Nowhere")], bases=(Called,), frozen=True), "settings cannot be read"),
])  # fmt: skip
def test_what_cannot_be_saved_is_not_registered(cls, words, clean_table, unchecked):
    with pytest.raises(TypeError, match=words):
        t.register(cls)
    assert cls.__name__ not in REGISTERED


@pytest.mark.parametrize("trigger", [
    t.PictureSticker("bomb", 0.2, (0.5, 0.5), (0.0, 0.0, 1.0, 0.5)), t.PictureSticker(), t.SignSticker("flower"),
    t.SignSticker(data="signs_b"),
], ids=repr)  # fmt: skip
def test_road_stickers_come_back_exactly(trigger):
    assert t.from_spec(json.loads(json.dumps(t.to_spec(trigger)))) == trigger


@pytest.mark.parametrize("shape", [(1, 4, 5), (3, 4, 5)], ids=["grey", "colour"])
def test_learnt_triggers_come_back_to_the_last_bit(shape):
    draw = torch.Generator().manual_seed(0)
    found = Reversed(torch.rand(1, *shape[1:], generator=draw), torch.rand(shape, generator=draw))
    again = t.from_spec(json.loads(json.dumps(t.to_spec(found))))
    assert torch.equal(again.mask, found.mask) and torch.equal(again.pattern, found.pattern)
    patch = AdversarialPatch(torch.rand(3, 2, 2, generator=draw))
    assert torch.equal(t.from_spec(json.loads(json.dumps(t.to_spec(patch)))).pixels, patch.pixels)


@pytest.mark.parametrize(("pixels", "words"), [
    ([[1.0]], r"pixels: expected numbers of shape \[c s s\]; got \[1, 1\]"),
    ([[[1.0, 2.0]]], r"pixels: expected numbers of shape \[c s s\]; got \[1, 1, 2\]"),
    ("white", "pixels: expected numbers in nested lists; got 'white'"),
    ([[[1.0], [1.0, 2.0]]], "pixels: expected numbers in nested lists"),
])  # fmt: skip
def test_pixels_of_another_shape_are_refused(pixels, words):
    with pytest.raises(ValueError, match=words):
        t.from_spec({"name": "AdversarialPatch", "pixels": pixels})


def test_a_trigger_made_of_weights_says_how_to_keep_it():
    plan = replace(PLAN, attack=replace(ATTACK, trigger=InputAware(nn.Conv2d(1, 1, 1), 0.1)))
    with pytest.raises(TypeError, match=r"made of a network's weights; keep those with files\.save_tensors"):
        plan.to_json()


def test_a_subclass_is_not_saved_under_anothers_name():
    for trigger in (type("Patch", (t.Patch,), {})(), type("Mine", (t.Patch,), {})()):
        with pytest.raises(TypeError, match="cannot save"):
            t.to_spec(trigger)


def test_an_unknown_trigger_says_what_is_known_and_what_to_do():
    with pytest.raises(ValueError, match=re.escape("unknown trigger 'Postcard'; known: Patch, Checkerboard")):
        t.from_spec({"name": "Postcard"})
