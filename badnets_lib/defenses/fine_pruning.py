"""Fine-Pruning: silence the channels that clean images leave dormant, then fine-tune.

References:
    Liu, Dolan-Gavitt, Garg, Fine-Pruning: Defending Against Backdooring Attacks on Deep Neural
        Networks, 2018. arXiv:1805.12185.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from ..counts import Proportion
from ..data.images import Images, ImageSet
from ..models.inference import place, placement
from .assumptions import check_enough_trusted
from .fine_tuning import FineTuning
from .kinds import Removal
from .knowledge import Holding
from .verdicts import Repair


@dataclass(frozen=True)
class FinePruning(Removal):
    """Prune the last convolution's channels, most dormant first, while trusted accuracy holds; then fine-tune.

    How far to prune is decided on the trusted images and on nothing else.

    Args:
        drop: Most trusted accuracy that pruning may cost, in [0, 1].
        tuning: The fine-tuning that follows; None to prune only.

    Raises:
        ValueError: The drop is out of range.
    """

    drop: float = 0.04
    tuning: FineTuning | None = field(default_factory=FineTuning)

    def __post_init__(self) -> None:
        if not 0 <= self.drop <= 1:
            raise ValueError(f"drop must lie in [0, 1]; got {self.drop}")

    def __call__(self, model: nn.Module, holding: Holding) -> Repair:
        """A pruned and fine-tuned copy; its history is the trusted accuracy after each pruned channel.

        Raises:
            TypeError: The model is no `nn.Sequential` with a convolution.
            ValueError: There are fewer than 2 trusted images.

        Warns:
            AssumptionWarning: There are fewer than 100 trusted images.
        """
        started = time.perf_counter()
        trusted = holding.need(2, "Fine-Pruning")
        check_enough_trusted(len(trusted), 100, "Fine-Pruning")
        features = LastFeatures(model, trusted)
        order = features.dormant_first()
        curve = features.curve(order)
        pruned = without_channels(model, order[: self.choose(curve)])
        if self.tuning is not None:
            pruned, _ = self.tuning.tune(pruned, trusted)
        rows = zip((None, *order), curve, strict=True)
        history = tuple(
            {"pruned": count, "channel": channel, "trusted": trusted_accuracy, "kept": count <= self.choose(curve)}
            for count, (channel, trusted_accuracy) in enumerate(rows)
        )
        return Repair(pruned, repr(self), time.perf_counter() - started, history, holding.oracle)

    def choose(self, curve: Sequence[Proportion]) -> int:
        """How many channels to prune: one fewer than the first number that costs more than `drop`."""
        floor = curve[0].value - self.drop - 1e-9  # a loss of exactly `drop` is allowed
        return next((count for count, each in enumerate(curve) if each.value < floor), len(curve)) - 1


class LastFeatures:
    """What the last convolution tells the classifier about some images, computed once and then masked at will.

    Args:
        model: A network built as `nn.Sequential`; what follows its last convolution must treat each channel
            alone (batch norm, activation, pooling) up to a flattening or linear layer.
        data: Images with the labels that count as right: clean ones, or `plan.attack(test)` for the ASR.

    Raises:
        TypeError: The network is built otherwise.
    """

    def __init__(self, model: nn.Module, data: ImageSet) -> None:
        cut = _last_convolution(model)[-1] + 1
        layers = [*copy.deepcopy(model).eval().requires_grad_(False).children()]
        self.classifier = nn.Sequential(*layers[cut:])
        self.y = data.y.to(placement(model).device)
        with torch.no_grad():
            parts = [nn.Sequential(*layers[:cut])(part) for part in place(data.x, placement(model)).split(512)]
        self.values: Float[Tensor, "n c h w"] = torch.cat(parts).contiguous()

    def dormant_first(self) -> tuple[int, ...]:
        """The channels, from the lowest mean activation on these images to the highest."""
        return tuple(self.values.mean((0, 2, 3)).argsort(stable=True).tolist())

    @torch.no_grad()
    def curve(self, order: Sequence[int]) -> tuple[Proportion, ...]:
        """Right answers after pruning 0, 1, ... and all channels in that order: C + 1 counts."""
        values, curve = self.values.clone(), [self._count(self.values)]
        for channel in order:
            values[:, channel] = 0
            curve.append(self._count(values))
        return tuple(curve)

    def _count(self, values: Images) -> Proportion:
        return Proportion(int((self.classifier(values).argmax(1) == self.y).sum()), len(self.y))


@torch.no_grad()
def without_channels(model: nn.Module, channels: Sequence[int]) -> nn.Module:
    """A copy in which some channels of the last convolution answer nothing, and learn nothing any more.

    Where batch norm follows, its scale and shift are silenced too: with the convolution's weights alone at
    zero the channel would still say what batch norm adds.
    """
    network = copy.deepcopy(model).eval()
    which: Int[Tensor, " m"] = torch.tensor(list(channels), dtype=torch.long)
    layers = [*network.children()]
    for position in _last_convolution(network)[:-1]:
        for weight in layers[position].parameters():
            weight[which.to(weight.device)] = 0
    return network


def _last_convolution(model: nn.Module) -> tuple[int, ...]:
    """Places in the network: the last convolution, its batch norm if any, and the last layer with its channels."""
    layers = list(model) if isinstance(model, nn.Sequential) else []
    convolutions = [place for place, layer in enumerate(layers) if isinstance(layer, nn.Conv2d)]
    if not convolutions:
        raise TypeError(f"pruning needs an nn.Sequential with a convolution; got {type(model).__name__}")
    first = convolutions[-1]
    ends = [at for at, layer in enumerate(layers) if at > first and isinstance(layer, nn.Flatten | nn.Linear)]
    last = (ends[0] if ends else len(layers)) - 1
    norms = [at for at in range(first, last + 1) if isinstance(layers[at], nn.BatchNorm2d)]
    return (first, *norms, last)
