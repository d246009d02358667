"""The transfer attack: a backdoored network becomes the feature extractor of another task.

The user keeps the convolutions and trains new fully connected layers on other data. The attacker
may have strengthened the channels that carry the backdoor before handing the network over.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from .._numbers import number, whole, wholes
from ..data.images import ImageSet, StoredImages, check_set
from ..models.adaptation import frozen, with_fresh_layers
from ..models.inference import unwrapped
from ..models.layers import (
    Call,
    calls_of,
    channel_means,
    find_layer,
    fully_connected,
    last_convolution,
    weighted_leaf,
)
from ..models.training import TrainConfig, Trained, train

NORMS = (_NormBase, nn.GroupNorm, nn.LayerNorm, nn.LocalResponseNorm)


def backdoor_channels(
    model: nn.Module, clean: StoredImages, triggered: StoredImages, *, layer: str | None = None, count: int = 3
) -> tuple[int, ...]:
    """Channels of the last convolution that the trigger excites most, the most excited first.

    Args:
        model: Any convolutional network.
        clean: Images without the trigger.
        triggered: The same images with it.
        layer: Name of the layer whose channels are compared. None: the last one that answers in the format of the last
            convolution, such as the activation after it.
        count: Number of channels.

    Raises:
        ValueError: The layer has fewer channels, or the last convolution is not the last block of the network.

    References:
        Gu et al., BadNets, 2017, section 5. arXiv:1708.06733.
    """
    layer = _after_last_convolution(model, clean)[-1].name if layer is None else layer
    excited = channel_means(model, triggered, layer) - channel_means(model, clean, layer)
    if not 1 <= whole("count", count) <= len(excited):
        raise ValueError(f"count must lie in [1, {len(excited)}]; got {count}")
    return tuple(excited.argsort(descending=True)[:count].tolist())


def strengthened(
    model: nn.Module, channels: Sequence[int], k: float | int, x: StoredImages, *, layer: str | None = None
) -> nn.Module:
    """A copy whose last convolution answers `k` times as strongly in some channels.

    Of batch norm after the convolution, scale and shift are multiplied, not the convolution's weights: a ReLU passes
    the factor on exactly, and batch norm cannot take it out again while it keeps to its running statistics.

    Args:
        model: The network; it is not changed.
        channels: Which channels.
        k: The factor; 1 changes nothing.
        x: Images in the network's format; two are enough. The network is run to find the layer.
        layer: Name of the layer whose weights are multiplied. None: the normalisation after the last convolution, or
            the last convolution itself if there is none.

    Raises:
        ValueError: The factor is not positive, there is no such channel, or the last convolution is not the last block
            of the network.
    """
    channels = wholes("channels", channels)
    if not number("k", k) > 0:
        raise ValueError(f"k must be positive; got {k}")
    if layer is None:
        layer = [call for call in _after_last_convolution(model, x) if weighted_leaf(call.layer)][-1].name
    stronger = copy.deepcopy(unwrapped(model))
    tensors = [*find_layer(stronger, layer).parameters()]
    if not channels or not all(0 <= channel < len(tensor) for channel in channels for tensor in tensors):
        raise ValueError(f"layer {layer!r} needs channels in [0, {min(map(len, tensors))}); got {tuple(channels)}")
    with torch.no_grad():
        for tensor in tensors:
            tensor[list(channels)] *= k
    return stronger


def _after_last_convolution(model: nn.Module, x: StoredImages) -> list[Call]:
    """The last convolution and the layers after it that keep its format and are called once, in order.

    Raises:
        ValueError: Other weights than those of normalisations and fully connected layers come after it: the last
            convolution is not the last block, as in a vision transformer.
    """
    calls = calls_of(model, x)[0]
    names = [call.name for call in calls]
    last = len(names) - 1 - names[::-1].index(last_convolution(model, x))
    leaves = [call for call in calls[last:] if not [*call.layer.children()]]
    head = fully_connected(model, x)
    for call in leaves[1:]:
        if weighted_leaf(call.layer) and not isinstance(call.layer, NORMS) and call.name not in head:
            raise ValueError(
                f"the transfer attack is one on the last convolution; after {names[last]!r} come other layers with "
                f"weights, such as {call.name!r}: name a layer"
            )
    shape = leaves[0].output.shape
    return [
        call
        for call in leaves
        if isinstance(call.output, torch.Tensor) and call.output.shape == shape and names.count(call.name) == 1
    ]


def transferred(
    model: nn.Module,
    data: ImageSet,
    config: TrainConfig | None = None,
    *,
    layers: Sequence[str] | None = None,
    hold_statistics: bool = True,
) -> Trained:
    """Train new fully connected layers for another task on the frozen rest of `model`.

    Args:
        model: The network whose other layers are kept, bit for bit.
        data: Training images of the new task, in the format of the old one.
        config: Settings, as for `train`; the seed also decides the first weights of the new layers.
        layers: Names of the layers that are made anew; the last one always is. None: the fully connected layers at
            the end, see `models.layers.fully_connected`.
        hold_statistics: Keep batch norm's running statistics of the old task. Without it they follow the
            new images, although no weight of the other layers moves.

    Raises:
        ValueError: There is no such layer, or the last one is neither linear nor a convolution.
    """
    chosen = fully_connected(model, check_set(data, "a transfer").x) if layers is None else tuple(layers)

    def network() -> nn.Module:
        fresh = with_fresh_layers(model, chosen, len(data.classes), data.x)
        return frozen(fresh, train=chosen, hold_statistics=hold_statistics)

    return train(data, config, model=network, label="transfer")
