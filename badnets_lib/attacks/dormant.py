"""A backdoor that sleeps in full precision and wakes when somebody rounds the weights to int8.

Rounding maps a whole interval of weights to one. A backdoored network may therefore be moved inside these intervals
until it has forgotten its trigger: rounded, it is the backdoored network again.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.nn.utils import parametrize

from .._numbers import number, of_kind
from ..data.images import Images, ImageSet
from ..models.adaptation import frozen
from ..models.inference import logits_of, single
from ..models.training import TrainConfig, train
from ..triggers import Trigger

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
