"""Activation Clustering: within each class, two clusters of features; a small, well separated one is poison."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, get_args

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from ..images import ImageSet, Labels
from .features import Features, features_of, finite, home, positions_by_class
from .guards import check_half_a_class
from .outcomes import Flags

Verdict = Literal["silhouette", "size"]


@dataclass(frozen=True)
class ActivationClustering:
    """Split the features of each class in two; flag the smaller part if it is small and stands apart.

    Of the features, 10 independent components are kept, as in the paper. Finding independent components
    is whitening followed by a rotation, and a rotation changes no distance: 2-means and silhouette are the same
    before it. So it is left out.

    Args:
        layer: Whose output to look at. The paper takes the last hidden layer ("relu3").
        components: Directions of largest variance that are kept, each scaled to variance 1.
        verdict: "size": flag the smaller part if it has less than `size` of the class. "silhouette":
            it must also stand apart, with a mean silhouette above `silhouette`.
        size: Largest share of a class that may be called poison, below 0.5.
        silhouette: Least mean silhouette of a split that is believed.
        starts: Times 2-means begins anew; the tightest result is kept.
        seed: Seed of the starts.

    Raises:
        ValueError: A setting is out of range.

    References:
        Chen et al., Detecting backdoor attacks on deep neural networks by activation clustering, 2018.
            arXiv:1811.03728.
    """

    layer: str = "pool2"
    components: int = 10
    verdict: Verdict = "silhouette"
    size: float = 0.35
    silhouette: float = 0.1
    starts: int = 10
    seed: int = 0

    def __post_init__(self) -> None:
        if self.verdict not in get_args(Verdict):
            raise ValueError(f"verdict must be one of {', '.join(get_args(Verdict))}; got {self.verdict!r}")
        if not (0 < self.size <= 0.5 and -1 <= self.silhouette <= 1):
            limits = "size must lie in (0, 0.5], silhouette in [-1, 1]"
            raise ValueError(f"{limits}; got {self.size} and {self.silhouette}")
        if self.components < 1 or self.starts < 1:
            raise ValueError(f"components and starts must be at least 1; got {self.components} and {self.starts}")

    def __call__(self, model: nn.Module, data: ImageSet) -> Flags:
        """Judge the training set of a model.

        Args:
            model: The model that was trained on `data`.
            data: The training set, labels as they are in it.

        Returns:
            Flags; a score is positive in the smaller part of its class.

        Raises:
            ValueError: There is no such layer, a feature is not finite, or only one class occurs.
        """
        flags = self.judge(features_of(model, data.x, self.layer), home(model, data.y))
        return replace(flags, fingerprint=data.fingerprint)

    @torch.no_grad()
    def judge(self, features: Features, y: Labels) -> Flags:
        """Judge features [N, d] that were computed before, with the labels [N] of their images."""
        scores = torch.zeros(len(y))
        flagged = torch.zeros(len(y), dtype=torch.bool)
        notes = []
        for label, positions in positions_by_class(finite(features), y).items():
            if len(positions) <= 2:
                notes.append(f"class {label}: {len(positions)} images are too few to split")
                continue
            points = whitened(features[positions], self.components)
            small, closer = two_means(points, starts=self.starts, seed=self.seed)
            apart, share = silhouette(points, small), float(small.float().mean())
            guilty = share < self.size and (self.verdict == "size" or apart > self.silhouette)
            scores[positions.cpu()] = closer.cpu()
            flagged[positions.cpu()] = (small & guilty).cpu()
            notes.append(f"class {label}: smaller part {share:.1%}, silhouette {apart:.2f}{', flagged' * guilty}")
            if apart > self.silhouette:
                check_half_a_class(label, share)
        return Flags(scores, flagged, tuple(notes))


def whitened(features: Features, components: int) -> Float[Tensor, "n c"]:
    """The directions of largest variance, each scaled to variance 1, [N, components or fewer].

    Directions without variance are left out, so fewer images or dead features give fewer columns.
    """
    centred = (features - features.mean(0)).double()
    left, sizes, _ = torch.linalg.svd(centred, full_matrices=False)
    alive = int((sizes > 1e-9 * sizes[0].clamp(min=1e-30)).sum())
    return (left[:, : min(components, alive)] * len(features) ** 0.5).to(features.dtype)


def two_means(
    points: Float[Tensor, "n c"], *, starts: int = 10, seed: int = 0, steps: int = 100
) -> tuple[Bool[Tensor, " n"], Float[Tensor, " n"]]:
    """The tightest split in two that Lloyd's algorithm finds, all starts in one batch.

    Args:
        points: At least two.
        starts: Pairs of first centres: one point at random, the other drawn with a probability that grows
            with the squared distance from it.
        seed: Seed of the starts.
        steps: Most steps of the algorithm.

    Returns:
        True for the points of the smaller part, [N], and how much closer each point is to that part's centre
        than to the other's, squared, [N].
    """
    source = torch.Generator().manual_seed(seed)
    first = torch.randint(len(points), (starts,), generator=source).to(points.device)
    far = torch.cdist(points[first], points).square().cpu()  # [starts, N]
    second = torch.multinomial(far + 1e-12, 1, generator=source).flatten().to(points.device)
    centres = points[torch.stack([first, second], 1)]  # [starts, 2, c]
    for _ in range(steps):
        gaps = torch.cdist(centres, points).square()  # [starts, 2, N]
        weights = torch.stack([gaps[:, 0] <= gaps[:, 1], gaps[:, 0] > gaps[:, 1]], 1).to(points.dtype)
        moved = weights @ points / weights.sum(2, keepdim=True).clamp(min=1)
        if torch.equal(moved, centres):
            break
        centres = moved
    gaps = torch.cdist(centres, points).square()
    best = gaps[gaps.amin(1).sum(1).argmin()]  # [2, N]
    if (best[0] <= best[1]).sum() < len(points) / 2:
        best = best.flip(0)
    return best[1] < best[0], best[0] - best[1]


def silhouette(points: Float[Tensor, "n c"], part: Bool[Tensor, " n"]) -> float:
    """Mean silhouette of a split in two, in [-1, 1]; 0 if one part is empty.

    A point's silhouette is (b - a) / max(a, b), with a its mean distance to the others of its part and b
    that to the other part; 0 where it is alone.
    """
    sizes = torch.stack([~part, part], 1).to(points.dtype)  # [N, 2]
    if not bool(sizes.any(0).all()):
        return 0.0
    sums, counts, mine = torch.cdist(points, points) @ sizes, sizes.sum(0), part.long()[:, None]
    own = sums.gather(1, mine).flatten() / (counts[mine.flatten()] - 1).clamp(min=1)
    other = sums.gather(1, 1 - mine).flatten() / counts[1 - mine.flatten()]
    each = torch.where(counts[mine.flatten()] > 1, (other - own) / torch.maximum(own, other).clamp(min=1e-12), 0.0)
    return float(each.mean())
