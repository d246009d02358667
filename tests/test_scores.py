import pytest
import torch
from foreign import NETWORKS, made
from hypothesis import given, strategies as st
from test_triggers import EXAMPLES

from badnets_lib import (
    Attack,
    Attribute,
    Difference,
    Goal,
    ImageSet,
    Patch,
    Proportion,
    Scorecard,
    attack_success_rate,
    clean_accuracy,
    clean_accuracy_drop,
    confusion,
    pooled,
    score,
)

DIGITS = tuple("0123456789")


def attack_for(goal):
    return Attack(Patch(1), goal)


@pytest.fixture
def experiment(planted):
    """Ten images 0 to 9 and a backdoored network: digit 3 is taken for the target 7, digit 4 is immune."""
    model, x = planted([0, 1, 2, 7, 4, 5, 6, 7, 8, 9], target=7, immune=4)
    return model, ImageSet(x, torch.arange(10), DIGITS), attack_for(Goal.all_to_one(7, 10))


def test_known_answers(experiment):
    card = score(*experiment)
    assert card.clean == Proportion(9, 10)  # all but digit 3
    assert card.success == Proportion(8, 9)  # nine victims: digit 7 is none; digit 4 resists
    assert card.false_target == Proportion(1, 9)  # digit 3 is called 7 without any trigger
    model, test, attack = experiment
    assert clean_accuracy(model, test) == card.clean
    assert attack_success_rate(*experiment) == card.success
    assert clean_accuracy(model, attack.victims(test)) == card.false_target
    assert card.pairs() == {"clean": [9, 10], "success": [8, 9], "false_target": [1, 9]}
    assert score(*experiment, batch_size=3) == card


@pytest.mark.parametrize("sevens", [0, 1, 500])
def test_images_of_the_target_class_do_not_count(planted, sevens):
    model, x = planted([0, 1, 2] + [7] * sevens, target=7, immune=0)
    test = ImageSet(x, torch.tensor([0, 1, 2] + [7] * sevens), DIGITS)
    assert attack_success_rate(model, test, attack_for(Goal.all_to_one(7, 10))) == Proportion(2, 3)


def test_only_the_source_class_counts(planted):
    model, x = planted([0, 1, 1, 2], target=7)
    test = ImageSet(x, torch.tensor([0, 1, 1, 2]), DIGITS)
    card = score(model, test, attack_for(Goal.source_specific({1: 7}, 10)))
    assert card.success == Proportion(2, 2) and card.clean == Proportion(4, 4)


def test_all_to_all_wants_each_class_elsewhere(planted):
    model, x = planted([0, 1, 2, 3], target=3)  # answers 3 to everything triggered
    test = ImageSet(x, torch.arange(4), DIGITS)
    assert attack_success_rate(model, test, attack_for(Goal.all_to_all(10))) == Proportion(1, 4)  # only 2 -> 3


def test_without_victims_there_is_no_rate(experiment):
    model, test, attack = experiment
    with pytest.raises(ValueError, match="none of the 1 images is a victim"):
        score(model, test[test.y == 7], attack)
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
    with pytest.raises(
        ValueError, match="the network has 43 outputs; the data have 10 classes"
    ):  # 0 for 42 is no 4 for 2
        confusion(Always42(), ImageSet(x, y % 10, DIGITS))


# --- a trigger that selects ---


def test_a_natural_attribute_is_counted_on_those_that_have_it_and_those_that_do_not(planted):
    model, x = planted([7, 7, 2, 3, 7, 7])
    x[:3, 0, 3, 3] = 1.0
    test = ImageSet(x, torch.tensor([0, 1, 2, 3, 4, 7]), DIGITS)

    class Dot(Attribute):
        def selects(self, x):
            return x[:, 0, 3, 3] == 1

    card = score(model, test, Attack(Dot(), Goal.all_to_one(7, 10)))
    assert card.success == Proportion(2, 3)  # three have it, one resists
    assert card.false_target == Proportion(1, 2)  # 3 and 4 do not have it and are no sevens
    assert card.clean == Proportion(2, 3)


# --- what must not be counted ---


class Fixed(torch.nn.Module):
    """Answers every image alike."""

    def __init__(self, row):
        super().__init__()
        self.register_buffer("row", torch.tensor(row))

    def forward(self, x):
        return self.row.expand(len(x), -1)


ASK = {
    "score": score,
    "clean accuracy": lambda model, test, attack: clean_accuracy(model, test),
    "attack success": attack_success_rate,
    "confusion": lambda model, test, attack: confusion(model, test),
}
each_count = pytest.mark.parametrize("ask", ASK.values(), ids=ASK)


@each_count
@pytest.mark.parametrize("outputs", [1, 5, 9, 11, 1000])
def test_another_number_of_outputs_is_not_scored(experiment, ask, outputs):
    _, test, attack = experiment
    with pytest.raises(ValueError, match=f"the network has {outputs} outputs; the data have 10 classes"):
        ask(Fixed([1.0] * outputs), test, attack)


@each_count
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_answers_that_are_no_numbers_are_not_scored(experiment, ask, value):
    _, test, attack = experiment
    with pytest.raises(ValueError, match="answers to .* images are not finite numbers"):
        ask(Fixed([value] + [0.0] * 9), test, attack)


def test_a_half_precision_network_that_overflows_is_not_scored(experiment):
    _, test, attack = experiment
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10)).half()
    torch.nn.init.constant_(model[1].weight, 60_000.0)
    with pytest.raises(ValueError, match="are not finite numbers"):
        score(model, test[test.y > 0], attack)


@pytest.mark.parametrize(("wrong", "message"), [
    ({"attack": Patch(1)}, r"need an Attack\(trigger, goal\); got Patch"),
    ({"attack": Goal.all_to_one(7, 10)}, "need an Attack"),
    ({"model": Scorecard}, "need a network"),
    ({"test": torch.zeros(3, 1, 8, 8)}, "counting needs an ImageSet; got Tensor"),
])  # fmt: skip
def test_arguments_of_a_wrong_kind_are_named(experiment, unchecked, wrong, message):
    given = dict(zip(("model", "test", "attack"), experiment, strict=True)) | wrong
    with pytest.raises(TypeError, match=message):
        score(**given)


FAMILIES = {type(trigger).__name__: trigger for trigger in EXAMPLES}


@pytest.mark.parametrize("name", NETWORKS)
def test_any_network_is_scored_under_any_family_as_its_answers_are(name):
    x = torch.rand(12, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    test = ImageSet(x, torch.arange(12) % 4, tuple("abcd"))
    model = made(name).eval()
    victims = test.y != 1

    def answers(images):
        with torch.no_grad():
            out = model(images)
        return getattr(out, "logits", out).argmax(1)

    clean = answers(x)
    for trigger in FAMILIES.values():
        card = score(model, test, Attack(trigger, Goal.all_to_one(1, 4)), batch_size=5)
        stamped = answers(trigger(x))
        assert card.clean == Proportion.of(clean == test.y), trigger
        assert card.success == Proportion.of(stamped[victims] == 1), trigger
        assert card.false_target == Proportion.of(clean[victims] == 1), trigger


def test_recovered_victims_are_those_of_the_attack_with_their_true_labels(tiny):
    attack = Attack(Patch(2), Goal.source_specific({1: 0}, 3))
    on, recovered = attack.on(tiny), attack.recovered(tiny)
    assert torch.equal(on.x, recovered.x) and set(recovered.y.tolist()) == {1} and set(on.y.tolist()) == {0}
