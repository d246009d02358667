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


ENOUGH = 5
"""From so many seeds on, an interval over them is shown."""


@dataclass(frozen=True)
class Seeds:
    """One measurement repeated with several seeds: every seed is shown, and an interval only from five on.

    Wilson's interval of a `Proportion` is about one network and one test set. It says nothing about the next network,
    which this does. Counts of several seeds are never added up for it: networks differ more than test images do.

    Args:
        rates: One rate in [0, 1] per seed, in their order; counts are taken too.

    Raises:
        ValueError: There is no rate, or one lies outside [0, 1].

    Example:
        >>> print(Seeds((0.33, 0.75, 0.34)))
        47.3% (seeds 33.0, 75.0, 34.0)
        >>> print(Seeds((0.33, 0.75, 0.34, 0.41, 0.5)))
        46.6% [25.2%, 68.0%] (seeds 33.0, 75.0, 34.0, 41.0, 50.0)
    """

    rates: tuple[float, ...]

    def __init__(self, rates: Iterable[float | Proportion]) -> None:
        values = tuple(rate.value if isinstance(rate, Proportion) else float(rate) for rate in rates)
        object.__setattr__(self, "rates", values)
        if not values:
            raise ValueError("need the rate of at least one seed; got none")
        strange = [value for value in values if not 0 <= value <= 1]
        if strange:
            raise ValueError(f"rates must lie in [0, 1]; got {strange[0]}")

    @property
    def mean(self) -> float:
        """The mean of the seeds."""
        return sum(self.rates) / len(self.rates)

    @property
    def lowest(self) -> float:
        """The lowest seed."""
        return min(self.rates)

    @property
    def highest(self) -> float:
        """The highest seed."""
        return max(self.rates)

    def interval(self, confidence: float = 0.95) -> tuple[float, float] | None:
        """Student's t interval of the mean over further seeds, kept in [0, 1].

        None of fewer than five seeds; and of seeds that all agree, of which the formula makes an interval without
        width, as if the next seed were certain.
        """
        if not 0 < confidence < 1:
            raise ValueError(f"confidence must lie strictly between 0 and 1; got {confidence}")
        if len(self.rates) < ENOUGH or self.lowest == self.highest:
            return None
        from scipy import stats

        size = len(self.rates)
        variance = sum((rate - self.mean) ** 2 for rate in self.rates) / (size - 1)
        half = float(stats.t.ppf((1 + confidence) / 2, size - 1)) * math.sqrt(variance / size)
        return max(0.0, self.mean - half), min(1.0, self.mean + half)

    def each(self, digits: int = 1) -> str:
        """Every seed, in percent without the sign."""
        return ", ".join(f"{100 * rate:.{digits}f}" for rate in self.rates)

    def __str__(self) -> str:
        found = self.interval()
        span = f" [{found[0]:.1%}, {found[1]:.1%}]" if found else ""
        return f"{self.mean:.1%}{span} (seeds {self.each()})"


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
