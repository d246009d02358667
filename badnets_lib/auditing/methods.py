"""What is asked of the network itself: the scan, the run-time filter, the repairs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import nn

from ..counts import Proportion
from ..data.images import ImageSet
from ..defenses import (
    AdversarialUnlearning,
    FinePruning,
    FineTuning,
    NeuralCleanse,
    Scan,
    Strip,
    Unlearning,
)
from ..defenses.neural_cleanse import Reversed
from ..evaluation.scores import attack_success_rate, clean_accuracy
from .pictures import sheet, trigger_panels
from .records import LabelTrigger, Picture, RepairTried, Screening
from .running import BACKWARD, Run
from .suspicion import Suspicion, tested

SHOWN = 20
"""Labels up to which every reversed trigger is shown: those with the smallest masks, and flagged ones."""

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
    if not scan.judged:
        return f"no verdict, no label has an index; {norms}{never}"
    return f"{len(scan.flagged)} of {len(scan.norms)} labels flagged; {norms}{never}"


def reversed_triggers(run: Run, scan: Scan | None) -> tuple[LabelTrigger, ...]:
    """What the scan found for every label; the triggers of flagged ones are tried on the kept images."""
    if scan is None:
        return ()
    smallest = set(scan.norms.argsort()[:SHOWN].tolist()) | set(scan.flagged)
    return tuple(
        _label_trigger(run, scan, label, shown=label in smallest, tried=label == scan.smallest)
        for label in range(len(scan.norms))
    )


def reversed_suspicions(scan: Scan | None, classes: Sequence[str]) -> tuple[Suspicion, ...]:
    """The triggers of the labels that the scan flags."""
    if scan is None:
        return ()
    return tuple(Suspicion(f"{classes[at]} by the reversed trigger", at, Reversed.of(scan, at)) for at in scan.flagged)


def _label_trigger(run: Run, scan: Scan, label: int, *, shown: bool, tried: bool) -> LabelTrigger:
    trigger = Reversed.of(scan, label)
    name = run.kept.classes[label]
    norm = float(scan.norms[label])
    picture = None
    if shown:
        alt = f"Reversed trigger of {name}: mask, pattern, and both together. The mask's sum is {norm:.1f} pixels."
        picture = Picture(f"trigger-{label}.png", alt, sheet(trigger_panels(trigger.mask, trigger.pattern)))
    reached = scan.reached is None or bool(scan.reached[label])
    found = LabelTrigger(
        name, label, norm, float(scan.ratios[label]), float(scan.anomaly[label]), label in scan.flagged, reached,
        picture=picture,
    )  # fmt: skip
    if not (found.flagged or found.noticed or tried):
        return found
    effect, control = tested(run.model, run.kept, Suspicion(name, label, trigger))
    return replace(found, effect=effect, control=control)


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
