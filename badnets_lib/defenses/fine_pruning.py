"""Fine-Pruning: silence the channels that clean images leave dormant, then fine-tune."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from torch import nn

from .._numbers import check_numbers
from ..counts import Proportion
from ..models.inference import correct
from ._repairs import EVERY, begin, check_cost
from .assumptions import DORMANT_CHANNELS, Assumption
from .channels import Channels, is_silenced
from .fine_tuning import FineTuning
from .kinds import Removal
from .knowledge import Holding
from .verdicts import Repair


@dataclass(frozen=True)
class FinePruning(Removal):
    """Prune a convolution's channels, most dormant first, while trusted accuracy holds; then fine-tune.

    How far to prune is decided on the trusted images and on nothing else. Pruned channels stay silent while the rest
    is tuned. After each channel the network is asked about all trusted images: C + 1 passes through what follows the
    layer, which is little behind the last convolution, and much behind an early one.

    Args:
        drop: Most trusted accuracy that pruning may cost, in [0, 1].
        tuning: The fine-tuning that follows; None to prune only.
        layer: Name of the layer whose channels are pruned; None for the last convolution, see `Channels`.

    Raises:
        ValueError: The drop is out of range.

    References:
        Liu, Dolan-Gavitt, Garg, Fine-Pruning: Defending Against Backdooring Attacks on Deep Neural Networks, 2018.
            arXiv:1805.12185.

    Differs from the authors' code: the paper sorts by "average activation" in the last convolutional layer, which is
    what is done here, on the activations before pooling. The code averages them after the max pooling that follows.
    """

    assumptions: ClassVar[tuple[Assumption, ...]] = (*EVERY, DORMANT_CHANNELS)

    drop: float = 0.04
    tuning: FineTuning | None = field(default_factory=FineTuning)
    layer: str | None = None

    def __post_init__(self) -> None:
        check_numbers(self)
        if not 0 <= self.drop <= 1:
            raise ValueError(f"drop must lie in [0, 1]; got {self.drop}")

    def __call__(self, model: nn.Module, holding: Holding) -> Repair:
        """A pruned and fine-tuned copy.

        Its history is the trusted accuracy after each pruned channel; the last record says which layer was pruned,
        whether its channels are silent "by weights" (the network is a plain one of its kind) or "by a hook" of the
        layer, and the trusted accuracy after pruning and after tuning.

        Raises:
            TypeError: The model is no network, or the holding no `Holding`.
            ValueError: There are fewer than 2 trusted images, or no such layer with channels.

        Warns:
            AssumptionWarning: There are fewer than 100 trusted images, the network ends in a softmax or is wrong about
                most of them, or trusted accuracy fell by more than 20 points on the way.
        """
        started = time.perf_counter()
        trusted, before = begin(model, holding, "Fine-Pruning")
        channels = Channels(model, trusted, self.layer)
        order = channels.dormant_first()
        curve = channels.curve(order)
        stop = self.choose(curve)
        pruned = channels.silenced(order[:stop])
        summary = {"layer": channels.layer, "channels": order[:stop], "after pruning": correct(pruned, trusted)}
        if self.tuning is not None:
            pruned, epochs = self.tuning.tune(pruned, trusted)
            check_cost(before, epochs)
        repaired = channels.into_weights(pruned)
        summary["silent"] = "by a hook" if is_silenced(repaired) else "by weights"
        summary["after tuning"] = correct(repaired, trusted)
        history = tuple(
            {"pruned": count, "channel": channel, "trusted": right, "kept": count <= stop}
            for count, (channel, right) in enumerate(zip((None, *order), curve, strict=True))
        )
        return Repair(repaired, repr(self), time.perf_counter() - started, (*history, summary), holding.oracle)

    def choose(self, curve: Sequence[Proportion]) -> int:
        """How many channels to prune: one fewer than the first number that costs more than `drop`."""
        floor = curve[0].value - self.drop - 1e-9  # a loss of exactly `drop` is allowed
        return next((count for count, each in enumerate(curve) if each.value < floor), len(curve)) - 1
