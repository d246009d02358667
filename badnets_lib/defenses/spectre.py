"""SPECTRE: within each class, whiten by a robust covariance, so that poison is the only thing left that varies much."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import log
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from .._numbers import check_numbers
from .._progress import track
from ..data.images import ImageSet, Labels
from ._filter_checks import check_amount, check_epsilon, check_equal_classes, check_flags
from .assumptions import HALF_A_CLASS, LOGITS_AS_FEATURES, MOST_FLAGGED, THE_LAYER, UNEQUAL_CLASSES, Assumption
from .features import Features, features_of_set, finite, positions_by_class, principal
from .kinds import DataFilter
from .verdicts import Flags

Rows = Float[Tensor, "n k"]
Kept = Bool[Tensor, " n"]

ALPHA = 4.0
"""How much the score prefers the directions of largest variance, as in the authors' code."""

MOST = 100
"""Directions of largest variance that are looked at, as in the authors' code."""

TRIALS = 10
"""So many numbers of directions are tried: squares from 1 to all of them."""


@dataclass(frozen=True)
class Spectre(DataFilter):
    """Score each image by its quantum entropy (QUE) after robust whitening; flag the top of each class.

    Of the features of a class the first k directions of largest variance are kept. A robust covariance leaves out
    images that stretch it, at most twice as many as are expected to be poisoned. Whitened by it, clean images have
    variance 1 in every direction, and poison has more in one or a few. The score weighs directions by that: for a
    whitened row h and the covariance S of all rows it is h' M h, with M = exp(4 (S - 1) / (|S| - 1)), of trace 1. Ten
    numbers k are tried; the one counts after whose filtering what was left out stands out most.

    The authors' code judges one class, which it knows to be the target. Here all are judged, and as in
    `SpectralSignatures` the same part of each goes; the notes say how far each class stands out.

    Args:
        layer: Whose output to look at; None: the last hidden layer, as in the paper.
        epsilon: The largest part of a class that one is prepared to find poisoned. It is an assumption. Anyone who
            computes it from the poisoning fraction of the plan has an oracle.
        margin: So many times epsilon is flagged; 1.5 in the authors' code.

    Raises:
        ValueError: A setting is out of range, or a whole class would be flagged.

    References:
        Hayase, Kong, Somani, Oh, SPECTRE: Defending Against Backdoor Attacks Using Robust Statistics, 2021.
            arXiv:2104.11315; the authors' code, github.com/SewoongLab/spectre-defense, quantum_filters.jl and dkk17.jl.

    Differs from the authors' code: a class with fewer than 100 directions of variance is judged in those it has.

    Example:
        >>> flags = Spectre(epsilon=0.1)(model, train[::10])
        >>> len(flags.notes)
        10
    """

    assumptions: ClassVar[tuple[Assumption, ...]] = (
        *(THE_LAYER, LOGITS_AS_FEATURES, HALF_A_CLASS, UNEQUAL_CLASSES, MOST_FLAGGED),
    )

    layer: str | None = None
    epsilon: float = 0.1
    margin: float = 1.5

    def __post_init__(self) -> None:
        check_numbers(self)
        check_amount(self.epsilon, self.margin)

    def __call__(self, model: nn.Module, data: ImageSet) -> Flags:
        """Judge the training set of a model.

        Args:
            model: The model that was trained on `data`.
            data: The training set, labels as they are in it.

        Raises:
            ValueError: There is no such layer, a feature is not finite, or only one class occurs.

        Warns:
            AssumptionWarning: What is seen in the classes does not fit the method; see `assumptions`.
        """
        features = features_of_set(model, data, self.layer)
        flags = self.judge(features, data.y.to(features.device))
        return replace(flags, fingerprint=data.fingerprint)

    @torch.no_grad()
    def judge(self, features: Features, y: Labels) -> Flags:
        """Judge features [N, d] that were computed before, with the labels [N] of their images."""
        classes = positions_by_class(finite(features), y)
        check_epsilon(self.epsilon)
        check_equal_classes(y)
        scores = torch.zeros(len(y))
        flagged = torch.zeros(len(y), dtype=torch.bool)
        notes: list[str] = []
        for label, positions in track(list(classes.items()), "SPECTRE"):
            projections, _ = principal(features[positions], MOST)
            expected = round(self.epsilon * len(positions))
            places = positions.cpu()
            if not expected or projections.shape[1] == 0:
                notes.append(f"class {label}: {len(positions)} images, nothing to flag")
                continue
            found = best_scores(projections, expected, self.margin)
            many = round(self.margin * expected)
            worst = positions[found.scores.argsort(descending=True, stable=True)[:many]]
            scores[places] = found.scores.float().cpu()
            flagged[worst.cpu()] = True
            seen = f"{found.directions} directions, what was left out stands out by {found.entropy:.2f}"
            notes.append(f"class {label}: {len(positions)} images, {seen}, {many} flagged")
        check_flags(flagged, y, "Spectre")
        return Flags(scores, flagged, tuple(notes))


