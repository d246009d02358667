"""Removals and robust trainings on networks that readers bring: what they report is true of what they return."""

import copy
import warnings
from typing import Any

import pytest
import torch
from foreign import CLASSES, NETWORKS, SIDE, BlocksInSequential, made
from torch import nn
from torch.nn.functional import max_pool2d, relu

from badnets_lib import (
    Attack,
    Goal,
    ImageSet,
    Patch,
    Proportion,
    SmallCNN,
    TrainConfig,
    clean_accuracy,
    predict,
    train,
    weights_hash,
)
from badnets_lib.defenses import (
    AntiBackdoor,
    AssumptionWarning,
    ChannelLipschitz,
    CutMix,
    FilterAndRetrain,
    Flags,
    Holding,
    IsolateAndUnlearn,
    NeuronPruning,
    SharpnessAwareTuning,
)
from badnets_lib.defenses.adversarial_unlearning import AdversarialUnlearning
from badnets_lib.defenses.channels import Channels, is_silenced
from badnets_lib.defenses.fine_pruning import FinePruning
from badnets_lib.defenses.fine_tuning import FineTuning
from badnets_lib.defenses.unlearning import Unlearning
from badnets_lib.models.inference import logits_of

quiet = pytest.mark.filterwarnings("ignore::badnets_lib.defenses.AssumptionWarning")

SLOW = ("ResNet-18", "MobileNetV3")
TUNING = FineTuning(epochs=1, batch_size=8, lr=0.001)
PATCH = Patch(size=6)
CONFIG = TrainConfig(epochs=1, batch_size=8, device="cpu")


def images(count: int = 24, seed: int = 0, dtype: torch.dtype = torch.uint8) -> ImageSet:
    """Colour images whose class is the place of a bright square, kept as uint8 unless somebody says otherwise."""
    y = torch.arange(count) % CLASSES
    x = 100 * torch.rand(count, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(seed))
    for label in range(CLASSES):
        x[y == label, :, 2:12, 8 * label : 8 * label + 8] += 150
    x = x.round().to(torch.uint8)
    return ImageSet(x if dtype == torch.uint8 else x.to(dtype) / 255, y, tuple("abcd"))


def holding_for(network: nn.Module, count: int = 24) -> Holding:
    """Trusted images of which the untrained network is right about most, so that accuracies can fall."""
    data = images(count)
    y = predict(network, data.x).argmax(1)
    y[::6] = (y[::6] + 1) % CLASSES
    return Holding(ImageSet(data.x, y, data.classes))


EVERY = [pytest.param(name, marks=pytest.mark.slow) if name in SLOW else name for name in NETWORKS]


@pytest.fixture(scope="module", params=EVERY)
def network(request: Any) -> nn.Module:
    net = made(request.param).eval()
    with torch.no_grad():  # batch norm as it is after some training: nothing is centred
        for name, part in net.named_modules():
            if isinstance(part, nn.BatchNorm2d):
                source = torch.Generator().manual_seed(len(name))
                part.weight.copy_(0.5 + torch.rand(part.weight.shape, generator=source))
                part.bias.copy_(0.2 * torch.randn(part.bias.shape, generator=source))
            if isinstance(part, nn.Linear) and not bool(part.weight.any()):  # a fresh ViT's head, which learns nothing
                part.weight.copy_(0.1 * torch.randn(part.weight.shape, generator=torch.Generator().manual_seed(0)))
    return net


# ---- pruning ----


def literal(network: nn.Module, layer: str, order: tuple[int, ...], data: ImageSet) -> tuple[Proportion, ...]:
    """Silence the channels of a layer with a hook and run the whole network, anew for every count."""
    counts = []
    for count in range(len(order) + 1):

        def silence(_part: Any, _given: Any, output: Any, gone: tuple[int, ...] = order[:count]) -> Any:
            output = output.clone()
            output[:, list(gone)] = 0
            return output

        hook = network.get_submodule(layer).register_forward_hook(silence)
        counts.append(clean_accuracy(network, data))
        hook.remove()
    return tuple(counts)


WHERE = {
    "ResNet-18": ("layer4.1.conv2", "layer4.1.bn2"),
    "MobileNetV3": ("features.12.0", "features.12.1"),
    "ViT": ("conv_proj", "conv_proj"),
    "DenseNet": ("features.denseblock2.denselayer2.conv2", "features.denseblock2.denselayer2.conv2"),
    "blocks in a Sequential": ("5.conv2", "5.conv2"),
    "Hugging Face": ("encoder.0", "encoder.1"),
}
"""The last convolution, and the layer behind which its channels are silent: batch norm where it follows directly."""


