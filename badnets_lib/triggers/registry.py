"""Triggers in a row, and triggers as JSON-ready data."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from ..data.images import Images
from .attribute import Attribute
from .base import Description, Trigger, describe
from .colour import ColourShift
from .overlays import Blend, Reflection, Sinusoid
from .picture import Picture
from .posed_square import Pose, Sticker
from .squares import Checkerboard, Patch, Pixels
from .warp import Warp


@dataclass(frozen=True)
class Chain:
    """Several triggers applied from left to right.

    Args:
        steps: At least one trigger.
    """

    steps: tuple[Trigger, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "steps", tuple(self.steps))
        if not self.steps:
            raise ValueError("a chain needs at least one trigger; got none")

    def __call__(self, x: Images) -> Images:
        for step in self.steps:
            x = step(x)
        return x

    def describe(self) -> Description:
        """The triggers in words, joined. The opacity is that of the most opaque step."""
        parts = [describe(step) for step in self.steps]
        return Description(
            pattern=" + ".join(part.pattern for part in parts),
            size=" + ".join(part.size for part in parts),
            location=" + ".join(part.location for part in parts),
            opacity=max(part.opacity for part in parts),
            physical=any(part.physical for part in parts),
        )


EVERY: tuple[type[Any], ...] = (
    Patch, Checkerboard, Pixels, Picture, Blend, Sinusoid, Reflection, ColourShift, Warp, Sticker, Attribute, Chain,
)  # fmt: skip
"""All trigger classes that can be saved; a new one is added here and to the contract test's examples."""


def to_spec(trigger: Trigger) -> dict[str, Any]:
    """Describe a trigger as JSON-ready data: {"name": "Patch", "size": 3, ...}.

    Raises:
        TypeError: The trigger is not one of the library's, so nobody could rebuild it.
    """
    if type(trigger) not in EVERY:  # a subclass would be saved under a name that nobody can load
        raise TypeError(f"cannot save {trigger!r}; known triggers: {_known()}")
    if isinstance(trigger, Chain):
        return {"name": "Chain", "steps": [to_spec(step) for step in trigger.steps]}
    settings: Any = trigger
    return {"name": type(trigger).__name__} | asdict(settings)


def from_spec(spec: dict[str, Any]) -> Trigger:
    """Rebuild a trigger from what `to_spec` gave.

    Raises:
        ValueError: The name is unknown or the settings do not fit it.
    """
    settings = {key: _tuples(value) for key, value in dict(spec).items()}
    name = settings.pop("name", None)
    cls = {cls.__name__: cls for cls in EVERY}.get(str(name))
    if cls is None:
        raise ValueError(f"unknown trigger {name!r}; known: {_known()}")
    try:
        if cls is Chain:
            settings["steps"] = tuple(from_spec(step) for step in settings.get("steps", ()))
        if cls is Sticker and "poses" in settings:
            settings["poses"] = tuple(Pose(*pose) for pose in settings["poses"])
        trigger: Trigger = cls(**settings)
    except TypeError as error:
        raise ValueError(f"settings {settings} do not fit {name}: {error}") from error
    return trigger


def _tuples(value: Any) -> Any:
    """JSON has lists where the settings have tuples."""
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


def _known() -> str:
    return ", ".join(cls.__name__ for cls in EVERY)
