"""Unlearning: show the network its trigger beside the true labels, until the trigger means nothing."""

from __future__ import annotations

import copy
import time
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import torch
from torch import nn

from .._numbers import check_numbers
from ..data.images import ImageSet, seeded_generator
from ..triggers import Trigger, check_trigger, stamp
from ._repairs import EVERY, begin, check_cost
from .assumptions import RIGHT_TRIGGER, Assumption
from .fine_tuning import FineTuning
from .kinds import Removal
from .knowledge import Holding
from .neural_cleanse import NeuralCleanse, Reversed
from .verdicts import Repair


@dataclass(frozen=True)
class Unlearning(Removal):
    """Fine-tune on trusted images, part of them stamped with the trigger and truly labelled.

    The trigger is reversed by a scan: that of every flagged label. Where the scan flags none, there is nothing to
    unlearn and the network is returned as it was.

    Args:
        trigger: The attacker's own trigger, if it is known. No real defender knows it: the result says so.
        scan: How the trigger is reversed otherwise.
        stamped: Part of the images that is stamped, in (0, 1].
        tuning: How the network is trained on them.
        seed: Seed of the draw of the stamped images.

    Raises:
        ValueError: The part is out of range.

    References:
        Wang et al., Neural Cleanse, 2019, section VI-C: one epoch on a tenth of the training data,
            a fifth of it stamped. doi:10.1109/SP.2019.00031. Here the images are few and the epochs several.
    """

    assumptions: ClassVar[tuple[Assumption, ...]] = (*EVERY, RIGHT_TRIGGER)

    trigger: Trigger | None = None
    scan: NeuralCleanse = field(default_factory=NeuralCleanse)
    stamped: float = 0.2
    tuning: FineTuning = field(default_factory=FineTuning)
    seed: int = 0

    def __post_init__(self) -> None:
        check_numbers(self)
        if self.trigger is not None:
            check_trigger(self.trigger)
        if not 0 < self.stamped <= 1:
            raise ValueError(f"stamped must lie in (0, 1]; got {self.stamped}")

    def __call__(self, model: nn.Module, holding: Holding) -> Repair:
        """A copy that was made to forget.

        Its history holds the scan, the labels it flagged and how many images were stamped; where no label was flagged,
        a "note" that the network is as it was.

        Raises:
            TypeError: The model is no network, or the holding no `Holding`.
            ValueError: There are too few trusted images for the scan or the tuning.

        Warns:
            AssumptionWarning: There are fewer than 100 trusted images, the network ends in a softmax or is wrong about
                most of them, or trusted accuracy fell by more than 20 points on the way.
        """
        started = time.perf_counter()
        trusted, before = begin(model, holding, "unlearning")
        triggers, oracle, history = self._known(model, holding)
        repaired = copy.deepcopy(model).eval()
        if triggers:
            repaired, epochs = self.tuning.tune(model, self.lesson(trusted, triggers), watched=trusted)
            check_cost(before, epochs)
            history["stamped"] = self._stamped(len(trusted))
        else:
            history["note"] = "no label was flagged: there is nothing to unlearn, and the network is as it was"
        return Repair(repaired, repr(self), time.perf_counter() - started, (history,), oracle)

    def _known(self, model: nn.Module, holding: Holding) -> tuple[tuple[Trigger, ...], tuple[str, ...], dict[str, Any]]:
        """The triggers to unlearn, what was given that nobody knows, and the beginning of the history."""
        if self.trigger is not None:
            return (self.trigger,), (*holding.oracle, "trigger"), {}
        found = self.scan(model, holding)
        reversed_triggers = tuple(Reversed.of(found, label) for label in found.flagged)
        return reversed_triggers, holding.oracle, {"scan": found, "flagged": found.flagged}

    def _stamped(self, images: int) -> int:
        return max(1, round(self.stamped * images))

    def lesson(self, trusted: ImageSet, triggers: tuple[Trigger, ...]) -> ImageSet:
        """The trusted images, a part of them stamped with each trigger in turn. Labels are the true ones."""
        order = torch.randperm(len(trusted), generator=seeded_generator(self.seed))
        chosen = order[: self._stamped(len(trusted))]
        x = trusted.x.clone()
        for turn, trigger in enumerate(triggers):
            mine = chosen[turn :: len(triggers)].to(x.device)
            x[mine] = stamp(trigger, x[mine])
        return replace(trusted, x=x)
