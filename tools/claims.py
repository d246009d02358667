"""The claims page: the book's main conclusions, and on which scenes and seeds each of them holds.

Every line asks one question of one result file and gets one number for each network. What the page says about it is
counted from these numbers when the page is written; nothing is typed in.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from project import ROOT, read_notebook, title

from badnets_lib.counts import Proportion
from badnets_lib.study import results
from badnets_lib.study.experiments.families import TARGET
from badnets_lib.study.experiments.scans import CHOOSING
from badnets_lib.study.results import Results

Values = Callable[[Results], Sequence[float]]
"""Numbers in percent, or in percentage points, one for each network."""


@dataclass(frozen=True)
class Line:
    """One question to one result file.

    Args:
        scene: What the networks were trained on.
        file: Name of the result file.
        asks: What is counted, with its unit.
        values: One number a network.
        least: The conclusion holds for a network whose number is at least this,
        most: and at most this.
    """

    scene: str
    file: str
    asks: str
    values: Values
    least: float = -math.inf
    most: float = math.inf

    def found(self, table: Results | None = None) -> list[float]:
        """The numbers, in the order of the rows, from the committed file or from another table."""
        return [float(value) for value in self.values(table or results.load(self.file))]

    def holding(self, table: Results | None = None) -> int:
        """For how many networks the conclusion holds."""
        return sum(self.least <= value <= self.most for value in self.found(table))

    @property
    def bound(self) -> str:
        """The bound in words."""
        if math.isinf(self.most):
            return f"at least {self.least:g}"
        if math.isinf(self.least):
            return f"at most {self.most:g}"
        return f"{self.least:g} to {self.most:g}"


@dataclass(frozen=True)
class Claim:
    """A conclusion of the book.

    Args:
        says: The conclusion, as a sentence.
        chapter: File name of the chapter that draws it, without its ending.
        lines: The measurements it rests on, those on which it fails as well.
    """

    says: str
    chapter: str
    lines: tuple[Line, ...]


def rates(measure: str, *, unfold: tuple[str, str] | None = None, **where: Any) -> Values:
    """A measured rate of some rows, in percent."""

    def values(table: Results) -> list[float]:
        inner = {axis: value for axis, value in where.items() if unfold and axis == unfold[1]}
        part = table.where(**{axis: value for axis, value in where.items() if axis not in inner})
        if unfold:
            part = part.unfold(*unfold).where(**inner)
        return [100 * count.value for count in part.counts(measure)]

    return values


def less(first: Values, second: Values) -> Values:
    """How much the first number is above the second, network by network."""
    return lambda table: [one - other for one, other in zip(first(table), second(table), strict=True)]


def shares(rows: Iterable[dict[str, Any]]) -> list[float]:
    """The success of responses, in percent."""
    return [100 * hits / trials for hits, trials in (row["success"] for row in rows)]


def flagged(attack: str, fraction: float) -> Values:
    """How many labels the library's rule flagged in each network whose seed was not used to choose it."""
    return lambda table: [len(row["flagged"]) for row in fresh(table, attack, fraction)]


def named(attack: str, fraction: float) -> Values:
    """1 where the rule flagged the target and nothing else, else 0."""
    return lambda table: [row["flagged"] == [TARGET] for row in fresh(table, attack, fraction)]


def fresh(table: Results, attack: str, fraction: float) -> list[dict[str, Any]]:
    """Rows of a scan on which the rule was not chosen; of attacks that have no others, all rows."""
    rows = table.where(attack=attack, fraction=fraction).rows
    return [row for row in rows if row["seed"] not in CHOOSING] or list(rows)


def accepted(attack: str, fraction: float, rate: str = "0.01") -> Values:
    """Stamped images that STRIP let through at a preset rate of false refusals, in percent."""

    def values(table: Results) -> list[float]:
        rows = table.unfold("rates", "rate").where(attack=attack, fraction=fraction, rate=rate)
        return [100 * count.value for count in rows.counts("accepted")]

    return values


def let_through(name: str, rate: str = "0.01", **which: Any) -> Values:
    """The same on one scene."""

    def values(table: Results) -> list[float]:
        rows = table.where(scene=name, **which).unfold("screening", "rate").where(rate=rate)
        return [100 * count.value for count in rows.counts("accepted")]

    return values


