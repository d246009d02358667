"""STRIP: blend an input with other images; if the network's answer stays sure, a trigger may be holding it."""

from __future__ import annotations

from dataclasses import dataclass, field
from statistics import NormalDist
from typing import ClassVar, Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor, nn

from .._numbers import check_numbers, shown
from ..data.images import StoredImages, check_stored, seeded_generator, to_unit
from ..models.inference import images_at_once, placement, predict
from ._copies import frozen_copy, fused
from .assumptions import (
    ENTROPY_OF_LOGITS,
    FEW_TRUSTED,
    LOW_ACCURACY,
    PROBABILITIES,
    REFUSES_NOTHING,
    SURVIVES_BLENDING,
    Assumption,
    check_answers,
    check_enough_trusted,
    check_probabilities,
    check_threshold,
)
from .kinds import InputFilter, Screening
from .knowledge import Holding, check_holding
from .verdicts import Screen

Rule = Literal["normal", "empirical"]

BELOW = 10
"""Trusted images that should lie below a threshold. Of so few, a third more or less is chance."""


@dataclass(frozen=True)
class Strip(InputFilter):
    """Settings of the run-time filter; `fit` gives the filter.

    Args:
        overlays: Trusted images that every input is blended with; 100 in the paper. All inputs meet the
            same ones.
        weight: The blend is x + weight * overlay, cut off at white; 1 in the paper.
        false_rejection: Part of the clean inputs that one is prepared to refuse; 0.01 in the paper. About ten trusted
            images should lie below the threshold, so `fit` warns of fewer than 10 / false_rejection.
        seed: Seed of the choice of overlays.
        batch: Most blended images per forward pass, few enough for a cache; fewer if they are large.
        rule: "normal", as in the paper: the threshold is a quantile of a normal distribution fitted to the entropies
            of the trusted images. Entropies are not normal, and it may fall below 0 bits, where it refuses nothing.
            "empirical": the quantile of these entropies themselves, which cannot.

    Raises:
        ValueError: A setting is out of range.

    References:
        Gao et al., STRIP: a defence against trojan attacks on deep neural networks, 2019. arXiv:1902.06531.
    """

    assumptions: ClassVar[tuple[Assumption, ...]] = (
        *(SURVIVES_BLENDING, REFUSES_NOTHING, FEW_TRUSTED, PROBABILITIES, ENTROPY_OF_LOGITS, LOW_ACCURACY),
    )

    overlays: int = 100
    weight: float = 1.0
    false_rejection: float = 0.01
    seed: int = 0
    batch: int = 128
    rule: Rule = "normal"

    def __post_init__(self) -> None:
        check_numbers(self)
        if self.overlays < 2 or self.batch < 1:
            raise ValueError(f"overlays must be at least 2, batch at least 1; got {self.overlays} and {self.batch}")
        if not (0 < self.weight <= 1 and 0 < self.false_rejection < 1):
            limits = "weight must lie in (0, 1], false_rejection strictly between 0 and 1"
            raise ValueError(f"{limits}; got {self.weight} and {self.false_rejection}")
        if self.rule not in get_args(Rule):
            raise ValueError(f"rule must be one of {', '.join(get_args(Rule))}; got {shown(self.rule)}")

    def fit(self, model: nn.Module, holding: Holding) -> FittedStrip:
        """Set the threshold so that about `false_rejection` of the trusted images would be refused.

        No trusted image is blended with itself.

        Args:
            model: A classifier from images to logits [N, K]; a copy of it is kept.
            holding: Trusted images serve as overlays and set the threshold.

        Raises:
            TypeError: The model is no network, or the holding no `Holding`.
            ValueError: There are fewer trusted images than overlays + 1, the model has another number of outputs
                than there are classes, or its answers are not finite.

        Warns:
            AssumptionWarning: There are fewer than 10 / `false_rejection` trusted images, the threshold can refuse
                nothing, or what is seen does not fit the method otherwise; see `assumptions`.
        """
        trusted = check_holding(holding).need(self.overlays + 1, "STRIP")
        least = round(BELOW / self.false_rejection)
        check_enough_trusted(len(trusted), least, f"a rate of {self.false_rejection:g}")
        kept = fused(frozen_copy(model, trusted.x))
        answers = predict(kept, trusted.x)
        check_answers(answers, trusted.y, len(trusted.classes))
        chosen = torch.randperm(len(trusted), generator=seeded_generator(self.seed))[: self.overlays]
        overlays = to_unit(trusted.x[chosen.to(trusted.x.device)])
        every = _entropies(kept, trusted.x, overlays, self)
        every[chosen, torch.arange(self.overlays)] = torch.nan
        entropies = every.nanmean(1)
        threshold = self.threshold(entropies)
        check_threshold(threshold, entropies, self.false_rejection)
        return FittedStrip(kept, overlays, threshold, entropies, self)

    def threshold(self, entropies: Float[Tensor, " t"]) -> float:
        """The entropy below which `false_rejection` of the trusted images should lie; their own if all are equal."""
        spread = float(entropies.std())
        if self.rule == "empirical" or spread == 0:
            return float(entropies.quantile(self.false_rejection))
        return NormalDist(float(entropies.mean()), spread).inv_cdf(self.false_rejection)


@dataclass(frozen=True, eq=False)
class FittedStrip(Screening):
    """A run-time filter: called with images, it refuses those whose answers are too sure.

    Attributes:
        model: The network it watches over.
        overlays: What inputs are blended with, [overlays, C, H, W].
        threshold: Inputs with a mean entropy below this, in bits, are refused.
        trusted: Entropies of the trusted images, in bits, [T].
        settings: The settings it was fitted with.
    """

    model: nn.Module = field(repr=False)
    overlays: Float[Tensor, "o c h w"] = field(repr=False)
    threshold: float
    trusted: Float[Tensor, " t"] = field(repr=False)
    settings: Strip

    def __call__(self, x: StoredImages) -> Screen:
        """Screen images [N, C, H, W]; a score is the mean entropy over all blends, in bits, low if suspicious."""
        scores = _entropies(self.model, check_stored(x), self.overlays, self.settings).mean(1)
        return Screen(scores, self.threshold, scores < self.threshold)


def entropy(probabilities: Float[Tensor, "n k"]) -> Float[Tensor, " n"]:
    """Shannon entropy of each row, in bits: 0 for a sure answer, log2(K) for a guess.

    Warns:
        AssumptionWarning: The rows are not probabilities.
    """
    check_probabilities(probabilities)
    return -torch.xlogy(probabilities, probabilities).sum(1) / torch.log(torch.tensor(2.0))


def _entropies(
    model: nn.Module, x: StoredImages, overlays: Float[Tensor, "o c h w"], settings: Strip
) -> Float[Tensor, "n o"]:
    """Entropy of the answer to every image under every overlay, on the CPU."""
    device = placement(model).device
    overlays = settings.weight * overlays.to(device)[None]
    at_once = images_at_once(x, most=settings.batch)  # blends in a forward pass
    rows = []
    for part in torch.split(x, max(1, settings.batch // overlays.shape[1])):
        blends = (to_unit(part.to(device))[:, None] + overlays).clamp(max=1).flatten(0, 1)  # [part * overlays, C, H, W]
        logits = predict(model, blends, batch_size=at_once)
        rows.append(entropy(logits.to(torch.promote_types(logits.dtype, torch.float32)).softmax(1)).view(len(part), -1))
    return torch.cat(rows)
