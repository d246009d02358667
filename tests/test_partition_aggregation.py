from dataclasses import replace
from itertools import combinations, product

import pytest
import torch
from hypothesis import given, strategies as st
from torch import nn

from badnets_lib import Attack, Goal, ImageSet, Patch, TrainConfig, clean_accuracy, predict
from badnets_lib.defenses import PartitionAggregation, certify
from badnets_lib.defenses.partition_aggregation import PartitionVote, changes, digests, parts_of
from badnets_lib.provenance.checkpoints import weights_hash

CONFIG = TrainConfig(lr=0.05, device="cpu")


def linear():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 3))


AGGREGATION = PartitionAggregation(members=5, epochs=2, batch_size=8, network=linear)


@pytest.fixture(scope="module")
def digits():
    y = torch.arange(120) % 3
    x = 0.4 * torch.rand(120, 1, 8, 8, generator=torch.Generator().manual_seed(5))
    for label in range(3):
        x[y == label, :, :, 2 * label] += 0.6
    return ImageSet(x, y, ("a", "b", "c"))


@pytest.fixture(scope="module")
def vote(digits):
    return AGGREGATION(digits, CONFIG).model


# ---- the certificate ----


def by_the_book(counts):
    """Equation by equation as the paper has it: plurality, ties to the lower class, half the lead rounded down."""
    best = max(range(len(counts)), key=lambda c: (counts[c], -c))
    rivals = [counts[c] + (c < best) for c in range(len(counts)) if c != best]
    return best, (counts[best] - max(rivals)) // 2


def outcomes(counts, moves):
    """Every result of a vote after so many members changed their mind."""
    reached = {tuple(counts)}
    for _ in range(moves):
        reached |= {
            tuple(n - (c == old) + (c == new) for c, n in enumerate(each))
            for each in reached
            for old, new in product(range(len(counts)), repeat=2)
            if each[old]
        }
    return reached


@given(st.lists(st.integers(0, 30), min_size=2, max_size=6))
def test_a_certificate_is_what_the_paper_writes(counts):
    found = certify(torch.tensor([counts]))
    assert (int(found.answers), int(found.radii)) == by_the_book(counts)


@given(st.lists(st.integers(0, 4), min_size=2, max_size=3).filter(sum))
def test_no_change_of_minds_up_to_the_radius_turns_a_vote_and_one_more_does(counts):
    found = certify(torch.tensor([counts]))
    answer, radius = int(found.answers), int(found.radii)
    assert all(by_the_book(after)[0] == answer for after in outcomes(counts, radius))
    assert any(by_the_book(after)[0] != answer for after in outcomes(counts, radius + 1)), "no vote is sold short"


def test_accuracy_counts_right_answers_that_stay():
    found = certify(torch.tensor([[5, 0], [3, 2], [0, 5]]))
    assert found.radii.tolist() == [2, 0, 2]
    y = torch.tensor([0, 0, 0])
    assert [found.accuracy(y, m).pair for m in range(4)] == [[2, 3], [1, 3], [1, 3], [0, 3]]
    with pytest.raises(ValueError, match=r"need 3 labels and changes of at least 0; got \[2\] and 0"):
        found.accuracy(y[:2])
    with pytest.raises(ValueError, match="changes of at least 0; got .* and -1"):
        found.accuracy(y, -1)


# ---- planted truth: every small change of a training set, tried ----

BYTES = (0, 101, 202, 153, 254)  # sums of two give every remainder of 5


def tiny(pairs):
    """Images of two pixels."""
    x = torch.tensor([image for image, _ in pairs], dtype=torch.uint8).view(-1, 1, 1, 2)
    return ImageSet(x, torch.tensor([label for _, label in pairs]), ("dark", "light"))


def smallest():
    return nn.Sequential(nn.Flatten(), nn.Linear(2, 2))


def test_every_change_of_the_data_up_to_the_certified_number_leaves_the_answer():
    images = list(product(BYTES[:3], BYTES))
    world = [(image, label) for image in images for label in (0, 1)]
    data = tiny([(image, int(sum(image) + 40 * (i % 3) > 250)) for i, image in enumerate(images)])
    have = list(zip(images, data.y.tolist(), strict=True))
    aggregation = PartitionAggregation(5, epochs=4, batch_size=2, network=smallest)
    config = replace(CONFIG, seed=1, epochs=4, batch_size=2)
    asked, minds = tiny(world).x[::2], {}

    def votes(pairs):
        counted = torch.zeros(len(asked), 2, dtype=torch.long)
        for number, part in enumerate(aggregation.split(tiny(pairs))):
            key = number, tuple(sorted(digests(part)))
            if key not in minds:
                minds[key] = predict(aggregation.train_member(number, part, config), asked).argmax(1)
            counted[torch.arange(len(asked)), minds[key]] += 1
        return counted

    promised = certify(votes(have))
    assert torch.equal(aggregation(data, config).model.votes(asked), votes(have))
    steps = [("out", at) for at in range(len(have))] + [("in", pair) for pair in world]
    turned = torch.zeros(len(asked), dtype=torch.bool)
    for many in (1, 2):
        for some in combinations(steps, many):
            gone = {what for how, what in some if how == "out"}
            kept = [pair for at, pair in enumerate(have) if at not in gone]
            after = certify(votes(kept + [what for how, what in some if how == "in"])).answers
            assert torch.equal(after[promised.radii >= many], promised.answers[promised.radii >= many]), some
            turned |= after != promised.answers
    assert (promised.radii == 2).any() and (promised.radii < 2).any() and turned.any(), "it could have gone wrong"


