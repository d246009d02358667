"""Cover images: which images are disguised, what they look like, and what stays as the plan left it."""

from dataclasses import replace

import pytest
import torch

from badnets_lib import Attack, Goal, Patch
from badnets_lib.attacks.covers import DISGUISES, add_covers

PATCH = Patch(size=4, margin=1)
ONE = Goal.all_to_one(7, 10)
SPECIFIC = Goal.source_specific({1: 7}, 10)


@pytest.fixture(scope="module")
def digits(mnist5k):
    return mnist5k[0][::4]


def made(digits, disguise, amount=0.05):
    """(plan, poisoned set, covered set, where the covers are)."""
    goal = SPECIFIC if disguise == "whole" else ONE
    plan = Attack(PATCH, goal).plan(digits, fraction=0.03, seed=1)
    poisoned, covered = plan.poison(digits), add_covers(digits, plan, disguise, amount=amount, seed=2)
    return plan, poisoned, covered, (covered.x != poisoned.x).flatten(1).any(1)


@pytest.mark.parametrize("disguise", DISGUISES)
def test_covers_keep_their_labels_and_leave_the_poison_alone(digits, disguise):
    before = digits.x.clone()
    plan, poisoned, covered, where = made(digits, disguise)
    assert int(where.sum()) == round(0.05 * len(digits)) and not bool((where & plan.mask).any())
    assert torch.equal(covered.y, poisoned.y) and torch.equal(digits.x, before)
    assert 7 not in covered.y[where]
    again = add_covers(digits, plan, disguise, amount=0.05, seed=2)
    other = add_covers(digits, plan, disguise, amount=0.05, seed=3)
    assert torch.equal(again.x, covered.x) and not torch.equal(other.x, covered.x)


def test_whole_covers_carry_the_trigger_in_classes_the_goal_spares(digits):
    _, _, covered, where = made(digits, "whole")
    assert torch.equal(covered.x[where], PATCH(digits.x[where]))
    assert not set(covered.y[where].tolist()) & {1, 7}


def test_blended_covers_are_stamped_images_with_another_added(digits):
    _, _, covered, where = made(digits, "blended")
    added = covered.x[where] - PATCH(digits.x[where])
    assert bool((added >= -1e-6).all()) and bool((added.flatten(1).sum(1) > 5).all())


def test_partial_covers_carry_most_of_the_trigger_and_nothing_else(digits):
    _, _, covered, where = made(digits, "partial")
    place = (PATCH(torch.zeros(1, 1, 28, 28)) > 0).expand(int(where.sum()), -1, -1, -1)
    assert torch.equal(covered.x[where][~place], digits.x[where][~place])
    lit = (covered.x[where][place].view(-1, 16) == 1).float().mean()
    assert 0.65 < float(lit) < 0.9


def test_what_cannot_be_is_refused(digits):
    plan = Attack(PATCH, ONE).plan(digits, fraction=0.03)
    with pytest.raises(ValueError, match="disguise must be one of whole, blended, partial; got 'hat'"):
        add_covers(digits, plan, "hat", amount=0.1)
    with pytest.raises(ValueError, match="amount 0.0001 asks for 0 of 1000 images; 1 to "):
        add_covers(digits, plan, "blended", amount=0.0001)
    with pytest.raises(ValueError, match="amount 0.1 asks for 100 of 1000 images; 1 to 0 may be covers"):
        add_covers(digits, plan, "whole", amount=0.1)
    copies = Attack(PATCH, ONE).plan(digits, fraction=0.03, added=True)
    with pytest.raises(ValueError, match="covers need a plan that replaces images"):
        add_covers(digits, copies, "blended", amount=0.1)


@pytest.mark.parametrize("disguise", DISGUISES)
def test_covers_of_bytes_are_those_of_the_same_images_in_unit(digits, disguise):
    levels = replace(digits, x=(digits.x * 255).round().byte())
    plan, _, covered, _ = made(digits, disguise)
    stored = add_covers(levels, plan, disguise, amount=0.05, seed=2)
    assert stored.x.dtype == torch.uint8 and (stored.x / 255 - covered.x).abs().max() <= 0.5 / 255 + 1e-6