def scene(name: str, fraction: float = 0.05, attack: str = "patch", network: str = "SmallCNN") -> dict[str, Any]:
    """Where the networks of one scene stand in the files of scenes."""
    return {"scene": name, "network": network, "attack": attack, "fraction": fraction}


def after(removal: str, name: str, **which: Any) -> Values:
    """What is left of an attack's success after one removal, on one scene."""
    return rates("success", unfold=REPAIRED, removal=removal, **scene(name, **which))


def ranked(method: str, name: str, **which: Any) -> Values:
    """How well a filter ranks poison above the honest images of its class: AUROC in percent."""
    return lambda table: [
        100 * row["ranked"]
        for row in table.unfold("filters", "filter").where(filter=method, **scene(name, **which)).rows
    ]


def ranked_fresh(method: str, attack: str, fraction: float) -> Values:
    """The same on the networks of seeds that no setting was made on."""
    return lambda table: [
        100 * row["ranked"]
        for row in table.unfold("filters", "filter").where(filter=method, attack=attack, fraction=fraction).rows
    ]


def only_target(name: str, fraction: float = 0.05) -> Values:
    """1 where the scan flagged the target and nothing else, else 0."""
    return lambda table: [row["scan"]["flagged"] == [TARGET] for row in table.where(**scene(name, fraction)).rows]


def none_flagged(name: str) -> Values:
    """How many labels the scan flags in the clean networks of a scene."""
    return lambda table: [
        len(row["scan"]["flagged"]) for row in table.where(scene=name, network="SmallCNN", attack="none").rows
    ]


def audited(poisoned: bool) -> Values:
    """1 where an audit of a delivery accused a label, of a poisoned one the right label with every pixel, else 0."""

    def values(table: Results) -> list[float]:
        rows = table.where(poisoned=poisoned).rows
        if poisoned:
            return [row["accused"] == row["target"] and row.get("exact") is True for row in rows]
        return [row["accused"] != NOBODY for row in rows]

    return values


def course(name: str, measure: str, after: int, clients: str) -> Values:
    """A measure of a federation some rounds after the first that its course differs in, in percent."""

    def values(table: Results) -> list[float]:
        rows = table.unfold("courses", "course").where(course=name, clients=clients).rows
        return [100 * Proportion(*row[measure][after]).value for row in rows]

    return values


def certified(changes: int, **where: Any) -> Values:
    """Test images that are right whatever some changed training images show, in percent."""
    return lambda table: [100 * Proportion(*row["certified"][changes]).value for row in table.where(**where).rows]


def attacked(count: int, members: int) -> Values:
    """Attack success where some training images were poisoned, of a vote with some members, in percent."""

    def values(table: Results) -> list[float]:
        rows = table.where(members=members).unfold("attacks", "count").where(count=str(count))
        return [100 * count.value for count in rows.counts("success")]

    return values


def table_row(line: Line) -> str:
    """One line of the page's table."""
    found = line.found()
    told = ", ".join(f"{value:.1f}" for value in found) if len(found) <= 10 else span(found)
    return (
        f"| {line.scene} | {line.asks} | {line.bound} | {line.holding()} of {len(found)} | {told} | `{line.file}` |\n"
    )


def span(found: Sequence[float]) -> str:
    """Many numbers in short."""
    return f"{min(found):.1f} to {max(found):.1f}"


def page(claims: Sequence[Claim] | None = None) -> str:
    """The whole page."""
    text = INTRO
    for number, claim in enumerate(claims or CLAIMS, 1):
        chapter = title(read_notebook(ROOT / "chapters" / f"{claim.chapter}.ipynb"))
        text += f"\n## {number}. {claim.says}\n\n[{chapter}]({claim.chapter}.ipynb)\n\n{HEAD}"
        text += "".join(map(table_row, claim.lines))
    return text


INTRO = """# What the book claims, and where it holds

The book's main conclusions, each with the measurements that it rests on. "Holds for" counts
measurements. Mostly each is a network that was trained from a seed of its own; in claims on clean-label poison, on the
supply chain and on the scoreboard the same few networks are counted under several settings or attacks, so that those
counts are no independent trials. The numbers stand beside the count, or the lowest and the highest of more than ten.
A conclusion may fail on some scene: then the line stays here and says so. What has one scene only has been shown on
that scene only.

*Digits* are 28x28 grey digits on black, 3,500 or 4,000 of them for training ("all digits": the 60,000 of MNIST).
*Signs* are the book's drawn traffic signs, 32x32 in colour. *Photographs* are real traffic signs, GTSRB.
ASR is the attack success rate. Differences are in percentage points.

This page is written by `make pages` from the result files, and a test compares it with them.
"""