@dataclass(frozen=True, eq=False)
class Found:
    """What the best number of directions says about one class.

    Attributes:
        scores: Of its images, in their order.
        directions: The number of directions.
        entropy: Mean score of all images after whitening by those that were not flagged.
    """

    scores: Float[Tensor, " n"]
    directions: int
    entropy: float


def best_scores(rows: Rows, expected: int, margin: float = 1.5) -> Found:
    """Scores of the images of one class, with the number of directions whose flags stand out most.

    Args:
        rows: Projections on the directions of largest variance, centred, descending, [N, D].
        expected: How many images are expected to be poisoned, at least 1.
        margin: So many times as many are flagged.
    """
    top = rows.shape[1] ** 0.5
    steps = (1 + (top - 1) * step / (TRIALS - 1) for step in range(TRIALS))
    found: list[Found] = []
    for directions in sorted({max(1, round(step**2)) for step in steps}):
        scores = quantum_scores(rows[:, :directions], expected)
        kept = ~_lowest(-scores, round(margin * expected))
        entropy = float(_entropies(rows, rows[kept]).mean()) if int(kept.sum()) > 1 else 0.0
        found.append(Found(scores, directions, entropy))
    return max(found, key=lambda each: each.entropy)


def quantum_scores(rows: Rows, expected: int) -> Float[Tensor, " n"]:
    """The QUE score of each row [N], after whitening by the robust covariance; in one direction the square.

    Args:
        rows: Projections [N, k].
        expected: How many rows are expected to be poisoned.
    """
    if rows.shape[1] == 1:
        return rows[:, 0].square()
    return _entropies(rows, rows[robust_part(rows, expected / len(rows), limit=round(2 * expected))])


def _entropies(rows: Rows, clean: Float[Tensor, "c k"]) -> Float[Tensor, " n"]:
    """The score of each row, whitened by the covariance of the clean ones."""
    white = rows @ _inverse_root(torch.cov(clean.T, correction=0).reshape(rows.shape[1], -1))
    spread = torch.cov(white.T).reshape(rows.shape[1], -1)
    unit = torch.eye(len(spread)).to(spread)
    excess = float(torch.linalg.matrix_norm(spread, ord=2)) - 1
    weights = torch.linalg.matrix_exp(ALPHA * (spread - unit) / excess) if excess > 1e-9 else unit
    return ((white @ weights) * white).sum(1) / weights.trace()


def robust_part(rows: Rows, epsilon: float, *, limit: int, confidence: float = 0.1) -> Kept:
    """True for the rows that a robust covariance is computed from, [N].

    Rows are left out in rounds, as long as the fourth moments of the whitened rows are larger in some direction than
    those of a normal distribution may be.

    Args:
        rows: Projections, centred, [N, k].
        epsilon: The part of the rows that is expected to be poisoned.
        limit: Most rows that are left out.
        confidence: The authors' tau.

    References:
        Diakonikolas, Kamath, Kane, Li, Moitra, Stewart, Being Robust (in High Dimensions) Can Be Practical, 2017.
            arXiv:1703.00893.
    """
    kept = torch.ones(len(rows), dtype=torch.bool, device=rows.device)
    while limit > 0:
        inside = kept.nonzero().flatten()
        stays = _filtered(rows[inside], epsilon, limit, confidence)
        if stays is None or bool(stays.all()):
            break
        limit -= int((~stays).sum())
        kept[inside[~stays]] = False
    return kept


