"""What a layer of a network answers to each image: the features that the data filters look at."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ..data.images import ImageSet, Labels, StoredImages, check_set
from ..models.inference import check_network, check_outputs
from ..models.layers import last_hidden, listen
from ._filter_checks import check_not_logits

Features = Float[Tensor, "n d"]

EXACT = 4096
"""Beyond so many rows and columns, directions of largest variance are looked for by a randomised decomposition."""


def features_of(
    model: nn.Module,
    x: StoredImages,
    layer: str | None = None,
    *,
    batch_size: int | None = None,
    classes: int | None = None,
) -> Features:
    """The output of a layer for each image, flattened, [N, d], on the network's device, in single or double precision.

    Args:
        model: Any classifier; it is evaluated as `predict` does.
        x: Images [N, C, H, W], in [0, 1] or uint8.
        layer: Name of the submodule. None: the last hidden layer, which is looked for (see `models.layers`).
        batch_size: Images per forward pass; None: as many as `images_at_once` says.
        classes: How many outputs the network must have; None: any number.

    Raises:
        ValueError: There is no such layer, a feature is not a finite number, or the network has another number of
            outputs.

    Warns:
        AssumptionWarning: The layer gives the logits.
    """
    layer = layer or last_hidden(model, x)
    rows, answers = listen(model, x, layer, _flat, batch_size=batch_size)
    if classes is not None:
        check_outputs(answers, classes)
    features = finite(rows)
    check_not_logits(layer, features.cpu(), answers)
    return features


def features_of_set(model: nn.Module, data: ImageSet, layer: str | None = None) -> Features:
    """As `features_of`, for every image of the training set of a network.

    Raises:
        TypeError: The model is no network, or the data are no `ImageSet`.
        ValueError: As in `features_of`, or the network has another number of outputs than there are classes.
    """
    check_set(data, "a data filter")
    check_network(model)
    return features_of(model, data.x, layer, classes=len(data.classes))


def _flat(output: Tensor) -> Tensor:
    """One row an image; half precision is too coarse for distances."""
    rows = output.flatten(1)
    return rows if rows.dtype in (torch.float32, torch.float64) else rows.float()


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

    Exact where N or d is at most `EXACT`; beyond, a randomised decomposition with its own seed, whose cost grows with
    N x d and not with the square of either.

    Args:
        features: Features [N, d].
        most: How many directions to keep; those without variance are left out, so there may be fewer, even none.

    Returns:
        The projections, and the part of the whole variance that each direction holds, both descending.

    References:
        Halko, Martinsson, Tropp, Finding structure with randomness, 2009. arXiv:0909.4061.
    """
    centred = (features - features.mean(0)).double()
    projections, values = _gram(centred, most) if min(centred.shape) <= EXACT else _randomised(centred, most)
    alive = int((values > 1e-10 * values[0]).sum())
    return projections[:, :alive], values[:alive] / centred.square().sum()


def _gram(centred: Tensor, most: int) -> tuple[Tensor, Tensor]:
    """Projections and variances, by the smaller of the two Gram matrices: it has the same directions."""
    wide = len(centred) < centred.shape[1]
    values, vectors = torch.linalg.eigh(centred @ centred.T if wide else centred.T @ centred)
    values = values.flip(0)[:most].clamp(min=0)
    vectors = vectors.flip(1)[:, :most]
    return vectors * values.sqrt() if wide else centred @ vectors, values


def _randomised(centred: Tensor, most: int) -> tuple[Tensor, Tensor]:
    """The same by subspace iteration from a few more random directions than are asked for."""
    source = torch.Generator().manual_seed(0)
    guess = torch.randn(centred.shape[1], min(most + 10, *centred.shape), generator=source, dtype=torch.float64)
    basis = centred @ guess.to(centred.device)
    for _ in range(6):
        basis = centred @ (centred.T @ torch.linalg.qr(basis).Q)
    basis = torch.linalg.qr(basis).Q
    left, sizes, _ = torch.linalg.svd(basis.T @ centred, full_matrices=False)
    return (basis @ left * sizes)[:, :most], sizes[:most].square()


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
