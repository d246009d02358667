"""The steps of an audit: the scan, the data filters, the run-time filter, the repairs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import torch
from torch import nn

from ..counts import Proportion
from ..data.images import ImageSet, Mask, to_unit
from ..defenses import (
    ActivationClustering,
    AdversarialUnlearning,
    DataFilter,
    DeepKNN,
    FinePruning,
    FineTuning,
    Flags,
    NeuralCleanse,
    Scan,
    SpectralSignatures,
    Strip,
    Unlearning,
)
from ..defenses.neural_cleanse import Reversed
from ..evaluation.scores import Scorecard, attack_success_rate, clean_accuracy, score
from .pictures import sheet, trigger_panels
from .records import SMALLER, TWO, LabelTrigger, Picture, RepairTried, Screening, Suspects
from .running import BACKWARD, Run
from .suspicion import LEAST, Suspicion, common_mark, stands_out

SHOWN = 20
"""Suspects in a picture; and labels up to which every reversed trigger is shown."""

SCREENED = 200
"""Most images that the run-time filter is tried on: it asks the network about each of them a hundred times."""


# ---- the scan ----


def scanned(run: Run, seed: int) -> Scan | None:
    """A trigger reversed for every label."""
    scan = NeuralCleanse(seed=seed)
    labels = len(run.kept.classes)
    passes = BACKWARD * labels * scan.rounds * scan.batches * scan.batch_size
    return run.attempt("Neural Cleanse", scan, passes, lambda: scan(run.model, run.holding), _scan_in_words)


def _scan_in_words(scan: Scan) -> str:
    missed = 0 if scan.reached is None else int((~scan.reached).sum())
    never = f"; never reached: {missed}" if missed else ""
    norms = f"mask norms {scan.norms.min():.1f} to {scan.norms.max():.1f}"
    return f"{len(scan.flagged)} of {len(scan.norms)} labels flagged; {norms}{never}"


def reversed_triggers(run: Run, scan: Scan | None) -> tuple[LabelTrigger, ...]:
    """What the scan found for every label; the triggers of flagged ones are tried on the kept images."""
    if scan is None:
        return ()
    smallest = set(scan.norms.argsort()[:SHOWN].tolist()) | set(scan.flagged)
    return tuple(_label_trigger(run, scan, label, shown=label in smallest) for label in range(len(scan.norms)))


def reversed_suspicions(scan: Scan | None, classes: Sequence[str]) -> tuple[Suspicion, ...]:
    """The triggers of the labels that the scan flags."""
    if scan is None:
        return ()
    return tuple(Suspicion(f"{classes[at]} by the reversed trigger", at, Reversed.of(scan, at)) for at in scan.flagged)


def _label_trigger(run: Run, scan: Scan, label: int, *, shown: bool) -> LabelTrigger:
    trigger = Reversed.of(scan, label)
    name = run.kept.classes[label]
    norm = float(scan.norms[label])
    picture = None
    if shown:
        alt = f"Reversed trigger of {name}: mask, pattern, and both together. The mask's sum is {norm:.1f} pixels."
        picture = Picture(f"trigger-{label}.png", alt, sheet(trigger_panels(trigger.mask, trigger.pattern)))
    reached = scan.reached is None or bool(scan.reached[label])
    found = LabelTrigger(name, label, norm, float(scan.anomaly[label]), label in scan.flagged, reached, picture=picture)
    if not found.flagged and not found.noticed:
        return found
    effect, control = tested(run, Suspicion(name, label, trigger))
    return replace(found, effect=effect, control=control)


def tested(run: Run, suspicion: Suspicion) -> tuple[Scorecard, Proportion]:
    """What a suspected trigger does on the kept images, and how often its control leads to the same label."""
    effect = score(run.model, run.kept, suspicion.attack(run.kept))
    return effect, attack_success_rate(run.model, run.kept, suspicion.control.attack(run.kept))


# ---- the data filters ----


def filtered(run: Run, training: ImageSet, seed: int) -> tuple[dict[str, Mask], Mask | None]:
    """(what each data filter flags, and first of all what two of them flag; the smaller cluster of every class)."""
    usual = sorted(training.counts())[len(training.classes) // 2]
    filters: dict[str, DataFilter] = {
        "Activation Clustering": ActivationClustering(seed=seed),
        "Spectral Signatures": SpectralSignatures(epsilon=0.33, separation=0.84),
        "Deep k-NN": DeepKNN(k=max(5, min(50, usual // 8))),
    }
    flagged: dict[str, Mask] = {}
    parts: Mask | None = None
    for name, judge in filters.items():
        flags = run.attempt(name, judge, 2 * len(training), partial(judge, run.model, training), _flags_in_words)
        if flags is not None:
            flagged[name] = flags.flagged
            parts = flags.scores > 0 if isinstance(judge, ActivationClustering) else parts
    if len(flagged) > 1:
        flagged = {TWO: torch.stack([*flagged.values()]).sum(0) >= 2} | flagged
    return flagged, parts


def _flags_in_words(flags: Flags) -> str:
    return f"{Proportion.of(flags.flagged)} of the training images flagged"


def suspects(
    run: Run, training: ImageSet, flagged: dict[str, Mask], parts: Mask | None, names: Sequence[str]
) -> tuple[tuple[Suspects, ...], tuple[Suspicion, ...]]:
    """(the flagged images of every label, the marks that were confirmed).

    What images of a label have in common is tried on trusted images: where a filter flags unusually many, and in the
    smaller cluster of every class, whether it was flagged or not. The trial decides, and no threshold on clusters.

    Args:
        run: The audit.
        training: The training data.
        flagged: What the filters flag.
        parts: The smaller cluster of every class, if the clustering ran.
        names: File names of the training images, or none.
    """
    if not flagged:
        return (), ()
    y = training.y.cpu()
    present = [label for label, count in enumerate(training.counts()) if count]
    counts = {by: [Proportion.of(mask[y == label]) for label in present] for by, mask in flagged.items()}
    every: list[Suspects] = []
    marks: list[Suspicion] = []
    for place, label in enumerate(present):
        groups = {by: mask for by, mask in flagged.items() if stands_out(counts[by], place)}
        first = next(iter(groups or flagged))
        found = _group(training, flagged[first], label, first, bool(groups), names)
        for by, mask in (groups if parts is None else groups | {SMALLER: parts}).items():
            tried, mark = _looked_at(run, training, _group(training, mask, label, by, by in groups, names))
            if mark is not None and tried.confirmed:
                found = tried
                marks.append(mark)
                break
            found = tried if by == first and groups else found
        every.append(found)
    return tuple(every), tuple(marks)


def _group(training: ImageSet, mask: Mask, label: int, by: str, out: bool, names: Sequence[str]) -> Suspects:
    mine = training.y.cpu() == label
    positions = tuple((mask & mine).nonzero().flatten().tolist())
    told = tuple(names[position] for position in positions) if names else ()
    return Suspects(training.classes[label], label, Proportion.of(mask[mine]), by, out, positions, told)


def _looked_at(run: Run, training: ImageSet, found: Suspects) -> tuple[Suspects, Suspicion | None]:
    """The same with pictures, and what its images have in common, tried on the kept images."""
    if len(found.positions) < LEAST:
        return found, None
    group = to_unit(training.x[list(found.positions)]).cpu()
    shown = group[:: max(1, len(group) // SHOWN)][:SHOWN]
    alt = f"{len(shown)} of the {len(group)} training images labelled {found.label} that are {found.singled_out}."
    found = replace(found, picture=Picture(f"suspects-{found.number}.png", alt, sheet(shown)))
    trigger = common_mark(group, to_unit(run.holding.trusted.x).cpu())
    if trigger is None:
        return found, None
    mark = Suspicion(f"{found.label} by the common mark", found.number, trigger)
    effect, control = tested(run, mark)
    alt = f"What the suspects labelled {found.label} have in common: mask, pattern, and both together."
    picture = Picture(f"mark-{found.number}.png", alt, sheet(trigger_panels(trigger.mask, trigger.pattern)))
    return replace(found, mark=effect, control=control, mark_picture=picture), mark


# ---- the run-time filter ----


def screened(run: Run, suspicions: Sequence[Suspicion], seed: int) -> Screening | None:
    """STRIP, fitted to the working images and tried on kept ones, as they are and with the suspected triggers."""
    trusted = run.holding.trusted
    settings = Strip(overlays=max(2, min(100, len(trusted) // 2)), false_rejection=0.05, seed=seed)
    kept = run.kept.sample(SCREENED, seed=seed)
    passes = settings.overlays * (len(trusted) + len(kept) * (1 + len(suspicions)))

    def work() -> Screening:
        guard = settings.fit(run.model, run.holding)
        stamped = [guard(each.attack(kept).on(kept).x).refused for each in suspicions]
        return Screening(
            guard.threshold,
            Proportion.of(guard(kept.x).refused),
            Proportion.of(torch.cat(stamped)) if stamped else None,
        )

    return run.attempt("STRIP", settings, passes, work, _screening_in_words)


def _screening_in_words(found: Screening) -> str:
    stamped = f"; with suspected triggers {found.stamped}" if found.stamped else ""
    return f"below {found.threshold:.3g} bits an image is refused: of kept images {found.clean}{stamped}"


# ---- the repairs ----


def repaired(run: Run, suspicions: Sequence[Suspicion], seed: int) -> tuple[RepairTried, ...]:
    """Every repair that fits into the time, measured on kept images alone."""
    images = len(run.holding.trusted)
    tuning = FineTuning(seed=seed)
    pruning = FinePruning(tuning=tuning)
    unlearning = Unlearning(tuning=tuning, seed=seed)
    shifts = AdversarialUnlearning(tuning=tuning)
    tune = BACKWARD * tuning.epochs * images
    search = BACKWARD * tuning.epochs * shifts.steps * min(shifts.batch, images)

    def forgetful() -> nn.Module:
        lesson = unlearning.lesson(run.holding.trusted, tuple(each.trigger for each in suspicions))
        return unlearning.tuning.tune(run.model, lesson)[0]

    candidates: dict[str, tuple[object, int, Callable[[], nn.Module]]] = {
        "fine-tuning": (tuning, tune, lambda: tuning(run.model, run.holding).model),
        "Fine-Pruning": (pruning, 2 * tune, lambda: pruning(run.model, run.holding).model),
        "unlearning": (unlearning, tune, forgetful),
        "adversarial unlearning": (shifts, 2 * tune + search, lambda: shifts(run.model, run.holding).model),
    }
    if not suspicions:
        del candidates["unlearning"]
        run.skip("unlearning", "no trigger is suspected, so there is none to unlearn")
    tried = (_tried(run, name, *each, suspicions) for name, each in candidates.items())
    return tuple(each for each in tried if each is not None)


def _tried(
    run: Run,
    name: str,
    settings: object,
    passes: int,
    repair: Callable[[], nn.Module],
    suspicions: Sequence[Suspicion],
) -> RepairTried | None:
    def work() -> RepairTried:
        network = repair()
        return RepairTried(name, clean_accuracy(network, run.kept), successes(network, run.kept, suspicions))

    return run.attempt(name, settings, passes, work, _repair_in_words)


def successes(model: nn.Module, kept: ImageSet, suspicions: Sequence[Suspicion]) -> dict[str, Proportion]:
    """How many kept images each suspected trigger leads to its label, by its name."""
    return {each.name: attack_success_rate(model, kept, each.attack(kept)) for each in suspicions}


def _repair_in_words(tried: RepairTried) -> str:
    led = "".join(f"; led to {name} {count}" for name, count in tried.success.items())
    return f"accuracy on kept images {tried.accuracy}{led}"
