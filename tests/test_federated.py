import pytest
import torch
from hypothesis import given, strategies as st
from torch import nn

from badnets_lib import Attack, Goal, ImageSet, PaperCNN, Patch, SmallCNN, attack_success_rate, clean_accuracy
from badnets_lib.attacks import model_replacement, replacement_boost
from badnets_lib.models.federated import (
    ClippedMean,
    LocalTraining,
    TrimmedMean,
    deal,
    masked,
    mean,
    median,
    moved,
    unmasked_sum,
    updates_of,
    weights_of,
)
from badnets_lib.provenance.checkpoints import weights_hash

LOCAL = LocalTraining(epochs=2, batch_size=8, lr=0.3, device="cpu")
RULES = [mean, ClippedMean(1.0), TrimmedMean(1), median]


def images(count=240, seed=0):
    y = torch.arange(count) % 3
    x = 0.4 * torch.rand(count, 1, 8, 8, generator=torch.Generator().manual_seed(seed))
    for label in range(3):
        x[y == label, :, 3:6, 2 * label] += 0.6
    return ImageSet(x, y, ("a", "b", "c"))


def linear():
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 3))


@pytest.fixture(scope="module")
def parts():
    return deal(images(), 6, seed=1)


# ---- dealing out ----


@pytest.mark.parametrize("concentration", [None, 0.2, 100.0])
def test_every_image_goes_to_one_client(concentration):
    data = images()
    dealt = deal(data, 6, concentration=concentration, seed=3)
    assert len(dealt) == 6 and sum(map(len, dealt)) == len(data)
    rows = torch.cat([part.x.flatten(1) for part in dealt])
    assert len(rows.unique(dim=0)) == len(data)
    again = deal(data, 6, concentration=concentration, seed=3)
    assert all(torch.equal(a.x, b.x) for a, b in zip(dealt, again, strict=True))
    other = deal(data, 6, concentration=concentration, seed=4)
    assert any(len(a) != len(b) or not torch.equal(a.x, b.x) for a, b in zip(dealt, other, strict=True))


def test_a_small_concentration_leaves_clients_with_few_classes():
    def largest_share(concentration):
        dealt = deal(images(600), 6, concentration=concentration, seed=0)
        return sum(float(torch.bincount(each.y, minlength=3).max()) for each in dealt) / 600

    assert largest_share(0.05) > 0.85 and largest_share(1000.0) < 0.45 and largest_share(None) < 0.5


# ---- a round ----


def test_one_client_and_a_round_is_plain_gradient_descent():
    data, network = images(24), linear()
    update = LocalTraining(epochs=1, batch_size=24, lr=0.3, device="cpu")(network, data, turn=0)
    copy = linear()
    nn.functional.cross_entropy(copy(data.x), data.y).backward()
    by_hand = torch.cat([-0.3 * weight.grad.flatten() for weight in copy.parameters()])
    assert torch.allclose(update, by_hand, atol=1e-6)
    assert torch.equal(weights_of(network), weights_of(linear())), "the network of the round is as it was"


def test_the_federation_learns_and_repeats(parts):
    def run():
        network = linear()
        for turn in range(4):
            network = moved(network, mean(*updates_of(network, parts, LOCAL, turn=turn)))
        return network

    network = run()
    assert clean_accuracy(network, images(seed=1)).value > 0.9 and not network.training
    assert weights_hash(network) == weights_hash(run())
    first, second = (updates_of(network, parts, LOCAL, turn=turn)[0] for turn in (0, 1))
    assert not torch.equal(first, second), "another round, another order"


def test_skipped_clients_leave_zeros(parts):
    updates, sizes = updates_of(linear(), parts, LOCAL, turn=0, skip=[2])
    assert not updates[2].any() and updates[[0, 1, 3, 4, 5]].any(1).all() and sizes.tolist() == [40.0] * 6


# ---- rules ----


@pytest.mark.parametrize("rule", RULES, ids=["mean", "clipped", "trimmed", "median"])
def test_clients_that_agree_are_followed(rule):
    update = torch.tensor([0.1, -0.2, 0.3])
    assert torch.allclose(rule(update.repeat(5, 1), torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0])), update)


def test_the_mean_weighs_by_images():
    assert mean(torch.tensor([[1.0], [4.0]]), torch.tensor([1.0, 3.0])).tolist() == [3.25]


