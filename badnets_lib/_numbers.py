"""Settings that must be numbers: a text or a half epoch is refused by name, before anything is computed with it."""

from __future__ import annotations

from dataclasses import fields
from operator import index
from typing import Any, SupportsFloat


def whole(name: str, value: Any) -> int:
    """A whole number of any kind, numpy's included, as an int.

    Raises:
        TypeError: It is none.
    """
    try:
        return index(value)
    except TypeError:
        raise TypeError(f"{name} must be a whole number; got {value!r}") from None


def number(name: str, value: Any) -> Any:
    """A number of any kind, as it is.

    Raises:
        TypeError: It is none.
    """
    if not isinstance(value, SupportsFloat):
        raise TypeError(f"{name} must be a number; got {value!r}")
    return value


def check_numbers(record: Any) -> None:
    """Look at every field of a frozen dataclass that is declared as a number; whole ones become ints.

    Raises:
        TypeError: One is none; it is named.
    """
    for field in fields(record):
        value = getattr(record, field.name)
        kind, _, optional = str(field.type).partition(" | ")
        if optional == "None" and value is None:
            continue
        if kind == "int":
            object.__setattr__(record, field.name, whole(field.name, value))
        if kind == "float" and optional in ("", "None"):
            number(field.name, value)
