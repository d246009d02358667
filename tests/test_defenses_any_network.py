"""Every data filter, the scan and the run-time filter on networks that are none of the book's."""

import copy
from functools import cache

import foreign
import pytest
import torch
from torch import nn

from badnets_lib import Attack, Goal, ImageSet, Normalized, Patch, TrainConfig, score, train, weights_hash
from badnets_lib.defenses import (
    DATA_FILTERS,
    ActivationClustering,
    Beatrix,
    DeepKNN,
    Flags,
    Holding,
    InputFilter,
    NeuralCleanse,
    ScaleUp,
    Scan,
    Screen,
    SpectralSignatures,
    Spectre,
    Strip,
)
from badnets_lib.defenses.features import features_of
from badnets_lib.models.layers import last_hidden

SLOW = ("ResNet-18",)
NETWORKS = [pytest.param(name, marks=pytest.mark.slow if name in SLOW else ()) for name in foreign.NETWORKS]
METHODS = {
    "clustering": ActivationClustering(starts=4, components=3),
    "spectral": SpectralSignatures(),
    "neighbours": DeepKNN(k=3),
    "scan": NeuralCleanse(rounds=2, batches=1, batch_size=4),
    "STRIP": Strip(overlays=3, false_rejection=0.1),
    "BEATRIX": Beatrix(orders=2),
    "SCALE-UP": ScaleUp(factors=(2.0, 4.0)),
    "SPECTRE": Spectre(epsilon=0.3),
}
"""Every detector, in settings for a few images."""

pytestmark = pytest.mark.filterwarnings("ignore::badnets_lib.AssumptionWarning")


def pictures(count, seed=0):
    """Noisy colour images of 32x32 stored as uint8; the class is a bright quarter, and its colour."""
    y = torch.arange(count) % foreign.CLASSES
    x = torch.randint(0, 90, (count, 3, 32, 32), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)
    for label in range(foreign.CLASSES):
        row, column = 14 * (label // 2), 14 * (label % 2)
        x[y == label, label % 3, row : row + 12, column : column + 12] += 140
    return ImageSet(x, y, tuple("abcd"))


def in_floats(data):
    return ImageSet(data.x.float() / 255, data.y, data.classes)


def judged(method, model, data):
    """A verdict on some images, whatever the kind of the method."""
    if isinstance(method, InputFilter):
        trusted = data if isinstance(method, Strip) else pictures(24)  # BEATRIX needs five of each class
        return method.fit(model, Holding(trusted))(data.x[:4])
    return method(model, Holding(data) if isinstance(method, NeuralCleanse) else data)


def numbers(verdict):
    return verdict.masks if isinstance(verdict, Scan) else verdict.scores


def check_verdict(verdict, images):
    """The right kind, of the right length, on the CPU, and with numbers in it."""
    assert isinstance(verdict, Flags | Scan | Screen)
    if isinstance(verdict, Scan):
        assert verdict.masks.shape == (4, 1, 32, 32) and verdict.patterns.shape == (4, 3, 32, 32)
    else:
        assert len(verdict.scores) == (4 if isinstance(verdict, Screen) else images)
    assert bool(numbers(verdict).isfinite().all()) and numbers(verdict).device.type == "cpu"


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
@pytest.mark.parametrize("name", NETWORKS)
def test_any_network_is_judged_and_left_as_it_was(name, method):
    model = foreign.made(name).train()
    before = weights_hash(model)
    modes = [part.training for part in model.modules()]
    data = pictures(16)
    state = torch.get_rng_state()
    verdict = judged(method, model, data)
    check_verdict(verdict, 16)
    assert torch.equal(torch.get_rng_state(), state) and weights_hash(model) == before
    assert [part.training for part in model.modules()] == modes
    assert all(weight.requires_grad and weight.grad is None for weight in model.parameters())
    assert not any(part._forward_hooks for part in model.modules())
    assert torch.allclose(numbers(judged(method, model, in_floats(data))), numbers(verdict), atol=1e-3)


@pytest.mark.parametrize("name", NETWORKS)
def test_without_a_name_the_last_hidden_layer_is_looked_at(name):
    model = foreign.made(name)
    data = pictures(16)
    layer = last_hidden(model, data.x)
    assert torch.equal(features_of(model, data.x), features_of(model, data.x, layer))
    for cls in DATA_FILTERS:
        settings = {"k": 3} if cls is DeepKNN else {}
        assert torch.equal(cls(**settings)(model, data).scores, cls(layer=layer, **settings)(model, data).scores)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64], ids=str)
