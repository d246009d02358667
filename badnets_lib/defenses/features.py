"""What a layer of a network answers to each image: the features that the data filters look at."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ..images import Images, Labels
from ..training import predict
from .guards import check_not_logits

Features = Float[Tensor, "n d"]


def home(model: nn.Module, x: Tensor) -> Tensor:
    """`x` on the device of the network: every defense moves the data to the model, never the model."""
    return x.to(next(model.parameters(), x).device)


def features_of(model: nn.Module, x: Images, layer: str, *, batch_size: int = 512) -> Features:
    """The output of a named layer for each image, flattened, [N, d], on the network's device.

    Args:
        model: A network with a submodule of that name; it is evaluated as `predict` does.
        x: Images [N, C, H, W].
        layer: Name of the submodule. In the networks of the book, "relu3" is the last hidden layer
            and "pool2" the last convolution's output.
        batch_size: Images per forward pass.

    Raises:
        ValueError: There is no such layer, or a feature is not a finite number.

    Warns:
        AssumptionWarning: The layer gives the logits.
    """
    _find(model, layer)
    parts: list[Tensor] = []

    def collect(_module: nn.Module, _input: Any, output: Tensor) -> None:
        parts.append(output.detach().flatten(1))

    hook = model.get_submodule(layer).register_forward_hook(collect)
    try:
        answers = predict(model, x, batch_size=batch_size)
    finally:
        hook.remove()
    features = finite(torch.cat(parts))
    check_not_logits(layer, features.cpu(), answers)
    return features


def layer_sizes(model: nn.Module, x: Images) -> dict[str, int]:
    """{name: features per image} of every layer without parts, in the order in which they answer.

    Args:
        model: Any network.
        x: Images [N, C, H, W]; one is enough.
    """
    sizes: dict[str, int] = {}
    hooks = [
        layer.register_forward_hook(lambda _layer, _input, output, name=name: sizes.update({name: output[0].numel()}))
        for name, layer in model.named_modules()
        if name and not [*layer.children()]
    ]
    try:
        predict(model, x[:1])
    finally:
        for hook in hooks:
            hook.remove()
    return sizes


def finite(features: Tensor) -> Tensor:
    """The features, or say how many of them are not finite numbers.

    Raises:
        ValueError: Some are not.
    """
    bad = int((~features.isfinite()).sum())
    if bad:
        raise ValueError(f"features must be finite; {bad:,} of {features.numel():,} are not")
    return features


def principal(features: Features, most: int) -> tuple[Float[Tensor, "n c"], Float[Tensor, " c"]]:
    """The features along their directions of largest variance, centred, [N, c], in double precision.

    Args:
        features: Features [N, d].
        most: How many directions to keep; those without variance are left out, so there may be fewer, even none.

    Returns:
        The projections, and the share of the whole variance that each direction holds, both descending.
    """
    centred = (features - features.mean(0)).double()
    wide = len(centred) < centred.shape[1]
    # The smaller of the two Gram matrices has the same directions, at a fraction of the decomposition's cost.
    values, vectors = torch.linalg.eigh(centred @ centred.T if wide else centred.T @ centred)
    values, vectors = values.flip(0).clamp(min=0), vectors.flip(1)
    alive = min(most, int((values > 1e-10 * values[0]).sum()))
    vectors = vectors[:, :alive]
    projections = vectors * values[:alive].sqrt() if wide else centred @ vectors
    return projections, values[:alive] / values.sum()


def positions_by_class(features: Features, y: Labels) -> dict[int, Tensor]:
    """{label: positions in the data set of its images}, for labels that occur, ascending.

    A filter that works class by class writes its verdict back to these positions, never to places
    within the class.

    Raises:
        ValueError: Features and labels differ in number, or only one class occurs.
    """
    if len(features) != len(y):
        raise ValueError(f"{len(features)} rows of features but {len(y)} labels")
    labels = y.unique().tolist()
    if len(labels) < 2:
        raise ValueError(f"a data filter needs images of at least 2 classes; got {len(labels)}")
    return {label: (y == label).nonzero().flatten() for label in labels}


def _find(model: nn.Module, layer: str) -> nn.Module:
    known = [name for name, _ in model.named_modules() if name]
    if layer not in known:
        raise ValueError(f"no layer {layer!r}; known: {', '.join(known)}")
    return model.get_submodule(layer)
