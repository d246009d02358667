"""Triggers as JSON-ready data: a table of classes by name, to which you can add your own."""

from __future__ import annotations

import dataclasses
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from torch import nn

from .. import _codec
from .._numbers import shown
from .attribute import Attribute
from .base import Trigger
from .chain import Chain
from .colour import ColourShift
from .overlays import Blend, Reflection, Sinusoid
from .picture import Picture
from .posed_square import Sticker
from .squares import Checkerboard, Patch, Pixels
from .warp import Warp

Class = TypeVar("Class", bound=type[Any])

REGISTERED: dict[str, type[Any]] = {}
"""Every trigger class that can be saved and loaded, by its name."""


def register(cls: Class) -> Class:
    """Make a trigger class savable: its name and its settings then stand for it in plans and reports.

    Settings may be numbers, texts, flags, lists of these as tuples, tensors of float32 and other triggers.
    Loading a file needs the same class registered under the same name.

    Args:
        cls: A frozen dataclass that can be called on images.

    Returns:
        The class itself, so that this serves as a decorator.

    Raises:
        TypeError: The class is no frozen dataclass, cannot be called, or has settings of unknown kinds.
        ValueError: Another class has that name.

    Example:
        >>> @triggers.register
        ... @dataclass(frozen=True)
        ... class Stripe:
        ...     row: int = 0
        ...
        ...     def __call__(self, x):
        ...         out = x.clone()
        ...         out[:, :, self.row] = 1.0
        ...         return out
        >>> triggers.from_spec({"name": "Stripe", "row": 3})
        Stripe(row=3)
    """
    if not (isinstance(cls, type) and dataclasses.is_dataclass(cls) and _frozen(cls)):
        raise TypeError(f"only a frozen dataclass can be registered, as its fields are what is saved; got {shown(cls)}")
    if not any("__call__" in vars(base) for base in cls.__mro__):
        raise TypeError(f"{cls.__name__} has no __call__(self, x); a trigger takes images and gives new ones")
    try:
        get_type_hints(cls)
    except NameError as error:
        raise TypeError(f"the kinds of {cls.__name__}'s settings cannot be read: {error}") from error
    known = REGISTERED.setdefault(cls.__name__, cls)
    if known is not cls and _place(known) != _place(cls):  # a notebook's cell that runs again defines it again
        raise ValueError(f"a trigger named {cls.__name__} is registered already: {_place(known)}")
    REGISTERED[cls.__name__] = cls
    return cls


def to_spec(trigger: Trigger) -> dict[str, Any]:
    """Describe a trigger as JSON-ready data: {"name": "Patch", "size": 3, ...}.

    Raises:
        TypeError: The trigger is of no registered class, so nobody could rebuild it.
    """
    name = type(trigger).__name__
    if REGISTERED.get(name) is not type(trigger):  # a subclass would be saved under a name that nobody can load
        raise TypeError(f"cannot save {trigger!r}: {_why(trigger)}")
    settings: dict[str, Any] = _codec.to_plain(trigger)
    return {"name": name} | settings


def from_spec(spec: dict[str, Any]) -> Trigger:
    """Rebuild a trigger from what `to_spec` gave. Settings that are left out have their defaults.

    Raises:
        ValueError: The name is unknown or the settings do not fit it.
    """
    if not isinstance(spec, dict):
        raise ValueError(f'a trigger is given as {{"name": ..., its settings}}; got {shown(spec)}')
    settings = {key: value for key, value in spec.items() if key != "name"}
    cls = REGISTERED.get(str(spec.get("name")))
    if cls is None:
        raise ValueError(
            f"unknown trigger {spec.get('name')!r}; known: {', '.join(REGISTERED)}; any other has to be registered "
            "first: import the module that does so"
        )
    trigger: Trigger = _codec.from_plain(cls, settings, f"a trigger {cls.__name__}", defaults=True)
    return trigger


def _frozen(cls: Any) -> bool:
    return bool(cls.__dataclass_params__.frozen)


def _place(cls: type[Any]) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"


def _why(trigger: Any) -> str:
    """Why a trigger cannot be saved, and what to do instead."""
    if any(isinstance(part, nn.Module) for part in getattr(trigger, "__dict__", {}).values()):
        return "it is made of a network's weights; keep those with files.save_tensors"
    return "a plain function has no settings, and a class must be registered with triggers.register"


def _is_trigger(kind: Any) -> bool:
    return kind == Trigger or (get_origin(kind) is get_origin(Trigger) and get_args(kind) == get_args(Trigger))


_codec.add_kind(_codec.Extra(_is_trigger, to_spec, lambda spec, _: from_spec(spec)))
for _cls in (
    Patch, Checkerboard, Pixels, Picture, Blend, Sinusoid, Reflection, ColourShift, Warp, Sticker, Attribute, Chain
):  # fmt: skip
    register(_cls)
