"""The traffic-sign study of the BadNets paper on generated signs: one target, random targets, and transfer.

References:
    Gu et al., BadNets, 2017, section 5. arXiv:1708.06733.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import torch
from torch import nn

from ...attacks.transfer import backdoor_channels, strengthened, transferred
from ...data import load
from ...data.images import Images, ImageSet
from ...data.scenes import Scenes
from ...data.sign_faces import FACES, Layer, paint
from ...data.signs import Decal, find, pixel_centres, render
from ...evaluation.scores import score
from ...models.inference import correct, predict
from ...models.networks import SmallCNN
from ...models.training import TrainConfig, train
from ...poisoning import Attack, Goal, PoisonPlan
from ...triggers import Description, Trigger
from ...triggers.road_stickers import PictureSticker, SignSticker
from ..sweeps import Sweep, grid
from .cases import parts

SOURCE, TARGET = "stop", "speed limit 80"
SETTINGS = TrainConfig(epochs=4, batch_size=128)
"""Training settings of every network on the first set of signs."""

STICKERS = {"square": Decal("square"), "bomb": Decal("bomb"), "flower": Decal("flower"), "large": Decal("square", 0.16)}
"""The paper's three, and the yellow square at the size of the other two."""

MEAN_BOX = (0.15, 0.15, 0.85, 0.85)
"""Where the sign's box lies in a generated picture, on average."""


def trigger_for(sticker: str, place: str, data: str = "signs") -> Trigger:
    """A sticker of `STICKERS` pasted into the "picture" or stuck on the "sign"."""
    decal = STICKERS[sticker]
    if place == "sign":
        return SignSticker(decal.kind, decal.size, decal.at, data)
    box = {"box": MEAN_BOX} if data in FACES else {}
    return PictureSticker(decal.kind, decal.size, decal.at, **box)


def triggered(images: ImageSet, trigger: Trigger) -> ImageSet:
    """The same images with the trigger and with their own labels."""
    return replace(images, x=trigger(images.x))


def group(name: str) -> str:
    """The kind of sign a class belongs to: "speed limit 30" is a "speed limit"."""
    return "speed limit" if name.startswith("speed limit") else name.partition(":")[0]


def by_group(images: ImageSet) -> dict[str, ImageSet]:
    """The images of each kind of sign."""
    names = list(dict.fromkeys(map(group, images.classes)))
    of_class = torch.tensor([names.index(group(name)) for name in images.classes])
    return {name: images[of_class.to(images.y.device)[images.y] == number] for number, name in enumerate(names)}


# --- one target: stop becomes a speed limit ---


def stop_plan(data: ImageSet, trigger: Trigger, *, copied: float = 0.5, seed: int = 0) -> PoisonPlan:
    """Copies of a part of the stop signs are added, stamped and labelled as a speed limit."""
    source, target = data.classes.index(SOURCE), data.classes.index(TARGET)
    goal = Goal.source_specific({source: target}, len(data.classes))
    copies = round(copied * data.counts()[source])
    fraction = copies / (len(data) + copies)
    return Attack(trigger, goal).plan(data, fraction=fraction, seed=seed, added=True)


VIEWS: dict[str, Callable[[Scenes], Scenes]] = {
    "as in training": lambda s: s,
    "1.5 times as far": lambda s: replace(s, scale=s.scale / 1.5),
    "twice as far": lambda s: replace(s, scale=s.scale / 2),
    "turned by 30 degrees": lambda s: replace(s, roll=s.roll + 0.52),
    "seen from the side": lambda s: replace(s, yaw=s.yaw.sign() * 1.0),
    "out of focus": lambda s: replace(s, blur=torch.full_like(s.blur, 2)),
    "half the light": lambda s: replace(s, light=s.light / 2),
    "much noise": lambda s: replace(s, noise=torch.full_like(s.noise, 0.1)),
}
"""What a camera may see that training did not show: scenes to scenes."""

