"""Warnings about what a defense takes for granted: each names the assumption, the numbers, and a page that explains it.

An impossible input is an error. A possible one that the method was not made for is an `AssumptionWarning`.
"""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from .._warnings import AssumptionWarning as AssumptionWarning, warn_assumption


def check_half_a_class(label: int, share: float, *, limit: float = 0.4) -> None:
    """Warn if poison is, or would be, so much of a class that "the smaller part" is a coin flip.

    Args:
        label: The class.
        share: Share of its images that are poisoned, as far as anybody can tell.
        limit: From this share on there is a warning.
    """
    if share >= limit:
        warn_assumption(
            f"poison would be {share:.0%} of class {label}: the smaller part may be the clean one", "half-a-class"
        )


def check_not_logits(layer: str, features: Float[Tensor, "n d"], answers: Float[Tensor, "n k"]) -> None:
    """Warn if features are the network's answers, which tell the label and little else.

    They are if there is one per class and the largest is the network's top class on every image: logits,
    probabilities, or anything between.
    """
    if features.shape == answers.shape and bool((features.argmax(1) == answers.argmax(1)).all()):
        message = f"layer {layer!r} gives the answers of the network: poison looks like its target there"
        warn_assumption(message, "logits-as-features")


def check_probabilities(rows: Float[Tensor, "n k"], *, tolerance: float = 1e-3) -> None:
    """Warn if rows are not probabilities: entropies of logits mean nothing.

    Args:
        rows: One row per input; each should be at least 0 and sum to 1.
        tolerance: How far a sum may be off.
    """
    off = float((rows.sum(1) - 1).abs().max()) if len(rows) else 0.0
    if off > tolerance or bool((rows < 0).any()):
        warn_assumption(
            f"rows are not probabilities: sums are off 1 by up to {off:.3g} (use softmax)", "strip-on-logits"
        )


def check_logits(answers: Float[Tensor, "n k"], *, tolerance: float = 1e-3) -> None:
    """Warn if a network's answers are probabilities already: softmax once more makes them nearly equal.

    Args:
        answers: One row per input.
        tolerance: How far a sum may be off 1.
    """
    if len(answers) and bool((answers >= 0).all()) and float((answers.sum(1) - 1).abs().max()) <= tolerance:
        warn_assumption(
            "the network answers with probabilities, not logits: leave its softmax to the defense", "strip-on-logits"
        )


def check_enough_trusted(images: int, least: int, what: str) -> None:
    """Warn if there are fewer trusted images than a method needs to be believed.

    Args:
        images: How many there are.
        least: From how many on there is no warning.
        what: What they are needed for, in words that end the sentence "needs at least 100 trusted images ...".
    """
    if images < least:
        warn_assumption(f"{what} needs at least {least} trusted images; got {images}", "few-trusted-images")
