import time
import warnings
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from badnets_lib import ImageSet, PaperCNN, SmallCNN, TrainConfig, stacks, train, weights_hash
from badnets_lib.stacks import Fit, side_by_side, train_all, train_stack

CONFIG = TrainConfig(epochs=3, batch_size=16, device="cpu")
TOLERANCE = 3e-4  # another seed, order, schedule or setting moves nearly every weight further than this


def small():
    return SmallCNN(1, 3, 2)


def images(n, size, classes, seed=0):
    source = torch.Generator().manual_seed(seed)
    return ImageSet(torch.rand(n, 1, size, size, generator=source), torch.arange(n) % classes, tuple("0123456789"))


def alone(fit):
    return train(fit.data, fit.config, model=fit.model, watch=fit.watch)


def assert_alike(stacked, single):
    """Nearly all weights agree: AdamW makes a whole step of a gradient that is nothing but rounding."""
    ours, theirs = stacked.model.state_dict(), single.model.state_dict()
    assert ours.keys() == theirs.keys()
    for name in ours:
        apart = (ours[name].double() - theirs[name].double()).abs()
        assert (apart > TOLERANCE).sum() <= 1 + apart.numel() / 1000, f"{name} is off by up to {apart.max():.1e}"
    losses = [[epoch.loss for epoch in fitted.history] for fitted in (stacked, single)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)


@pytest.fixture
def fits(tiny):
    """Three runs that differ in seed and labels."""
    return [Fit(replace(tiny, y=(tiny.y + seed) % 3), replace(CONFIG, seed=seed), small) for seed in range(3)]


# --- the same results as one by one ---


@pytest.mark.parametrize("n", [40, 33], ids=["a short last batch", "a last batch of one image"])
@pytest.mark.parametrize(("model", "size", "classes"), [(PaperCNN, 28, 10), (small, 8, 3), (None, 8, 10)],
                         ids=["paper", "small", "default"])  # fmt: skip
def test_a_stack_ends_where_one_by_one_ends(model, size, classes, n):
    fits = [Fit(images(n, size, classes, seed), replace(CONFIG, seed=seed), model) for seed in range(3)]
    for stacked, fit in zip(train_stack(fits), fits, strict=True):
        assert_alike(stacked, alone(fit))


@pytest.mark.parametrize("change", [{"lr": 0.001}, {"weight_decay": 0.5}, {"batch_size": 20}, {"epochs": 1}])
def test_every_setting_is_followed(fits, change):
    changed = [replace(fit, config=replace(fit.config, **change)) for fit in fits]
    for stacked, fit in zip(train_stack(changed), changed, strict=True):
        assert_alike(stacked, alone(fit))


def test_a_stack_of_one(fits):
    assert_alike(train_stack(fits[:1])[0], alone(fits[0]))


def test_a_stack_repeats_bit_for_bit(fits):
    torch.manual_seed(1)
    first = train_stack(fits)
    torch.manual_seed(2)
    for again, fitted in zip(train_stack(fits), first, strict=True):
        assert weights_hash(again.model) == weights_hash(fitted.model) and again.history == fitted.history


def test_members_do_not_touch_each_other(fits):
    before = train_stack(fits)
    after = train_stack([fits[0], replace(fits[1], data=fits[1].data[torch.arange(59, -1, -1)]), fits[2]])
    assert_alike(after[0], before[0]), assert_alike(after[2], before[2])
    with pytest.raises(AssertionError):
        assert_alike(after[1], before[1])


def test_members_with_the_same_images_share_them(tiny, fits):
    other = Fit(replace(tiny, x=tiny.x.clone()), replace(CONFIG, seed=3), small)
    networks = [fit.first_network(torch.device("cpu")) for fit in (*fits, other)]
    stack = stacks._Stack((*fits, other), networks, torch.device("cpu"))
    assert len(stack.pool) == 120 and stack.begin.tolist() == [0, 0, 0, 60]
    for stacked, fit in zip(train_stack((*fits, other)), (*fits, other), strict=True):
        assert_alike(stacked, alone(fit))