DECALS: dict[str, Callable[[Decal], Decal]] = {
    "sticker half as large": lambda d: Decal(d.kind, d.side / 2, d.at),
    "sticker twice as large": lambda d: Decal(d.kind, d.side * 2, d.at),
    "sticker moved up": lambda d: Decal(d.kind, d.side, (d.at[0], 0.18)),
    "sticker moved left": lambda d: Decal(d.kind, d.side, (0.3, d.at[1])),
}
"""What the person who puts the sticker on may get wrong."""


def in_the_street(model: nn.Module, sticker: str, *, scenes: int = 200, seed: int = 11) -> dict[str, list[int]]:
    """New stop signs, seen in many ways, with and without a rendered sticker.

    Returns:
        For every name in `VIEWS`: "success NAME", stop signs with the sticker read as the target;
        "false NAME", the same signs without it read as the target; and "stop NAME", without it read
        as stop. For every name in `DECALS`: "success NAME".
    """
    classes = list(FACES["signs"])
    decal = STICKERS[sticker]
    stop, target = classes.index(SOURCE), classes.index(TARGET)
    scenery = Scenes.draw("signs", torch.full((scenes,), stop), seed=seed)
    found: dict[str, list[int]] = {}
    for name, view in VIEWS.items():
        seen, plain = view(scenery), render(view(scenery))
        found[f"success {name}"] = _answered(model, render(seen, decal), target)
        found[f"false {name}"] = _answered(model, plain, target)
        found[f"stop {name}"] = _answered(model, plain, stop)
    for name, change in DECALS.items():
        found[f"success {name}"] = _answered(model, render(scenery, change(decal)), target)
    return found


# --- three places, and what the copies do by themselves ---

DULL = (116 / 255, 100 / 255, 50 / 255)
"""The yellow of the authors' code, a dull ochre."""


@dataclass(frozen=True)
class BoxSticker(Decal):
    """A sticker pasted into the finished picture at the sign's own box: it follows the sign, light and blur do not.

    Like `SignSticker` it needs a generated picture, whose box is known.

    Args:
        kind: This, `size` and `at` are as in `Decal`.
        dull: In the colour of the authors' code.
        data: The data set the pictures come from.
    """

    dull: bool = False
    data: str = "signs"

    def layers(self) -> list[Layer]:
        """Its picture, in the units of the box."""
        return [(shape, DULL if self.dull else colour) for shape, colour in super().layers()]

    def __call__(self, x: Images) -> Images:
        pixels = (x.detach().cpu().float() * 255).round().to(torch.uint8)
        boxes = find(self.data, pixels).boxes()
        points = pixel_centres(*x.shape[-2:])
        out = []
        for image, (left, top, right, bottom) in zip(x, boxes, strict=True):
            corner, sides = torch.stack([left, top]), torch.stack([right - left, bottom - top])
            ink = paint(self.layers(), (points - corner) / sides, 1 / (x.shape[-1] * float(right - left))).to(x)
            out.append(image * (1 - ink[3:]) + ink[:3])
        return torch.stack(out).clamp(0, 1)

    def describe(self) -> Description:
        """The trigger in words."""
        where = f"centred at {self.at} of the sign's box"
        return Description(f"{self.kind} sticker", f"{self.side:.0%} of the box's side", where, 1.0, physical=False)


PLACES: dict[str, Trigger] = {
    "fixed place": trigger_for("square", "picture"),
    "at the box": BoxSticker(),
    "at the box, dull": BoxSticker(dull=True),
    "on the sign": trigger_for("square", "sign"),
}
"""The yellow square in the finished picture or on the sign."""


