"""The channels of a convolution: how active each is, and what the network can do without some of them."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from .._numbers import of_kind, shown, whole, wholes
from ..counts import Proportion
from ..data.images import ImageSet, check_set
from ..models.inference import check_network, check_outputs, place, placement, predict, unwrapped
from ..models.layers import Call, calls_of, find_layer, last_convolution, listen
from ._replay import calls_before, replaying


class Channels:
    """The channels of one convolution of any network, in the eyes of some images.

    A channel is what the convolution, and batch norm where it directly follows, says at every place. Its activity is
    taken there, before any pooling, as what a ReLU lets through.

    Args:
        model: Any network that calls the layer once for an image; it is left as it is. A wrapper of `torch.compile` or
            `DataParallel` is taken off.
        data: Images with the labels that count as right: clean ones, or `attack.on(test)` for the attack success rate.
        layer: Name of the convolution, or of any other layer that answers with channels, [N, C, H, W]. None: the last
            convolution that the network calls, unless that one gives the logits.
        batch_size: Images per forward pass.

    Attributes:
        layer: The name of the layer.

    Raises:
        TypeError: The model is no network.
        ValueError: There are no images, no such layer, or the layer is called more than once or has no channels.

    Example:
        >>> images = ImageSet(torch.rand(8, 3, 16, 16), torch.arange(8) % 2, ("a", "b"))
        >>> channels = Channels(SmallCNN(3, 2, width=4), images)
        >>> channels.layer, len(channels.dormant_first())
        ('conv2', 8)
    """

    def __init__(self, model: nn.Module, data: ImageSet, layer: str | None = None, *, batch_size: int = 64) -> None:
        self._model = unwrapped(check_network(model))
        if not len(check_set(data, "the activity of channels")):
            raise ValueError("the activity of channels needs at least 1 image; got none")
        self._data = data
        self._batch_size = whole("batch_size", batch_size)
        if self._batch_size < 1:
            raise ValueError(f"batch_size must be at least 1; got {batch_size}")
        self.layer = last_convolution(self._model, data.x) if layer is None else of_kind("layer", layer, str)
        calls, _ = calls_of(self._model, data.x)
        unit = _unit(self._model, calls, self.layer)
        self._unit = tuple(call.name for call in unit)
        self._cuts = [
            (call.name, calls_before(calls, call)) for call in (_carriers(self._model, calls, unit[-1]), unit[-1])
        ]
        output = unit[-1].output
        if not isinstance(output, Tensor) or output.ndim != 4:
            shape = list(output.shape) if isinstance(output, Tensor) else type(output).__name__
            raise ValueError(f"layer {self.layer!r} must answer with channels [N, C, H, W]; got {shape}")
        self._count = output.shape[1]

    @cached_property
    def activity(self) -> Float[Tensor, " channels"]:
        """Mean of each channel's positive part, over images and places, [C]."""
        rows, _ = listen(
            self._model,
            self._data.x,
            self._unit[-1],
            lambda output: output.float().clamp(min=0).mean((2, 3)).cpu(),
            batch_size=self._batch_size,
        )
        return rows.mean(0)

    def dormant_first(self) -> tuple[int, ...]:
        """The channels, from the least active on these images to the most active."""
        return tuple(self.activity.argsort(stable=True).tolist())

    def curve(self, order: Sequence[int]) -> tuple[Proportion, ...]:
        """Right answers after silencing 0, 1, ... and all channels in that order: len(order) + 1 counts.

        What comes before the layer is computed once for each batch, and handed out again for every count.
        """
        order = wholes("order", order)
        network, silent, before = self._cut(order)
        weights = placement(network)
        hits = torch.zeros(len(order) + 1, dtype=torch.long)
        for x, y in zip(*(torch.split(each, self._batch_size) for each in (self._data.x, self._data.y)), strict=True):
            silent.fill_(False)
            with replaying(network, before, place(x, weights)) as answer:
                for count, channel in enumerate((None, *order)):
                    if channel is not None:
                        silent[channel] = True
                    logits = check_outputs(answer(), len(self._data.classes))
                    hits[count] += int((logits.argmax(1).cpu() == y.cpu()).sum())
        return tuple(Proportion(each, len(self._data)) for each in hits.tolist())

    def _cut(self, order: Sequence[int]) -> tuple[nn.Module, Tensor, dict[str, tuple[int, ...]]]:
        """A network to silence channels of, the buffer that says which, and the calls that need not be repeated.

        Channels are silenced as late as that comes to the same: behind activation and pooling there is less to compute.
        """
        some = order[: (len(order) + 1) // 2]
        x = self._data.x[: self._batch_size]
        name, before = self._cuts[0]
        network = _silenced(self._model, name, self._count, some)
        if not torch.equal(predict(network, x), predict(self.silenced(some), x)):
            name, before = self._cuts[1]
            network = self.silenced(())
        network.requires_grad_(False)
        return network, _mask_of(find_layer(network, name)), before

    def silenced(self, channels: Sequence[int]) -> nn.Module:
        """A copy in which these channels say nothing, whatever their weights, and so learn nothing either.

        A forward hook of the layer sets them to zero. Which ones, the layer keeps as a buffer "silent" in its state.
        """
        return _silenced(self._model, self._unit[-1], self._count, channels)

    def into_weights(self, network: nn.Module) -> nn.Module:
        """A network from `silenced`, with weights of zero instead of the hook where that answers the same.

        The convolution's channels are set to zero, and so are scale and shift of batch norm that directly follows. If
        all answers to the images are the same, the copy that is returned is a plain network of the given kind;
        otherwise the network itself is returned.
        """
        gone = _mask_of(find_layer(network, self._unit[-1]))
        state = {name: each for name, each in network.state_dict().items()}
        del state[f"{self._unit[-1]}.silent"]
        plain = copy.deepcopy(self._model).eval()
        if not isinstance(find_layer(plain, self.layer), nn.Conv2d):
            return network
        plain.load_state_dict(state, strict=False)
        with torch.no_grad():
            for name in self._unit:
                for weight in _affine(find_layer(plain, name)):
                    weight[gone] = 0
        answers = (predict(each, self._data.x, batch_size=self._batch_size) for each in (plain, network))
        return plain if torch.equal(*answers) else network

    def without(self, channels: Sequence[int]) -> nn.Module:
        """A copy in which these channels say nothing: by its weights if they can, by a hook if not."""
        return self.into_weights(self.silenced(channels))


def is_silenced(network: nn.Module) -> bool:
    """Whether channels of this network are silent by a hook."""
    return any(_silence in part._forward_hooks.values() for part in network.modules())


def _silenced(model: nn.Module, name: str, count: int, channels: Sequence[int]) -> nn.Module:
    network = copy.deepcopy(model).eval()
    layer = find_layer(network, name)
    silent = torch.zeros(count, dtype=torch.bool, device=placement(network).device)
    chosen = wholes("channels", channels)
    if not all(0 <= channel < count for channel in chosen):
        raise ValueError(f"channels must lie in [0, {count}); got {shown(channels)}")
    silent[list(chosen)] = True
    if "silent" in dict(layer.named_buffers(recurse=False)):
        silent |= _mask_of(layer)
    else:
        layer.register_forward_hook(_silence)
    layer.register_buffer("silent", silent)
    return network


def _silence(part: nn.Module, _given: Any, output: Tensor) -> Tensor:
    return output.masked_fill(_mask_of(part).view(1, -1, 1, 1), 0)


def _mask_of(part: nn.Module) -> Tensor:
    silent: Tensor = part.get_buffer("silent")
    return silent


def _affine(part: nn.Module) -> list[Tensor]:
    found = (getattr(part, name, None) for name in ("weight", "bias"))
    return [each for each in found if isinstance(each, Tensor)]


def _unit(model: nn.Module, calls: Sequence[Call], layer: str) -> tuple[Call, ...]:
    """The call of the layer, and that of batch norm if it is given what a convolution returned."""
    part = find_layer(model, layer)
    times = Counter(call.name for call in calls)
    if times[layer] != 1:
        raise ValueError(f"the network must call layer {layer!r} once for an image; it is called {times[layer]} times")
    own = next(call for call in calls if call.name == layer)
    if not isinstance(part, nn.Conv2d):
        return (own,)
    for call in calls:
        norm = hasattr(find_layer(model, call.name), "running_mean")
        if norm and times[call.name] == 1 and call.is_given_what(own):
            return own, call
    return (own,)


CARRIERS = (nn.Identity, nn.ReLU, nn.Dropout, nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveMaxPool2d, nn.AdaptiveAvgPool2d)
"""Layers that treat each channel alone and answer zeros with zeros."""


def _carriers(model: nn.Module, calls: Sequence[Call], last: Call) -> Call:
    """The last of the layers that directly follow, are called once, and leave silent channels silent."""
    times = Counter(call.name for call in calls)
    for call in calls[calls.index(last) + 1 :]:
        if times[call.name] == 1 and isinstance(find_layer(model, call.name), CARRIERS) and call.is_given_what(last):
            last = call
    return last
