"""The reporting checklist: what a backdoor experiment must state to be believed.

A `Report` is plain data, defined once in `rows()` and rendered as HTML, Markdown and JSON. The
JSON follows `report.schema.json` beside this file.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, is_dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from .. import _codec
from .._numbers import shown
from ..counts import Proportion, Seeds
from ..files import existing, write_atomically
from ..poisoning import PoisonPlan
from ..triggers import Description, describe
from .rendering import html_table, markdown_table
from .scores import Scorecard

Regime = Literal["together", "staged"]
View = Literal["data", "weights", "predictions", "not tested"]

VERSION = 1
"""Version of a report's JSON."""

SCHEMA_PATH = Path(__file__).parent / "report.schema.json"
"""The published JSON Schema (draft 2020-12) of a report."""


@dataclass(frozen=True)
class PoisoningSection:
    """How much was poisoned, what, and how it was chosen.

    Args:
        fraction: Poisoned images over all training images: the poisoning fraction rho.
        sources: Names of the classes under attack.
        targets: Names of the labels the attacker wants.
        sampling: How the poisoned images were picked, and the seed.
        labels_changed: False for a clean-label attack.
    """

    fraction: Proportion
    sources: tuple[str, ...]
    targets: tuple[str, ...]
    sampling: str
    labels_changed: bool = True

    def __post_init__(self) -> None:
        _freeze(self, "sources", "targets")


@dataclass(frozen=True)
class TrainingSection:
    """How the network was trained.

    Args:
        regime: "together" (clean and poisoned images mixed from the first step) or "staged" (a
            trained network is poisoned later).
        recipe: Network, data set, optimiser, learning rate, batch size, weight decay, epochs, seeds.
    """

    regime: Regime
    recipe: str

    def __post_init__(self) -> None:
        if self.regime not in get_args(Regime):
            raise ValueError(f"regime must be one of {', '.join(get_args(Regime))}; got {shown(self.regime)}")


@dataclass(frozen=True)
class DefenseSection:
    """Which defense was tried, what it was allowed to see, and what came out.

    Args:
        sees: "data", "weights" or "predictions"; "not tested" is an answer too, a blank is not.
        outcome: What happened, or why nothing was tested.
    """

    sees: View
    outcome: str

    def __post_init__(self) -> None:
        if self.sees not in get_args(View):
            raise ValueError(f"sees must be one of {', '.join(get_args(View))}; got {shown(self.sees)}")


AI_ACT = (
    'asks of high-risk systems, where appropriate, "measures to prevent, detect, respond to, resolve and control for '
    "attacks trying to manipulate the training data set (data poisoning), or pre-trained components used in training "
    '(model poisoning)". This report is evidence on such measures and no proof of conformity. Regulation (EU) '
    "2024/1689. Unchecked in the Official Journal: an amendment of June 2026 is said to let this apply from 2 December "
    "2027 (Annex III) and 2 August 2028 (Annex I)"
)
"""What the Act asks, quoted. Compared in several copies, not in the Official Journal; Chapter 22 says more."""

OWASP = (
    "where the network or its data reach an agent: ASI04 Agentic Supply Chain Vulnerabilities; where an agent keeps "
    "or looks up what was poisoned: ASI06 Memory & Context Poisoning (Top 10 for Agentic Applications for 2026)"
)
ATLAS = "AML.T0020 Training Data Poisoning (before release 2026.07: Poison Training Data)"
"""What others call it. Both lists change their names: quote one with its edition."""


