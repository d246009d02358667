"""What a defense returns, by kind, and one `Outcome` that holds detection and removal together.

All tensors here live on the CPU, whatever device they were computed on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from .._numbers import of_kind
from ..counts import Difference, Proportion
from ..data.images import ImageSet, Mask
from ..evaluation.scores import Scorecard
from ..poisoning import PoisonPlan

Scores = Float[Tensor, " n"]


@dataclass(frozen=True)
class Rates:
    """How a detector's verdicts compare with the truth: four counts, and the rates they make.

    A rate is None where it has no meaning: recall on clean data, precision of a detector that is silent.

    Attributes:
        true_positives: Poisoned and flagged.
        false_negatives: Poisoned and missed.
        false_positives: Clean and flagged.
        true_negatives: Clean and left alone.
    """

    true_positives: int
    false_negatives: int
    false_positives: int
    true_negatives: int

    @classmethod
    def compare(cls, flagged: Bool[Tensor, " n"], truth: Bool[Tensor, " n"]) -> Rates:
        """Count both, position by position.

        Raises:
            ValueError: They differ in length or are not boolean.
        """
        of_kind("truth, True where an image is poisoned,", truth, Tensor)
        if flagged.dtype != torch.bool or truth.dtype != torch.bool or flagged.shape != truth.shape:
            received = f"{flagged.dtype} {list(flagged.shape)} and {truth.dtype} {list(truth.shape)}"
            raise ValueError(f"need as many booleans as verdicts, position by position; got {received}")
        flagged, truth = flagged.cpu(), truth.cpu()
        pairs = (flagged & truth, ~flagged & truth, flagged & ~truth, ~flagged & ~truth)
        return cls(*(int(pair.sum()) for pair in pairs))

    @property
    def recall(self) -> Proportion | None:
        """The true positive rate: how much of the poison is flagged."""
        return _proportion(self.true_positives, self.true_positives + self.false_negatives)

    @property
    def false_positive_rate(self) -> Proportion | None:
        """How much of what is clean is flagged all the same."""
        return _proportion(self.false_positives, self.false_positives + self.true_negatives)

    @property
    def precision(self) -> Proportion | None:
        """How much of what is flagged is poison."""
        return _proportion(self.true_positives, self.true_positives + self.false_positives)

    @property
    def f1(self) -> float | None:
        """Harmonic mean of precision and recall; None where there is no poison."""
        if self.recall is None:
            return None
        return 2 * self.true_positives / (2 * self.true_positives + self.false_positives + self.false_negatives)

    def __add__(self, other: Rates) -> Rates:
        """Pool two counts of the same experiment, for instance over seeds."""
        return Rates(*(mine + theirs for mine, theirs in zip(_counts(self), _counts(other), strict=True)))

    def __str__(self) -> str:
        caught = self.recall or "nothing to catch"
        alarms = self.false_positive_rate or "nothing clean"
        return f"caught {caught}; false alarms {alarms}"


def _counts(rates: Rates) -> tuple[int, int, int, int]:
    return rates.true_positives, rates.false_negatives, rates.false_positives, rates.true_negatives


def _proportion(hits: int, trials: int) -> Proportion | None:
    return Proportion(hits, trials) if trials else None


@dataclass(frozen=True, eq=False)
class Flags:
    """The verdict of a data filter: one score and one flag per image, in the order of the data set.

    Args:
        scores: How suspicious each image is, [N], higher is worse. Comparable within a class only,
            unless the filter says otherwise.
        flagged: True where an image should be dropped, [N].
        notes: One line per class: what was seen and how it was judged.
        fingerprint: `ImageSet.fingerprint` of the judged data; "" if only features were judged.
        oracle: What the filter was given that no real defender knows.

    Raises:
        ValueError: Scores and flags differ in length, are no numbers or no booleans.
    """

    scores: Scores
    flagged: Mask
    notes: tuple[str, ...] = ()
    fingerprint: str = ""
    oracle: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _check_verdicts(self, self.scores, self.flagged)

    def rates(self, truth: PoisonPlan | Mask, clean: ImageSet | None = None) -> Rates:
        """The flags against the truth.

        Args:
            truth: True where an image is poisoned, [N]; or the plan by which they were.
            clean: With a plan, the clean set it was drawn for: what the plan makes of it must be what was judged.

        Raises:
            ValueError: The truth is about another number of images, a plan comes without its clean set, or the two
                together do not make the data that were judged.
        """
        if not isinstance(truth, PoisonPlan):
            return Rates.compare(self.flagged, truth)
        if clean is None:
            raise ValueError(
                "a plan alone does not say that it made the judged data: give the clean set it was drawn for, "
                "flags.rates(plan, clean), or the truth itself, plan.mask"
            )
        made = truth.poison(clean).fingerprint
        if self.fingerprint and made != self.fingerprint:
            raise ValueError(f"the flags are about data {self.fingerprint}; this plan makes {made}")
        return Rates.compare(self.flagged, truth.mask)

    def drop_from(self, data: ImageSet) -> ImageSet:
        """The images that were not flagged.

        Raises:
            ValueError: `data` is not the set that was judged.
        """
        if self.fingerprint and data.fingerprint != self.fingerprint:
            raise ValueError(f"the flags are about data {self.fingerprint}; this set is {data.fingerprint}")
        if len(data) != len(self.flagged):
            raise ValueError(f"{len(self.flagged)} flags but {len(data)} images")
        return data[~self.flagged]

    def __repr__(self) -> str:
        return (
            f"Flags({int(self.flagged.sum()):,} of {len(self.flagged):,} images flagged{_oracle_in_words(self.oracle)})"
        )


@dataclass(frozen=True, eq=False)
class Screen:
    """The verdict of a run-time filter on some inputs, in their order.

    Args:
        scores: One number per input, [N]; what it means, the filter says.
        threshold: Where the filter draws the line.
        refused: True where the input is turned away, [N].

    Raises:
        ValueError: Scores and verdicts differ in length, are no numbers or no booleans.
    """

    scores: Scores
    threshold: float
    refused: Mask

    def __post_init__(self) -> None:
        _check_verdicts(self, self.scores, self.refused)

    def rates(self, triggered: Mask) -> Rates:
        """The verdicts against the truth: False rejections are false positives, false acceptances false negatives."""
        return Rates.compare(self.refused, triggered)

    def __repr__(self) -> str:
        return f"Screen({int(self.refused.sum()):,} of {len(self.refused):,} inputs refused, at {self.threshold:.3g})"


@dataclass(frozen=True, eq=False)
class Scan:
    """The verdict of a scan of a model: one index per label, and the trigger that was found for it.

    Args:
        anomaly: How far each label stands out, [K]; what it means, the scan says.
        norms: Size of each reversed mask, its sum over pixels, [K].
        masks: Reversed masks in [0, 1], [K, 1, H, W].
        patterns: Reversed patterns in [0, 1], [K, C, H, W].
        flagged: Labels that are called targets of a backdoor, ascending.
        seconds: Wall time.
        oracle: What the scan was given that no real defender knows.
        reached: True for labels for which a trigger was found that works [K]; None: for all.
        success: How often the trigger of each label works on all trusted images; of a label that was not reached,
            how often the best that was tried does. Empty: nobody counted.

    Raises:
        ValueError: The parts are not about the same number of labels, or a flagged label does not exist.
    """

    anomaly: Float[Tensor, " k"]
    norms: Float[Tensor, " k"]
    masks: Float[Tensor, "k 1 h w"]
    patterns: Float[Tensor, "k c h w"]
    flagged: tuple[int, ...]
    seconds: float = 0.0
    oracle: tuple[str, ...] = ()
    reached: Bool[Tensor, " k"] | None = None
    success: tuple[Proportion, ...] = ()

    def __post_init__(self) -> None:
        lengths = {name: len(getattr(self, name)) for name in ("anomaly", "norms", "masks", "patterns")}
        optional = {"reached": self.reached, "success": self.success or None}
        lengths |= {name: len(part) for name, part in optional.items() if part is not None}
        if len(set(lengths.values())) != 1:
            raise ValueError(f"the parts of a scan must be about the same labels; got {lengths}")
        if any(not 0 <= label < len(self.anomaly) for label in self.flagged):
            raise ValueError(f"flagged labels must lie in [0, {len(self.anomaly)}); got {self.flagged}")

    @property
    def judged(self) -> bool:
        """Whether any label has an index; of a scan without one, "flagged: none" says nothing."""
        return bool(self.anomaly.any())

    @property
    def ratios(self) -> Float[Tensor, " k"]:
        """Each norm over the median norm of the labels that were reached, of all if none was, [K]; 1 if that is 0."""
        middle = self.norms[self._compared].quantile(0.5)
        return self.norms / middle if middle > 0 else torch.ones_like(self.norms)

    @property
    def smallest(self) -> int:
        """The label with the smallest mask, of those that were reached; of all if none was."""
        return int(self.norms.masked_fill(~self._compared, float("inf")).argmin())

    @property
    def _compared(self) -> Bool[Tensor, " k"]:
        """The labels whose norms mean something."""
        if self.reached is None or not self.reached.any():
            return torch.ones(len(self.norms), dtype=torch.bool)
        return self.reached

    def rates(self, targets: Sequence[int]) -> Rates:
        """The flagged labels against the attacker's, label by label; no targets for a clean model."""
        every = torch.arange(len(self.anomaly))
        truth, flagged = (torch.isin(every, torch.tensor(list(each))) for each in (targets, self.flagged))
        return Rates.compare(flagged, truth)

    def __repr__(self) -> str:
        named = ", ".join(f"{label} ({float(self.anomaly[label]):.1f})" for label in self.flagged) or "none"
        missed = 0 if self.reached is None else int((~self.reached).sum())
        never = f"; never reached: {missed}" if missed else ""
        unjudged = "" if self.judged else ", no verdict"
        return f"Scan({len(self.anomaly)} labels, flagged: {named}{unjudged}{never}{_oracle_in_words(self.oracle)})"


