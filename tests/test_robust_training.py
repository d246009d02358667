from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from badnets_lib import Attack, Goal, ImageSet, Patch, TrainConfig, attack_success_rate, clean_accuracy, train
from badnets_lib.defenses import AntiBackdoor, CutMix, IsolateAndUnlearn
from badnets_lib.defenses.anti_backdoor import FAST, SLOW, sgd
from badnets_lib.defenses.augmentation import cut_and_mix
from badnets_lib.models.networks import SmallCNN
from badnets_lib.models.training import batches, epoch_order
from badnets_lib.provenance.checkpoints import weights_hash

CONFIG = TrainConfig(epochs=4, batch_size=16, device="cpu")


def fine(count=240, seed=0):
    """Images of 8x8 whose classes differ by a faint square: learnt later than a bright patch."""
    y = torch.arange(count) % 3
    x = 0.5 * torch.rand(count, 1, 8, 8, generator=torch.Generator().manual_seed(seed))
    for label in range(3):
        x[y == label, :, 1:3, 2 * label : 2 * label + 2] += 0.15
    return ImageSet(x, y, ("a", "b", "c"))


@pytest.fixture(scope="module")
def plan():
    return Attack(Patch(2), Goal.all_to_one(0, 3)).plan(fine(), fraction=0.15)


@pytest.fixture(scope="module")
def poisoned(plan):
    return plan.poison(fine())


# ---- training on a loss of one's own ----


def test_cross_entropy_given_by_hand_trains_as_the_usual_loss_does(tiny):
    def start():
        return nn.Sequential(nn.Flatten(), nn.Linear(64, 3))

    ours = train(tiny, CONFIG, model=start, loss=lambda network, x, y: cross_entropy(network(x), y)).model
    assert weights_hash(ours) == weights_hash(train(tiny, CONFIG, model=start).model) and not ours.training


def test_training_says_when_a_loss_is_no_number(tiny):
    def linear():
        return nn.Sequential(nn.Flatten(), nn.Linear(64, 3))

    with pytest.raises(FloatingPointError, match="the loss became nan in epoch 1"):
        train(tiny, CONFIG, model=linear, loss=lambda network, x, y: network[1].weight.sum() * float("nan"))
    with pytest.raises(ValueError, match="needs at least 2 images; got 1"):
        train(tiny[:1], CONFIG, model=linear, loss=lambda network, x, y: network[1].weight.sum())


def test_a_loss_of_ones_own_cannot_be_resumed(tiny, tmp_path):
    with pytest.raises(ValueError, match=r"only a run on the usual loss can be resumed; got resume='.*run'"):
        train(tiny, CONFIG, loss=lambda network, x, y: cross_entropy(network(x), y), resume=tmp_path / "run")


# ---- every robust training ----


@pytest.mark.parametrize(
    "training",
    [IsolateAndUnlearn(isolated=0.05), AntiBackdoor(0.05, early=1, further=1, unlearn=1), CutMix(), CutMix(mixed=0.5)],
    ids=repr,
)
def test_a_training_repeats_and_leaves_what_it_was_given(training, poisoned):
    x, y, state = poisoned.x.clone(), poisoned.y.clone(), torch.get_rng_state()
    first, again = (training(poisoned, replace(CONFIG, epochs=1)) for _ in range(2))
    assert weights_hash(first.model) == weights_hash(again.model) and not first.model.training
    other = training(poisoned, replace(CONFIG, epochs=1, seed=1))
    assert weights_hash(other.model) != weights_hash(first.model)
    assert torch.equal(poisoned.x, x) and torch.equal(poisoned.y, y) and torch.equal(torch.get_rng_state(), state)
    assert first.settings == f"{training!r} of a SmallCNN" and first.seconds > 0 and first.oracle == ()


# ---- isolate and unlearn ----


def test_the_patch_is_learnt_first_and_isolated(plan, poisoned):
    flags = IsolateAndUnlearn(isolated=0.05).isolate(poisoned, CONFIG)
    rates = flags.rates(plan, fine())
    assert rates.true_positives + rates.false_positives == 12 and rates.true_positives >= 10
    assert flags.scores[flags.flagged].min() >= flags.scores[~flags.flagged].max(), "the lowest losses of all"
    assert flags.fingerprint == poisoned.fingerprint


def test_the_backdoor_is_unlearnt(plan, poisoned):
    config = replace(CONFIG, epochs=8)
    plain = train(poisoned, config).model
    repair = IsolateAndUnlearn(isolated=0.05, unlearn=8)(poisoned, config)
    test = fine(seed=1)
    assert attack_success_rate(plain, test, plan.attack).value > 0.9
    assert attack_success_rate(repair.model, test, plan.attack).value < 0.3
    assert clean_accuracy(repair.model, test).value > clean_accuracy(plain, test).value - 0.1
    assert len(repair.history[0]["isolated"]) == 12


def test_isolated_images_are_pushed_to_the_limit_and_no_further(poisoned):
    ours = IsolateAndUnlearn(limit=3.0, lr=0.01, unlearn=6)
    model = train(poisoned, CONFIG).model
    rest, isolated = poisoned[:200], poisoned[200:208]
    before = weights_hash(model)
    forgot = ours.forget(model, rest, isolated, CONFIG)
    with torch.no_grad():
        losses = cross_entropy(forgot(isolated.x), isolated.y, reduction="none")
    assert losses.mean() > 1.5 and clean_accuracy(forgot, rest).value > 0.8
    assert weights_hash(model) == before


# ---- Anti-Backdoor Learning as published ----


