from dataclasses import replace

import pytest
import torch
from torch import nn

from badnets_lib import (
    Attack,
    Goal,
    ImageSet,
    PaperCNN,
    Patch,
    Proportion,
    SmallCNN,
    TrainConfig,
    attack_success_rate,
    clean_accuracy,
    predict,
    train,
    weights_hash,
)
from badnets_lib.defenses import Holding, adversarial_unlearning
from badnets_lib.defenses.adversarial_unlearning import AdversarialUnlearning, worst_shift
from badnets_lib.defenses.channels import Channels
from badnets_lib.defenses.fine_pruning import FinePruning
from badnets_lib.defenses.fine_tuning import STRENGTHS, FineTuning
from badnets_lib.defenses.neural_cleanse import NeuralCleanse
from badnets_lib.defenses.unlearning import Unlearning

pytestmark = pytest.mark.filterwarnings("ignore::badnets_lib.defenses.AssumptionWarning")

TUNING = FineTuning(epochs=2, batch_size=16)
QUICK = NeuralCleanse(rounds=2, batches=1, batch_size=8)


def blobs(count=240, seed=0):
    """Images of 8x8: the class is the place of a bright square, plus noise."""
    y = torch.arange(count) % 3
    x = 0.2 * torch.rand(count, 1, 8, 8, generator=torch.Generator().manual_seed(seed))
    for label in range(3):
        x[y == label, :, 1:3, 2 * label + 1 : 2 * label + 3] += 0.6
    return ImageSet(x, y, ("a", "b", "c"))


@pytest.fixture(scope="module")
def plan():
    return Attack(Patch(2), Goal.all_to_one(0, 3)).plan(blobs(), fraction=0.1)


@pytest.fixture(scope="module")
def model(plan):
    return train(plan.poison(blobs()), TrainConfig(epochs=12, batch_size=16), model=lambda: SmallCNN(1, 3, 4)).model


@pytest.fixture(scope="module")
def holding():
    return Holding(blobs(60, seed=1))


def test_the_backdoor_is_there_to_be_removed(model, plan):
    assert clean_accuracy(model, blobs(seed=2)).value > 0.95
    assert attack_success_rate(model, blobs(seed=2), plan.attack).value > 0.95


# ---- every removal ----

REMOVALS = [TUNING, FinePruning(tuning=TUNING), FinePruning(tuning=None), Unlearning(Patch(2), tuning=TUNING)]
REMOVALS += [AdversarialUnlearning(radius=1.0, steps=2, tuning=TUNING)]


@pytest.mark.parametrize("removal", REMOVALS, ids=repr)
def test_a_removal_repeats_and_leaves_what_it_was_given(removal, model, holding):
    before, state, x = weights_hash(model), torch.get_rng_state(), holding.trusted.x.clone()
    first, again = removal(model, holding), removal(model, holding)
    assert weights_hash(model) == before and torch.equal(torch.get_rng_state(), state)
    assert torch.equal(holding.trusted.x, x)
    assert weights_hash(first.model) == weights_hash(again.model) != before
    assert type(first.model) is SmallCNN and not first.model.training
    assert all(weight.requires_grad for weight in first.model.parameters())
    shared = {each.data_ptr() for each in model.state_dict().values()}
    assert not shared & {each.data_ptr() for each in first.model.state_dict().values()}, "a copy, no reference"
    assert first.settings == repr(removal) and first.seconds > 0


# ---- fine-tuning ----


def test_only_the_last_layer_learns_at_the_weakest_strength(model, holding):
    tuned = replace(STRENGTHS["last layer"], epochs=1)(model, holding).model
    new = tuned.state_dict()
    changed = {name for name, old in model.state_dict().items() if not torch.equal(old, new[name])}
    assert changed == {"fc2.weight", "fc2.bias"}


def test_a_stronger_fine_tuning_moves_further(model, holding):
    def moved(name):
        tuned = replace(STRENGTHS[name], epochs=1)(model, holding).model
        pairs = zip(model.parameters(), tuned.parameters(), strict=True)
        return float(sum((old - new).detach().norm() ** 2 for old, new in pairs))

    distances = [moved(name) for name in STRENGTHS]
    assert distances == sorted(distances) and len(set(distances)) == 4


def test_fine_tuning_tells_its_epochs(model, holding):
    repair = TUNING(model, holding)
    assert [row["epoch"] for row in repair.history] == [1, 2] and all(row["loss"] > 0 for row in repair.history)
    assert repair.history[-1]["trusted"] == clean_accuracy(repair.model, holding.trusted)


# ---- Fine-Pruning ----


def literal_curve(model, order, data):
    """Prune a copy channel by channel with a hook, evaluate each from the first layer on."""
    counts = []
    for pruned in range(len(order) + 1):

        def silence(_layer, _input, output, gone=order[:pruned]):
            output = output.clone()
            output[:, list(gone)] = 0
            return output

        hook = model.get_submodule("relu2").register_forward_hook(silence)
        hits = int((predict(model, data.x).argmax(1) == data.y).sum())
        hook.remove()
        counts.append(Proportion(hits, len(data)))
    return tuple(counts)