@pytest.mark.parametrize("name", EVERY)
def test_the_curve_is_that_of_the_whole_network_with_a_mask(name):
    network = made(name).eval()
    trusted = holding_for(network).trusted
    channels = Channels(network, trusted, batch_size=10)
    order = channels.dormant_first()
    assert channels.layer == WHERE[name][0] and sorted(order) == list(range(len(order)))
    every = order[:: max(1, len(order) // 8)]
    assert channels.curve(every) == literal(network, WHERE[name][1], every, trusted)


@quiet
def test_what_pruning_reports_is_measured_on_what_it_returns(network):
    before = weights_hash(network)
    holding = holding_for(network)
    repair = FinePruning(drop=0.2, tuning=None)(network, holding)
    *rows, summary = repair.history
    chosen = [row for row in rows if row["kept"]][-1]
    assert chosen["trusted"] == summary["after pruning"] == summary["after tuning"]
    assert clean_accuracy(repair.model, holding.trusted) == chosen["trusted"]
    assert summary["silent"] == "by weights" and not is_silenced(repair.model)
    assert repair.model.state_dict().keys() == network.state_dict().keys() and weights_hash(network) == before
    gone = list(summary["channels"])
    assert len(gone) == chosen["pruned"]
    assert float(Channels(repair.model, holding.trusted, summary["layer"]).activity[gone].sum()) == 0


@quiet
def test_what_is_pruned_stays_pruned_through_fine_tuning(network):
    holding = holding_for(network)
    repair = FinePruning(drop=1.0, tuning=FineTuning(epochs=2, batch_size=8, lr=0.01))(network, holding)
    summary = repair.history[-1]
    gone = list(summary["channels"])
    assert gone and summary["silent"] == "by weights"
    convolution = repair.model.get_submodule(summary["layer"])
    assert float(convolution.weight[gone].detach().abs().max()) == 0
    assert clean_accuracy(repair.model, holding.trusted) == summary["after tuning"]
    assert weights_hash(repair.model) != weights_hash(network)


@quiet
def test_a_residual_network_in_a_sequential_loses_the_channels_that_are_named():
    """The first convolution used to lose the channels that the last one's activations had named."""
    data = images(160, dtype=torch.float32)
    model = train(data, TrainConfig(epochs=16, batch_size=16, device="cpu"), model=BlocksInSequential).model
    holding = Holding(images(40, seed=1, dtype=torch.float32))
    assert clean_accuracy(model, holding.trusted).value > 0.9
    repair = FinePruning(drop=0.04, tuning=None)(model, holding)
    new = repair.model.state_dict()
    changed = {name for name, old in model.state_dict().items() if not torch.equal(old, new[name])}
    assert changed == {"5.conv2.weight", "5.conv2.bias"}
    before, after = (clean_accuracy(each, holding.trusted) for each in (model, repair.model))
    assert after.value >= before.value - 0.04 and after == repair.history[-1]["after pruning"]


class Functional(nn.Module):
    """Activation and pooling without modules, as in most tutorials."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 6, 3)
        self.conv2 = nn.Conv2d(6, 6, 3, padding=1)
        self.fc = nn.Linear(6, CLASSES)

    def forward(self, x: Any) -> Any:
        x = self.conv1(x)
        x += 0.1  # in place, on what a layer returned: a record would be edited anew by every replay
        x = relu(self.conv2(relu(x))) + x
        return self.fc(max_pool2d(x, 30).flatten(1))


class Forked(nn.Module):
    """What batch norm says goes two ways: into a pooling layer, and round it."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 3, padding=1)
        self.norm = nn.BatchNorm2d(6, affine=False)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(6, CLASSES)

    def forward(self, x: Any) -> Any:
        said = self.norm(self.conv(x))
        return self.fc(self.pool(said).flatten(1) + said.amax((2, 3)))


@quiet
@pytest.mark.parametrize(("make", "behind", "silent"), [
    (Functional, "conv2", "by weights"),
    (Forked, "norm", "by a hook"),  # batch norm without scale and shift says something even about zeros
    (lambda: AllConvolutions(), "0", "by weights"),
])  # fmt: skip
def test_networks_that_look_harmless(make, behind, silent):
    torch.manual_seed(0)
    network = make().eval()
    if behind == "norm":
        network.norm.running_mean[:] = torch.linspace(-0.5, 0.5, 6)
    holding = holding_for(network)
    channels = Channels(network, holding.trusted, batch_size=7)
    order = channels.dormant_first()
    assert channels.curve(order) == literal(network, behind, order, holding.trusted)
    repair = FinePruning(drop=0.5, tuning=None)(network, holding)
    assert repair.history[-1]["silent"] == silent
    assert clean_accuracy(repair.model, holding.trusted) == repair.history[-1]["after pruning"]


class AllConvolutions(nn.Sequential):
    """The last convolution gives the logits; before it an activation that does not answer zero with zero."""

    def __init__(self) -> None:
        super().__init__(nn.Conv2d(3, 6, 3), nn.Sigmoid(), nn.Conv2d(6, CLASSES, 3), nn.Flatten(2))

    def forward(self, x: Any) -> Any:
        return super().forward(x).mean(2)


@quiet
@pytest.mark.slow
def test_any_layer_with_channels_can_be_named_and_a_mask_survives_a_copy_and_its_state():
    network = made("ResNet-18").eval()
    holding = holding_for(network)
    repair = FinePruning(drop=1.0, tuning=TUNING, layer="layer4")(network, holding)
    summary = repair.history[-1]
    assert summary["layer"] == "layer4" and summary["silent"] == "by a hook" and is_silenced(repair.model)
    again = copy.deepcopy(repair.model)
    assert torch.equal(predict(again, holding.trusted.x), predict(repair.model, holding.trusted.x))
    assert repair.model.state_dict().keys() - network.state_dict().keys() == {"layer4.silent"}
    said = []
    again.layer4.register_forward_hook(lambda _part, _given, output: said.append(output))
    predict(again, holding.trusted.x)
    assert float(said[0][:, list(summary["channels"])].abs().max()) == 0


# ---- every removal ----

REMOVALS = [
    TUNING,
    FineTuning(epochs=1, batch_size=8, layers="last"),
    Unlearning(PATCH, tuning=TUNING),
    AdversarialUnlearning(steps=2, batch=8, tuning=TUNING),
    SharpnessAwareTuning(epochs=1, batch_size=8),
    NeuronPruning(iterations=3, batch_size=8, threshold=0.9, lr=50.0),
]


@quiet
@pytest.mark.parametrize("removal", REMOVALS, ids=lambda removal: type(removal).__name__)
def test_a_removal_returns_another_network_of_the_same_kind(removal, network):
    holding = holding_for(network, 16)
    before = weights_hash(network)
    repair = removal(network, holding)
    assert type(repair.model) is type(network) and not repair.model.training and weights_hash(network) == before
    assert repair.model.state_dict().keys() == network.state_dict().keys()
    assert weights_hash(repair.model) != before and all(each.requires_grad for each in repair.model.parameters())
    assert predict(repair.model, holding.trusted.x).shape == (16, CLASSES)


HEADS = {
    "ResNet-18": "fc", "MobileNetV3": "classifier.3", "ViT": "heads.head", "DenseNet": "classifier",
    "blocks in a Sequential": "8", "Hugging Face": "classifier",
}  # fmt: skip


@quiet
@pytest.mark.parametrize("name", EVERY)
def test_the_head_is_found_and_nothing_else_learns(name):
    network = made(name)
    tuned = FineTuning(epochs=1, batch_size=8, layers="last")(network, holding_for(network, 16)).model.state_dict()
    changed = {key for key, old in network.state_dict().items() if not torch.equal(old, tuned[key])}
    assert changed == {f"{HEADS[name]}.weight", f"{HEADS[name]}.bias"}


@quiet
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_other_precisions_are_repaired_and_kept(dtype):
    network = made("Hugging Face").to(dtype)
    for removal in (*REMOVALS, FinePruning(drop=0.3, tuning=TUNING), ChannelLipschitz()):
        repaired = removal(network, holding_for(network, 16)).model
        assert {each.dtype for each in repaired.parameters()} == {dtype}
        assert predict(repaired, images(4).x).isfinite().all()


@quiet
@pytest.mark.parametrize("settings", [{"affine": False}, {"track_running_stats": False}])
def test_batch_norm_of_any_kind_is_held(settings):
    network = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, **settings), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.BatchNorm1d(4, **settings), nn.Linear(4, CLASSES),
    )  # fmt: skip
    tuned = FineTuning(epochs=2, batch_size=8, layers=("6",))(network, Holding(images(16))).model.state_dict()
    changed = {key for key, old in network.state_dict().items() if not torch.equal(old, tuned[key])}
    assert changed == {"6.weight", "6.bias"}


