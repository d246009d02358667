"""BEATRIX: an input whose channels fire together in a way that clean images of its class do not is turned away."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from .._numbers import check_numbers
from ..data.images import Labels, StoredImages, check_stored
from ..models.inference import predict
from ..models.layers import INPUT, calls_of, last_convolution, listen
from ._copies import frozen_copy
from .assumptions import (
    FEW_TRUSTED,
    LOW_ACCURACY,
    PROBABILITIES,
    UNUSUAL_CORRELATIONS,
    Assumption,
    check_answers,
    check_enough_trusted,
)
from .features import finite
from .kinds import InputFilter, Screening
from .knowledge import Holding, check_holding
from .verdicts import Screen

Grams = Float[Tensor, "n g"]

FOLDS = 5
"""Parts of the trusted images of a class; each is judged by the others when the limit is set."""

ENOUGH = 30
"""Trusted images of every class, as in the authors' code."""

TOGETHER = 256
"""Inputs whose Gram matrices are in memory at a time."""

WIDTH = 10
"""So many median absolute deviations on both sides of the median are usual."""


@dataclass(frozen=True)
class Beatrix(InputFilter):
    """Settings of the run-time filter; `fit` gives the filter.

    Of the channels of one layer all pairs are looked at: how strongly two fire at the same places. That is the Gram
    matrix of the features, and with features to the power p, again to the power 1/p, one of order p. For every class
    the trusted images say what is usual: each entry's median, and 10 median absolute deviations to both sides. An
    input's score is how far its entries lie outside of what is usual for the class that the network answers.

    Args:
        layer: Whose output to look at; "input of NAME" for what a layer is given. None: what the last convolution is
            given, or if that is the image itself, what it answers. The authors take what the last stage of a
            residual network is given.
        orders: The highest order p; all from 1 on are used. 8 in the authors' code.
        false_rejection: Part of the clean inputs that one is prepared to refuse; 0.05 in the authors' code.

    Raises:
        ValueError: A setting is out of range.

    References:
        Ma, Wang, Sun, Xue, Wen, Xiang, The "Beatrix" Resurrections: Robust Backdoor Detection via Gram Matrices, 2023.
            arXiv:2209.11715; the authors' code, github.com/wanlunsec/Beatrix, defenses/Beatrix/Beatrix.py.

    This is the part that judges inputs. The authors go on to compare the refused inputs of each class with the others,
    to name the target, which needs many triggered inputs; that is left out. Trusted images are grouped by their
    labels, in the authors' code by the network's answers, and all are used, there 30 of each class.

    Example:
        >>> guard = Beatrix().fit(model, Holding(trusted[::2]))
        >>> guard.limits.shape
        torch.Size([10])
        >>> guard(trusted.x[1::50])
        Screen(... of 20 inputs refused, at 0)
    """

    assumptions: ClassVar[tuple[Assumption, ...]] = (UNUSUAL_CORRELATIONS, FEW_TRUSTED, PROBABILITIES, LOW_ACCURACY)

    layer: str | None = None
    orders: int = 8
    false_rejection: float = 0.05

    def __post_init__(self) -> None:
        check_numbers(self)
        if self.orders < 1:
            raise ValueError(f"orders must be at least 1; got {self.orders}")
        if not 0 < self.false_rejection < 1:
            raise ValueError(f"false_rejection must lie strictly between 0 and 1; got {self.false_rejection}")

    def fit(self, model: nn.Module, holding: Holding) -> FittedBeatrix:
        """Learn what is usual for every class, and set its limit by cross-validation over five parts.

        Args:
            model: A classifier from images to logits [N, K]; a copy of it is kept.
            holding: Trusted images of every class.

        Raises:
            TypeError: The model is no network, or the holding no `Holding`.
            ValueError: There are fewer than 5 trusted images of a class, the model has another number of outputs than
                there are classes, its answers are not finite, or the layer does not give channels.

        Warns:
            AssumptionWarning: There are fewer than 30 trusted images of a class, or the network ends in a softmax or is
                wrong about most of them.
        """
        classes = len(check_holding(holding).trusted.classes)
        trusted = holding.need(FOLDS * classes, "BEATRIX")
        least = min(trusted.counts())
        if least < FOLDS:
            label = trusted.counts().index(least)
            raise ValueError(f"BEATRIX needs {FOLDS} trusted images of every class; class {label} has {least}")
        check_enough_trusted(least, ENOUGH, "what is usual for a class, in the smallest one,")
        kept = frozen_copy(model, trusted.x)
        answers = predict(kept, trusted.x)
        check_answers(answers, trusted.y, classes)
        layer = self.layer or _default_layer(kept, trusted.x)
        features = features_with_channels(kept, trusted.x, layer)[0]
        usual, limits = [], []
        for label in range(classes):
            mine = features[(trusted.y == label).to(features.device)]
            usual.append(tuple(Usual.of(grams(mine, order)) for order in range(1, self.orders + 1)))
            limits.append(self.limit(mine))
        return FittedBeatrix(kept, layer, tuple(usual), torch.tensor(limits), self)

    def limit(self, features: Float[Tensor, "t c p"]) -> float:
        """What `false_rejection` of the trusted images of one class exceed, each judged by the other four parts.

        Args:
            features: Of these images, in their order; a remainder that fills no part is judged by nobody.
        """
        size = len(features) // FOLDS
        scores = []
        for start in range(0, FOLDS * size, size):
            held = torch.zeros(len(features), dtype=torch.bool, device=features.device)
            held[start : start + size] = True
            usual = [Usual.of(grams(features[~held], order)) for order in range(1, self.orders + 1)]
            scores.append(deviation(features[held], usual))
        ranked = torch.cat(scores).sort().values
        return float(ranked[min(len(ranked) - 1, int(len(ranked) * (1 - self.false_rejection)))])


