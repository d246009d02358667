"""What options hold, and the options that several commands share."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from ..triggers import REGISTERED, Attribute, Chain, Picture, Trigger, from_spec

Command = Callable[..., Any]


class Size(click.ParamType):  # type: ignore[type-arg]  # older clicks have no arguments there
    """Height and width, such as 32x48."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        """(height, width)."""
        found = re.fullmatch(r"(\d+)x(\d+)", str(value))
        if found is None:
            self.fail(f"{value!r} is no size; give height x width in pixels, such as 32x32", param, ctx)
        return int(found[1]), int(found[2])


class Numbers(click.ParamType):  # type: ignore[type-arg]
    """Numbers, one a channel, such as 0.485,0.456,0.406."""

    name = "NUMBERS"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[float, ...]:
        """The numbers."""
        if isinstance(value, tuple):
            return value
        try:
            return tuple(float(each) for each in str(value).split(","))
        except ValueError:
            self.fail(f"{value!r} are no numbers; give one a channel with commas, such as 0.5,0.5,0.5", param, ctx)


class TriggerName(click.ParamType):  # type: ignore[type-arg]
    """A trigger of the library, with settings after a colon, such as patch:size=4,corner=top-left.

    A picture is given by its file: picture:path=sticker.png,place=centre.
    """

    name = "TRIGGER"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Trigger:
        """The trigger."""
        name, _, settings = str(value).partition(":")
        if name not in TRIGGERS:
            self.fail(f"{name!r} is no trigger; known: {', '.join(TRIGGERS)}", param, ctx)
        try:
            given = dict(map(setting, filter(None, settings.split(","))))
            return Picture.from_file(**given) if name == "picture" else from_spec({"name": TRIGGERS[name]} | given)
        except (ValueError, TypeError, OSError) as error:
            self.fail(str(error), param, ctx)


def setting(text: str) -> tuple[str, Any]:
    """A name and its value from NAME=VALUE; the value is read as JSON, and as text if it is none.

    Raises:
        ValueError: There is no "=".
    """
    name, found, value = text.partition("=")
    if not found or not name:
        raise ValueError(f"{text!r} is no setting; give NAME=VALUE, such as size=4")
    try:
        return name, json.loads(value)
    except json.JSONDecodeError:
        return name, value


def _kebab(name: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "-", name).lower()


TRIGGERS = {_kebab(name): name for name, each in REGISTERED.items() if each not in (Attribute, Chain)}
"""Names of triggers on the command line: those that stamp, and need no nested settings."""

FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)

NEW = click.Path(path_type=Path)


def together(*options: Callable[[Command], Command]) -> Callable[[Command], Command]:
    """Several options as one decorator, in the order in which help shows them."""

    def decorate(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


def debug(command: Command) -> Command:
    """The option --debug, which `run.main` looks for itself."""
    return click.option("--debug", is_flag=True, expose_value=False, help="Show the traceback of an error.")(command)


network = together(
    click.option(
        "--model",
        required=True,
        metavar="MODULE:NAME",
        help="Import path of a function or class that makes the network, such as mypackage.nets:build. The current "
        "folder is importable. Your code is run, so read it first.",
    ),
    click.option(
        "--set",
        "settings",
        multiple=True,
        metavar="NAME=VALUE",
        help="An argument for --model, such as num_classes=8; may be repeated.  [default: none]",
    ),
    click.option(
        "--weights",
        required=True,
        type=FILE,
        help="The weights: .safetensors, or a .pt or .pth that holds tensors only. Nothing is unpickled.",
    ),
    click.option(
        "--sha256",
        metavar="HEX",
        help="The SHA-256 that the weights must have, as someone you trust published it.  [default: not checked]",
    ),
    click.option(
        "--mean",
        type=Numbers(),
        help="Mean of each channel that the network was trained with, for pixels in [0, 1].  [default: none]",
    ),
    click.option(
        "--std",
        type=Numbers(),
        help="Standard deviation of each channel, likewise.  [default: none]",
    ),
    click.option(
        "--device",
        metavar="DEVICE",
        default="auto",
        show_default=True,
        help="cpu, cuda, or auto: a GPU if there is one.",
    ),
)
"""The network and its weights."""

pictures = together(
    click.option(
        "--size",
        type=Size(),
        metavar="HxW",
        help="Height and width in pixels that pictures are resized to.  [default: as they are; all need one size]",
    ),
    click.option(
        "--classes",
        type=FILE,
        help="Text file with the class names in label order, a name a line.  [default: the folders' names, sorted]",
    ),
)
"""How folders of pictures are read."""

trusted = click.option(
    "--trusted",
    required=True,
    type=FOLDER,
    help="Folder of clean pictures that the network was not trained on, one folder a class; 100 pictures or more.",
)

kept = click.option(
    "--kept",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    metavar="PART",
    default=0.5,
    show_default=True,
    help="Part of the trusted pictures, between 0 and 1, that no method sees and results are measured on.",
)

least_accuracy = click.option(
    "--least-accuracy",
    type=click.FloatRange(0, 1),
    metavar="PART",
    default=0.7,
    show_default=True,
    help="Stop if the network labels a smaller part of the trusted pictures correctly, between 0 and 1: its "
    "normalisation may be missing.",
)

seed = click.option(
    "--seed", type=int, metavar="NUMBER", default=0, show_default=True, help="Seed of every random choice."
)


def trigger(*, required: bool) -> Callable[[Command], Command]:
    """The option --trigger."""
    return click.option(
        "--trigger",
        required=required,
        type=TriggerName(),
        help=f"One of {', '.join(TRIGGERS)}; settings after a colon, such as patch:size=4,corner=top-left.",
    )


def target(*, required: bool) -> Callable[[Command], Command]:
    """The option --target."""
    return click.option(
        "--target", required=required, metavar="CLASS", help="Name or number of the class that the attacker wants."
    )


sources = click.option(
    "--source",
    "sources",
    multiple=True,
    metavar="CLASS",
    help="Name or number of a class under attack; may be repeated.  [default: all]",
)