@dataclass(frozen=True, eq=False)
class Repair:
    """A new network from a removal or a robust training, and how it came about.

    Attributes:
        model: The new network, in evaluation mode; the one that was given is as it was.
        settings: The defense, as its repr.
        seconds: Wall time.
        history: One record per step, such as {"pruned": 12, "trusted": Proportion(97, 100)}.
        oracle: What the defense was given that no real defender knows.
    """

    model: nn.Module = field(repr=False)
    settings: str
    seconds: float = 0.0
    history: tuple[dict[str, Any], ...] = field(default=(), repr=False)
    oracle: tuple[str, ...] = ()


@dataclass(frozen=True)
class Outcome:
    """One row of the scoreboard: detection and removal of one defense, with what it had to see.

    A defense that only detects leaves out `before` and `after`, one that only removes leaves out the
    detections. Clean accuracy and attack success always come together.

    Args:
        defense: The defense, as its repr.
        sees: What it was given, in words.
        detection: Verdicts on poisoned data, triggered inputs or a backdoored model.
        on_clean: Verdicts of the same detector where there is no backdoor: every positive is a false alarm.
        before: The network as it was.
        after: The network afterwards.
        seconds: Wall time of the defense.
        oracle: What it was given that no real defender knows.

    Raises:
        ValueError: Only one of `before` and `after` is given, `on_clean` counts poison, or there is neither a
            detection nor a removal.
    """

    defense: str
    sees: str
    detection: Rates | None = None
    on_clean: Rates | None = None
    before: Scorecard | None = None
    after: Scorecard | None = None
    seconds: float = 0.0
    oracle: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if (self.before is None) != (self.after is None):
            raise ValueError("a removal needs both scorecards, before and after; got one")
        if self.on_clean is not None and self.on_clean.recall is not None:
            raise ValueError(f"on_clean must hold no poison; got {self.on_clean.recall.trials} poisoned")
        if self.detection is None and self.on_clean is None and self.before is None:
            raise ValueError("an outcome needs a detection or a removal; got neither")

    @property
    def accuracy_change(self) -> Difference | None:
        """Clean accuracy after minus before; negative is a loss. None without a removal."""
        return Difference(self.after.clean, self.before.clean) if self.before and self.after else None

    @property
    def success_change(self) -> Difference | None:
        """Attack success rate after minus before; negative is what one hopes for. None without a removal."""
        return Difference(self.after.success, self.before.success) if self.before and self.after else None

    def rows(self) -> list[tuple[str, str]]:
        """The whole outcome as (item, answer); text is the same everywhere it is shown."""
        rows = [("defense", self.defense), ("sees", self.sees)]
        if self.oracle:
            rows.append(("ORACLE, known to no real defender", ", ".join(self.oracle)))
        if self.detection is not None:
            rows.append(("detection", str(self.detection)))
        if self.on_clean is not None:
            rows.append(("without a backdoor", f"false alarms {self.on_clean.false_positive_rate}"))
        if self.before is not None and self.after is not None:
            rows.append(("clean accuracy", f"{self.after.clean}, {self.accuracy_change}"))
            rows.append(("attack success rate", f"{self.after.success}, {self.success_change}"))
        return rows + [("seconds", f"{self.seconds:.1f}")]

    def __str__(self) -> str:
        return "\n".join(f"{item:<20} {answer}" for item, answer in self.rows())

    def as_dict(self) -> dict[str, Any]:
        """All counts, ready for JSON."""
        return asdict(self)


def network_in_words(model: nn.Module) -> str:
    """Which network it is: its class and its number of weights."""
    return f"{type(model).__name__}, {sum(weight.numel() for weight in model.parameters()):,} weights"


def settings_in_words(defense: object, model: nn.Module) -> str:
    """A robust training's settings, and the network that it trained."""
    return f"{defense!r} of a {type(model).__name__}"


def _oracle_in_words(oracle: tuple[str, ...]) -> str:
    return f"; oracle: {', '.join(oracle)}" if oracle else ""


def _check_verdicts(record: Flags | Screen, scores: Tensor, verdicts: Tensor) -> None:
    name = type(record).__name__
    if scores.ndim != 1 or scores.shape != verdicts.shape or verdicts.dtype != torch.bool:
        received = f"{list(scores.shape)} and {verdicts.dtype} {list(verdicts.shape)}"
        raise ValueError(f"{name} needs one score and one boolean per image; got {received}")
    if not bool(scores.isfinite().all()):
        raise ValueError(f"{name} needs finite scores; {int((~scores.isfinite()).sum())} of {len(scores)} are not")
