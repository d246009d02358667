"""Spectral Signatures: within each class, images that lie far out along the direction of largest variance."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from .._numbers import check_numbers
from ..data.images import ImageSet, Labels
from ._filter_checks import check_amount, check_epsilon, check_equal_classes, check_flags, check_not_silent
from .assumptions import (
    HALF_A_CLASS,
    LOGITS_AS_FEATURES,
    MOST_FLAGGED,
    SILENCE,
    THE_LAYER,
    UNEQUAL_CLASSES,
    Assumption,
)
from .clusters import separation, two_means
from .features import Features, features_of_set, finite, positions_by_class, principal
from .kinds import DataFilter
from .verdicts import Flags


@dataclass(frozen=True)
class SpectralSignatures(DataFilter):
    """Score each image by its squared projection on the top singular vector of its class; flag the top of each class.

    In the paper, how many are flagged does not depend on what is found: the same part of *every* class
    goes, the clean ones too. With ten classes of equal size, one target and the true epsilon, that alone keeps
    precision below 1 / (10 x margin). `separation`, which is ours, spares the classes that show no second heap.

    Args:
        layer: Whose output to look at; None: the last hidden layer, as in the paper. In the book's networks the
            last convolution, "pool2", ranks the poison better.
        epsilon: The largest part of a class that one is prepared to find poisoned. It is an assumption.
            Anyone who computes it from the poisoning fraction of the plan has an oracle.
        margin: So many times epsilon is flagged; 1.5 in the paper.
        separation: Flag only in classes whose projections split into two heaps with at least this
            `clusters.separation`; 0, as in the paper, spares none. 0.84 suits the book's networks.
        centred: True: the score is the squared projection of the centred feature, Algorithm 1 of the paper as printed.
            False: that of the feature itself, as the authors' published code computes it. Where the poison is half
            of a class both halves lie equally far from the centre, and only the second tells them apart.

    Raises:
        ValueError: A setting is out of range, or a whole class would be flagged.

    References:
        Tran, Li, Madry, Spectral signatures in backdoor attacks, 2018. arXiv:1811.00636; the authors' code,
            github.com/MadryLab/backdoor_data_poisoning, compute_corr.py.
    """

    assumptions: ClassVar[tuple[Assumption, ...]] = (
        *(THE_LAYER, LOGITS_AS_FEATURES, HALF_A_CLASS, UNEQUAL_CLASSES, SILENCE, MOST_FLAGGED),
    )

    layer: str | None = None
    epsilon: float = 0.1
    margin: float = 1.5
    separation: float = 0.0
    centred: bool = True

    def __post_init__(self) -> None:
        check_numbers(self)
        check_amount(self.epsilon, self.margin)
        if not 0 <= self.separation <= 1:
            raise ValueError(f"separation must lie in [0, 1]; got {self.separation}")

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
        clear: dict[int, float] = {}
        for label, positions in classes.items():
            projections, weight = outlying(features[positions], self.centred)
            part, _ = two_means(projections[:, None], starts=8)  # on a line few are enough
            clear[label] = separation(projections[:, None], part)
            believed = clear[label] >= self.separation
            many = round(self.epsilon * self.margin * len(positions)) if believed else 0
            worst = positions[projections.abs().argsort(descending=True, stable=True)[:many]]
            scores[positions.cpu()] = projections.square().cpu()
            flagged[worst.cpu()] = True
            seen = f"top direction holds {weight:.0%} of the variance, separation {clear[label]:.2f}"
            notes.append(f"class {label}: {len(positions)} images, {seen}, {many} flagged")
        if not bool(flagged.any()):
            clearest = max(clear, key=lambda label: clear[label])
            check_not_silent(clear[clearest], clearest, self.separation)
        check_flags(flagged, y, "SpectralSignatures")
        return Flags(scores, flagged, tuple(notes))


def outlying(features: Features, centred: bool = True) -> tuple[Float[Tensor, " n"], float]:
    """Projection of each row on the top right singular vector of the centred matrix; its square is the score.

    Args:
        features: Features [N, d] of one class.
        centred: Whether the rows are centred before they are projected, too.

    Returns:
        The projections [N], all 0 if the rows are equal, and the part of the variance that this direction holds.
    """
    projections, parts = principal(features, 1)
    along = projections.sum(1)
    if not centred and bool(along.any()):
        mean = features.mean(0)
        direction = along @ (features - mean).double() / along.square().sum()
        along = along + mean.double() @ direction
    return along.float(), float(parts.sum())
