"""What an audit cannot exclude, by kind of attack. A clean result is a statement about the search."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..defenses.assumptions import FEW
from .records import SMALL, UNUSUAL, LabelTrigger


@dataclass(frozen=True)
class BlindSpot:
    """A kind of attack that may be there although nothing was found.

    Attributes:
        attack: The kind, in words.
        because: What in the methods lets it pass.
        reference: Where it is described, or "".
    """

    attack: str
    because: str
    reference: str = ""


ALWAYS = (
    BlindSpot(
        "a trigger that differs from image to image (input-aware)",
        "the scan looks for one mask that works on all images, and blending as STRIP does destroys such a trigger",
        "https://arxiv.org/abs/2010.08138",
    ),
    BlindSpot(
        "a trigger that works for few source classes only, with cover images for the others",
        "the scan wants one trigger that works on images of every class",
        "https://arxiv.org/abs/1908.00686",
    ),
    BlindSpot(
        "a trigger that covers the whole image faintly, or bends it (blend, sinusoid, warp)",
        "the scan prefers small masks, and such a trigger has none",
        "https://arxiv.org/abs/2102.10369",
    ),
    BlindSpot(
        "a semantic trigger: something that images have anyway, such as a colour or an object",
        "it is no fixed pattern, and the trusted images may not show it",
        "https://arxiv.org/abs/1807.00459",
    ),
    BlindSpot(
        "an attack on every label (all-to-all), or on more than a few",
        "the scan and the comparison of labels call a label suspicious when it differs from the others",
    ),
    BlindSpot(
        "a backdoor that was trained to pass such tests, or hidden by construction",
        "every method here is published, and an attacker can train against it",
        "https://arxiv.org/abs/2204.06974",
    ),
    BlindSpot(
        "a second backdoor behind the one that was found",
        "a stronger backdoor raises what counts as unusual",
    ),
    BlindSpot(
        "code in the network's own files",
        "the program that builds the network was run and not read; the weights were not unpickled",
    ),
)
"""What no step of the audit was made for."""

OF_THE_DATA = (
    BlindSpot(
        "poison that is half of a class or more",
        "the filters take poison for a minority of its class",
        "https://arxiv.org/abs/1811.03728",
    ),
    BlindSpot(
        "few poisoned images, or clean-label poison",
        "what suspicious images of a label have in common is looked for in 20 of them or more, in a fixed place; "
        "and no label of clean-label poison is wrong",
        "https://arxiv.org/abs/1912.02771",
    ),
)
"""What the filters of the training data may let pass."""

WITHOUT_DATA = (
    BlindSpot("anything that only the training data would show", "the training data were not given, so none was read"),
)
"""What nobody looked for, as there were no training data."""


UNJUDGED = (
    BlindSpot(
        "any trigger that the scan reversed, however small",
        "the scan calls a mask suspicious if it is small beside the others, and there were too few to compare",
        "https://doi.org/10.1109/SP.2019.00031",
    ),
)
"""What a scan without a verdict leaves open."""


FEW_LABELS = (
    BlindSpot(
        "a small trigger, too",
        f"the scan calls a mask suspicious if it is small beside the others, and among fewer than {FEW} labels that "
        "rule has little power: a mask of a quarter of the usual size is missed in a third of such scans or more",
        "https://doi.org/10.1109/SP.2019.00031",
    ),
)
"""What a scan of few labels leaves open."""


LOOKING = ("Neural Cleanse", "Activation Clustering", "Spectral Signatures", "Deep k-NN", "STRIP")
"""The steps that look for something; repairs do not."""


def blind_spots(
    *, training: bool, not_run: tuple[str, ...], judged: bool = True, triggers: Sequence[LabelTrigger] = ()
) -> tuple[BlindSpot, ...]:
    """Everything that an audit did not exclude.

    Args:
        training: Whether the training data were given.
        not_run: Names of the steps that were not run or broke off.
        judged: False if the scan ran and came to no verdict.
        triggers: What the scan reversed, one per label.
    """
    missing = tuple(
        BlindSpot(f"whatever {name} would have found", "this step did not run") for name in not_run if name in LOOKING
    )
    unjudged = () if judged else UNJUDGED
    if judged and triggers and sum(each.reached for each in triggers) < FEW:
        unjudged = FEW_LABELS
    return _close(triggers) + missing + unjudged + (OF_THE_DATA if training else WITHOUT_DATA) + ALWAYS


def _close(triggers: Sequence[LabelTrigger]) -> tuple[BlindSpot, ...]:
    """The labels that came close to being flagged; if no label is flagged and none came close, the first in line."""
    reached = sorted((each for each in triggers if each.reached), key=lambda each: each.norm)
    close = [each for each in reached if each.noticed]
    if not close and not any(each.flagged for each in reached):
        close = reached[:1]
    return tuple(
        BlindSpot(
            f"a backdoor to {each.label}",
            f"its mask has {each.size}; the scan flags a label only if the index is above {UNUSUAL:g} and the mask at "
            f"most {SMALL:g} of the median",
        )
        for each in close
    )
