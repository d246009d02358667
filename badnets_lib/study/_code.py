"""Which code made a row: a hash of the experiment's source, and one of the library's files."""

from __future__ import annotations

import hashlib
import inspect
import textwrap
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

LIBRARY = Path(__file__).parent.parent
SHOWN = (LIBRARY / "display", LIBRARY / "study" / "results")
"""Folders that show and store results, and make none."""

Experiment = Callable[..., dict[str, Any]]


def check_experiment(run: Experiment) -> None:
    """Raise unless a function's rows can be told from those of any other.

    Raises:
        TypeError: It is no function, a lambda, made inside another function whose values it uses, or without source.
    """
    if not inspect.isfunction(run):
        raise TypeError(f"an experiment is a function written with def; got {run!r}")
    if run.__name__ == "<lambda>":
        raise TypeError("a lambda has no name to keep its rows under; write the experiment with def")
    inner = inspect.unwrap(run)
    if inner.__code__.co_freevars:
        names = ", ".join(inner.__code__.co_freevars)
        raise TypeError(f"{run.__qualname__} uses {names} of the function around it; make them keywords of the cells")
    try:
        inspect.getsource(inner)
    except (OSError, TypeError) as error:
        raise TypeError(
            f"the source of {run.__qualname__} cannot be read, so its rows could be another function's"
        ) from error


def code_of(run: Experiment) -> dict[str, str]:
    """Hashes of the function's own source and of the library, 12 hex digits each."""
    return {"function": _hash(_source(run).encode()), "library": library_hash()}


def identity(run: Experiment) -> str:
    """What a function's rows are filed under: its name, and its source where the name is not unique."""
    name = f"{run.__module__}.{run.__qualname__}"
    if run.__module__ == "__main__" or "<locals>" in run.__qualname__:
        return f"{name} {_hash(_source(run).encode())}"
    return name


@cache
def library_hash() -> str:
    """Hash of every source file of the library that can change a result."""
    digest = hashlib.sha256()
    for path in sorted(LIBRARY.rglob("*.py")):
        if not any(folder in path.parents for folder in SHOWN):
            digest.update(f"{path.relative_to(LIBRARY).as_posix()}\n".encode() + path.read_bytes())
    return digest.hexdigest()[:12]


def _source(run: Experiment) -> str:
    return textwrap.dedent(inspect.getsource(inspect.unwrap(run)))


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:12]
