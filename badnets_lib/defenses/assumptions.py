"""What defenses take for granted: one record per assumption, and the warning where one is seen to fail.

An impossible input is an error. A possible one that the method was not made for is an `AssumptionWarning`, which
names the assumption, the numbers, and a section of the page "What defenses take for granted".
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from jaxtyping import Float
from torch import Tensor

from .._warnings import PAGE, AssumptionWarning as AssumptionWarning, warn_assumption
from ..counts import Proportion
from ..data.images import Labels, Mask
from ..models.inference import check_outputs


@dataclass(frozen=True)
class Assumption:
    """One thing that a method takes for granted.

    Args:
        holds: What must be so, in words.
        otherwise: What one gets where it is not so.
        warning: When the library warns; "" where no code can notice it.
        anchor: The section of the page that explains it, as it stands in its address.
    """

    holds: str
    otherwise: str
    warning: str
    anchor: str

    @property
    def page(self) -> str:
        """Where it is explained, "page#anchor"."""
        return f"{PAGE}#{self.anchor}"

    def warn(self, message: str) -> None:
        """Warn that it fails here, at the line of the reader who called the library."""
        warn_assumption(message, self.anchor)


# --- of filters of training data ---

THE_LAYER = Assumption(
    "poison differs from clean images of its label in the layer that is looked at",
    "poison is not seen, or clean images are",
    "",
    "the-layer-decides",
)
LOGITS_AS_FEATURES = Assumption(
    "features say more than the label",
    "poison looks like its target",
    "the layer gives the network's answers",
    "logits-as-features",
)
HALF_A_CLASS = Assumption(
    "poison is the smaller part of its class",
    "nothing is flagged, or the clean part is",
    "a class falls into two clear parts and neither is flagged; epsilon is 40% or more",
    "half-a-class",
)
UNEQUAL_CLASSES = Assumption(
    "the same amount of poison is a minority in every class",
    "in a small class the poison is the larger part",
    "the largest class is more than 3 times the smallest, or half of the smallest is less than 2% of the data",
    "unequal-classes",
)
SILENCE = Assumption(
    "poison makes a heap of its own",
    "nothing is flagged",
    "no class falls into two clear parts",
    "silence-is-no-acquittal",
)
MOST_FLAGGED = Assumption(
    "poison is rare",
    "clean images are thrown away",
    "more than 20% of all images are flagged, or more than half of a class",
    "most-of-the-data-flagged",
)
MORE_NEIGHBOURS = Assumption(
    "a class has more images than there are voters",
    "honest images of small classes are outvoted",
    "a class has k images or fewer",
    "more-neighbours-than-a-class",
)

# --- of everything that asks a network about trusted images ---

FEW_TRUSTED = Assumption(
    "there are enough trusted images",
    "a threshold or a trigger that holds for these images alone",
    "there are fewer than the method needs",
    "few-trusted-images",
)
PROBABILITIES = Assumption(
    "the network answers with logits",
    "softmax once more makes all answers nearly equal: triggers are not found, entropies mean nothing",
    "every answer is positive and sums to 1",
    "probabilities-instead-of-logits",
)
LOW_ACCURACY = Assumption(
    "the network is given images as it was trained on them, in [0, 1]",
    "it answers at random, and so does the defense",
    "it is right about fewer than 60% of the trusted images",
    "far-too-low-accuracy",
)

# --- of scans ---

ONE_TRIGGER = Assumption(
    "one small trigger sends images of every class to the target",
    "large, blended, moving or class-specific triggers are not flagged",
    "",
    "one-small-trigger-for-every-class",
)
NEVER_REACHED = Assumption(
    "the search finds a trigger for most labels",
    "the few that it reached look small beside the rest",
    "fewer than half of the labels were reached",
    "labels-never-reached",
)
FEW_LABELS = Assumption(
    "there are enough labels to tell an outlier",
    "no label has an index",
    "fewer than 3 labels were reached",
    "too-few-labels",
)
NO_SPREAD = Assumption(
    "the norms differ from one another",
    "the smallest difference counts as infinitely many deviations",
    "the median absolute deviation is 0",
    "norms-without-spread",
)

# --- of filters at run time ---

SURVIVES_BLENDING = Assumption(
    "the trigger works on a blend of two images, and clean answers do not",
    "faint, moving or covered triggers pass",
    "",
    "a-trigger-that-survives-blending",
)
REFUSES_NOTHING = Assumption(
    "the entropies of trusted images are spread like a normal distribution above 0",
    "the threshold lies where no input can fall, and everything passes",
    "the threshold is 0 bits or less, or no trusted image lies below it though 3 or more should",
    "a-threshold-that-refuses-nothing",
)
ENTROPY_OF_LOGITS = Assumption(
    "rows are probabilities", "a number without meaning", "rows do not sum to 1", "strip-on-logits"
)

CLEAR_CLASSES = 10
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
    """Warn if a class has too few images to outvote anybody.

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
    named = ", ".join(map(str, labels[:CLEAR_CLASSES]))
    return named if len(labels) <= CLEAR_CLASSES else f"{named} and {len(labels) - CLEAR_CLASSES} more"


def check_not_logits(layer: str, features: Float[Tensor, "n d"], answers: Float[Tensor, "n k"]) -> None:
    """Warn if features are the network's answers, which tell the label and little else.

    They are if there is one per class and the largest is the network's top class on every image: logits,
    probabilities, or anything between.
    """
    if features.shape == answers.shape and bool((features.argmax(1) == answers.argmax(1)).all()):
        LOGITS_AS_FEATURES.warn(f"layer {layer!r} gives the answers of the network: poison looks like its target there")


