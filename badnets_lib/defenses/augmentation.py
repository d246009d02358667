"""Training that resists by augmentation alone: the network seldom sees a whole image with its whole label."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from .._numbers import check_numbers
from ..data.images import Images, ImageSet, Labels
from ..models.inference import BATCH, logits_of, predict
from ..models.training import NetworkSource, TrainConfig, train
from .assumptions import CUT_OFF, PROBABILITIES, Assumption, check_logits
from .kinds import RobustTraining
from .verdicts import Repair, network_in_words, settings_in_words


@dataclass(frozen=True)
class CutMix(RobustTraining):
    """Train on images of which a random box comes from another image, with labels mixed by area.

    Args:
        mixed: Part of the batches that is mixed, in [0, 1].
        network: As the `model` of `train`.

    Raises:
        ValueError: The part is out of range.

    References:
        Borgnia et al., Strong Data Augmentation Sanitizes Poisoning and Backdoor Attacks Without an
            Accuracy Tradeoff, 2020. arXiv:2011.09527.
        Yun et al., CutMix, 2019. arXiv:1905.04899.
    """

    assumptions: ClassVar[tuple[Assumption, ...]] = (PROBABILITIES, CUT_OFF)

    mixed: float = 1.0
    network: NetworkSource | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        check_numbers(self)
        if not 0 <= self.mixed <= 1:
            raise ValueError(f"mixed must lie in [0, 1]; got {self.mixed}")

    def __call__(self, data: ImageSet, config: TrainConfig | None = None) -> Repair:
        """A network trained on mixed images; its history says which network it is.

        Warns:
            AssumptionWarning: The network ends in a softmax.
        """
        started = time.perf_counter()
        trained = train(data, config, model=self.network, loss=self._loss, label="CutMix")
        check_logits(predict(trained.model, data.x[:BATCH]))
        history = ({"network": network_in_words(trained.model), "loss": trained.history[-1].loss},)
        settings = settings_in_words(self, trained.model)
        return Repair(trained.model, settings, time.perf_counter() - started, history)

    def _loss(self, network: nn.Module, x: Images, y: Labels) -> Tensor:
        if torch.rand(()) >= self.mixed:
            return cross_entropy(logits_of(network(x)), y)
        mixed, others, kept = cut_and_mix(x)
        logits = logits_of(network(mixed))
        return kept * cross_entropy(logits, y) + (1 - kept) * cross_entropy(logits, y[others])


def cut_and_mix(x: Images) -> tuple[Images, Tensor, float]:
    """(mixed images, position of each image's partner [N], part of the area that is still its own).

    One box is drawn for the batch, from the global generator: its area is uniform in [0, 1] before
    what sticks out of the image is cut off, its centre uniform.
    """
    height, width = x.shape[-2:]
    side = float(torch.rand(()).sqrt())
    row = float(torch.rand(())) * height
    column = float(torch.rand(())) * width
    top, bottom = (min(max(round(row + sign * side * height / 2), 0), height) for sign in (-1, 1))
    left, right = (min(max(round(column + sign * side * width / 2), 0), width) for sign in (-1, 1))
    others = torch.randperm(len(x)).to(x.device)
    mixed = x.clone()
    mixed[:, :, top:bottom, left:right] = x[others, :, top:bottom, left:right]
    return mixed, others, 1 - (bottom - top) * (right - left) / (height * width)
