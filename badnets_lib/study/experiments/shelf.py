"""Defenses of 2022 and 2023 as published, on digits and on drawn signs, beside doing nothing and training anew."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import nn

from ...attacks.adaptive import STRONG, adaptive_blend, adaptive_patch
from ...data import load
from ...data.images import ImageSet
from ...defenses import (
    ActivationClustering,
    Beatrix,
    ChannelLipschitz,
    DataFilter,
    Holding,
    NeuronPruning,
    ScaleUp,
    SharpnessAwareTuning,
    Spectre,
)
from ...defenses.kinds import Screening
from ...evaluation.scores import score
from ...models.inference import correct, predict
from ...models.networks import SmallCNN
from ...models.training import TrainConfig, train
from ...poisoning import Attack, Goal, PoisonPlan
from ...triggers import Blend, Patch, Sinusoid, Trigger
from ..sweeps import Sweep, grid
from .cases import Case, prepare
from .detection import PUBLISHED, VOTERS, judgement, rates

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
    "plain blend": Blend(opacity=0.2),
    "plain patches": STRONG,
}
"""What the network is shown. Three are those of the scoreboard; the adaptive ones have their authors' opacities, and
the plain ones are the same triggers without covers and without a disguise."""

HEAPS: dict[str, DataFilter] = PUBLISHED | {
    "clustering, neighbours": ActivationClustering(verdict="neighbours", voters=VOTERS),
    "Deep k-NN, pool1": VOTERS,
    "SPECTRE": Spectre(),
}
"""The filters as published, SPECTRE, and two of ours that do not look for a heap of its own."""

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
    data, plan = _handed_over(scene, attack, seed)
    _, test, holding = _data(scene, seed)
    model = train(data, TrainConfig(seed=seed)).model
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
    case = prepare(attack, FRACTION, seed, scene=scene)
    repaired = SharpnessAwareTuning(seed=seed)(case.model, case.holding).model
    networks = {"no defense": case.model, "FT-SAM": repaired}
    rows = {name: _scored(network, case.test, case.attack) for name, network in networks.items()}
    return case.score().pairs() | {"defenses": rows}


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


def _handed_over(scene: str, attack: str, seed: int) -> tuple[ImageSet, PoisonPlan]:
    """The training set as the attacker hands it over, clean if the attack is "none", and the plan of its poison."""
    train_set = _data(scene, seed)[0]
    plan = Attack(TRIGGERS[attack], GOAL).plan(train_set, fraction=FRACTION, seed=seed)
    if attack == "none":
        return train_set, plan
    if attack == "adap-blend":
        return adaptive_blend(train_set, plan, amount=FRACTION, seed=seed), plan
    if attack == "adap-patch":
        return adaptive_patch(train_set, plan, amount=2 * FRACTION, seed=seed), plan
    return plan.poison(train_set), plan


def separated(*, attack: str, seed: int) -> Counts:
    """An attack against latent separability, or its plain counterpart, before the filters that look for a heap.

    Returns:
        The scorecard's counts; and "filters": of each "caught" (of the poison) and "alarms" (of the other images), and
        "ranked", the AUROC of its scores within the target's class; covers, which keep their labels, are no poison.
    """
    data, plan = _handed_over("digits", attack, seed)
    _, test, holding = _data("digits", seed)
    model = train(data, TrainConfig(seed=seed)).model
    targets = plan.attack.goal.targets
    case = Case(data, plan.mask, plan.attack, model, holding, test, targets, SmallCNN)
    judged = {name: judgement(method(model, data), case) for name, method in HEAPS.items()}
    return score(model, test, plan.attack).pairs() | {"filters": judged}


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
SHELVED = ("none", "patch", "blend", "sinusoid", "adap-blend", "adap-patch")

SWEEPS = (
    Sweep(
        "shelf",
        shelved,
        [
            {"scene": scene, "attack": attack, "seed": seed}
            for scene, attacks in (("digits", SHELVED), ("signs", ON_SIGNS))
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
        grid(scene=("digits", "signs", "photographs"), attack=("patch",), seed=SEEDS),
        chapter="21_scoreboard",
        data=("mnist5k", "signs", "gtsrb"),
    ),
    Sweep(
        "shelf_separated",
        separated,
        grid(attack=("plain blend", "adap-blend", "plain patches", "adap-patch"), seed=SEEDS),
        chapter="21_scoreboard",
    ),
)
