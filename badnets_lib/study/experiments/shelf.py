"""Defenses of 2022 and 2023 as published, on digits and on drawn signs, beside doing nothing and training anew."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import nn

from ...attacks.adaptive import STRONG, adaptive_blend, adaptive_patch
from ...data import load
from ...data.images import ImageSet
from ...defenses import Beatrix, ChannelLipschitz, Holding, NeuronPruning, ScaleUp, SharpnessAwareTuning, Spectre
from ...defenses.kinds import Screening
from ...evaluation.scores import score
from ...models.inference import correct, predict
from ...models.training import TrainConfig, train
from ...poisoning import Attack, Goal, PoisonPlan
from ...triggers import Blend, Patch, Sinusoid, Trigger
from ..sweeps import Sweep, grid
from .cases import prepare
from .detection import rates

Counts = dict[str, Any]

SCENES = {"digits": "mnist5k", "signs": "signs"}
"""The data set of each scene; both have ten classes."""

GOAL = Goal.all_to_one(7, 10)
PATCH = Patch(size=4, margin=1)
TRIGGERS: dict[str, Trigger] = {
    "none": PATCH,
    "patch": PATCH,
    "blend": Blend(opacity=0.1),
    "sinusoid": Sinusoid(),
    "adap-blend": Blend(opacity=0.2),
    "adap-patch": STRONG,
}
"""What the network is shown. The first three are those of the scoreboard, the last two the authors' opacities."""

FRACTION = 0.05
INPUTS = 200
"""Clean, triggered and victim inputs that a run-time filter screens, each."""

ANEW = "a new network from the trusted images"


def shelved(*, scene: str, attack: str, seed: int) -> Counts:
    """One attack against channel Lipschitz pruning, BEATRIX and SCALE-UP.

    Returns:
        The scorecard's counts before; and "defenses": for each "clean", "success" and "false_target" after it, and
        "recovered", triggered victims that are read as what they show; of pruning "pruned", channels of all judged; of
        the filters "alarms", clean inputs that are refused, and "caught", refused inputs of those that reach the
        target.
    """
    model, test, plan, holding = _case(scene, attack, seed)
    attacked = plan.attack
    pruned = ChannelLipschitz()(model, holding)
    judged = sum(len(row["bounds"]) for row in pruned.history)
    gone = sum(len(row["pruned"]) for row in pruned.history)
    rows = {
        "no defense": _scored(model, test, attacked),
        "CLP": _scored(pruned.model, test, attacked) | {"pruned": [gone, judged]},
        "BEATRIX": _screened(Beatrix().fit(model, holding), model, test, attacked, attack != "none"),
        "SCALE-UP": _screened(ScaleUp().fit(model, holding), model, test, attacked, attack != "none"),
        ANEW: _scored(_anew(scene, seed), test, attacked),
    }
    return score(model, test, attacked).pairs() | {"defenses": rows}


def tuned(*, scene: str, attack: str, seed: int) -> Counts:
    """One attack against FT-SAM, which takes as long as six trainings of the network.

    Returns:
        As `shelved`.
    """
    model, test, plan, holding = _case(scene, attack, seed)
    repaired = SharpnessAwareTuning(seed=seed)(model, holding).model
    rows = {"no defense": _scored(model, test, plan.attack), "FT-SAM": _scored(repaired, test, plan.attack)}
    return score(model, test, plan.attack).pairs() | {"defenses": rows}


def on_scenes(*, scene: str, attack: str, seed: int) -> Counts:
    """One attack on one scene against the whole shelf, but for FT-SAM, in the published settings.

    Returns:
        As `shelved`. "ANP" and "CLP" repair the network; of "SPECTRE" the rates of its flags, and the scores of a
        network that was trained anew on what it leaves; its epsilon, 0.1, was set without looking.
    """
    case = prepare(attack, FRACTION, seed, scene=scene)
    backdoored = bool(case.targets)
    removals = {"CLP": ChannelLipschitz(), "ANP": NeuronPruning(seed=seed)}
    filters = {"BEATRIX": Beatrix(), "SCALE-UP": ScaleUp()}
    rows = {"no defense": _scored(case.model, case.test, case.attack)}
    for name, removal in removals.items():
        rows[name] = _scored(removal(case.model, case.holding).model, case.test, case.attack)
    for name, screen in filters.items():
        guard = screen.fit(case.model, case.holding)
        rows[name] = _screened(guard, case.model, case.test, case.attack, backdoored)
    flags = Spectre()(case.model, case.data)
    left = train(flags.drop_from(case.data), TrainConfig(seed=seed), model=case.fresh).model
    rows["SPECTRE"] = rates(flags.rates(case.poisoned)) | _scored(left, case.test, case.attack)
    rows[ANEW] = _scored(case.anew(seed), case.test, case.attack)
    return case.score().pairs() | {"defenses": rows}