def check_probabilities(rows: Float[Tensor, "n k"], *, tolerance: float = 1e-3) -> None:
    """Warn if rows are not probabilities: entropies of logits mean nothing.

    Args:
        rows: One row per input; each should be at least 0 and sum to 1.
        tolerance: How far a sum may be off.
    """
    off = float((rows.sum(1) - 1).abs().max()) if len(rows) else 0.0
    if off > tolerance or bool((rows < 0).any()):
        ENTROPY_OF_LOGITS.warn(f"rows are not probabilities: sums are off 1 by up to {off:.3g} (use softmax)")


def check_logits(answers: Float[Tensor, "n k"], *, tolerance: float = 1e-3) -> None:
    """Warn if a network's answers are probabilities already: softmax once more makes them nearly equal.

    Args:
        answers: One row per input.
        tolerance: How far a sum may be off 1.
    """
    if len(answers) and bool((answers >= 0).all()) and float((answers.float().sum(1) - 1).abs().max()) <= tolerance:
        PROBABILITIES.warn("the network answers with probabilities, not logits: leave its softmax to the defense")


def check_accuracy(answers: Float[Tensor, "n k"], y: Labels, *, least: float = 0.6) -> None:
    """Warn if a network is so often wrong about trusted images that it cannot have been trained on such images.

    Args:
        answers: Its answers to them.
        y: Their labels.
        least: From this accuracy on there is no warning.
    """
    right = Proportion.of(answers.argmax(1) == y.cpu())
    if right.value < least:
        LOW_ACCURACY.warn(
            f"the network is right about {right} of the trusted images: does it lack its normalisation (Normalized), "
            "or are its classes in another order?"
        )


def check_answers(answers: Float[Tensor, "n k"], y: Labels, classes: int) -> None:
    """What every method that asks a network about trusted images looks at first.

    Raises:
        ValueError: The network has another number of outputs than there are classes.

    Warns:
        AssumptionWarning: The answers are probabilities, or far too often wrong.
    """
    check_outputs(answers, classes)
    check_logits(answers)
    check_accuracy(answers, y)


def check_enough_trusted(images: int, least: int, what: str) -> None:
    """Warn if there are fewer trusted images than a method needs to be believed.

    Args:
        images: How many there are.
        least: From how many on there is no warning.
        what: What they are needed for, in words that end the sentence "needs at least 100 trusted images ...".
    """
    if images < least:
        FEW_TRUSTED.warn(f"{what} needs at least {least} trusted images; got {images}")


def check_reached(reached: Mask) -> None:
    """Warn if a scan found triggers for so few labels that none can be called small beside the others.

    Args:
        reached: True for labels for which a trigger was found [K].
    """
    found, labels = int(reached.sum()), len(reached)
    if 2 * found < labels:
        NEVER_REACHED.warn(
            f"a trigger was found for {found} of {labels} labels: the others were never reached, and what is small "
            "among so few says little (more rounds may help)"
        )
    elif found < 3:
        FEW_LABELS.warn(f"{found} labels are too few to call one an outlier: no label has an index")


def check_spread(sizes: Float[Tensor, " k"], deviation: float) -> None:
    """Warn if the sizes differ, but their median absolute deviation is zero: an index would be infinite.

    Args:
        sizes: Of the labels that were reached.
        deviation: Their median absolute deviation.
    """
    if deviation == 0 and bool((sizes != sizes[0]).any()):
        NO_SPREAD.warn("more than half of the norms are equal: their deviation is 0, and no label has an index")


def check_threshold(threshold: float, trusted: Float[Tensor, " t"], rate: float) -> None:
    """Warn if a run-time filter can refuse nothing: entropies are never negative.

    Args:
        threshold: In bits; what lies below is refused.
        trusted: Entropies of the trusted images, in bits.
        rate: Part of the clean inputs that the threshold should refuse.
    """
    own = float(trusted.quantile(rate))
    advice = f"the {rate:g} quantile of the trusted entropies themselves is {own:.3g} bits (rule='empirical')"
    if threshold <= 0:
        advice = advice if own > 0 else "the answers to many trusted images are as sure as those to a trigger"
        REFUSES_NOTHING.warn(f"the threshold of {threshold:.3g} bits refuses nothing, entropies start at 0; {advice}")
    elif rate * len(trusted) >= 3 and not bool((trusted < threshold).any()):
        REFUSES_NOTHING.warn(f"the threshold of {threshold:.3g} bits lies below every trusted image; {advice}")


def table(defenses: Iterable[type[Any]] | None = None) -> str:
    """What each defense takes for granted, as a Markdown table.

    Args:
        defenses: Classes of defenses; None: all of the library.

    Example:
        >>> from badnets_lib.defenses import DeepKNN, assumptions
        >>> print(assumptions.table([DeepKNN]).splitlines()[0])
        | defense | takes for granted | otherwise | the library warns | page |
    """
    from . import ALL  # every defense knows this module

    rows = [
        f"| {each.__name__} | {one.holds} | {one.otherwise} | {one.warning or 'never: no code can tell'} | {one.page} |"
        for each in (ALL if defenses is None else defenses)
        for one in each.assumptions
    ]
    head = "| defense | takes for granted | otherwise | the library warns | page |"
    return "\n".join([head, "|---|---|---|---|---|", *rows])