def warned(removal: Any, network: nn.Module, holding: Holding) -> list[str]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        removal(network, holding)
    return [each.message.page.split("#")[1] for each in caught if isinstance(each.message, AssumptionWarning)]


def test_a_network_that_is_wrong_about_the_trusted_images_is_noticed():
    network = made("Hugging Face")
    right = predict(network, images(120).x).argmax(1)
    wrong = ImageSet(images(120).x, (right + 1) % CLASSES, tuple("abcd"))
    for removal in (TUNING, FinePruning(tuning=None), Unlearning(PATCH, tuning=TUNING)):
        assert "far-too-low-accuracy" in warned(removal, network, Holding(wrong))
    assert "far-too-low-accuracy" not in warned(TUNING, network, holding_for(network, 120))


def test_a_repair_that_forgets_the_network_says_so():
    model = train(
        images(120), TrainConfig(epochs=8, batch_size=16, device="cpu"), model=lambda: SmallCNN(3, 4, 4)
    ).model
    holding = Holding(images(120, seed=1))
    assert clean_accuracy(model, holding.trusted).value > 0.95
    assert "repair-costs-accuracy" in warned(FineTuning(epochs=3, lr=1.0), model, holding)
    assert warned(FineTuning(epochs=1, lr=0.0001), model, holding) == []


