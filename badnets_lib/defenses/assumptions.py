"""What defenses take for granted: one record per assumption, and the warning where one is seen to fail.

An impossible input is an error. A possible one that the method was not made for is an `AssumptionWarning`, which
names the assumption, the numbers, and a section of the page "What defenses take for granted".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
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
    "more-neighbours-than-a-class-has",
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
    "no label has an index, or only a far smaller mask than usual is flagged",
    "fewer than 5 labels were reached",
    "too-few-labels",
)
NO_SPREAD = Assumption(
    "the norms differ from one another",
    "the smallest difference counts as infinitely many deviations",
    "the median absolute deviation is 0",
    "norms-without-spread",
)

# --- of removals ---

DORMANT_CHANNELS = Assumption(
    "the backdoor lives in channels that clean images leave dormant",
    "accuracy is pruned away before the backdoor is",
    "",
    "dormant-channels",
)
REPAIR_COSTS = Assumption(
    "the training repairs the network instead of replacing it",
    "it forgets what it knew, and learns the trusted images alone",
    "trusted accuracy falls by more than 20 points in an epoch",
    "repair-costs-accuracy",
)
RIGHT_TRIGGER = Assumption(
    "the trigger that is unlearnt is the attacker's, or close to it",
    "the true trigger goes on working",
    "",
    "unlearning-the-wrong-trigger",
)
SHORT_SHIFT = Assumption(
    "the trigger is one change of pixels, no longer than the radius",
    "it is not among the shifts that are learnt against",
    "",
    "triggers-beyond-the-radius",
)

LOUD_CHANNELS = Assumption(
    "channels of the backdoor have weights that react more strongly than those of their layer",
    "the backdoor stays, or honest channels go",
    "",
    "channels-that-stand-out",
)
MANY_CHANNELS = Assumption(
    "a layer has enough channels for one to stand out",
    "nothing is pruned there, whatever the weights",
    "(n - 1) / sqrt(n) is no more than the limit, for n channels: 10 or fewer at 3 deviations",
    "too-few-channels",
)
NORM_FOLLOWS = Assumption(
    "convolutions hand their output straight to a batch norm",
    "the convolution is not judged; without any pair the network comes back as it was",
    "there is no such pair",
    "batch-norm-after-convolution",
)
SENSITIVE_NEURONS = Assumption(
    "the neurons of the backdoor are those that a small change of weights turns against trusted images",
    "the backdoor stays, or accuracy is pruned away",
    "",
    "neurons-that-perturbation-finds",
)

# --- of robust training ---

LEARNT_FIRST = Assumption(
    "poison is fitted sooner and more deeply than clean images are",
    "clean images are isolated and unlearnt",
    "",
    "poison-that-is-not-learnt-first",
)
CUT_OFF = Assumption(
    "boxes cut the trigger off, or carry it to images of other labels",
    "small triggers and their labels stay together",
    "",
    "triggers-that-survive-augmentation",
)

FEW_CHANGES = Assumption(
    "fewer training images were inserted or deleted than the certificate counts",
    "nothing is promised about the answer",
    "",
    "more-changes-than-are-certified",
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
    "the threshold is 0 bits, or as good as 0, or less; or no trusted image lies below it though 3 or more should",
    "a-threshold-that-refuses-nothing",
)
ENTROPY_OF_LOGITS = Assumption(
    "rows are probabilities", "a number without meaning", "rows do not sum to 1", "strip-on-logits"
)

UNUSUAL_CORRELATIONS = Assumption(
    "channels that fire together on a trigger do not on clean images of the class that is answered",
    "triggered inputs pass",
    "",
    "unusual-correlations",
)
SURVIVES_SCALING = Assumption(
    "answers to a trigger outlast brighter pixels, and answers to clean images do not",
    "clean inputs are refused, or triggered ones pass",
    "more than a quarter of the trusted images would be refused, or no input can be",
    "answers-that-outlast-brighter-pixels",
)

# --- of removals and robust trainings ---

CLEAN_TRAINING = Assumption(
    "a network that is shown clean images forgets the trigger",
    "the backdoor stays, or the network is trained anew",
    "",
    "clean-training-forgets",
)
FILTER_FINDS = Assumption(
    "the filter finds nearly all of the poison",
    "what it leaves keeps the backdoor alive",
    "",
    "what-the-filter-leaves",
)


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


FEW = 5
"""Among fewer labels the rule for outliers has little power: see the page, where the misses are counted."""


def check_reached(reached: Mask) -> None:
    """Warn if a scan found triggers for so few labels that none can be called small beside the others.

    Args:
        reached: True for labels for which a trigger was found [K].
    """
    found = int(reached.sum())
    labels = len(reached)
    if 2 * found < labels:
        NEVER_REACHED.warn(
            f"a trigger was found for {found} of {labels} labels: the others were never reached, and what is small "
            "among so few says little (more rounds may help)"
        )
    elif found < 3:
        FEW_LABELS.warn(f"{found} labels are too few to call one an outlier: no label has an index")
    elif found < FEW:
        FEW_LABELS.warn(
            f"among {found} labels an outlier is hard to tell: a mask of a quarter of the usual size is missed in a "
            "third of such scans or more, so that nothing flagged says little"
        )


def check_spread(sizes: Float[Tensor, " k"], deviation: float) -> None:
    """Warn if the sizes differ, but their median absolute deviation is zero: an index would be infinite.

    Args:
        sizes: Of the labels that were reached.
        deviation: Their median absolute deviation.
    """
    if deviation == 0 and bool((sizes != sizes[0]).any()):
        NO_SPREAD.warn("more than half of the norms are equal: their deviation is 0, and no label has an index")


ROUNDING = 1e-6
"""Bits of entropy that a rounding error makes: a threshold no larger than this tells nothing apart."""


def check_threshold(threshold: float, trusted: Float[Tensor, " t"], rate: float) -> None:
    """Warn if a run-time filter can refuse nothing: entropies are never negative.

    Args:
        threshold: In bits; what lies below is refused.
        trusted: Entropies of the trusted images, in bits.
        rate: Part of the clean inputs that the threshold should refuse.
    """
    own = float(trusted.quantile(rate))
    advice = f"the {rate:g} quantile of the trusted entropies themselves is {own:.3g} bits (rule='empirical')"
    if threshold <= ROUNDING:
        advice = advice if own > ROUNDING else "the answers to many trusted images are as sure as those to a trigger"
        REFUSES_NOTHING.warn(f"the threshold of {threshold:.3g} bits refuses nothing, entropies start at 0; {advice}")
    elif rate * len(trusted) >= 3 and not bool((trusted < threshold).any()):
        REFUSES_NOTHING.warn(f"the threshold of {threshold:.3g} bits lies below every trusted image; {advice}")


def check_pairs(pairs: int) -> None:
    """Warn if no convolution hands its output to a batch norm: there is nothing to judge, and nothing is pruned.

    Args:
        pairs: How many do.
    """
    if not pairs:
        NORM_FOLLOWS.warn(
            "no convolution hands its output straight to a batch norm: nothing is judged, and the network is as it was"
        )


def check_channels(channels: Mapping[str, int], deviations: float) -> None:
    """Warn if a layer has so few channels that none can lie so many standard deviations above their mean.

    Args:
        channels: How many channels a layer has, by its name.
        deviations: The limit, in sample standard deviations above the mean.
    """
    small = {name: count for name, count in channels.items() if (count - 1) / max(1, count) ** 0.5 <= deviations}
    if small:
        told = ", ".join(f"{name!r} with {count}" for name, count in small.items())
        MANY_CHANNELS.warn(f"no channel can lie {deviations:g} deviations above the mean in a layer of so few: {told}")


def check_consistency(refused: Mask, highest: float, threshold: float, *, most: float = 0.25) -> None:
    """Warn if a filter that counts unchanged answers refuses too many trusted images, or can refuse nothing.

    Args:
        refused: Its verdicts on the trusted images.
        highest: The score of an input whose answer never changes.
        threshold: From which score on an input is refused.
        most: Up to this part of the trusted images there is no warning.
    """
    rate = Proportion.of(refused)
    if highest < threshold:
        SURVIVES_SCALING.warn(
            f"no input can be refused: one whose answer never changes has a score of {highest:.2g}, and the threshold "
            f"is {threshold:g}; answers to trusted images outlast brighter pixels as well"
        )
    elif rate.value > most:
        SURVIVES_SCALING.warn(f"the filter refuses {rate} of the trusted images: their answers outlast brighter pixels")


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
