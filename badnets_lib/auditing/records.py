"""What the steps of an audit return: plain records."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from .._codec import Extra, add_kind, to_plain
from .._numbers import shown
from ..counts import Proportion
from ..defenses import NeuralCleanse
from ..evaluation.scores import Scorecard
from ..files import DamagedFile, existing

State = Literal["done", "not run", "broke off"]

TWO = "two filters"
"""Who flags an image that at least two of the three data filters flag."""

SMALLER = "the smaller of two clusters of the label"
"""Images that no filter flags, but that are tried all the same."""

UNUSUAL = NeuralCleanse.threshold
"""The scan flags a label whose anomaly index is above this."""

SMALL = NeuralCleanse.ratio
"""And whose mask is at most this part of the median mask. Who keeps to one of the two limits is noticed."""


@dataclass(frozen=True)
class Picture:
    """A picture of a report.

    Attributes:
        file: Its name in the folder `pictures` of a saved report.
        alt: What it shows, for readers who do not see it.
        png: The picture, as PNG.
    """

    file: str
    alt: str
    png: bytes = field(repr=False)


@dataclass(frozen=True)
class PictureFile:
    """A picture as the JSON of a report names it.

    Attributes:
        file: Its name in the folder `pictures`.
        alt: What it shows.
        sha256: SHA-256 of the file.
    """

    file: str
    alt: str
    sha256: str

    def __post_init__(self) -> None:
        if Path(self.file).name != self.file:
            raise ValueError(f"a picture lies in the folder of pictures; got {shown(self.file)}")

    @classmethod
    def of(cls, picture: Picture) -> PictureFile:
        """The file that a picture is written to."""
        return cls(picture.file, picture.alt, hashlib.sha256(picture.png).hexdigest())

    def read(self, folder: Path) -> Picture:
        """The picture itself.

        Raises:
            FileNotFoundError: It is not there.
            DamagedFile: It is not the one that was written.
        """
        picture = Picture(self.file, self.alt, existing(folder / self.file).read_bytes())
        if PictureFile.of(picture) != self:
            raise DamagedFile(f"{folder / self.file} is not the picture that this report was written with")
        return picture


def _only_whole(value: object, _: object) -> Picture:
    if not isinstance(value, Picture):
        raise TypeError(f"expected a picture; got {shown(value)}")
    return value


add_kind(Extra(lambda kind: kind is Picture, lambda picture: to_plain(PictureFile.of(picture)), _only_whole))


@dataclass(frozen=True)
class Step:
    """One method, and what came of it.

    Attributes:
        name: The method.
        settings: All of its settings, seeds included.
        state: "done", "not run" (the time, or something it needs, was missing) or "broke off" (an error).
        outcome: What was found; or why it was not run, or broke off.
        seconds: Wall time.
        warnings: Assumptions of the method that do not hold here, each with the page that explains it.
        assumes: Everything that the method takes for granted, and what one gets where it is not so.
    """

    name: str
    settings: str
    state: State
    outcome: str
    seconds: float = 0.0
    warnings: tuple[str, ...] = ()
    assumes: tuple[str, ...] = ()


@dataclass(frozen=True)
class LabelTrigger:
    """The trigger that the scan reversed for one label.

    Attributes:
        label: Name of the label.
        number: Its position among the classes.
        norm: Sum of the mask, in pixels: small is suspicious.
        ratio: The norm over the median norm of the labels that were reached.
        anomaly: How far the norm stands out; see the scan.
        flagged: Whether the scan calls the label a target.
        reached: False if no trigger was found that leads to this label: the other numbers then mean nothing.
        effect: Of a flagged or noticed label, and of the one with the smallest mask: `score` on the kept trusted
            images, with the reversed trigger.
        control: Of such a label: the same success with the trigger turned by 180 degrees.
        picture: Mask, pattern, and both together; None where it is left out.
    """

    label: str
    number: int
    norm: float
    ratio: float
    anomaly: float
    flagged: bool
    reached: bool = True
    effect: Scorecard | None = None
    control: Proportion | None = None
    picture: Picture | None = None

    @property
    def noticed(self) -> bool:
        """Whether the mask is unusually small, but not so small that the scan flags the label.

        It keeps to one limit of the scan and not to the other.
        """
        return self.reached and not self.flagged and (self.anomaly > UNUSUAL or self.ratio <= SMALL)

    @property
    def size(self) -> str:
        """How small the mask is, in words."""
        return f"{self.norm:.1f} pixels, {self.ratio:.2f} of the median, anomaly index {self.anomaly:.1f}"


@dataclass(frozen=True)
class Suspects:
    """Training images of one label that data filters flag, or that are a cluster of their own.

    Attributes:
        label: Name of the label.
        number: Its position among the classes.
        flagged: How many of the label's images.
        by: Who singles them out: `TWO` filters, one filter by name, or nobody but the clustering: `SMALLER`.
        standing_out: Whether there are unusually many: see `suspicion.stands_out`.
        positions: Where they are in the training data.
        names: Their file names, if those are known.
        mark: Of a label that stands out: `score` on the kept trusted images, with what its suspects have in common
            for a trigger. None if they have nothing in common.
        control: The same success with that mark turned by 180 degrees.
        picture: Up to twenty of them; None where it is left out.
        mark_picture: The mark.
    """

    label: str
    number: int
    flagged: Proportion
    by: str
    standing_out: bool
    positions: tuple[int, ...] = field(repr=False)
    names: tuple[str, ...] = field(default=(), repr=False)
    mark: Scorecard | None = None
    control: Proportion | None = None
    picture: Picture | None = None
    mark_picture: Picture | None = None

    @property
    def singled_out(self) -> str:
        """By whom, in words that follow "are"."""
        return f"in {self.by}" if self.by == SMALLER else f"flagged by {self.by}"

    @property
    def confirmed(self) -> bool:
        """Whether the mark leads most kept images to the label, and its control does not."""
        if self.mark is None or self.control is None:
            return False
        return self.mark.success.value >= 0.5 and self.mark.success.interval()[0] > self.control.interval()[1]

    @property
    def convincing(self) -> bool:
        """Whether this counts as a finding: one filter alone is believed only if the mark confirms it."""
        return self.confirmed or (self.standing_out and self.by == TWO)


@dataclass(frozen=True)
class Screening:
    """A run-time filter on images that it was not fitted to.

    Attributes:
        threshold: Where it draws the line, in its own unit.
        clean: Kept trusted images that it refuses: false alarms.
        stamped: Kept trusted images with the suspected triggers that it refuses.
    """

    threshold: float
    clean: Proportion
    stamped: Proportion | None = None


@dataclass(frozen=True)
class RepairTried:
    """A repaired network beside the one that was given, on the kept trusted images.

    Attributes:
        name: The repair.
        accuracy: Clean accuracy afterwards.
        success: For each suspected trigger, by name: how many images it still leads to its label.
    """

    name: str
    accuracy: Proportion
    success: dict[str, Proportion] = field(default_factory=dict)
