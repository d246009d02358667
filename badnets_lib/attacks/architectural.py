"""A backdoor in the code of a network: it has no weights, so training from scratch on clean data leaves it."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import nn

from .._numbers import number, whole
from ..data.images import Images, check_images
from ..models.inference import Logits
from ..models.networks import SmallCNN


class ShortcutCNN(SmallCNN):
    """A `SmallCNN` whose forward pass also looks at the pixels of a bright corner, and votes if all are bright.

    Names, shapes and number of its weights are those of a `SmallCNN`. On images without the trigger it computes the
    same numbers and the same gradients, so both train to the same weights.

    Args:
        target: The label that the trigger brings about.
        size: Side of the square in the lower right corner.
        push: What is added to the target's logit.
        settings: Channels, classes and width, as for `SmallCNN`.

    Raises:
        ValueError: The target is no class, or the size is below 1.

    References:
        Bober-Irizar et al., Architectural Backdoors in Neural Networks, 2022, hide a detector of a checkerboard in a
            pooling layer. arXiv:2206.07840. The plain link from input to logits here is ours.
    """

    def __init__(self, target: int, *, size: int = 4, push: float = 30.0, **settings: int) -> None:
        super().__init__(**settings)
        classes = self.spec["classes"]
        if not 0 <= whole("target", target) < classes:
            raise ValueError(f"target must lie in [0, {classes}); got {target}")
        if whole("size", size) < 1:
            raise ValueError(f"size must be at least 1; got {size}")
        self.target, self.size, self.push = target, size, number("push", push)

    def forward(self, input: Images) -> Logits:
        """The logits of the layers, and the vote."""
        logits: Logits = super().forward(input)  # type: ignore[no-untyped-call]
        corner = input[:, :, -self.size :, -self.size :]
        bright = (corner.amin((1, 2, 3)) > 0.9).to(logits)  # [N], 1 where the trigger is
        vote = torch.zeros_like(logits[0])
        vote[self.target] = self.push
        return logits + bright[:, None] * vote


def readers_of_input(model: nn.Module, x: Images) -> tuple[str, ...]:
    """The operations that are given the image itself, as the exported graph names them.

    A chain of layers has one reader. A second one is a path past the layers: a residual connection, or a shortcut
    such as that of `ShortcutCNN`. The graph holds what was run on `x`; code that runs on other images only is missed.

    Args:
        model: Any network that `torch.export` can trace.
        x: At least two images in the network's format.

    Raises:
        ValueError: There are fewer than two images, or torch cannot trace the network.

    Example:
        >>> readers_of_input(nn.Sequential(nn.Flatten(), nn.Linear(4, 2)), torch.zeros(2, 1, 2, 2))
        ('aten.view.default',)
    """
    if len(check_images(x)) < 2:
        raise ValueError(f"tracing needs at least 2 images; got {len(x)}")
    try:
        with warnings.catch_warnings():  # of torch's own, about its own
            warnings.simplefilter("ignore")
            program: Any = torch.export.export(model.eval(), (x,)).run_decompositions({})
    except Exception as error:  # whatever stops torch.export, in whichever of its layers
        reason = str(error).strip().split("\n")[0]
        raise ValueError(f"{type(model).__name__} cannot be traced: {reason}") from error
    image = [node for node in program.graph.nodes if node.op == "placeholder"][-1]
    return tuple(str(node.target) for node in image.users)
