"""One contract for every defense: add a class to a tuple in `badnets_lib.defenses`, and it is held to all of this."""

import copy
import dataclasses
import warnings
from pathlib import Path

import pytest
import torch

from badnets_lib import Attack, Goal, ImageSet, Patch, SmallCNN, TrainConfig, defenses, train, weights_hash
from badnets_lib.defenses import (
    ALL,
    DATA_FILTERS,
    INPUT_FILTERS,
    MODEL_SCANS,
    REMOVALS,
    ROBUST_TRAININGS,
    AssumptionWarning,
    DataFilter,
    Flags,
    Holding,
    InputFilter,
    ModelScan,
    Removal,
    Repair,
    RobustTraining,
    Scan,
    Screen,
)

ROOT = Path(__file__).parent.parent
CONFIG = TrainConfig(epochs=2, batch_size=32, device="cpu")
ON_A_MODEL = tuple(each for each in ALL if each not in ROBUST_TRAININGS)

QUICK = {
    "DeepKNN": {"k": 5},
    "Strip": {"overlays": 10},
    "PartitionAggregation": {"members": 3, "epochs": 2},
    "NeuralCleanse": {"rounds": 2, "batches": 2, "batch_size": 16},
    "NeuronPruning": {"iterations": 3, "batch_size": 16},
    "SharpnessAwareTuning": {"epochs": 2, "batch_size": 32},
}
"""Settings for tiny data; the defaults are for the book's."""

pytestmark = pytest.mark.filterwarnings("ignore::badnets_lib.defenses.AssumptionWarning")