def _filtered(rows: Rows, epsilon: float, limit: int, confidence: float) -> Kept | None:
    """Which rows one round leaves in; None if there is no reason to leave any out."""
    count, directions = rows.shape
    white = rows @ _inverse_root(rows.T @ rows / count)
    lengths = white.square().sum(1)
    far = lengths >= 10 * directions * log(count / confidence)
    most_left = max(0, count - limit)
    if bool(far.any()):
        return ~far | _lowest(lengths, most_left)
    value, matrix = _fourth_moment(white)
    if value <= 1 + 10 * epsilon * log(1 / epsilon) ** 2:
        return None
    along = ((white @ matrix * white).sum(1) - matrix.trace()) / 2**0.5
    away = (along - along.quantile(0.5)).abs()
    cut = _cut(away.sort().values, epsilon)
    return None if cut is None else (away <= cut) | _lowest(away, most_left)


def _cut(away: Float[Tensor, " n"], epsilon: float) -> float | None:
    """How far away a row may be: of the distances, ascending, less 3, the first that a normal tail would not reach."""
    reach = away - 3
    beyond = reach > 10 * log(1 / epsilon)
    numbers = torch.arange(1, len(away) + 1, device=away.device) / len(away)
    tail = torch.where(beyond, 3 * epsilon / (reach * reach.clamp(min=1.1).log()).square(), 1.0)
    found = ((reach > 0) & (numbers >= tail)).nonzero().flatten()
    return float(reach[found[0]]) if len(found) else None


def _fourth_moment(white: Rows) -> tuple[float, Float[Tensor, "k k"]]:
    """The eigenvalue largest in size of the centred fourth moments of whitened rows, and its eigenvector as a matrix.

    The moments are a matrix [k^2, k^2]: the mean of (y y') (y y')' as long vectors, minus that of the unit matrix. A
    search for one eigenvector is fast, but may never settle between two eigenvalues of nearly the same size; then all
    are computed.
    """
    from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, eigsh

    rows = white.cpu().double().numpy()  # in single precision the search may not settle
    count, directions = rows.shape

    def moved(vector: Any) -> Any:
        matrix = vector.reshape(directions, directions)
        image = (rows.T * (((rows @ matrix) * rows).sum(1) / count)) @ rows
        image[range(directions), range(directions)] -= matrix.trace()
        return image.ravel()

    size = directions**2
    moments = LinearOperator((size, size), matvec=moved, dtype=rows.dtype)
    try:
        values, vectors = eigsh(moments, k=1, which="LM", v0=np.ones(size), maxiter=100)
        value, found = values[0], vectors[:, 0].reshape(directions, directions)
    except ArpackNoConvergence:
        value, found = _among_all(rows)
    matrix = torch.from_numpy(found).to(white)
    return float(value), (matrix + matrix.T) / 2


def _among_all(rows: Any) -> tuple[float, Any]:
    """The same by a full decomposition, over the k (k + 1) / 2 entries that a symmetric matrix has."""
    count, directions = rows.shape
    first, second = np.triu_indices(directions)
    weight = np.where(first == second, 1.0, 2**0.5)
    long = rows[:, first] * rows[:, second] * weight
    unit = (first == second).astype(float)
    values, vectors = np.linalg.eigh(long.T @ long / count - np.outer(unit, unit))
    largest = int(np.abs(values).argmax())
    matrix = np.zeros((directions, directions))
    matrix[first, second] = matrix[second, first] = vectors[:, largest] / weight
    return values[largest], matrix


def _inverse_root(covariance: Float[Tensor, "k k"]) -> Float[Tensor, "k k"]:
    """The inverse of the symmetric root; directions without variance are left out."""
    values, vectors = torch.linalg.eigh(covariance)
    alive = values > 1e-10 * values[-1]
    root: Tensor = (vectors[:, alive] / values[alive].sqrt()) @ vectors[:, alive].T
    return root


def _lowest(values: Float[Tensor, " n"], many: int) -> Kept:
    """True for the lowest so many values, and for those equal to the last of them."""
    if not many:
        return torch.zeros(len(values), dtype=torch.bool, device=values.device)
    return values <= values.kthvalue(min(many, len(values))).values
