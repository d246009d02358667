"""A backdoor without any training: three units of a finished network are overwritten by hand.

One first-layer filter becomes a template of the trigger, one channel and one hidden unit carry its
answer to the last layer, and there it votes for the target. No image is needed to learn anything;
a few serve to find units that nobody will miss and to size the vote. It is written for the layers of the book's own
two networks; every other room of the library takes any network.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from .._numbers import number, shown, whole
from ..data.images import Images, check_images
from ..models.networks import PaperCNN, SmallCNN
from ..triggers import Trigger
from ..triggers.base import check_repeats

THRESHOLD = 0.85
"""Part of the template's full answer that the filter subtracts: a partial match stays silent."""


@dataclass(frozen=True, eq=False)
class Surgery:
    """A network edited by hand.

    Attributes:
        model: The edited copy, in evaluation mode.
        units: The overwritten unit of each layer.
        gain: The weight that passes the signal on, the same in each of the three layers after the first.
    """

    model: nn.Module = field(repr=False)
    units: dict[str, int]
    gain: float


@torch.no_grad()
def handcrafted(model: nn.Module, trigger: Trigger, target: int, x: Images, *, margin: float = 2.0) -> Surgery:
    """Write a backdoor into a copy of a clean network.

    Args:
        model: A `PaperCNN` or `SmallCNN`; it is not changed.
        trigger: One that sets its pixels to fixed values, whatever the image, all inside one window of
            the size of a first-layer filter.
        target: The label the trigger should bring about.
        x: Unlabelled images of any origin, in the network's format.
        margin: The vote for the target, in units of the widest gap between two logits of an image of `x`.

    Raises:
        ValueError: The target does not exist, there is no image, or the trigger's pixels vary, do not fit or are dark.
        TypeError: The network is not built of the layers this knows.

    References:
        Hong, Carlini, Kurakin, Handcrafted Backdoors in Deep Neural Networks, 2022. arXiv:2106.04690.
            Theirs also hides the edit from inspection and from fine-tuning; this one teaches the principle.
    """
    if not isinstance(model, PaperCNN | SmallCNN):
        raise TypeError(
            "surgery knows the layers of the book's own networks alone and needs a PaperCNN or a SmallCNN; "
            f"got {type(model).__name__}"
        )
    if not len(check_images(x)):
        raise ValueError("surgery needs at least one image; got none")
    target = whole("target", target)
    check_repeats(trigger, x[:2])
    number("margin", margin)
    patient = _Operation(model, x)
    logits = patient.model(patient.x)
    if not 0 <= target < logits.shape[1]:
        raise ValueError(f"target must lie in [0, {logits.shape[1]}); got {target}")
    signs, full = template(trigger, x.shape[1:], patient["conv1"].kernel_size[0])
    stamped = trigger(torch.zeros_like(patient.x[:1]))
    patient.detect(signs, full)
    push = margin * float((logits.amax(1) - logits.amin(1)).max())
    gain = (push / (2 * patient.route(stamped))) ** (1 / 3)
    patient.vote(target, gain)
    return Surgery(patient.model, patient.units, gain)


@torch.no_grad()
def quietest(model: nn.Module, x: Images) -> dict[str, int]:
    """The unit of "conv1", "conv2" and "fc1" that matters least on `x`: {layer: index}.

    How much a unit matters is taken as its mean activation times the size of the weights that listen to it.
    """
    found: dict[str, int] = {}
    for layer, relu, listener in (("conv1", "pool1", "conv2"), ("conv2", "pool2", "fc1"), ("fc1", "fc2", "fc2")):
        activation = _before(model, relu, x).transpose(0, 1).flatten(1).mean(1)
        weights: Any = model.get_submodule(listener).weight
        strength = weights.transpose(0, 1).reshape(len(activation), -1).norm(dim=1)
        found[layer] = int((activation * strength).argmin())
    return found


