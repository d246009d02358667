"""Triggers in a row."""

from __future__ import annotations

from dataclasses import dataclass

from .._numbers import several
from ..data.images import Images
from .base import Description, Trigger, check_trigger, describe


@dataclass(frozen=True)
class Chain:
    """Several triggers applied from left to right.

    Args:
        steps: At least one trigger.
    """

    steps: tuple[Trigger, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "steps", tuple(several("steps must be triggers in a tuple", self.steps)))
        for step in self.steps:
            check_trigger(step)
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
