import json

import pytest
import torch
from hypothesis import given, strategies as st

from badnets_lib import (
    SINGLE_PIXEL,
    Attack,
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
plans = st.builds(
    PoisonPlan,
    st.builds(Attack, triggers, goals),
    st.sets(st.integers(0, 499), min_size=1).map(lambda chosen: tuple(sorted(chosen))),
    size=st.just(500),
    labels=st.text(max_size=16),
    fingerprint=st.none() | st.text(max_size=16),
    seed=st.integers(0, 99),
    sampling=st.sampled_from(["uniform", "per-class"]),
    added=st.booleans(),
)


@given(plans)
def test_a_plan_goes_to_json_and_back(plan):
    again = PoisonPlan.from_json(plan.to_json())
    assert again == plan and hash(again) == hash(plan)
    assert again.to_json() == plan.to_json()
    json.loads(plan.to_json(), parse_constant=pytest.fail)  # no NaN, no Infinity: JSON that others read


def test_a_plan_survives_a_file(tmp_path):
    train = numbers()
    plan = draw(train)
    assert PoisonPlan.load(plan.save(tmp_path / "new" / "plan.json")) == plan
    assert torch.equal(PoisonPlan.load(tmp_path / "new" / "plan.json").poison(train).x, plan.poison(train).x)


FIELDS = ["trigger", "goal", "indices", "size", "labels", "fingerprint", "seed", "sampling", "added"]
JUNK = [None, "x", 1.5, float("inf"), [], ["x"], [1.5], [[1]], {}, {"name": "Patch", "size": "x"}, {"table": [5]}]


@pytest.mark.parametrize("name", FIELDS)
def test_a_plan_with_an_item_missing_or_spoilt_is_refused(name, unchecked):
    good = json.loads(draw(numbers()).to_json())
    assert sorted(good) == sorted(FIELDS)
    bad = [{key: value for key, value in good.items() if key != name}]
    allowed = {"labels": str, "fingerprint": str | None}.get(name, ())
    bad += [good | {name: junk} for junk in JUNK if not isinstance(junk, allowed)]
    for plain in bad:
        with pytest.raises(ValueError):  # noqa: PT011 - each has its own words
            PoisonPlan.from_json(json.dumps(plain))


@pytest.mark.parametrize("text", ["", "{", "[]", "5", "null", '"plan"', "{}", '{"rho": 0.1}'])
def test_text_that_is_no_plan_is_refused(text):
    with pytest.raises(ValueError, match="not a poison plan|Expecting"):
        PoisonPlan.from_json(text)


def test_an_unknown_item_is_refused():
    plain = json.loads(draw(numbers()).to_json()) | {"colour": "red"}
    with pytest.raises(ValueError, match="not a poison plan.*colour"):
        PoisonPlan.from_json(json.dumps(plain))
    plain = json.loads(draw(numbers()).to_json())
    plain["goal"]["colour"] = "red"
    with pytest.raises(ValueError, match="not a poison plan.*colour"):
        PoisonPlan.from_json(json.dumps(plain))


@given(plans, st.data())
def test_truncated_json_is_refused(plan, data):
    text = plan.to_json()
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
