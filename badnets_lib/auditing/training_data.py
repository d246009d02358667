"""What is asked of the training data: which images filters flag, and what suspicious ones have in common."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import torch

from ..counts import Proportion
from ..data.images import ImageSet, Mask, to_unit
from ..defenses import ActivationClustering, DataFilter, DeepKNN, Flags, SpectralSignatures
from .pictures import sheet, trigger_panels
from .records import SMALLER, TWO, Picture, Suspects
from .running import Run
from .suspicion import LEAST, Suspicion, common_mark, stands_out, tested

SHOWN = 20
"""Suspects in a picture."""

COMPARED = 500
"""Most suspects, and most trusted images, that are compared pixel by pixel."""


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
    files = tuple(names[position] for position in positions) if names else ()
    return Suspects(training.classes[label], label, Proportion.of(mask[mine]), by, out, positions, files)


def _looked_at(run: Run, training: ImageSet, found: Suspects) -> tuple[Suspects, Suspicion | None]:
    """The same with pictures, and what its images have in common, tried on the kept images."""
    if len(found.positions) < LEAST:
        return found, None
    group = to_unit(training.x[list(found.positions)[:COMPARED]]).cpu()
    shown = group[:: max(1, len(group) // SHOWN)][:SHOWN]
    which = f"{len(found.positions)} training images labelled {found.label} that are {found.singled_out}"
    alt = f"{len(shown)} of the {which}."
    found = replace(found, picture=Picture(f"suspects-{found.number}.png", alt, sheet(shown)))
    trigger = common_mark(group, to_unit(run.holding.trusted.x[:COMPARED]).cpu())
    if trigger is None:
        return found, None
    mark = Suspicion(f"{found.label} by the common mark", found.number, trigger)
    effect, control = tested(run.model, run.kept, mark)
    alt = f"What the suspects labelled {found.label} have in common: mask, pattern, and both together."
    picture = Picture(f"mark-{found.number}.png", alt, sheet(trigger_panels(trigger.mask, trigger.pattern)))
    return replace(found, mark=effect, control=control, mark_picture=picture), mark
