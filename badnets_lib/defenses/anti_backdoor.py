"""Anti-Backdoor Learning: what is learnt first is suspected, set apart, and unlearnt.

References:
    Li, Lyu, Koren, Lyu, Li, Ma, Anti-Backdoor Learning: Training Clean Models on Poisoned Data, 2021.
        arXiv:2110.11571.
"""

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
class AntiBackdoor(RobustTraining):
    """Isolate the images that a young network already fits best, train on the rest, then unlearn them.

    Args:
        isolated: Part of the data that is isolated: enough to unlearn by, far less than the poisoning fraction.
        early: Epochs after which the losses are compared.
        gamma: During these, a batch whose mean loss is below `gamma` is climbed instead of descended
            (local gradient ascent), so that only what is learnt fast gets far below. 0 is plain training.
        unlearn: Epochs of the unlearning.
        lr: Peak learning rate of the unlearning.
        limit: An isolated image is pushed away from its label until its loss is this large.
        network: As the `model` of `train`, for the young network and the one that is returned.

    Raises:
        ValueError: A setting is out of range.

    Ours, after the cited work: there, 20 of 100 epochs are early, gamma is 0.5, training goes on from the young
    network, and the unlearning only climbs on the isolated images. A small network fits digits nearly as fast as a
    patch: with gamma 0.5 fewer of the isolated images were poison and clean accuracy suffered, so `gamma` is 0
    here; a fresh network is trained on the rest. Climbing alone cost a tenth of the clean accuracy and left half
    of the ASR; so the unlearning also descends, on the half of the data that was learnt late, which holds the least
    poison. Where much of the data is poison, a little of it is in that half too and teaches the trigger anew:
    chapter 17 shows how far the defaults carry.
    """

    assumptions: ClassVar[tuple[Assumption, ...]] = (PROBABILITIES, LEARNT_FIRST)

    isolated: float = 0.01
    early: int = 2
    gamma: float = 0.0
    unlearn: int = 2
    lr: float = 0.005
    limit: float = 5.0
    network: NetworkSource | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        check_numbers(self)
        if not 0 < self.isolated < 1:
            raise ValueError(f"isolated must lie strictly between 0 and 1; got {self.isolated}")
        if self.early < 1 or self.unlearn < 1:
            raise ValueError(f"early and unlearn must be at least 1; got {self.early}, {self.unlearn}")
        if not (self.gamma >= 0 and self.lr > 0 and self.limit > 0):
            limits = "gamma may not be negative, lr and limit must be positive"
            raise ValueError(f"{limits}; got {self.gamma}, {self.lr}, {self.limit}")

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
        trained = train(rest, config, model=self.network, label="anti-backdoor")
        model = self.forget(trained.model, learnt_late, isolated, config)
        positions = tuple(flags.flagged.nonzero().flatten().tolist())
        record = {"isolated": positions, "loss": trained.history[-1].loss, "network": network_in_words(model)}
        return Repair(model, settings_in_words(self, model), time.perf_counter() - started, (record,))

    def isolate(self, data: ImageSet, config: TrainConfig) -> Flags:
        """The verdict of the first stage, over all classes together: the images with the lowest early losses."""
        count = round(self.isolated * len(data))
        if not 0 < count <= len(data) - 2:
            raise ValueError(
                f"isolated {self.isolated} asks for {count} of {len(data)} images; from 1 to {len(data) - 2}"
            )
        early = replace(config, epochs=self.early)
        young = train(data, early, model=self.network, loss=self._held_at_gamma, label="isolation").model
        logits = predict(young, data.x)
        check_logits(logits)
        losses = cross_entropy(logits.float(), data.y.cpu().long(), reduction="none")
        flagged = torch.zeros(len(data), dtype=torch.bool)
        flagged[losses.argsort(stable=True)[:count]] = True
        return Flags(-losses, flagged, (f"{count} lowest losses of all classes",), data.fingerprint)

    def _held_at_gamma(self, network: nn.Module, x: Images, y: Labels) -> Tensor:
        loss = cross_entropy(logits_of(network(x)), y)
        return (loss.detach() - self.gamma).sign() * loss

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
