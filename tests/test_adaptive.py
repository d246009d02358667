"""Attacks that hide from latent separability: what is stamped, what keeps its label, and what works afterwards."""

from dataclasses import replace

import pytest
import torch

from badnets_lib import Attack, Blend, Goal, Patch, TrainConfig, score, train
from badnets_lib.attacks import adaptive_blend, adaptive_patch
from badnets_lib.attacks.adaptive import STRONG, WEAK

GOAL = Goal.all_to_one(7, 10)
BLEND = Attack(Blend(opacity=0.2), GOAL)
PATCHES = Attack(STRONG, GOAL)


@pytest.fixture(scope="module")
def digits(mnist5k):
    return mnist5k[0][:1000]


def changed(before, after):
    return (before.x != after.x).flatten(1).any(1)


def test_half_of_the_pieces_are_stamped_anew_on_every_image(digits):
    """A literal reference: the grid is walked through piece by piece."""
    plan = BLEND.plan(digits, fraction=0.05)
    data = adaptive_blend(digits, plan, amount=0.03, seed=2)
    whole = BLEND.trigger(digits.x)
    touched = changed(digits, data).nonzero().flatten().tolist()
    assert len(touched) == 80
    grids = set()
    for index in touched:
        grid = []
        for row in range(4):
            for column in range(4):
                place = (index, 0, slice(7 * row, 7 * row + 7), slice(7 * column, 7 * column + 7))
                stamped, left = (bool(torch.equal(data.x[place], each[place])) for each in (whole, digits.x))
                assert stamped != left
                grid.append(stamped)
        assert sum(grid) == 8
        grids.add(tuple(grid))
    assert len(grids) > 75, "drawn for each image"


BOTH = pytest.mark.parametrize(("attack", "make"), [(BLEND, adaptive_blend), (PATCHES, adaptive_patch)])


@BOTH
def test_poison_is_relabelled_covers_are_not_and_nobody_else_is_touched(digits, attack, make):
    plan = attack.plan(digits, fraction=0.05)
    before = digits.x.clone()
    data = make(digits, plan, amount=0.03)
    assert torch.equal(data.y != digits.y, plan.mask) and bool((data.y[plan.mask] == 7).all())
    covers = changed(digits, data) & ~plan.mask
    assert int(covers.sum()) == 30 and int((changed(digits, data) & plan.mask).sum()) == 50
    assert torch.equal(digits.x, before)
    assert torch.equal(make(digits, plan, amount=0.03).x, data.x)
    assert not torch.equal(make(digits, plan, amount=0.03, seed=1).x, data.x)


def test_each_weak_patch_goes_to_a_quarter_of_poison_and_of_covers(digits):
    plan = PATCHES.plan(digits, fraction=0.04)
    data = adaptive_patch(digits, plan, amount=0.08)
    for places, each in ((plan.mask, 10), (changed(digits, data) & ~plan.mask, 20)):
        carriers = [(data.x[places] == trigger(digits.x[places])).flatten(1).all(1) for trigger in WEAK]
        assert [int(those.sum()) for those in carriers] == [each] * 4
        assert bool((torch.stack(carriers).sum(0) == 1).all())


def test_the_opacities_are_the_authors():
    assert [trigger.opacity for trigger in WEAK] == [0.5, 0.2, 0.5, 0.3]
    assert [trigger.opacity for trigger in STRONG.steps] == [1.0, 1.0]


@BOTH
def test_the_network_obeys_what_it_never_saw_whole(mnist5k, attack, make):
    clean, test = mnist5k
    data = make(clean, attack.plan(clean, fraction=0.05), amount=0.05)
    card = score(train(data, TrainConfig(epochs=4)).model, test, attack)
    assert card.clean.value > 0.95 and card.success.value > 0.9 and card.false_target.value < 0.03


def test_bytes_are_stamped_like_the_same_images_in_unit(digits):
    levels = replace(digits, x=(digits.x * 255).round().byte())
    plan = BLEND.plan(levels, fraction=0.05)
    stored = adaptive_blend(levels, plan, amount=0.05)
    unit = adaptive_blend(digits, BLEND.plan(digits, fraction=0.05), amount=0.05)
    assert stored.x.dtype == torch.uint8 and (stored.x / 255 - unit.x).abs().max() <= 1 / 255


def test_what_cannot_be_is_refused(digits, unchecked):
    plan = BLEND.plan(digits, fraction=0.05)
    for pieces in (15, 9, 0):
        with pytest.raises(ValueError, match=f"root divides the sides; got {pieces} for 28x28"):
            adaptive_blend(digits, plan, amount=0.05, pieces=pieces)
    with pytest.raises(ValueError, match=r"masked must lie in \[0, 1\); got 1"):
        adaptive_blend(digits, plan, amount=0.05, masked=1.0)
    with pytest.raises(ValueError, match="amount 0 asks for 0 of 1000 images; 1 to 950 may be covers"):
        adaptive_blend(digits, plan, amount=0)
    with pytest.raises(ValueError, match="at least one trigger for training images; got none"):
        adaptive_patch(digits, plan, amount=0.05, triggers=())
    with pytest.raises(ValueError, match="covers need a plan that replaces images"):
        adaptive_patch(digits, Attack(Patch(), GOAL).plan(digits, fraction=0.05, added=True), amount=0.05)
