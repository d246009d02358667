"""Tells a reader whether the answer to an exercise of the book is right."""

from __future__ import annotations

import json
from functools import cache
from numbers import Real
from pathlib import Path
from typing import NamedTuple, cast

FILE = Path(__file__).with_name("answers.json")


class Answer(NamedTuple):
    """The right answer to an exercise.

    Attributes:
        value: A number, or a word.
        within: How far a number may be off.
        wants: What is asked for, with its unit.
    """

    value: float | str
    within: float
    wants: str


@cache
def answers() -> dict[str, Answer]:
    """All answers, by chapter and number: "2.1" is the first exercise of Chapter 2."""
    return {name: Answer(**entry) for name, entry in json.loads(FILE.read_text(encoding="utf-8")).items()}


def check(exercise: str, answer: object) -> None:
    """Print whether an answer is right; a number that is not is called too high or too low.

    Args:
        exercise: Chapter and number, such as "2.1".
        answer: A number, or a word where one is asked for; `...` is no answer yet.

    Raises:
        ValueError: No exercise of that name has an answer that can be checked.

    Example:
        >>> check("2.1", ...)
        Exercise 2.1 asks for the upper end of the Wilson interval, as a fraction.
        >>> check("2.1", 0.1)
        Exercise 2.1: 0.1 is too high.
    """
    if exercise not in answers():
        raise ValueError(f"no exercise {exercise!r} has an answer to check; those that have: {', '.join(answers())}")
    right = answers()[exercise]
    print(f"Exercise {exercise}{_verdict(right, answer)}")


def _verdict(right: Answer, answer: object) -> str:
    if answer is ...:
        return f" asks for {right.wants}."
    if isinstance(right.value, str):
        same = str(answer).strip().casefold() == right.value.casefold()
        return f": {answer} is {'right' if same else 'not right yet'}."
    if not isinstance(answer, Real) or isinstance(answer, bool):
        return f" asks for a number, {right.wants}; got {answer!r}."
    gap = cast(float, answer) - right.value
    if abs(gap) <= right.within:
        return f": {answer} is right."
    return f": {answer} is too {'high' if gap > 0 else 'low'}." if gap == gap else f": {answer} is not a number."
