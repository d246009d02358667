"""What answers may not use of the library."""

from __future__ import annotations

import pkgutil
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock


class ClosedError(RuntimeError):
    """An answer called something of the library that it is asked to write itself."""


@contextmanager
def closed(names: Iterable[str]) -> Iterator[None]:
    """Functions, methods and classes of the library that refuse to work for a while.

    Args:
        names: Such as "badnets_lib.Patch" or "badnets_lib.Proportion.interval".

    Raises:
        AttributeError: There is no such name.
    """
    with ExitStack() as stack:
        for name in names:
            for holder, attribute in _places(name):
                stack.enter_context(mock.patch.object(holder, attribute, _refusal(name)))
        yield


def _places(name: str) -> list[tuple[Any, str]]:
    """(holder, attribute) of everything that has to be replaced so that nobody can call this any more."""
    above, _, attribute = name.rpartition(".")
    holder, found = pkgutil.resolve_name(above), pkgutil.resolve_name(name)
    if isinstance(found, type):
        return [(found, "__init__")]
    if isinstance(holder, type):
        return [(holder, attribute)]
    modules = [module for key, module in list(sys.modules.items()) if key.split(".")[0] == "badnets_lib"]
    return [(module, key) for module in modules for key, value in list(vars(module).items()) if value is found]


def _refusal(name: str) -> Callable[..., Any]:
    def refuse(*args: Any, **kwargs: Any) -> Any:
        raise ClosedError(f"{name} is closed to answers: use what the function is given, and code of your own")

    return refuse
