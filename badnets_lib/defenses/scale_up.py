"""SCALE-UP: brighten an input; if the network's answer outlasts every factor, a trigger may be holding it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor, nn

from .._numbers import check_numbers, numbers, shown
from ..data.images import Labels, StoredImages, check_stored, to_unit
from ..models.inference import check_outputs, predict
from ._copies import frozen_copy, fused
from .assumptions import (
    FEW_TRUSTED,
    LOW_ACCURACY,
    SURVIVES_SCALING,
    Assumption,
    check_accuracy,
    check_consistency,
    check_enough_trusted,
)
from .kinds import InputFilter, Screening
from .knowledge import Holding, check_holding
from .verdicts import Screen

Setting = Literal["data-limited", "data-free"]


@dataclass(frozen=True)
class ScaleUp(InputFilter):
    """Settings of the run-time filter; `fit` gives the filter.

    All pixels are multiplied by each factor and cut off at white. The score is the part of the factors at which the
    network gives the same answer as without. Only answers are used, no probabilities and no insides of the network, so
    any network will do, one behind a service too.

    Args:
        factors: What pixels are multiplied by, each above 1; 3, 5, 7, 9 and 11 in BackdoorBox.
        threshold: Inputs with a score of this or more are refused; 0.5 there.
        setting: "data-limited": the score is counted from the mean score of trusted images, in standard deviations of
            theirs, one mean and one deviation over all classes; an image counts as consistent there if the answer is
            its true label. "data-free": the score as it is; no trusted image is used, and `Holding(images[:0])` will
            do.

    Raises:
        TypeError: The factors are no numbers.
        ValueError: A setting is out of range.

    References:
        Guo, Li, Chen, Guo, Sun, Liu, SCALE-UP: An Efficient Black-box Input-level Backdoor Detection via Analyzing
            Scaled Prediction Consistency, 2023. arXiv:2302.03251; github.com/THUYimingLi/BackdoorBox,
            core/defenses/SCALE_UP.py, to which the authors' repository refers.

    BackdoorBox takes the mean and the deviation over all trusted images together, and so does this. A comment there
    speaks of statistics of the classes; whether the paper has a mean for each class was not checked. The code in the
    authors' own repository has the data-free setting alone.

    Why not IBD-PSC (arXiv:2405.09786), which scales the weights of batch norms instead: as published it compares five
    networks that differ in how many batch norms are scaled, so it needs a network with more than five of them.
    `PaperCNN` has none, `SmallCNN` two and `SmallResNet` seven, so it would run on the last alone. We did not run it.

    Example:
        >>> guard = ScaleUp(setting="data-free").fit(model, Holding(trusted[:0]))
        >>> guard.consistency(torch.zeros(2, 1, 28, 28))
        tensor([1., 1.])
    """

    assumptions: ClassVar[tuple[Assumption, ...]] = (SURVIVES_SCALING, FEW_TRUSTED, LOW_ACCURACY)

    factors: tuple[float, ...] = (3.0, 5.0, 7.0, 9.0, 11.0)
    threshold: float = 0.5
    setting: Setting = "data-limited"

    def __post_init__(self) -> None:
        check_numbers(self)
        object.__setattr__(self, "factors", numbers("factors", self.factors))
        if not self.factors or not all(each > 1 for each in self.factors):
            raise ValueError(f"there must be factors, each above 1; got {shown(self.factors)}")
        if self.setting not in get_args(Setting):
            raise ValueError(f"setting must be one of {', '.join(get_args(Setting))}; got {shown(self.setting)}")

    def fit(self, model: nn.Module, holding: Holding) -> FittedScaleUp:
        """Learn how consistent the answers to trusted images are; in the "data-free" setting, nothing.

        Args:
            model: A classifier; a copy of it is kept.
            holding: Trusted images.

        Raises:
            TypeError: The model is no network, or the holding no `Holding`.
            ValueError: There are fewer than 2 trusted images though they are needed, or the model has another number of
                outputs than there are classes.

        Warns:
            AssumptionWarning: More than a quarter of the trusted images would be refused, or no input can be; there are
                fewer than 100, or the network is wrong about most of them.
        """
        if self.setting == "data-free":
            kept = frozen_copy(model, check_holding(holding).trusted.x.new_zeros(2, *holding.trusted.x.shape[1:]))
            return FittedScaleUp(fused(kept), 0.0, 1.0, self)
        trusted = check_holding(holding).need(2, "SCALE-UP")
        check_enough_trusted(len(trusted), 100, "a mean and a deviation of scores")
        kept = fused(frozen_copy(model, trusted.x))
        answers = check_outputs(predict(kept, trusted.x), len(trusted.classes))
        check_accuracy(answers, trusted.y)
        scores = consistency(kept, trusted.x, trusted.y.cpu(), self.factors)
        fitted = FittedScaleUp(kept, float(scores.mean()), max(float(scores.std()), 1e-6), self)
        check_consistency(fitted(trusted.x).refused, (1 - fitted.mean) / fitted.deviation, self.threshold)
        return fitted


@dataclass(frozen=True, eq=False)
class FittedScaleUp(Screening):
    """A run-time filter: called with images, it refuses those whose answers outlast brighter pixels.

    Attributes:
        model: The network it watches over.
        mean: Mean score of the trusted images; 0 in the "data-free" setting.
        deviation: Standard deviation of their scores; 1 in the "data-free" setting.
        settings: The settings it was fitted with.
    """

    model: nn.Module = field(repr=False)
    mean: float
    deviation: float
    settings: ScaleUp

    def __call__(self, x: StoredImages) -> Screen:
        """Screen images [N, C, H, W]; a score is how consistent the answers are, high if suspicious."""
        scores = (self.consistency(x) - self.mean) / self.deviation
        return Screen(scores, self.settings.threshold, scores >= self.settings.threshold)

    def consistency(self, x: StoredImages) -> Float[Tensor, " n"]:
        """The part of the factors at which the network answers as it does without, [N], in [0, 1]."""
        return consistency(self.model, x, predict(self.model, x).argmax(1), self.settings.factors)


def consistency(model: nn.Module, x: StoredImages, labels: Labels, factors: tuple[float, ...]) -> Float[Tensor, " n"]:
    """The part of the factors at which the network gives these labels, [N], in [0, 1].

    Args:
        model: Any classifier.
        x: Images [N, C, H, W], in [0, 1] or uint8.
        labels: One for each image [N].
        factors: What pixels are multiplied by.
    """
    same = torch.zeros(len(check_stored(x)))
    for factor in factors:
        same += predict(model, (to_unit(x) * factor).clamp(max=1)).argmax(1) == labels
    return same / len(factors)
