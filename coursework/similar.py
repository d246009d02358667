"""Which submissions are the same, or nearly: a list for a teacher to look at, never a verdict.

Code is compared as Python reads it: comments, layout, docstrings and the names of variables count nothing, and what
was handed out counts nothing either. Short questions have few good answers, so two honest students can be alike.
"""

from __future__ import annotations

import ast
import builtins
from collections.abc import Iterable, Iterator, Mapping
from itertools import combinations

from badnets_lib.handing_in import python

LENGTH = 8
"""Parts of a program that are compared together: fewer make everything alike, more overlook small changes."""

ALIKE = 0.7
"""Share of such runs from which on a pair is listed; two different solutions of an assignment share about a tenth."""

FEWEST = 40
"""Runs that a submission must have of its own: two that hold next to nothing are not alike."""


def alike(
    work: Mapping[str, Iterable[str]], handed_out: Iterable[str], least: float = ALIKE
) -> list[tuple[str, str, float]]:
    """(student, student, share) of each pair of submissions that have so much in common, the most alike first.

    Args:
        work: The code of each student's cells.
        handed_out: The code that everybody was given.
        least: Share of the runs of both that are shared, from which on a pair is listed.
    """
    given = runs(handed_out)
    own = {student: runs(sources) - given for student, sources in work.items()}
    own = {student: found for student, found in own.items() if len(found) >= FEWEST}
    pairs = (
        (one, other, len(own[one] & own[other]) / len(own[one] | own[other])) for one, other in combinations(own, 2)
    )
    return sorted((pair for pair in pairs if pair[2] >= least), key=lambda pair: (-pair[2], pair[:2]))


def runs(sources: Iterable[str]) -> set[tuple[str, ...]]:
    """All runs of parts in some cells' code; a cell that cannot be read has none."""
    found: set[tuple[str, ...]] = set()
    for source in sources:
        try:
            found |= _runs(source)
        except Exception:  # whatever Python or IPython stumbles over costs this cell alone
            continue
    return found


def _runs(source: str) -> set[tuple[str, ...]]:
    """The runs of one cell."""
    found: set[tuple[str, ...]] = set()
    for statement in ast.parse(python(source)).body:
        parts = [_part(node) for node in _in_order(_bare(statement))]
        found |= {tuple(parts[at : at + LENGTH]) for at in range(max(1, len(parts) - LENGTH + 1))}
    return found


def _in_order(node: ast.AST) -> Iterator[ast.AST]:
    """A node and all in it, as they stand in the text, so that a change here leaves the runs elsewhere as they are."""
    waiting = [node]  # not by recursion: a sum of 1,500 terms is that deep
    while waiting:
        node = waiting.pop()
        yield node
        waiting += reversed(list(ast.iter_child_nodes(node)))


def _bare(statement: ast.stmt) -> ast.stmt:
    """A statement without docstrings."""
    for node in ast.walk(statement):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and ast.get_docstring(node) is not None:
            node.body = node.body[1:] or [ast.Pass()]
    return statement


def _part(node: ast.AST) -> str:
    """What a node is, without the names that its author chose."""
    kind = type(node).__name__
    if isinstance(node, ast.Name):
        return node.id if node.id in dir(builtins) else kind
    if isinstance(node, ast.Attribute):
        return f".{node.attr}"
    if isinstance(node, ast.Constant):
        value = node.value
        return kind if isinstance(value, str) else hex(value) if type(value) is int else repr(value)
    return kind
