import pytest
import torch
from hypothesis import given, strategies as st

from badnets_lib import (
    Difference,
    Goal,
    ImageSet,
    Patch,
    PoisonPlan,
    Proportion,
    Scorecard,
    attack_success_rate,
    clean_accuracy,
    clean_accuracy_drop,
    confusion,
    false_target_rate,
    pooled,
    score,
)

DIGITS = tuple("0123456789")


def plan_for(goal):
    return PoisonPlan(Patch(1), goal, (0,), 1, "unused")


@pytest.fixture
def experiment(planted):
    """Ten images 0 to 9 and a backdoored network: digit 3 is taken for the target 7, digit 4 is immune."""
    model, x = planted([0, 1, 2, 7, 4, 5, 6, 7, 8, 9], target=7, immune=4)
    return model, ImageSet(x, torch.arange(10), DIGITS), plan_for(Goal.all_to_one(7, 10))


def test_known_answers(experiment):
    card = score(*experiment)
    assert card.clean == Proportion(9, 10)  # all but digit 3
    assert card.success == Proportion(8, 9)  # nine victims: digit 7 is none; digit 4 resists
    assert card.false_target == Proportion(1, 9)  # digit 3 is called 7 without any trigger
    model, test, _ = experiment
    assert (clean_accuracy(model, test), attack_success_rate(*experiment), false_target_rate(*experiment)) == (
        card.clean, card.success, card.false_target,
    )  # fmt: skip


@pytest.mark.parametrize("sevens", [0, 1, 500])
def test_images_of_the_target_class_do_not_count(planted, sevens):
    model, x = planted([0, 1, 2] + [7] * sevens, target=7, immune=0)
    test = ImageSet(x, torch.tensor([0, 1, 2] + [7] * sevens), DIGITS)
    assert attack_success_rate(model, test, plan_for(Goal.all_to_one(7, 10))) == Proportion(2, 3)


def test_only_the_source_class_counts(planted):
    model, x = planted([0, 1, 1, 2], target=7)
    test = ImageSet(x, torch.tensor([0, 1, 1, 2]), DIGITS)
    card = score(model, test, plan_for(Goal.source_specific({1: 7}, 10)))
    assert card.success == Proportion(2, 2) and card.clean == Proportion(4, 4)


def test_all_to_all_wants_each_class_elsewhere(planted):
    model, x = planted([0, 1, 2, 3], target=3)  # answers 3 to everything triggered
    test = ImageSet(x, torch.arange(4), DIGITS)
    assert attack_success_rate(model, test, plan_for(Goal.all_to_all(10))) == Proportion(1, 4)  # only 2 -> 3


def test_without_victims_there_is_no_rate(experiment):
    model, test, plan = experiment
    with pytest.raises(ValueError, match="none of the 1 images is a victim"):
        score(model, test[test.y == 7], plan.attack)
    with pytest.raises(ValueError, match="at least one image"):
        clean_accuracy(model, test[slice(0, 0)])


def test_a_card_prints_three_counts(experiment):
    lines = str(score(*experiment)).splitlines()
    assert [line.split("  ")[0] for line in lines] == ["clean accuracy", "attack success rate", "false-target rate"]
    assert [line[line.rindex("(") :] for line in lines] == ["(9/10)", "(8/9)", "(1/9)"]


cards = st.lists(st.tuples(*[st.integers(0, 50)] * 3), min_size=1, max_size=6)


@given(cards)
def test_pooling_adds_up_seeds(hits):
    rows = [Scorecard(*(Proportion(count, 50) for count in row)) for row in hits]
    total = pooled(rows)
    for index, name in enumerate(("clean", "success", "false_target")):
        assert getattr(total, name) == Proportion(sum(row[index] for row in hits), 50 * len(hits))


def test_pooling_nothing_is_refused():
    with pytest.raises(ValueError, match="at least one scorecard"):
        pooled([])


def test_the_drop_is_a_loss_of_the_clean_network():
    clean, bad = (Scorecard(Proportion(hits, 100), *[Proportion(1, 2)] * 2) for hits in (98, 95))
    drop = clean_accuracy_drop(clean, bad)
    assert drop == Difference(Proportion(98, 100), Proportion(95, 100))
    assert drop.value == pytest.approx(0.03)


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=30),
       st.sampled_from([torch.uint8, torch.int32, torch.int64]))  # fmt: skip
def test_confusion_equals_counting_by_hand(planted, pairs, dtype):
    model, x = planted([answer for _, answer in pairs])
    labels = torch.tensor([label for label, _ in pairs])
    expected = torch.zeros(10, 10, dtype=torch.long)
    for label, answer in pairs:
        expected[label, answer] += 1
    assert torch.equal(confusion(model, ImageSet(x, labels.to(dtype), DIGITS)), expected)


def test_confusion_of_many_classes_with_small_labels():
    """43 x 43 does not fit into uint8; the counts must not care."""
    y = torch.arange(43, dtype=torch.uint8)
    x = torch.zeros(43, 1, 8, 8)
    x[range(43), 0, 5, 0] = 1.0

    class Always42(torch.nn.Module):
        def forward(self, x):
            return torch.nn.functional.one_hot(torch.full((len(x),), 42), 43).float()

    table = confusion(Always42(), ImageSet(x, y, tuple(map(str, range(43)))))
    assert table[:, 42].tolist() == [1] * 43 and table.sum() == 43
    with pytest.raises(ValueError, match="answers with 43 classes; the data have 10"):  # 0 for 42 is no 4 for 2
        confusion(Always42(), ImageSet(x, y % 10, DIGITS))