# ---- parts ----


def test_a_part_is_the_sum_of_the_bytes(digits):
    literal = [sum(round(255 * float(p)) for p in image.flatten()) % 7 for image in digits.x[:20]]
    assert parts_of(digits.x[:20], 7).tolist() == literal
    stored = (digits.x * 255).round().to(torch.uint8)
    assert torch.equal(parts_of(stored, 7), parts_of(digits.x, 7))


def test_the_parts_are_the_data_in_an_order_of_their_own(digits):
    shuffled = digits[torch.randperm(len(digits), generator=torch.Generator().manual_seed(1))]
    one, other = AGGREGATION.split(digits), AGGREGATION.split(shuffled)
    assert all(torch.equal(a.x, b.x) and torch.equal(a.y, b.y) for a, b in zip(one, other, strict=True))
    assert sorted(each for part in one for each in digests(part)) == sorted(digests(digits))
    assert all((parts_of(part.x, 5) == number).all() for number, part in enumerate(one))
    assert weights_hash(AGGREGATION(shuffled, CONFIG).model) == weights_hash(AGGREGATION(digits, CONFIG).model)


def test_changes_are_counted_as_the_certificate_counts_them(digits):
    plan = Attack(Patch(2), Goal.all_to_one(0, 3)).plan(digits, fraction=0.1)
    replaced = changes(digits, plan.poison(digits), 5)
    assert replaced.total() == 2 * len(plan.indices), "one out, one in"
    added = Attack(Patch(2), Goal.all_to_one(0, 3)).plan(digits, fraction=0.1, added=True)
    assert changes(digits, added.poison(digits), 5).total() == len(added.indices)
    flipped = ImageSet(digits.x, torch.cat([(digits.y[:1] + 1) % 3, digits.y[1:]]), digits.classes)
    assert list(changes(digits, flipped, 5).values()) == [2], "the same part, twice"
    assert not changes(digits, digits[list(range(119, -1, -1))], 5)


# ---- the vote ----


def test_only_members_whose_part_changed_are_trained_again(digits, vote):
    plan = Attack(Patch(2), Goal.all_to_one(0, 3)).plan(digits, fraction=2 / 120)
    poisoned = plan.poison(digits)
    fresh, quick = AGGREGATION(poisoned, CONFIG), AGGREGATION(poisoned, CONFIG, known=vote)
    assert weights_hash(fresh.model) == weights_hash(quick.model)
    trained = {number for number, each in enumerate(quick.history) if each["trained"]}
    assert trained == set(changes(digits, poisoned, 5)) and 0 < len(trained) < 5
    assert all(each["trained"] for each in fresh.history)
    with pytest.raises(ValueError, match="known must be a vote that .* trained with"):
        AGGREGATION(poisoned, replace(CONFIG, seed=1), known=vote)
    with pytest.raises(ValueError, match="got one of None"):
        AGGREGATION(poisoned, CONFIG, known=PartitionVote([linear()], 3))


def test_answers_are_votes_and_ties_go_to_the_lower_class(digits, vote):
    counted = vote.votes(digits.x)
    by_hand = sum(nn.functional.one_hot(each(digits.x).argmax(1), 3) for each in vote.members)
    assert torch.equal(counted, by_hand) and (counted.sum(1) == 5).all()
    assert torch.equal(predict(vote, digits.x).argmax(1), certify(counted).answers)
    assert clean_accuracy(vote, digits) == certify(counted).accuracy(digits.y)

    class Says(nn.Module):
        def __init__(self, label):
            super().__init__()
            self.label = label

        def forward(self, x):
            return nn.functional.one_hot(torch.full((len(x),), self.label), 3).float()

    tied = PartitionVote([Says(2), Says(1), Says(2), Says(1)], 3)
    assert predict(tied, digits.x[:1]).argmax(1).tolist() == [1] and tied.votes(digits.x[:1]).tolist() == [[0, 2, 2]]


def test_seeds_are_the_members_numbers_and_a_part_without_images_is_left_untrained(digits):
    alone = digits[parts_of(digits.x, 5) != 3]
    vote = AGGREGATION(alone, CONFIG)
    assert vote.history[3]["images"] == 0
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        assert weights_hash(vote.model.members[3]) == weights_hash(linear())
    again = AGGREGATION(alone, replace(CONFIG, seed=1)).model
    assert weights_hash(again.members[3]) != weights_hash(vote.model.members[3])


# ---- bad input ----


@pytest.mark.parametrize(("make", "message"), [
    (lambda: PartitionAggregation(members=0), "members and epochs must be at least 1, batch_size at least 2; got 0"),
    (lambda: PartitionAggregation(batch_size=1), "batch_size at least 2; got 25, 15, 1"),
    (lambda: certify(torch.tensor([[3]])), r"need counts of votes for at least 2 classes; got \[1, 1\]"),
    (lambda: certify(torch.tensor([[3, -1]])), "some below 0"),
    (lambda: parts_of(torch.zeros(1, 1, 1, 1), 0), "members must be at least 1; got 0"),
])  # fmt: skip
def test_impossible_input_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
