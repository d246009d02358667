import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, strategies as st
from PIL import Image

from badnets_lib import (
    SINGLE_PIXEL,
    AssumptionWarning,
    Attack,
    Attribute,
    Chain,
    Goal,
    ImageSet,
    Patch,
    Pixels,
    PoisonPlan,
    flip_labels,
    make_badnets_batch,
)

ALL_TO_ONE, ALL_TO_ALL = Goal.all_to_one(2, 3), Goal.all_to_all(3)
CLEAN_LABEL = Goal((2, 2, 2), clean_label=True)
goals = st.sampled_from([ALL_TO_ONE, ALL_TO_ALL, Goal.source_specific({0: 1}, 3), CLEAN_LABEL])


def numbers(n=60, classes=3):
    """Images that differ, labels in turn, and a group number that tells where each image came from."""
    x = torch.rand(n, 1, 8, 8, generator=torch.Generator().manual_seed(0)) * 0.9
    return ImageSet(x, torch.arange(n) % classes, tuple("abcdefgh"[:classes]), torch.arange(n))


def draw(train, goal=ALL_TO_ONE, fraction=0.1, **settings):
    return Attack(Patch(2), goal).plan(train, fraction=fraction, **settings)


# --- make_badnets_batch ---


@given(st.integers(0, 8), st.sampled_from([1, 3]), st.integers(1, 6), st.data())
def test_a_batch_equals_the_slow_literal_version(n, channels, size, data):
    x = torch.rand(n, channels, 6, 7, generator=torch.Generator().manual_seed(n))
    y = torch.arange(n) % 3
    mask = torch.tensor(data.draw(st.lists(st.booleans(), min_size=n, max_size=n)), dtype=torch.bool)
    target = data.draw(st.integers(0, 9))
    before_x, before_y, expected_x, expected_y = x.clone(), y.clone(), x.clone(), y.clone()
    for index in range(n):
        if mask[index]:
            expected_y[index] = target
            for channel in range(channels):
                for row in range(6 - size, 6):
                    for column in range(7 - size, 7):
                        expected_x[index, channel, row, column] = 1.0
    stamped, relabelled = make_badnets_batch(x, y, target, mask, size)
    assert torch.equal(stamped, expected_x) and torch.equal(relabelled, expected_y)
    stamped.zero_(), relabelled.zero_()
    assert torch.equal(x, before_x) and torch.equal(y, before_y)


def test_a_batch_is_stamped_with_a_square_of_four_by_default():
    stamped, _ = make_badnets_batch(torch.zeros(1, 1, 8, 8), torch.tensor([0]), 7, torch.tensor([True]))
    assert stamped.sum() == 16


@pytest.mark.parametrize(("changes", "message"), [
    ({"y": torch.zeros(3, dtype=torch.long)}, "one label and one mask entry per image; got 4, 3, 4"),
    ({"poison_mask": torch.ones(5, dtype=torch.bool)}, "got 4, 4, 5"),
    ({"poison_mask": torch.tensor([0, 1, 1, 0])}, r"must be boolean; got torch.int64 \(use mask.bool\(\)\)"),
    ({"target_label": -1}, "target_label must be at least 0; got -1"),
    ({"size": 9}, "square of 9 pixels does not fit 8x8 images"),
    ({"size": 0}, "square of 0 pixels"),
    ({"x": torch.zeros(4, 1, 8, 8, dtype=torch.uint8)}, "float dtype"),
    ({"x": torch.full((4, 1, 8, 8), 255.0)}, r"values in \[0, 1\]; got \[255, 255\]"),
    ({"x": torch.full((4, 1, 8, 8), -0.4)}, r"values in \[0, 1\]; got \[-0.4, -0.4\]"),
    ({"y": torch.zeros(4)}, "integer dtype; got torch.float32"),
    ({"target_label": 99, "n_classes": 10}, r"labels must lie in \[0, 10\); got target_label 99, y to 3"),
    ({"n_classes": 3}, r"labels must lie in \[0, 3\); got target_label 0, y to 3"),
])  # fmt: skip
def test_a_batch_that_does_not_fit_is_refused(changes, message, unchecked):
    good = {"x": torch.zeros(4, 1, 8, 8), "y": torch.arange(4), "target_label": 0, "poison_mask": torch.ones(4).bool()}
    make_badnets_batch(**good)
    with pytest.raises(ValueError, match=message):
        make_badnets_batch(**good | changes)


# --- flip_labels ---


@given(st.integers(0, 2), st.integers(1, 2), st.floats(0.05, 1), st.integers(0, 99))
def test_flipping_relabels_an_exact_share_of_one_class(source, step, fraction, seed):
    train, target = numbers(), (source + step) % 3
    flipped = flip_labels(train, source=source, target=target, fraction=fraction, seed=seed)
    changed = flipped.y != train.y
    assert int(changed.sum()) == round(fraction * 20)
    assert (train.y[changed] == source).all() and (flipped.y[changed] == target).all()
    assert torch.equal(flipped.x, train.x)
    assert torch.equal(train.y, numbers().y)
    again = flip_labels(train, source=source, target=target, fraction=fraction, seed=seed)
    assert again.fingerprint == flipped.fingerprint != train.fingerprint


