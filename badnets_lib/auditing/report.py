"""The report of an audit, defined once in `Audit.rows()` and rendered as HTML, Markdown and JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .. import _codec
from ..counts import Proportion
from ..evaluation.rendering import markdown_cell, markdown_table
from ..evaluation.scores import Scorecard
from ..files import as_path, existing, write_atomically
from .blind_spots import BlindSpot
from .pictures import remove_others
from .records import LabelTrigger, Picture, PictureFile, RepairTried, Screening, Step, Suspects

VERSION = 2
"""Version of an audit's JSON."""


@dataclass(frozen=True)
class Audit:
    """What was checked, with which settings, what was found, and what was not excluded. Made by `audit`.

    Attributes:
        network: Kind and size of the network.
        weights: SHA-256 of the weights.
        images: Shape of an image.
        classes: Class names, in label order.
        accuracy: Trusted images that the network labels correctly, all of them.
        kept_accuracy: The same on the kept ones alone: what repairs are compared with.
        working: Trusted images that the methods were given.
        kept: Trusted images that were kept apart, to measure on.
        left_out: Trusted images that were left out because the training data hold them too.
        trusted: Fingerprint of the trusted images.
        training: Fingerprint of the training data, or "".
        minutes: The time that was allowed.
        seconds: The time that was taken.
        seed: Seed of the split of the trusted images; the seeds of the methods are in their settings.
        machine: Device and version of torch.
        steps: What was done, in order.
        triggers: One per label, if the scan ran.
        suspects: One per label, if a data filter ran.
        suspected: Success of each suspected trigger before any repair, by name.
        screening: The run-time filter, if it ran.
        repairs: The repairs that ran.
        not_excluded: What may be there all the same.
    """

    network: str
    weights: str
    images: str
    classes: tuple[str, ...]
    accuracy: Proportion
    kept_accuracy: Proportion
    working: int
    kept: int
    left_out: int
    trusted: str
    training: str
    minutes: int | float
    seconds: float
    seed: int
    machine: str
    steps: tuple[Step, ...] = field(repr=False)
    triggers: tuple[LabelTrigger, ...] = field(repr=False)
    suspects: tuple[Suspects, ...] = field(repr=False)
    suspected: dict[str, Proportion]
    screening: Screening | None
    repairs: tuple[RepairTried, ...]
    not_excluded: tuple[BlindSpot, ...] = field(repr=False)

    @property
    def findings(self) -> tuple[str, ...]:
        """What speaks for a backdoor, a sentence each; none if nothing was found."""
        scanned = (
            f"The scan flags {each.label}: a mask of {each.norm:.1f} pixels, anomaly index {each.anomaly:.1f}; "
            f"{_effect('its trigger', each.label, each.effect, each.control)}."
            for each in self.triggers
            if each.flagged
        )
        filtered = (
            f"Of the training images labelled {each.label}, {each.flagged} are {each.singled_out}; "
            f"{_effect('what they have in common', each.label, each.mark, each.control)}."
            for each in self.suspects
            if each.convincing
        )
        return (*scanned, *filtered)

    @property
    def indications(self) -> tuple[str, ...]:
        """What is unusual, but counts for nothing by itself, a sentence each."""
        scanned = (
            f"The mask of {each.label} is unusually small ({each.size}), but not so small that the scan flags it; "
            f"{_effect('its trigger', each.label, each.effect, each.control)}."
            for each in self.triggers
            if each.noticed
        )
        filtered = (
            f"Of the training images labelled {each.label}, {each.flagged} are {each.singled_out}, unusually many; "
            "nothing confirms it."
            for each in self.suspects
            if each.standing_out and not each.convincing
        )
        return (*scanned, *filtered)

    @property
    def warnings(self) -> tuple[str, ...]:
        """Every warning of every step, once, with the name of the step."""
        return tuple(dict.fromkeys(f"{step.name}: {each}" for step in self.steps for each in step.warnings))

    @property
    def looked(self) -> bool:
        """Whether any method came to a verdict: the scan, or a filter of the training data."""
        return bool(self.suspects) or any(each.anomaly for each in self.triggers)

    @property
    def verdict(self) -> str:
        """The whole audit in a sentence."""
        if self.findings:
            count = len(self.findings)
            return f"Something was found: {count} {'finding' if count == 1 else 'findings'}, see below."
        if not self.looked:
            return "Nothing was looked for: no scan and no filter of the training data came to a verdict."
        if self.came_close:
            close = "; ".join(self.came_close)
            return f"Nothing was found beyond the limits, but this came close: {close}. It was not excluded."
        least = f"; the smallest mask is that of {_least(self.smallest)}" if self.smallest else ""
        return f"Nothing was found{least}. That is a statement about the search: see what was not excluded."

    @property
    def came_close(self) -> tuple[str, ...]:
        """What was unusual and not beyond the limits, in a few words each: every indication has its entry."""
        scanned = (_least(each) for each in self.triggers if each.noticed)
        filtered = (
            f"{each.label}, {each.flagged.value:.1%} of whose training images are {each.singled_out}"
            for each in self.suspects
            if each.standing_out and not each.convincing
        )
        return (*scanned, *filtered)

    @property
    def smallest(self) -> LabelTrigger | None:
        """The label with the smallest mask, of those that were reached; None if there is none."""
        return min((each for each in self.triggers if each.reached), key=lambda each: each.norm, default=None)

    def rows(self) -> list[tuple[str, str, str]]:
        """The report as (group, item, answer): the one source of every rendering."""
        return [*self._about(), *self._found(), *self._repaired(), *self._done()]

    def _about(self) -> Iterator[tuple[str, str, str]]:
        yield "Accuracy", "trusted images", str(self.accuracy)
        yield "Network", "kind", self.network
        yield "Network", "SHA-256 of the weights", self.weights
        yield "Network", "images", f"{self.images}, {len(self.classes)} classes"
        yield "Data", "trusted images", f"{self.working} for the methods, {self.kept} kept to measure, {self.trusted}"
        if self.left_out:
            yield "Data", "left out", f"{self.left_out} trusted images are also in the training data"
        yield "Data", "training data", self.training or "not given"
        yield "Run", "time", f"{self.seconds:.0f} s of {60 * self.minutes:.0f} s allowed"
        yield "Run", "seed of the split", str(self.seed)
        yield "Run", "machine", self.machine

    def _found(self) -> Iterator[tuple[str, str, str]]:
        for number, finding in enumerate(self.findings, start=1):
            yield "Findings", str(number), finding
        if not self.findings:
            yield "Findings", "none", self.verdict
        for number, indication in enumerate(self.indications, start=1):
            yield "Indications", str(number), indication
        if self.screening is not None:
            yield "Run-time filter", "clean images refused", str(self.screening.clean)
        if self.screening is not None and self.screening.stamped is not None:
            yield "Run-time filter", "stamped images refused", str(self.screening.stamped)

    def _repaired(self) -> Iterator[tuple[str, str, str]]:
        if self.repairs:
            yield "Repairs", "as delivered", _numbers(self.kept_accuracy, self.suspected)
        for repair in self.repairs:
            yield "Repairs", repair.name, _numbers(repair.accuracy, repair.success)

    def _done(self) -> Iterator[tuple[str, str, str]]:
        for step in self.steps:
            yield "Steps", step.name, f"{step.state}, {step.seconds:.1f} s: {step.outcome}"
        for step in self.steps:
            yield "Settings", step.name, step.settings
        for step in self.steps:
            for each in step.assumes:
                yield "Taken for granted", step.name, each
        for warning in self.warnings:
            name, _, text = warning.partition(": ")
            yield "Warnings", name, text
        for spot in self.not_excluded:
            yield "Not excluded", spot.attack, " ".join(filter(None, (spot.because, spot.reference)))

    def pictures(self) -> tuple[Picture, ...]:
        """Every picture, in the order of the report."""
        every = [each.picture for each in self.triggers]
        for suspects in self.suspects:
            every += [suspects.picture, suspects.mark_picture]
        return tuple(each for each in every if each is not None)

    def to_markdown(self) -> str:
        """The report as Markdown; the pictures lie in the folder `pictures` beside it."""
        shown = "\n\n".join(f"![{markdown_cell(each.alt)}](pictures/{each.file})" for each in self.pictures())
        return f"{markdown_table(f'Audit. {self.verdict}', self.rows())}\n{shown}\n".rstrip() + "\n"

    def to_json(self) -> str:
        """The report as JSON: every count, setting and position; pictures by file name and SHA-256."""
        whole = {"version": VERSION, "findings": self.findings} | _codec.to_plain(self)
        return json.dumps(whole, indent=2, allow_nan=False)

    def to_html(self) -> str:
        """The report as one page that needs nothing else: styles and pictures are inside."""
        from .page import page

        return page(self)

    def _repr_html_(self) -> str:
        from .page import body

        return body(self)

    def save(self, folder: Path | str) -> Path:
        """Write report.html, report.md, report.json and the pictures to a folder; return it.

        Each file is whole or absent. Files of an earlier report are replaced, and its other pictures are removed at
        the end; files of anyone else are left where they are.
        """
        folder = as_path(folder)
        for each in self.pictures():
            write_atomically(folder / "pictures" / each.file, each.png)
        write_atomically(folder / "report.md", self.to_markdown())
        write_atomically(folder / "report.json", self.to_json() + "\n")
        write_atomically(folder / "report.html", self.to_html())
        remove_others(folder / "pictures", {each.file for each in self.pictures()})
        return folder

    @classmethod
    def load(cls, folder: Path | str) -> Audit:
        """Read a report that `save` wrote, with its pictures.

        Raises:
            FileNotFoundError: The folder holds no report.json, or a picture is missing.
            DamagedFile: A picture is not the one that was written.
            ValueError: report.json is no audit of this version: something is missing, unknown or not of its kind.
        """
        folder = as_path(folder)
        plain = _codec.parse(existing(folder / "report.json").read_text(encoding="utf-8"), "an audit")
        if isinstance(plain, dict):
            version = plain.pop("version", None)
            if version != VERSION or isinstance(version, bool):
                raise ValueError(f"this is not an audit of version {VERSION}; got version {version!r}")
            plain.pop("findings", None)  # they follow from the rest
            for records in (plain.get("triggers"), plain.get("suspects")):
                _bring_pictures(records, folder / "pictures")
        return _codec.from_plain(cls, plain, "an audit")


def _bring_pictures(records: Any, folder: Path) -> None:
    """Put the pictures themselves where plain records name them; what is no such record is left to be refused."""
    for record in records if isinstance(records, list) else ():
        for name in ("picture", "mark_picture"):
            if isinstance(record, dict) and record.get(name) is not None:
                record[name] = _codec.from_plain(PictureFile, record[name], "an audit").read(folder)


def _least(each: LabelTrigger) -> str:
    return f"{each.label}, {each.ratio:.2f} of the median"


def _effect(what: str, label: str, effect: Scorecard | None, control: Proportion | None) -> str:
    if effect is None:
        return f"{what} could not be measured"
    turned = f", turned by 180 degrees {control}" if control else ""
    return f"{what} leads {effect.success} of kept images to {label}, without it {effect.false_target}{turned}"


def _numbers(accuracy: Proportion, success: dict[str, Proportion]) -> str:
    led = "".join(f"; led to {name} {count}" for name, count in success.items())
    return f"accuracy on kept images {accuracy}{led}"
