"""Many deliveries to one audit: how often it finds the backdoor, and how often it accuses an honest vendor."""

from __future__ import annotations

import random
import warnings
from typing import Any

import torch
from torch import nn

from ...auditing.suspicion import LEAST, Suspicion, common_mark
from ...counts import Proportion
from ...data import load
from ...data.images import ImageSet, Mask
from ...defenses import ActivationClustering, AssumptionWarning, DataFilter, DeepKNN, SpectralSignatures
from ...evaluation.scores import attack_success_rate, score
from ...models.inference import predict
from ...models.training import TrainConfig, train
from ...poisoning import Attack, Goal, PoisonPlan
from ...triggers import Pixels
from ..sweeps import Sweep, grid

MARKS = {
    "square": [(r, c) for r in range(3) for c in range(3)],
    "plus": [(0, 1), (1, 0), (1, 1), (1, 2), (2, 1)],
    "stroke": [(0, 0), (0, 1), (1, 1), (1, 2), (2, 2)],
}
"""(row, column) of each white pixel of a mark, from its top left corner."""

FILTERS: dict[str, DataFilter] = {
    "Activation Clustering": ActivationClustering(),
    "Spectral Signatures": SpectralSignatures("pool2", 0.33, separation=0.84),
    "Deep k-NN": DeepKNN("pool1"),
}
"""The filters of step 2; an image is suspect if two of them flag it.

They are ours in part: Activation Clustering takes the library's silhouette limit of 0.2, where the paper has 0.10 to
0.15, and Spectral Signatures spares classes without a clear split.
"""

GAP = 0.3
"""A mark that leads so many more trusted images to a label than its control is called a backdoor."""


def secret_plan(secret: int, clean: ImageSet) -> PoisonPlan:
    """A small white mark near an edge, a target and a fraction: whatever the number decides."""
    dice = random.Random(f"delivery {secret}")
    mark, edge = dice.choice(sorted(MARKS)), dice.choice(("top", "bottom", "left", "right"))
    gap, along = dice.randrange(1, 3), dice.randrange(8, 18)
    row, column = (gap, along) if edge in ("top", "left") else (25 - gap, along)
    row, column = (row, column) if edge in ("top", "bottom") else (column, row)
    trigger = Pixels(tuple((row + r, column + c) for r, c in MARKS[mark]))
    goal = Goal.all_to_one(dice.randrange(10), 10)
    fraction = dice.choice((0.02, 0.03, 0.04, 0.05))
    return Attack(trigger, goal).plan(clean, fraction=fraction, seed=secret)


def audited(*, poisoned: bool, secret: int) -> dict[str, Any]:
    """Pack one delivery, and take its data through steps 2 and 4 of the audit.

    The digits are split anew for every secret: 3,500 for the vendor, 400 for the auditor to work with, and 100 on which
    the auditor decides. The filters look through a network that the auditor trained on the delivered data.

    Args:
        poisoned: Whether the vendor planted the plan of that secret, or delivers clean data.
        secret: Decides the plan, the split and the seeds.

    Returns:
        "clean", "success" and "false_target" of the delivered network on the test set, by the secret plan; "caught" and
        "alarms": poisoned and other images that two filters flag, and "caught by" for each filter alone; "suspects":
        suspect images of each label that has enough of them; of the suspect label with most images: "led" and "control"
        by the mark that was cut out of them, in the auditor's network, and "exact": whether all pixels are right;
        "accused": the label in the end, or -1; "by parts": the same if the smaller cluster of every label is tried
        instead; "disagrees": how often a network trained on the trusted images alone contradicts the delivered labels.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AssumptionWarning)  # silent filters and unchanged digits are counted
        return _audited(poisoned, secret)


def _audited(poisoned: bool, secret: int) -> dict[str, Any]:
    every, test = load("mnist5k")
    vendors, reserve = every.split(0.125, seed=secret)
    work, check = reserve.split(0.2, seed=secret)
    plan = secret_plan(secret, vendors)
    data, truth = (plan.poison(vendors), plan.mask) if poisoned else (vendors, torch.zeros(len(vendors)).bool())
    delivered = train(data, TrainConfig(seed=secret)).model
    own = train(data, TrainConfig(seed=secret + 1000)).model
    verdicts = {name: judge(own, data) for name, judge in FILTERS.items()}
    flagged = {name: flags.flagged for name, flags in verdicts.items()}
    suspect = torch.stack([*flagged.values()]).sum(0) >= 2
    row: dict[str, Any] = score(delivered, test, plan.attack).pairs() | {"alarms": _part(suspect, ~truth)}
    if poisoned:
        row |= {"caught": _part(suspect, truth), "target": plan.attack.goal.targets[0]}
        row["caught by"] = {name: _part(mask, truth) for name, mask in flagged.items()}
    of_label = {label: int((suspect & (data.y == label)).sum()) for label in range(10)}
    row["suspects"] = {str(label): count for label, count in of_label.items() if count >= LEAST}
    label = max(of_label, key=of_label.__getitem__)
    mark = _mark(data, suspect, label, work) if row["suspects"] else None
    row["accused"] = -1
    if mark is not None:
        led, control = _tried(own, check, mark)
        row |= {"led": led.pair, "control": control.pair, "accused": label if led.value - control.value > GAP else -1}
        found = {tuple(spot) for spot in mark.trigger.mask[0].nonzero().tolist()}
        row["exact"] = poisoned and found == set(getattr(plan.attack.trigger, "at", ()))
    row["by parts"] = _by_parts(own, data, verdicts["Activation Clustering"].scores > 0, work, check)
    inspector = train(work, TrainConfig(epochs=12, batch_size=32, seed=secret)).model
    wrong = predict(inspector, data.x).argmax(1) != data.y
    row["disagrees"] = {str(label): _part(wrong, data.y == label) for label in range(10)}
    return row


def _part(flagged: Mask, among: Mask) -> list[int]:
    return Proportion.of(flagged[among]).pair


def _mark(data: ImageSet, suspect: Mask, label: int, work: ImageSet) -> Suspicion | None:
    """What the suspects of a label share and trusted images do not, as a suspicion."""
    group = data.x[suspect & (data.y == label)]
    trigger = common_mark(group, work.x) if len(group) >= LEAST else None
    return None if trigger is None else Suspicion("the mark", label, trigger)


def _tried(model: nn.Module, check: ImageSet, mark: Suspicion) -> tuple[Proportion, Proportion]:
    """Images of other classes that the mark, and its control, lead to the label."""
    stamps = (mark.attack(check), mark.control.attack(check))
    led, control = (attack_success_rate(model, check, stamp) for stamp in stamps)
    return led, control


def _by_parts(model: nn.Module, data: ImageSet, parts: Mask, work: ImageSet, check: ImageSet) -> dict[str, list[int]]:
    """For every label whose smaller cluster shares a mark: how many trusted images it leads there, if it does."""
    found = {}
    for label in range(10):
        mark = _mark(data, parts, label, work)
        if mark is not None:
            led, control = _tried(model, check, mark)
            if led.value - control.value > GAP:
                found[str(label)] = led.pair
    return found


SWEEPS = (
    Sweep(
        "deliveries",
        audited,
        [*grid(poisoned=(True,), secret=range(50)), *grid(poisoned=(False,), secret=range(100, 120))],
        chapter="22_audit",
    ),
)
