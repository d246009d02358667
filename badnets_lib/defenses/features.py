"""What a layer of a network answers to each image: the features that the data filters look at."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ..data.images import Labels, StoredImages
from ..models.inference import placement
from ..models.layers import last_hidden, listen
from .assumptions import check_not_logits

Features = Float[Tensor, "n d"]


def home(model: nn.Module, x: Tensor) -> Tensor:
    """`x` on the device of the network: every defense moves the data to the model, never the model."""
    return x.to(placement(model).device)


def features_of(model: nn.Module, x: StoredImages, layer: str | None = None, *, batch_size: int = 512) -> Features:
    """The output of a named layer for each image, flattened, [N, d], on the network's device.

    Args:
        model: A network with a submodule of that name; it is evaluated as `predict` does.
        x: Images [N, C, H, W].
        layer: Name of the submodule. None: the last hidden layer, which is looked for (see `models.layers`).
        batch_size: Images per forward pass.

    Raises:
        ValueError: There is no such layer, or a feature is not a finite number.

    Warns:
        AssumptionWarning: The layer gives the logits.
    """
    layer = layer or last_hidden(model, x)
    rows, answers = listen(model, x, layer, lambda output: output.flatten(1), batch_size=batch_size)
    features = finite(rows)
    check_not_logits(layer, features.cpu(), answers)
    return features


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