@dataclass(frozen=True, eq=False)
class Usual:
    """What is usual for the Gram matrices of one order: the bounds of every entry.

    Attributes:
        low: Median minus 10 median absolute deviations, [1, g].
        high: Median plus as much, [1, g].
    """

    low: Grams
    high: Grams

    @classmethod
    def of(cls, rows: Grams) -> Usual:
        """From the matrices of trusted images."""
        median = rows.median(0, keepdim=True).values
        spread = WIDTH * (rows - median).abs().median(0, keepdim=True).values
        return cls(median - spread, median + spread)


def grams(features: Float[Tensor, "n c p"], order: int) -> Grams:
    """The upper triangles of the Gram matrices of one order, [N, C (C + 1) / 2], from features [N, C, places].

    An entry is the sum over places of both channels to that power, and of it the root, with its sign.
    """
    powers = features**order
    rows, columns = torch.triu_indices(features.shape[1], features.shape[1], device=features.device)
    products = (powers @ powers.transpose(1, 2))[:, rows, columns]
    entries: Tensor = products.sign() * products.abs() ** (1 / order)
    return entries


def deviation(features: Float[Tensor, "n c p"], usual: Sequence[Usual]) -> Float[Tensor, " n"]:
    """How far the Gram matrices of each row lie outside of what is usual, [N]: the mean over entries and orders.

    Each excess counts in units of the bound it exceeds. The sum is divided by C x C / 2, as in the authors' code.
    """
    total = torch.zeros(len(features), dtype=features.dtype, device=features.device)
    for order, bounds in enumerate(usual, 1):
        rows = grams(features, order)
        total += ((bounds.low - rows).relu() / (bounds.low + 1e-6).abs()).sum(1)
        total += ((rows - bounds.high).relu() / (bounds.high + 1e-6).abs()).sum(1)
    return total / (features.shape[1] ** 2 / 2) / len(usual)


@dataclass(frozen=True, eq=False)
class FittedBeatrix(Screening):
    """A run-time filter: called with images, it refuses those whose channels fire together in unusual ways.

    Attributes:
        model: The network it watches over.
        layer: The layer it listens to.
        usual: For every class, what is usual for each order.
        limits: The deviation above which an input is refused, for each class that the network may answer, [K].
        settings: The settings it was fitted with.
    """

    model: nn.Module = field(repr=False)
    layer: str
    usual: tuple[tuple[Usual, ...], ...] = field(repr=False)
    limits: Float[Tensor, " k"] = field(repr=False)
    settings: Beatrix

    def __call__(self, x: StoredImages) -> Screen:
        """Screen images [N, C, H, W]; a score is the deviation less the answered class's limit, high if unusual."""
        scores = torch.cat([self._scores(part) for part in check_stored(x).split(TOGETHER)])
        return Screen(scores, 0.0, scores > 0)

    def _scores(self, x: StoredImages) -> Float[Tensor, " n"]:
        features, answers = features_with_channels(self.model, x, self.layer)
        scores = torch.zeros(len(x), dtype=features.dtype)
        for label in answers.unique().tolist():
            mine = answers == label
            found = deviation(features[mine.to(features.device)], self.usual[label]).cpu()
            scores[mine] = found - float(self.limits[label])
        return scores


def features_with_channels(model: nn.Module, x: StoredImages, layer: str) -> tuple[Float[Tensor, "n f p"], Labels]:
    """What a layer says about each image as [N, C, places], in double precision, and the network's answers [N].

    A layer that says one number a channel, [N, C], has one place.

    Raises:
        ValueError: There is no such layer, or a feature is not finite.
    """

    def channels(said: Tensor) -> Tensor:
        return said.reshape(len(said), said.shape[1] if said.ndim > 1 else 1, -1).double()

    rows, logits = listen(model, x, layer, channels)
    return finite(rows), logits.argmax(1)


def _default_layer(model: nn.Module, x: StoredImages) -> str:
    """What the last convolution is given, or what it answers if it is given the image."""
    name = last_convolution(model, x)
    given = next(call.given for call in calls_of(model, x)[0] if call.name == name)
    is_image = given is not None and given.shape[1:] == x.shape[1:]
    return name if is_image else INPUT + name
