"""Networks that are none of the book's: what a reader may bring. Small, untrained unless a test trains them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from badnets_lib._torchvision import declare_operators

declare_operators()

from torchvision.models import densenet, mobilenet_v3_small, resnet18, vision_transformer  # noqa: E402

SIDE = 32
CLASSES = 4


def small_resnet18(classes: int = CLASSES) -> nn.Module:
    """ResNet-18 with the stem for small images: residual blocks, one ReLU used twice in each."""
    model = resnet18(num_classes=classes)
    model.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
    model.maxpool = nn.Identity()
    return model


def small_mobilenet(classes: int = CLASSES) -> nn.Module:
    """MobileNetV3-small: depthwise convolutions, squeeze and excitation, dropout."""
    return mobilenet_v3_small(num_classes=classes)


def small_vit(classes: int = CLASSES) -> nn.Module:
    """A vision transformer of two layers: no convolution but the one that cuts patches, no batch norm."""
    return vision_transformer.VisionTransformer(
        image_size=SIDE, patch_size=8, num_layers=2, num_heads=2, hidden_dim=32, mlp_dim=64, num_classes=classes
    )


def small_densenet(classes: int = CLASSES) -> nn.Module:
    """A DenseNet: concatenated features, pooling and flattening without a module of their own."""
    return densenet.DenseNet(growth_rate=8, block_config=(2, 2), num_init_features=16, num_classes=classes)


class BlocksInSequential(nn.Sequential):
    """The most ordinary small residual network: a Sequential whose later convolutions are inside of blocks."""

    def __init__(self, classes: int = CLASSES) -> None:
        super().__init__(
            nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2),
            _Residual(8), _Residual(8), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, classes),
        )  # fmt: skip


class _Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, padding=1)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.relu(x + self.conv2(self.relu(self.conv1(x))))


@dataclass
class ImageClassifierOutput:
    """What a Hugging Face classifier returns."""

    logits: Tensor
    loss: Tensor | None = None


class HuggingFaceShaped(nn.Module):
    """A network whose answer is an object with `.logits`, and whose layers are named as they are there."""

    def __init__(self, classes: int = CLASSES) -> None:
        super().__init__()
        self.embedder = nn.Sequential(nn.Conv2d(3, 16, 3, stride=2, padding=1), nn.BatchNorm2d(16), nn.ReLU())
        self.encoder = nn.Sequential(nn.Conv2d(16, 32, 3, stride=2, padding=1), nn.BatchNorm2d(32), nn.ReLU())
        self.pooler = nn.AdaptiveAvgPool2d(1)
        self.dropout = nn.Dropout(0.1)
        self.classifier = nn.Linear(32, classes)

    def forward(self, pixel_values: Tensor, labels: Tensor | None = None) -> ImageClassifierOutput:
        hidden = self.pooler(self.encoder(self.embedder(pixel_values)))
        return ImageClassifierOutput(self.classifier(self.dropout(hidden.flatten(1))))


NETWORKS: dict[str, Callable[..., nn.Module]] = {
    "ResNet-18": small_resnet18,
    "MobileNetV3": small_mobilenet,
    "ViT": small_vit,
    "DenseNet": small_densenet,
    "blocks in a Sequential": BlocksInSequential,
    "Hugging Face": HuggingFaceShaped,
}
"""Every foreign network, by name; each takes the number of classes."""


def made(name: str, classes: int = CLASSES, seed: int = 0) -> Any:
    """A fresh network with weights of its own seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return NETWORKS[name](classes)