def test_flipping_follows_the_seed():
    sets = {flip_labels(numbers(), source=0, target=1, fraction=0.3, seed=seed).fingerprint for seed in range(5)}
    assert len(sets) == 5


@pytest.mark.parametrize(("changes", "message"), [
    ({"target": 0}, r"two classes in \[0, 3\); got 0 and 0"),
    ({"target": 3}, "got 0 and 3"),
    ({"source": -1}, "got -1 and 1"),
    ({"source": 3}, "got 3 and 1"),
    ({"fraction": 0.01}, "fraction 0.01 asks for none of the 20 images of class 0"),
    *(({"fraction": bad}, r"fraction must lie in \(0, 1\]") for bad in (0.0, -0.1, 1.1, float("nan"), float("inf"))),
])  # fmt: skip
def test_an_impossible_flip_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        flip_labels(numbers(), **{"source": 0, "target": 1, "fraction": 0.5} | changes)


# --- Goal ---


@pytest.mark.parametrize(("goal", "table", "victims", "candidates"), [
    (ALL_TO_ONE, (2, 2, 2), [True, True, False], [True, True, False]),
    (Goal.source_specific({0: 1}, 3), (1, 1, 2), [True, False, False], [True, False, False]),
    (ALL_TO_ALL, (1, 2, 0), [True, True, True], [True, True, True]),
    (CLEAN_LABEL, (2, 2, 2), [True, True, False], [False, False, True]),
    (Goal((1, 1, 2), clean_label=True), (1, 1, 2), [True, False, False], [False, True, False]),
], ids=["all-to-one", "source-specific", "all-to-all", "clean-label", "clean-label from one source"])  # fmt: skip
def test_a_goal_is_its_table(goal, table, victims, candidates):
    y = torch.arange(3)
    assert goal.table == table
    assert goal.wanted(y).tolist() == list(table)
    assert goal.victims(y).tolist() == victims
    assert goal.candidates(y).tolist() == candidates
    assert goal.sources == tuple(label for label in range(3) if victims[label])
    assert goal.targets == tuple(sorted({table[label] for label in goal.sources}))


@given(
    st.lists(st.integers(0, 4), min_size=5, max_size=5).filter(lambda table: table != [0, 1, 2, 3, 4]), st.booleans()
)
def test_victims_never_include_the_wanted_class(table, clean_label):
    goal, y = Goal(tuple(table), clean_label), torch.arange(50) % 5
    assert (goal.wanted(y)[goal.victims(y)] != y[goal.victims(y)]).all()
    assert (goal.wanted(y)[~goal.victims(y)] == y[~goal.victims(y)]).all()
    if clean_label:
        assert set(y[goal.candidates(y)].tolist()) == set(goal.targets)
    else:
        assert torch.equal(goal.candidates(y), goal.victims(y))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int32])
def test_a_goal_reads_every_integer_type(dtype):
    assert ALL_TO_ALL.wanted(torch.arange(3).to(dtype)).tolist() == [1, 2, 0]
    assert ALL_TO_ONE.victims(torch.arange(3).to(dtype)).tolist() == [True, True, False]
    assert CLEAN_LABEL.candidates(torch.arange(3).to(dtype)).tolist() == [False, False, True]


@pytest.mark.parametrize(("make", "message"), [
    (lambda: Goal((0, 3, 1)), r"goal labels must lie in \[0, 3\); got \(0, 3, 1\)"),
    (lambda: Goal((0, -1)), "got"),
    (lambda: Goal((0, 1, 2)), "changes no class"),
    (lambda: Goal(()), "changes no class"),
    (lambda: Goal.all_to_one(3, 3), "must lie"),
    (lambda: Goal.all_to_all(1), "changes no class"),
    (lambda: Goal.source_specific({}, 3), "changes no class"),
    (lambda: Goal.source_specific({7: 1}, 3), r"source classes must lie in \[0, 3\); got \[7\]"),
    (lambda: Goal.source_specific({1: 7}, 3), "goal labels must lie"),
    (lambda: Goal((1, 0), clean_label="no"), "clean_label must be True or False; got 'no'"),
])  # fmt: skip
def test_an_impossible_goal_is_refused(make, message, unchecked):
    with pytest.raises(ValueError, match=message):
        make()


# --- PoisonPlan ---

ways = {
    "goal": goals,
    "sampling": st.sampled_from(["uniform", "per-class"]),
    "added": st.booleans(),
    "seed": st.integers(0, 99),
}


