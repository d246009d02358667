"""How well the network works and how well the attack works, always as counts."""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from operator import add

import torch
from jaxtyping import Int
from torch import Tensor, nn

from .counts import Difference, Proportion
from .images import ImageSet
from .poisoning import PoisonPlan
from .training import correct, predict


@dataclass(frozen=True)
class Scorecard:
    """The three counts that every backdoor experiment owes its reader.

    Attributes:
        clean: Clean test images classified as their own label: clean accuracy.
        success: Triggered victims classified as the attacker wants: attack success rate, ASR.
        false_target: The same victims *without* the trigger, already classified that way. The
            trigger deserves credit only for success beyond this.
    """

    clean: Proportion
    success: Proportion
    false_target: Proportion

    def __add__(self, other: Scorecard) -> Scorecard:
        """Pool two cards of the same experiment, for instance over seeds."""
        return Scorecard(self.clean + other.clean, self.success + other.success, self.false_target + other.false_target)

    def __str__(self) -> str:
        return (
            f"clean accuracy       {self.clean}\n"
            f"attack success rate  {self.success}\n"
            f"false-target rate    {self.false_target}"
        )


def clean_accuracy(model: nn.Module, data: ImageSet) -> Proportion:
    """Share of clean images that the network labels correctly."""
    return correct(model, data)


def attack_success_rate(model: nn.Module, test: ImageSet, plan: PoisonPlan) -> Proportion:
    """Share of triggered victims that the network labels as the attacker wants.

    Images that already belong to their target are not victims and are not counted.

    Raises:
        ValueError: `test` holds no victim.
    """
    return correct(model, plan.attack(test))


def false_target_rate(model: nn.Module, test: ImageSet, plan: PoisonPlan) -> Proportion:
    """Share of victims *without* the trigger that the network already labels as the attacker wants.

    Raises:
        ValueError: `test` holds no victim.
    """
    return correct(model, plan.victims(test))


def score(model: nn.Module, test: ImageSet, plan: PoisonPlan) -> Scorecard:
    """All three counts of a network on a clean test set, under the attack of `plan`.

    For a clean network this is its baseline: what the trigger does to a network that never saw it. The clean
    images are classified once for two of the counts.

    Raises:
        ValueError: `test` has other classes than the goal, or holds no victim.
    """
    success = attack_success_rate(model, test, plan)
    answers, y = predict(model, test.x).argmax(1), test.y.cpu()
    clean, already = answers == y, (answers == plan.goal.wanted(y))[plan.goal.victims(y)]
    return Scorecard(Proportion(int(clean.sum()), len(clean)), success, Proportion(int(already.sum()), len(already)))


def pooled(cards: list[Scorecard]) -> Scorecard:
    """Add up the cards of several seeds.

    The intervals of the sum take all trials for independent. Seeds that share a test set answer the
    same images again, so the sum describes *these* networks; give every seed's rate beside it.

    Raises:
        ValueError: The list is empty.
    """
    if not cards:
        raise ValueError("need at least one scorecard; got none")
    return reduce(add, cards)


def clean_accuracy_drop(clean: Scorecard, backdoored: Scorecard) -> Difference:
    """Clean accuracy of the clean network minus that of the backdoored one; positive is a loss."""
    return Difference(clean.clean, backdoored.clean)


def confusion(model: nn.Module, data: ImageSet) -> Int[Tensor, "k k"]:
    """Counts of (row: label in `data`, column: predicted class), [K, K].

    Raises:
        ValueError: The network tells more classes apart than `data` has.
    """
    k, logits = len(data.classes), predict(model, data.x)
    if logits.shape[1] > k:
        raise ValueError(f"the network answers with {logits.shape[1]} classes; the data have {k}")
    cells = data.y.cpu().long() * k + logits.argmax(1)
    return torch.bincount(cells, minlength=k * k).reshape(k, k)
