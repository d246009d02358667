"""Networks that a reader may bring, from training to the saved file: a row a network, a column a call."""

import pytest
import torch
from foreign import NETWORKS, made
from torch.nn.functional import cross_entropy

from badnets_lib import (
    Attack,
    Goal,
    ImageSet,
    Normalized,
    Patch,
    TrainConfig,
    channel_means,
    load_model,
    predict,
    save_model,
    score,
    train,
    weights_hash,
)
from badnets_lib.attacks.evasion import learn_patch, pgd
from badnets_lib.attacks.transfer import backdoor_channels, strengthened, transferred
from badnets_lib.models.adaptation import distilled, frozen, pruned, quantised
from badnets_lib.models.layers import head, last_convolution, listen

CONFIG = TrainConfig(epochs=4, batch_size=16, lr=0.002, device="cpu")
ATTACK = Attack(Patch(6), Goal.all_to_one(0, 4))


@pytest.fixture(scope="module")
def data():
    """32 colour images kept as bytes: the class is a bright quarter."""
    y = torch.arange(32) % 4
    x = 0.3 * torch.rand(32, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    for at, label in enumerate(y.tolist()):
        x[at, :, 16 * (label // 2) : 16 * (label // 2) + 16, 16 * (label % 2) : 16 * (label % 2) + 16] += 0.6
    return ImageSet((x * 255).round().to(torch.uint8), y, tuple("abcd"))


SLOW = ("ResNet-18", "MobileNetV3")


@pytest.fixture(
    scope="module",
    params=[pytest.param(name, marks=pytest.mark.slow if name in SLOW else ()) for name in NETWORKS],
)
def name(request):
    return request.param


def fresh(name):
    """An untrained network whose statistics settle within a few steps."""
    model = made(name)
    for norm in model.modules():
        if isinstance(norm, torch.nn.BatchNorm2d):
            norm.momentum = 0.5
    return model


@pytest.fixture(scope="module")
def trained(name, data):
    plan = ATTACK.plan(data, fraction=0.25)
    return train(plan.poison(data), CONFIG, model=fresh(name))


def test_it_trains(name, trained):
    assert trained.history[-1].loss < trained.history[0].loss
    assert weights_hash(trained.model) != weights_hash(made(name))
    assert not any(part.training for part in trained.model.modules())


def test_it_trains_again_to_the_same_weights_behind_a_normalisation(name, data):
    config = TrainConfig(epochs=1, batch_size=32, device="cpu")
    runs = [train(data, config, model=Normalized(made(name), (0.5,) * 3, (0.25,) * 3)).model for _ in range(2)]
    assert weights_hash(runs[0]) == weights_hash(runs[1])


def test_it_is_asked_and_scored(trained, data):
    logits = predict(trained.model, data.x, batch_size=10)
    card = score(trained.model, data, ATTACK)
    assert logits.shape == (32, 4)
    assert card.clean.hits == int((logits.argmax(1) == data.y).sum()) and card.success.trials == 24


def test_its_layers_are_heard(trained, data):
    model = trained.model
    features, logits = listen(model, data.x)
    last = model.get_submodule(head(model, data.x))
    torch.testing.assert_close(features @ last.weight.T + last.bias, logits, rtol=1e-4, atol=1e-4)
    layer = last_convolution(model, data.x)
    maps, _ = listen(model, data.x, layer, lambda said: said)
    torch.testing.assert_close(channel_means(model, data.x, layer), maps.mean((0, 2, 3)), rtol=1e-3, atol=1e-5)


def test_it_is_saved_and_loaded(name, trained, data, tmp_path):
    digest = save_model(tmp_path / "net.safetensors", trained.model, {"plan": "none", "seed": 0})
    again, _ = load_model(tmp_path / "net.safetensors", lambda: made(name, seed=5), sha256=digest)
    torch.testing.assert_close(predict(again, data.x), predict(trained.model, data.x), rtol=1e-4, atol=1e-5)


def test_it_is_evaded(trained, data):
    few = data[torch.arange(8)]
    x = few.x / 255
    attacked = pgd(trained.model, x, few.y, eps=0.02, step=0.005, steps=5, random_start=False)
    loss = [cross_entropy(predict(trained.model, each), few.y) for each in (x, attacked)]
    assert loss[0] < loss[1]
    patch = learn_patch(trained.model, few, 2, size=12, steps=3)
    assert patch(x).shape == x.shape


def test_it_is_adapted(trained, data):
    model, before = trained.model, weights_hash(trained.model)
    last = head(model, data.x)
    tuned = train(data[:16], TrainConfig(epochs=1, device="cpu"), model=frozen(model, train=[last])).model
    moved = {key for key, old in model.state_dict().items() if not torch.equal(old, tuned.state_dict()[key])}
    assert moved == {f"{last}.weight", f"{last}.bias"}
    thin = pruned(model, 0.5)
    assert torch.equal(predict(pruned(model, 0.0), data.x), predict(model, data.x))
    assert not torch.equal(predict(thin, data.x), predict(model, data.x))
    assert weights_hash(model) == before


def test_it_teaches(trained, data):
    student = distilled(trained.model, data.x, CONFIG, student=lambda: made("blocks in a Sequential"))
    assert predict(student, data.x).shape == (32, 4)


def test_it_becomes_a_feature_extractor(name, trained, data):
    model = trained.model
    three = ImageSet(data.x, data.y % 3, tuple("xyz"))
    victim = transferred(model, three, TrainConfig(epochs=1, device="cpu")).model
    assert predict(victim, data.x).shape == (32, 3)
    convolution = f"{last_convolution(model, data.x)}.weight"
    assert torch.equal(victim.state_dict()[convolution], model.state_dict()[convolution])
    if name == "ViT":
        with pytest.raises(ValueError, match="attack is one on the last convolution; after 'conv_proj' come other"):
            backdoor_channels(model, data.x, data.x)
        return
    x = data.x / 255
    channels = backdoor_channels(model, data.x, ATTACK.trigger(x), count=2)
    louder = strengthened(model, channels, 8, data.x)
    changed = {key for key, old in model.state_dict().items() if not torch.equal(old, louder.state_dict()[key])}
    assert changed and not torch.equal(predict(louder, x), predict(model, x))


@pytest.mark.slow
def test_it_runs_in_int8(trained, data):
    exact, rounded = predict(trained.model, data.x), predict(quantised(trained.model, data.x / 255), data.x)
    agree = (exact.argmax(1) == rounded.argmax(1)).float().mean()
    assert agree > 0.7 and not torch.equal(exact, rounded)
