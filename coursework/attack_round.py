"""The attack round: a student hands in a poisoned plan, within a budget, and the course's detectors look for it.

`plan.json` is what `PoisonPlan.save` wrote for the training digits:

    train = bd.load("mnist5k")[0].split(0.125)[0]
    bd.Attack(bd.Warp(), bd.Goal.all_to_one(3, 10)).plan(train, fraction=0.02, seed=0).save("plan.json")

A network is trained on what the plan makes of them, under a seed that nobody knows before. Of 10 points an attack gets
its success rate's share, and each of three detectors takes a third of that as far as it catches the attack:

- `SpectralSignatures` and `ActivationClustering`, at their defaults on the poisoned set: the share of the poisoned
  images that is flagged less the share of the clean ones. Flagging everything catches nothing.
- `NeuralCleanse`, at its defaults on the network: all, if it flags a label that the attack leads to.

An attack that costs too much clean accuracy is no backdoor, and gets nothing. This is controlled educational work: a
plan is for these digits only, and the library refuses it for others.
"""

from __future__ import annotations

import html
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from badnets_lib import (
    Blend,
    Checkerboard,
    Patch,
    Pixels,
    PoisonPlan,
    Proportion,
    Reflection,
    Sinusoid,
    TrainConfig,
    Warp,
    score,
    train,
)
from badnets_lib.defenses import ActivationClustering, Holding, NeuralCleanse, SpectralSignatures
from badnets_lib.evaluation.visibility import visibility

from .specimens import digits

MOST_IMAGES = 70
"""Poisoned training digits, of 3,500: the budget."""

LEAST_PSNR = 16.0
"""Decibels between stamped and clean digits: a white square of 4x4 has 17."""

LEAST_CLEAN = 0.95
"""Clean accuracy that the network must keep."""

MOST_BYTES = 200_000
TRIGGERS = (Blend, Checkerboard, Patch, Pixels, Reflection, Sinusoid, Warp)
"""What a plan may stamp: triggers that are numbers and nothing else."""


class BadPlan(ValueError):
    """The plan cannot be scored at all; the message says why."""


@dataclass(frozen=True)
class Outcome:
    """What an attack reached.

    Attributes:
        success: Attack success rate on the test digits.
        clean: Clean accuracy on them.
        caught: From 0 to 1, by detector.
    """

    success: Proportion
    clean: Proportion
    caught: dict[str, float]

    @property
    def points(self) -> float:
        """Of 10, to two decimals."""
        if self.clean.value < LEAST_CLEAN:
            return 0.0
        return round(10 * self.success.value * (1 - sum(self.caught.values()) / len(self.caught)), 2)

    def to_markdown(self) -> str:
        """Everything as a table."""
        told = [("attack success rate", str(self.success)), ("clean accuracy", str(self.clean))]
        told += [(f"caught by {name}", f"{share:.0%}") for name, share in self.caught.items()]
        told.append(("points", f"{self.points:.2f} of 10"))
        return "\n".join(["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in told)]) + "\n"


def read_plan(path: Path | str) -> PoisonPlan:
    """A student's plan, read as what it is: text from a stranger.

    Raises:
        BadPlan: It is too large, no plan, not for the training digits, or over the budget.
    """
    with Path(path).open("rb") as file:
        content = file.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise BadPlan(f"plan.json has more than {MOST_BYTES:,} bytes")
    try:
        plan = PoisonPlan.from_json(content.decode("utf-8-sig"))
    except (ValueError, TypeError, RecursionError) as error:
        raise BadPlan(_told("plan.json is not a plan", error)) from None
    if type(plan.attack.trigger) not in TRIGGERS:
        allowed = ", ".join(kind.__name__ for kind in TRIGGERS)
        raise BadPlan(f"the trigger must be one of {allowed}; got {type(plan.attack.trigger).__name__}")
    if len(plan.indices) > MOST_IMAGES:
        raise BadPlan(f"the plan poisons {len(plan.indices)} images; the budget is {MOST_IMAGES}")
    return plan


def play(plan: PoisonPlan, *, seed: int) -> Outcome:
    """Train on the poisoned digits, try the attack, and let the detectors look for it.

    Args:
        plan: What `read_plan` gave.
        seed: Of the network; drawn after the plans are in.

    Raises:
        BadPlan: It is for other data, or its stamp is too easily seen.
    """
    data, reserve, test = digits()
    try:
        poisoned = plan.poison(data)
        seen = visibility(test.x, plan.attack.trigger(test.x))
    except (ValueError, TypeError) as error:
        raise BadPlan(_told("the plan does not fit the training digits", error)) from None
    if not seen.psnr >= LEAST_PSNR:
        raise BadPlan(f"stamped digits have a PSNR of {seen.psnr:.1f} dB; at least {LEAST_PSNR:g} are asked for")
    model = train(poisoned, TrainConfig(seed=seed, device="cpu")).model
    card = score(model, test, plan.attack)
    truth = plan.mask
    caught = {
        type(detector).__name__: caught_by(detector(model, poisoned).flagged, truth)
        for detector in (SpectralSignatures(), ActivationClustering())
    }
    flagged = set(NeuralCleanse()(model, Holding(reserve)).flagged)
    caught["NeuralCleanse"] = float(bool(flagged & set(plan.attack.goal.targets)))
    return Outcome(card.success, card.clean, caught)


def caught_by(flagged: Tensor, truth: Tensor) -> float:
    """Share of the poisoned images that is flagged less the share of the clean ones; at least 0."""
    flagged = flagged.to(torch.float64).cpu()
    return max(0.0, float(flagged[truth].mean() - flagged[~truth].mean()))


def _told(what: str, error: BaseException) -> str:
    return html.escape(f"{what}: {' '.join(str(error).split())[:200]}", quote=False)
