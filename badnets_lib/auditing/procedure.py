"""The audit itself: what is done in which order, and what is asked of the input before anything is computed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn

from .._numbers import number, shown
from ..counts import Proportion
from ..data.images import ImageSet, check_set
from ..defenses.knowledge import pixel_keys
from ..models.inference import check_network, correct
from ..models.training import describe_device
from ..provenance.checkpoints import weights_hash
from .blind_spots import blind_spots
from .methods import repaired, reversed_suspicions, reversed_triggers, scanned, screened, successes
from .report import Audit
from .running import Run
from .training_data import filtered, suspects


class LowAccuracy(ValueError):
    """The network gets so many trusted images wrong that whatever else is measured would mean nothing."""


def audit(
    model: nn.Module,
    trusted: ImageSet,
    *,
    training: ImageSet | None = None,
    minutes: int | float = 10,
    kept: float = 0.5,
    least_accuracy: float = 0.7,
    seed: int = 0,
    names: Sequence[str] = (),
    weights: str = "",
    tell: Callable[[str], object] = lambda step: None,
) -> Audit:
    """Look for a backdoor in a network, with what you have, in the time you give.

    The trusted images are split first: one part is given to the methods, the other only measures. Then a trigger is
    reversed for every label, the training data are filtered if they are given, a run-time filter is fitted, and
    repairs are tried. A step that does not fit into the time is left out, and the report says so.

    Args:
        model: The network, from images in [0, 1] to logits; see `Normalized`. It is not changed.
        trusted: Clean, correctly labelled images that the network was not trained on: 100 or more of them.
        training: The training data with their labels as they are, if you have them.
        minutes: About how long it may take. A step begins only if it should be over in time.
        kept: Part of the trusted images that is kept apart to measure on.
        least_accuracy: A network that labels a smaller part of the trusted images correctly is not audited.
        seed: Seed of the split and of every method.
        names: A name for each training image, such as its file; suspects are listed by it.
        weights: SHA-256 of the weights as the report states it. Default: `weights_hash` of the network.
        tell: Called with the name of every step when it begins.

    Returns:
        An `Audit`; its `findings` are empty if nothing was found.

    Raises:
        TypeError: The model is no network, or a set is no `ImageSet`.
        ValueError: A setting is out of range, the sets do not fit together, or the network does not fit them.
        LowAccuracy: The network gets too many trusted images wrong.

    Example:
        >>> found = bd.audit(model, trusted, minutes=0.001)  # no step fits into so little time
        >>> found.findings
        ()
        >>> folder = found.save("report")
    """
    check_network(model)
    _check_sets(trusted, training, names)
    _check_settings(minutes=minutes, kept=kept, least_accuracy=least_accuracy)
    trusted, left_out = _apart(trusted, training)
    accuracy = check_accuracy(model, trusted, least_accuracy)
    working, measuring = trusted.split(kept, seed=seed)
    run = Run(model, working, measuring, minutes, tell)
    scan = scanned(run, seed)
    masks, parts = filtered(run, training, seed) if training is not None else ({}, None)
    with run.trial("trial on kept images"):
        found = reversed_triggers(run, scan)
        flagged, marks = suspects(run, training, masks, parts, names) if training is not None else ((), ())
        suspicions = (*reversed_suspicions(scan, trusted.classes), *marks)
        suspected = successes(model, measuring, suspicions)
    screening = screened(run, suspicions, seed)
    repairs = repaired(run, suspicions, seed)
    return Audit(
        network=f"{type(model).__name__}, {sum(each.numel() for each in model.parameters()):,} parameters",
        weights=weights or weights_hash(model),
        images="x".join(map(str, trusted.x.shape[1:])),
        classes=trusted.classes,
        accuracy=accuracy,
        kept_accuracy=correct(model, measuring),
        working=len(working),
        kept=len(measuring),
        left_out=left_out,
        trusted=trusted.fingerprint,
        training="" if training is None else training.fingerprint,
        minutes=minutes,
        seconds=run.seconds,
        seed=seed,
        machine=describe_device(),
        steps=tuple(run.steps),
        triggers=found,
        suspects=flagged,
        suspected=suspected,
        screening=screening,
        repairs=repairs,
        not_excluded=blind_spots(
            training=training is not None,
            not_run=run.not_run,
            judged=scan is None or scan.judged,
            triggers=found,
        ),
    )


def _check_settings(**settings: Any) -> None:
    for name, value in settings.items():
        number(name, value)
    minutes, kept, least = settings["minutes"], settings["kept"], settings["least_accuracy"]
    if not minutes > 0:
        raise ValueError(f"minutes must be positive; got {minutes}")
    if not 0 < kept < 1:
        raise ValueError(f"kept, a part of the trusted images, must lie strictly between 0 and 1; got {kept}")
    if not 0 <= least <= 1:
        raise ValueError(f"least_accuracy must lie in [0, 1]; got {least}")


def _check_sets(trusted: ImageSet, training: ImageSet | None, names: Sequence[str]) -> None:
    """Raise if the images cannot be audited with, before anything is computed."""
    check_set(trusted, "trusted, clean images,")
    if training is not None:
        check_set(training, "training, the training data,")
    if isinstance(names, str) or not isinstance(names, Sequence):
        raise TypeError(f"names must be one name per training image, in a list; got {shown(names)}")
    if len(trusted) < 4:
        raise ValueError(f"an audit needs trusted images, 100 or more to be believed; got {len(trusted)}")
    if training is None:
        return
    if training.classes != trusted.classes:
        classes = f"{', '.join(training.classes)} and {', '.join(trusted.classes)}"
        raise ValueError(f"both sets need the same classes in the same order; got {classes}")
    if training.x.shape[1:] != trusted.x.shape[1:]:
        shapes = f"{list(training.x.shape[1:])} and {list(trusted.x.shape[1:])}"
        raise ValueError(f"both sets need images of one shape; got {shapes}")
    if names and len(names) != len(training):
        raise ValueError(f"need one name per training image; got {len(names)} names for {len(training)} images")


def _apart(trusted: ImageSet, training: ImageSet | None) -> tuple[ImageSet, int]:
    """The trusted images that are not in the training data, and how many are.

    Raises:
        ValueError: All of them are.
    """
    if training is None:
        return trusted, 0
    known = set(pixel_keys(training))
    apart = torch.tensor([key not in known for key in pixel_keys(trusted)], dtype=torch.bool)
    if not apart.any():
        raise ValueError("every trusted image is also in the training data; an audit needs images from elsewhere")
    return trusted[apart], int((~apart).sum())


def check_accuracy(model: nn.Module, trusted: ImageSet, least: float) -> Proportion:
    """How many trusted images the network labels correctly, if they are enough.

    Raises:
        LowAccuracy: They are a smaller part than `least`.
    """
    accuracy = correct(model, trusted)
    if accuracy.value < least:
        raise LowAccuracy(
            f"the network labels only {accuracy} of the trusted images correctly, so an audit would mean nothing: "
            "is its normalisation missing (mean and std), are the classes in another order, or are these other "
            f"weights? If it is known to be no better, lower the least accuracy (now {least:g})"
        )
    return accuracy
