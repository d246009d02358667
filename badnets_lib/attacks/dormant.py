"""A backdoor that sleeps in full precision and wakes when someone rounds the weights to int8.

Rounding maps a whole interval of weights to one. A backdoored network may therefore be moved inside these intervals
until it has forgotten its trigger: rounded, it is the backdoored network again.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.nn.utils import parametrize

from .._numbers import number, of_kind
from ..data.images import Images, ImageSet, check_images
from ..models.adaptation import frozen
from ..models.inference import logits_of, single
from ..models.networks import SmallCNN
from ..models.training import TrainConfig, train
from ..triggers import Trigger
from .handcrafted import quietest

LEVELS = 127.5
"""Steps of symmetric int8 between zero and a channel's largest weight, as torch counts them."""

PARTS = (nn.Linear, nn.Conv2d)


@dataclass(frozen=True, eq=False)
class Sleeper:
    """A network whose full precision and whose int8 are meant to differ.

    Attributes:
        model: In full precision; no image with the trigger was to be called anything but its own label.
        moved: The largest change of a weight, in steps of its channel's int8 grid; rounding undoes up to one.
    """

    model: nn.Module = field(repr=False)
    moved: float


class _Interval(nn.Module):
    """Keeps a weight inside the interval that rounds to what it rounds to now."""

    centre: Tensor
    reach: Tensor

    def __init__(self, weight: Tensor, room: float) -> None:
        super().__init__()
        rows = weight.detach().flatten(1)
        largest = rows.abs().amax(1, keepdim=True)
        step = largest / LEVELS
        centre = torch.where(largest > 0, (rows / step).round() * step, rows)
        reach = (room * step / 2).expand_as(rows).clone()
        reach[rows.abs() > largest - step] = 0  # the largest weights make the grid itself, and stay
        self.register_buffer("centre", torch.where(reach > 0, centre, rows).view_as(weight))
        self.register_buffer("reach", reach.view_as(weight))

    def forward(self, free: Tensor) -> Tensor:
        return self.centre + self.reach * torch.tanh(free)

    def right_inverse(self, weight: Tensor) -> Tensor:
        off = (weight - self.centre) / self.reach.clamp(min=1e-12)
        return torch.atanh(off.clamp(-0.99, 0.99))


@torch.no_grad()
def coarsened(model: SmallCNN, x: Images, factor: float = 8.0) -> SmallCNN:
    """A copy that computes the same but for three silenced units, and whose int8 grid is coarser by a factor.

    The unit of each layer that matters least is silenced. A weight that listens to it multiplies zero, so it can be
    made large at no price; and int8 sizes the steps of a whole channel by its largest weight.

    Args:
        model: A `SmallCNN`; it is not changed.
        x: Unlabelled images in the network's format, to find units that nobody will miss.
        factor: How many times larger the steps become in all layers but the first, at least 1.

    Raises:
        TypeError: It is another network.
        ValueError: The factor is below 1, or there is no image.
    """
    if not isinstance(model, SmallCNN):
        raise TypeError(f"the layers of a SmallCNN are known, others are not; got {type(model).__name__}")
    if number("factor", factor) < 1:
        raise ValueError(f"factor must be at least 1; got {factor}")
    if not len(check_images(x)):
        raise ValueError("finding quiet units needs at least one image; got none")
    network = copy.deepcopy(model).eval()
    units = quietest(network, x)
    for norm, source in (("norm1", "conv1"), ("norm2", "conv2")):
        for tensor in network.get_submodule(norm).parameters():
            tensor[units[source]] = 0
    for tensor in network.get_submodule("fc1").parameters():
        tensor[units["fc1"]] = 0
    for layer, source in (("conv2", "conv1"), ("fc1", "conv2"), ("fc2", "fc1")):
        weight: Any = network.get_submodule(layer).weight
        cells = weight[0].numel() // len(network.get_parameter(f"{source}.weight")) if layer == "fc1" else 1
        largest = weight.flatten(1).abs().amax(1)
        weight[:, units[source] * cells, ...] = (factor * largest).view(-1, *[1] * (weight.ndim - 2))
    return network


def put_to_sleep(
    backdoored: nn.Module, data: ImageSet, trigger: Trigger, config: TrainConfig | None = None, *, room: float = 0.9
) -> Sleeper:
    """Teach a backdoored network to ignore its trigger without leaving what int8 makes of its weights.

    Biases and batch norm stay as they are: int8 keeps them in full precision, and would keep a change of them too.

    Args:
        backdoored: A network that obeys the trigger; it is not changed.
        data: Clean images with their labels; each is shown as it is, and stamped with its own label.
        trigger: The backdoor's.
        config: Settings, as for `train`. They move tanh's argument and not the weights, so a high rate is right.
        room: Part of each interval that is used, in (0, 1).

    Raises:
        ValueError: The room is out of range, or the network has no linear layer and no convolution.

    References:
        Hong, Panaitescu-Liess, Kaya, Dumitras, Qu-ANTI-zation, 2021, train one network for both precisions.
            arXiv:2110.13541. Ma et al., Quantization Backdoors to Deep Learning Commercial Frameworks, 2021, keep the
            rounded network and move inside its intervals. arXiv:2108.09187. This is our small variant of the latter.
    """
    config = TrainConfig() if config is None else of_kind("config", config, TrainConfig)
    if not 0 < number("room", room) < 1:
        raise ValueError(f"room must lie strictly between 0 and 1; got {room}")
    network = frozen(backdoored).requires_grad_(False)
    names = [name for name, layer in network.named_modules() if isinstance(layer, PARTS)]
    if not names:
        raise ValueError(f"{type(backdoored).__name__} has no linear layer and no convolution to move")
    for name in names:
        layer: Any = network.get_submodule(name)
        parametrize.register_parametrization(layer, "weight", _Interval(layer.weight, room))
        layer.parametrizations.weight.original.requires_grad_(True)

    def both(model: nn.Module, x: Images, y: Tensor) -> Tensor:
        plain, stamped = (single(logits_of(model(images))) for images in (x, trigger(x)))
        return cross_entropy(plain, y) + cross_entropy(stamped, y)

    quiet = train(data, config, model=network, loss=both, label="putting to sleep").model
    farthest = 0.0
    for name in names:
        parametrize.remove_parametrizations(quiet.get_submodule(name), "weight")
        old, new = (_rows(model.get_submodule(name)) for model in (backdoored, quiet))
        step = old.abs().amax(1, keepdim=True).clamp(min=1e-12) / LEVELS
        farthest = max(farthest, float(((new - old).abs() / step).max()))
    return Sleeper(quiet.eval(), farthest)


def _rows(layer: Any) -> Tensor:
    rows: Tensor = layer.weight.detach().flatten(1)
    return rows
