"""Deep k-NN: an image whose nearest neighbours in feature space mostly carry another label is suspect."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from ..data.images import ImageSet, Labels
from .features import Features, features_of, finite, home, positions_by_class
from .verdicts import Flags


@dataclass(frozen=True)
class DeepKNN:
    """Flag an image if another label than its own is the most frequent among its neighbours.

    Made against clean-label poison, which lies among images of another class. Against a trigger it needs a layer
    in which stamped images still lie beside what they really show: an early one. In the last
    hidden layer of a backdoored model they lie beside one another, and agree.

    Args:
        layer: Whose output to look at. The paper takes the last hidden layer ("relu3").
        k: Neighbours that vote. The paper advises one to two times the size of a class, so that poison
            is outvoted; the default suits classes of 400. Where most of a source class is stamped, it is the
            honest rest that is outvoted.
        batch: Images whose distances to all others are held at once.

    Raises:
        ValueError: A setting is below 1.

    References:
        Peri et al., Deep k-NN defense against clean-label data poisoning attacks, 2020. arXiv:1909.13374.
    """

    layer: str = "pool1"
    k: int = 50
    batch: int = 1024

    def __post_init__(self) -> None:
        if self.k < 1 or self.batch < 1:
            raise ValueError(f"k and batch must be at least 1; got {self.k} and {self.batch}")

    def __call__(self, model: nn.Module, data: ImageSet) -> Flags:
        """Judge the training set of a model.

        Args:
            model: The model that was trained on `data`, or any other.
            data: The training set, labels as they are in it.

        Returns:
            Flags; a score is the lead of the strongest other label over the own one, in shares of the k votes.

        Raises:
            ValueError: There is no such layer, a feature is not finite, only one class occurs, or there are
                not more than k images.
        """
        flags = self.judge(features_of(model, data.x, self.layer), home(model, data.y))
        return replace(flags, fingerprint=data.fingerprint)

    @torch.no_grad()
    def judge(self, features: Features, y: Labels) -> Flags:
        """Judge features [N, d] that were computed before, with the labels [N] of their images."""
        if len(y) <= self.k:
            raise ValueError(f"{self.k} neighbours need at least {self.k + 1} images; got {len(y)}")
        classes = positions_by_class(finite(features), y)
        votes = torch.cat([self._votes(features, y.long(), rows) for rows in torch.arange(len(y)).split(self.batch)])
        own = votes.gather(1, y.long()[:, None]).flatten()
        other = votes.scatter(1, y.long()[:, None], -1).amax(1)
        scores, flagged = ((other - own) / self.k).cpu(), (other > own).cpu()
        notes = tuple(
            f"class {label}: {int(flagged[positions.cpu()].sum())} of {len(positions)} outvoted"
            for label, positions in classes.items()
        )
        return Flags(scores.float(), flagged, notes)

    def _votes(self, features: Features, y: Labels, rows: Tensor) -> Tensor:
        """How many of the k nearest other images carry each label, [rows, K]."""
        rows = rows.to(y.device)
        gaps = torch.cdist(features[rows], features)
        gaps[torch.arange(len(rows), device=y.device), rows] = torch.inf  # nobody votes on themselves
        nearest = y[gaps.topk(self.k, largest=False).indices]
        return torch.zeros(len(rows), int(y.max()) + 1, device=y.device).scatter_add_(
            1, nearest, torch.ones_like(nearest, dtype=torch.float)
        )
