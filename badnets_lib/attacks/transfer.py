"""The transfer attack: a backdoored network becomes the feature extractor of another task.

The victim keeps the convolutions and trains new fully connected layers on data of its own. The attacker
may have strengthened the channels that carry the backdoor before handing the network over.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import nn

from ..data.images import Images, ImageSet
from ..models.adaptation import frozen
from ..models.layers import channel_means
from ..models.networks import SmallCNN, build
from ..models.training import TrainConfig, Trained, train

LAYER = "relu2"
"""The output of the last convolution of a `SmallCNN`."""

HEAD = ("fc1", "fc2")
"""Its fully connected layers."""


def backdoor_channels(model: nn.Module, clean: Images, triggered: Images, *, count: int = 3) -> tuple[int, ...]:
    """Channels of the last convolution that the trigger excites most, the most excited first.

    Args:
        model: A `SmallCNN`.
        clean: Images without the trigger.
        triggered: The same images with it.
        count: Number of channels.

    Raises:
        ValueError: The layer has fewer channels.

    References:
        Gu et al., BadNets, 2017, section 5. arXiv:1708.06733.
    """
    excited = channel_means(model, triggered, LAYER) - channel_means(model, clean, LAYER)
    if not 1 <= count <= len(excited):
        raise ValueError(f"count must lie in [1, {len(excited)}]; got {count}")
    return tuple(excited.argsort(descending=True)[:count].tolist())


def strengthened(model: SmallCNN, channels: Sequence[int], k: float | int) -> SmallCNN:
    """A copy whose last convolution answers `k` times as strongly in some channels.

    Scale and shift of batch norm are multiplied, not the convolution's weights: a ReLU passes the factor
    on exactly, and batch norm cannot take it out again while it keeps to its running statistics.

    Args:
        model: The network; it is not changed.
        channels: Which channels.
        k: The factor; 1 changes nothing.

    Raises:
        ValueError: The factor is not positive.
    """
    if not k > 0:
        raise ValueError(f"k must be positive; got {k}")
    stronger = copy.deepcopy(model)
    with torch.no_grad():
        for tensor in stronger.get_submodule("norm2").parameters():
            tensor[list(channels)] *= k
    return stronger


def transferred(
    model: SmallCNN, data: ImageSet, config: TrainConfig | None = None, *, hold_statistics: bool = True
) -> Trained:
    """Train new fully connected layers for another task on the frozen convolutions of `model`.

    Args:
        model: The network whose convolutions are kept, bit for bit.
        data: Training images of the new task, in the format of the old one.
        config: Settings, as for `train`; the seed also decides the first weights of the new layers.
        hold_statistics: Keep batch norm's running statistics of the old task. Without it they follow the
            new images, although no weight of the convolutions moves.
    """

    def network() -> nn.Module:
        fresh = build(model.spec | {"classes": len(data.classes)})
        kept = {name: tensor for name, tensor in model.state_dict().items() if not name.startswith(HEAD)}
        fresh.load_state_dict(fresh.state_dict() | kept)
        return frozen(fresh, train=HEAD, hold_statistics=hold_statistics)

    return train(data, config, model=network, label="transfer")
