"""Asking a network: any `torch.nn.Module` from images [N, C, H, W] in [0, 1] to one logit per class.

Whatever a network's mode, dtype, device and kind of output, it is asked in one place, and is left as it was found.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from math import isfinite
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from .._numbers import shown, whole
from ..counts import Proportion
from ..data.images import Images, ImageSet, StoredImages, check_set, check_stored, to_unit

Logits = Float[Tensor, "n k"]

BATCH = 512
"""Most images in a forward pass, unless someone says otherwise."""

PIXELS = 2**20
"""Most pixels in a forward pass, all images together: 512 images of 32x32, 20 of 224x224."""


class Normalized(nn.Module):
    """A network behind the normalisation it was trained with: images in [0, 1] go in, (x - mean) / std is what it sees.

    Triggers are stamped, and scans search, in [0, 1]; a network that normalises its images elsewhere must bring that
    with it. Mean and deviation are buffers: they are saved with the weights, and move with them.

    Args:
        model: The network.
        mean: Mean of each channel, for images in [0, 1].
        std: Standard deviation of each channel, positive.

    Raises:
        TypeError: The model is no network, or mean and deviation are no numbers.
        ValueError: Mean and deviation differ in number, a deviation is not positive, or a number is above 1.

    Example:
        >>> Normalized(nn.Flatten(), mean=(0.5,), std=(0.5,))(torch.ones(1, 1, 1, 2))
        tensor([[1., 1.]])
    """

    mean: Tensor
    std: Tensor

    def __init__(self, model: nn.Module, mean: Sequence[float | int], std: Sequence[float | int]) -> None:
        super().__init__()
        self.model = check_network(model)
        means, deviations = _channel_numbers("mean", mean), _channel_numbers("std", std)
        if not means or len(means) != len(deviations) or not all(each > 0 for each in deviations):
            raise ValueError(f"mean and std need one number a channel, std positive; got {means} and {deviations}")
        if max(*means, *deviations) > 1:
            raise ValueError(
                f"mean and std are for images in [0, 1], so none is above 1; got {means} and {deviations} "
                "(for levels up to 255: divide all of them by 255)"
            )
        weights = placement(model)
        self.register_buffer("mean", torch.tensor(means).view(1, -1, 1, 1).to(weights))
        self.register_buffer("std", torch.tensor(deviations).view(1, -1, 1, 1).to(weights))

    def forward(self, x: Images) -> Any:
        """Whatever the network answers to the normalised images.

        Raises:
            ValueError: The images have another number of channels than there are means.
        """
        channels = self.mean.shape[1]
        if x.shape[1] != channels:
            raise ValueError(f"mean and std are for {channels} channels; got images of shape {list(x.shape)}")
        return self.model((x - self.mean) / self.std)


def _channel_numbers(name: str, given: Any) -> list[float]:
    """Finite numbers from a sequence, an array or a tensor."""
    try:
        numbers = [float(each) for each in given]
    except (TypeError, ValueError) as error:
        raise TypeError(f"{name} must be one number a channel, such as (0.5, 0.5, 0.5); got {shown(given)}") from error
    if not all(map(isfinite, numbers)):
        raise ValueError(f"{name} must be finite numbers; got {numbers}")
    return numbers


def placement(model: nn.Module) -> Tensor:
    """An empty tensor where the network's weights are and of their type: `x.to(placement(model))` fits its input.

    The first parameter of a floating type counts, or the first such buffer; a network with neither is taken to
    compute in single precision on the CPU.

    Raises:
        ValueError: The weights have no values: they are on the "meta" device.
    """
    for tensors in (model.parameters(), model.buffers()):
        for tensor in tensors:
            if tensor.is_meta:
                raise ValueError("the network's weights are on the 'meta' device and have no values; load them first")
            if tensor.is_floating_point():
                return tensor.detach().new_empty(0)
    return torch.empty(0)


def place(x: StoredImages, weights: Tensor) -> Images:
    """Images in [0, 1], however they are stored, where `weights` are and of their type; in memory of their own.

    A network may write into what it is given, and must not change the caller's images by that.
    """
    placed = to_unit(x.to(weights.device)).to(weights.dtype)
    return placed.clone() if placed is x else placed


def fast_layout(model: nn.Module, x: StoredImages) -> torch.memory_format:
    """Lay a network's weights out as its images should be: channels last, if the network can compute in that layout.

    Convolutions of small images then need no repacking. A network that calls `view` after a convolution cannot; it
    keeps the usual layout.

    Args:
        model: The network; the layout of its weights is changed, never their values.
        x: Two or more images to try it on.

    Returns:
        The layout that images need, for `images.contiguous(memory_format=...)`.
    """
    _lay_out(model, torch.channels_last)
    try:
        with torch.no_grad(), evaluating(model):
            model(place(x, placement(model)).contiguous(memory_format=torch.channels_last))
    except RuntimeError:
        _lay_out(model, torch.contiguous_format)
        return torch.contiguous_format
    return torch.channels_last


def strides_of(model: nn.Module) -> dict[str, tuple[int, ...]]:
    """How every weight lies in memory, by its name: what `lay_back` takes."""
    return {name: weight.stride() for name, weight in model.named_parameters()}


def lay_back(model: nn.Module, strides: Mapping[str, tuple[int, ...]]) -> None:
    """Undo `fast_layout`: every weight lies in memory as it did, with its values of today.

    Args:
        model: The network; the layout of its weights is changed, never their values.
        strides: What `strides_of` gave.
    """
    for name, weight in model.named_parameters():
        if weight.stride() != strides[name]:
            before = torch.empty_strided(weight.shape, strides[name], dtype=weight.dtype, device=weight.device)
            weight.data = before.copy_(weight.data)


QUICK = 64
"""Fewer images than this are not worth the two that `fast_layout` tries."""


@contextmanager
def laid_out(model: nn.Module, x: StoredImages) -> Iterator[None]:
    """The network in its fast layout inside the block, if there are many images; as it was afterwards.

    Args:
        model: Any network; one without convolutions is left alone, and so is a script or a wrapper.
        x: The images that it will see.
    """
    weights = [*model.parameters()]
    convolutional = any(weight.ndim == 4 for weight in weights) and not any(weight.is_inference() for weight in weights)
    plain = unwrapped(model) is model and not isinstance(model, torch.jit.ScriptModule)
    if not (plain and convolutional and x.ndim == 4 and len(x) >= QUICK):
        yield
        return
    strides = strides_of(model)
    try:
        fast_layout(model, x[:2])
        yield
    finally:
        lay_back(model, strides)


def _lay_out(model: nn.Module, layout: torch.memory_format) -> None:
    for weight in model.parameters():
        if weight.ndim == 4:  # [out, in, height, width]: channels last is a layout of four axes
            weight.data = weight.data.to(memory_format=layout)


def logits_of(output: Any) -> Logits:
    """The logits [N, K] in what a network returns: a tensor, the first of a tuple, "logits" or `.logits`.

    Raises:
        TypeError: There is none, or it is no floating tensor of shape [N, K].
    """
    found = output
    if isinstance(output, Mapping):
        found = output.get("logits", output.get("out"))
    elif hasattr(output, "logits"):
        found = output.logits
    elif isinstance(output, tuple | list) and output:
        found = output[0]
    if not isinstance(found, Tensor) or found.ndim != 2 or not found.is_floating_point():
        what = f"{found.dtype} of shape {list(found.shape)}" if isinstance(found, Tensor) else type(output).__name__
        raise TypeError(
            "a classifier must return logits [N, K]: a tensor, the first entry of a tuple, or what is called "
            f"'logits'; got {what}"
        )
    return found


def unwrapped(model: nn.Module) -> nn.Module:
    """The network itself, where `torch.compile` or `DataParallel` has put a wrapper round it."""
    while True:
        if isinstance(model, nn.DataParallel):
            model = model.module
        elif isinstance(getattr(model, "_orig_mod", None), nn.Module):
            model = model._orig_mod  # type: ignore[assignment]  # what torch.compile returns
        else:
            return model


def check_outputs(logits: Logits, classes: int) -> Logits:
    """The logits, if there is one for each class.

    Raises:
        ValueError: The network has another number of outputs than the data have classes.
    """
    outputs = logits.shape[1]
    if outputs != classes:
        hint = " (a single output for two classes: let it return one logit for each)" if outputs == 1 else ""
        raise ValueError(f"the network has {outputs} outputs; the data have {classes} classes{hint}")
    return logits


@contextmanager
def evaluating(model: nn.Module, *, frozen: bool = False) -> Iterator[None]:
    """Evaluation mode inside the block, if `frozen` without parameter gradients; every part's own state afterwards."""
    modes = [(part, part.training) for part in model.modules() if hasattr(part, "training")]  # a frozen script has none
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
def predict(model: nn.Module, x: StoredImages, *, batch_size: int | None = None) -> Logits:
    """Logits [N, K] on the CPU, in evaluation mode; the network's own mode is put back afterwards.

    Args:
        model: Any classifier from [N, C, H, W] to [N, K]; see `logits_of` for what it may return.
        x: Images in [0, 1] or uint8; converted and moved to the network's device and dtype batch by batch.
        batch_size: Images per forward pass; None: as many as `images_at_once` says.

    Returns:
        In single precision at least, whatever the network computes in.

    Raises:
        TypeError: The model is no `nn.Module`, `x` no tensor, or the output no logits.
        ValueError: `x` holds no image or values outside [0, 1], `batch_size` is below 1, or an answer is not a finite
            number.
    """
    weights = placement(check_network(model))
    logits: list[Tensor] = []
    with evaluating(model), laid_out(model, check_tensor(x)):
        for part in batches_of(x, batch_size):
            logits.append(single(logits_of(model(place(part, weights)))).cpu())
            if len(logits[-1]) != len(part):
                raise ValueError(f"the network gives {len(logits[-1])} answers to {len(part)} images")
    return check_finite(torch.cat(logits))