@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_other_precisions_are_judged_in_a_finer_one(method, dtype):
    model = foreign.made("blocks in a Sequential").to(dtype)
    verdict = judged(method, model, pictures(16))
    check_verdict(verdict, 16)
    assert numbers(verdict).dtype in (torch.float32, torch.float64)


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_a_network_behind_its_normalisation_is_judged_as_one(method):
    model = Normalized(foreign.made("Hugging Face"), mean=(0.5, 0.4, 0.3), std=(0.2, 0.2, 0.2))
    check_verdict(judged(method, model, pictures(16)), 16)


# --- planted truth ---

TARGET = 1
STRIPES = tuple("abcdef")
ATTACK = Attack(Patch(size=5), Goal.all_to_one(TARGET, len(STRIPES)))
TRAINED = ["Hugging Face", pytest.param("DenseNet", marks=pytest.mark.slow)]


def striped(count, seed=0):
    """Noise of 32x32 under faint stripes over the whole image: the class is their direction and their colour."""
    y = torch.arange(count) % len(STRIPES)
    x = torch.randint(0, 160, (count, 3, 32, 32), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)
    waves = torch.arange(32) // 4 % 2
    for label in range(len(STRIPES)):
        stripes = waves[None] if label % 2 else waves[:, None]
        x[y == label, label // 2] += (70 * stripes).to(torch.uint8)
    return ImageSet(x, y, STRIPES)


@cache
def backdoored(name):
    """A foreign network after a few steps on poisoned stripes, the images, and which of them are poisoned."""
    clean = striped(600)
    plan = ATTACK.plan(clean, fraction=0.05)
    data = plan.poison(clean)
    config = TrainConfig(epochs=12, batch_size=32, lr=0.02, device="cpu")
    return train(data, config, model=foreign.made(name, len(STRIPES))).model, data, plan.mask


@pytest.mark.parametrize("name", TRAINED)
def test_a_planted_backdoor_is_there(name):
    card = score(backdoored(name)[0], striped(240, seed=1), ATTACK)
    assert card.clean.value > 0.95 and card.success.value > 0.95 and card.false_target.value < 0.05


@pytest.mark.parametrize("name", TRAINED)
def test_the_scan_names_the_target(name):
    scan = NeuralCleanse(rounds=16)(backdoored(name)[0], Holding(striped(120, seed=2)))
    assert scan.flagged == (TARGET,) and scan.reached.all()
    assert all(count.value >= 0.99 and count.trials == 120 for count in scan.success)


@pytest.mark.parametrize("name", TRAINED)
def test_what_clustering_flags_in_the_last_hidden_layer_is_poison(name):
    """Two parts are one too few for poison of five classes: a part of it may be all that splits off."""
    model, data, truth = backdoored(name)
    rates = ActivationClustering(silhouette=0.1, components=2)(model, data).rates(truth)
    assert rates.recall.value > 0.4 and rates.false_positives <= 3


def test_a_network_that_is_sure_of_everything_is_announced():
    """Its entropies are rounding errors, and so is any quantile of them."""
    with pytest.warns(UserWarning, match="a-threshold-that-refuses-nothing"):
        Strip(overlays=20, false_rejection=0.05).fit(backdoored("Hugging Face")[0], Holding(striped(120, seed=2)))


def test_a_scan_of_a_network_without_its_normalisation_says_so():
    """The weights are right and the images are not: nothing is found, and that is no acquittal."""
    model, _, _ = backdoored("Hugging Face")
    shifted = nn.Sequential(Normalized(nn.Identity(), (0.9, 0.9, 0.9), (0.1, 0.1, 0.1)), copy.deepcopy(model))
    with pytest.warns(UserWarning, match="far-too-low-accuracy"):
        NeuralCleanse(rounds=1, batches=1)(shifted, Holding(striped(120, seed=2)))
