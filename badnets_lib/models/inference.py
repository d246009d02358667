"""Asking a network: any `torch.nn.Module` from images [N, C, H, W] in [0, 1] to one logit per class.

Whatever a network's mode, dtype, device and kind of output, it is asked in one place, and is left as it was found.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ..counts import Proportion
from ..data.images import Images, ImageSet, StoredImages, to_unit

Logits = Float[Tensor, "n k"]

BATCH = 512
"""Images per forward pass, unless somebody says otherwise."""


class Normalized(nn.Module):
    """A network behind the normalisation it was trained with: images in [0, 1] go in, (x - mean) / std is what it sees.

    Triggers are stamped, and scans search, in [0, 1]; a network that normalises its images elsewhere must bring that
    with it.

    Args:
        model: The network.
        mean: Mean of each channel, for images in [0, 1].
        std: Standard deviation of each channel, positive.

    Raises:
        ValueError: Mean and deviation differ in number, or a deviation is not positive.

    Example:
        >>> Normalized(nn.Flatten(), mean=(0.5,), std=(0.5,))(torch.ones(1, 1, 1, 2))
        tensor([[1., 1.]])
    """

    mean: Tensor
    std: Tensor

    def __init__(self, model: nn.Module, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        super().__init__()
        if not mean or len(mean) != len(std) or not all(each > 0 for each in std):
            raise ValueError(f"mean and std need one number a channel, std positive; got {mean} and {std}")
        self.model = model
        weights = placement(model)
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1).to(weights))
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1).to(weights))

    def forward(self, x: Images) -> Any:
        """Whatever the network answers to the normalised images."""
        return self.model((x - self.mean) / self.std)


def placement(model: nn.Module) -> Tensor:
    """An empty tensor where the network's weights are and of their type: `x.to(placement(model))` fits its input.

    The first parameter of a floating type counts, or the first such buffer; a network with neither is taken to
    compute in single precision on the CPU.
    """
    for tensors in (model.parameters(), model.buffers()):
        for tensor in tensors:
            if tensor.is_floating_point():
                return tensor.detach().new_empty(0)
    return torch.empty(0)


def place(x: StoredImages, weights: Tensor) -> Images:
    """Images in [0, 1], however they are stored, where `weights` are and of their type."""
    return to_unit(x.to(weights.device)).to(weights.dtype)


def logits_of(output: Any) -> Logits:
    """The logits [N, K] in what a network returns: a tensor, the first of a tuple, "logits" or `.logits`.

    Raises:
        TypeError: There is none, or it is not of shape [N, K].
    """
    found = output
    if isinstance(output, Mapping):
        found = output.get("logits", output.get("out"))
    elif hasattr(output, "logits"):
        found = output.logits
    elif isinstance(output, tuple | list) and output:
        found = output[0]
    if not isinstance(found, Tensor) or found.ndim != 2:
        shape = f" of shape {list(found.shape)}" if isinstance(found, Tensor) else ""
        raise TypeError(
            "a classifier must return logits [N, K]: a tensor, the first entry of a tuple, or what is called "
            f"'logits'; got {type(output).__name__}{shape}"
        )
    return found


def check_outputs(logits: Logits, classes: int) -> Logits:
    """The logits, if there is one for each class.

    Raises:
        ValueError: The network has another number of outputs than the data have classes.
    """
    if logits.shape[1] != classes:
        raise ValueError(f"the network has {logits.shape[1]} outputs; the data have {classes} classes")
    return logits


@contextmanager
def evaluating(model: nn.Module, *, frozen: bool = False) -> Iterator[None]:
    """Evaluation mode inside the block, if `frozen` without parameter gradients; every part's own state afterwards."""
    modes = [(part, part.training) for part in model.modules()]
    wanted = [(weight, weight.requires_grad) for weight in model.parameters()] if frozen else []
    try:
        for part, training in modes:
            if training:
                part.training = False
        for weight, _ in wanted:
            weight.requires_grad_(False)
        yield
    finally:
        for part, training in modes:
            part.training = training
        for weight, gradient in wanted:
            weight.requires_grad_(gradient)


@torch.no_grad()
def predict(model: nn.Module, x: StoredImages, *, batch_size: int = BATCH) -> Logits:
    """Logits [N, K] on the CPU, in evaluation mode; the network's own mode is put back afterwards.

    Args:
        model: Any classifier from [N, C, H, W] to [N, K]; see `logits_of` for what it may return.
        x: Images in [0, 1] or uint8; converted and moved to the network's device and dtype batch by batch.
        batch_size: Images per forward pass.

    Raises:
        TypeError: The model is no `nn.Module`, `x` no tensor, or the output no logits.
        ValueError: `x` holds no image, `batch_size` is below 1, or an answer is not a finite number.
    """
    check_network(model)
    if not isinstance(x, Tensor):
        raise TypeError(f"predict needs images [N, C, H, W] as a tensor; got {type(x).__name__} (of a set: data.x)")
    if not len(x) or batch_size < 1:
        raise ValueError(f"predict needs at least one image per batch; got {len(x)} in batches of {batch_size}")
    weights = placement(model)
    with evaluating(model):
        logits = torch.cat([logits_of(model(place(part, weights))).cpu() for part in x.split(batch_size)])
    return check_finite(logits)


def check_network(model: Any) -> nn.Module:
    """The network, if it is one.

    Raises:
        TypeError: It is something else.
    """
    if not isinstance(model, nn.Module):
        hint = " (of what train returns: trained.model)" if hasattr(model, "model") else ""
        raise TypeError(f"need a network, a torch.nn.Module; got {type(model).__name__}{hint}")
    return model


def check_finite(logits: Logits) -> Logits:
    """The logits, if all are numbers: the largest of NaN and NaN is class 0, a perfect attack on it.

    Raises:
        ValueError: Some are not.
    """
    bad = int((~logits.isfinite()).any(1).sum())
    if bad:
        raise ValueError(f"the network's answers to {bad} of {len(logits)} images are not finite numbers")
    return logits


def correct(model: nn.Module, data: ImageSet, *, batch_size: int = BATCH) -> Proportion:
    """How often the network's top class is the label in `data`.

    Raises:
        ValueError: The network has another number of outputs than `data` has classes.
    """
    if not isinstance(data, ImageSet):
        raise TypeError(f"need an ImageSet to count on; got {type(data).__name__} (see ImageSet.from_dataset)")
    logits = check_outputs(predict(model, data.x, batch_size=batch_size), len(data.classes))
    return Proportion.of(logits.argmax(1) == data.y.cpu())
