"""The clock of an audit, and the log of what was done, left out or broken off."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from torch import nn

from .._warnings import AssumptionWarning
from ..data.images import ImageSet
from ..defenses import Assumption, Holding
from ..models.inference import predict
from .records import State, Step

Result = TypeVar("Result")

BACKWARD = 3
"""A forward and a backward pass cost about as much as so many forward passes."""


class Run:
    """One audit while it runs: what it works on, how much time is left, and its log.

    Args:
        model: The network; no step changes it.
        working: Trusted images that the methods are given.
        kept: Trusted images that only measure.
        minutes: The time that is allowed, from now on.
        tell: Called with the name of every step that begins.
    """

    def __init__(
        self, model: nn.Module, working: ImageSet, kept: ImageSet, minutes: int | float, tell: Callable[[str], object]
    ) -> None:
        self.started = time.perf_counter()
        self.model = model
        self.holding = Holding(working)
        self.kept = kept
        self.minutes = minutes
        self.tell = tell
        self.steps: list[Step] = []
        self.seconds_an_image = _seconds_an_image(model, working)

    @property
    def seconds(self) -> float:
        """Wall time since the beginning."""
        return time.perf_counter() - self.started

    @property
    def not_run(self) -> tuple[str, ...]:
        """Names of the steps that were not run or broke off."""
        return tuple(step.name for step in self.steps if step.state != "done")

    def skip(self, name: str, why: str) -> None:
        """Log a step that will not be run."""
        self.steps.append(Step(name, "-", "not run", why))

    @contextmanager
    def trial(self, name: str) -> Iterator[None]:
        """What is measured on kept images between the methods: it always runs, and is logged with its warnings."""
        self.tell(name)
        begun = time.perf_counter()
        with _listening() as caught:
            yield
        seconds = time.perf_counter() - begun
        self.steps.append(Step(name, "-", "done", "suspected triggers and their controls", seconds, _failing(caught)))

    def attempt(
        self,
        name: str,
        settings: object,
        passes: int,
        work: Callable[[], Result],
        outcome: Callable[[Result], str],
    ) -> Result | None:
        """Do one step if it fits into the time that is left, and log it.

        Args:
            name: The method.
            settings: What is logged of it, as its repr.
            passes: About how many images pass forward through the network.
            work: Does it.
            outcome: What is logged of the result.

        Returns:
            What `work` returned; None if it was not run or broke off.
        """
        left = 60 * self.minutes - self.seconds
        needed = passes * self.seconds_an_image
        if left <= 0 or needed > left:
            why = f"it needs about {_minutes(needed)}; {_minutes(max(left, 0.0))} of {self.minutes:g} min were left"
            self.steps.append(Step(name, repr(settings), "not run", why))
            return None
        self.tell(name)
        begun = time.perf_counter()
        with _listening() as caught:
            try:
                result: Result | None = work()
                summary = "" if result is None else outcome(result)
                state: State = "done"
            except (ValueError, TypeError, RuntimeError) as error:
                result = None
                summary = f"{type(error).__name__}: {error}"
                state = "broke off"
        seconds = time.perf_counter() - begun
        self.steps.append(Step(name, repr(settings), state, summary, seconds, _failing(caught), _assumed(settings)))
        return result


@contextmanager
def _listening() -> Iterator[list[warnings.WarningMessage]]:
    """Every warning of the block, in a list."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield caught


def _assumed(settings: object) -> tuple[str, ...]:
    """What a defense takes for granted, in words."""
    assumptions: tuple[Assumption, ...] = getattr(settings, "assumptions", ())
    return tuple(f"{each.holds}; otherwise {each.otherwise} ({each.page})" for each in assumptions)


def _failing(caught: list[warnings.WarningMessage]) -> tuple[str, ...]:
    """The texts of the assumption warnings, once each; all others are passed on."""
    for each in caught:
        if not issubclass(each.category, AssumptionWarning):
            warnings.warn_explicit(each.message, each.category, each.filename, each.lineno)
    found = (str(each.message) for each in caught if issubclass(each.category, AssumptionWarning))
    return tuple(dict.fromkeys(found))


def _seconds_an_image(model: nn.Module, data: ImageSet, images: int = 64) -> float:
    """How long one image takes to pass forward, measured on a few after a first pass that warms up."""
    x = data.x[:images]
    predict(model, x)
    started = time.perf_counter()
    predict(model, x)
    return (time.perf_counter() - started) / len(x)


def _minutes(seconds: int | float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"
