"""Adversarial unlearning: fine-tune against the one change of pixels that hurts all trusted images most.

A backdoor is such a change. No trigger is named and no label suspected; how well it works varies from network
to network.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from .._numbers import check_numbers
from ..counts import Proportion
from ..data.images import Images, ImageSet, Labels, StoredImages
from ..models.inference import batches_of, evaluating, logits_of, place, placement
from ..models.training import batches as split
from ._repairs import EVERY, begin, check_cost, retrained
from .assumptions import SHORT_SHIFT, Assumption
from .fine_tuning import FineTuning, as_history
from .kinds import Removal
from .knowledge import Holding
from .verdicts import Repair


@dataclass(frozen=True)
class AdversarialUnlearning(Removal):
    """Before every epoch find the shift that hurts most; then learn the true labels with it and without it.

    Args:
        radius: Length of the shift in the L2 norm; a white square of 4x4 pixels on black has 4.
        steps: Steps of ascent by which it is found.
        batch: Trusted images that a step looks at, drawn anew for each. With all 400 instead, the same
            networks were repaired no better, in three times the time.
        tuning: Settings of the training; it trains all layers.

    Raises:
        ValueError: A setting is out of range.

    References:
        Zeng, Chen, Park, Mao, Jin, Jia, Adversarial Unlearning of Backdoors via Implicit Hypergradient
            (I-BAU), 2022. arXiv:2110.03735.

    Ours, not the cited work: of its minimax only the first order is left, which is adversarial training with one
    perturbation for all images. The implicit hypergradient, by which a weight learns how it moves the worst shift, is
    left out, and images without the shift are learnt beside those with it: a trial without them, on a small network,
    cost a third of the clean accuracy.
    """

    assumptions: ClassVar[tuple[Assumption, ...]] = (*EVERY, SHORT_SHIFT)

    radius: float = 3.0
    steps: int = 10
    batch: int = 100
    tuning: FineTuning = field(default_factory=FineTuning)

    def __post_init__(self) -> None:
        check_numbers(self)
        if not (self.radius > 0 and self.steps >= 1 and self.batch >= 1):
            limits = "radius must be positive, steps and batch at least 1"
            raise ValueError(f"{limits}; got {self.radius}, {self.steps} and {self.batch}")
        if self.tuning.layers is not None:
            raise ValueError(f"adversarial unlearning trains all layers; got layers {self.tuning.layers}")

    def __call__(self, model: nn.Module, holding: Holding) -> Repair:
        """A copy trained against its worst shifts; its history says where each epoch's shift led most images.

        Raises:
            TypeError: The model is no network, or the holding no `Holding`.
            ValueError: There are fewer than 2 trusted images.

        Warns:
            AssumptionWarning: There are fewer than 100 trusted images, the network ends in a softmax or is wrong about
                most of them, or trusted accuracy fell by more than 20 points on the way.
        """
        started = time.perf_counter()
        trusted, before = begin(model, holding, "adversarial unlearning")
        config = self.tuning.config(str(placement(model).device))
        lesson = _Lesson(self, trusted, len(split(torch.arange(len(trusted)), config.batch_size)))
        label = "adversarial unlearning"
        repaired, epochs = retrained(model, trusted, config, loss=lesson.loss, watched=trusted, label=label)
        check_cost(before, epochs)
        history = tuple(row | seen for row, seen in zip(as_history(epochs), lesson.history, strict=True))
        return Repair(repaired, repr(self), time.perf_counter() - started, history, holding.oracle)


class _Lesson:
    """The shift of the current epoch, and the loss on images with and without it."""

    def __init__(self, settings: AdversarialUnlearning, data: ImageSet, batches_an_epoch: int) -> None:
        self.settings = settings
        self.data = data
        self.batches = batches_an_epoch
        self.seen = 0
        self.shift = torch.zeros(())
        self.source = torch.Generator().manual_seed(settings.tuning.seed)
        self.history: list[dict[str, Any]] = []

    def find_shift(self, network: nn.Module) -> None:
        weights = placement(network)
        drawn = [
            torch.randperm(len(self.data), generator=self.source)[: self.settings.batch]
            for _ in range(self.settings.steps)
        ]
        batches = (self.data[part] for part in drawn)
        with evaluating(network):
            placed = [(place(part.x, weights), part.y.to(weights.device).long()) for part in batches]
            self.shift = worst_shift(network, placed, radius=self.settings.radius)
            answers = torch.cat([self._shifted_answers(network, x) for x in batches_of(self.data.x)])
        label = int(answers.mode().values)
        self.history.append({"led to": label, "images": Proportion.of(answers == label)})

    @torch.no_grad()
    def _shifted_answers(self, network: nn.Module, x: StoredImages) -> Tensor:
        return logits_of(network((place(x, self.shift) + self.shift).clamp(0, 1))).argmax(1)

    def loss(self, network: nn.Module, x: Images, y: Labels) -> Tensor:
        if self.seen % self.batches == 0:  # an epoch begins
            self.find_shift(network)
        self.seen += 1
        both = torch.cat([x, (x + self.shift).clamp(0, 1)])
        return cross_entropy(logits_of(network(both)), torch.cat([y, y]))


def worst_shift(
    model: nn.Module, batches: Sequence[tuple[Images, Labels]], *, radius: float
) -> Float[Tensor, "1 c h w"]:
    """One shift for all images that raises their loss, by projected gradient ascent from zero, a step a batch.

    Args:
        model: A classifier in evaluation mode.
        batches: Images [N, C, H, W], on the model's device, and their true labels [N]; shifted they stay in [0, 1].
        radius: Largest L2 norm of the shift. Each step has length radius / 3.
    """
    shift = torch.zeros_like(batches[0][0][:1])
    for x, y in batches:
        shift.requires_grad_()
        (gradient,) = torch.autograd.grad(cross_entropy(logits_of(model((x + shift).clamp(0, 1))), y), shift)
        moved = shift.detach() + radius / 3 * gradient / gradient.norm().clamp(min=1e-12)
        shift = moved * (radius / moved.norm().clamp(min=1e-12)).clamp(max=1)
    return shift.detach()
