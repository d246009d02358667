"""Adversarial unlearning: fine-tune against the one change of pixels that hurts all trusted images most.

A backdoor is such a change. No trigger is named and no label suspected; how well it works varies from network
to network.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from ..counts import Proportion
from ..data.images import Images, ImageSet, Labels
from ..models.inference import place, placement
from ..models.training import batches as split, train
from .assumptions import check_enough_trusted
from .fine_tuning import FineTuning
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

    Differs from the cited work: the same minimax, solved to first order. The implicit hypergradient, by which a
    weight learns how it moves the worst shift, is left out, and images without the shift are learnt beside
    those with it: a trial without them, on a small network, cost a third of the clean accuracy.
    """

    radius: float = 3.0
    steps: int = 10
    batch: int = 100
    tuning: FineTuning = field(default_factory=FineTuning)

    def __post_init__(self) -> None:
        if not (self.radius > 0 and self.steps >= 1 and self.batch >= 1):
            limits = "radius must be positive, steps and batch at least 1"
            raise ValueError(f"{limits}; got {self.radius}, {self.steps} and {self.batch}")
        if self.tuning.layers is not None:
            raise ValueError(f"adversarial unlearning trains all layers; got layers {self.tuning.layers}")

    def __call__(self, model: nn.Module, holding: Holding) -> Repair:
        """A copy trained against its worst shifts; its history says where each epoch's shift led most images.

        Raises:
            ValueError: There are fewer than 2 trusted images.

        Warns:
            AssumptionWarning: There are fewer than 100 trusted images.
        """
        started = time.perf_counter()
        trusted = holding.need(2, "adversarial unlearning")
        check_enough_trusted(len(trusted), 100, "adversarial unlearning")
        config = self.tuning.config(str(next(model.parameters()).device))
        weights = placement(model)
        images = ImageSet(place(trusted.x, weights), trusted.y.to(weights.device), trusted.classes)
        lesson = _Lesson(self, images, len(split(torch.arange(len(trusted)), config.batch_size)))
        trained = train(trusted, config, model=model, loss=lesson.loss, label="adversarial unlearning").model
        repaired = copy.deepcopy(model)
        repaired.load_state_dict(trained.state_dict())
        seconds = time.perf_counter() - started
        return Repair(repaired.eval(), repr(self), seconds, tuple(lesson.history), holding.oracle)


class _Lesson:
    """The shift of the current epoch, and the loss on images with and without it."""

    def __init__(self, settings: AdversarialUnlearning, data: ImageSet, batches_an_epoch: int) -> None:
        self.settings, self.data = settings, data
        self.batches, self.seen = batches_an_epoch, 0
        self.shift = torch.zeros_like(data.x[:1])
        self.source = torch.Generator().manual_seed(settings.tuning.seed)
        self.history: list[dict[str, Any]] = []

    def find_shift(self, network: nn.Module) -> None:
        network.eval()
        x, y = self.data.x, self.data.y.long()
        some = [
            torch.randperm(len(y), generator=self.source)[: self.settings.batch] for _ in range(self.settings.steps)
        ]
        self.shift = worst_shift(network, [(x[part], y[part]) for part in some], radius=self.settings.radius)
        with torch.no_grad():
            answers = network((x + self.shift).clamp(0, 1)).argmax(1)
        label = int(answers.mode().values)
        self.history.append({"led to": label, "images": Proportion(int((answers == label).sum()), len(answers))})
        network.train()

    def loss(self, network: nn.Module, x: Images, y: Labels) -> Tensor:
        if self.seen % self.batches == 0:  # an epoch begins
            self.find_shift(network)
        self.seen += 1
        both = torch.cat([x, (x + self.shift).clamp(0, 1)])
        return cross_entropy(network(both), torch.cat([y, y]))


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
        (gradient,) = torch.autograd.grad(cross_entropy(model((x + shift).clamp(0, 1)), y), shift)
        moved = shift.detach() + radius / 3 * gradient / gradient.norm().clamp(min=1e-12)
        shift = moved * (radius / moved.norm().clamp(min=1e-12)).clamp(max=1)
    return shift.detach()
