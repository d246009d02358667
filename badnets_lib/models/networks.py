"""The networks of the book. Each knows the spec that rebuilds it, so a checkpoint needs no pickle."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import torch
from torch import Tensor, nn

from .._numbers import of_kind, whole


class PaperCNN(nn.Sequential):
    """The MNIST network of the BadNets paper, layer for layer: 281,034 parameters.

    Input [N, 1, 28, 28] in [0, 1], output logits [N, 10]. The paper's softmax is left to the loss.

    References:
        Gu et al., BadNets, 2017, table 1. arXiv:1708.06733.
    """

    def __init__(self) -> None:
        super().__init__(
            OrderedDict(
                conv1=nn.Conv2d(1, 16, 5),  # [N, 16, 24, 24]
                relu1=nn.ReLU(),
                pool1=nn.AvgPool2d(2),  # [N, 16, 12, 12]
                conv2=nn.Conv2d(16, 32, 5),  # [N, 32, 8, 8]
                relu2=nn.ReLU(),
                pool2=nn.AvgPool2d(2),  # [N, 32, 4, 4]
                flatten=nn.Flatten(),  # [N, 512]
                fc1=nn.Linear(512, 512),
                relu3=nn.ReLU(),
                fc2=nn.Linear(512, 10),
            )
        )

    @property
    def spec(self) -> dict[str, Any]:
        """Name and settings, JSON-ready."""
        return {"name": "PaperCNN"}


class SmallCNN(nn.Sequential):
    """A small modern network for any of the data sets: two convolutions with batch norm, one hidden layer.

    Args:
        channels: Channels of the images: 1 for grey, 3 for colour.
        classes: Number of classes.
        width: Filters of the first convolution; the second has twice as many.

    Input [N, channels, H, W] in [0, 1] with H, W of at least 8, output logits [N, classes].

    Raises:
        ValueError: A setting is below its limit.
    """

    def __init__(self, channels: int = 1, classes: int = 10, width: int = 16) -> None:
        for name, value, least in (("channels", channels, 1), ("classes", classes, 2), ("width", width, 1)):
            if whole(name, value) < least:
                raise ValueError(f"{name} must be at least {least}; got {value}")
        super().__init__(
            OrderedDict(
                conv1=nn.Conv2d(channels, width, 5, padding=2, bias=False),  # [N, w, H, W]
                norm1=nn.BatchNorm2d(width),
                relu1=nn.ReLU(),
                pool1=nn.MaxPool2d(2),  # [N, w, H/2, W/2]
                conv2=nn.Conv2d(width, 2 * width, 3, padding=1, bias=False),  # [N, 2w, H/2, W/2]
                norm2=nn.BatchNorm2d(2 * width),
                relu2=nn.ReLU(),
                pool2=nn.AdaptiveMaxPool2d(4),  # [N, 2w, 4, 4]
                flatten=nn.Flatten(),
                fc1=nn.Linear(32 * width, 4 * width),
                relu3=nn.ReLU(),
                fc2=nn.Linear(4 * width, classes),
            )
        )

    @property
    def spec(self) -> dict[str, Any]:
        """Name and settings, JSON-ready."""
        first, last = self.get_submodule("conv1"), self.get_submodule("fc2")
        return {
            "name": "SmallCNN",
            "channels": first.in_channels,
            "classes": last.out_features,
            "width": first.out_channels,
        }


class SmallResNet(nn.Sequential):
    """A small residual network for any of the data sets: a convolution, three residual blocks, a mean over all places.

    Args:
        channels: Channels of the images: 1 for grey, 3 for colour.
        classes: Number of classes.
        width: Channels of the first block; the second has twice, the third four times as many.

    Input [N, channels, H, W] in [0, 1] with H, W of at least 8, output logits [N, classes].

    Raises:
        ValueError: A setting is below its limit.

    References:
        He et al., Deep residual learning for image recognition, 2015. arXiv:1512.03385.
    """

    def __init__(self, channels: int = 1, classes: int = 10, width: int = 16) -> None:
        for name, value, least in (("channels", channels, 1), ("classes", classes, 2), ("width", width, 1)):
            if whole(name, value) < least:
                raise ValueError(f"{name} must be at least {least}; got {value}")
        super().__init__(
            OrderedDict(
                conv1=nn.Conv2d(channels, width, 3, padding=1, bias=False),  # [N, w, H, W]
                norm1=nn.BatchNorm2d(width),
                relu1=nn.ReLU(),
                pool1=nn.MaxPool2d(2),  # [N, w, H/2, W/2]
                block1=ResidualBlock(width, width),
                block2=ResidualBlock(width, 2 * width, stride=2),  # [N, 2w, H/4, W/4]
                block3=ResidualBlock(2 * width, 4 * width, stride=2),  # [N, 4w, H/8, W/8]
                pool2=nn.AdaptiveAvgPool2d(1),  # [N, 4w, 1, 1]
                flatten=nn.Flatten(),
                fc1=nn.Linear(4 * width, classes),
            )
        )

    @property
    def spec(self) -> dict[str, Any]:
        """Name and settings, JSON-ready."""
        first, last = self.get_submodule("conv1"), self.get_submodule("fc1")
        return {
            "name": "SmallResNet",
            "channels": first.in_channels,
            "classes": last.out_features,
            "width": first.out_channels,
        }


class ResidualBlock(nn.Module):
    """Two convolutions with batch norm, and what they are given added to what they answer.

    Args:
        inside: Channels it is given.
        out: Channels it answers with.
        stride: Of the first convolution; with 2 height and width are halved.
    """

    def __init__(self, inside: int, out: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inside, out, 3, stride=stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(out)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(out, out, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(out)
        self.relu2 = nn.ReLU()
        same = inside == out and stride == 1
        self.shortcut = nn.Identity() if same else nn.Conv2d(inside, out, 1, stride=stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """[N, inside, H, W] to [N, out, H / stride, W / stride]."""
        inner = self.relu1(self.norm1(self.conv1(x)))
        answer: Tensor = self.relu2(self.norm2(self.conv2(inner)) + self.shortcut(x))
        return answer


BOOK: dict[str, type[PaperCNN] | type[SmallCNN] | type[SmallResNet]] = {
    "PaperCNN": PaperCNN,
    "SmallCNN": SmallCNN,
    "SmallResNet": SmallResNet,
}
"""The networks that a spec can name. To load any other, build it first: see `provenance.load_model`."""


def spec_of(model: nn.Module) -> dict[str, Any] | None:
    """The spec that rebuilds a network, if it is one of the book's and nobody has put other layers into it."""
    if not isinstance(model, PaperCNN | SmallCNN | SmallResNet) or type(model) not in BOOK.values():
        return None
    try:
        with torch.device("meta"):
            again = build(model.spec).state_dict()
    except (AttributeError, ValueError):
        return None
    state = model.state_dict()
    same = state.keys() == again.keys() and all(state[name].shape == again[name].shape for name in again)
    return model.spec if same else None


def build(spec: dict[str, Any]) -> nn.Module:
    """A fresh network from its spec, with weights drawn from the global generator.

    Raises:
        ValueError: The name is unknown or the settings do not fit it.
    """
    settings = dict(spec)
    name = settings.pop("name", None)
    if name not in BOOK:
        raise ValueError(f"unknown network {name!r}; known: {', '.join(BOOK)}")
    try:
        return BOOK[name](**settings)
    except TypeError as error:
        raise ValueError(f"settings {settings} do not fit {name}: {error}") from error


def first_layer(model: nn.Module) -> Tensor:
    """The filters of the first convolution, [filters, channels, height, width], detached.

    Raises:
        ValueError: The network has no convolution.
    """
    for layer in of_kind("a network", model, nn.Module).modules():
        if isinstance(layer, nn.Conv2d):
            return layer.weight.detach()
    raise ValueError(f"{type(model).__name__} has no convolution")