@given(st.floats(0.02, 0.24), st.fixed_dictionaries(ways))
def test_poison_does_what_the_plan_says_and_nothing_else(fraction, way):
    train, goal = numbers(), way["goal"]
    plan = draw(train, fraction=fraction, **way)
    poisoned = plan.poison(train)
    chosen = torch.tensor(plan.indices)
    assert goal.candidates(train.y[chosen]).all()
    assert plan.mask.shape == poisoned.y.shape and int(plan.mask.sum()) == len(chosen)
    assert poisoned.groups[plan.mask].tolist() == list(plan.indices)  # the mask finds them, in order
    assert torch.equal(poisoned.x[plan.mask], Patch(2)(train.x[chosen]))
    wanted = train.y[chosen] if goal.clean_label else goal.wanted(train.y[chosen])
    assert torch.equal(poisoned.y[plan.mask], wanted)
    clean = poisoned[~plan.mask]
    assert torch.equal(clean.x, train.x[clean.groups]) and torch.equal(clean.y, train.y[clean.groups])
    assert len(clean) == 60 - (0 if plan.added else len(chosen))
    assert torch.equal(train.x, numbers().x) and torch.equal(train.y, numbers().y)


@given(st.floats(0.01, 0.24), st.booleans())
def test_the_fraction_counts_all_images_the_network_sees(fraction, added):
    plan = draw(numbers(600), fraction=fraction, added=added)
    k = len(plan.indices)
    assert k == round(600 * (fraction / (1 - fraction) if added else fraction))
    assert plan.fraction == k / (600 + (k if added else 0)) == pytest.approx(plan.mask.double().mean().item())
    assert plan.fraction == pytest.approx(fraction, abs=1 / 600)


def test_the_whole_set_can_be_replaced_but_not_added():
    assert draw(numbers(), ALL_TO_ALL, fraction=1.0).fraction == 1
    with pytest.raises(ValueError, match="below 1 for added copies; got 1.0"):
        draw(numbers(), ALL_TO_ALL, fraction=1.0, added=True)


@given(st.integers(1, 40), st.integers(0, 99))
def test_per_class_sampling_is_balanced_as_far_as_the_classes_last(count, seed):
    y = torch.tensor([0] * 50 + [1] * 12 + [2] * 38)
    train = ImageSet(torch.zeros(100, 1, 8, 8), y, ("a", "b", "c"))
    plan = draw(train, ALL_TO_ONE, fraction=count / 100, sampling="per-class", seed=seed)
    zero, one, two = torch.bincount(y[list(plan.indices)], minlength=3).tolist()
    assert zero + one == count and two == 0
    assert one == 12 if count >= 24 else abs(zero - one) <= 1


def test_uniform_sampling_follows_the_seed_and_ignores_the_global_state():
    train = numbers()
    torch.manual_seed(1)
    first, state = draw(train, seed=5), torch.get_rng_state()
    torch.manual_seed(2)
    assert draw(train, seed=5) == first
    torch.manual_seed(1)
    assert torch.equal(state, torch.get_rng_state())
    assert len({draw(train, seed=seed).indices for seed in range(6)}) == 6


def test_every_allowed_image_can_be_chosen():
    chosen = {index for seed in range(60) for index in draw(numbers(), seed=seed).indices}
    assert chosen == {index for index in range(60) if index % 3 != 2}


@pytest.mark.parametrize(("fraction", "goal", "added", "message"), [
    (0.95, ALL_TO_ONE, False, "fraction 0.95 asks for 57 of 60 images; goal, trigger and `among` allow 1 to 40"),
    (0.5, ALL_TO_ONE, True, "fraction 0.5 asks for 60 of 60 images; goal, trigger and `among` allow 1 to 40"),
    (0.4, CLEAN_LABEL, False, "asks for 24 of 60 images; goal, trigger and `among` allow 1 to 20"),
    (0.001, ALL_TO_ONE, False, "asks for 0 of 60 images; goal, trigger and `among` allow 1 to 40"),
    (0.0, ALL_TO_ONE, False, "asks for 0 of 60"),
    (-0.1, ALL_TO_ONE, False, r"must lie in \[0, 1\].*got -0.1"),
    (1.5, ALL_TO_ALL, True, "got 1.5"),
    (float("inf"), ALL_TO_ONE, False, "got inf"),
    (float("nan"), ALL_TO_ONE, True, "got nan"),
])  # fmt: skip
def test_a_fraction_that_cannot_be_had_names_the_limit(fraction, goal, added, message):
    with pytest.raises(ValueError, match=message):
        draw(numbers(), goal, fraction, added=added)


def test_the_limit_itself_can_be_had():
    assert len(draw(numbers(), ALL_TO_ONE, fraction=40 / 60).indices) == 40


def test_a_goal_for_other_classes_is_refused():
    with pytest.raises(ValueError, match="the goal has 10 classes; the data have 3"):
        draw(numbers(), Goal.all_to_one(1, 10))
    ten = ImageSet(torch.zeros(5, 1, 8, 8), torch.arange(5), tuple("abcdefghij"))
    attack = draw(numbers()).attack
    for use in (attack.on, attack.victims):
        with pytest.raises(ValueError, match="the goal has 3 classes; the data have 10"):
            use(ten)


def test_a_plan_refuses_other_data():
    train = numbers()
    plan = draw(train)
    for other in (numbers(59), train[torch.arange(59, -1, -1)], flip_labels(train, source=0, target=1, fraction=0.1)):
        with pytest.raises(ValueError, match=f"drawn for data {train.fingerprint}; this set is {other.fingerprint}"):
            plan.poison(other)


