"""Deep k-NN: an image whose nearest neighbours in feature space mostly carry another label is suspect."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor, nn

from .._numbers import check_numbers
from ..data.images import ImageSet, Labels, seeded_generator
from ._filter_checks import check_flags, check_voters
from .assumptions import (
    LOGITS_AS_FEATURES,
    MORE_NEIGHBOURS,
    MOST_FLAGGED,
    THE_LAYER,
    Assumption,
)
from .features import Features, features_of_set, finite, positions_by_class
from .kinds import DataFilter
from .verdicts import Flags


@dataclass(frozen=True)
class DeepKNN(DataFilter):
    """Flag an image if another label than its own is the most frequent among its neighbours.

    Made against clean-label poison, which lies among images of another class. Against a trigger it needs a layer
    in which stamped images still lie beside what they really show: an early one. In the last
    hidden layer of a backdoored model they lie beside one another, and agree.

    Args:
        layer: Whose output to look at; None: the last hidden layer, as in the paper. The book's experiments name an
            early one, "pool1".
        k: Neighbours that vote. The paper advises one to two times the size of a class, so that poison
            is outvoted; the default suits classes of 400. Where most of a source class is stamped, it is the
            honest rest that is outvoted.
        batch: Images whose distances to all voters are held at once.
        voters: At most about so many images may vote. Of a larger set, the largest classes send a sample, and small
            classes all they have: time grows with N and not with its square. The paper, too, balances classes that
            are rare, by copies. A class sends at least k + 1, if it has them.
        seed: Seed of that sample.

    Raises:
        ValueError: A setting is below 1.

    References:
        Peri et al., Deep k-NN defense against clean-label data poisoning attacks, 2020. arXiv:1909.13374.
    """

    assumptions: ClassVar[tuple[Assumption, ...]] = (THE_LAYER, LOGITS_AS_FEATURES, MORE_NEIGHBOURS, MOST_FLAGGED)

    layer: str | None = None
    k: int = 50
    batch: int = 1024
    voters: int = 5000
    seed: int = 0

    def __post_init__(self) -> None:
        check_numbers(self)
        if self.k < 1 or self.batch < 1 or self.voters < 1:
            raise ValueError(f"k, batch and voters must be at least 1; got {self.k}, {self.batch} and {self.voters}")

    def __call__(self, model: nn.Module, data: ImageSet) -> Flags:
        """Judge the training set of a model.

        Args:
            model: The model that was trained on `data`, or any other.
            data: The training set, labels as they are in it.

        Returns:
            Flags; a score is the lead of the strongest other label over the own one, in parts of the k votes.

        Raises:
            ValueError: There is no such layer, a feature is not finite, only one class occurs, or there are
                not more than k images.

        Warns:
            AssumptionWarning: A class has no more than k images, or most of the data are flagged.
        """
        features = features_of_set(model, data, self.layer)
        flags = self.judge(features, data.y.to(features.device))
        return replace(flags, fingerprint=data.fingerprint)

    @torch.no_grad()
    def judge(self, features: Features, y: Labels) -> Flags:
        """Judge features [N, d] that were computed before, with the labels [N] of their images."""
        if len(y) <= self.k:
            raise ValueError(f"{self.k} neighbours need at least {self.k + 1} images; got {len(y)}")
        classes = positions_by_class(finite(features), y)
        voting = self.electorate(classes)
        y = y.long()
        check_voters(self.k, y[voting])
        votes = torch.cat(
            [self._votes(features, y, rows.to(y.device), voting) for rows in torch.arange(len(y)).split(self.batch)]
        )
        own = votes.gather(1, y[:, None]).flatten()
        other = votes.scatter(1, y[:, None], -1).amax(1)
        scores = ((other - own) / self.k).cpu()
        flagged = (other > own).cpu()
        notes = tuple(
            f"class {label}: {int(flagged[positions.cpu()].sum())} of {len(positions)} outvoted"
            for label, positions in classes.items()
        )
        check_flags(flagged, y, "DeepKNN")
        return Flags(scores.float(), flagged, notes)

    def electorate(self, classes: dict[int, Tensor]) -> Tensor:
        """Positions of the images that may vote, ascending: all, or an equal number of every class that has so many.

        Args:
            classes: The positions of each class.
        """
        counts = torch.tensor([len(positions) for positions in classes.values()])
        if int(counts.sum()) <= self.voters:
            return torch.cat([*classes.values()]).sort().values
        most = _cap(counts, max(self.voters, (self.k + 1) * len(counts)))
        source = seeded_generator(self.seed)
        chosen = [
            positions[torch.randperm(len(positions), generator=source)[:most].to(positions.device)]
            for positions in classes.values()
        ]
        return torch.cat(chosen).sort().values

    def _votes(self, features: Features, y: Labels, rows: Tensor, voting: Tensor) -> Tensor:
        """How many of the k nearest other images that may vote carry each label, [rows, K]."""
        gaps = torch.cdist(features[rows], features[voting])
        gaps[rows[:, None] == voting] = torch.inf  # nobody votes on themselves
        nearest = y[voting][gaps.topk(self.k, largest=False).indices]
        return torch.zeros(len(rows), int(y.max()) + 1, device=y.device).scatter_add_(
            1, nearest, torch.ones_like(nearest, dtype=torch.float)
        )


def _cap(counts: Tensor, total: int) -> int:
    """The largest number c for which min(count, c), summed over the classes, is at most `total`."""
    low, high = 0, int(counts.max())
    while low < high:
        middle = (low + high + 1) // 2
        if int(counts.clamp(max=middle).sum()) <= total:
            low = middle
        else:
            high = middle - 1
    return low