def test_training_goes_on_from_given_networks_and_frozen_layers_stay(tiny, fits):
    given = [fitted.model for fitted in train_stack(fits)]
    for model in given:
        model.conv1.weight.requires_grad_(False)
    before = [weights_hash(model) for model in given]
    more = [replace(fit, model=model) for fit, model in zip(fits, given, strict=True)]
    for stacked, fit in zip(train_stack(more), more, strict=True):
        assert_alike(stacked, alone(fit))
        assert torch.equal(stacked.model.conv1.weight, fit.model.conv1.weight)
    assert [weights_hash(model) for model in given] == before and not given[0].training


def test_what_comes_back(tiny, fits):
    watch = {"all": tiny, "some": tiny[slice(0, 7)]}
    started = time.perf_counter()
    watched = train_stack([replace(fits[0], watch=watch), *fits[1:]])
    assert 0 < sum(fitted.seconds for fitted in watched) <= time.perf_counter() - started
    for fitted, fit in zip(watched, fits, strict=True):
        assert fitted.config == fit.config and fitted.fingerprint == fit.data.fingerprint
        assert isinstance(fitted.model, SmallCNN) and not fitted.model.training
        assert all(weight.untyped_storage().nbytes() == 4 * weight.numel() for weight in fitted.model.parameters())
    assert [epoch.watched for epoch in watched[0].history] == [
        epoch.watched for epoch in train(fits[0].data, CONFIG, model=small, watch=watch).history
    ]
    assert all(epoch.watched == {} for epoch in watched[1].history)


def test_the_callers_random_state_and_data_are_left_alone(tiny, fits):
    state, x, y = torch.get_rng_state(), tiny.x.clone(), fits[1].data.y.clone()
    train_stack(fits)
    with pytest.raises(FloatingPointError):
        train_stack([replace(fits[0], config=replace(CONFIG, lr=1e30))])
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(tiny.x, x) and torch.equal(fits[1].data.y, y)


def test_a_stack_takes_no_more_operations_for_more_members(fits):
    class Counter(TorchDispatchMode):
        count = 0

        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            self.count += "view" not in str(function)
            return function(*args, **(kwargs or {}))

    counts = []
    for members in (1, 3):
        device = torch.device("cpu")
        stack = stacks._Stack(fits[:members], [fit.first_network(device) for fit in fits[:members]], device)
        stack.networks[0].load_state_dict = stack.networks[-1].load_state_dict = lambda _: None
        with Counter() as counter, warnings.catch_warnings():
            warnings.simplefilter("error")  # torch warns where it loops over the members
            stack.one_epoch()
        counts.append(counter.count)
    assert counts[1] < 1.5 * counts[0]


# --- what it refuses ---


def test_an_empty_stack_is_refused():
    with pytest.raises(ValueError, match="at least one run; got none"):
        train_stack([])


@pytest.mark.parametrize(("change", "message"), [
    ({"data": images(59, 8, 3)}, r"images; run 0 has \[60, 1, 8, 8\], run 2 has \[59, 1, 8, 8\]"),
    ({"data": images(60, 9, 3)}, r"run 2 has \[60, 1, 9, 9\]"),
    ({"config": replace(CONFIG, lr=0.1)}, "lr; run 0 has 0.005, run 2 has 0.1"),
    ({"config": replace(CONFIG, epochs=2)}, "epochs; run 0 has 3, run 2 has 2"),
    ({"config": replace(CONFIG, batch_size=8)}, "batch_size; run 0 has 16, run 2 has 8"),
    ({"config": replace(CONFIG, weight_decay=0.0)}, "weight_decay; run 0 has 0.01, run 2 has 0.0"),
    ({"config": replace(CONFIG, device="auto")}, "device; run 0 has cpu, run 2 has auto"),
    ({"model": PaperCNN}, "network; run 0 has SmallCNN, run 2 has PaperCNN"),
    ({"model": lambda: SmallCNN(1, 3, 4)}, r"layer conv1; run 0 has Conv2d\(1, 2, .*, run 2 has Conv2d\(1, 4, "),
    ({"model": lambda: small().requires_grad_(False)},
     r"conv1.weight; run 0 has \[2, 1, 5, 5\], trained, run 2 has \[2, 1, 5, 5\], frozen"),
], ids=["number", "size", "lr", "epochs", "batch", "decay", "device", "network", "width", "frozen"])  # fmt: skip
def test_runs_that_do_not_fit_together_are_refused(fits, change, message):
    with pytest.raises(ValueError, match="the runs of a stack must agree in .*" + message):
        train_stack([*fits[:2], replace(fits[2], **change)])