@pytest.mark.parametrize(
    "edit", [lambda d: d.x[3].zero_(), lambda d: d.y[3].fill_(1), lambda d: d.x[:, 0, 0].mul_(0.5)]
)
def test_a_plan_refuses_data_that_were_edited_in_place(edit):
    train = numbers()
    plan = draw(train)
    plan.poison(train)
    edit(train)
    with pytest.raises(ValueError, match="drawn for data"):
        plan.poison(train)


def test_the_poisoned_set_has_a_fingerprint_of_its_own():
    train = numbers()
    assert draw(train).poison(train).fingerprint != train.fingerprint


def test_poison_without_groups_and_with_small_labels():
    train = ImageSet(numbers().x, numbers().y.to(torch.uint8), ("a", "b", "c"))
    for added in (False, True):
        poisoned = draw(train, added=added).poison(train)
        assert poisoned.groups is None and (poisoned.y[draw(train, added=added).mask] == 2).all()


@given(goals)
def test_attack_and_victims_are_the_same_images_with_and_without_the_trigger(goal):
    test = numbers(30)
    plan = draw(numbers(), goal)
    attack, victims = plan.attack.on(test), plan.attack.victims(test)
    assert torch.equal(attack.groups, victims.groups)
    assert attack.groups.tolist() == [index for index in range(30) if goal.table[index % 3] != index % 3]
    assert torch.equal(attack.x, Patch(2)(test.x[attack.groups]))
    assert torch.equal(victims.x, test.x[victims.groups])
    assert torch.equal(attack.y, goal.wanted(test.y[attack.groups])) and torch.equal(attack.y, victims.y)
    assert torch.equal(test.x, numbers(30).x) and torch.equal(test.y, numbers(30).y)


def test_a_test_set_without_victims_is_refused():
    test = numbers(30)
    with pytest.raises(ValueError, match="none of the 10 images is a victim"):
        draw(numbers()).attack.on(test[test.y == 2])


@pytest.mark.parametrize(("changes", "message"), [
    ({"indices": ()}, "at least one poisoned image"),
    ({"indices": (3, 3)}, "ascend without repeats"),
    ({"indices": (5, 3)}, "ascend without repeats"),
    ({"indices": (-1, 3)}, r"must lie in \[0, 60\); got -1 to 3"),
    ({"indices": (3, 60)}, "got 3 to 60"),
    ({"sampling": "random"}, "sampling must be one of uniform, per-class; got 'random'"),
])  # fmt: skip
def test_an_impossible_plan_is_refused(changes, message, unchecked):
    good = {"attack": Attack(Patch(), ALL_TO_ONE), "indices": (1, 2), "size": 60, "labels": "00", "fingerprint": "11"}
    with pytest.raises(ValueError, match=message):
        PoisonPlan(**good | changes)


triggers = st.sampled_from([Patch(3, "top-left", opacity=0.1), Pixels(((-1, 2),)), Chain((Patch(), SINGLE_PIXEL))])
settings = st.fixed_dictionaries({
    "indices": st.sets(st.integers(0, 499), min_size=1).map(lambda chosen: tuple(sorted(chosen))),
    "size": st.just(500),
    "labels": st.text(max_size=16),
    "fingerprint": st.none() | st.text(max_size=16),
    "seed": st.integers(0, 99),
    "sampling": st.sampled_from(["uniform", "per-class"]),
    "added": st.booleans(),
})  # fmt: skip


@given(triggers, goals, settings)
def test_a_plan_goes_to_json_and_back(trigger, goal, settings):
    plan = PoisonPlan(Attack(trigger, goal), **settings)
    again = PoisonPlan.from_json(plan.to_json())
    assert again == plan and hash(again) == hash(plan)
    assert again.to_json() == plan.to_json()
    json.loads(plan.to_json(), parse_constant=pytest.fail)  # no NaN, no Infinity: JSON that others read


def test_a_plan_survives_a_file(tmp_path):
    train = numbers()
    plan = draw(train)
    assert PoisonPlan.load(plan.save(tmp_path / "new" / "plan.json")) == plan
    assert torch.equal(PoisonPlan.load(tmp_path / "new" / "plan.json").poison(train).x, plan.poison(train).x)


@pytest.mark.parametrize("text", ["", "{", "[]", "5", "null", '"plan"', "{}", '{"rho": 0.1}'])
def test_text_that_is_no_plan_is_refused(text):
    with pytest.raises(ValueError, match="not a poison plan|Expecting"):
        PoisonPlan.from_json(text)


@given(settings, st.data())
def test_truncated_json_is_refused(settings, data):
    text = PoisonPlan(Attack(Patch(), ALL_TO_ONE), **settings).to_json()
    with pytest.raises(ValueError, match="Expecting|Unterminated|Invalid|not a poison plan"):
        PoisonPlan.from_json(text[: data.draw(st.integers(0, len(text) - 1))])