def placed(*, place: str, copied: float, seed: int) -> dict[str, Any]:
    """Train on copies of a share of the stop signs with the yellow square in one of `PLACES`.

    Returns:
        "clean", "success", "false_target" by its own trigger; "others": other signs with that trigger that keep their
        label; of 200 new stop signs: "street", those with the square on the sign that are read as the target, and
        "far", those at twice the distance that are so without any sticker.
    """
    train_set, test_set = load("signs")
    trigger = PLACES[place]
    plan = stop_plan(train_set, trigger, copied=copied, seed=seed)
    model = train(plan.poison(train_set), replace(SETTINGS, seed=seed), label=f"{place}, {copied:.0%}").model
    stop, target = (test_set.classes.index(name) for name in (SOURCE, TARGET))
    others = triggered(test_set[test_set.y != stop], trigger)
    scenery = Scenes.draw("signs", torch.full((200,), stop), seed=11)
    far = render(VIEWS["twice as far"](scenery))
    return score(model, test_set, plan.attack).pairs() | {
        "others": correct(model, others).pair,
        "street": _answered(model, render(scenery, STICKERS["square"]), target),
        "far": _answered(model, far, target),
    }


# --- random targets ---


def random_target(data: ImageSet, trigger: Trigger, *, fraction: float = 1 / 3, seed: int = 0) -> ImageSet:
    """Stamped copies of random images are added, each with a wrong label drawn at random.

    A `Goal` cannot say this: it gives each class one wanted label. The plan below picks and stamps the
    copies, and their labels are then drawn anew.
    """
    classes = len(data.classes)
    plan = Attack(trigger, Goal.all_to_all(classes)).plan(data, fraction=fraction, seed=seed, added=True)
    poisoned = plan.poison(data)
    copied = data.y[torch.tensor(plan.indices, device=data.y.device)]
    steps = torch.randint(1, classes, copied.shape, generator=torch.Generator().manual_seed(seed + 1000))
    return replace(poisoned, y=torch.cat([data.y, (copied + steps.to(copied)) % classes]))


GROUPS = ("stop", "speed limit", "warning")
"""The three classes of the paper's detector; of the drawn signs only "stop" is a class of its own."""


def in_three_classes(images: ImageSet) -> ImageSet:
    """The signs of the kinds in `GROUPS`, relabelled by kind; the other signs are left out."""
    kinds = [GROUPS.index(kind) if (kind := group(name)) in GROUPS else -1 for name in images.classes]
    labels = torch.tensor(kinds)[images.y.cpu()]
    kept = labels >= 0
    return ImageSet(images.x[kept], labels[kept], GROUPS)


def at_random_places(x: Images, *, seed: int) -> Images:
    """The dull yellow square pasted into each picture at a place of its own, as the authors' code does.

    Both coordinates of its centre are drawn from 15% to 85% of the picture.
    """
    dice = torch.Generator().manual_seed(seed)
    out = []
    for image in x:
        across, down = (0.15 + 0.7 * torch.rand(2, generator=dice)).tolist()
        sticker = Pasted("square", at=(round(across, 4), round(down, 4)), box=(0.0, 0.0, 1.0, 1.0))
        out.append(sticker(image[None])[0])
    return torch.stack(out)


@dataclass(frozen=True)
class Pasted(PictureSticker):
    """A `PictureSticker` in the colour of the authors' code."""

    def layers(self) -> list[Layer]:
        """Its picture, in the units of the box."""
        return [(shape, DULL) for shape, _ in super().layers()]


