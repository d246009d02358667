"""A cohort's own numbers: the same questions with another corner, size, value, target and rate."""

from __future__ import annotations

import random
from dataclasses import dataclass

CORNERS = ("top-left", "top-right", "bottom-left", "bottom-right")


@dataclass(frozen=True)
class Variant:
    """What changes from cohort to cohort, and the seed of what the checks draw.

    Args:
        number: Names the variant; 0 is the one in the masters.
        size: Side of the square, pixels.
        corner: Where it is stamped.
        value: Its brightness, in (0, 1].
        target: The attacker's label.
        rate: Poisoning fraction.
        seed: Of the inputs that checks draw. Students never see it: their copy says 0.
    """

    number: int = 0
    size: int = 4
    corner: str = "bottom-right"
    value: float = 1.0
    target: int = 7
    rate: float = 0.05
    seed: int = 0

    @classmethod
    def draw(cls, number: int, *, seed: int = 0) -> Variant:
        """The variant of a number: the same wherever and whenever it is drawn.

        Raises:
            ValueError: The number is negative.
        """
        if number < 0:
            raise ValueError(f"a variant's number is at least 0; got {number}")
        if number == 0:
            return cls(seed=seed)
        drawn = random.Random(number)
        return cls(
            number=number, size=drawn.randint(3, 5), corner=drawn.choice(CORNERS),
            value=drawn.choice((0.8, 0.9, 1.0)), target=drawn.randrange(10),
            rate=drawn.choice((0.04, 0.06, 0.08, 0.1)), seed=seed,
        )  # fmt: skip

    def code(self) -> str:
        """The cell that states it."""
        return (
            f"# The numbers of your course, variant {self.number}: use their names.\n"
            f"SIZE, CORNER, VALUE = {self.size}, {self.corner!r}, {self.value}  # of the square: pixels, place, grey\n"
            f"TARGET, RATE = {self.target}, {self.rate}  # the attacker's label, the poisoning fraction\n"
            f"SEED = 0  # of what the checks draw"
        )

    def names(self) -> dict[str, object]:
        """The same as a namespace, with the seed that students do not see."""
        return {
            "SIZE": self.size, "CORNER": self.corner, "VALUE": self.value, "TARGET": self.target, "RATE": self.rate,
            "SEED": self.seed,
        }  # fmt: skip


MASTERS = Variant()
"""The variant that the masters show."""