@given(st.lists(st.floats(-9, 9, width=32), min_size=1, max_size=9))
def test_the_median_is_the_median(values):
    found = median(torch.tensor(values)[:, None], torch.ones(len(values)))
    ordered = sorted(values)
    middle = (ordered[(len(values) - 1) // 2] + ordered[len(values) // 2]) / 2
    assert float(found) == pytest.approx(middle, abs=1e-5)


@given(st.lists(st.floats(-9, 9, width=32), min_size=3, max_size=9))
def test_one_liar_moves_the_median_no_further_than_the_honest_go(values):
    lied = torch.tensor([*values, 1e6])[:, None]
    assert min(values) <= float(median(lied, torch.ones(len(lied)))) <= max(values)
    assert min(values) - 1e-4 <= float(TrimmedMean(1)(lied, torch.ones(len(lied)))) <= max(values) + 1e-4
    assert float(mean(lied, torch.ones(len(lied)))) > max(values)


def test_no_update_counts_for_more_than_the_limit():
    updates = torch.tensor([[3.0, 4.0], [0.3, 0.4]])
    assert torch.allclose(ClippedMean(1.0)(updates, torch.ones(2)), torch.tensor([0.45, 0.6]))


# ---- model replacement ----


@pytest.fixture(scope="module")
def attacked(parts):
    network = linear()
    for turn in range(4):
        network = moved(network, mean(*updates_of(network, parts, LOCAL, turn=turn)))
    attack = Attack(Patch(2), Goal.all_to_one(0, 3))
    poisoned = attack.plan(parts[0], fraction=0.3).poison(parts[0])
    updates, sizes = updates_of(network, parts, LOCAL, turn=9, skip=[0])
    own = LocalTraining(epochs=20, batch_size=8, lr=0.3, device="cpu")
    alone = model_replacement(network, poisoned, own, boost=1.0, turn=10)
    updates[0] = model_replacement(network, poisoned, own, boost=replacement_boost(sizes, 0), turn=10)
    return network, attack, updates, sizes, alone


def test_the_boosted_update_replaces_the_mean(attacked):
    network, attack, updates, sizes, alone = attacked
    rest = mean(torch.cat([torch.zeros_like(alone)[None], updates[1:]]), sizes)
    assert torch.allclose(mean(updates, sizes), alone + rest, atol=1e-5)
    test = images(seed=1)
    before, after = network, moved(network, mean(updates, sizes))
    assert attack_success_rate(before, test, attack).value < 0.3 < 0.8 < attack_success_rate(after, test, attack).value
    unboosted = torch.cat([alone[None], updates[1:]])
    assert attack_success_rate(moved(network, mean(unboosted, sizes)), test, attack).value < 0.6
    for rule in (ClippedMean(float(updates[1:].norm(dim=1).max())), TrimmedMean(1), median):
        assert attack_success_rate(moved(network, rule(updates, sizes)), test, attack).value < 0.5


# ---- secure aggregation ----


def test_masks_cancel_and_a_single_row_shows_nothing(attacked):
    _, _, updates, sizes, _ = attacked
    weighted = updates * (sizes / sizes.sum())[:, None]
    hidden = masked(weighted, seed=3)
    assert torch.allclose(unmasked_sum(hidden), mean(updates, sizes), atol=1e-6)
    noise = hidden.double() / 2**63
    assert (noise.mean(1).abs() < 0.15).all() and (noise.std(1) - 3**-0.5).abs().max() < 0.1, "uniform in [-1, 1]"
    assert (
        (noise.norm(dim=1).max() / noise.norm(dim=1).min())
        < 1.3
        < updates.norm(dim=1)[0] / updates[1:].norm(dim=1).max()
    )
    assert not torch.allclose(unmasked_sum(hidden[1:]), mean(updates, sizes)), "without one row the masks stay"


# ---- bad input ----


def test_bad_input_is_refused(parts):
    with pytest.raises(ValueError, match="need 2 clients or more and a positive concentration; got 1 and None"):
        deal(images(), 1)
    with pytest.raises(ValueError, match="got 3 and 0.0"):
        deal(images(), 3, concentration=0.0)
    with pytest.raises(ValueError, match="every client needs 2 images; 9 among 6 leave 1"):
        deal(images(9), 6)
    with pytest.raises(ValueError, match="SmallCNN keeps norm1.running_mean beside its weights"):
        weights_of(SmallCNN())
    with pytest.raises(ValueError, match=r"need 281034 finite weights; got \[3\]"):
        moved(PaperCNN(), torch.zeros(3))
    with pytest.raises(ValueError, match="limit must be positive; got 0"):
        ClippedMean(0.0)
    with pytest.raises(ValueError, match="trim 3 at either end leaves nothing of 6 updates"):
        TrimmedMean(3)(torch.zeros(6, 2), torch.ones(6))
    with pytest.raises(ValueError, match="trim must be at least 0; got -1"):
        TrimmedMean(-1)
    with pytest.raises(ValueError, match="boost must be positive; got 0"):
        model_replacement(linear(), parts[0], LOCAL, boost=0.0, turn=0)
    with pytest.raises(ValueError, match="lr must be positive"):
        LocalTraining(lr=0.0)