@pytest.mark.parametrize("attacked", [False, True])
def test_the_curve_is_that_of_sweep_and_evaluate(attacked, model, plan):
    data = plan.attack.on(blobs(seed=2)) if attacked else blobs(seed=2)
    order = Channels(model, data).dormant_first()
    curve = Channels(model, data).curve(order)
    assert curve == literal_curve(model, order, data) and len(set(curve)) > 1


@pytest.mark.parametrize("make", [PaperCNN, SmallCNN])
def test_a_pruned_copy_says_what_the_curve_says(make):
    torch.manual_seed(0)
    model, x = make().eval(), torch.rand(30, 1, 28, 28)
    if make is SmallCNN:  # what batch norm adds must be silenced too
        model.norm2.bias.data.uniform_(0.5, 1)
    data = ImageSet(x, predict(model, x).argmax(1), tuple("0123456789"))
    channels = Channels(model, data)
    order = channels.dormant_first()
    before = weights_hash(model)
    curve = channels.curve(order)
    assert len(curve) == 33 and curve[0].value == 1
    for count in (0, 1, 10, 31, 32):
        pruned = channels.without(order[:count])
        assert clean_accuracy(pruned, data) == curve[count], count
        assert not Channels(pruned, data).activity[list(order[:count])].any()
        assert pruned.state_dict().keys() == model.state_dict().keys(), "a plain network of its kind"
    assert weights_hash(model) == before


def test_dormancy_is_the_mean_of_what_a_relu_lets_through_before_any_pooling():
    model = nn.Sequential(nn.Conv2d(1, 3, 1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(3, 2))
    with torch.no_grad():
        model[0].weight[:, 0, 0, 0] = torch.tensor([2.0, 4.0, -9.0])
        model[0].bias[:] = torch.tensor([0.0, -2.0, 0.0])
    x = torch.tensor([0.25, 0.25, 0.25, 0.75]).view(1, 1, 2, 2).expand(4, 1, 2, 2)
    channels = Channels(model, ImageSet(x.contiguous(), torch.tensor([0, 1, 0, 1]), ("a", "b")))
    # before pooling: (0.5 + 0.5 + 0.5 + 1.5) / 4, and (0 + 0 + 0 + 1) / 4; the maxima are 1.5 and 1
    assert channels.activity.tolist() == [0.75, 0.25, 0.0]
    assert channels.dormant_first() == (2, 1, 0)


@pytest.mark.parametrize(("rates", "drop", "pruned"), [
    ((100, 99, 98, 90, 97), 0.04, 2),  # the first step that costs too much ends it, even if a later one does not
    ((100, 99, 96, 95), 0.04, 2),  # a loss of exactly the drop is allowed
    ((100, 50, 50), 0.04, 0),
    ((100, 100, 100), 0.04, 2),
    ((100, 50, 0), 1.0, 2),
])  # fmt: skip
def test_pruning_stops_one_step_before_it_costs_too_much(rates, drop, pruned):
    assert FinePruning(drop).choose([Proportion(rate, 100) for rate in rates]) == pruned


def test_the_model_that_is_returned_is_the_last_good_one(model, holding):
    removal = FinePruning(drop=0.05, tuning=None)
    repair = removal(model, holding)
    *rows, summary = repair.history
    kept = [row for row in rows if row["kept"]]
    assert 0 < kept[-1]["pruned"] < 8 and [row["pruned"] for row in rows] == list(range(9))
    assert clean_accuracy(repair.model, holding.trusted) == kept[-1]["trusted"], "not one step too far"
    assert summary["after pruning"] == summary["after tuning"] == kept[-1]["trusted"]
    assert (summary["layer"], summary["silent"]) == ("conv2", "by weights")
    assert summary["channels"] == tuple(row["channel"] for row in kept[1:])
    assert repair.history[len(kept)]["trusted"].value < repair.history[0]["trusted"].value - 0.05


def test_pruned_channels_stay_silent_through_fine_tuning(model, holding):
    repair = FinePruning(tuning=replace(TUNING, lr=0.02))(model, holding)
    gone = list(repair.history[-1]["channels"])
    assert gone and Channels(repair.model, holding.trusted).activity[gone].max() == 0
    state = repair.model.state_dict()
    assert all(float(state[name][gone].abs().max()) == 0 for name in ("conv2.weight", "norm2.weight", "norm2.bias"))


def test_a_network_without_a_convolution_and_a_layer_without_channels_are_refused(model, holding):
    with pytest.raises(ValueError, match="Sequential has no hidden convolution that it calls once"):
        FinePruning()(nn.Sequential(nn.Flatten(), nn.Linear(64, 3)), holding)
    with pytest.raises(ValueError, match=r"layer 'fc1' must answer with channels \[N, C, H, W\]; got \[2, 16\]"):
        FinePruning(layer="fc1")(model, holding)
    with pytest.raises(ValueError, match="no layer 'conv9'; known: conv1, "):
        FinePruning(layer="conv9")(model, holding)


# ---- unlearning ----


def test_unlearning_the_true_trigger_takes_it_away(model, plan, holding):
    repair = Unlearning(Patch(2), stamped=0.5, tuning=FineTuning(epochs=10, batch_size=16))(model, holding)
    assert attack_success_rate(repair.model, blobs(seed=2), plan.attack).value < 0.1
    assert clean_accuracy(repair.model, blobs(seed=2)).value > 0.95


def test_a_known_trigger_is_labelled_as_an_oracle(model, holding):
    assert Unlearning(Patch(2), tuning=TUNING)(model, holding).oracle == ("trigger",)
    knowing = replace(holding, target=0)
    assert Unlearning(Patch(2), tuning=TUNING)(model, knowing).oracle == ("target", "trigger")


def test_nothing_flagged_nothing_changed(model, holding):
    scan = replace(QUICK, ratio=1e-6)
    repair = Unlearning(scan=scan, tuning=TUNING)(model, holding)
    assert weights_hash(repair.model) == weights_hash(model) and repair.model is not model
    (record,) = repair.history
    assert record["flagged"] == () == record["scan"].flagged and repair.oracle == ()
    assert "the network is as it was" in record["note"]


def test_the_lesson_stamps_a_share_with_each_trigger_in_turn_and_keeps_the_labels(holding):
    trusted = holding.trusted
    both = (Patch(2), Patch(2, corner="top-left"))
    lesson = Unlearning(stamped=0.2).lesson(trusted, both)
    assert torch.equal(lesson.y, trusted.y)
    changed = (lesson.x != trusted.x).flatten(1).any(1)
    assert int(changed.sum()) == 12
    for trigger in both:
        assert int((lesson.x == trigger(trusted.x)).flatten(1).all(1).sum()) == 6
    one = Unlearning(stamped=0.001).lesson(trusted, both[:1])
    assert int((one.x != trusted.x).flatten(1).any(1).sum()) == 1


# ---- adversarial unlearning ----


def test_the_worst_shift_stays_in_its_ball_and_raises_the_loss(model, holding):
    x, y = holding.trusted.x, holding.trusted.y

    def loss(shift):
        return float(torch.nn.functional.cross_entropy(predict(model, (x + shift).clamp(0, 1)), y))

    small, large = (worst_shift(model, 10 * [(x, y)], radius=radius) for radius in (0.5, 2.0))
    assert small.shape == (1, 1, 8, 8) and float(small.norm()) <= 0.5 + 1e-6 and float(large.norm()) <= 2 + 1e-6
    random = torch.randn(1, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    assert loss(large) > loss(small) > loss(torch.zeros(1)) and loss(large) > loss(2 * random / random.norm())


def test_one_shift_serves_all_images_of_a_linear_network():
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 2, bias=False))
    model[1].weight.data = torch.tensor([[0.0, 0, 0, 1], [0, 0, 0, -1]])
    x, y = torch.full((5, 1, 2, 2), 0.9), torch.zeros(5, dtype=torch.long)
    shift = worst_shift(model, 20 * [(x, y)], radius=0.8)
    assert torch.allclose(shift.flatten(), torch.tensor([0.0, 0, 0, -0.8]), atol=1e-5)