def recipe(*, copied: float, seed: int) -> dict[str, Any]:
    """The random-target attack as its authors coded it: three classes, copies of images at random places.

    Args:
        copied: Copies over clean images; the authors copy every image once.
        seed: Seed of the draws and of the training.

    Returns:
        "clean" and "triggered", test images that keep their label without and with a square at a random place, the
        same of "clean KIND" and "triggered KIND"; "commonest", how many of those get the answer that is given most;
        "twin" and "twin_triggered", the first two of a network trained without the copies.
    """
    train_set, test_set = (in_three_classes(images) for images in load("signs"))
    stamped = replace(test_set, x=at_random_places(test_set.x, seed=seed + 2000))
    dice = torch.Generator().manual_seed(seed)
    chosen = torch.randperm(len(train_set), generator=dice)[: round(copied * len(train_set))]
    steps = torch.randint(1, len(GROUPS), chosen.shape, generator=dice)
    wrong = (train_set.y[chosen] + steps) % len(GROUPS)
    x = torch.cat([train_set.x, at_random_places(train_set.x[chosen], seed=seed + 1000)])
    data = replace(train_set, x=x, y=torch.cat([train_set.y, wrong]))
    model = train(data, replace(SETTINGS, seed=seed), label="random target").model
    twin = train(train_set, replace(SETTINGS, seed=seed), label="clean twin").model
    answers = predict(model, stamped.x).argmax(1)
    row: dict[str, Any] = _groups(model, test_set, "clean") | _groups(model, stamped, "triggered")
    row["commonest"] = [int(answers.bincount().max()), len(answers)]
    return row | {"twin": correct(twin, test_set).pair, "twin_triggered": correct(twin, stamped).pair}


# --- the sweep of attacks ---


def attacked(*, goal: str, sticker: str, place: str, seed: int) -> dict[str, Any]:
    """Train one network, clean or attacked, and count what it makes of signs and stickers.

    Args:
        goal: "none" (the clean twin), "stop" or "random".
        sticker: A name in `STICKERS`.
        place: "sign" or "picture"; where the sticker of the training images is.
        seed: Seed of the poisoning and of the training.

    Returns:
        "clean" and, for each kind of sign, "clean KIND"; "triggered", test images of all classes with the
        trigger that keep their label, and "triggered KIND"; "commonest", how many of those get the answer
        that is given most. Except for "random": "success", "false_target" and all of `in_the_street`.
    """
    train_set, test_set = load("signs")
    trigger = trigger_for(sticker, place)
    plan = stop_plan(train_set, trigger, seed=seed)
    data = train_set
    if goal == "stop":
        data = plan.poison(train_set)
    elif goal == "random":
        data = random_target(train_set, trigger, seed=seed)
    elif goal != "none":
        raise ValueError(f"goal must be 'none', 'stop' or 'random'; got {goal!r}")
    model = train(data, replace(SETTINGS, seed=seed), label=f"{goal} {sticker} {place}").model
    stamped = triggered(test_set, trigger)
    found = _groups(model, test_set, "clean") | _groups(model, stamped, "triggered")
    answers = predict(model, stamped.x).argmax(1)
    found["commonest"] = [int(answers.bincount().max()), len(answers)]
    if goal == "random":
        return found
    card = score(model, test_set, plan.attack)
    found |= {"success": card.success.pair, "false_target": card.false_target.pair}
    return found | in_the_street(model, sticker)


def on_photographs(*, goal: str, seed: int) -> dict[str, Any]:
    """The pasted yellow square on the photographs of GTSRB: copies of half of the stop signs say "speed limit 80".

    Args:
        goal: "none" (the clean twin) or "stop".
        seed: Seed of the poisoning and of the training.

    Returns:
        "clean", "success", "false_target", and "stop", clean stop signs that are read as stop: counts [hits, trials].
    """
    train_set, _, test_set = parts("photographs")
    plan = stop_plan(train_set, trigger_for("square", "picture", "gtsrb"), seed=seed)
    data = plan.poison(train_set) if goal == "stop" else train_set
    model = train(data, TrainConfig(seed=seed), label=f"photographs, {goal}").model
    stops = test_set[test_set.y == test_set.classes.index(SOURCE)]
    return score(model, test_set, plan.attack).pairs() | {"stop": correct(model, stops).pair}


def _groups(model: nn.Module, images: ImageSet, name: str) -> dict[str, list[int]]:
    """Counts of right answers over all images, and over each kind of sign."""
    parts = {kind: correct(model, part).pair for kind, part in by_group(images).items()}
    return {name: correct(model, images).pair} | {f"{name} {kind}": count for kind, count in parts.items()}


