"""Activation Clustering: within each class, two clusters of features; a small, well separated one is poison."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ..data.images import ImageSet, Labels, Mask
from .assumptions import check_half_a_class
from .clusters import separation, silhouette, two_means
from .features import Features, features_of, finite, home, positions_by_class, principal
from .neighbours import DeepKNN
from .verdicts import Flags

Verdict = Literal["size", "silhouette", "neighbours"]


@dataclass(frozen=True)
class ActivationClustering:
    """Split the features of each class in two; flag one part if the split looks like poison beside clean images.

    Of the features, 10 independent components are kept, as in the paper. Finding independent components
    is whitening followed by a rotation, and a rotation changes no distance: 2-means and silhouette are the
    same before it, so it is left out. The whitening matters: without it 2-means follows the loudest
    direction, which is style.

    Changed for small networks: the silhouette must be higher, and 2-means begins 64 times; after 10 starts it
    often ended in a split by style.

    Args:
        layer: Whose output to look at: the last hidden layer, as in the paper.
        components: Directions of largest variance that are kept, each scaled to variance 1.
        verdict: "size": flag the smaller part if it is less than `size` of the class. "silhouette":
            it must also have a mean silhouette above `silhouette`. Both are the paper's, and fail where poison
            is half of a class. "neighbours", which is ours, does not ask for size: of a split with a
            `separation` above the limit, flag the part in which `voters` flags the larger share of images.
        size: A part called poison is smaller than this share of its class, at most 0.5.
        silhouette: Least mean silhouette of a split that is believed; the paper suggests 0.10 to 0.15. It
            falls as poison grows towards half of the class.
        separation: Least `splits.separation` of a split that is believed, which does not.
        voters: The neighbour filter that is asked which part is strange in its class.
        starts: Times 2-means begins anew; the tightest result is kept.
        seed: Seed of the starts.

    Raises:
        ValueError: A setting is out of range.

    References:
        Chen et al., Detecting backdoor attacks on deep neural networks by activation clustering, 2018.
            arXiv:1811.03728.
    """

    layer: str = "relu3"
    components: int = 10
    verdict: Verdict = "silhouette"
    size: float = 0.35
    silhouette: float = 0.2
    separation: float = 0.9
    voters: DeepKNN = field(default_factory=DeepKNN)
    starts: int = 64
    seed: int = 0

    def __post_init__(self) -> None:
        if self.verdict not in get_args(Verdict):
            raise ValueError(f"verdict must be one of {', '.join(get_args(Verdict))}; got {self.verdict!r}")
        if not (0 < self.size <= 0.5 and -1 <= self.silhouette <= 1 and 0 <= self.separation <= 1):
            limits = "size must lie in (0, 0.5], silhouette in [-1, 1], separation in [0, 1]"
            raise ValueError(f"{limits}; got {self.size}, {self.silhouette} and {self.separation}")
        if self.components < 1 or self.starts < 1:
            raise ValueError(f"components and starts must be at least 1; got {self.components} and {self.starts}")

    def __call__(self, model: nn.Module, data: ImageSet) -> Flags:
        """Judge the training set of a model.

        Args:
            model: The model that was trained on `data`.
            data: The training set, labels as they are in it.

        Returns:
            Flags; a score is positive in the smaller part of its class, or the one the neighbours point at.

        Raises:
            ValueError: There is no such layer, a feature is not finite, or only one class occurs.

        Warns:
            AssumptionWarning: Two clear parts are nearly equal and size decides, or the features are logits.
        """
        strange = self.voters(model, data).flagged if self.verdict == "neighbours" else None
        flags = self.judge(features_of(model, data.x, self.layer), home(model, data.y), strange)
        return replace(flags, fingerprint=data.fingerprint)

    @torch.no_grad()
    def judge(self, features: Features, y: Labels, strange: Mask | None = None) -> Flags:
        """Judge features that were computed before.

        Args:
            features: Features [N, d].
            y: Labels [N] of their images.
            strange: True for images that do not fit their class, [N]; only "neighbours" needs it.
        """
        if (strange is None) == (self.verdict == "neighbours"):
            raise ValueError(
                f"the verdict {self.verdict!r} and strange={'none' if strange is None else 'given'} disagree"
            )
        scores, flagged = torch.zeros(len(y)), torch.zeros(len(y), dtype=torch.bool)
        notes = []
        for label, positions in positions_by_class(finite(features), y).items():
            if len(positions) <= 2:
                notes.append(f"class {label}: {len(positions)} images are too few to split")
                continue
            places = positions.cpu()
            scores[places], flagged[places], note = self._judge_class(
                label, features[positions], None if strange is None else strange[places]
            )
            notes.append(f"class {label}: {note}{', flagged' * bool(flagged[places].any())}")
        return Flags(scores, flagged, tuple(notes))

    def _judge_class(self, label: int, features: Features, strange: Mask | None) -> tuple[Tensor, Tensor, str]:
        """Scores, flags and a note on the images of one class, in their order."""
        points = whitened(features, self.components)
        part, closer = two_means(points, starts=self.starts, seed=self.seed)
        share, apart, clear = float(part.float().mean()), silhouette(points, part), separation(points, part)
        part, closer = part.cpu(), closer.cpu().float()
        note = f"smaller part {share:.1%}, silhouette {apart:.2f}, separation {clear:.2f}"
        if strange is not None:
            shares = [_share(strange[each]) for each in (part, ~part)]
            if shares[1] > shares[0]:
                part, closer = ~part, -closer
            guilty = clear > self.separation and shares[0] != shares[1]
            note += f", strange {shares[0]:.0%} of it and {shares[1]:.0%} of the rest"
        else:
            guilty = share < self.size and (self.verdict == "size" or apart > self.silhouette)
            if clear > self.separation:
                check_half_a_class(label, share)
        return closer, part & guilty, note


def _share(those: Mask) -> float:
    return float(those.float().mean()) if len(those) else 0.0


def whitened(features: Features, components: int) -> Float[Tensor, "n c"]:
    """The directions of largest variance, each scaled to variance 1, [N, components or fewer]."""
    projections, _ = principal(features, components)
    scaled: Tensor = projections / projections.norm(dim=0) * len(features) ** 0.5
    return scaled.to(features.dtype)
