"""How much poison is needed: attacks on 4,000 digits with one thing changed at a time."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import torch
from torch.nn import functional as F

from ...data import load
from ...data.images import ImageSet, Mask, to_unit
from ...evaluation.scores import score
from ...models.inference import correct
from ...models.networks import SmallCNN
from ...models.training import TrainConfig, train
from ...poisoning import Attack, Goal
from ...triggers import Patch, stamp
from ..sweeps import Cell, Sweep, grid
from .cases import parts

TARGET = 7
CLASSES = 10
GOALS: dict[str, Callable[[int], Goal]] = {
    "all-to-one": lambda classes: Goal.all_to_one(TARGET, classes),
    "source-specific": lambda classes: Goal.source_specific({1: TARGET}, classes),
    "all-to-all": Goal.all_to_all,
}
"""The three goals that the chapter sets side by side, from the number of classes."""


def poisoned(
    *,
    fraction: float,
    seed: int,
    size: int = 4,
    opacity: float = 1.0,
    epochs: int = 6,
    width: int = 16,
    goal: str = "all-to-one",
    pick: str = "random",
    shift: int = 0,
    scene: str = "digits",
) -> dict[str, Any]:
    """Train one network on poisoned images; with fraction 0, its clean twin.

    Args:
        fraction: Poisoning fraction rho of the training images: 4,000 digits, 3,500 signs or 8,563 photographs.
        seed: Seed of the draw of images and of the training.
        size: Side of the white square in pixels.
        opacity: Opacity of the square.
        epochs: Passes over the data.
        width: Filters of the first convolution of `SmallCNN`.
        goal: A name of `GOALS`.
        pick: Which images are poisoned: "random"; in equal shares of every class "any", "typical" or "rare" (drawn at
            random, nearest to or furthest from the mean image of their class); or "one class" (the digit 1).
        shift: With augmentation: every image of an epoch is moved by up to so many pixels in both directions.
        scene: "digits", or another name of `cases.SCENES`.

    Returns:
        "clean", "success", "false_target": counts [hits, trials]; and "elsewhere": how often images
        that the goal leaves alone get a label of the goal once they carry the trigger (source-specific only).
    """
    train_set, test_set = images_of(scene)
    channels, classes = train_set.x.shape[1], len(train_set.classes)
    wish = GOALS[goal](classes)
    plan = Attack(Patch(size, opacity=opacity), wish).plan(train_set, fraction=fraction or 0.01, seed=seed,
        among=chosen(train_set, wish, pick, round(len(train_set) * fraction)),
        sampling="per-class" if pick == "any" else "uniform",
    )  # fmt: skip

    def network() -> SmallCNN:
        return SmallCNN(channels, classes, width=width)

    data = plan.poison(train_set) if fraction else train_set
    if shift:
        data, epochs = shifted(data, shift, copies=epochs, seed=seed), 1
    model = train(data, TrainConfig(epochs=epochs, seed=seed), model=network).model
    row: dict[str, Any] = score(model, test_set, plan.attack).pairs()
    if goal == "source-specific":
        row["elsewhere"] = correct(model, spared_images(test_set, plan.attack)).pair
    return row


def images_of(scene: str) -> tuple[ImageSet, ImageSet]:
    """Training and test images: the small digits, or those of another scene as Part III uses them."""
    if scene == "digits":
        return load("mnist5k")
    train_set, _, test_set = parts(scene)
    return train_set, test_set


def spared_images(test: ImageSet, attack: Attack) -> ImageSet:
    """Triggered images of the classes that a goal with one target leaves alone, labelled with that target."""
    target = attack.goal.targets[0]
    spared = test[~attack.goal.victims(test.y) & (test.y != target)]
    return ImageSet(stamp(attack.trigger, spared.x), torch.full_like(spared.y, target), test.classes)


def chosen(data: ImageSet, goal: Goal, pick: str, count: int) -> Mask | None:
    """The images an attacker with that taste poisons, in equal shares per class; None leaves it to chance.

    Raises:
        ValueError: The taste is unknown.
    """
    if pick in ("random", "any"):
        return None
    if pick == "one class":
        return data.y == 1
    if pick not in ("typical", "rare"):
        raise ValueError(f"pick must be 'random', 'any', 'typical', 'rare' or 'one class'; got {pick!r}")
    order = distance_to_class_mean(data).argsort(descending=pick == "rare")
    keep = torch.zeros(len(data), dtype=torch.bool)
    each = math.ceil(count / len(goal.sources))
    for label in goal.sources:
        members = order[data.y[order] == label]
        keep[members[:each]] = True
    return keep


def distance_to_class_mean(data: ImageSet) -> torch.Tensor:
    """How far each image lies from the mean image of its class: Euclidean, in pixel space, [N]."""
    x, y = to_unit(data.x), data.y.long()
    means = torch.stack([x[y == label].mean(0) for label in range(len(data.classes))])
    distances: torch.Tensor = (x - means[y]).flatten(1).norm(dim=1)
    return distances


def shifted(data: ImageSet, most: int, *, copies: int, seed: int) -> ImageSet:
    """All epochs of augmented training in one: copies of the images, each moved by up to `most` pixels both ways."""
    dice = torch.Generator().manual_seed(seed)
    size = data.x.shape[-1]
    wide = F.pad(data.x, (most,) * 4)
    parts = []
    for _ in range(copies):
        down, right = torch.randint(2 * most + 1, (2, len(data), 1), generator=dice)
        rows, columns = torch.arange(size) + down, torch.arange(size) + right
        parts.append(wide[torch.arange(len(data))[:, None, None], :, rows[:, :, None], columns[:, None]])
    x = torch.cat(parts).movedim(-1, 1).contiguous()
    return ImageSet(x, data.y.repeat(copies), data.classes)


def counted(*, count: int, size: int, epochs: int, seed: int) -> dict[str, Any]:
    """Train with a number of poisoned digits among a number of all: which decides, the number or the share.

    Args:
        count: Poisoned digits.
        size: Training digits, drawn from the full MNIST in equal shares of every class; `WHOLE` takes it as it is.
        epochs: Passes over the data.
        seed: Seed of both draws and of the training.

    Returns:
        "clean", "success", "false_target": counts [hits, trials] on the 10,000 test digits.
    """
    train_set, test_set = digits()
    if size < WHOLE:
        parts_of = [_draw(train_set, label, size, seed) for label in range(CLASSES)]
        train_set = train_set[torch.cat(parts_of).sort().values]
    plan = Attack(Patch(4), Goal.all_to_one(TARGET, CLASSES)).plan(train_set, fraction=count / size, seed=seed)
    model = train(plan.poison(train_set), TrainConfig(epochs=epochs, seed=seed)).model
    return score(model, test_set, plan.attack).pairs()


@cache
def digits() -> Sequence[ImageSet]:
    """The full MNIST, once a process."""
    return load("mnist")


def _draw(data: ImageSet, label: int, size: int, seed: int) -> torch.Tensor:
    """Indices of so many images of one class that every class has an equal share of `size`."""
    dice = torch.Generator().manual_seed(1000 * seed + label)
    members = (data.y == label).nonzero().flatten()
    return members[torch.randperm(len(members), generator=dice)[: size // CLASSES]]


def on_signs(*, size: int, opacity: float, fraction: float, seed: int) -> dict[str, Any]:
    """The same square on the drawn signs, whose background differs from picture to picture.

    Returns:
        "clean", "success", "false_target": counts [hits, trials].
    """
    every, test_set = load("signs")
    train_set = every[:4000]  # as many as there are digits, in equal shares
    goal = Goal.all_to_one(TARGET, CLASSES)
    plan = Attack(Patch(size, opacity=opacity), goal).plan(train_set, fraction=fraction, seed=seed)
    model = train(plan.poison(train_set), TrainConfig(seed=seed)).model
    return score(model, test_set, plan.attack).pairs()


FRACTIONS = (0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.05, 0.1, 0.2)
FEW = (0.002, 0.005, 0.01)
SEEDS = range(5)
COLOURED = ("signs", "photographs")
WHOLE = 60_000
"""All digits of the full MNIST; their classes are not quite of one size."""


def _sweep(name: str, cells: list[Cell]) -> Sweep:
    return Sweep(name, poisoned, cells, chapter="08_how_much_poison")


SWEEPS = (
    _sweep("poison_curve", grid(seed=range(8), fraction=(0.0, *FRACTIONS))),
    _sweep("poison_goal", grid(seed=SEEDS, goal=tuple(GOALS), fraction=(0.005, 0.01, 0.02, 0.05, 0.09))),
    _sweep("poison_pick", grid(seed=range(5), pick=("any", "typical", "rare", "one class"), fraction=FEW)),
    _sweep("poison_shift", grid(seed=range(5), shift=(1, 2, 4), fraction=FEW)),
    Sweep(
        "poison_count",
        counted,
        [
            dict(count=count, size=size, epochs=epochs, seed=seed)
            for size, epochs in ((1000, 6), (4000, 6), (16000, 6), (1000, 24), (WHOLE, 6))
            for count in (4, 8, 20)
            for seed in range(5)
        ],
        data=("mnist",),
        chapter="08_how_much_poison",
    ),
    Sweep(
        "poison_axes",
        poisoned,
        grid(scene=COLOURED, goal=("source-specific", "all-to-all"), fraction=(0.02,), seed=SEEDS)
        + grid(scene=COLOURED, pick=("any", "typical", "rare"), fraction=(0.005,), seed=SEEDS)
        + grid(scene=COLOURED, shift=(2,), fraction=(0.005,), seed=SEEDS),
        data=("signs", "gtsrb"),
        chapter="08_how_much_poison",
    ),
    Sweep(
        "poison_signs",
        on_signs,
        grid(size=(4,), opacity=(1.0,), fraction=(0.002, 0.01), seed=range(5))
        + grid(size=(2, 6), opacity=(0.1,), fraction=(0.05,), seed=range(5)),
        data=("signs",),
        chapter="08_how_much_poison",
    ),
    _sweep("poison_training", grid(seed=SEEDS, epochs=(1, 3, 12), fraction=FEW)),
    _sweep("poison_width", grid(seed=SEEDS, width=(4, 24), fraction=FEW)),
    _sweep(
        "poison_trigger",
        grid(seed=range(5), size=(1, 2, 3, 4, 6), opacity=(0.1, 0.3, 1.0), fraction=(0.005, 0.01, 0.05)),
    ),
)
