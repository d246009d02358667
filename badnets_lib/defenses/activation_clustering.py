"""Activation Clustering: within each class, two clusters of features; a small, well separated one is poison."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import ClassVar, Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor, nn

from .._numbers import check_numbers
from ..data.images import ImageSet, Labels, Mask
from ._filter_checks import check_equal_classes, check_flags, check_not_silent, check_split
from .assumptions import (
    HALF_A_CLASS,
    LOGITS_AS_FEATURES,
    MOST_FLAGGED,
    SILENCE,
    THE_LAYER,
    UNEQUAL_CLASSES,
    Assumption,
)
from .clusters import separation, silhouette, two_means
from .features import Features, features_of_set, finite, positions_by_class, principal
from .kinds import DataFilter
from .neighbours import DeepKNN
from .verdicts import Flags

Verdict = Literal["size", "silhouette", "neighbours"]


@dataclass(frozen=True)
class ActivationClustering(DataFilter):
    """Split the features of each class in two; flag one part if the split looks like poison beside clean images.

    Of the features, 10 independent components are kept, as in the paper. Finding independent components
    is whitening followed by a rotation, and a rotation changes no distance: 2-means and silhouette are the
    same before it, so it is left out. The whitening matters: without it 2-means follows the loudest
    direction, which is style.

    Changed for small networks: the silhouette must be higher, and 2-means begins 64 times; after 10 starts it
    often ended in a split by style.

    Args:
        layer: Whose output to look at; None: the last hidden layer, as in the paper.
        components: Directions of largest variance that are kept, each scaled to variance 1.
        verdict: "size": flag the smaller part if it is less than `size` of the class. "silhouette":
            it must also have a mean silhouette above `silhouette`. Both are the paper's, and fail where poison
            is half of a class. "neighbours", which is ours, does not ask for size: of a split with a
            `separation` above the limit, flag the part in which `voters` flags more, image for image.
        size: A part called poison is smaller than this part of its class, at most 0.5.
        silhouette: Least mean silhouette of a split that is believed; the paper suggests 0.10 to 0.15. It
            falls as poison grows towards half of the class.
        separation: Least `clusters.separation` of a split that is believed, which does not.
        voters: The neighbour filter that is asked which part is strange in its class. It must name an early layer:
            in the last hidden one poison lies beside poison.
        starts: Times 2-means begins anew; the tightest result is kept.
        seed: Seed of the starts.

    Raises:
        ValueError: A setting is out of range.

    References:
        Chen et al., Detecting backdoor attacks on deep neural networks by activation clustering, 2018.
            arXiv:1811.03728.
    """

    assumptions: ClassVar[tuple[Assumption, ...]] = (
        *(THE_LAYER, LOGITS_AS_FEATURES, HALF_A_CLASS, UNEQUAL_CLASSES, SILENCE, MOST_FLAGGED),
    )

    layer: str | None = None
    components: int = 10
    verdict: Verdict = "silhouette"
    size: float = 0.35
    silhouette: float = 0.2
    separation: float = 0.9
    voters: DeepKNN = field(default_factory=DeepKNN)
    starts: int = 64
    seed: int = 0

    def __post_init__(self) -> None:
        check_numbers(self)
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
            ValueError: There is no such layer, a feature is not finite, only one class occurs, or voters that are
                needed name no layer.

        Warns:
            AssumptionWarning: What is seen in the classes does not fit the method; see `assumptions`.
        """
        strange = None
        if self.verdict == "neighbours":
            if self.voters.layer is None:
                raise ValueError("the verdict 'neighbours' needs voters in an early layer: DeepKNN(layer=...)")
            strange = self.voters(model, data).flagged
        features = features_of_set(model, data, self.layer)
        flags = self.judge(features, data.y.to(features.device), strange)
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
        classes = positions_by_class(finite(features), y)
        check_equal_classes(y)
        scores = torch.zeros(len(y))
        flagged = torch.zeros(len(y), dtype=torch.bool)
        notes: list[str] = []
        clear: dict[int, float] = {}
        for label, positions in classes.items():
            places = positions.cpu()
            if len(positions) <= 2:
                notes.append(f"class {label}: {len(positions)} images are too few to split")
                continue
            split = self._split(features[positions], None if strange is None else strange[places])
            scores[places] = split.scores
            flagged[places] = split.flagged
            clear[label] = split.separation
            caught = bool(split.flagged.any())
            check_split(label, len(positions), split.smaller, clear=split.separation > self.separation, flagged=caught)
            notes.append(f"class {label}: {len(positions)} images, {split.note}{', flagged' if caught else ''}")
        if clear and not bool(flagged.any()):
            clearest = max(clear, key=lambda label: clear[label])
            check_not_silent(clear[clearest], clearest, self.separation)
        check_flags(flagged, y, "ActivationClustering")
        return Flags(scores, flagged, tuple(notes))

    def _split(self, features: Features, strange: Mask | None) -> _Split:
        """The images of one class in two parts, and which of them is called poison."""
        points = whitened(features, self.components)
        part, closer = two_means(points, starts=self.starts, seed=self.seed)
        smaller = float(part.float().mean())
        apart = silhouette(points, part)
        clear = separation(points, part)
        part = part.cpu()
        closer = closer.cpu().float()
        note = f"smaller part {smaller:.1%}, silhouette {apart:.2f}, separation {clear:.2f}"
        if strange is None:
            guilty = smaller < self.size and (self.verdict == "size" or apart > self.silhouette)
            return _Split(closer, part & guilty, smaller, clear, note)
        in_it = _rate(strange[part])
        elsewhere = _rate(strange[~part])
        if elsewhere > in_it:
            part = ~part
            closer = -closer
        guilty = clear > self.separation and in_it != elsewhere
        note += f", strange {max(in_it, elsewhere):.0%} of it and {min(in_it, elsewhere):.0%} of the rest"
        return _Split(closer, part & guilty, smaller, clear, note)


@dataclass(frozen=True, eq=False)
class _Split:
    """What was seen in one class.

    Attributes:
        scores: Of its images, in their order; positive in the suspected part.
        flagged: True for images that are called poison.
        smaller: Size of the smaller part, in (0, 0.5].
        separation: How clear the split is.
        note: All of this in words.
    """

    scores: Tensor
    flagged: Tensor
    smaller: float
    separation: float
    note: str


def _rate(those: Mask) -> float:
    return float(those.float().mean()) if len(those) else 0.0


def whitened(features: Features, components: int) -> Float[Tensor, "n c"]:
    """The directions of largest variance, each scaled to variance 1, [N, components or fewer]."""
    projections, _ = principal(features, components)
    scaled: Tensor = projections / projections.norm(dim=0) * len(features) ** 0.5
    return scaled.to(features.dtype)
