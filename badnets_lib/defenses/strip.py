"""STRIP: blend an input with other images; if the network's answer stays sure, a trigger may be holding it."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import NormalDist

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from ..data.images import Images, check_images
from ..models.inference import predict
from ..models.inference import channels_last
from .assumptions import check_enough_trusted, check_logits, check_probabilities
from .features import home
from .knowledge import Holding
from .verdicts import Screen


@dataclass(frozen=True)
class Strip:
    """Settings of the run-time filter; `fit` gives the filter.

    Args:
        overlays: Trusted images that every input is blended with; 100 in the paper. All inputs meet the
            same ones.
        weight: The blend is x + weight * overlay, cut off at white; 1 in the paper.
        false_rejection: Share of clean inputs that one is prepared to refuse.
        seed: Seed of the choice of overlays.
        batch: Blended images per forward pass, few enough for a cache.

    Raises:
        ValueError: A setting is out of range.

    References:
        Gao et al., STRIP: a defence against trojan attacks on deep neural networks, 2019. arXiv:1902.06531.
    """

    overlays: int = 100
    weight: float = 1.0
    false_rejection: float = 0.01
    seed: int = 0
    batch: int = 128

    def __post_init__(self) -> None:
        if self.overlays < 2 or self.batch < 1:
            raise ValueError(f"overlays must be at least 2, batch at least 1; got {self.overlays} and {self.batch}")
        if not (0 < self.weight <= 1 and 0 < self.false_rejection < 1):
            limits = "weight must lie in (0, 1], false_rejection strictly between 0 and 1"
            raise ValueError(f"{limits}; got {self.weight} and {self.false_rejection}")

    def fit(self, model: nn.Module, holding: Holding) -> FittedStrip:
        """Set the threshold so that about `false_rejection` of the trusted images would be refused.

        As in the paper, a normal distribution is fitted to the entropies of the trusted images, and the
        threshold is its quantile. No trusted image is blended with itself.

        Args:
            model: A classifier from images to logits [N, K]; a copy of it is kept.
            holding: Trusted images serve as overlays and set the threshold.

        Raises:
            ValueError: There are fewer trusted images than overlays + 1.

        Warns:
            AssumptionWarning: There are too few trusted images to speak of so rare a false rejection, or the
                network answers with probabilities.
        """
        trusted = holding.need(self.overlays + 1, "STRIP").x
        check_enough_trusted(len(trusted), round(1 / self.false_rejection), f"a rate of {self.false_rejection:g}")
        chosen = torch.randperm(len(trusted), generator=torch.Generator().manual_seed(self.seed))[: self.overlays]
        kept = _quick(model)
        check_logits(predict(kept, trusted))
        every = _entropies(kept, trusted, trusted[chosen.to(trusted.device)], self)
        every[chosen, torch.arange(self.overlays)] = torch.nan
        entropies = every.nanmean(1)
        return FittedStrip(kept, trusted[chosen.to(trusted.device)], self.threshold(entropies), entropies, self)

    def threshold(self, entropies: Float[Tensor, " t"]) -> float:
        """Where a normal distribution fitted to the entropies of trusted images has `false_rejection` below it."""
        return NormalDist(float(entropies.mean()), float(entropies.std())).inv_cdf(self.false_rejection)


@dataclass(frozen=True, eq=False)
class FittedStrip:
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

    def __call__(self, x: Images) -> Screen:
        """Screen images [N, C, H, W]; a score is the mean entropy over all blends, in bits, low if suspicious."""
        scores = _entropies(self.model, check_images(x), self.overlays, self.settings).mean(1)
        return Screen(scores, self.threshold, scores < self.threshold)


def entropy(probabilities: Float[Tensor, "n k"]) -> Float[Tensor, " n"]:
    """Shannon entropy of each row, in bits: 0 for a sure answer, log2(K) for a guess.

    Warns:
        AssumptionWarning: The rows are not probabilities.
    """
    check_probabilities(probabilities)
    return -torch.xlogy(probabilities, probabilities).sum(1) / torch.log(torch.tensor(2.0))


def _quick(model: nn.Module) -> nn.Module:
    """A copy for inference alone: batch norm folded into the convolution before it, channels last. Half the time."""
    kept: nn.Module = copy.deepcopy(model).eval()
    if isinstance(kept, nn.Sequential):
        for (name, layer), (after, norm) in pairwise([*kept.named_children()]):
            if isinstance(layer, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                setattr(kept, name, fuse_conv_bn_eval(layer, norm))
                setattr(kept, after, nn.Identity())
    return channels_last(kept)


def _entropies(
    model: nn.Module, x: Images, overlays: Float[Tensor, "o c h w"], settings: Strip
) -> Float[Tensor, "n o"]:
    """Entropy of the answer to every image under every overlay, on the CPU."""
    overlays = settings.weight * home(model, overlays)[None]
    rows = []
    for part in home(model, x).split(max(1, settings.batch // overlays.shape[1])):
        blends = (part[:, None] + overlays).clamp(max=1).flatten(0, 1)  # [part * overlays, C, H, W]
        logits = predict(model, blends.contiguous(memory_format=torch.channels_last), batch_size=settings.batch)
        rows.append(entropy(logits.softmax(1)).view(len(part), -1))
    return torch.cat(rows)
