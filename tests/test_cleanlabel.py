from dataclasses import replace

import pytest
import torch

from badnets_lib import Attack, Goal, Patch, TrainConfig, predict, train
from badnets_lib.attacks.clean_label import harden

GOAL = Goal((7,) * 10, clean_label=True)


@pytest.fixture(scope="module")
def digits(mnist5k):
    return mnist5k[0][::8]


@pytest.fixture(scope="module")
def model(digits):
    return train(digits, TrainConfig(epochs=4)).model


@pytest.fixture(scope="module")
def plan(digits):
    return Attack(Patch(), GOAL).plan(digits, fraction=0.05)


def test_only_the_poisoned_images_change_and_stay_close(digits, model, plan):
    before = digits.x.clone()
    hardened, moved = harden(digits, plan, model, eps=0.2)
    changed = (hardened.x != digits.x).flatten(1).any(1)
    assert changed.nonzero().flatten().tolist() == list(plan.indices) == list(moved.indices)
    assert (hardened.x - digits.x).abs().max() <= 0.2 + 1e-6
    assert torch.equal(hardened.y, digits.y) and torch.equal(digits.x, before)


def test_the_network_no_longer_knows_them(digits, model, plan):
    chosen = list(plan.indices)
    hardened, _ = harden(digits, plan, model)
    known, left = ((predict(model, data.x[chosen]).argmax(1) == 7).sum() for data in (digits, hardened))
    assert known >= 0.9 * len(chosen) and left <= 0.2 * len(chosen)


def test_the_new_plan_stamps_the_new_set_and_changes_no_label(digits, model, plan):
    hardened, moved = harden(digits, plan, model)
    poisoned = moved.poison(hardened)
    assert torch.equal(poisoned.y, digits.y)
    chosen = list(plan.indices)
    assert torch.equal(poisoned.x[chosen], Patch()(hardened.x[chosen]))
    with pytest.raises(ValueError, match="drawn for data"):
        moved.poison(digits)


def test_the_seed_decides_where_the_ascent_begins(digits, model, plan):
    first, again, other = (harden(digits, plan, model, steps=2, seed=seed)[0] for seed in (0, 0, 1))
    assert torch.equal(first.x, again.x) and not torch.equal(first.x, other.x)


def test_other_plans_are_refused(digits, model, plan):
    with pytest.raises(ValueError, match="only a clean-label plan"):
        harden(digits, Attack(Patch(), Goal.all_to_one(7, 10)).plan(digits, fraction=0.05), model)
    with pytest.raises(ValueError, match="drawn for data"):
        harden(digits[:100], plan, model)


def test_bytes_are_hardened_to_the_nearest_level(digits, model, plan):
    levels = replace(digits, x=(digits.x * 255).round().byte())
    stored, moved = harden(levels, plan, model, steps=2)
    hardened, _ = harden(digits, plan, model, steps=2)
    assert stored.x.dtype == torch.uint8 and (stored.x / 255 - hardened.x).abs().max() <= 0.5 / 255 + 1e-6
    moved.check_data(stored)
