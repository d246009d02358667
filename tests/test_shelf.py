"""Defenses of 2021 to 2023: each against a literal version of the authors' code, and on a backdoor that was planted."""

import copy
import warnings

import numpy as np
import pytest
import torch
from foreign import NETWORKS, made
from torch import nn
from torch.nn.functional import log_softmax, relu

from badnets_lib import (
    Attack,
    Goal,
    ImageSet,
    PaperCNN,
    Patch,
    SmallCNN,
    TrainConfig,
    attack_success_rate,
    clean_accuracy,
    predict,
    train,
    weights_hash,
)
from badnets_lib.defenses import (
    AssumptionWarning,
    Beatrix,
    ChannelLipschitz,
    Holding,
    NeuronPruning,
    ScaleUp,
    SharpnessAwareTuning,
    SpectralSignatures,
    Spectre,
)
from badnets_lib.defenses.beatrix import Usual, deviation, grams
from badnets_lib.defenses.channel_lipschitz import channel_bounds, normalised_convolutions
from badnets_lib.defenses.features import principal
from badnets_lib.defenses.neuron_pruning import neurons_of
from badnets_lib.defenses.scale_up import consistency
from badnets_lib.defenses.sharpness import worst_moves
from badnets_lib.defenses.spectre import _entropies, _fourth_moment, _lowest, best_scores, quantum_scores, robust_part

quiet = pytest.mark.filterwarnings("ignore::badnets_lib.defenses.AssumptionWarning")
ATTACK = Attack(Patch(size=2), Goal.all_to_one(0, 3))


def blobs(count=240, seed=0, level=0.6):
    """Images of 8x8: the class is the place of a bright square, plus noise."""
    y = torch.arange(count) % 3
    x = 0.2 * torch.rand(count, 1, 8, 8, generator=torch.Generator().manual_seed(seed))
    for label in range(3):
        x[y == label, :, 1:3, 2 * label + 1 : 2 * label + 3] += level
    return ImageSet(x, y, ("a", "b", "c"))


@pytest.fixture(scope="module")
def model():
    """A network of 12 and 24 channels with a backdoor."""
    data = ATTACK.plan(blobs(), fraction=0.1).poison(blobs())
    return train(data, TrainConfig(epochs=12, batch_size=16, device="cpu"), model=lambda: SmallCNN(1, 3, 12)).model


@pytest.fixture(scope="module")
def holding():
    return Holding(blobs(150, seed=1))


def anchors(call):
    """Which assumptions a call warned about."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        call()
    return [each.message.page.split("#")[1] for each in caught if isinstance(each.message, AssumptionWarning)]


def test_the_backdoor_is_there(model):
    assert clean_accuracy(model, blobs(90, seed=2)).value > 0.95
    assert attack_success_rate(model, blobs(90, seed=2), ATTACK).value > 0.95


# ---- CLP ----


def literal_clp(net, u):
    """The authors' loop: the batch norm belongs to the convolution registered last."""
    net = copy.deepcopy(net)
    conv = None
    with torch.no_grad():
        for part in net.modules():
            if isinstance(part, nn.BatchNorm2d):
                bounds = []
                for index in range(len(part.weight)):
                    filters = conv.weight[index].reshape(conv.weight.shape[1], -1).double()
                    factor = (part.weight[index] / (part.running_var[index] + part.eps).sqrt()).abs()
                    bounds.append(torch.linalg.svdvals(filters * factor).max())
                bounds = torch.stack(bounds)
                gone = torch.where(bounds > bounds.mean() + u * bounds.std())[0]
                part.weight[gone] = 0
                part.bias[gone] = 0
            elif isinstance(part, nn.Conv2d):
                conv = part
    return net


def shaken(net, seed=0):
    """Batch norm as it is after some training, and a few loud channels."""
    source = torch.Generator().manual_seed(seed)
    net = net.eval()
    with torch.no_grad():
        for part in net.modules():
            if isinstance(part, nn.BatchNorm2d):
                part.weight.copy_(0.5 + torch.rand(part.weight.shape, generator=source))
                part.bias.copy_(0.2 * torch.randn(part.bias.shape, generator=source))
                part.running_var.copy_(0.5 + torch.rand(part.running_var.shape, generator=source))
                part.weight[3] *= 9
    return net


