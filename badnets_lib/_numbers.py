"""Arguments and settings of the wrong kind: refused by name, in one sentence, before anything is computed with them."""

from __future__ import annotations

import reprlib
from collections.abc import Iterable
from dataclasses import fields, is_dataclass
from functools import cache
from operator import index
from types import NoneType, UnionType
from typing import Any, Literal, SupportsFloat, TypeVar, Union, get_args, get_origin, get_type_hints

Kind = TypeVar("Kind")


def shown(value: Any) -> str:
    """What came, for the end of an error: in full if that is short, else its beginning or its type."""
    text = repr(value)
    if len(text) <= 80 and "\n" not in text:
        return text
    return reprlib.repr(value) if isinstance(value, str | bytes | list | tuple | set | dict) else type(value).__name__


def several(wanted: str, values: Any) -> Iterable[Any]:
    """Values that can be gone through and are no text; an array or a tensor of one number cannot.

    Args:
        wanted: How the error begins.
        values: What came.

    Raises:
        TypeError: They cannot.
    """
    if isinstance(values, Iterable) and not isinstance(values, str | bytes) and getattr(values, "ndim", None) != 0:
        return values
    raise TypeError(f"{wanted}; got {shown(values)}")


def whole(name: str, value: Any) -> int:
    """A whole number of any kind, numpy's included, as an int.

    Raises:
        TypeError: It is none.
    """
    try:
        if not isinstance(value, bool):
            return index(value)
    except TypeError:
        pass
    raise TypeError(f"{name} must be a whole number; got {shown(value)}")


def wholes(name: str, values: Any) -> tuple[int, ...]:
    """Several whole numbers, from a tuple, a list, an array or a tensor, as ints.

    Raises:
        TypeError: They are none.
    """
    return tuple(whole(name, each) for each in several(f"{name} must be whole numbers in a tuple", values))


def pair(name: str, values: Any) -> tuple[int, int]:
    """Two whole numbers.

    Raises:
        TypeError: They are none, or another number of them.
    """
    found = wholes(name, values)
    if len(found) != 2:
        raise TypeError(f"{name} must be two whole numbers in a tuple; got {shown(values)}")
    return found


def number(name: str, value: Any) -> Any:
    """A number of any kind, as it is.

    Raises:
        TypeError: It is none, or several.
    """
    try:
        if isinstance(value, SupportsFloat) and not isinstance(value, bool):
            float(value)
            return value
    except (TypeError, ValueError, RuntimeError):  # an array or a tensor of several
        pass
    raise TypeError(f"{name} must be a number; got {shown(value)}")


def numbers(name: str, values: Any) -> tuple[float, ...]:
    """Several numbers, from a tuple, a list, an array or a tensor, as floats.

    Raises:
        TypeError: They are none.
    """
    return tuple(float(number(name, each)) for each in several(f"{name} must be numbers in a tuple", values))


def of_kind(name: str, value: Any, kind: type[Kind], hint: str = "") -> Kind:
    """The value, if it is of a kind.

    Args:
        name: What it is called in the error.
        value: What came.
        kind: A class.
        hint: What may help, in brackets after the error.

    Raises:
        TypeError: It is something else.
    """
    if isinstance(value, kind):
        return value
    after = f" ({hint})" if hint else ""
    raise TypeError(f"{name} must be of type {kind.__name__}; got {shown(value)}{after}")


def check_numbers(record: Any) -> None:
    """Look at every field of a frozen dataclass that is declared as a number; whole ones become ints.

    Texts, yes or no, choices and records of the library are looked at too. What is declared otherwise is left alone.

    Raises:
        TypeError: A value is of another kind; it is named.
    """
    of_record: Any = type(record)
    kinds = _kinds(of_record)
    for field in fields(record):
        value = getattr(record, field.name)
        kind, _, optional = str(field.type).partition(" | ")
        if optional == "None" and value is None:
            continue
        if kind == "int":
            object.__setattr__(record, field.name, whole(field.name, value))
        if kind == "float" and optional in ("", "None"):
            number(field.name, value)
        wanted = _misfit(value, kinds.get(field.name))
        if wanted:
            raise TypeError(f"{field.name} must be {wanted}; got {shown(value)}")


@cache
def _kinds(record: type[Any]) -> dict[str, Any]:
    """What the fields of a dataclass are declared as; nothing where a name is known to type checkers alone."""
    try:
        return get_type_hints(record)
    except NameError:
        return {}


def _misfit(value: Any, kind: Any) -> str:
    """What was wanted, in words, if a value is not of a kind that this module knows; else ""."""
    if get_origin(kind) in (Union, UnionType):
        wanted = [_misfit(value, each) for each in get_args(kind)]
        return " or ".join(wanted) if all(wanted) else ""
    if get_origin(kind) is Literal:
        return "" if isinstance(value, str) else f"one of {', '.join(map(str, get_args(kind)))}"
    if not isinstance(kind, type) or isinstance(value, kind):
        return ""
    known = {bool: "True or False", str: "a text", NoneType: "None"}
    return known.get(kind, f"of type {kind.__name__}" if is_dataclass(kind) else "")