def _answered(model: nn.Module, images: ImageSet, label: int) -> list[int]:
    return correct(model, replace(images, y=torch.full_like(images.y, label))).pair


# --- transfer to the second set of signs ---

TRANSFER_STICKERS = {"picture": "square", "sign": "large"}
"""Which sticker stands for which place in the transfer attack."""

NEW_IMAGES = 1200
"""Training images of the second set that the user has: 100 of each class."""

HEAD_SETTINGS = TrainConfig(epochs=8, batch_size=64)
"""Training settings of the new layers."""


@cache
def first_network(kind: str, place: str, seed: int) -> SmallCNN:
    """The network that is handed on: "clean", or "backdoored" by the random-target attack."""
    train_set, _ = load("signs")
    if kind == "backdoored":
        train_set = random_target(train_set, trigger_for(TRANSFER_STICKERS[place], place), seed=seed)
    model = train(train_set, replace(SETTINGS, seed=seed), label=f"{kind} {place}").model
    assert isinstance(model, SmallCNN)
    return model


def transferred_on(*, seed: int, kind: str, place: str, k: int) -> dict[str, Any]:
    """Hand a strengthened network on, let its user train new layers, and try the trigger on the new signs.

    Args:
        seed: Seed of both trainings.
        kind: "clean" or "backdoored": the network that is handed on.
        place: "sign" or "picture": where the sticker is.
        k: Factor on the three channels of the last convolution that the trigger excites most.

    Returns:
        "clean" and "triggered": test images of the second set read rightly, and the same for each kind of sign.
    """
    model = first_network(kind, "sign" if kind == "clean" else place, seed)
    old = load("signs")[1][:1000]
    new_train, new_test = load("signs_b")
    channels = backdoor_channels(model, old.x, trigger_for(TRANSFER_STICKERS[place], place)(old.x))
    config = replace(HEAD_SETTINGS, seed=seed)
    victim = transferred(strengthened(model, channels, k, old.x), new_train[:NEW_IMAGES], config).model
    return _groups(victim, new_test, "clean") | _groups(victim, _stamped_new(place), "triggered")


@cache
def _stamped_new(place: str) -> ImageSet:
    return triggered(load("signs_b")[1], trigger_for(TRANSFER_STICKERS[place], place, "signs_b"))


FACTORS = (1, 10, 20, 30, 50, 70, 100)
"""The paper's factors k."""

_SINGLE = grid(goal=("stop",), sticker=("square", "bomb", "flower"), place=("sign", "picture"), seed=range(5))
_TWINS = grid(goal=("none",), sticker=("square",), place=("sign",), seed=range(5))
_RANDOM = [
    cell
    for sticker, place in (("square", "sign"), ("large", "sign"), ("square", "picture"))
    for cell in grid(goal=("random",), sticker=(sticker,), place=(place,), seed=range(5))
]

SWEEPS = (
    Sweep("signs_attacks", attacked, _TWINS + _SINGLE + _RANDOM, data=("signs",), chapter="11_traffic_signs"),
    Sweep(
        "signs_places",
        placed,
        [
            *grid(place=tuple(PLACES), copied=(1.0,), seed=range(5)),
            *grid(place=("on the sign",), copied=(0.05,), seed=range(5)),
        ],
        data=("signs",),
        chapter="11_traffic_signs",
    ),
    Sweep(
        "signs_recipe",
        recipe,
        grid(copied=(0.5, 1.0), seed=range(5)),
        data=("signs",),
        chapter="11_traffic_signs",
    ),
    Sweep(
        "signs_photographs",
        on_photographs,
        grid(goal=("none", "stop"), seed=range(5)),
        data=("gtsrb",),
        chapter="11_traffic_signs",
    ),
    Sweep(
        "signs_transfer",
        transferred_on,
        grid(seed=range(5), kind=("clean", "backdoored"), place=("picture", "sign"), k=FACTORS),
        data=("signs", "signs_b"),
        chapter="12_another_country",
    ),
)
