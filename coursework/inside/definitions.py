"""What of a notebook is loaded: the functions that are asked for, and what they need. Nothing else runs.

Imports, functions, classes and plain assignments are kept, and of these only the ones from which the
wanted names can be reached. So a training cell never runs again, and a broken definition costs the
questions that use it and no other.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable
from typing import Any

PLAIN = (
    ast.Constant, ast.Tuple, ast.List, ast.Dict, ast.Set, ast.Name, ast.Attribute, ast.UnaryOp, ast.BinOp,
    ast.operator, ast.unaryop, ast.expr_context,
)  # fmt: skip
"""What an assignment may be made of to be loaded: no call, no comprehension."""

DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


def load(sources: Iterable[str], wanted: Iterable[str]) -> tuple[dict[str, Any], list[str]]:
    """The namespace with the wanted names as far as they can be had, and what went wrong on the way.

    Args:
        sources: The code of the cells, in order. A later definition replaces an earlier one.
        wanted: Names that are to be defined.
    """
    statements: list[ast.stmt] = []
    problems: list[str] = []
    for source in sources:
        try:
            statements += kept(source)
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            problems.append(f"a cell could not be read: {error}")
    namespace: dict[str, Any] = {"__name__": "submission"}
    for statement in needed(statements, wanted):
        module = ast.Module([statement], type_ignores=[])
        try:
            exec(compile(module, "<submission>", "exec", dont_inherit=True), namespace)
        except BaseException as error:
            problems.append(f"line {statement.lineno} of a cell failed: {type(error).__name__}: {error}")
    return namespace, problems


def kept(source: str) -> list[ast.stmt]:
    """The definitions of one cell. Lines of IPython's own (%magic, !shell, ?help) are left out."""
    lines = ["" if line.lstrip()[:1] in ("%", "!", "?") else line for line in source.splitlines()]
    return [statement for statement in ast.parse("\n".join(lines)).body if _is_kept(statement)]


def needed(statements: list[ast.stmt], wanted: Iterable[str]) -> list[ast.stmt]:
    """The statements from which the wanted names can be reached, in order."""
    bound = [_bound(statement) for statement in statements]
    open_names, seen = set(wanted), set()
    chosen = {at for at, names in enumerate(bound) if "*" in names}
    while open_names:
        name = open_names.pop()
        seen.add(name)
        for at, names in enumerate(bound):
            if name in names and at not in chosen:
                chosen.add(at)
                open_names |= _used(statements[at]) - seen
    return [statements[at] for at in sorted(chosen)]


def _is_kept(statement: ast.stmt) -> bool:
    if isinstance(statement, ast.Assign):
        return _is_plain(statement.value) and all(map(_is_plain, statement.targets))
    if isinstance(statement, ast.AnnAssign):
        return statement.value is not None and _is_plain(statement.value) and isinstance(statement.target, ast.Name)
    return isinstance(statement, (ast.Import, ast.ImportFrom, *DEFINITIONS))


def _is_plain(value: ast.expr) -> bool:
    return all(isinstance(node, PLAIN) for node in ast.walk(value))


def _bound(statement: ast.stmt) -> set[str]:
    """The names that a kept statement defines; "*" for all of a module."""
    if isinstance(statement, DEFINITIONS):
        return {statement.name}
    if isinstance(statement, (ast.Import, ast.ImportFrom)):
        return {(alias.asname or alias.name).split(".")[0] for alias in statement.names}
    return {node.id for node in ast.walk(statement) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}


def _used(statement: ast.stmt) -> set[str]:
    return {node.id for node in ast.walk(statement) if isinstance(node, ast.Name)}