class Probabilities(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = made("Hugging Face")

    def forward(self, x: Any) -> Any:
        return logits_of(self.body(x)).softmax(1)


def test_a_softmax_at_the_end_is_noticed():
    for removal in (TUNING, Unlearning(PATCH, tuning=TUNING)):
        assert "probabilities-instead-of-logits" in warned(removal, Probabilities(), holding_for(Probabilities(), 16))
    soft = {"network": Probabilities}
    isolating = (
        IsolateAndUnlearn(0.1, early=1, unlearn=1, **soft),
        AntiBackdoor(0.1, early=1, further=1, unlearn=1, **soft),
    )
    for training in (CutMix(**soft), *isolating):
        with pytest.warns(AssumptionWarning, match="probabilities, not logits"):
            training(images(), CONFIG)


@quiet
@pytest.mark.usefixtures("unchecked")
def test_what_is_no_network_and_no_holding_is_refused_in_a_sentence():
    trained = train(images(), CONFIG, model=lambda: SmallCNN(3, 4, 4))
    for removal in (*REMOVALS, FinePruning(), ChannelLipschitz()):
        with pytest.raises(TypeError, match="need a network.* got Trained .of what train returns: trained.model"):
            removal(trained, Holding(images()))
        with pytest.raises(TypeError, match=r"needs a Holding, .* got ImageSet \(Holding\(images\) makes one\)"):
            removal(trained.model, images())
        with pytest.raises(ValueError, match="the network has 4 outputs; the data have 5 classes"):
            removal(trained.model, Holding(ImageSet(images().x, images().y, tuple("abcde"))))
        with pytest.raises(ValueError, match="a scripted network cannot be repaired"):
            removal(torch.jit.trace(trained.model, images(2).x / 255), Holding(images()))
    with pytest.raises(ValueError, match="nobody can listen to the layers of a scripted network"):
        Channels(torch.jit.trace(trained.model, images(2).x / 255), images())
    with pytest.raises(TypeError, match="layers must be a tuple of names, 'last' or None; got 'fc2'"):
        FineTuning(layers="fc2")


# ---- every robust training ----


def nothing_suspicious(_model: nn.Module, data: ImageSet) -> Flags:
    """A filter that flags the first image."""
    flagged = torch.arange(len(data)) == 0
    return Flags(flagged.float(), flagged, (), data.fingerprint)


@quiet
@pytest.mark.parametrize("name", EVERY)
def test_a_robust_training_trains_the_network_it_is_given(name):
    data = images()
    make = NETWORKS[name]
    trainings = [
        IsolateAndUnlearn(0.1, early=1, unlearn=1, network=make),
        AntiBackdoor(0.1, early=1, further=1, unlearn=1, network=make),
        CutMix(network=make),
        FilterAndRetrain(nothing_suspicious, network=make),
    ]
    for training in trainings:
        repair = training(data, CONFIG)
        assert repair.model.state_dict().keys() == make().state_dict().keys()
        kind = type(make()).__name__
        assert repair.settings.endswith(f" of a {kind}") and repair.history[0]["network"].startswith(f"{kind}, ")


@quiet
def test_a_factory_that_returns_one_network_gives_independent_trainings():
    one = made("Hugging Face")
    before = weights_hash(one)
    data = images()
    fresh = FilterAndRetrain(nothing_suspicious, network=lambda: one)(data, CONFIG).model
    assert weights_hash(one) == before
    assert weights_hash(fresh) == weights_hash(train(data[1:], CONFIG, model=one).model), "not a third and fourth epoch"


# ---- the truth about flags ----


def test_flags_are_compared_with_the_plan_that_made_the_data_and_no_other():
    clean = images(40)
    attack = Attack(PATCH, Goal.all_to_one(0, CLASSES))
    plan, other = (attack.plan(clean, fraction=0.2, seed=seed) for seed in (0, 1))
    poisoned = plan.poison(clean)
    flags = Flags(plan.mask.float(), plan.mask, (), poisoned.fingerprint)
    assert flags.rates(plan, clean).recall == Proportion(8, 8) == flags.rates(plan.mask).recall
    with pytest.raises(ValueError, match=f"the flags are about data {poisoned.fingerprint}; this plan makes "):
        flags.rates(other, clean)
    with pytest.raises(ValueError, match="give the clean set it was drawn for"):
        flags.rates(plan)
    features_only = Flags(plan.mask.float(), plan.mask)
    assert features_only.rates(plan, clean).recall == Proportion(8, 8)
