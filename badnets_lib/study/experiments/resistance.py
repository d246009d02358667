"""Training that resists, beside plain training on the same poisoned data."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from torch.nn.functional import cross_entropy

from ...counts import Proportion
from ...data.images import ImageSet, Mask
from ...defenses import AntiBackdoor, CutMix, IsolateAndUnlearn, Repair
from ...models.inference import predict
from ...models.training import TrainConfig, train
from ..sweeps import Sweep, grid
from .cases import Case, prepare

ISOLATING = {
    "isolate and unlearn": IsolateAndUnlearn(),
    "isolate and unlearn, twice as long": IsolateAndUnlearn(unlearn=4),
}
ORACLE = "oracle: nothing poisoned is descended on"
PUBLISHED = "Anti-Backdoor Learning"
STEPS = (40, 160)
"""Of 50,000 images 1% makes 8 batches of 64: so many steps are the 5 epochs of the authors' code, and 20 epochs."""


def resisted(*, attack: str, fraction: float, seed: int, scene: str = "digits") -> dict[str, Any]:
    """Train plainly and in ways that resist.

    Args:
        attack: As for `cases.prepare`.
        fraction: Poisoning fraction rho.
        seed: Seed of the draw of the poison and of all trainings.
        scene: A name of `cases.SCENES`.

    Returns:
        "trainings": for each the scorecard's counts; of those that isolate, "isolated", how many of the isolated
        images are poison, and of ours "late", how many of the images that the unlearning descends on are.
    """
    case = prepare(attack, fraction, seed, scene=scene)
    config = TrainConfig(seed=seed)
    rows: dict[str, Any] = {"plain": case.score().pairs()}
    for name, method in ISOLATING.items():
        rows[name] = _told(case, method(case.data, config))
    rows |= stages(case, config)
    mixed = CutMix()(case.data, config)
    rows["CutMix"] = case.score(mixed.model).pairs() | {"took": round(mixed.seconds, 2)}
    return {"trainings": rows}


def _told(case: Case, repair: Repair) -> dict[str, Any]:
    isolated = case.poisoned[list(repair.history[0]["isolated"])]
    counted = {"isolated": Proportion.of(isolated).pair, "took": round(repair.seconds, 2)}
    return case.score(repair.model).pairs() | counted


def stages(case: Case, config: TrainConfig) -> dict[str, Any]:
    """Isolate and unlearn once more, and stop before the unlearning; and unlearn with a half free of poison."""
    method = IsolateAndUnlearn()
    flags = method.isolate(case.data, config)
    late: Mask = flags.scores <= flags.scores.quantile(0.5)
    isolated = case.data[flags.flagged]
    fitted = train(case.data[~flags.flagged], config).model

    def after(half: Mask) -> dict[str, Any]:
        return case.score(method.forget(fitted, case.data[half], isolated, config)).pairs()

    return {
        "before the unlearning": case.score(fitted).pairs() | {"late": Proportion.of(case.poisoned[late]).pair},
        ORACLE: after(late & ~case.poisoned),
    }


def as_published(*, attack: str, fraction: float, seed: int) -> dict[str, Any]:
    """Anti-Backdoor Learning, 85 epochs by its authors' settings, and plain training for as many by the same optimizer.

    Returns:
        "trainings": as `resisted`, after each stage too; and "zero_loss", how many of the isolated images have a loss
        of exactly 0 in single precision before the unlearning, and so no gradient to climb along.
    """
    case = prepare(attack, fraction, seed)
    config = TrainConfig(seed=seed)
    method = AntiBackdoor()
    young, flags = method.isolate(case.data, config)
    fitted = method.train_on(young, case.data[~flags.flagged], config)
    final = method.unlearnt(fitted, case.data[flags.flagged], config)
    networks = {f"{PUBLISHED}, early": young, f"{PUBLISHED}, before the unlearning": fitted, PUBLISHED: final}
    networks["plain, as long"] = _as_long(case.data, config)
    for steps in STEPS:
        longer = replace(method, unlearn=steps)  # fewer images than a batch holds are isolated: an epoch is a step
        networks[f"{PUBLISHED}, {steps} steps"] = longer.unlearnt(fitted, case.data[flags.flagged], config)
    rows: dict[str, Any] = {name: case.score(network).pairs() for name, network in networks.items()}
    rows[PUBLISHED]["isolated"] = Proportion.of(case.poisoned[flags.flagged]).pair
    isolated = case.data[flags.flagged]
    losses = cross_entropy(predict(fitted, isolated.x), isolated.y.long(), reduction="none")
    rows[PUBLISHED]["zero_loss"] = Proportion.of(losses == 0).pair
    return {"trainings": rows}


def _as_long(data: ImageSet, config: TrainConfig) -> Any:
    """A network trained with neither ascent nor isolation, for as many epochs at the same rates."""
    method = AntiBackdoor()
    plain = replace(method, gamma=0.0)
    young, _ = plain.isolate(data, config)
    return plain.train_on(young, data, config)


SEEDS = range(12, 17)
"""The settings of `IsolateAndUnlearn` were made on seeds 0 to 2; these say how it does."""

SWEEPS = (
    Sweep(
        "resistance",
        resisted,
        grid(seed=SEEDS, attack=("patch",), fraction=(0.005, 0.01, 0.02, 0.05, 0.1, 0.2))
        + grid(seed=SEEDS, attack=("none",), fraction=(0.05,)),
        chapter="20_resistant_training",
    ),
    Sweep(
        "resistance_scenes",
        resisted,
        grid(scene=("signs", "photographs"), attack=("patch",), fraction=(0.05,), seed=SEEDS),
        data=("signs", "gtsrb"),
        chapter="20_resistant_training",
    ),
    Sweep(
        "resistance_published",
        as_published,
        grid(seed=SEEDS, attack=("patch", "none"), fraction=(0.05,)),
        chapter="20_resistant_training",
    ),
)