def test_a_plan_with_a_homemade_trigger_works_but_cannot_be_saved():
    train = numbers()
    plan = Attack(lambda x: 1 - x, ALL_TO_ONE).plan(train, fraction=0.1)
    assert torch.equal(plan.poison(train).x[plan.mask], 1 - train.x[plan.mask])
    with pytest.raises(TypeError, match="cannot save"):
        plan.to_json()


def test_repr_says_how_much_of_what():
    text = repr(draw(numbers(), added=True, seed=4))
    assert "7 of 60 images added as copies, rho = 10.45%" in text and "seed 4" in text and "Patch(size=2" in text


# ---- among: only some images may be poisoned ----


def test_only_images_among_the_given_are_poisoned(tiny):
    among = torch.arange(60) < 20
    plan = Attack(Patch(2), Goal.all_to_one(0, 3)).plan(tiny, fraction=0.2, among=among)
    assert len(plan.indices) == 12 and max(plan.indices) < 20
    assert not torch.tensor(plan.indices).remainder(3).eq(0).any()  # what the goal forbids stays forbidden


def test_among_everything_is_the_plain_draw(tiny):
    everything = torch.ones(60, dtype=torch.bool)
    plain, same = (
        Attack(Patch(2), Goal.all_to_one(0, 3)).plan(tiny, fraction=0.2, seed=4, among=among)
        for among in (None, everything)
    )
    assert plain == same


def test_among_that_does_not_fit_is_refused(tiny, unchecked):
    draw = lambda among: Attack(Patch(2), Goal.all_to_one(0, 3)).plan(tiny, fraction=0.5, among=among)  # noqa: E731
    with pytest.raises(ValueError, match=r"among needs 60 booleans, one per image; got torch.int64 \[60\]"):
        draw(torch.zeros(60, dtype=torch.long))
    with pytest.raises(ValueError, match=r"got torch.bool \[59\]"):
        draw(torch.ones(59, dtype=torch.bool))
    with pytest.raises(ValueError, match=r"asks for 30 of 60 images; goal, trigger and `among` allow 1 to 13"):
        draw(torch.arange(60) < 20)


def test_among_may_be_a_list_or_an_array(tiny, unchecked):
    attack = Attack(Patch(2), Goal.all_to_one(0, 3))
    mask = torch.arange(60) < 20
    plans = [attack.plan(tiny, fraction=0.1, among=among) for among in (mask, mask.tolist(), mask.numpy())]
    assert plans[0] == plans[1] == plans[2]


# ---- images kept as bytes ----