@quiet
@pytest.mark.parametrize("u", [1.0, 2.0, 3.0])
@pytest.mark.parametrize("make", [lambda: SmallCNN(3, 4, 16), lambda: made("Hugging Face")], ids=["small", "foreign"])
def test_clp_is_the_authors_loop_where_layers_are_registered_in_order(make, u):
    net = shaken(make())
    images = ImageSet(torch.rand(4, 3, 32, 32), torch.arange(4), tuple("abcd"))
    repair = ChannelLipschitz(u)(net, Holding(images))
    expected = literal_clp(net, u).state_dict()
    for name, found in repair.model.state_dict().items():
        assert torch.equal(found, expected[name]), name
    assert all(3 in row["pruned"] for row in repair.history)


def test_clp_needs_no_image_and_gives_the_same_whatever_the_images_are(model, holding):
    loud = copy.deepcopy(model)
    with torch.no_grad():
        loud.conv2.weight[5] *= 30
    without, some = (ChannelLipschitz()(loud, each) for each in (Holding(blobs()[:0]), holding))
    assert weights_hash(without.model) == weights_hash(some.model)
    assert [row["pruned"] for row in without.history] == [(), (5,)]
    assert without.history[1]["bounds"][5] > without.history[1]["limit"]
    before, after = (each.get_submodule("norm2")(torch.randn(2, 24, 4, 4))[:, 5] for each in (loud, without.model))
    assert float(after.abs().max()) == 0 < float(before.abs().max())


def test_clp_leaves_a_network_without_batch_norm_alone_and_says_so():
    digits = ImageSet(torch.rand(10, 1, 28, 28), torch.arange(10), tuple("abcdefghij"))
    net = PaperCNN()
    with pytest.warns(AssumptionWarning, match="nothing is judged, and the network is as it was"):
        repair = ChannelLipschitz()(net, Holding(digits))
    assert weights_hash(repair.model) == weights_hash(net) and repair.history == ()
    assert anchors(lambda: ChannelLipschitz()(made("ViT"), Holding(ImageSet(torch.rand(4, 3, 32, 32), torch.arange(4),
                                                                            tuple("abcd"))))) == [
        "batch-norm-after-convolution"
    ]  # fmt: skip


@pytest.mark.parametrize(("channels", "silent"), [(10, True), (11, False)])
def test_among_ten_channels_none_can_lie_three_deviations_above_the_mean(channels, silent):
    net = nn.Sequential(nn.Conv2d(1, channels, 3, bias=False), nn.BatchNorm2d(channels), nn.Flatten(),
                        nn.Linear(36 * channels, 3)).eval()  # fmt: skip
    with torch.no_grad():
        net[0].weight[:] = 1e-6
        net[0].weight[4] = 100
    found = []
    told = anchors(lambda: found.append(ChannelLipschitz()(net, Holding(blobs(3)))))
    assert told == (["too-few-channels"] if silent else [])
    assert found[0].history[0]["pruned"] == (() if silent else (4,))


@quiet
@pytest.mark.parametrize("name", NETWORKS)
def test_clp_judges_the_pairs_of_any_network(name):
    net = made(name)
    x = torch.rand(2, 3, 32, 32)
    pairs = normalised_convolutions(net, x)
    told = {"ViT": 0, "blocks in a Sequential": 1, "Hugging Face": 2, "ResNet-18": 20}
    assert len(pairs) == told.get(name, len(pairs)) and (name == "ViT" or pairs)
    for convolution, norm in pairs:
        bounds = channel_bounds(net.get_submodule(convolution), net.get_submodule(norm))
        assert bounds.shape == (net.get_submodule(norm).num_features,) and bool(bounds.isfinite().all())


def test_clp_refuses_what_it_cannot_judge(model, holding):
    broken = copy.deepcopy(model)
    nn.init.constant_(broken.conv1.weight, torch.nan)
    with pytest.raises(ValueError, match="the weights of 'conv1' and 'norm1' must be finite numbers"):
        ChannelLipschitz()(broken, holding)
    with pytest.raises(ValueError, match="deviations must be positive; got 0"):
        ChannelLipschitz(0.0)


# ---- BEATRIX ----


def literal_gram(features, p):
    rows = features**p
    rows = rows.reshape(rows.shape[0], rows.shape[1], -1)
    rows = torch.matmul(rows, rows.transpose(2, 1)).triu()
    return (rows.sign() * torch.abs(rows) ** (1 / p)).reshape(len(rows), -1)


def literal_usual(features, orders):
    bounds = []
    for p in range(1, orders + 1):
        rows = literal_gram(features, p)
        median = rows.median(dim=0, keepdim=True)[0]
        mad = torch.abs(rows - median).median(dim=0, keepdim=True)[0]
        bounds.append((median - mad * 10, median + mad * 10))
    return bounds