def images_at_once(x: StoredImages, most: int = BATCH, pixels: int = PIXELS) -> int:
    """How many images go into one forward pass: `most`, fewer where they are large, at least one."""
    return max(1, min(most, pixels // (x.shape[-2] * x.shape[-1])))


def batches_of(x: StoredImages, batch_size: int | None = None) -> Iterator[StoredImages]:
    """Images, a batch at a time, each checked before it is handed on.

    Args:
        x: Images [N, C, H, W].
        batch_size: Images a batch; None: as many as `images_at_once` says.

    Raises:
        TypeError: `x` is no tensor, or `batch_size` no whole number.
        ValueError: There is no image, an image is not in [0, 1], or `batch_size` is below 1.
    """
    check_tensor(x)
    if batch_size is None:
        batch_size = images_at_once(x) if x.ndim == 4 else BATCH
    batch_size = whole("batch_size", batch_size)
    if not len(x) or batch_size < 1:
        raise ValueError(f"need at least one image per batch; got {len(x)} in batches of {batch_size}")
    for part in torch.split(x, batch_size):
        yield check_stored(part)


def check_tensor(x: Any) -> Tensor:
    """The images, if they are a tensor at all.

    Raises:
        TypeError: They are something else.
    """
    if not isinstance(x, Tensor):
        raise TypeError(f"need images [N, C, H, W] as a tensor; got {type(x).__name__} (of a set: data.x)")
    return x


def single(x: Tensor) -> Tensor:
    """Half precision as single; single and double as they are."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def check_network(model: Any) -> nn.Module:
    """The network, if it is one.

    Raises:
        TypeError: It is something else.
    """
    if not isinstance(model, nn.Module):
        hint = " (of what train returns: trained.model)" if hasattr(model, "model") else ""
        raise TypeError(f"need a network, a torch.nn.Module; got {type(model).__name__}{hint}")
    return model


def check_differentiable(logits: Logits) -> Logits:
    """The logits, if gradients flow through them.

    Raises:
        ValueError: None do.
    """
    if not logits.requires_grad:
        raise ValueError(
            "the network's answers carry no gradient: gradients are turned off in its forward or around this call "
            "(torch.no_grad, torch.inference_mode)"
        )
    return logits


def check_finite(logits: Logits) -> Logits:
    """The logits, if all are numbers: the largest of NaN and NaN is class 0, a perfect attack on it.

    Raises:
        ValueError: Some are not.
    """
    bad = int((~logits.isfinite()).any(1).sum())
    if bad:
        raise ValueError(f"the network's answers to {bad} of {len(logits)} images are not finite numbers")
    return logits


def correct(model: nn.Module, data: ImageSet, *, batch_size: int | None = None) -> Proportion:
    """How often the network's top class is the label in `data`.

    Raises:
        TypeError: `data` is no `ImageSet`.
        ValueError: The network has another number of outputs than `data` has classes.
    """
    check_set(data, "counting")
    logits = check_outputs(predict(model, data.x, batch_size=batch_size), len(data.classes))
    return Proportion.of(logits.argmax(1) == data.y.cpu())
