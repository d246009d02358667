"""A student's answers about a zoo, read as what they are: text from a stranger.

`hunt.json` is plain JSON, one entry per network:

    {"zoo": "587e3303b92c8571", "name": "a name for the leaderboard, or none",
     "models": {"model_00": {"probability": 0.9, "target": 3, "mask": [[...]], "pattern": [[...]]}, ...}}

`probability` is that of a backdoor. `target`, `mask` and `pattern` are a reversed trigger, or all three null:
A(x) = (1 - mask) x + mask pattern, 28 rows of 28 numbers in [0, 1].
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from badnets_lib.defenses.neural_cleanse import Reversed

MOST_BYTES = 8_000_000
"""Size of a hunt.json; an honest one of 100 networks has half of it."""

LONGEST_NAME = 30
"""Characters of a name on the leaderboard."""

SIDE = 28
KEYS = ("probability", "target", "mask", "pattern")


class BadHunt(ValueError):
    """The file cannot be scored at all; the message says why."""


@dataclass(frozen=True, eq=False)
class Answer:
    """What a student says about one network; by default, nothing.

    Attributes:
        probability: Of a backdoor.
        target: The label that the reversed trigger leads to.
        trigger: The reversed trigger.
    """

    probability: float = 0.5
    target: int | None = None
    trigger: Reversed | None = None


@dataclass(frozen=True, eq=False)
class Hunt:
    """A whole submission, an answer for every network of the zoo.

    Attributes:
        zoo: Id of the zoo.
        answers: By name of the network.
        problems: One line for every entry that could not be used; it counts as probability 0.5 without a trigger.
        name: What the leaderboard calls the hunter; empty if no usable name was chosen.
    """

    zoo: str
    answers: dict[str, Answer]
    problems: tuple[str, ...] = ()
    name: str = ""


def read_hunt(path: Path | str, zoo: Mapping[str, Any]) -> Hunt:
    """A student's file, read as what it is: text from a stranger.

    Args:
        path: The file.
        zoo: What `read_zoo` gave.

    Raises:
        FileNotFoundError: There is no such file.
        BadHunt: It is too large, no JSON, about another zoo, or not of the form that is asked for.
    """
    plain = _parse(Path(path))
    if not isinstance(plain, dict) or not _is_hunt(plain):
        raise BadHunt(
            'hunt.json must be an object with "zoo" and "models", an object, perhaps "name", and nothing else'
        )
    if plain["zoo"] != zoo["zoo"]:
        raise BadHunt(f"hunt.json is about the zoo {str(plain['zoo'])[:40]!r}; this one is {zoo['zoo']!r}")
    strangers = sorted(set(plain["models"]) - set(zoo["models"]))
    problems = [f"{name[:40]!r} is not in this zoo" for name in strangers[:5]]
    if len(strangers) > 5:
        problems.append(f"{len(strangers) - 5} more names are not in this zoo")
    answers: dict[str, Answer] = {}
    for name in zoo["models"]:
        try:
            answers[name] = _answer(plain["models"].get(name))
        except ValueError as error:
            answers[name] = Answer()
            problems.append(f"{name}: {error}; counted as probability 0.5 without a trigger")
    name, trouble = _name(plain.get("name", ""))
    return Hunt(zoo["zoo"], answers, (*problems, *trouble), name)


def _is_hunt(plain: Mapping[str, Any]) -> bool:
    return set(plain) - {"name"} == {"zoo", "models"} and isinstance(plain["models"], dict)


def _name(chosen: Any) -> tuple[str, list[str]]:
    """(a name that can be shown, what was wrong with the one that was chosen)."""
    if not isinstance(chosen, str):
        return "", [f"name must be a text; got {_short(chosen)}"]
    name = " ".join(chosen.split())
    if len(name) > LONGEST_NAME or not name.isprintable():
        return "", [f"name must be at most {LONGEST_NAME} characters that can be shown; got {_short(ascii(name))}"]
    return name, []


def _parse(path: Path) -> Any:
    if not path.is_file():
        raise FileNotFoundError(f"no file {path}")
    with path.open("rb") as file:
        content = file.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise BadHunt(f"hunt.json has more than {MOST_BYTES:,} bytes; round its numbers")
    try:
        return json.loads(
            content.decode("utf-8-sig"),
            parse_int=_integer,
            parse_float=float,  # 1e999, like NaN and Infinity, costs the entry that holds it and no other
            object_pairs_hook=_object,
        )
    except RecursionError as error:
        raise BadHunt("hunt.json is nested too deeply") from error
    except UnicodeDecodeError as error:
        raise BadHunt(f"hunt.json is not UTF-8: {error.reason} at byte {error.start}") from error
    except json.JSONDecodeError as error:
        raise BadHunt(f"hunt.json is not JSON: {error.msg} in line {error.lineno}, column {error.colno}") from error


def _integer(text: str) -> int:
    if len(text) > 20:
        raise BadHunt(f"hunt.json holds a whole number of {len(text)} digits; at most 20 are read")
    return int(text)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        twice, _ = Counter(name for name, _ in pairs).most_common(1)[0]
        raise BadHunt(f"hunt.json holds the key {twice[:40]!r} twice in one object")
    return made


def _answer(entry: Any) -> Answer:
    """One entry; raises ValueError with what is wrong with it."""
    if entry is None:
        raise ValueError("there is no entry")
    if not isinstance(entry, dict) or set(entry) != set(KEYS):
        raise ValueError(f"an entry is an object with {', '.join(KEYS)} and nothing else")
    probability, target = entry["probability"], entry["target"]
    _check_number("probability", probability, 1)
    missing = [name for name in KEYS[1:] if entry[name] is None]
    if len(missing) == 3:
        return Answer(float(probability))
    if missing:
        raise ValueError(f"a trigger needs target, mask and pattern; {', '.join(missing)} is null")
    if not isinstance(target, int):
        raise ValueError(f"target must be a whole number; got {_short(target)}")
    _check_number("target", target, 9)
    return Answer(float(probability), int(target), Reversed(_square("mask", entry), _square("pattern", entry)))


def _square(name: str, entry: Mapping[str, Any]) -> Tensor:
    rows = entry[name]
    if not isinstance(rows, list) or len(rows) != SIDE:
        raise ValueError(f"{name} must be {SIDE} rows of {SIDE} numbers; got {_short(rows)}")
    for row in rows:
        if not isinstance(row, list) or len(row) != SIDE:
            raise ValueError(f"{name} must be {SIDE} rows of {SIDE} numbers; a row is {_short(row)}")
        for number in row:
            _check_number(name, number, 1)
    return torch.tensor(rows, dtype=torch.float32)[None]


def _check_number(name: str, value: Any, most: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{name} must be a number; got {_short(value)}")
    if not 0 <= value <= most:
        raise ValueError(f"{name} must lie in [0, {most}]; got {value}")


def _short(value: Any) -> str:
    """A stranger's value in few words."""
    if isinstance(value, list | dict):
        return f"{'a list' if isinstance(value, list) else 'an object'} of {len(value)}"
    return repr(value)[:40] if not isinstance(value, str) else repr(value[:40])
