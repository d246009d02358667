"""Records to JSON and back: every key has to be there, no other may be, and every value is of its kind.

cattrs does it, because it takes the frozen dataclasses as they are, runs their own checks, and refuses keys that
they do not have; msgspec ignores such keys, and pydantic would want classes of its own.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Mapping
from functools import partial
from types import UnionType
from typing import Any, Literal, NamedTuple, TypeVar, Union, get_args, get_origin, get_type_hints

import torch
from cattrs import Converter, transform_error
from cattrs.errors import BaseValidationError, ForbiddenExtraKeysError
from cattrs.gen import make_dict_structure_fn
from jaxtyping import AbstractArray
from torch import Tensor

Record = TypeVar("Record")
Build = Callable[[Any, Any], Any]

WRONG = (BaseValidationError, ForbiddenExtraKeysError, TypeError, ValueError)
"""What a value of another kind raises."""


class Extra(NamedTuple):
    """A kind that a room of the library adds: which annotations it is, and how it goes to plain data and back."""

    fits: Callable[[Any], bool]
    to_plain: Callable[[Any], Any]
    from_plain: Build


def to_plain(record: Any) -> Any:
    """A record as dictionaries, lists, numbers and texts."""
    return _WHOLE.unstructure(record)


def to_json(record: Any, **layout: Any) -> str:
    """A record as JSON text, without the NaN and Infinity that JSON does not have.

    Raises:
        ValueError: A number is not finite.
    """
    return json.dumps(to_plain(record), allow_nan=False, **layout)


def from_plain(kind: type[Record], plain: Any, name: str, *, defaults: bool = False) -> Record:
    """A record from plain data.

    Args:
        kind: Its dataclass.
        plain: What `to_plain` gave.
        name: What to call it in an error, such as "a report".
        defaults: Whether keys may be left out that have a default.

    Raises:
        ValueError: A key is missing or unknown, a value is of another kind, or the record refuses it.
    """
    converter = _PARTIAL if defaults else _WHOLE
    try:
        return converter.structure(plain, kind)
    except WRONG as error:
        raise ValueError(f"this is not {name}: {'; '.join(_in_words(error))}") from error


def from_json(kind: type[Record], text: str, name: str) -> Record:
    """A record from JSON text.

    Raises:
        ValueError: The text is not JSON, or as for `from_plain`.
    """
    return from_plain(kind, parse(text, name), name)


def parse(text: str, name: str) -> Any:
    """What JSON text holds.

    Raises:
        TypeError: It is no text.
        ValueError: The text is not JSON.
    """
    if not isinstance(text, str):
        raise TypeError(f"{name} is read from a text; got {type(text).__name__}")
    try:
        return json.loads(text, parse_constant=_no_number)
    except ValueError as error:
        raise ValueError(f"this is not {name}: {error}") from error


def misfits(record: Any, at: str = "") -> list[str]:
    """What is wrong with the kinds of a record's values, each with the value's name; empty if nothing is."""
    found: list[str] = []
    for name, kind in get_type_hints(type(record)).items():
        value = getattr(record, name)
        place = f"{at}{name}"
        if isinstance(kind, type) and dataclasses.is_dataclass(kind) and isinstance(value, kind):
            found += misfits(value, f"{place}.")
            continue
        try:
            _WHOLE.structure(value, kind)
        except WRONG as error:
            found += _in_words(error, place)
    return found


def add_kind(extra: Extra) -> None:
    """Make one more kind of value known, wherever it stands in a record."""
    for converter in (_WHOLE, _PARTIAL):
        converter.register_structure_hook_func(extra.fits, extra.from_plain)
        converter.register_unstructure_hook_func(extra.fits, extra.to_plain)


# --- kinds of values ---


def _no_number(word: str) -> float:
    raise ValueError(f"{word} is no number in JSON")


def _made_of(*origins: Any) -> Callable[[Any], bool]:
    def fits(kind: Any) -> bool:
        origin: Any = get_origin(kind)
        return origin in origins

    return fits


def _expect(fits: bool, wanted: str, value: Any) -> None:
    if not fits:
        raise TypeError(f"expected {wanted}; got {value!r}")


def _text(value: Any, _: Any) -> str:
    _expect(isinstance(value, str), "a text", value)
    return str(value)


def _flag(value: Any, _: Any) -> bool:
    _expect(isinstance(value, bool), "true or false", value)
    return bool(value)


def _whole_number(value: Any, _: Any) -> int:
    _expect(isinstance(value, int) and not isinstance(value, bool), "a whole number", value)
    return int(value)


def _number(value: Any, _: Any) -> float:
    _expect(isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value), "a number", value)
    return float(value)


def _choice(value: Any, kind: Any) -> Any:
    choices = get_args(kind)
    _expect(isinstance(value, str) and value in choices, f"one of {', '.join(map(str, choices))}", value)
    return value


def _tensor(value: Any, kind: Any) -> Tensor:
    try:
        tensor = torch.tensor(value, dtype=torch.float32)
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(f"expected numbers in nested lists; got {value!r}"[:200]) from error
    shape = getattr(kind, "dim_str", "")
    _expect(isinstance(tensor, kind), f"numbers of shape [{shape}]", list(tensor.shape))
    return tensor


def _is_tensor(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, Tensor | AbstractArray)


def _list(converter: Converter, value: Any, kind: Any) -> Any:
    _expect(isinstance(value, list | tuple), "a list", value)
    kinds = get_args(kind)
    if kinds[-1] is Ellipsis:
        kinds = kinds[:1] * len(value)
    _expect(len(value) == len(kinds), f"a list of {len(kinds)}", value)
    return tuple(converter.structure(each, one) for each, one in zip(value, kinds, strict=True))


def _is_named(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, tuple) and hasattr(kind, "_fields")


def _named(converter: Converter, value: Any, kind: Any) -> Any:
    kinds: Any = tuple(get_type_hints(kind).values())
    return kind(*_list(converter, value, tuple[kinds]))


def _table(converter: Converter, value: Any, kind: Any) -> Any:
    _expect(isinstance(value, Mapping), "an object with keys", value)
    _, inner = get_args(kind)
    return {_text(key, str): converter.structure(each, inner) for key, each in value.items()}


def _either(converter: Converter, value: Any, kind: Any) -> Any:
    """The first of several kinds that takes the value."""
    problems: list[str] = []
    for one in get_args(kind):
        if one is type(None):
            if value is None:
                return None
            continue
        try:
            return converter.structure(value, one)
        except WRONG as error:
            problems += _in_words(error)
    raise TypeError(", or ".join(problems))


def _record(whole: Build, required: frozenset[str], value: Any, kind: Any) -> Any:
    if isinstance(value, kind):  # a record that was built already has been checked
        return value
    _expect(isinstance(value, Mapping), "an object with keys", value)
    missing = sorted(required - set(value))
    if missing:
        raise TypeError(f"missing {', '.join(missing)}")
    return whole(value, kind)


# --- the converters ---


def _has_default(item: dataclasses.Field[Any]) -> bool:
    return item.default is not dataclasses.MISSING or item.default_factory is not dataclasses.MISSING


def _converter(*, defaults: bool) -> Converter:
    """A strict converter; with `defaults`, keys may be left out that have one."""
    made = Converter(forbid_extra_keys=True)
    kinds: dict[Any, Build] = {str: _text, bool: _flag, int: _whole_number, float: _number}
    for kind, build in kinds.items():
        made.register_structure_hook(kind, build)
    made.register_structure_hook_func(_made_of(Literal), _choice)
    made.register_structure_hook_func(_made_of(tuple), partial(_list, made))
    made.register_structure_hook_func(_is_named, partial(_named, made))
    made.register_structure_hook_func(_made_of(dict, Mapping), partial(_table, made))
    made.register_structure_hook_func(_made_of(Union, UnionType), partial(_either, made))
    made.register_structure_hook_func(_is_tensor, _tensor)
    made.register_unstructure_hook_func(_is_tensor, lambda tensor: tensor.tolist())

    def record(kind: Any) -> Build:
        items = [each for each in dataclasses.fields(kind) if each.init]
        needed = frozenset(each.name for each in items if not (defaults and _has_default(each)))
        return partial(_record, make_dict_structure_fn(kind, made, _cattrs_forbid_extra_keys=True), needed)

    made.register_structure_hook_factory(dataclasses.is_dataclass, record)
    return made


def _in_words(error: Any, at: str = "") -> list[str]:
    """One sentence for each thing that is wrong, after the name of its place."""
    lines = []
    for line in transform_error(error, path="", format_exception=_one_error):
        message, _, place = line.rpartition(" @ ")
        place = f"{at}{place}".removeprefix(".")
        lines.append(f"{place}: {message}" if place else message)
    return lines


def _one_error(error: BaseException, _: Any) -> str:
    if isinstance(error, ForbiddenExtraKeysError):
        return f"unknown {', '.join(sorted(map(str, error.extra_fields)))}"
    return str(error)


_WHOLE, _PARTIAL = _converter(defaults=False), _converter(defaults=True)