@dataclass(frozen=True)
class Report:
    """One backdoor experiment, ready to be read by someone else.

    It is for someone who knows the poison. Someone who does not calls `badnets_lib.audit`, which returns an `Audit`:
    the form of this report for an audit, with findings in place of facts.

    Args:
        title: One line.
        attacker_access: What the attacker controls: data, labels, training, weights, inputs at test time.
        poisoning: Fraction, source classes, target, sampling rule.
        trigger: Pattern, size, location, opacity, physical or not.
        training: Together or staged, and the recipe.
        backdoored: One `Scorecard` per seed of the backdoored network.
        clean_twin: One `Scorecard` per seed of the same network trained on clean data: what the
            trigger does by itself, and where clean accuracy would have been.
        defense: The defense test.
        limits: What the numbers do not show.

    Raises:
        ValueError: Items are blank or not of their kind; the message names every one.
    """

    title: str
    attacker_access: str
    poisoning: PoisoningSection
    trigger: Description
    training: TrainingSection
    backdoored: tuple[Scorecard, ...]
    clean_twin: tuple[Scorecard, ...]
    defense: DefenseSection
    limits: str

    def __post_init__(self) -> None:
        _freeze(self, "backdoored", "clean_twin")
        gaps = _blanks(self)
        if gaps:
            raise ValueError(f"the report is incomplete; please fill in: {', '.join(gaps)}")
        wrong = _codec.misfits(self)
        if wrong:
            raise ValueError(f"the report has items of another kind: {'; '.join(wrong)}")
        if not 0 <= self.trigger.opacity <= 1:
            raise ValueError(f"trigger.opacity must lie in [0, 1]; got {self.trigger.opacity}")

    @classmethod
    def of(
        cls,
        plan: PoisonPlan | Iterable[PoisonPlan],
        *,
        classes: Sequence[str],
        title: str,
        attacker_access: str,
        training: TrainingSection,
        backdoored: Sequence[Scorecard],
        clean_twin: Sequence[Scorecard],
        defense: DefenseSection,
        limits: str,
    ) -> Report:
        """A report whose poisoning and trigger items are read off the plan, or off every plan if there were several.

        Args:
            plan: The poisoning that was done; all plans where each seed drew its own.
            classes: Class names of the data, in label order.
            title: One line. This and the remaining items are as in `Report`.
            attacker_access: What the attacker controls.
            training: How the network was trained.
            backdoored: One scorecard per seed.
            clean_twin: One scorecard per seed.
            defense: The defense test.
            limits: What the numbers do not show.

        Raises:
            ValueError: There is no plan, or the plans differ in more than their draw.
        """
        plans = [plan] if isinstance(plan, PoisonPlan) else list(plan)
        one = _alike(plans)
        poisoning = PoisoningSection(
            fraction=Proportion(len(one.indices), one.total),
            sources=_names(one.attack.goal.sources, classes),
            targets=_names(one.attack.goal.targets, classes),
            sampling=_sampling(plans),
            labels_changed=not one.attack.goal.clean_label,
        )
        return cls(
            title, attacker_access, poisoning, describe(one.attack.trigger), training,
            tuple(backdoored), tuple(clean_twin), defense, limits,
        )  # fmt: skip

    def rows(self) -> list[tuple[str, str, str]]:
        """The checklist as (group, item, answer): the one source of every rendering."""
        p = self.poisoning
        t = self.trigger
        return [
            ("Attacker", "access", self.attacker_access),
            ("Poisoning", "fraction", f"{p.fraction.value:.2%} ({p.fraction.hits}/{p.fraction.trials})"),
            ("Poisoning", "source classes", ", ".join(p.sources)),
            ("Poisoning", "target", ", ".join(p.targets)),
            ("Poisoning", "sampling rule", p.sampling),
            ("Poisoning", "labels", "changed to the target" if p.labels_changed else "left as they are (clean-label)"),
            ("Trigger", "pattern", t.pattern),
            ("Trigger", "size", t.size),
            ("Trigger", "location", t.location),
            ("Trigger", "opacity", f"{t.opacity:g}"),
            ("Trigger", "physical", "yes" if t.physical else "no, digital only"),
            ("Training", "regime", self.training.regime),
            ("Training", "recipe", self.training.recipe),
            ("Metrics", "seeds", f"{len(self.backdoored)} backdoored, {len(self.clean_twin)} clean"),
            ("Metrics", "clean accuracy", self._both("clean")),
            ("Metrics", "attack success rate, victims only", self._both("success")),
            ("Metrics", "false-target rate, no trigger", self._both("false_target")),
            ("Defense test", "sees", self.defense.sees),
            ("Defense test", "outcome", self.defense.outcome),
            ("Limits", "not shown", self.limits),
            ("Rules", "EU AI Act, article 15(5)", AI_ACT),
            ("Rules", "OWASP", OWASP),
            ("Rules", "MITRE ATLAS", ATLAS),
        ]

    def _both(self, measure: str) -> str:
        """One measure of the backdoored networks and of their clean twins."""
        ours = _every_seed([getattr(card, measure) for card in self.backdoored])
        twins = _every_seed([getattr(card, measure) for card in self.clean_twin])
        return f"{ours}; clean twin {twins}"

    def to_markdown(self) -> str:
        """The report as a Markdown table."""
        return markdown_table(self.title, self.rows())

    def _repr_html_(self) -> str:
        return html_table(self.title, self.rows())

    def to_json(self) -> str:
        """The report as JSON text that follows the schema."""
        return json.dumps({"version": VERSION} | _codec.to_plain(self), indent=2, allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> Report:
        """Rebuild a report from `to_json`'s text.

        Raises:
            ValueError: The text is not a report: an item is missing, unknown, blank or not of its kind.
        """
        plain = _codec.parse(text, "a report")
        if isinstance(plain, dict):
            version = plain.pop("version", None)
            if version != VERSION or isinstance(version, bool):
                raise ValueError(f"this is not a report of version {VERSION}; got version {version!r}")
        return _codec.from_plain(cls, plain, "a report")

    def save(self, path: Path | str) -> Path:
        """Write `to_json` to a file, whole or not at all."""
        return write_atomically(path, self.to_json() + "\n")

    @classmethod
    def load(cls, path: Path | str) -> Report:
        """Read a report that `save` wrote."""
        return cls.from_json(existing(path).read_text(encoding="utf-8"))


def schema() -> dict[str, Any]:
    """The published JSON Schema of a report."""
    loaded: dict[str, Any] = json.loads(SCHEMA_PATH.read_text(encoding="utf-8"))
    return loaded


def _freeze(record: Any, *names: str) -> None:
    """Turn the lists among these fields into tuples; anything else stays, to be judged by the report."""
    for name in names:
        if isinstance(getattr(record, name), list):
            object.__setattr__(record, name, tuple(getattr(record, name)))


def _blanks(value: Any, name: str = "") -> list[str]:
    """Names of what is empty inside a record: no value, a text of spaces, a list without entries."""
    if is_dataclass(value):
        return [gap for key, part in vars(value).items() for gap in _blanks(part, f"{name}.{key}".removeprefix("."))]
    if isinstance(value, list | tuple):
        empty = not value or any(_blanks(part, name) for part in value)
    else:
        empty = value is None or (isinstance(value, str) and not value.strip())
    return [name] if empty else []


def _names(labels: Sequence[int], classes: Sequence[str]) -> tuple[str, ...]:
    return tuple(classes[label] for label in labels)


def _every_seed(counts: Sequence[Proportion]) -> str:
    """One network: its count with Wilson's interval. Several networks: every one of them."""
    if len(counts) == 1:
        return str(counts[0])
    trials = sorted({count.trials for count in counts})
    return f"{Seeds(counts)} of {' or '.join(map(str, trials))} each"


def _alike(plans: Sequence[PoisonPlan]) -> PoisonPlan:
    """The first of plans that differ in nothing but their draw.

    Raises:
        ValueError: There is none, or they differ in more.
    """
    if not plans:
        raise ValueError("a report needs at least one plan; got none")
    first = plans[0]
    for name in ("attack", "total", "sampling", "added"):
        if any(getattr(plan, name) != getattr(first, name) for plan in plans):
            raise ValueError(f"plans of one report may differ in their draw only; these differ in {name}")
    if len({len(plan.indices) for plan in plans}) > 1:
        raise ValueError("plans of one report may differ in their draw only; these differ in their number of images")
    return first


def _sampling(plans: Sequence[PoisonPlan]) -> str:
    plan = plans[0]
    goal = plan.attack.goal
    rule = {"uniform": "uniform over all allowed images", "per-class": "equal shares of every allowed class"}
    how = "added as copies" if plan.added else "replacing the originals"
    table = "" if len(goal.targets) == 1 else f", label table {goal.table}"
    seeds = ", ".join(str(plan.seed) for plan in plans)
    if len(plans) == 1:
        return f"{rule[plan.sampling]}, {how}, seed {seeds}{table}; index list in the plan"
    return f"{rule[plan.sampling]}, {how}, one draw each with seeds {seeds}{table}; index lists in the plans"