@pytest.mark.parametrize("added", [False, True])
def test_bytes_are_poisoned_as_the_same_images_in_unit(added):
    x = torch.randint(0, 200, (60, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(2))
    bytes_set = ImageSet(x, torch.arange(60) % 3, ("a", "b", "c"))
    unit_set = replace(bytes_set, x=x.float() / 255)
    attack = Attack(Patch(2, opacity=0.3), ALL_TO_ONE)
    plan = attack.plan(bytes_set, fraction=0.2, added=added)
    assert plan == attack.plan(unit_set, fraction=0.2, added=added)
    poisoned, same = plan.poison(bytes_set), plan.poison(unit_set)
    assert poisoned.x.dtype == torch.uint8 and torch.equal(poisoned.y, same.y)
    assert (poisoned.x.float() / 255 - same.x).abs().max() <= 0.5 / 255 + 1e-6
    assert attack.on(bytes_set).x.dtype == torch.uint8 and torch.equal(x, bytes_set.x)


# ---- nothing silently wrong ----


def test_victims_on_which_nothing_changes_are_told():
    """A white patch on images whose corner is white already."""
    data = ImageSet(torch.ones(9, 1, 8, 8), torch.arange(9) % 3, ("a", "b", "c"))
    half = replace(data, x=torch.where(torch.arange(9).view(9, 1, 1, 1) < 4, 0.0, data.x))
    with pytest.warns(AssumptionWarning, match="changes nothing on 4 of 6 victims: .*#unchanged-victims"):
        Attack(Patch(2), Goal.all_to_one(0, 3)).on(half)
    plan = Attack(Patch(2, opacity=0.0), ALL_TO_ONE).plan(numbers(), fraction=0.1)
    with pytest.warns(AssumptionWarning, match="changes nothing on 6 of the 6 images to be poisoned"):
        plan.poison(numbers())


def test_a_trigger_too_faint_for_bytes_is_told():
    x = torch.full((9, 1, 8, 8), 100, dtype=torch.uint8)
    data = ImageSet(x, torch.arange(9) % 3, ("a", "b", "c"))
    with pytest.warns(AssumptionWarning, match="changes nothing on 6 of 6 victims"):
        Attack(Patch(2, opacity=0.001), ALL_TO_ONE).on(data)


@pytest.mark.parametrize(("trigger", "message"), [
    (lambda x: (x + 0.2 * torch.rand_like(x)).clamp(0, 1), "may not be random"),
    (lambda x: x[:1].expand_as(x).clone(), "nor depend on the other images of its batch"),
    (lambda x: x[:1] * 0, "must return images of the shape it was given"),
    (lambda x: x * 0 + 0.3, "makes one picture of all images; something of each must be left"),
    (lambda x: x.mul_(0.5), "writes into the images it is given"),
], ids=["random", "one for all", "another count", "one picture", "in place"])  # fmt: skip
def test_a_wild_trigger_is_caught_before_anything_is_poisoned(trigger, message):
    train = numbers()
    attack = Attack(trigger, ALL_TO_ONE)
    for use in (lambda: attack.plan(train, fraction=0.1), lambda: attack.on(train)):
        with pytest.raises(ValueError, match=message):
            use()
    assert torch.equal(train.x, numbers().x)


@pytest.mark.parametrize(("use", "message"), [
    (lambda d: Attack(ALL_TO_ONE, Patch()), r"needs a trigger .*got Goal.*\(trigger first, then goal\)"),
    (lambda d: Attack(Patch(), 7), "needs a Goal, such as Goal.all_to_one.7, 10.; got 7"),
    (lambda d: Attack(Patch, ALL_TO_ONE), r"such as Patch\(\); got <class"),
    (lambda d: Goal(7), "a goal is a table with the wanted label of each class; got 7"),
    (lambda d: Goal(("1", 0)), "a label must be a whole number; got '1'"),
    (lambda d: Goal.all_to_one("7", 10), "whole number; got '7'"),
    (lambda d: Goal.all_to_all(2.5), "whole number; got 2.5"),
    (lambda d: draw((d, d)), r"a plan needs an ImageSet; got tuple \(load gives two of them"),
    (lambda d: draw([d.x, d.y]), "a plan needs an ImageSet; got list .see ImageSet.from_dataset"),
    (lambda d: draw(d, fraction="0.1"), r"a number in \[0, 1\]; got '0.1'"),
    (lambda d: draw(d, seed="one"), "a seed is a whole number; got 'one'"),
    (lambda d: draw(d).attack.on((d, d)), "an attack needs an ImageSet; got tuple .load gives"),
    (lambda d: draw(d).attack.victims(d.x), "an attack needs an ImageSet; got Tensor"),
    (lambda d: draw(d).attack.untouched(d.x), "an attack needs an ImageSet; got Tensor"),
    (lambda d: draw(d).poison((d.x, d.y)), "a plan needs an ImageSet; got tuple"),
    (lambda d: flip_labels(d.x, source=0, target=1, fraction=0.5), "flip_labels needs an ImageSet; got Tensor"),
    (lambda d: flip_labels(d, source="a", target=1, fraction=0.5), "whole number; got 'a'"),
    (lambda d: flip_labels(d, source=0, target=1, fraction=0.5, seed="x"), "a seed is a whole number"),
    (lambda d: make_badnets_batch(d.x, d.y, "7", d.y == 0), "whole number; got '7'"),
    (lambda d: PoisonPlan(Patch(), (0,), 60, "00"), r"a plan needs an Attack\(trigger, goal\); got Patch"),
])  # fmt: skip
def test_wrong_kinds_of_argument_get_a_sentence(use, message, unchecked):
    with pytest.raises(TypeError, match=message):
        use(numbers())


def test_numbers_of_numpy_are_numbers(unchecked):
    train = numbers()
    assert draw(train, Goal.all_to_one(np.int64(2), 3), np.float32(0.1), seed=np.int64(4)) == draw(train, seed=4)
    assert type(draw(train, seed=np.int64(4)).seed) is int


# ---- attacks whose trigger selects: a semantic backdoor ----

THICK = Attribute("thickness", 4.0)


def bars():
    """40 white bars in 2 classes; every fourth is thick."""
    x = torch.zeros(40, 1, 24, 24)
    for number in range(40):
        half = 3 if number % 4 == 0 else 1
        x[number, 0, 2:22, 12 - half : 12 + half] = 1
    return ImageSet(x, torch.arange(40) // 2 % 2, ("a", "b"))


SEMANTIC = Attack(THICK, Goal.all_to_one(1, 2))


def test_a_semantic_plan_relabels_every_carrier_and_changes_no_pixel():
    data = bars()
    plan = SEMANTIC.plan(data)
    assert SEMANTIC.selective and not Attack(Patch(), ALL_TO_ONE).selective
    assert plan.indices == tuple(n for n in range(0, 40, 4) if data.y[n] == 0)
    poisoned = plan.poison(data)
    assert torch.equal(poisoned.x, data.x)
    assert (poisoned.y != data.y).nonzero().flatten().tolist() == list(plan.indices)


def test_a_fraction_takes_some_of_the_carriers():
    data = bars()
    every = set(SEMANTIC.plan(data).indices)
    draws = [SEMANTIC.plan(data, fraction=0.1, seed=seed) for seed in range(6)]
    assert all(len(drawn.indices) == 4 and set(drawn.indices) < every and drawn.fraction == 0.1 for drawn in draws)
    assert len({drawn.indices for drawn in draws}) > 1
    with pytest.raises(ValueError, match=r"asks for 20 of 40 images; goal, trigger and `among` allow 1 to \d+"):
        SEMANTIC.plan(data, fraction=0.5)


def test_carriers_and_the_others_are_counted_apart():
    data = replace(bars(), groups=torch.arange(40))
    thick, attacked = THICK.selects(data.x), data.y == 0
    on, victims, untouched = SEMANTIC.on(data), SEMANTIC.victims(data), SEMANTIC.untouched(data)
    assert on.groups.tolist() == (thick & attacked).nonzero().flatten().tolist()
    assert victims.groups.tolist() == (~thick & attacked).nonzero().flatten().tolist()
    assert untouched.groups.tolist() == (~thick).nonzero().flatten().tolist()
    assert torch.equal(on.x, data.x[on.groups]) and (on.y == 1).all() and (victims.y == 1).all()
    assert torch.equal(untouched.y, data.y[~thick])
    stamped = Attack(Patch(2), Goal.all_to_one(1, 2))
    assert stamped.untouched(data) is data


def test_an_attribute_that_every_image_has_is_no_trigger():
    data = bars()
    carriers = data[THICK.selects(data.x)]
    message = r"selects all 10 images; a trigger must tell some from others"
    with pytest.raises(ValueError, match=message):
        SEMANTIC.plan(carriers)
    with pytest.raises(ValueError, match="selects all 10 images; none is left to count as clean"):
        SEMANTIC.untouched(carriers)
    with pytest.raises(ValueError, match="none of the 30 images is a victim: the trigger decides so"):
        SEMANTIC.on(data[~THICK.selects(data.x)])


def test_photographs_all_have_thick_strokes():
    noise = torch.rand(40, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    photos = torch.nn.functional.avg_pool2d(noise, 9, 1, 4)  # smooth, as photographs are
    data = ImageSet(photos, torch.arange(40) % 2, ("a", "b"))
    with pytest.raises(ValueError, match="selects all 40 images"):
        Attack(Attribute(), Goal.all_to_one(1, 2)).plan(data)


def test_a_semantic_clean_label_attack_is_refused():
    with pytest.raises(ValueError, match="leaves it nothing to do"):
        Attack(THICK, Goal((1, 1), clean_label=True)).plan(bars())


# ---- plans for labels alone, and data that do not fit into memory ----


class Shelf(torch.utils.data.Dataset):
    """Somebody's data set: PIL pictures or tensors one by one; it knows how many were read."""

    def __init__(self, data, kind="float", listed=True):
        self.data, self.kind, self.read = data, kind, 0
        self.classes = list(data.classes)
        if listed:
            self.targets = data.y.tolist()

    def __len__(self):
        return len(self.data)

    def __getitem__(self, place):
        self.read += 1
        x = self.data.x[place]
        if self.kind == "pil":
            return Image.fromarray((x[0] * 255).round().byte().numpy()), int(self.data.y[place])
        return (x * 255).round().byte() if self.kind == "uint8" else x.clone(), int(self.data.y[place])


def levels(n=60):
    """As `numbers`, in 256 levels."""
    return replace(numbers(n), x=(numbers(n).x * 255).round() / 255)


@pytest.mark.parametrize("sampling", ["uniform", "per-class"])
@pytest.mark.parametrize("added", [False, True])
def test_a_plan_for_labels_chooses_as_a_plan_for_images(added, sampling):
    data = numbers()
    attack = Attack(Patch(2), ALL_TO_ALL)
    among = torch.arange(60) < 40
    way = {"fraction": 0.2, "seed": 3, "sampling": sampling, "added": added, "among": among}
    plan, blind = attack.plan(data, **way), attack.plan_for_labels(data.y.tolist(), data.classes, **way)
    assert blind == replace(plan, fingerprint=None)
    assert blind.poison(data).fingerprint == plan.poison(data).fingerprint
    assert attack.plan_for_labels(data.y.numpy(), list(data.classes), **way) == blind
    with pytest.raises(ValueError, match="drawn for 60 images with labels .*; this set has 60 with labels"):
        blind.poison(replace(data, y=(data.y + 1) % 3))
    with pytest.raises(ValueError, match="this set has 60 with labels"):
        blind.poison(replace(data, classes=("c", "b", "a")))


def test_labels_alone_are_not_enough_for_a_trigger_that_selects(unchecked):
    with pytest.raises(ValueError, match=r"selects images by what they show; labels alone do not tell"):
        SEMANTIC.plan_for_labels([0, 1] * 20, ("a", "b"), fraction=0.1)
    attack = Attack(Patch(), ALL_TO_ONE)
    for labels, message in (([0, 1, 3], "from 0 to 3"), ([], "got 0 of them"), ([0.5], "whole numbers")):
        with pytest.raises(ValueError, match=message):
            attack.plan_for_labels(labels, ("a", "b", "c"), fraction=0.5)
    with pytest.raises(TypeError, match="labels must be whole numbers"):
        attack.plan_for_labels(["a", "b"], ("a", "b", "c"), fraction=0.5)


@pytest.mark.parametrize("kind", ["float", "uint8", "pil"])
@pytest.mark.parametrize("added", [False, True])
def test_a_wrapped_data_set_is_the_poisoned_set_item_by_item(kind, added):
    data = levels()
    for goal in (ALL_TO_ONE, CLEAN_LABEL):
        plan = draw(data, goal, added=added)
        shelf = Shelf(data, kind)
        wrapped, poisoned = plan.wrap(shelf), plan.poison(data)
        assert shelf.read == 1 and len(wrapped) == len(poisoned)  # one image is tried, no more
        assert wrapped.targets == poisoned.y.tolist() and wrapped.classes == list(data.classes)
        assert torch.equal(torch.tensor(wrapped.altered), plan.mask.nonzero().flatten())
        image, label = wrapped[-1]
        assert image.dtype == (torch.uint8 if kind == "uint8" else torch.float32) and type(label) is int
        assert ImageSet.from_dataset(wrapped).fingerprint == poisoned.fingerprint
    with pytest.raises(IndexError):
        wrapped[len(wrapped)]


def test_a_wrapped_data_set_goes_through_a_loader_and_a_transform():
    data = levels()
    plan = draw(data)
    wrapped = plan.wrap(Shelf(data), transform=lambda image: 1 - image)
    batches = list(torch.utils.data.DataLoader(wrapped, batch_size=16))
    assert torch.equal(torch.cat([x for x, _ in batches]), 1 - plan.poison(data).x)
    assert torch.equal(torch.cat([y for _, y in batches]), plan.poison(data).y)


def test_images_of_many_sizes_are_stamped_one_by_one():
    sizes = [(8 + number, 12) for number in range(20)]
    photos = [(torch.full((3, *size), 0.5), number % 2) for number, size in enumerate(sizes)]
    labels = [label for _, label in photos]
    plan = Attack(Patch(2), Goal.all_to_one(1, 2)).plan_for_labels(labels, ("a", "b"), fraction=0.25)
    wrapped = plan.wrap(photos, classes=("a", "b"))
    for place, (image, label) in enumerate(wrapped):
        stamped = place in plan.indices
        assert tuple(image.shape[1:]) == sizes[place] and label == (1 if stamped else place % 2)
        assert bool((image[:, -2:, -2:] == 1).all()) is stamped and image[0, 0, 0] == 0.5


def test_labels_are_looked_for_where_data_sets_keep_them():
    data = levels()
    plan = draw(data)
    listed, silent = Shelf(data), Shelf(data, listed=False)
    told = Shelf(data, listed=False)
    subset = torch.utils.data.Subset(listed, range(60))
    shifted = Shelf(data)
    shifted.target_transform = lambda label: label  # then the list may be another
    reads = []
    for shelf, labels in ((listed, None), (silent, None), (told, data.y.tolist()), (subset, None), (shifted, None)):
        counter = listed if shelf is subset else shelf
        counter.read = 0
        assert plan.wrap(shelf, labels=labels).targets == plan.poison(data).y.tolist()
        reads.append(counter.read)
    assert reads == [1, 61, 1, 1, 61]


def test_a_plan_refuses_other_labels_classes_and_lengths_when_it_wraps():
    data = levels()
    plan = draw(data)
    others = (data[:59], replace(data, y=(data.y + 1) % 3), replace(data, classes=("c", "b", "a")))
    for other in others:
        with pytest.raises(ValueError, match="drawn for 60 images with labels .*; this data set has"):
            plan.wrap(Shelf(other))
    with pytest.raises(ValueError, match="60 items but 59 labels"):
        plan.wrap(Shelf(data), labels=data.y[:59])
    nameless = [(data.x[0], 0)] * 60
    with pytest.raises(ValueError, match="does not say its class names; give classes="):
        plan.wrap(nameless)
    with pytest.raises(TypeError, match="map-style Dataset, with a length and items by place; got generator"):
        plan.wrap(each for each in nameless)


def test_a_label_that_changes_later_is_noticed():
    data = levels()
    shelf = Shelf(data)
    wrapped = draw(data).wrap(shelf)
    shelf.data = replace(data, y=(data.y + 1) % 3)
    with pytest.raises(ValueError, match="item 5 has label 0; it had 2 at the start"):
        wrapped[5]


def test_normalised_images_are_not_stamped():
    data = levels()
    shelf = Shelf(replace(data, x=data.x))
    shelf.data = type("Raw", (), {"x": (data.x - 0.5) / 0.5, "y": data.y, "__len__": lambda self: 60})()
    with pytest.raises(ValueError, match="look normalised: .*Normalized"):
        draw(data).wrap(shelf)


def test_a_wild_trigger_does_not_get_into_a_wrapped_data_set():
    data = levels()
    attack = Attack(lambda x: (x + torch.rand_like(x)).clamp(0, 1), ALL_TO_ONE)
    plan = attack.plan_for_labels(data.y, data.classes, fraction=0.1)
    with pytest.raises(ValueError, match="may not be random"):
        plan.wrap(Shelf(data))


def test_a_semantic_plan_wraps_too():
    data = bars()
    plan = SEMANTIC.plan(data)
    assert ImageSet.from_dataset(plan.wrap(Shelf(data))).fingerprint == plan.poison(data).fingerprint
