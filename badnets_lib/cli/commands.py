"""The commands. Each reads its inputs, calls the library once, prints what came back, and returns an exit code."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ..auditing import audit as run_audit, check_accuracy
from ..defenses import AdversarialUnlearning, FinePruning, FineTuning, Holding, NeuralCleanse, Removal, Unlearning
from ..evaluation.scores import clean_accuracy, score as run_score
from ..provenance import save_model
from ..triggers import Trigger
from . import options, texts
from .inputs import attack, file_names, opened, pictures, planned
from .progress import step_shown

METHODS: dict[str, type[Removal]] = {
    "fine-tuning": FineTuning,
    "fine-pruning": FinePruning,
    "unlearning": Unlearning,
    "adversarial-unlearning": AdversarialUnlearning,
}


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="badnets-lib", message="%(version)s")
def badnets() -> None:
    """Look for backdoors in image classifiers: your network, your pictures.

    Weights are never unpickled. Nothing is sent anywhere. `badnets COMMAND --help` says what a command needs.
    """


@badnets.command(
    short_help="Scan, filter, screen, repair, and write a report.", epilog=texts.closing(texts.AUDIT, texts.FOUND)
)
@options.network
@options.trusted
@click.option(
    "--training",
    type=options.FOLDER,
    help="Folder of the training pictures, labels as they are, one folder a class.  [default: not looked at]",
)
@options.pictures
@click.option(
    "--minutes",
    type=click.FloatRange(0, min_open=True),
    metavar="MINUTES",
    default=10.0,
    show_default=True,
    help="About how many minutes it may take. What does not fit is left out, and the report says so.",
)
@options.kept
@options.least_accuracy
@options.seed
@click.option(
    "--out",
    type=options.NEW,
    default=Path("report"),
    show_default=True,
    help="Folder for report.html, report.md, report.json and the pictures.",
)
@options.debug
def audit(
    trusted: Path,
    training: Path | None,
    size: tuple[int, int] | None,
    classes: Path | None,
    minutes: float,
    kept: float,
    least_accuracy: float,
    seed: int,
    out: Path,
    **network: Any,
) -> int:
    """Audit a network: scan it, filter its training data, fit a run-time filter, try repairs, write a report.

    The trusted pictures are split before they are used: some are given to the methods, the others only measure.
    The audit stops if the network gets too many trusted pictures wrong: then its normalisation may be missing.
    """
    if out.exists() and not out.is_dir():
        raise click.UsageError(f"--out must be a folder; {out} is a file")
    with step_shown("reading") as tell:
        given = opened(**network)
        holding = pictures(trusted, size, classes)
        data = pictures(training, size, classes) if training else None
        found = run_audit(
            given.network, holding, training=data, minutes=minutes, kept=kept, least_accuracy=least_accuracy,
            seed=seed, weights=given.sha256, names=file_names(training, classes) if training else (), tell=tell,
        )  # fmt: skip
    found.save(out)
    click.echo(f"Accuracy on trusted pictures {found.accuracy}")
    for step in found.steps:
        click.echo(f"{step.name}: {step.state}: {step.outcome}")
    click.echo("\n".join((found.verdict, *found.findings, *found.indications, f"The report is {out / 'report.html'}")))
    if not found.looked:
        raise click.ClickException(
            f"no method that looks for backdoors came to a verdict; see {out / 'report.html'} and --minutes"
        )
    return int(bool(found.findings))


@badnets.command(short_help="Look for a backdoor in a network.", epilog=texts.closing(texts.SCAN, texts.FOUND))
@options.network
@options.trusted
@options.pictures
@options.least_accuracy
@options.seed
@options.debug
def scan(
    trusted: Path,
    size: tuple[int, int] | None,
    classes: Path | None,
    least_accuracy: float,
    seed: int,
    **network: Any,
) -> int:
    """Reverse a trigger for every label (Neural Cleanse) and flag labels whose trigger is far too small."""
    model = opened(**network).network
    data = pictures(trusted, size, classes)
    check_accuracy(model, data, least_accuracy)
    found = NeuralCleanse(seed=seed)(model, Holding(data))
    click.echo("mask, pixels  anomaly index  label")
    for label in found.norms.argsort().tolist():
        flag = "  FLAGGED" if label in found.flagged else ""
        click.echo(f"{found.norms[label]:12.1f}  {found.anomaly[label]:13.1f}  {data.classes[label]}{flag}")
    if not found.judged:
        raise click.ClickException("the scan has no verdict: an index needs triggers of different sizes for 3 labels")
    if not found.flagged:
        least = found.smallest
        click.echo(
            f"No label is flagged. The smallest mask is that of {data.classes[least]}, {found.ratios[least]:.2f} of "
            "the median. That excludes neither a large nor a moving trigger: see `badnets audit`."
        )
    return int(bool(found.flagged))


@badnets.command(short_help="Count accuracy and attack success.", epilog=texts.closing(texts.SCORE, texts.DONE))
@options.network
@click.option("--test", required=True, type=options.FOLDER, help="Folder of clean test pictures, one folder a class.")
@click.option("--plan", type=options.FILE, help="A plan.json that `badnets poison` wrote.  [default: see --trigger]")
@options.trigger(required=False)
@options.target(required=False)
@options.sources
@options.pictures
@options.debug
def score(
    test: Path,
    plan: Path | None,
    trigger: Trigger | None,
    target: str | None,
    sources: tuple[str, ...],
    size: tuple[int, int] | None,
    classes: Path | None,
    **network: Any,
) -> None:
    """Count clean accuracy, attack success rate and false-target rate of a network under a known attack.

    The attack is that of a saved plan, or a trigger and a target.
    """
    data = pictures(test, size, classes)
    click.echo(run_score(opened(**network).network, data, planned(plan, trigger, target, sources, data.classes)))


@badnets.command(
    short_help="Write a poisoned copy of a folder of pictures.", epilog=texts.closing(texts.POISON, texts.DONE)
)
@click.argument("folder", type=options.FOLDER)
@click.argument("out", type=options.NEW)
@options.trigger(required=True)
@options.target(required=True)
@options.sources
@click.option(
    "--fraction",
    required=True,
    type=click.FloatRange(0, 1, min_open=True),
    metavar="PART",
    help="Poisoned pictures over all pictures, between 0 and 1.",
)
@click.option(
    "--clean-label", is_flag=True, help="Stamp pictures of the target class and change no label.  [default: no]"
)
@options.pictures
@options.seed
@options.debug
def poison(
    folder: Path,
    out: Path,
    trigger: Trigger,
    target: str,
    sources: tuple[str, ...],
    fraction: float,
    clean_label: bool,
    size: tuple[int, int] | None,
    classes: Path | None,
    seed: int,
) -> None:
    """Write a poisoned copy of FOLDER (one folder a class) to OUT, a new folder, with the plan in OUT/plan.json.

    For tests of defenses on your own machine: keep such data apart, and say what they are.
    """
    if out.resolve().is_relative_to(folder.resolve()):
        raise click.UsageError(f"OUT must not lie in FOLDER, where it would be one more class; got {out}")
    data = pictures(folder, size, classes)
    wanted = attack(trigger, target, sources, data.classes, clean_label=clean_label)
    plan = wanted.plan(data, fraction=fraction, seed=seed)
    plan.poison(data).save_folder(out)
    plan.save(out / "plan.json")
    click.echo(plan)


@badnets.command(
    short_help="Repair a network and save the new weights.", epilog=texts.closing(texts.REPAIR, texts.DONE)
)
@options.network
@click.option("--method", required=True, type=click.Choice([*METHODS]), help="How the network is repaired.")
@options.trusted
@options.pictures
@options.kept
@options.least_accuracy
@options.seed
@click.option("--out", required=True, type=options.NEW, help="File for the repaired weights, .safetensors.")
@options.debug
def repair(
    method: str,
    trusted: Path,
    size: tuple[int, int] | None,
    classes: Path | None,
    kept: float,
    least_accuracy: float,
    seed: int,
    out: Path,
    **network: Any,
) -> None:
    """Repair a network on trusted pictures, count its accuracy before and after, and save the new weights.

    A repair may cost accuracy, and may leave the backdoor where it is: scan the result again.
    """
    if out.exists():
        raise click.UsageError(f"{out} is there already; give --out a new name, nothing was written")
    given = opened(**network)
    working, measuring = pictures(trusted, size, classes).split(kept, seed=seed)
    check_accuracy(given.network, working, least_accuracy)
    repaired = METHODS[method]()(given.network, Holding(working))
    if repaired.history and "note" in repaired.history[0]:
        raise click.ClickException(f"{method}: {repaired.history[0]['note']}; nothing was written")
    after = clean_accuracy(repaired.model, measuring)
    bare = repaired.model if given.bare is given.network else repaired.model.get_submodule("model")
    origin = {"repaired": repaired.settings, "from weights": given.sha256, "seed": seed}
    digest = save_model(out, bare, origin)
    click.echo(f"accuracy on kept pictures before  {clean_accuracy(given.network, measuring)}")
    click.echo(f"accuracy on kept pictures after   {after}")
    click.echo(f"{out}, SHA-256 {digest}")
