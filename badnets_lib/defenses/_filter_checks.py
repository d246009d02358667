"""What filters of training data look at before they are believed: the classes, the splits, and how much was flagged."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from ..counts import Proportion
from ..data.images import Labels, Mask
from .assumptions import (
    HALF_A_CLASS,
    LOGITS_AS_FEATURES,
    MORE_NEIGHBOURS,
    MOST_FLAGGED,
    SILENCE,
    UNEQUAL_CLASSES,
)

NAMED = 10
"""So many class numbers are named in a warning; of the rest their number is told."""


def check_split(label: int, images: int, smaller: float, *, clear: bool, flagged: bool) -> None:
    """Warn if a class falls into two clear parts and neither is flagged: either may be the poison.

    Args:
        label: The class.
        images: How many images it has.
        smaller: Size of the smaller part, in (0, 0.5].
        clear: The split is believed.
        flagged: One part was called poison.
    """
    if clear and not flagged:
        HALF_A_CLASS.warn(
            f"class {label} ({images:,} images) falls into two clear parts, {smaller:.0%} and {1 - smaller:.0%}, and "
            "neither is flagged: either may be poison"
        )


def check_amount(epsilon: float, margin: float) -> None:
    """A filter that flags `margin` times the part `epsilon` of a class flags something, and not all of it.

    Raises:
        ValueError: It does not.
    """
    if not (epsilon > 0 and margin > 0 and epsilon * margin < 1):
        limits = "epsilon and margin must be positive, their product below 1"
        raise ValueError(f"{limits}; got {epsilon} and {margin}")


def check_epsilon(epsilon: float, *, limit: float = 0.4) -> None:
    """Warn if the expected amount of poison is so much of a class that "far out" may be the clean part.

    Args:
        epsilon: The largest part of a class that is expected to be poison.
        limit: From this part on there is a warning.
    """
    if epsilon >= limit:
        HALF_A_CLASS.warn(f"poison would be {epsilon:.0%} of a class: what lies far out may be the clean part")


def check_equal_classes(y: Labels, *, ratio: float = 3.0, least: float = 0.02) -> None:
    """Warn if poison that is a small part of the data can be the larger part of a class.

    Args:
        y: Labels [N] of the data set, as they are in it.
        ratio: The largest class may be so many times the smallest.
        least: Half of the smallest class must be at least this part of the data.
    """
    labels, counts = y.unique(return_counts=True)
    smallest = int(counts.min())
    if int(counts.max()) > ratio * smallest or smallest / 2 < least * len(y):
        UNEQUAL_CLASSES.warn(
            f"classes have {smallest:,} to {int(counts.max()):,} images: poison in {smallest / 2 / len(y):.1%} of the "
            f"data can be half of class {int(labels[counts.argmin()])}; that it is the smaller part of its class is an "
            "assumption here"
        )


def check_not_silent(clearest: float, label: int, limit: float) -> None:
    """Warn if no class showed two clear parts: a filter that looks for them had nothing to judge.

    Args:
        clearest: The largest separation of any class.
        label: The class that has it.
        limit: From which separation on a split is clear.
    """
    if clearest <= limit:
        SILENCE.warn(
            f"no class falls into two clear parts (the clearest is class {label}, separation {clearest:.2f}; clear is "
            f"above {limit:g}): nothing was found, and nothing is excluded"
        )


def check_flags(flagged: Mask, y: Labels, what: str, *, most: float = 0.2) -> None:
    """Warn if a filter flags so much that most of it must be clean.

    Args:
        flagged: The verdicts [N].
        y: Labels [N].
        what: Name of the filter.
        most: Up to this part of all images there is no warning.
    """
    everything = Proportion.of(flagged)
    flagged, y = flagged.cpu(), y.cpu().long()
    classes = y.bincount()
    drained = (y[flagged].bincount(minlength=len(classes)) * 2 > classes).nonzero().flatten().tolist()
    if everything.value > most or drained:
        emptied = f", and more than half of class {_listed(drained)}" if drained else ""
        MOST_FLAGGED.warn(
            f"{what} flags {everything.value:.0%} ({everything.hits:,}) of {everything.trials:,} images{emptied}: "
            "most of what it flags may be clean"
        )


def check_voters(k: int, references: Labels) -> None:
    """Warn if a class has too few images to outvote anyone.

    Args:
        k: How many neighbours vote.
        references: Labels of the images that may vote.
    """
    labels, counts = references.unique(return_counts=True)
    small = labels[counts <= k].tolist()
    if small:
        MORE_NEIGHBOURS.warn(
            f"{k} neighbours vote, and class {_listed(small)} has no more images than that (the smallest "
            f"{int(counts.min())}): honest images of it are outvoted"
        )


def _listed(labels: list[int]) -> str:
    named = ", ".join(map(str, labels[:NAMED]))
    return named if len(labels) <= NAMED else f"{named} and {len(labels) - NAMED} more"


def check_not_logits(layer: str, features: Float[Tensor, "n d"], answers: Float[Tensor, "n k"]) -> None:
    """Warn if features are the network's answers, which tell the label and little else.

    They are if there is one per class and the largest is the network's top class on every image: logits,
    probabilities, or anything between.
    """
    if features.shape == answers.shape and bool((features.argmax(1) == answers.argmax(1)).all()):
        LOGITS_AS_FEATURES.warn(f"layer {layer!r} gives the answers of the network: poison looks like its target there")
