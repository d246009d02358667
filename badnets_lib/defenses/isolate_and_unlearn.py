"""Isolate and unlearn, ours after Anti-Backdoor Learning: what is learnt first is set apart, and unlearnt."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from .._numbers import check_numbers
from ..data.images import Images, ImageSet, Labels, check_set
from ..models.inference import logits_of, place, placement, predict
from ..models.training import NetworkSource, TrainConfig, train
from .assumptions import LEARNT_FIRST, PROBABILITIES, Assumption, check_logits
from .kinds import RobustTraining
from .verdicts import Flags, Repair, network_in_words, settings_in_words


@dataclass(frozen=True)
class IsolateAndUnlearn(RobustTraining):
    """Isolate the images that a young network already fits best, train on the rest, then unlearn them.

    Ours, after `AntiBackdoor`, for small networks, which fit digits nearly as fast as a patch: the early epochs are
    plain training, a fresh network is trained on the rest, and the unlearning also descends, on the half of the data
    that was learnt late and holds the least poison. Where much of the data is poison, a little of it is in that half
    too and may teach the trigger anew: chapter 20 shows how far the defaults carry.

    Args:
        isolated: Part of the data that is isolated: enough to unlearn by, far less than the poisoning fraction.
        early: Epochs after which the losses are compared.
        unlearn: Epochs of the unlearning.
        lr: Peak learning rate of the unlearning.
        limit: An isolated image is pushed away from its label until its loss is this large.
        network: As the `model` of `train`, for the young network and the one that is returned.

    Raises:
        ValueError: A setting is out of range.

    References:
        Li, Lyu, Koren, Lyu, Li, Ma, Anti-Backdoor Learning, 2021, for the idea; `AntiBackdoor` has the published
            settings. arXiv:2110.11571.
    """

    assumptions: ClassVar[tuple[Assumption, ...]] = (PROBABILITIES, LEARNT_FIRST)

    isolated: float = 0.01
    early: int = 2
    unlearn: int = 2
    lr: float = 0.005
    limit: float = 5.0
    network: NetworkSource | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        check_numbers(self)
        check_part(self.isolated)
        if self.early < 1 or self.unlearn < 1:
            raise ValueError(f"early and unlearn must be at least 1; got {self.early}, {self.unlearn}")
        if not (self.lr > 0 and self.limit > 0):
            raise ValueError(f"lr and limit must be positive; got {self.lr} and {self.limit}")

    def __call__(self, data: ImageSet, config: TrainConfig | None = None) -> Repair:
        """A network trained on poisoned data; its history holds the isolated positions, and which network it is.

        Raises:
            ValueError: `isolated` asks for no image, or leaves fewer than 2.

        Warns:
            AssumptionWarning: The network ends in a softmax.
        """
        started = time.perf_counter()
        config = config or TrainConfig()
        flags = self.isolate(check_set(data, "training"), config)
        rest = data[~flags.flagged]
        isolated = data[flags.flagged]
        learnt_late = data[flags.scores <= flags.scores.quantile(0.5)]
        trained = train(rest, config, model=self.network, label="on the rest")
        model = self.forget(trained.model, learnt_late, isolated, config)
        positions = tuple(flags.flagged.nonzero().flatten().tolist())
        record = {"isolated": positions, "loss": trained.history[-1].loss, "network": network_in_words(model)}
        return Repair(model, settings_in_words(self, model), time.perf_counter() - started, (record,))

    def isolate(self, data: ImageSet, config: TrainConfig) -> Flags:
        """The verdict of the first stage, over all classes together: the images with the lowest early losses."""
        check_count(self.isolated, len(data))
        early = replace(config, epochs=self.early)
        young = train(data, early, model=self.network, label="isolation").model
        return lowest_losses(young, data, self.isolated)

    def forget(self, model: nn.Module, late: ImageSet, isolated: ImageSet, config: TrainConfig) -> nn.Module:
        """A copy that descends on what was learnt late and climbs on the isolated images, a batch of each a step."""
        weights = placement(model)
        bad_x = isolated.x.to(weights.device)
        bad_y = isolated.y.to(weights.device).long()

        def loss(network: nn.Module, x: Images, y: Labels) -> Tensor:
            drawn = torch.randint(len(bad_y), (len(y),)).to(weights.device)
            logits = logits_of(network(torch.cat([x, place(bad_x[drawn], weights)])))
            climbed = cross_entropy(logits[len(y) :], bad_y[drawn], reduction="none")
            return cross_entropy(logits[: len(y)], y) - climbed.clamp(max=self.limit).mean()

        settings = replace(config, epochs=self.unlearn, lr=self.lr, device=str(weights.device))
        return train(late, settings, model=model, loss=loss, label="unlearning").model


def check_part(isolated: float) -> None:
    """Raise unless a part of the data is a part.

    Raises:
        ValueError: It is nothing, or everything.
    """
    if not 0 < isolated < 1:
        raise ValueError(f"isolated must lie strictly between 0 and 1; got {isolated}")


def check_count(isolated: float, size: int) -> int:
    """How many images are isolated.

    Raises:
        ValueError: It is none, or fewer than 2 are left.
    """
    count = round(isolated * size)
    if not 0 < count <= size - 2:
        raise ValueError(f"isolated {isolated} asks for {count} of {size} images; from 1 to {size - 2}")
    return count


def lowest_losses(young: nn.Module, data: ImageSet, isolated: float) -> Flags:
    """The verdict of a young network, over all classes together: the images that it fits best are flagged.

    Warns:
        AssumptionWarning: The network ends in a softmax.
    """
    count = check_count(isolated, len(data))
    logits = predict(young, data.x)
    check_logits(logits)
    losses = cross_entropy(logits.float(), data.y.cpu().long(), reduction="none")
    flagged = torch.zeros(len(data), dtype=torch.bool)
    flagged[losses.argsort(stable=True)[:count]] = True
    return Flags(-losses, flagged, (f"{count} lowest losses of all classes",), data.fingerprint)
