"""Anti-Backdoor Learning: poison is held to be learnt first; it is set apart, and unlearnt at the end.

References:
    Li, Lyu, Koren, Lyu, Li, Ma, Anti-Backdoor Learning: Training Clean Models on Poisoned Data, 2021.
        arXiv:2110.11571; the authors' code, github.com/bboylyg/ABL.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from .._numbers import check_numbers
from ..data.images import Images, ImageSet, Labels, check_set
from ..models.inference import logits_of
from ..models.training import NetworkSource, TrainConfig, train
from .assumptions import LEARNT_FIRST, PROBABILITIES, Assumption
from .isolate_and_unlearn import check_count, check_part, lowest_losses
from .kinds import RobustTraining
from .verdicts import Flags, Repair, network_in_words, settings_in_words

FAST = 0.1
SLOW = 0.01
SLOW_EPOCHS = 20
"""Learning rates of the long training, and for how many epochs at its end the second one holds."""


@dataclass(frozen=True)
class AntiBackdoor(RobustTraining):
    """Anti-Backdoor Learning with the published settings: some 85 epochs, by SGD with Nesterov's momentum.

    First, in the early epochs, a batch whose mean loss is below `gamma` is climbed instead of descended (local
    gradient ascent), so that only what is learnt fast gets far below, and the images of lowest loss are isolated.
    Then the same network is trained on the rest. Last, it climbs on the isolated images alone. So does the authors'
    code, one stage after the other. Their paper writes both as one loss: the mean over the rest minus the mean over
    the isolated images. The code crops, flips and cuts images at random in the second stage; here they stay as they
    are.

    Args:
        isolated: Part of the data that is isolated.
        early: Epochs of the first stage, at learning rate 0.1.
        gamma: The mean loss at which a batch is held in the first stage; 0 is plain training.
        further: Epochs of the second stage, the last 20 of them at learning rate 0.01, those before at 0.1.
        unlearn: Epochs of the last stage.
        lr: Learning rate of the last stage.
        network: As the `model` of `train`.

    Raises:
        ValueError: A setting is out of range.
    """

    assumptions: ClassVar[tuple[Assumption, ...]] = (PROBABILITIES, LEARNT_FIRST)

    isolated: float = 0.01
    early: int = 20
    gamma: float = 0.5
    further: int = 60
    unlearn: int = 5
    lr: float = 5e-4
    network: NetworkSource | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        check_numbers(self)
        check_part(self.isolated)
        if min(self.early, self.further, self.unlearn) < 1:
            given = f"{self.early}, {self.further}, {self.unlearn}"
            raise ValueError(f"early, further and unlearn must be at least 1; got {given}")
        if not (self.gamma >= 0 and self.lr > 0):
            raise ValueError(f"gamma may not be negative, lr must be positive; got {self.gamma} and {self.lr}")

    def __call__(self, data: ImageSet, config: TrainConfig | None = None) -> Repair:
        """A network trained on poisoned data; its history holds the isolated positions, and which network it is.

        Args:
            data: The training data, as they came.
            config: Seed, batch size and device; its epochs and rates are without effect, the published ones hold.

        Raises:
            ValueError: `isolated` asks for no image, or leaves fewer than 2.
            FloatingPointError: The loss stopped being a number, which the published rate of 0.1 can bring about.

        Warns:
            AssumptionWarning: The network ends in a softmax.
        """
        started = time.perf_counter()
        config = config or TrainConfig()
        young, flags = self.isolate(check_set(data, "training"), config)
        model = self.train_on(young, data[~flags.flagged], config)
        model = self.unlearnt(model, data[flags.flagged], config)
        positions = tuple(flags.flagged.nonzero().flatten().tolist())
        record = {"isolated": positions, "network": network_in_words(model)}
        return Repair(model, settings_in_words(self, model), time.perf_counter() - started, (record,))

    def isolate(self, data: ImageSet, config: TrainConfig) -> tuple[nn.Module, Flags]:
        """The first stage: a young network, and the images that it fits best."""
        check_count(self.isolated, len(data))
        early = replace(config, epochs=self.early)
        descent = sgd(FAST)
        young = train(data, early, model=self.network, loss=self.held_at_gamma, optimizer=descent, label="isolation")
        return young.model, lowest_losses(young.model, data, self.isolated)

    def held_at_gamma(self, network: nn.Module, x: Images, y: Labels) -> Tensor:
        """Local gradient ascent: the mean loss of a batch, with the sign that brings it towards `gamma`."""
        loss = cross_entropy(logits_of(network(x)), y)
        return (loss.detach() - self.gamma).sign() * loss

    def train_on(self, model: nn.Module, rest: ImageSet, config: TrainConfig) -> nn.Module:
        """The second stage: a copy, trained on what was not isolated."""
        slow = min(SLOW_EPOCHS, self.further)
        for epochs, lr in ((self.further - slow, FAST), (slow, SLOW)):
            if epochs:
                stage = replace(config, epochs=epochs)
                model = train(rest, stage, model=model, optimizer=sgd(lr), label="on the rest").model
        return model

    def unlearnt(self, model: nn.Module, isolated: ImageSet, config: TrainConfig) -> nn.Module:
        """The last stage: a copy that climbs on the isolated images."""
        stage = replace(config, epochs=self.unlearn)
        return train(isolated, stage, model=model, loss=_ascent, optimizer=sgd(self.lr), label="unlearning").model


def sgd(lr: float) -> Callable[[list[nn.Parameter]], torch.optim.Optimizer]:
    """The optimizer of the authors' code."""
    return partial(torch.optim.SGD, lr=lr, momentum=0.9, weight_decay=1e-4, nesterov=True)


def _ascent(network: nn.Module, x: Images, y: Labels) -> Tensor:
    return -cross_entropy(logits_of(network(x)), y)