def _data(scene: str, seed: int) -> tuple[ImageSet, ImageSet, Holding]:
    """(what is poisoned and trained on, 1,000 or more test images, 400 trusted images)."""
    every, test = load(SCENES[scene])
    train_set, reserve = every.split(0.125)
    return train_set, test, Holding.draw(reserve, 400, seed=seed, apart_from=(train_set, test))


def _case(scene: str, attack: str, seed: int) -> tuple[nn.Module, ImageSet, PoisonPlan, Holding]:
    """The network that was trained on what the attacker handed over; of "none" on clean data."""
    train_set, test, holding = _data(scene, seed)
    plan = Attack(TRIGGERS[attack], GOAL).plan(train_set, fraction=FRACTION, seed=seed)
    if attack == "none":
        data = train_set
    elif attack == "adap-blend":
        data = adaptive_blend(train_set, plan, amount=FRACTION, seed=seed)
    elif attack == "adap-patch":
        data = adaptive_patch(train_set, plan, amount=2 * FRACTION, seed=seed)
    else:
        data = plan.poison(train_set)
    return train(data, TrainConfig(seed=seed)).model, test, plan, holding


@cache
def _anew(scene: str, seed: int) -> nn.Module:
    """A fresh network from the trusted images alone: no attack reaches it."""
    holding = _data(scene, seed)[2]
    return train(holding.trusted, TrainConfig(seed=seed, epochs=40, batch_size=32)).model


def _scored(network: nn.Module, test: ImageSet, attack: Attack) -> Counts:
    recovered = correct(network, attack.recovered(test))
    return score(network, test, attack).pairs() | {"recovered": recovered.pair}


def _screened(guard: Screening, network: nn.Module, test: ImageSet, attack: Attack, backdoored: bool) -> Counts:
    """What is refused does no good and no harm."""
    sets = {"clean": test, "success": attack.on(test), "false_target": attack.victims(test)}
    sets["recovered"] = attack.recovered(test)
    seen = {}
    for name, images in sets.items():
        some = images.sample(INPUTS)
        seen[name] = predict(network, some.x).argmax(1) == some.y.cpu(), guard(some.x).refused
    row = {name: [int((right & ~refused).sum()), len(right)] for name, (right, refused) in seen.items()}
    row["alarms"] = [int(seen["clean"][1].sum()), len(seen["clean"][1])]
    obeyed, refused = seen["success"]
    if backdoored and bool(torch.any(obeyed)):
        row["caught"] = [int((obeyed & refused).sum()), int(obeyed.sum())]
    return row


SEEDS = range(12, 17)
"""None of the published settings was changed, so no seed was needed to choose any."""

ON_SIGNS = ("patch",)

SWEEPS = (
    Sweep(
        "shelf",
        shelved,
        [
            {"scene": scene, "attack": attack, "seed": seed}
            for scene, attacks in (("digits", tuple(TRIGGERS)), ("signs", ON_SIGNS))
            for seed in SEEDS
            for attack in attacks
        ],
        chapter="21_scoreboard",
        data=("mnist5k", "signs"),
    ),
    Sweep(
        "shelf_scenes",
        on_scenes,
        [
            {"scene": scene, "attack": attack, "seed": seed}
            for seed in SEEDS
            for scene, attack in (
                ("digits", "patch"),
                ("digits", "blend"),
                ("signs", "patch"),
                ("photographs", "patch"),
            )
        ],
        chapter="21_scoreboard",
        data=("mnist5k", "signs", "gtsrb"),
    ),
    Sweep(
        "shelf_tuning",
        tuned,
        grid(scene=("digits",), attack=("patch",), seed=SEEDS),
        chapter="21_scoreboard",
    ),
)
