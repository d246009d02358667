"""Channel Lipschitz-based pruning (CLP): silence channels whose weights could react most strongly. It needs no data."""

from __future__ import annotations

import copy
import time
from collections import Counter
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from .._numbers import check_numbers
from ..data.images import StoredImages
from ..models.inference import check_outputs
from ..models.layers import calls_of, find_layer
from ._repairs import check_repairable
from .assumptions import LOUD_CHANNELS, MANY_CHANNELS, NORM_FOLLOWS, Assumption, check_channels, check_pairs
from .kinds import Removal
from .knowledge import Holding, check_holding
from .verdicts import Repair


@dataclass(frozen=True)
class ChannelLipschitz(Removal):
    """Prune, in every layer, the channels whose Lipschitz bound stands out; nothing is trained, and no image is used.

    A layer is a convolution whose output goes straight into a batch norm. The bound of one of its channels is the
    largest singular value of the channel's weights, as a matrix [inputs, height x width], times batch norm's factor.
    A channel goes if its bound is above the layer's mean by more than `deviations` standard deviations. Convolutions
    without a batch norm are left alone; a network that has no such pair comes back as it was, with a warning.

    Among n numbers none lies more than (n - 1) / sqrt(n) standard deviations above their mean. With the published 3,
    a layer of 10 channels or fewer is never pruned, whatever its weights; the warning says so.

    Of the holding only the shape of its images is used, so `Holding(images[:0])` will do.

    Args:
        deviations: The authors' u: 3 in their code for CIFAR-10.

    Raises:
        ValueError: The number is not positive.

    References:
        Zheng, Tang, Li, Liu, Data-free Backdoor Removal based on Channel Lipschitzness, 2022. arXiv:2208.03111; the
            authors' code, github.com/rkteddy/channel-Lipschitzness-based-pruning, defense.py.

    Differs from the authors' code in two points. There a batch norm belongs to the convolution registered before it,
    and the authors ask to change that for other architectures; here the network is run on two black images, to see
    which batch norm is given which convolution's output. And batch norm's own small constant is added to its variance,
    as the network does: a channel that never varies has a finite bound.

    Example:
        >>> model = SmallCNN()
        >>> with torch.no_grad():
        ...     model.conv2.weight[5] *= 20
        >>> repair = ChannelLipschitz()(model, Holding(train[:0]))
        >>> [row["pruned"] for row in repair.history]
        [(), (5,)]
    """

    assumptions: ClassVar[tuple[Assumption, ...]] = (LOUD_CHANNELS, MANY_CHANNELS, NORM_FOLLOWS)

    deviations: float = 3.0

    def __post_init__(self) -> None:
        check_numbers(self)
        if not self.deviations > 0:
            raise ValueError(f"deviations must be positive; got {self.deviations}")

    def __call__(self, model: nn.Module, holding: Holding) -> Repair:
        """A pruned copy. Its history has a record for each layer: its names, bounds, limit, and the pruned channels.

        Raises:
            TypeError: The model is no network, or the holding no `Holding`.
            ValueError: The network is scripted, has another number of outputs than there are classes, or weights that
                are not finite.

        Warns:
            AssumptionWarning: No convolution hands its output to a batch norm, or a layer has so few channels that
                none can stand out.
        """
        started = time.perf_counter()
        check_repairable(model)
        shape = check_holding(holding).trusted.x.shape[1:]
        blank = torch.zeros(2, *shape)
        _, logits = calls_of(model, blank)
        check_outputs(logits, len(holding.trusted.classes))
        repaired = copy.deepcopy(model).eval()
        layers = normalised_convolutions(model, blank)
        check_pairs(len(layers))
        history = tuple(self._prune(repaired, *names) for names in layers)
        check_channels({row["norm"]: len(row["bounds"]) for row in history}, self.deviations)
        return Repair(repaired, repr(self), time.perf_counter() - started, history, holding.oracle)

    @torch.no_grad()
    def _prune(self, network: nn.Module, convolution: str, norm: str) -> dict[str, Any]:
        """Silence the channels of one layer, and say which."""
        scaled: Any = find_layer(network, norm)
        filters: Any = find_layer(network, convolution)
        if not all(bool(each.isfinite().all()) for each in (filters.weight, scaled.weight, scaled.running_var)):
            raise ValueError(f"the weights of {convolution!r} and {norm!r} must be finite numbers")
        bounds = channel_bounds(filters, scaled)
        limit = bounds.mean() + self.deviations * bounds.std()
        gone = (bounds > limit).nonzero().flatten()
        for weight in (scaled.weight, scaled.bias):
            weight[gone] = 0
        said = {"convolution": convolution, "norm": norm, "pruned": tuple(gone.tolist())}
        return said | {"bounds": tuple(bounds.tolist()), "limit": float(limit)}


@torch.no_grad()
def channel_bounds(convolution: Any, norm: Any) -> Float[Tensor, " channels"]:
    """An upper bound of how much each channel can react to a change of the layer's input, in double precision.

    Args:
        convolution: A two-dimensional convolution.
        norm: The batch norm after it, with weights and running statistics.
    """
    weight = convolution.weight.double().flatten(2)  # [channels, inputs, height x width]
    factor = (norm.weight.double() / (norm.running_var.double() + norm.eps).sqrt()).abs()
    bounds: Tensor = torch.linalg.matrix_norm(weight, ord=2) * factor
    return bounds


def normalised_convolutions(model: nn.Module, x: StoredImages) -> tuple[tuple[str, str], ...]:
    """Names of the convolutions whose output goes straight into a batch norm with weights, and of these batch norms.

    Only layers that the network calls once for an image.

    Args:
        model: Any classifier.
        x: Images [N, C, H, W]; the first two are used.
    """
    calls, _ = calls_of(model, x)
    times = Counter(call.name for call in calls)
    once = [call for call in calls if times[call.name] == 1]
    convolutions = [call for call in once if isinstance(call.layer, nn.Conv2d)]
    norms = [call for call in once if isinstance(call.layer, nn.BatchNorm2d) and _has_scale(call.layer)]
    return tuple((before.name, after.name) for before in convolutions for after in norms if after.is_given_what(before))


def _has_scale(norm: Any) -> bool:
    return norm.weight is not None and norm.running_var is not None
