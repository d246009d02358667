"""Warnings about what a method takes for granted: each names the assumption, the numbers, and a page that explains it.

An impossible input is an error. A possible one that the method was not made for is an `AssumptionWarning`.
"""

from __future__ import annotations

import sys
import warnings

PAGE = "assumptions"
"""The page of the book that explains every warning; `anchor` is a heading of it."""


class AssumptionWarning(UserWarning):
    """Something was used where it is known not to work.

    Attributes:
        page: Where this is explained, "page#anchor".
    """

    def __init__(self, message: str, anchor: str) -> None:
        self.page = f"{PAGE}#{anchor}"
        super().__init__(f"{message}; see {self.page}")


def warn_assumption(message: str, anchor: str) -> None:
    """Warn about one assumption, at the line of the reader who called the library."""
    warnings.warn(AssumptionWarning(message, anchor), stacklevel=_outside())


def _outside() -> int:
    """The `stacklevel` of the first frame outside this package and torch, as seen from `warn_assumption`."""
    level = 1
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").split(".")[0] in (__package__, "torch"):
        frame = frame.f_back
        level += 1
    return level
