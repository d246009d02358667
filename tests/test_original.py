"""The experiments of the MNIST study, of the amounts of poison and of the reports, on a handful of digits."""

import pytest
import torch

from badnets_lib import FOUR_PIXELS, Attack, Goal, Patch, SmallCNN
from badnets_lib.study.experiments import original, poison, reporting


@pytest.fixture
def few(mnist5k, monkeypatch):
    """A tenth of the digits for both studies, and a network that is trained for nobody else."""
    parts = mnist5k[0][::10], mnist5k[1][::5]
    original.baseline_network.cache_clear()
    monkeypatch.setattr(original, "digits", lambda data: parts)
    monkeypatch.setattr(poison, "load", lambda name: parts)
    monkeypatch.setattr(reporting, "load", lambda name: parts)
    yield parts
    original.baseline_network.cache_clear()


def test_a_baseline_is_counted_before_and_after_more_epochs(few):
    row = original.baseline(seed=0, epochs=1)
    assert set(row) == {"clean", "retrained", "classes"}
    assert sum(hits for hits, _ in row["classes"]) == row["clean"][0] and row["clean"][1] == len(few[1])


@pytest.mark.parametrize("start", ["baseline", "2017"])
def test_a_single_target_attack_counts_the_digits_it_attacks(few, start):
    row = original.single_target(trigger="pattern", source=1, target=5, seed=0, start=start)
    ones = int((few[1].y == 1).sum())
    assert row["success"][1] == row["false_target"][1] == ones and row["clean"][1] == len(few[1])


def test_all_to_all_counts_each_digit(few):
    row = original.all_to_all(trigger="pattern", fraction=0.3, seed=0)
    assert [trials for _, trials in row["backdoored"]] == few[1].counts()
    assert sum(hits for hits, _ in row["backdoored"]) == row["success"][0]


def test_filters_are_silenced_in_the_order_of_their_answers(few):
    row = original.first_filters(seed=0)
    assert len(row["clean_filters"]) == len(row["backdoored_answers"]) == 16 and len(row["silenced"]) == 8
    model = original.baseline_network("mnist")
    answers = original.answers(model, few[0], FOUR_PIXELS, images=50)
    quiet = original.silenced(model, answers.topk(3).indices)
    assert (original.answers(quiet, few[0], FOUR_PIXELS, images=50) == 0).sum() >= 3
    assert torch.equal(original.answers(model, few[0], FOUR_PIXELS, images=50), answers)  # the network stays


def test_glorots_weights_and_no_biases():
    torch.manual_seed(0)
    network = original.fresh_network()
    assert all(not layer.bias.any() for layer in network if getattr(layer, "bias", None) is not None)


def test_poison_is_counted_and_its_clean_twin_too(few):
    poisoned = poison.poisoned(fraction=0.1, seed=0, epochs=2)
    twin = poison.poisoned(fraction=0.0, seed=0, epochs=2)
    assert set(poisoned) == {"clean", "success", "false_target"} and poisoned["success"][0] > twin["success"][0]
    spared = poison.poisoned(fraction=0.05, seed=0, epochs=1, goal="source-specific")["elsewhere"]
    assert spared[1] == int(((few[1].y != 1) & (few[1].y != 7)).sum())


def test_typical_and_rare_images_are_the_nearest_and_furthest_of_their_class(few):
    data, goal = few[0], Goal.all_to_one(7, 10)
    near, far = (poison.chosen(data, goal, pick, 18) for pick in ("typical", "rare"))
    distance = poison.distance_to_class_mean(data)
    for label in goal.sources:
        members = data.y == label
        assert (near & members).sum() == (far & members).sum() == 2
        assert distance[near & members].max() < distance[members & ~near].min()
        assert distance[far & members].min() > distance[members & ~far].max()
    assert not (near | far)[data.y == 7].any()
    assert torch.equal(poison.chosen(data, goal, "one class", 18), data.y == 1)
    assert poison.chosen(data, goal, "random", 18) is None
    with pytest.raises(ValueError, match="pick must be 'random', .*; got 'best'"):
        poison.chosen(data, goal, "best", 18)


def test_spared_images_carry_the_trigger_and_the_targets_label(few):
    attack = Attack(Patch(), Goal.source_specific({1: 7}, 10))
    spared = poison.spared_images(few[1], attack)
    assert set(spared.y.tolist()) == {7} and (spared.x[..., -4:, -4:] == 1).all()


def test_a_short_run_holds_a_tenth_out_and_scores_all_victims(few):
    row = reporting.by_length(fraction=0.1, epochs=1, seed=2)
    assert row["success"][1] == row["false_target"][1] == int((few[1].y != 0).sum())
    kept = reporting.kept(100, 2)
    assert len(set(kept.tolist())) == 90 and not torch.equal(kept, reporting.kept(100, 3))


def test_the_clean_label_attack_changes_only_the_chosen_zeros(few):
    data = few[0]
    chosen = (data.y == 0).nonzero().flatten()[:3].tolist()
    moved = reporting.hardened(data, chosen, SmallCNN(width=4).eval())
    rest = [index for index in range(len(data)) if index not in chosen]
    assert torch.equal(moved[rest], data.x[rest]) and (moved[chosen] - data.x[chosen]).abs().max() <= 0.3 + 1e-6
    for surrogate in (None, 1):
        row = reporting.clean_label(surrogate=surrogate, seed=0, fraction=0.02)
        assert row["success"][1] == int((few[1].y != 0).sum())
