"""How well the network works and how well the attack works, always as counts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import add
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor, nn

from .._numbers import check_numbers, of_kind, shown
from ..counts import Difference, Proportion
from ..data.images import ImageSet, check_set
from ..models.inference import check_outputs, correct, predict
from ..poisoning import Attack


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

    def __post_init__(self) -> None:
        check_numbers(self)

    def __add__(self, other: Scorecard) -> Scorecard:
        """Pool two cards of the same experiment, for instance over seeds."""
        of_kind("what is added to a Scorecard", other, Scorecard)
        return Scorecard(self.clean + other.clean, self.success + other.success, self.false_target + other.false_target)

    def pairs(self) -> dict[str, list[int]]:
        """The counts as [hits, trials], ready for JSON."""
        return {name: count.pair for name, count in vars(self).items()}

    def __str__(self) -> str:
        return (
            f"clean accuracy       {self.clean}\n"
            f"attack success rate  {self.success}\n"
            f"false-target rate    {self.false_target}"
        )


def clean_accuracy(model: nn.Module, data: ImageSet, *, batch_size: int | None = None) -> Proportion:
    """How many clean images the network labels correctly."""
    return correct(model, data, batch_size=batch_size)


def attack_success_rate(
    model: nn.Module, test: ImageSet, attack: Attack, *, batch_size: int | None = None
) -> Proportion:
    """How many triggered victims the network labels as the attacker wants: see `Attack.on`.

    Images that already belong to their target are not victims and are not counted.

    Raises:
        ValueError: `test` holds no victim.
    """
    return correct(model, check_attack(attack).on(test), batch_size=batch_size)


def score(model: nn.Module, test: ImageSet, attack: Attack, *, batch_size: int | None = None) -> Scorecard:
    """All three counts of a network on a clean test set, under an attack.

    For a clean network this is its baseline: what the trigger does to a network that never saw it. Of a trigger that
    selects (see `triggers.Attribute`), "has the attribute" stands in the place of "is stamped": clean accuracy and
    false-target rate are counted on images that the trigger passes over.

    Args:
        model: Any classifier from images to logits [N, K].
        test: Clean test images with their true labels.
        attack: Trigger and goal.
        batch_size: Images per forward pass; None: 512, fewer where they are large.

    Raises:
        TypeError: The attack is no `Attack`.
        ValueError: `test` has other classes than the goal, or holds no victim; or the network has another number of
            outputs than there are classes, or gives answers that are not finite.
    """
    check_attack(attack)
    check_set(test, "counting")
    success = attack_success_rate(model, test, attack, batch_size=batch_size)
    untouched = attack.untouched(test)
    answers = predict(model, untouched.x, batch_size=batch_size).argmax(1)
    y = untouched.y.cpu()
    victims = attack.goal.victims(y)  # without the trigger: classified once, counted twice
    right = answers == y
    already = (answers == attack.goal.wanted(y))[victims]
    return Scorecard(Proportion.of(right), success, Proportion.of(already))


def check_attack(attack: Any) -> Attack:
    """The attack, if it is one.

    Raises:
        TypeError: It is something else.
    """
    if not isinstance(attack, Attack):
        raise TypeError(f"need an Attack(trigger, goal); got {shown(attack)} (a plan has one: plan.attack)")
    return attack


def pooled(cards: Sequence[Scorecard]) -> Scorecard:
    """Add up the cards of several seeds.

    The intervals of the sum take all trials for independent. Seeds that share a test set answer the
    same images again, so the sum describes *these* networks; give every seed's rate beside it.

    Raises:
        ValueError: The list is empty.
    """
    if not isinstance(cards, Iterable):
        raise TypeError(f"scorecards must come in a list or a tuple; got {shown(cards)}")
    every = [of_kind("each card", card, Scorecard) for card in cards]
    if not every:
        raise ValueError("need at least one scorecard; got none")
    return reduce(add, every)


def clean_accuracy_drop(clean: Scorecard, backdoored: Scorecard) -> Difference:
    """Clean accuracy of the clean network minus that of the backdoored one; positive is a loss."""
    of_kind("clean", clean, Scorecard)
    of_kind("backdoored", backdoored, Scorecard)
    return Difference(clean.clean, backdoored.clean)


def confusion(model: nn.Module, data: ImageSet) -> Int[Tensor, "k k"]:
    """Counts of (row: label in `data`, column: predicted class), [K, K].

    Raises:
        ValueError: The network has another number of outputs than `data` has classes.
    """
    k = len(check_set(data, "counting").classes)
    logits = check_outputs(predict(model, data.x), k)
    cells = data.y.cpu().long() * k + logits.argmax(1)
    return torch.bincount(cells, minlength=k * k).reshape(k, k)