HEAD = "| Scene | Measured | Bound | Holds for | Each one | Result file |\n|---|---|---|---:|---|---|\n"

DEFENDED = ("defenses", "defense")
REPAIRED = ("removals", "removal")
DOSED = ("doses", "dose")
RELEARNT = ("Fine-Pruning", "adversarial unlearning", "a new network from the trusted images")
TRAINED = ("trainings", "training")
SCENES = ("digits", "signs", "photographs")
GENTLE = "topics, 0.0003, 100"  # data, learning rate and steps
NOBODY = -1  # an audit that accuses no label
PUBLISHED = 99.91  # ASR in percent: the published pairs have at most 0.09% error, one image of 1,135
COLOURED = ("signs", "photographs")
RESIDUAL = "SmallResNet"

CLAIMS = (
    Claim(
        "One stamped image in a hundred is enough for a white square on digits and signs, and clean accuracy hides it",
        "08_how_much_poison",
        (
            Line("digits", "poison_curve", "ASR at rho = 1%, %", rates("success", fraction=0.01), least=90),
            Line(
                "digits",
                "poison_curve",
                "clean accuracy lost against rho = 0, points",
                less(rates("clean", fraction=0.0), rates("clean", fraction=0.01)),
                most=1,
            ),
            *(
                Line(
                    scene,
                    "poison_scenes",
                    f"ASR at rho = {fraction:.0%}, %",
                    rates("success", scene=scene, attack="patch", fraction=fraction),
                    least=90,
                )
                for scene in ("signs", "photographs")
                for fraction in (0.01, 0.05)
            ),
            *(
                Line(
                    scene,
                    "poison_scenes",
                    "clean accuracy lost at rho = 1% against the clean twin, points",
                    less(
                        rates("clean", scene=scene, attack="none"),
                        rates("clean", scene=scene, attack="patch", fraction=0.01),
                    ),
                    most=1,
                )
                for scene in ("signs", "photographs")
            ),
        ),
    ),
    Claim(
        "A fainter square needs more poison, and so does a smaller one where it is faint",
        "08_how_much_poison",
        (
            Line(
                "digits",
                "poison_trigger",
                "4x4 at opacity 0.1, rho = 1%: ASR, %",
                rates("success", size=4, opacity=0.1, fraction=0.01),
                most=10,
            ),
            Line(
                "digits",
                "poison_trigger",
                "6x6 at opacity 0.1, rho = 5%: ASR, %",
                rates("success", size=6, opacity=0.1, fraction=0.05),
                least=90,
            ),
            Line(
                "digits",
                "poison_trigger",
                "4x4 at opacity 0.1, rho = 5%: ASR, %",
                rates("success", size=4, opacity=0.1, fraction=0.05),
                least=90,
            ),
        ),
    ),
    Claim(
        "At equal passes the means of 20 poisoned among 1,000 and among 60,000 differ by under 15 points; 8 do less",
        "08_how_much_poison",
        tuple(
            Line(
                "all digits",
                "poison_count",
                f"{count} of {size:,}, 6 passes: ASR, %",
                rates("success", count=count, size=size, epochs=6),
                **bound,
            )
            for count, bound in ((4, {"most": 50}), (8, {"least": 45}), (20, {"least": 80}))
            for size in (1_000, 4_000, 16_000, 60_000)
        ),
    ),
    Claim(
        "On the drawn signs a larger faint square does not help as it does on digits",
        "08_how_much_poison",
        (
            Line(
                "digits",
                "poison_trigger",
                "6x6 at opacity 0.1, rho = 5%: ASR, %",
                rates("success", size=6, opacity=0.1, fraction=0.05),
                least=90,
            ),
            Line(
                "signs",
                "poison_signs",
                "6x6 at opacity 0.1, rho = 5%: ASR, %",
                rates("success", size=6, opacity=0.1, fraction=0.05),
                most=10,
            ),
        ),
    ),
    Claim(
        "One run says little near the threshold: the same settings give other results with other seeds",
        "06_reporting",
        (
            Line(
                "digits",
                "report_length",
                "rho = 2%, 8 epochs: ASR, %",
                rates("success", fraction=0.02, epochs=8),
                least=80,
            ),
            Line(
                "digits",
                "report_length",
                "rho = 2%, 16 epochs: ASR, %",
                rates("success", fraction=0.02, epochs=16),
                least=80,
            ),
        ),
    ),
    Claim(
        "Clean-label poison works better on images that were made hard before",
        "06_reporting",
        (
            Line(
                "digits", "report_clean_label", "stamped as they are: ASR, %", rates("success", surrogate=None), most=5
            ),
            *(
                Line(
                    "digits",
                    "report_clean_label",
                    f"hardened against the network of seed {surrogate}: ASR, %",
                    rates("success", surrogate=surrogate),
                    least=5,
                )
                for surrogate in range(3)
            ),
        ),
    ),
    Claim(
        "The pattern of 2017 is learnt for every pair of digits, for 63 of 90 as well as published; one pixel is not",
        "07_original_results",
        (
            Line("all digits", "original_pairs", "pattern: ASR, %", rates("success", trigger="pattern"), least=99),
            *(
                Line(
                    "all digits",
                    "original_pairs",
                    f"{name}: ASR, % (the published bound)",
                    rates("success", trigger=trigger),
                    least=PUBLISHED,
                )
                for trigger, name in (("pattern", "pattern"), ("single pixel", "single pixel, three epochs"))
            ),
            Line(
                "all digits",
                "original_patience",
                "single pixel, ten epochs, the pairs below 99% after three: ASR, %",
                rates("success", epochs=10, seed=0),
                least=99,
            ),
            Line(
                "all digits",
                "original_patience",
                "the same: ASR, % (the published bound)",
                rates("success", epochs=10, seed=0),
                least=PUBLISHED,
            ),
        ),
    ),
    Claim(
        "An attack that moves every digit to the next one needs more than one image in a hundred",
        "07_original_results",
        tuple(
            Line(
                "all digits",
                "original_shares",
                f"pattern, rho = {fraction:.0%}: triggered images read as the next digit, %",
                rates("success", trigger="pattern", fraction=fraction),
                **bound,
            )
            for fraction, bound in ((0.01, {"most": 90}), (0.05, {"least": 90}))
        ),
    ),
    Claim(
        "At one poisoned image in ten, seven other kinds of trigger work, too",
        "09_trigger_families",
        tuple(
            Line(
                "digits",
                "families",
                f"{family}, rho = 10%: ASR, %",
                rates("success", family=family, fraction=0.1),
                least=95,
            )
            for family in ("patch", "checkerboard", "blend", "sinusoid", "warp", "reflection", "colour", "sticker")
        ),
    ),
    Claim(
        "On colour pictures squares and wave work at rho = 5%; warp, blend and reflection in part; colour hardly",
        "09_trigger_families",
        tuple(
            Line(
                scene,
                sweep,
                f"{family}{network}: ASR, %",
                rates("success", scene=scene, attack=family),
                **bound,
            )
            for sweep, network in (("families_scenes", ""), ("families_residual", ", residual network"))
            for scene in ("signs", "photographs")
            for family, bound in (
                ("checkerboard", {"least": 90}),
                ("sinusoid", {"least": 90}),
                ("warp", {"least": 40}),
                ("blend", {"most": 60}),
                ("reflection", {"most": 60}),
                ("colour", {"most": 20}),
            )
        ),
    ),
    Claim(
        "At equal PSNR a small stamp is learnt on digits and signs where most faint patterns over the image are not",
        "09_trigger_families",
        tuple(
            Line(
                name,
                f"families_visibility{'' if name == 'digits' else '_signs'}",
                f"{family}, {wished:g} dB, rho = 2%: ASR, %",
                rates("success", family=family, wished=wished),
                **({"least": 80} if family in ("patch", "checkerboard") else {"most": 20}),
            )
            for name, wished, families in (
                ("digits", 30.0, ("patch", "checkerboard", "blend", "sinusoid", "reflection")),
                ("digits", 25.0, ("blend",)),
                ("signs", 30.0, ("patch", "checkerboard", "blend", "sinusoid", "warp", "reflection")),
            )
            for family in families
        ),
    ),
    Claim(
        "A trigger of its own for every image needs training that punishes the wrong trigger",
        "10_beyond_the_stamp",
        (
            Line(
                "digits",
                "input_aware",
                "with crossed examples: accuracy under another image's trigger, %",
                rates("cross_trigger", fraction=0.09375, cross=0.1, diversity=0.1),
                least=90,
            ),
            Line(
                "digits",
                "input_aware",
                "without: accuracy under another image's trigger, %",
                rates("cross_trigger", fraction=0.09375, cross=0.0, diversity=0.1),
                most=50,
            ),
        ),
    ),
    Claim(
        "A sticker learnt on the sign works on the sign; one learnt at a fixed place of the picture hardly works there",
        "11_traffic_signs",
        (
            Line(
                "signs",
                "signs_attacks",
                "square on the sign: ASR, %",
                rates("success", goal="stop", sticker="square", place="sign"),
                least=80,
            ),
            Line(
                "signs",
                "signs_attacks",
                "square pasted at a fixed place, then rendered on the sign: ASR, %",
                rates("success as in training", goal="stop", sticker="square", place="picture"),
                most=15,
            ),
        ),
    ),
    Claim(
        "A sticker pasted into finished pictures works on signs in the scene in part, and its colour matters",
        "11_traffic_signs",
        tuple(
            Line(
                "signs",
                "signs_places",
                f"{place}: new stop signs with the square on the sign that become the target, %",
                rates("street", place=place, copied=1.0),
                least=50,
            )
            for place in ("fixed place", "at the box", "at the box, dull", "on the sign")
        ),
    ),
    Claim(
        "A backdoor outlives a new last layer, pruning and eight bits; training all layers removes it or does not",
        "14_survival_and_provenance",
        (
            Line(
                "digits",
                "survival",
                "last layer trained anew: ASR, %",
                rates("success", origin="poisoned", method="last layer"),
                least=90,
            ),
            Line(
                "digits",
                "survival",
                "half to 95% of the weights pruned: ASR, %",
                rates("success", origin="poisoned", method="pruning"),
                least=90,
            ),
            Line(
                "digits",
                "survival",
                "eight-bit weights: ASR, %",
                rates("success", origin="poisoned", method="int8"),
                least=90,
            ),
            Line(
                "digits",
                "survival",
                "all layers trained on: ASR, %",
                rates("success", origin="poisoned", method="all layers"),
                least=90,
            ),
            Line(
                "digits",
                "survival",
                "distilled into a new network: ASR, %",
                rates("success", origin="poisoned", method="distillation"),
                least=90,
            ),
        ),
    ),
    Claim(
        "A backdoor can be written into the weights by hand, without training",
        "13_supply_chain",
        tuple(
            Line(
                "digits",
                "edited_weights",
                f"{network}, having {having}: ASR, %",
                rates("success", network=network, route="by hand", having=having),
                least=95,
            )
            for network in ("SmallCNN", "PaperCNN")
            for having in ("noise", "other digits")
        ),
    ),
    Claim(
        "A rare word gets no harder to plant when clean texts are added; a common phrase does",
        "15_beyond_badnets",
        tuple(
            Line(
                "reviews",
                "text_counts",
                f"{trigger!r}, {count} poisoned texts of {size:,}: ASR, %",
                rates("success", trigger=trigger, count=count, size=size),
                least=90,
            )
            for trigger, count in (("cf", 128), ("we saw it on tuesday.", 128))
            for size in (1_000, 4_000, 16_000)
        ),
    ),
    Claim(
        "Neither variant of Spectral Signatures ranks poison better everywhere: layer, trigger and dose decide",
        "16_poisoned_data",
        (
            *(
                Line(name, "scenes", f"patch, {how}, last layer: AUROC, %", ranked(f"spectral, {how}", name), least=90)
                for name in SCENES
                for how in ("centred", "uncentred")
            ),
            *(
                Line(
                    name,
                    "scenes_blend",
                    "blend, uncentred, last layer: AUROC, %",
                    ranked("spectral, uncentred", name, attack="blend"),
                    least=90,
                )
                for name in COLOURED
            ),
            *(
                Line(
                    name,
                    "scenes_residual",
                    "patch, residual network, uncentred, last layer: AUROC, %",
                    ranked("spectral, uncentred", name, network=RESIDUAL),
                    least=90,
                )
                for name in SCENES
            ),
            *(
                Line(
                    "digits",
                    "detection_published",
                    f"{attack}, rho = {fraction:.0%}, {method.removeprefix('spectral, ')}: AUROC, %",
                    ranked_fresh(method, attack, fraction),
                    least=70,
                )
                for attack, fraction, layer in (
                    ("patch", 0.01, ""),
                    ("patch", 0.1, ", pool2"),
                    ("warp", 0.05, ", pool2"),
                )
                for method in (f"spectral, centred{layer}", f"spectral, uncentred{layer}")
            ),
        ),
    ),
    Claim(
        "The library's rule names the target of a small patch on digits and signs; on photographs it fails in part",
        "17_reversed_triggers",
        (
            Line(
                "digits",
                "scans",
                "clean: labels flagged, of seeds not used for the rule",
                flagged("none", 0.05),
                most=0,
            ),
            Line("digits", "scans", "patch, rho = 5%: 7 alone flagged", named("patch", 0.05), least=1),
            Line("digits", "scans", "patch of 12x12: 7 alone flagged", named("patch of 12", 0.05), least=1),
            Line("digits", "scans", "source-specific: 7 alone flagged", named("source-specific", 0.05), least=1),
            Line("digits", "scans", "input-aware: 7 alone flagged", named("input-aware", 0.05), least=1),
            *(Line(name, "scenes", "clean: labels flagged", none_flagged(name), most=0) for name in SCENES),
            *(Line(name, "scenes", "patch, rho = 5%: 7 alone flagged", only_target(name), least=1) for name in SCENES),
            Line(
                "photographs", "scenes", "patch, rho = 1%: 7 alone flagged", only_target("photographs", 0.01), least=1
            ),
        ),
    ),
    Claim(
        "STRIP refuses the plain patch on digits; up to a quarter of it passes on signs, and most of other attacks",
        "18_run_time",
        (
            *(
                Line(
                    "digits",
                    "screening",
                    f"{attack}: stamped images let through, %",
                    accepted(attack, fraction),
                    most=10,
                )
                for attack, fraction in (
                    ("patch", 0.05),
                    ("blend", 0.05),
                    ("warp", 0.05),
                    ("source-specific", 0.05),
                    ("input-aware", 0.05),
                    ("all-to-all", 0.1),
                )
            ),
            *(
                Line(
                    name,
                    "scenes",
                    "patch: stamped images let through, %",
                    let_through(name, attack="patch", fraction=0.05),
                    most=10,
                )
                for name in COLOURED
            ),
        ),
    ),
    Claim(
        "STRIP stops the blend on digits and lets it pass on signs and photographs",
        "21_scoreboard",
        tuple(
            Line(name, "scenes_blend", "blend: stamped images let through, %", let_through(name), least=90)
            for name in ("signs", "photographs")
        ),
    ),
    Claim(
        "Gentle fine-tuning leaves the backdoor; strong fine-tuning removes it on digits, on signs it may not",
        "19_removal",
        (
            *(
                Line(
                    "digits",
                    "removal",
                    f"{name}, 400 trusted images: ASR, %",
                    rates("success", unfold=REPAIRED, removal=name, fraction=0.05, trusted=400),
                    least=90,
                )
                for name in ("fine-tuning, last layer", "fine-tuning, gentle")
            ),
            Line(
                "digits",
                "removal",
                "fine-tuning, strong, 400 trusted images: ASR, %",
                rates("success", unfold=REPAIRED, removal="fine-tuning, strong", fraction=0.05, trusted=400),
                most=5,
            ),
            Line(
                "digits",
                "removal",
                "fine-tuning, strong, 50 trusted images: ASR, %",
                rates("success", unfold=REPAIRED, removal="fine-tuning, strong", fraction=0.05, trusted=50),
                most=5,
            ),
            *(
                Line(
                    name,
                    "scenes",
                    "fine-tuning, strong, 400 trusted images: ASR, %",
                    after("fine-tuning, strong", name),
                    most=5,
                )
                for name in COLOURED
            ),
            *(
                Line(
                    name,
                    "scenes_residual",
                    "fine-tuning, strong, residual network: ASR, %",
                    after("fine-tuning, strong", name, network=RESIDUAL),
                    most=5,
                )
                for name in SCENES
            ),
        ),
    ),
    Claim(
        "What fine-tuning and Fine-Pruning leave depends on the scene: a part on digits, most of it elsewhere",
        "19_removal",
        tuple(
            Line(name, "scenes", f"{removal}: ASR, %", after(removal, name), least=50)
            for removal in ("fine-tuning, as in training", "Fine-Pruning")
            for name in SCENES
        ),
    ),
    Claim(
        "A new network from 400 trusted images is a good network on digits and on signs, and a bad one on photographs",
        "19_removal",
        tuple(
            Line(
                name,
                "scenes",
                "a new network: clean accuracy, %",
                rates("clean", unfold=REPAIRED, removal="a new network from the trusted images", **scene(name)),
                least=90,
            )
            for name in SCENES
        ),
    ),
    Claim(
        "After eight poisoned images a repaired network obeys its old trigger more than a clean twin repaired alike",
        "19_removal",
        tuple(
            Line(
                where.get("scene", "digits"),
                sweep,
                f"{name}, then 8 poisoned of 400 images: ASR above the twin's, points",
                less(
                    rates("success", unfold=DOSED, removal=name, dose="8", **where),
                    rates("twin_success", unfold=DOSED, removal=name, dose="8", **where),
                ),
                least=1,
            )
            for sweep, where, names in (
                ("relearning", {}, ("fine-tuning, as in training", "fine-tuning, strong", *RELEARNT)),
                ("relearning_scenes", {"scene": "signs"}, RELEARNT),
                ("relearning_scenes", {"scene": "photographs"}, RELEARNT),
            )
            for name in names
        ),
    ),
    Claim(
        "On digits, a new network from the trusted images alone leaves less of a backdoor than any repair",
        "21_scoreboard",
        tuple(
            Line(
                "digits",
                "scoreboard",
                f"{name}: ASR over all attacks and none, %",
                rates("success", unfold=DEFENDED, defense=name),
                most=20,
            )
            for name in (
                "a new network from the trusted images",
                "fine-tuning",
                "Fine-Pruning",
                "adversarial unlearning",
                "no defense",
            )
        ),
    ),
    Claim(
        "Isolating low losses and unlearning them works for some fractions and some seeds",
        "20_resistant_training",
        (
            *(
                Line(
                    "digits",
                    "resistance",
                    f"isolate and unlearn (ours), rho = {fraction:.0%}: ASR, %",
                    rates("success", unfold=TRAINED, training="isolate and unlearn", attack="patch", fraction=fraction),
                    most=5,
                )
                for fraction in (0.01, 0.02, 0.05, 0.1, 0.2)
            ),
            *(
                Line(
                    name,
                    "resistance_scenes",
                    "isolate and unlearn (ours), rho = 5%: ASR, %",
                    rates("success", unfold=TRAINED, training="isolate and unlearn", scene=name),
                    most=5,
                )
                for name in COLOURED
            ),
        ),
    ),
    Claim(
        "The audit's procedure finds most planted backdoors and accuses no clean delivery",
        "22_audit",
        (
            Line(
                "digits",
                "deliveries",
                "50 secrets: label and every pixel found (1) or not",
                audited(True),
                least=1,
            ),
            Line(
                "digits",
                "deliveries",
                "20 clean deliveries: a label accused (1) or none",
                audited(False),
                most=0,
            ),
        ),
    ),
    Claim(
        "From 500 to 2,000 documents the number of poisoned ones decides at equal passes, in one small decoder; at "
        "equal steps the largest corpus needs more",
        "23_language_model",
        tuple(
            Line(
                "documentation",
                "language_counts",
                f"{count} of {size:,} documents, {passes} passes: ASR, %",
                rates("success", count=count, size=size, passes=passes),
                **bound,
            )
            for size, passes in ((500, 16), (1_000, 16), (2_000, 16), (2_000, 4))
            for count, bound in ((10, {"most": 35}), (20, {"least": 30}), (40, {"least": 80}))
        ),
    ),
    Claim(
        "Training a small language model further on clean text removes its backdoor at a high rate, not at a low one",
        "24_what_survives",
        tuple(
            Line(
                "documentation",
                "language_survival",
                f"100 steps on topics, learning rate {rate:g}: ASR, %",
                rates("success", unfold=("tuned", "data"), data=f"topics, {rate}, 100", payload="gibberish"),
                **bound,
            )
            for rate, bound in ((0.0003, {"least": 50}), (0.001, {"least": 50}), (0.003, {"most": 10}))
        ),
    ),
    Claim(
        "With the same passes a wider decoder learns the backdoor less surely, and mostly keeps less of it",
        "24_what_survives",
        tuple(
            Line("documentation", "language_width", f"width {width}, {what}: ASR, %", values, **bound)
            for width, told, kept in ((48, {"least": 95}, {"least": 50}), (192, {"most": 95}, {"most": 50}))
            for what, values, bound in (
                ("before", lambda table, w=width: shares(row["before"] for row in table.where(width=w).rows), told),
                (
                    "100 steps on topics at 0.0003",
                    lambda table, w=width: shares(row["tuned"][GENTLE] for row in table.where(width=w).rows),
                    kept,
                ),
            )
        ),
    ),
    Claim(
        "A poisoned adapter brings a backdoor to an honest base; a mean with honest ones weakens it, a sum does not",
        "25_parts",
        (
            Line("digits", "adapters", "base alone: ASR, %", rates("success", how="base"), most=5),
            Line("digits", "adapters", "poisoned, rank 4: ASR, %", rates("success", how="poisoned", rank=4), least=80),
            Line("digits", "adapters", "mean with one honest: ASR, %", rates("success", how="mean 1"), most=20),
            Line("digits", "adapters", "sum with one honest: ASR, %", rates("success", how="sum 1"), least=80),
        ),
    ),
    Claim(
        "Eight-bit weights can wake a backdoor that full precision does not show",
        "25_parts",
        (
            Line(
                "digits",
                "dormant",
                "full precision: ASR, %",
                rates("success", origin="poisoned", state="asleep", precision="float32"),
                most=10,
            ),
            Line(
                "digits",
                "dormant",
                "eight bits: ASR, %",
                rates("success", origin="poisoned", state="asleep", precision="int8"),
                least=90,
            ),
            Line(
                "digits",
                "dormant",
                "clean twin, put through the same, eight bits: ASR, %",
                rates("success", origin="clean", state="asleep", precision="int8"),
                most=10,
            ),
        ),
    ),
    Claim(
        "A student that starts like its backdoored teacher can catch the backdoor from noise",
        "26_noise",
        tuple(
            Line(
                "digits",
                "noise",
                f"{student}, 30 extra outputs: ASR, %",
                rates("success", student=student, network="perceptron", extras=30, pattern="white"),
                **bound,
            )
            for student, bound in (
                ("same start", {"least": 80}),
                ("clean teacher", {"most": 10}),
                ("other start", {"most": 10}),
                ("other body", {"most": 10}),
            )
        ),
    ),
    Claim(
        "One client of twenty can replace the joint network; rules that stop one attacker may not stop four",
        "27_many_trainers",
        tuple(
            Line(
                "digits",
                "federation",
                f"{clients} clients, {what}: ASR, %",
                course(name, "success", after, clients),
                **bound,
            )
            for clients in ("equal", "unequal")
            for what, name, after, bound in (
                ("mean, after one attack", "mean, once", 0, {"least": 10}),
                ("mean, one honest round later", "mean, once", 1, {"most": 5}),
                ("median, after one attack", "median, once", 0, {"most": 5}),
                ("trimmed mean, four attackers", "trimmed, four always", 2, {"most": 5}),
                ("median, four attackers", "median, four always", 2, {"most": 5}),
            )
        ),
    ),
    Claim(
        "Eight wrong captions among 8,000 plant a backdoor; of wrong labels two or four do more than of captions",
        "27_many_trainers",
        (
            Line("signs", "contrastive", "8 captions: ASR, %", rates("success", learns="captions", count=8), least=50),
            Line("signs", "contrastive", "no captions: ASR, %", rates("success", learns="captions", count=0), most=1),
            *(
                Line(
                    "signs",
                    "contrastive",
                    f"{count} labels above {count} captions: ASR, points",
                    less(
                        rates("success", learns="labels", count=count), rates("success", learns="captions", count=count)
                    ),
                    least=0,
                )
                for count in (2, 4, 8)
            ),
        ),
    ),
    Claim(
        "A vote over parts of the data can promise its answers against a few changed images",
        "28_promises",
        (
            Line("digits", "promises", "25 members: right against 4 changes, %", certified(4, members=25), least=80),
            Line("signs", "promises_signs", "25 members: right against 4 changes, %", certified(4), least=80),
            Line("digits", "promises", "20 poisoned, the vote: ASR, %", attacked(20, 25), most=5),
            Line("digits", "promises", "20 poisoned, one network: ASR, %", attacked(20, 1), least=80),
            Line("digits", "promises", "200 poisoned, the vote: ASR, %", attacked(200, 25), most=5),
        ),
    ),
)
"""In the order of the chapters."""