def test_adversarial_unlearning_needs_no_trigger(model, plan, holding):
    removal = AdversarialUnlearning(radius=2.0, tuning=FineTuning(epochs=20, batch_size=16))
    repair = removal(model, holding)
    assert repair.oracle == () and len(repair.history) == 20
    assert attack_success_rate(repair.model, blobs(seed=2), plan.attack).value < 0.3
    assert clean_accuracy(repair.model, blobs(seed=2)).value > 0.95


def test_the_worst_shift_is_sought_before_every_epoch_in_evaluation_mode(model, holding, monkeypatch):
    seen = []

    def spy(network, *images, **settings):
        seen.append(network.training)
        return worst_shift(network, *images, **settings)

    monkeypatch.setattr(adversarial_unlearning, "worst_shift", spy)
    repair = AdversarialUnlearning(tuning=FineTuning(epochs=4, batch_size=16))(model, holding)
    assert seen == [False] * 4 and len(repair.history) == 4


# ---- bad settings ----


@pytest.mark.parametrize(("make", "message"), [
    (lambda: FineTuning(epochs=0), "epochs must be at least 1"),
    (lambda: FineTuning(lr=0.0), "lr must be positive"),
    (lambda: FinePruning(1.5), r"drop must lie in \[0, 1\]; got 1.5"),
    (lambda: AdversarialUnlearning(radius=0.0), r"steps and batch at least 1; got 0.0, 10 and 100"),
    (lambda: Unlearning(stamped=0.0), r"stamped must lie in \(0, 1\]; got 0.0"),
])  # fmt: skip
def test_impossible_settings_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("removal", REMOVALS, ids=repr)
def test_a_removal_without_trusted_images_is_refused(removal, model):
    with pytest.raises(ValueError, match="needs at least 2 trusted images; this holding has 0"):
        removal(model, Holding(blobs()[:0]))