def test_a_batch_below_gamma_is_climbed():
    x, y = torch.zeros(2, 1, 1, 1), torch.zeros(2, dtype=torch.long)
    network, bias = nn.Sequential(nn.Flatten(), nn.Linear(1, 2)), torch.tensor([1.0, 0.0])  # loss 0.31
    network[1].bias.data = bias
    for gamma, sign in ((0.0, 1), (0.2, 1), (0.5, -1)):
        network[1].bias.grad = None
        AntiBackdoor(gamma=gamma).held_at_gamma(network, x, y).backward()
        assert network[1].bias.grad[0] * sign < 0


def test_the_three_stages_follow_a_literal_reference(poisoned):
    """The authors' loop, written out: held at gamma, on the rest at two rates, upwards on the isolated images."""
    ours = AntiBackdoor(isolated=0.05, early=2, further=21, unlearn=2)
    young, flags = ours.isolate(poisoned, CONFIG)
    rest, isolated = poisoned[~flags.flagged], poisoned[flags.flagged]
    learnt = ours.train_on(young, rest, CONFIG)
    final = ours.unlearnt(learnt, isolated, CONFIG)

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(CONFIG.seed)
        network = SmallCNN(channels=1, classes=3)
    literal(network, poisoned, 2, FAST, lambda loss: (loss - 0.5).abs())  # the slope of sign(loss - gamma) x loss
    assert weights_close(network, young)
    literal(network, rest, 1, FAST, lambda loss: loss)
    literal(network, rest, 20, SLOW, lambda loss: loss)
    assert weights_close(network, learnt)
    literal(network, isolated, 2, 5e-4, lambda loss: -loss)
    assert weights_close(network, final)


def literal(network, data, epochs, lr, form):
    descent = torch.optim.SGD(network.parameters(), lr=lr, momentum=0.9, weight_decay=1e-4, nesterov=True)
    network.train()
    for epoch in range(epochs):
        for batch in batches(epoch_order(CONFIG.seed, epoch, len(data), torch.device("cpu")), CONFIG.batch_size):
            descent.zero_grad()
            form(cross_entropy(network(data.x[batch]), data.y[batch])).backward()
            descent.step()
    network.eval()


def weights_close(one, other):
    pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    return all(torch.allclose(a.float(), b.float(), rtol=1e-3, atol=1e-3) for a, b in pairs)


def test_an_optimizer_of_ones_own_keeps_its_rate_and_cannot_be_resumed(tiny, tmp_path):
    seen = []

    class Watched(torch.optim.SGD):
        def step(self, closure=None):
            seen.append(self.param_groups[0]["lr"])
            return super().step(closure)

    train(tiny, CONFIG, optimizer=lambda weights: Watched(weights, lr=0.03))
    assert seen and set(seen) == {0.03}
    with pytest.raises(ValueError, match="only a run with the usual optimizer can be resumed"):
        train(tiny, CONFIG, optimizer=sgd(0.1), resume=tmp_path / "run")


# ---- CutMix ----


def test_a_box_comes_from_the_partner_and_the_rest_stays():
    torch.manual_seed(0)
    shares = []
    for _ in range(40):
        x = torch.arange(5.0).view(5, 1, 1, 1).expand(5, 2, 10, 12) / 5
        mixed, others, kept = cut_and_mix(x)
        same, swapped = mixed == x, mixed == x[others]
        assert (same | swapped).all() and sorted(others.tolist()) == [0, 1, 2, 3, 4]
        moved = others != torch.arange(5)
        if moved.any():
            assert torch.allclose(same[moved].float().mean((1, 2, 3)), torch.tensor(kept))
            box = ~same[moved][0, 0]
            rows, columns = box.any(1).sum(), box.any(0).sum()
            assert box.sum() == rows * columns, "a rectangle"
        shares.append(kept)
    assert min(shares) < 0.4 and max(shares) > 0.9


def test_labels_are_mixed_by_area(tiny):
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 3))
    x, y = tiny.x[:6], tiny.y[:6]
    torch.manual_seed(3)
    loss = CutMix()._loss(network, x, y)
    torch.manual_seed(3)
    torch.rand(())  # whether to mix
    mixed, others, kept = cut_and_mix(x)
    soft = kept * nn.functional.one_hot(y, 3) + (1 - kept) * nn.functional.one_hot(y[others], 3)
    assert torch.allclose(loss, cross_entropy(network(mixed), soft))


def test_without_a_share_it_is_plain_training(poisoned):
    repair = CutMix(mixed=0.0)(poisoned, CONFIG)
    assert clean_accuracy(repair.model, poisoned) == clean_accuracy(train(poisoned, CONFIG).model, poisoned)


# ---- bad settings ----


@pytest.mark.parametrize(("make", "message"), [
    (lambda: AntiBackdoor(isolated=1.0), "isolated must lie strictly between 0 and 1; got 1.0"),
    (lambda: IsolateAndUnlearn(early=0), "early and unlearn must be at least 1; got 0, 2"),
    (lambda: IsolateAndUnlearn(limit=0.0), "lr and limit must be positive; got 0.005 and 0.0"),
    (lambda: AntiBackdoor(further=0), "early, further and unlearn must be at least 1; got 20, 0, 5"),
    (lambda: AntiBackdoor(gamma=-0.1), "gamma may not be negative"),
    (lambda: CutMix(1.2), r"mixed must lie in \[0, 1\]; got 1.2"),
])  # fmt: skip
def test_impossible_settings_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("share", [0.001, 0.999])
def test_a_share_of_no_image_or_of_nearly_all_is_refused(share, tiny):
    with pytest.raises(ValueError, match=f"isolated {share} asks for"):
        IsolateAndUnlearn(isolated=share)(tiny, CONFIG)
    with pytest.raises(ValueError, match=f"isolated {share} asks for"):
        AntiBackdoor(isolated=share)(tiny, CONFIG)