def template(trigger: Trigger, shape: torch.Size, size: int) -> tuple[Float[Tensor, "c h w"], float]:
    """A filter that answers to the trigger's own pixels, and its full answer.

    Returns:
        Signs [C, size, size]: +1 where the trigger is bright, -1 where it is dark, 0 where it leaves
        the image alone; and the sum over a stamped image.

    Raises:
        ValueError: No pixel is set to a fixed value, they lie further apart than `size`, or are dark.
    """
    black, white = trigger(torch.zeros(1, *shape)), trigger(torch.ones(1, *shape))
    fixed = (black == white)[0]
    if not fixed.any():
        raise ValueError(f"{shown(trigger)} sets no pixel to a fixed value: a filter cannot be cut to it")
    rows, columns = fixed.any(0).any(1).nonzero(), fixed.any(0).any(0).nonzero()
    height, width = int(rows.max() - rows.min()) + 1, int(columns.max() - columns.min()) + 1
    if max(height, width) > size:
        raise ValueError(f"{shown(trigger)} covers {height}x{width} pixels; the filters have {size}x{size}")
    top, left = (max(int(end.max()) + 1 - size, 0) for end in (rows, columns))
    window = (slice(None), slice(top, top + size), slice(left, left + size))
    signs = torch.where(fixed, (black[0] > 0.5) * 2.0 - 1.0, 0.0)[window]
    full = float((signs * black[0][window]).sum())
    if full <= 0:
        raise ValueError(f"{shown(trigger)} is too dark: a black image would answer its filter as well")
    return signs, full


class _Operation:
    """A copy of a network under surgery, the images it is watched on, and the units it will lose."""

    def __init__(self, model: nn.Module, x: Images) -> None:
        self.model = copy.deepcopy(model).eval()
        self.x = x.to(self["conv1"].weight)
        self.units = quietest(self.model, self.x)

    def __getitem__(self, layer: str) -> Any:
        return self.model.get_submodule(layer)

    def detect(self, signs: Tensor, full: float) -> None:
        """Cut the first-layer filter to the trigger, as large as its neighbours; nobody listens to it yet."""
        weights = self["conv1"].weight
        unit = self.units["conv1"]
        scale = weights.flatten(1).norm(dim=1).median() / signs.norm()
        weights[unit] = signs.to(scale) * scale
        self._shift("1", unit, -THRESHOLD * full * scale)
        self["conv2"].weight[:, unit] = 0

    def route(self, stamped: Images) -> float:
        """Lead the filter's answer through one channel to one hidden unit; its activation on `stamped`."""
        conv = self["conv2"]
        fc = self["fc1"]
        source, channel, hidden = (self.units[name] for name in ("conv1", "conv2", "fc1"))
        conv.weight[channel] = 0
        place = _loudest(_before(self.model, "conv2", stamped)[0, source])
        sides = conv(_before(self.model, "conv2", stamped)).shape[-2:]
        # The kernel entry that hears that place: the centre one, unless its output would be off the map.
        pad = conv.padding[0]
        centre = conv.kernel_size[0] // 2
        heard = [min(max(at + pad - centre, 0), side - 1) for at, side in zip(place, sides, strict=True)]
        row, column = (at + pad - to for at, to in zip(place, heard, strict=True))
        conv.weight[channel, source, row, column] = 1
        self._shift("2", channel, 0.0)
        pooled = _before(self.model, "flatten", stamped)[0]
        row, column = _loudest(pooled[channel])
        cells = pooled[0].numel()
        fc.weight[:, channel * cells : (channel + 1) * cells] = 0
        fc.weight[hidden] = 0
        fc.weight[hidden, channel * cells + row * pooled.shape[2] + column] = 1
        fc.bias[hidden] = 0
        return float(_before(self.model, "fc2", stamped)[0, hidden])

    def vote(self, target: int, gain: float) -> None:
        """Let the hidden unit speak for the target and against all others."""
        hidden = self.units["fc1"]
        self["conv2"].weight[self.units["conv2"]] *= gain
        self._shift("2", self.units["conv2"], 0.0)
        self["fc1"].weight[hidden] *= gain
        self["fc2"].weight[:, hidden] = -gain
        self["fc2"].weight[target, hidden] = gain

    def _shift(self, number: str, unit: int, shift: Tensor | float) -> None:
        """Let a channel pass on what its convolution says, plus `shift`, with or without batch norm.

        Batch norm is given the channel's true statistics on the images, and a scale and shift that undo
        them: the channel says nearly the same when batch norm uses a batch's statistics instead.
        """
        if isinstance(self.model, PaperCNN):
            self[f"conv{number}"].bias[unit] = shift
            return
        norm = self[f"norm{number}"]
        a = _before(self.model, f"norm{number}", self.x)[:, unit]
        norm.running_mean[unit] = a.mean()
        norm.running_var[unit] = a.var(correction=0)
        norm.weight[unit] = (norm.running_var[unit] + norm.eps).sqrt()
        norm.bias[unit] = norm.running_mean[unit] + shift


def _before(model: nn.Module, layer: str, x: Tensor) -> Tensor:
    """What the named layer is given."""
    for name, each in model.named_children():
        if name == layer:
            break
        x = each(x)
    return x


def _loudest(a: Float[Tensor, "h w"]) -> tuple[int, int]:
    row, column = divmod(int(a.argmax()), a.shape[1])
    return row, column