def literal_deviation(features, bounds):
    total = 0
    for p, (low, high) in enumerate(bounds, 1):
        rows = literal_gram(features, p)
        total += (relu(low - rows) / torch.abs(low + 10**-6)).sum(dim=1)
        total += (relu(rows - high) / torch.abs(high + 10**-6)).sum(dim=1)
    return total / (features.shape[1] ** 2 / 2) / len(bounds)


def literal_limit(features, orders):
    found = []
    size = int(len(features) // 5)
    for i in range(5):
        inside = np.ones(len(features))
        inside[i * size : (i + 1) * size] = 0
        bounds = literal_usual(features[np.where(inside == 1)], orders)
        found.append(literal_deviation(features[np.where(inside == 0)], bounds).numpy())
    ranked = np.sort(np.concatenate(found))
    return ranked[int(len(ranked) * 0.95)]


@pytest.mark.parametrize("orders", [1, 8])
def test_deviations_and_limits_are_those_of_the_authors_code(orders):
    source = torch.Generator().manual_seed(0)
    clean = torch.rand(33, 5, 9, generator=source, dtype=torch.double).square()
    other = 3 * torch.randn(20, 5, 9, generator=source, dtype=torch.double)
    usual = [Usual.of(grams(clean, order)) for order in range(1, orders + 1)]
    mine, theirs = deviation(other, usual), literal_deviation(other, literal_usual(clean, orders))
    assert torch.allclose(mine, theirs) and float(mine.min()) > 0
    wide = torch.randn(33, 5, 9, generator=source, dtype=torch.double).exp() ** 3
    assert Beatrix(orders=orders).limit(wide) == pytest.approx(literal_limit(wide, orders)) != 0


def test_beatrix_refuses_the_trigger_and_lets_clean_inputs_pass(model, holding):
    guard = Beatrix().fit(model, holding)
    assert guard.layer == "input of conv2" and guard.limits.shape == (3,)
    test = blobs(300, seed=3)
    alarms, caught = guard(test.x).refused.float().mean(), guard(ATTACK.on(test).x).refused.float().mean()
    assert alarms < 0.15 and caught > 0.95
    stored = (test.x * 255).round().to(torch.uint8)
    assert torch.equal(guard(stored).scores, guard(stored.float() / 255).scores)


def test_an_input_is_compared_with_the_class_that_is_answered(model, holding):
    guard = Beatrix(layer="pool1").fit(model, holding)
    test = blobs(30, seed=4)
    features = test.x.new_tensor(0)
    heard = []
    handle = guard.model.pool1.register_forward_hook(lambda _part, _given, said: heard.append(said))
    answers = predict(guard.model, test.x).argmax(1)
    handle.remove()
    features = heard[0].double().flatten(2)
    for index in (0, 7, 20):
        mine = literal_deviation(features[index : index + 1], [
            (each.low, each.high) for each in full(guard.usual[int(answers[index])], features.shape[1])
        ])  # fmt: skip
        assert float(guard(test.x[index : index + 1]).scores) == pytest.approx(
            float(mine) - float(guard.limits[answers[index]]), abs=1e-6
        )


def full(usual, channels):
    """Bounds of the triangle as the authors keep them, with zeros below."""
    rows, columns = torch.triu_indices(channels, channels)
    for each in usual:
        square = [torch.zeros(1, channels, channels, dtype=each.low.dtype) for _ in range(2)]
        for matrix, bound in zip(square, (each.low, each.high), strict=True):
            matrix[:, rows, columns] = bound
        yield Usual(square[0].flatten(1), square[1].flatten(1))


def test_beatrix_asks_for_images_of_every_class(model):
    few = blobs(60, seed=1)
    with pytest.raises(ValueError, match="BEATRIX needs 5 trusted images of every class; class 2 has 0"):
        Beatrix().fit(model, Holding(few[few.y != 2]))
    assert anchors(lambda: Beatrix().fit(model, Holding(few))) == ["few-trusted-images"]
    assert anchors(lambda: Beatrix().fit(model, Holding(blobs(90, seed=1)))) == []


def test_beatrix_looks_at_the_embedding_of_a_network_without_another_convolution():
    net = made("ViT", 3)
    y = predict(net, torch.rand(40, 3, 32, 32)).argmax(1)
    data = ImageSet(torch.rand(30, 3, 32, 32), torch.arange(30) % 3, tuple("abc"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        guard = Beatrix().fit(net, Holding(data))
    assert guard.layer == "conv_proj" and len(guard(data.x).scores) == 30 and len(y) == 40


# ---- FT-SAM ----


def test_the_worst_move_is_the_authors():
    source = torch.Generator().manual_seed(0)
    weights = [nn.Parameter(torch.randn(shape, generator=source)) for shape in ((4, 3), (4,))]
    gradients = tuple(torch.randn(weight.shape, generator=source) for weight in weights)
    norm = torch.stack(
        [(weight.abs() * each).norm(p=2) for weight, each in zip(weights, gradients, strict=True)]
    ).norm()
    moves = worst_moves(weights, gradients, 2.0)
    for weight, each, move in zip(weights, gradients, moves, strict=True):
        assert torch.allclose(move, each * (2.0 / (norm + 1e-12)) * weight**2)
    length = torch.stack([(move / weight).norm() for move, weight in zip(moves, weights, strict=True)]).norm()
    assert float(length) == pytest.approx(2.0, rel=1e-5)


def follow(net, momentum):
    """How much batch norm's running statistics follow a batch."""
    for part in net.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.momentum = momentum


def literal_sam(net, data, settings, steps):
    """The authors' optimizer, step by step, on whole batches."""
    net = copy.deepcopy(net).train()
    sgd = torch.optim.SGD(net.parameters(), settings.lr, momentum=0.9, weight_decay=5e-4)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(sgd, T_max=100)

    def smoothed():
        answers = net(data.x)
        wanted = torch.full_like(answers, settings.smoothing / (answers.shape[1] - 1))
        wanted.scatter_(1, data.y[:, None], 1.0 - settings.smoothing)
        return torch.nn.functional.kl_div(log_softmax(answers, 1), wanted, reduction="none").sum(-1).mean()

    for _ in range(steps):
        sgd.zero_grad()
        smoothed().backward()
        norm = torch.stack([(each.abs() * each.grad).norm() for each in net.parameters()]).norm()
        moves = [each.grad * settings.radius / (norm + 1e-12) * each.data**2 for each in net.parameters()]
        with torch.no_grad():
            for each, move in zip(net.parameters(), moves, strict=True):
                each.add_(move)
        follow(net, 0.0)
        sgd.zero_grad()
        smoothed().backward()
        with torch.no_grad():
            for each, move in zip(net.parameters(), moves, strict=True):
                each.sub_(move)
        sgd.step()
        schedule.step()
        follow(net, 0.1)
    return net.eval()


def test_sharpness_aware_tuning_is_the_authors_loop(model):
    data = blobs(60, seed=1)
    settings = SharpnessAwareTuning(epochs=4, batch_size=60)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = settings(model, Holding(data)).model.state_dict()
    expected = literal_sam(model, data, settings, 4).state_dict()
    for name, each in expected.items():
        if name.endswith("num_batches_tracked"):
            continue
        assert torch.allclose(found[name], each, rtol=1e-3, atol=1e-4), name
    plain = literal_sam(model, data, SharpnessAwareTuning(radius=0.0), 4).state_dict()
    assert not torch.allclose(plain["fc1.weight"], found["fc1.weight"], rtol=1e-3, atol=1e-4), "the move matters"


def planted(depth):
    """One channel for each class, and a fourth that hears the trigger alone, sleeps `depth` below 0, and rules all."""
    net = nn.Sequential(nn.Conv2d(1, 4, 8, bias=False), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(4, 3))
    with torch.no_grad():
        net[0].weight.zero_()
        for label in range(3):
            net[0].weight[label, 0, 1:3, 2 * label + 1 : 2 * label + 3] = 1
        net[0].weight[3, 0, -2:, -2:] = 1
        net[1].bias.copy_(torch.tensor([0.0, 0.0, 0.0, -depth]))
        net[4].weight.copy_(torch.tensor([[5.0, 0, 0, 40], [0, 5, 0, -40], [0, 0, 5, -40]]))
        net[4].bias.zero_()
    net.train()
    with torch.no_grad():
        for _ in range(100):  # batch norm hears what clean images say
            net(blobs().x)
    return net.eval()


def success(net):
    """Of clean images and of the trigger."""
    test = blobs(90, seed=2)
    return clean_accuracy(net, test).value, attack_success_rate(net, test, ATTACK).value


def test_a_planted_backdoor_is_tuned_away_by_the_move_and_not_by_the_tuning(holding):
    net = planted(2.6)
    assert success(net) == (1.0, 1.0)
    repaired, plain = (SharpnessAwareTuning(epochs=30, radius=each)(net, holding).model for each in (2.0, 0.0))
    assert success(repaired) == (1.0, 0.0) and success(plain) == (1.0, 1.0)


def test_a_planted_neuron_and_no_other_is_pruned(holding):
    repair = NeuronPruning(iterations=50, batch_size=64)(planted(2.6), holding)
    assert repair.history[0]["pruned"] == {"1": (3,)} and success(repair.model) == (1.0, 0.0)


def test_a_neuron_that_sleeps_too_deeply_for_the_noise_stays(holding):
    """Where no change within reach wakes it on clean images, nothing is learnt about it."""
    net = planted(4.0)
    assert NeuronPruning(iterations=50, batch_size=64)(net, holding).history[0]["pruned"] == {"1": ()}
    assert success(SharpnessAwareTuning(epochs=30)(net, holding).model) == (1.0, 1.0)


# ---- ANP ----


class LiteralNorm(nn.BatchNorm2d):
    """The authors' batch norm with a mask and two kinds of noise."""

    def __init__(self, of):
        super().__init__(of.num_features)
        self.load_state_dict(of.state_dict())
        self.mask = nn.Parameter(torch.ones(of.num_features))
        self.noise = nn.Parameter(torch.zeros(of.num_features))
        self.noise_bias = nn.Parameter(torch.zeros(of.num_features))
        self.shaken = False

    def forward(self, x):
        scale = self.mask + self.noise if self.shaken else self.mask
        shift = 1.0 + self.noise_bias if self.shaken else 1.0
        return torch.nn.functional.batch_norm(
            x, self.running_mean, self.running_var, self.weight * scale, self.bias * shift, True, 0.1, self.eps
        )


def literal_anp(net, data, settings):
    """The authors' loop; the draws are those of the library, in the same order."""
    net = copy.deepcopy(net)
    net.norm1, net.norm2 = LiteralNorm(net.norm1), LiteralNorm(net.norm2)
    norms = [net.norm1, net.norm2]
    net.train()
    source = torch.Generator().manual_seed(settings.seed)
    learner = torch.optim.SGD([norm.mask for norm in norms], lr=settings.lr, momentum=0.9)
    adversary = torch.optim.SGD(
        [part for norm in norms for part in (norm.noise, norm.noise_bias)], lr=settings.budget / settings.steps
    )
    criterion = nn.CrossEntropyLoss()
    for _ in range(settings.iterations):
        chosen = torch.randint(len(data), (settings.batch_size,), generator=source)
        x, y = data.x[chosen], data.y[chosen]
        for norm in norms:
            for part in (norm.noise, norm.noise_bias):
                part.data = settings.budget * (2 * torch.rand(len(part), generator=source) - 1)
            norm.shaken = True
        for _ in range(settings.steps):
            adversary.zero_grad()
            (-criterion(net(x), y)).backward()
            for part in adversary.param_groups[0]["params"]:
                part.grad = part.grad.sign()
            adversary.step()
        learner.zero_grad()
        robust = criterion(net(x), y)
        for norm in norms:
            norm.shaken = False
        (settings.natural * criterion(net(x), y) + (1 - settings.natural) * robust).backward()
        learner.step()
        for norm in norms:
            norm.mask.data.clamp_(0, 1)
    return {name: getattr(net, name).mask.detach() for name in ("norm1", "norm2")}


@pytest.mark.parametrize("steps", [1, 3])
def test_masks_are_those_of_the_authors_loop(model, holding, steps):
    settings = NeuronPruning(iterations=12, batch_size=32, steps=steps)
    before = weights_hash(model)
    found = settings.masks(model, holding.trusted)
    expected = literal_anp(model, holding.trusted, settings)
    assert weights_hash(model) == before and found.keys() == expected.keys()
    for name, mask in expected.items():
        assert torch.allclose(found[name], mask, atol=1e-3), name
    assert min(float(mask.min()) for mask in found.values()) < 0.999


def test_pruned_neurons_lose_their_scale_and_keep_their_shift(model, holding):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        repair = NeuronPruning(iterations=60, batch_size=32, threshold=0.9)(model, holding)
    (row,) = repair.history
    assert any(row["pruned"].values())
    for name, neurons in row["pruned"].items():
        old, new = model.get_submodule(name), repair.model.get_submodule(name)
        assert neurons == tuple(index for index, mask in enumerate(row["masks"][name]) if mask <= 0.9)
        assert bool((new.weight[list(neurons)] == 0).all()) and torch.equal(new.bias, old.bias)
        kept = [index for index in range(len(old.weight)) if index not in neurons]
        assert torch.equal(new.weight[kept], old.weight[kept]) and torch.equal(new.running_mean, old.running_mean)


def test_without_batch_norm_the_neurons_are_those_of_all_layers_but_the_last():
    torch.manual_seed(0)
    images = ImageSet(torch.rand(12, 1, 28, 28), torch.arange(12) % 10, tuple("abcdefghij"))
    net = PaperCNN()
    assert neurons_of(net, images.x) == ("conv1", "conv2", "fc1")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        repair = NeuronPruning(iterations=12, batch_size=4, threshold=0.99, lr=0.5)(net, Holding(images))
    pruned = repair.history[0]["pruned"]
    assert any(pruned.values())
    for name, neurons in pruned.items():
        layer = repair.model.get_submodule(name)
        assert bool((layer.weight[list(neurons)] == 0).all())
        assert torch.equal(layer.bias, net.get_submodule(name).bias)


# ---- SCALE-UP ----


def test_the_consistency_is_counted_as_in_the_authors_code(model):
    x = blobs(20, seed=5, level=0.3).x
    expected = torch.zeros(20)
    for factor in (3, 5, 7, 9, 11):
        expected += (model(torch.clip(x * factor, 0, 1)).argmax(1) == model(x).argmax(1)).float()
    guard = ScaleUp(setting="data-free").fit(model, Holding(blobs()[:0]))
    assert torch.equal(guard.consistency(x), expected / 5)
    verdict = guard(x)
    assert torch.equal(verdict.refused, expected / 5 >= 0.5) and verdict.threshold == 0.5
    assert torch.equal(consistency(model, x, predict(model, x).argmax(1), guard.settings.factors), expected / 5)
    stored = (x * 255).round().byte()
    assert torch.equal(guard.consistency(stored), guard.consistency(stored.float() / 255))


class Bright(nn.Module):
    """Says the class of a middle grey; anything brighter is class 1, and a white corner is always class 2."""

    def forward(self, x):
        corner = (x[:, 0, -1, -1] == 1) & (x[:, 0, 0, 0] < 1)
        level = x[:, 0, 2, 2]
        label = torch.where(level < 0.3, 0, 1)
        label = torch.where(corner, 2, label)
        return 10 * torch.nn.functional.one_hot(label, 3).float() + 0 * x.sum()


def test_scale_up_catches_answers_that_outlast_brightness():
    grey = torch.full((60, 1, 8, 8), 0.2)
    grey[:, :, 0, 0] = 0.05
    data = ImageSet(grey, torch.zeros(60).long(), ("dark", "bright", "target"))
    marked = grey.clone()
    marked[:, :, -1, -1] = 1
    mixed = torch.cat([grey[:50], torch.full((10, 1, 8, 8), 0.02)])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        guard = ScaleUp().fit(Bright(), Holding(ImageSet(mixed, data.y, data.classes)))
        free = ScaleUp(setting="data-free").fit(Bright(), Holding(data[:0]))
    for each in (guard, free):
        assert bool(each(marked).refused.all()) and not bool(each(grey).refused.any())
    assert guard.mean == pytest.approx(float(free.consistency(mixed).mean()))
    assert guard.deviation == pytest.approx(float(free.consistency(mixed).std()))


class Strokes(nn.Module):
    """Says where the most ink is, however bright it is."""

    def forward(self, x):
        return 9 * torch.stack([x[:, :, 1:3, 2 * label + 1 : 2 * label + 3].mean((1, 2, 3)) for label in range(3)], 1)


def test_scale_up_says_when_clean_answers_outlast_brightness_too(holding):
    strokes = (holding.trusted.x > 0.5).float()
    sure = Holding(ImageSet(strokes, holding.trusted.y, holding.trusted.classes))
    with pytest.warns(AssumptionWarning, match="no input can be refused"):
        guard = ScaleUp().fit(Strokes(), sure)
    assert guard.mean == 1 and not bool(guard(ATTACK.on(sure.trusted).x).refused.any())


# ---- SPECTRE ----


def spread_poison(seed=0):
    """Three classes in 24 directions of falling variance; poison of one is shifted where there is least."""
    source = torch.Generator().manual_seed(seed)
    y = torch.arange(900) % 3
    x = torch.randn(900, 24, generator=source, dtype=torch.double) * torch.linspace(4, 0.5, 24)
    poison = (y == 1) & (torch.rand(900, generator=source) < 0.1)
    x[poison, -6:] += 2.0 * torch.randn(6, generator=source).sign()
    return x, y, poison


@quiet
@pytest.mark.parametrize("seed", [0, 1])
def test_spectre_finds_poison_that_varies_less_than_style(seed):
    x, y, poison = spread_poison(seed)
    flags = Spectre(epsilon=0.1).judge(x, y)
    assert (
        flags.rates(poison).recall.value
        > 0.9
        > 2 * SpectralSignatures(epsilon=0.1).judge(x, y).rates(poison).recall.value
    )
    assert [int(flags.flagged[y == label].sum()) for label in range(3)] == [45, 45, 45]
    stands_out = [float(note.split("stands out by ")[1].split(",")[0]) for note in flags.notes]
    assert max(stands_out) == stands_out[1], "the poisoned class stands out most"


def literal_root(covariance):
    values, vectors = np.linalg.eigh(np.atleast_2d(covariance))
    return vectors @ np.diag(values**-0.5) @ vectors.T


def literal_entropies(rows, clean, ddof=0):
    """The authors' score, in columns as there, and what it adds up to: quantum_filters.jl."""
    white = literal_root(np.cov(clean.T, ddof=ddof)) @ rows.T
    spread = np.atleast_2d(np.cov(white))
    excess = 4 * (spread - np.eye(len(spread))) / (np.linalg.norm(spread, 2) - 1)
    values, vectors = np.linalg.eigh(excess)
    weights = vectors @ np.diag(np.exp(values)) @ vectors.T
    weights /= np.trace(weights)
    return np.array([column @ weights @ column for column in white.T]), np.trace(spread @ weights)


def test_scores_are_those_of_the_authors_formula():
    x, y, poison = spread_poison()
    rows = x[y == 1] - x[y == 1].mean(0)
    clean = rows[~poison[y == 1]]
    assert np.allclose(_entropies(rows, clean).numpy(), literal_entropies(rows.numpy(), clean.numpy())[0])
    assert torch.equal(quantum_scores(rows[:, :1], 30), rows[:, 0].square())
    best = best_scores(rows, 30)
    assert best.directions > 1 and best.entropy > 1


def literal_lowest(values, many):
    return values <= np.sort(values)[many - 1] if many else np.zeros(len(values), dtype=bool)


def literal_round(rows, epsilon, limit):
    """One round of the authors' filter, dkk17.jl: which rows stay; None where it stops."""
    count, directions = rows.shape
    most_left = max(0, count - limit)
    white = rows @ literal_root(rows.T @ rows / count)
    lengths = (white**2).sum(1)
    far = lengths >= 10 * directions * np.log(count / 0.1)
    if far.any():
        return ~far | literal_lowest(lengths, most_left)
    long = np.stack([np.kron(row, row) for row in white])
    unit = np.eye(directions).ravel()
    values, vectors = np.linalg.eigh(long.T @ long / count - np.outer(unit, unit))
    largest = np.abs(values).argmax()
    if values[largest] <= 1 + 10 * epsilon * np.log(1 / epsilon) ** 2:
        return None
    matrix = vectors[:, largest].reshape(directions, directions)
    along = np.array([(row @ matrix @ row - np.trace(matrix)) / 2**0.5 for row in white])
    away = np.abs(along - np.median(along))
    for place, distance in enumerate(np.sort(away), 1):
        reach = distance - 3
        if reach <= 0:
            continue
        tail = 1 if reach <= 10 * np.log(1 / epsilon) else 3 * epsilon / (reach * np.log(reach)) ** 2
        if place / count >= tail:
            return (away <= reach) | literal_lowest(away, most_left)
    return None


def literal_robust_part(rows, epsilon, limit):
    inside = np.arange(len(rows))
    while limit > 0:
        stays = literal_round(rows[inside], epsilon, limit)
        if stays is None or stays.all():
            break
        limit -= (~stays).sum()
        inside = inside[stays]
    return np.isin(np.arange(len(rows)), inside)


def literal_flags(rows, expected):
    """The ten numbers of directions tried, one after the other: the best of them, and what is flagged by it."""
    best = (-np.inf, 0, None)
    for directions in np.round(np.linspace(1, rows.shape[1] ** 0.5, 10) ** 2).astype(int):
        some = rows[:, :directions]
        if directions == 1:
            scores = some[:, 0] ** 2
        else:
            clean = literal_robust_part(some, expected / len(rows), round(2 * expected))
            scores, _ = literal_entropies(some, some[clean])
        flagged = literal_lowest(-scores, round(1.5 * expected))
        _, stands_out = literal_entropies(rows, rows[~flagged], ddof=1)
        if stands_out > best[0]:
            best = (stands_out, directions, flagged)
    return best[1:]


def one_class(seed):
    """A class of 300 in 9 directions, whose first tenth is shifted in the last three; 1: long tails, 2: an outlier."""
    source = torch.Generator().manual_seed(seed)
    x = torch.randn(300, 9, generator=source, dtype=torch.double) * torch.linspace(3, 0.6, 9)
    x[:30, -3:] += (3, 8, 25)[seed] * torch.randn(3, generator=source).sign()
    if seed == 1:
        x *= torch.randn(300, 1, generator=source, dtype=torch.double).exp().clamp(max=4)
    if seed == 2:
        x[-1] *= 100
    return principal(x, 100)[0]


@pytest.mark.parametrize(("seed", "left_out"), [(0, [0, 0, 0]), (1, [18, 51, 60]), (2, [31, 31, 31])])
def test_spectre_is_the_authors_code_step_by_step(seed, left_out):
    rows = one_class(seed)
    for directions, many in zip((2, 4, 9), left_out, strict=True):
        some = rows[:, :directions]
        kept = robust_part(some, 0.1, limit=60).numpy()
        assert np.array_equal(kept, literal_robust_part(some.numpy(), 0.1, 60)) and (~kept).sum() == many
    found = best_scores(rows, 30)
    directions, flagged = literal_flags(rows.numpy(), 30)
    assert found.directions == directions
    assert np.array_equal(_lowest(-found.scores, 45).numpy(), flagged)


@pytest.mark.parametrize("settles", [True, False], ids=["search", "all of them"])
def test_the_fourth_moment_is_that_of_the_whole_matrix(monkeypatch, settles):
    from scipy.sparse import linalg

    def lost(*_, **__):
        raise linalg.ArpackNoConvergence("no convergence", [], [])

    if not settles:
        monkeypatch.setattr(linalg, "eigsh", lost)
    rows = torch.randn(80, 5, generator=torch.Generator().manual_seed(1), dtype=torch.double)
    rows[:8] *= 3
    long = torch.stack([torch.kron(row, row) for row in rows])
    unit = torch.eye(5).double().flatten()
    whole = long.T @ long / 80 - torch.outer(unit, unit)
    values, vectors = torch.linalg.eigh(whole)
    value, matrix = _fourth_moment(rows)
    assert value == pytest.approx(float(values[values.abs().argmax()]))
    top = vectors[:, values.abs().argmax()].view(5, 5)
    assert torch.allclose(matrix.abs(), ((top + top.T) / 2).abs(), atol=1e-6)


def test_a_robust_part_leaves_out_planted_rows_and_no_more_than_it_may():
    source = torch.Generator().manual_seed(0)
    rows = torch.randn(400, 6, generator=source, dtype=torch.double)
    rows[:20, 0] += 25
    rows = rows - rows.mean(0)
    kept = robust_part(rows, 0.05, limit=40)
    assert not bool(kept[:20].any()) and int((~kept).sum()) <= 40
    assert bool(robust_part(torch.randn(400, 6, generator=source, dtype=torch.double), 0.05, limit=40).all())
    assert bool(robust_part(rows, 0.05, limit=0).all())


@pytest.mark.parametrize(("make", "message"), [
    (lambda: Beatrix(orders=0), "orders must be at least 1; got 0"),
    (lambda: Beatrix(false_rejection=1.0), "false_rejection must lie strictly between 0 and 1; got 1.0"),
    (lambda: SharpnessAwareTuning(momentum=1.0), "momentum and smoothing must lie in"),
    (lambda: SharpnessAwareTuning(epochs=0), "epochs must be at least 1"),
    (lambda: NeuronPruning(threshold=1.0), "threshold in"),
    (lambda: NeuronPruning(iterations=0), "iterations must be at least 1"),
    (lambda: ScaleUp(factors=(3, 1)), "there must be factors, each above 1"),
    (lambda: ScaleUp(setting="open"), "setting must be one of data-limited, data-free; got 'open'"),
    (lambda: Spectre(epsilon=0.9, margin=1.5), "their product below 1"),
])  # fmt: skip
def test_impossible_settings_are_refused(unchecked, make, message):
    with pytest.raises(ValueError, match=message):
        make()
