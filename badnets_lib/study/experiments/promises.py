"""Deep Partition Aggregation: what is promised, what it costs, and what poison does to it."""

from __future__ import annotations

from functools import partial
from typing import Any

from torch import nn

from ...counts import Proportion
from ...data import load
from ...data.images import ImageSet
from ...defenses import PartitionAggregation, PartitionVote, certify
from ...defenses.partition_aggregation import changes
from ...evaluation.scores import score
from ...models.inference import predict
from ...models.networks import SmallCNN
from ...models.training import TrainConfig
from ...poisoning import Attack, Goal
from ...triggers import Patch
from ..sweeps import Sweep, grid

WIDTH = 8
"""Filters of a member's first layer: half of the book's usual, for networks that see little."""

POISONED = (4, 20, 80, 200)
"""Numbers of poisoned images of 4,000."""

ATTACK = Attack(Patch(size=4, margin=1), Goal.all_to_one(7, 10))


def aggregation(members: int, data: ImageSet) -> PartitionAggregation:
    """The vote of the book's experiments; with one member it is plain training, by the same recipe."""
    network = partial(SmallCNN, channels=data.x.shape[1], classes=len(data.classes), width=WIDTH)
    return PartitionAggregation(members, network=network)


def promised(*, data: str, members: int, seed: int, attacked: bool) -> dict[str, Any]:
    """Train a vote on clean data, count what it promises, and poison some of the data.

    Args:
        data: Name of the data set.
        members: Number of parts; 1 is one network for all data.
        seed: Seed of the members and of the draw of the poison.
        attacked: Whether to train on poisoned data too; then the data are digits.

    Returns:
        "certified": right answers that survive 0, 1, 2, ... changes; "member": right answers of all members, one by
        one; "took" seconds. "attacks", by number of poisoned images: the scorecard's counts, "changes" and "reached"
        members, "kept": triggered victims whose right answer the clean vote had promised to keep under so many
        changes; "by_reach": the same under so many members; and "broken": how many promises to triggered victims did
        not hold, of those that were made.
    """
    train_set, test = load(data)
    method, config = aggregation(members, train_set), TrainConfig(seed=seed, device="cpu")
    repair = method(train_set, config)
    vote = repair.model
    assert isinstance(vote, PartitionVote)
    found = certify(vote.votes(test.x))
    outcome = {
        "certified": [found.accuracy(test.y, many).pair for many in range(members // 2 + 2)],
        "member": _one_by_one(vote, test).pair,
        "took": round(repair.seconds, 2),
    }
    if attacked:
        rows = {str(count): _attacked(method, config, vote, train_set, test, count, seed) for count in POISONED}
        outcome["attacks"] = rows
    return outcome


def _one_by_one(vote: PartitionVote, test: ImageSet) -> Proportion:
    """Right answers of the members, each asked about every image."""
    networks: list[nn.Module] = list(vote.members)
    right = [Proportion.of(predict(each, test.x).argmax(1) == test.y) for each in networks]
    return sum(right[1:], right[0])


def _attacked(
    method: PartitionAggregation,
    config: TrainConfig,
    vote: PartitionVote,
    train_set: ImageSet,
    test: ImageSet,
    count: int,
    seed: int,
) -> dict[str, Any]:
    plan = ATTACK.plan(train_set, fraction=count / len(train_set), seed=seed)
    poisoned = plan.poison(train_set)
    reached = changes(train_set, poisoned, method.members)
    repair = method(poisoned, config, known=vote)
    after = repair.model
    assert isinstance(after, PartitionVote)
    triggered = ATTACK.recovered(test)
    before = certify(vote.votes(triggered.x))
    answers = certify(after.votes(triggered.x)).answers
    safe = before.radii >= len(reached)
    broken = (answers != before.answers)[safe]
    return score(after, test, ATTACK).pairs() | {
        "changes": reached.total(),
        "reached": len(reached),
        "kept": before.accuracy(triggered.y, reached.total()).pair,
        "by_reach": before.accuracy(triggered.y, len(reached)).pair,
        "broken": [int(broken.sum()), len(broken)],
    }


SEEDS = range(5)
"""Epochs, batch size and width were set on another seed, by accuracy on 500 held-out training digits."""

CHAPTER = "28_promises"

DIGITS: dict[str, Any] = {"data": ("mnist5k",), "seed": SEEDS}

SWEEPS = (
    Sweep("promises", promised, grid(**DIGITS, members=(25, 1), attacked=(True,)), chapter=CHAPTER),
    Sweep("promises_price", promised, grid(**DIGITS, members=(10, 50), attacked=(False,)), chapter=CHAPTER),
    Sweep(
        "promises_signs",
        promised,
        grid(data=("signs",), seed=SEEDS, members=(25,), attacked=(False,)),
        data=("signs",),
        chapter=CHAPTER,
    ),
)
