"""Counts before percentages: a result is so many hits in so many trials.

Keeping the counts is what makes an interval possible, and it stops two numbers with different
denominators from being compared as if they were alike.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

from ._numbers import check_numbers, number, of_kind, shown, whole


@dataclass(frozen=True)
class Proportion:
    """`hits` out of `trials`.

    Args:
        hits: How often it happened.
        trials: How often it could have happened; at least 1.

    Raises:
        ValueError: The counts are impossible.
        TypeError: A count is not a whole number.

    Example:
        >>> print(Proportion(1860, 2000))
        93.0% [91.8%, 94.0%] (1860/2000)
    """

    hits: int
    trials: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "hits", whole("hits", self.hits))
        object.__setattr__(self, "trials", whole("trials", self.trials))
        if self.trials < 1 or not 0 <= self.hits <= self.trials:
            raise ValueError(f"need 0 <= hits <= trials and trials >= 1; got {self.hits}/{self.trials}")

    @classmethod
    def of(cls, outcomes: Iterable[Any]) -> Proportion:
        """How many of some yes-or-no outcomes are yes: of a boolean tensor, list or array."""
        found = getattr(outcomes, "tolist", lambda: outcomes)()
        if isinstance(found, str) or not isinstance(found, Iterable):
            raise TypeError(f"outcomes must be yes or no, in a tensor, a list or an array; got {shown(outcomes)}")
        every = [bool(each) for each in found]
        return cls(sum(every), len(every))

    @property
    def value(self) -> float:
        """Hits over trials, in [0, 1]."""
        return self.hits / self.trials

    @property
    def pair(self) -> list[int]:
        """[hits, trials], ready for JSON."""
        return [self.hits, self.trials]

    def interval(self, confidence: float = 0.95) -> tuple[float, float]:
        """Wilson score interval of the underlying rate, inside [0, 1].

        References:
            Wilson, Probable inference, the law of succession, and statistical inference, JASA 1927.
        """
        if not 0 < number("confidence", confidence) < 1:
            raise ValueError(f"confidence must lie strictly between 0 and 1; got {confidence}")
        z = NormalDist().inv_cdf((1 + confidence) / 2)
        n = self.trials
        p = self.value
        centre = (p + z * z / (2 * n)) / (1 + z * z / n)
        half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n)
        low = 0.0 if self.hits == 0 else max(0.0, centre - half)
        high = 1.0 if self.hits == n else min(1.0, centre + half)
        return low, high

    def __add__(self, other: Proportion) -> Proportion:
        """Pool two counts of the same kind of event, for instance over seeds."""
        of_kind("what is added to a Proportion", other, Proportion)
        return Proportion(self.hits + other.hits, self.trials + other.trials)

    def __str__(self) -> str:
        low, high = self.interval()
        return f"{self.value:.1%} [{low:.1%}, {high:.1%}] ({self.hits}/{self.trials})"


@dataclass(frozen=True)
class Difference:
    """`first` minus `second`, in points of [0, 1], with an interval.

    The interval is Newcombe's, built from the two Wilson intervals as if the samples were
    independent. Two models measured on the same images usually agree on most of them, so for
    such a pair the interval is wider than it needs to be, never too hopeful.

    References:
        Newcombe, Interval estimation for the difference between independent proportions,
        Statistics in Medicine 1998, method 10.
    """

    first: Proportion
    second: Proportion

    def __post_init__(self) -> None:
        check_numbers(self)

    @property
    def value(self) -> float:
        """The difference of the two values, in [-1, 1]."""
        return self.first.value - self.second.value

    def interval(self, confidence: float = 0.95) -> tuple[float, float]:
        """Newcombe's hybrid score interval."""
        a, b = self.first.value, self.second.value
        (a_low, a_high), (b_low, b_high) = self.first.interval(confidence), self.second.interval(confidence)
        below = math.hypot(a - a_low, b_high - b)
        above = math.hypot(a_high - a, b - b_low)
        return max(-1.0, self.value - below), min(1.0, self.value + above)

    def __str__(self) -> str:
        low, high = self.interval()
        return f"{100 * self.value:+.1f} points [{100 * low:+.1f}, {100 * high:+.1f}]"