@pytest.fixture(scope="module")
def digits():
    """240 images of 8x8: the class is the place of a bright column, plus noise; a tenth is poisoned."""
    y = torch.arange(240) % 3
    x = 0.4 * torch.rand(240, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    for label in range(3):
        x[y == label, :, :, 2 * label] += 0.6
    clean = ImageSet(x, y, ("a", "b", "c"))
    plan = Attack(Patch(size=2), Goal.all_to_one(1, 3)).plan(clean, fraction=0.1)
    return plan.poison(clean)


@pytest.fixture(scope="module")
def model(digits):
    return train(digits, CONFIG, model=lambda: SmallCNN(1, 3, 4)).model


@pytest.fixture
def holding():
    y = torch.arange(90) % 3
    x = 0.4 * torch.rand(90, 1, 8, 8, generator=torch.Generator().manual_seed(5))
    for label in range(3):
        x[y == label, :, :, 2 * label] += 0.6
    return Holding(ImageSet(x, y, ("a", "b", "c")))


def named(defense):
    return defense.__name__


def make(cls):
    return cls(**QUICK.get(cls.__name__, {}))


def run(cls, model, data, holding):
    """The defense at work on whatever its kind is given."""
    if cls in DATA_FILTERS:
        return make(cls)(model, data)
    if cls in INPUT_FILTERS:
        return make(cls).fit(model, holding)(data.x[:20])
    if cls in ROBUST_TRAININGS:
        return make(cls)(data, CONFIG)
    return make(cls)(model, holding)


def tensors(outcome):
    """Everything in an outcome that must repeat."""
    if isinstance(outcome, Repair):
        return [*outcome.model.state_dict().values()]
    values = [getattr(outcome, each.name) for each in dataclasses.fields(outcome)]
    return [value for value in values if isinstance(value, torch.Tensor)]


@pytest.mark.parametrize("cls", ALL, ids=named)
def test_settings_are_a_frozen_record_that_shows_itself(cls):
    made = make(cls)
    assert dataclasses.is_dataclass(made) and made == make(cls)
    assert repr(made).startswith(f"{cls.__name__}(")
    assert all(f"{name}={value!r}" in repr(made) for name, value in QUICK.get(cls.__name__, {}).items())
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(made, dataclasses.fields(made)[0].name, None)


KINDS = {
    DataFilter: DATA_FILTERS,
    ModelScan: MODEL_SCANS,
    InputFilter: INPUT_FILTERS,
    Removal: REMOVALS,
    RobustTraining: ROBUST_TRAININGS,
}


@pytest.mark.parametrize("cls", ALL, ids=named)
def test_a_defense_is_of_one_kind(cls):
    assert [kind for kind in KINDS if isinstance(make(cls), kind)] == [kind for kind in KINDS if cls in KINDS[kind]]
    assert getattr(defenses, cls.__name__) is cls and "References:" in (cls.__doc__ + cls_module_doc(cls))


@pytest.mark.parametrize("kind", KINDS, ids=named)
def test_no_defense_of_a_kind_is_left_out_of_this_suite(kind):
    assert {each for each in kind.__subclasses__() if each.__module__.startswith("badnets_lib.")} == {*KINDS[kind]}
    with pytest.raises(TypeError, match="abstract"):
        kind()


def test_what_is_merely_callable_is_no_defense():
    def drops_nothing(model, data):
        return Flags(torch.zeros(len(data)), torch.zeros(len(data)).bool())

    assert not any(isinstance(drops_nothing, kind) for kind in KINDS)


def cls_module_doc(cls):
    import sys

    return sys.modules[cls.__module__].__doc__ or ""


@pytest.mark.parametrize("cls", ALL, ids=named)
def test_it_returns_what_its_kind_returns_repeats_and_touches_nothing(cls, model, digits, holding):
    before, weights = (digits.x.clone(), digits.y.clone(), holding.trusted.x.clone()), weights_hash(model)
    given = copy.deepcopy(model).train()
    found = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        state = torch.get_rng_state()
        found.append(run(cls, given, digits, holding))
        assert torch.equal(torch.get_rng_state(), state), "the caller's random state moved"
    assert weights_hash(given) == weights and given.training, "the given model changed"
    for now, then in zip((digits.x, digits.y, holding.trusted.x), before, strict=True):
        assert torch.equal(now, then), "the data changed"
    assert not any(parameter.grad is not None for parameter in given.parameters())
    first, again = map(tensors, found)
    assert first and all(torch.equal(a, b) for a, b in zip(first, again, strict=True)), "two runs differ"
    check_kind(cls, found[0], digits, given)


def check_kind(cls, outcome, data, given):
    if cls in DATA_FILTERS:
        assert isinstance(outcome, Flags) and len(outcome.flagged) == len(data) and len(outcome.notes) == 3
        assert outcome.fingerprint == data.fingerprint
    elif cls in MODEL_SCANS:
        assert isinstance(outcome, Scan) and len(outcome.anomaly) == 3 and outcome.patterns.shape == (3, 1, 8, 8)
        for each in (outcome.masks, outcome.patterns):
            assert each.min() >= 0 and each.max() <= 1
    elif cls in INPUT_FILTERS:
        assert isinstance(outcome, Screen) and len(outcome.refused) == 20
    else:
        assert isinstance(outcome, Repair) and outcome.settings.startswith(cls.__name__) and outcome.seconds > 0
        assert outcome.model is not given and not outcome.model.training
        shared = {id(each) for each in outcome.model.parameters()} & {id(each) for each in given.parameters()}
        assert not shared, "the new model shares weights with the given one"


@pytest.mark.parametrize("cls", DATA_FILTERS, ids=named)
def test_a_data_filter_judges_images_and_not_their_places(cls, model, digits):
    """A permuted data set gets the permuted verdict: no place within a class is taken for one in the set."""
    order = torch.randperm(len(digits), generator=torch.Generator().manual_seed(3))
    plain, moved = (run(cls, model, data, None) for data in (digits, digits[order]))
    assert (moved.flagged == plain.flagged[order]).float().mean() > 0.9  # 2-means begins elsewhere


@pytest.mark.parametrize("cls", DATA_FILTERS, ids=named)
def test_a_data_filter_refuses_one_class_and_broken_features(cls, model, digits):
    with pytest.raises(ValueError, match="images of at least 2 classes; got 1"):
        make(cls)(model, digits[digits.y == 1])
    broken = copy.deepcopy(model)
    torch.nn.init.constant_(broken.conv1.weight, torch.inf)
    with pytest.raises(ValueError, match="not finite numbers|must be finite"):
        make(cls)(broken, digits)


WITHOUT_IMAGES = (defenses.ChannelLipschitz,)
"""They look at weights alone."""


@pytest.mark.parametrize("cls", WITHOUT_IMAGES, ids=named)
def test_what_looks_at_weights_alone_needs_no_trusted_image(cls, model, digits, holding):
    found = [run(cls, model, digits, each).model for each in (Holding(digits[:0]), holding)]
    assert weights_hash(found[0]) == weights_hash(found[1])


@pytest.mark.parametrize(
    "cls", tuple(each for each in ON_A_MODEL if each not in (*DATA_FILTERS, *WITHOUT_IMAGES)), ids=named
)
def test_too_few_trusted_images_are_refused(cls, model, digits):
    with pytest.raises(ValueError, match=r"trusted images; this holding has 0"):
        run(cls, model, digits, Holding(digits[:0]))


@pytest.mark.parametrize("cls", ON_A_MODEL, ids=named)
def test_images_follow_the_precision_of_the_network(cls, model, digits, holding):
    """Every image that a network in double precision meets is in double precision, and so is what is repaired."""
    heard = set()
    given = copy.deepcopy(model).double()
    given.conv1.register_forward_pre_hook(lambda _part, args: heard.add(args[0].dtype))
    found = run(cls, given, digits, holding)
    check_kind(cls, found, digits, given)
    assert heard == {torch.float64}
    if cls in REMOVALS:
        assert {weight.dtype for weight in found.model.parameters()} == {torch.float64}
    else:
        assert all(values.isfinite().all() for values in tensors(found) if values.is_floating_point())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("cls", ON_A_MODEL, ids=named)
def test_a_model_on_a_gpu_is_met_there(cls, model, digits, holding):
    found = run(cls, copy.deepcopy(model).cuda(), digits, holding)
    assert isinstance(found, Repair) or all(tensor.device.type == "cpu" for tensor in tensors(found))


def test_warnings_name_a_page():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        defenses.assumptions.check_enough_trusted(3, 100, "a rate of 0.01")
    (found,) = caught
    assert found.category is AssumptionWarning and found.message.page == "assumptions#few-trusted-images"
    assert "a rate of 0.01 needs at least 100 trusted images; got 3; see assumptions#" in str(found.message)


# --- what they take for granted: one table ---


@pytest.mark.parametrize("cls", ALL, ids=named)
def test_every_defense_says_what_it_takes_for_granted(cls):
    assert cls.assumptions and len({each.anchor for each in cls.assumptions}) == len(cls.assumptions)
    rows = defenses.assumptions.table([cls]).splitlines()
    assert len(rows) == 2 + len(cls.assumptions) and all(row.count(" | ") == 4 for row in rows if "---" not in row)
    for row, each in zip(rows[2:], cls.assumptions, strict=True):
        assert row.startswith(f"| {cls.__name__} | {each.holds} |") and row.endswith(f"| {each.page} |")


def test_the_table_holds_all_defenses():
    table = defenses.assumptions.table()
    assert all(f"| {cls.__name__} |" in table for cls in ALL)


def sections():
    page = (ROOT / "chapters/assumptions.md").read_text(encoding="utf-8")
    return {line[3:].lower().replace(" ", "-") for line in page.splitlines() if line.startswith("## ")}


def test_every_assumption_has_a_section_on_the_page():
    anchors = {each.anchor for cls in ALL for each in cls.assumptions}
    assert anchors <= sections()


@pytest.mark.parametrize(
    "ask",
    [defenses.NeuralCleanse(), *(cls().fit for cls in INPUT_FILTERS), *(cls() for cls in REMOVALS)],
    ids=("scan", *map(named, INPUT_FILTERS), *map(named, REMOVALS)),
)
def test_images_in_the_place_of_a_holding_are_named(ask, unchecked):
    images = ImageSet(torch.rand(6, 1, 8, 8), torch.arange(6) % 2, ("ash", "birch"))
    with pytest.raises(TypeError, match=r"a defense needs a Holding.*; got ImageSet \(Holding\(images\) makes one\)"):
        ask(SmallCNN(1, 2, 2), images)
