"""From flagged images to a suspicion that can be tested: which labels stand out, and what their images share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from jaxtyping import Float
from torch import Tensor, nn

from ..counts import Proportion
from ..data.images import Images, ImageSet, to_unit
from ..defenses.neural_cleanse import Reversed
from ..evaluation.scores import Scorecard, attack_success_rate, score
from ..poisoning import Attack, Goal

LEAST = 20
"""A label with fewer flagged images than this does not stand out."""

LEAST_PART = 0.05
"""Nor one of whose images a smaller part is flagged."""

TIMES = 3
"""Nor one whose part is less than so many times the median label's."""

ALIKE = 0.1
"""Two pixels that differ by less are alike."""

MOST_OF_AN_IMAGE = 0.25
"""What covers more of an image than this is the class itself and no mark."""


@dataclass(frozen=True)
class Suspicion:
    """A trigger that someone may have planted, and where it would lead.

    Attributes:
        name: The label and where the trigger comes from, in words.
        label: The label.
        trigger: Reversed by a scan, or cut out of suspect images.
    """

    name: str
    label: int
    trigger: Reversed

    def attack(self, data: ImageSet) -> Attack:
        """The suspicion as an attack on every class of some images."""
        return Attack(self.trigger, Goal.all_to_one(self.label, len(data.classes)))

    @property
    def control(self) -> Suspicion:
        """The same trigger turned by 180 degrees: it has its size and colours, and another place."""
        turned = Reversed(self.trigger.mask.flip(1, 2), self.trigger.pattern.flip(1, 2))
        return Suspicion(f"{self.name}, turned", self.label, turned)


def stands_out(counts: Sequence[Proportion], label: int) -> bool:
    """Whether unusually many images of a label are flagged, beside the other labels; the rule is ours.

    Args:
        counts: Flagged images of each label, of its images.
        label: The label in question.
    """
    mine = counts[label]
    usual = median(each.value for each in counts)
    return mine.hits >= LEAST and mine.value >= LEAST_PART and mine.value >= TIMES * usual


def common_mark(group: Images, reference: Float[Tensor, "m c h w"]) -> Reversed | None:
    """The pixels on which suspects agree and trusted images do not, as a trigger; None if there are none.

    It finds what is in a fixed place. Noise, warps and colours are no such mark.

    Args:
        group: Suspect images [N, C, H, W].
        reference: Trusted images [M, C, H, W] of the same shape.
    """
    suspects, usual = to_unit(group), to_unit(reference)
    pattern = suspects.median(0).values
    alike, by_chance = (((x - pattern).abs() < ALIKE).all(1).float().mean(0) for x in (suspects, usual))
    mask = (alike - by_chance > 0.5).float()[None]
    if not mask.any() or float(mask.mean()) > MOST_OF_AN_IMAGE:
        return None
    return Reversed(mask, pattern)


def tested(model: nn.Module, kept: ImageSet, suspicion: Suspicion) -> tuple[Scorecard, Proportion]:
    """What a suspected trigger does on kept images, and how often its control leads to the same label."""
    return score(model, kept, suspicion.attack(kept)), attack_success_rate(model, kept, suspicion.control.attack(kept))