@pytest.mark.parametrize("n", [0, 1])
def test_too_few_images_are_refused(tiny, n):
    with pytest.raises(ValueError, match=f"at least 2 images; got {n}"):
        train_stack([Fit(tiny[slice(0, n)], CONFIG, small)] * 2)


def test_a_loss_that_is_no_number_stops_the_stack(fits):
    broken = small()
    nn.init.constant_(broken.fc2.bias, float("nan"))
    with pytest.raises(FloatingPointError, match="loss became nan in epoch 1; lower lr"):
        train_stack([fits[0], replace(fits[1], model=broken)])


def test_a_network_that_draws_random_numbers_is_refused(fits):
    with pytest.raises(RuntimeError, match="random"):
        train_stack([replace(fit, model=lambda: nn.Sequential(small(), nn.Dropout())) for fit in fits])


# --- many runs, and experiments that share a device ---


def test_on_the_cpu_runs_are_trained_one_by_one(fits, monkeypatch):
    monkeypatch.setattr(stacks, "train_stack", lambda *_, **__: pytest.fail("stacked"))
    for fitted, fit in zip(train_all(fits), fits, strict=True):
        assert weights_hash(fitted.model) == weights_hash(alone(fit).model)


def test_runs_that_fit_together_are_stacked_and_come_back_in_order(tiny, fits, on_a_gpu):
    odd = Fit(tiny[slice(0, 40)], CONFIG, small)
    mixed = [fits[0], odd, fits[1], replace(fits[2], model=lambda: SmallCNN(1, 3, 4)), fits[2], fits[0], fits[1]]
    found = train_all(mixed, most=3)
    assert on_a_gpu == [3, 2]  # five alike in stacks of three at most; the odd ones alone
    assert [fitted.fingerprint for fitted in found] == [fit.data.fingerprint for fit in mixed]
    for fitted, fit in zip(found, mixed, strict=True):
        assert_alike(fitted, alone(fit))


@pytest.mark.parametrize("most", [0, -1])
def test_a_stack_without_room_is_refused(fits, most):
    with pytest.raises(ValueError, match=f"at least 1 network; got most={most}"):
        train_all(fits, most=most)


def experiment(tiny, seed, rounds):
    model, losses = small, []
    for _ in range(rounds):
        fitted = yield Fit(tiny, replace(CONFIG, seed=seed), model)
        model = fitted.model
        losses.append(fitted.history[-1].loss)
    return seed, losses


def test_experiments_run_side_by_side(tiny, on_a_gpu):
    found = side_by_side([experiment(tiny, seed, rounds) for seed, rounds in ((0, 1), (1, 2), (2, 0), (3, 2))])
    assert on_a_gpu == [3, 2]  # the first trainings of three, the second ones of two
    assert [seed for seed, _ in found] == [0, 1, 2, 3] and [len(losses) for _, losses in found] == [1, 2, 0, 2]
    model, config = small, replace(CONFIG, seed=3)
    for loss in found[3][1]:
        fitted = train(tiny, config, model=model)
        model = fitted.model
        assert loss == pytest.approx(fitted.history[-1].loss, rel=1e-3)
