"""From what a command line names to what the library takes: networks, pictures, attacks."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import click
from torch import nn

from .._torchvision import declare_operators
from ..data.folders import files_of
from ..data.images import ImageSet
from ..models.inference import Normalized
from ..models.training import pick_device
from ..poisoning import Attack, Goal, PoisonPlan
from ..provenance.weights import built, check_hash, imported, load_weights, open_weights
from ..triggers import Trigger
from .options import setting


@dataclass(frozen=True)
class Opened:
    """A network from the command line.

    Attributes:
        network: With its weights, on its device, normalisation included.
        bare: The same without the normalisation: what is saved again.
        sha256: Of the weights.
    """

    network: nn.Module
    bare: nn.Module
    sha256: str


def opened(
    *,
    model: str,
    settings: Sequence[str],
    weights: Path,
    sha256: str | None,
    mean: tuple[float, ...] | None,
    std: tuple[float, ...] | None,
    device: str,
) -> Opened:
    """Build the network, put the weights into it, and the normalisation before it."""
    if (mean is None) != (std is None):
        raise click.UsageError("--mean and --std belong together; got one of them")
    state, found = open_weights(weights)
    check_hash(weights, found, sha256)
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    if model.startswith("torchvision."):
        declare_operators()
    make = imported(model)
    if not callable(make):
        raise click.UsageError(f"--model must name a function or class; {model} is {type(make).__name__}")
    bare = load_weights(built(partial(make, **dict(map(setting, settings)))), state)
    bare.to(pick_device(device)).eval()
    network = Normalized(bare, mean, std).eval() if mean is not None and std is not None else bare
    return Opened(network, bare, found)


def pictures(folder: Path, size: tuple[int, int] | None, classes: Path | None) -> ImageSet:
    """The pictures of a folder that has one folder a class."""
    return ImageSet.from_folder(folder, size=size, classes=_class_names(classes))


def file_names(folder: Path, classes: Path | None) -> list[str]:
    """The files of those pictures, as they are called inside of the folder, in the same order."""
    _, files, _ = files_of(folder, _class_names(classes))
    return [path.relative_to(folder).as_posix() for path, _ in files]


def _class_names(classes: Path | None) -> tuple[str, ...] | None:
    if classes is None:
        return None
    try:
        lines = classes.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise click.UsageError(f"--classes needs a text file in UTF-8, a name a line; got {classes}") from error
    names = tuple(filter(None, map(str.strip, lines)))
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise click.UsageError(f"{classes} names a class twice: {', '.join(twice)}")
    return names


def attack(
    trigger: Trigger, target: str, sources: Sequence[str], classes: Sequence[str], *, clean_label: bool = False
) -> Attack:
    """A trigger that leads the source classes, or all, to the target."""
    aim = label(target, classes)
    if not sources:
        return Attack(trigger, Goal((aim,) * len(classes), clean_label))
    table = list(range(len(classes)))
    for source in sources:
        table[label(source, classes)] = aim
    return Attack(trigger, Goal(tuple(table), clean_label))


def planned(
    plan: Path | None, trigger: Trigger | None, target: str | None, sources: Sequence[str], classes: Sequence[str]
) -> Attack:
    """The attack of a saved plan, or of --trigger and --target."""
    if (plan is None) == (trigger is None) or (trigger is None) != (target is None):
        raise click.UsageError("give either --plan, or --trigger and --target")
    if plan is not None:
        return PoisonPlan.load(plan).attack
    assert trigger is not None
    assert target is not None
    return attack(trigger, target, sources, classes)


def label(name: str, classes: Sequence[str]) -> int:
    """The number of a class from its name, or from the number itself."""
    if name in classes:
        return list(classes).index(name)
    if name.isdecimal() and int(name) < len(classes):
        return int(name)
    raise click.UsageError(f"{name!r} is no class; known: {', '.join(classes)}")
