"""Calls in several processes, all of which end soon after this one has ended, however that was."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from typing import Any

from badnets_lib.study._workers import end_with


def spread(
    function: Callable[..., Any], calls: Iterable[tuple[Any, ...]], *, jobs: int, ordered: bool = False
) -> Iterator[Any]:
    """What a function gives for every tuple of arguments.

    Args:
        function: One that can be sent to another process.
        calls: Its arguments, call by call.
        jobs: Calls at a time, as joblib counts; 1 for this process alone.
        ordered: In the order of the calls; else as they finish.
    """
    from joblib import Parallel, delayed

    tasks = (delayed(_followed)(os.getpid(), function, call) for call in calls)
    results: Iterator[Any] = Parallel(n_jobs=jobs, return_as="generator" if ordered else "generator_unordered")(tasks)
    return results


def _followed(parent: int, function: Callable[..., Any], call: tuple[Any, ...]) -> Any:
    _follow(parent)
    return function(*call)


@cache
def _follow(parent: int) -> None:
    """Watch the parent, once in each process."""
    if os.getpid() != parent:
        end_with(parent)
