"""What of a notebook is loaded: the functions that are asked for, and what they need. Nothing else runs.

A cell is read as Jupyter reads it: IPython turns its magics and shell lines into Python. Of the statements, only
those run from which the wanted names can be reached: imports, functions, classes, whatever gives a value to a name
that these use, and whatever may change that value afterwards. So a training cell does not run again unless a function
needs what it made, and a broken definition costs the questions that use it and no other.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterable
from typing import Any

from ._needs import needed, replaced
from ._statements import Statement, split, understood

AROUND = re.compile(r"\A\s*%%(time|timeit|capture|prun)\b[^\n]*(\n|\Z)")
"""A magic that runs the rest of its cell as Python."""

PROCESSES = re.compile(
    r"(torch\.)?multiprocessing\b.*|joblib\b.*|(.*\.)?ProcessPoolExecutor|(num_workers|n_jobs)=(?!0|1|None).*"
)
"""What shares work between processes."""


def load(given: Iterable[str], sources: Iterable[str], wanted: Iterable[str]) -> tuple[dict[str, Any], list[str]]:
    """The namespace with the wanted names as far as they can be had, and what went wrong on the way.

    Args:
        given: The code that every student has, in order. A student's cell cannot give its names another value.
        sources: The code of the student's cells, in order. A later definition replaces an earlier one.
        wanted: Names that are to be defined.
    """
    problems: list[str] = []
    statements = [each for source in given for each in _read(source, problems, given=True)]
    statements += [each for source in sources for each in _read(source, problems, given=False)]
    taken = replaced(statements)
    chosen, tries = needed([each for each in statements if each not in taken], wanted)
    problems += _left_out(statements, taken | tries)
    flags = annotations.compiler_flag if any(map(_asks_for_late_annotations, statements)) else 0
    namespace: dict[str, Any] = {"__name__": "__main__"}
    for each in chosen:
        if apart := _asks_for_processes(each):
            problems.append(_told(each, f"uses {apart}: where it is graded, no work is shared between processes"))
        module = ast.Module([each.node], type_ignores=[])
        try:
            exec(compile(module, "<submission>", "exec", flags=flags, dont_inherit=True), namespace)
        except BaseException as error:
            problems.append(_told(each, f"failed: {type(error).__name__}: {error}"))
    return namespace, problems


def _read(source: str, problems: list[str], *, given: bool) -> list[Statement]:
    """The statements of a cell; those that cannot be read are told."""
    version = ".".join(map(str, sys.version_info[:2]))
    found = []
    try:
        nodes = split(ast.parse(python(source)))
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        problems.append(f"a cell could not be read by Python {version}, which marks it: {error}{_which(source)}")
        return []
    for node in nodes:
        try:
            found.append(understood(node, source, given=given))
        except (SyntaxError, ValueError, RecursionError) as error:
            why = error.msg if isinstance(error, SyntaxError) else error
            place = f"line {node.lineno} of a cell"
            problems.append(f"{place} could not be read by Python {version}, which marks it: {why}{_which(source)}")
    return found


def _told(statement: Statement, what: str) -> str:
    """What happened to a statement, with its place."""
    return f"line {statement.node.lineno} of a cell {what}{'' if statement.given else _which(statement.cell)}"


def _left_out(statements: Iterable[Statement], names: dict[Statement, set[str]]) -> list[str]:
    """A line for each statement that is left out, with the names that it would replace."""
    lines: dict[tuple[str, int], set[str]] = {}
    for each in statements:
        if each in names:
            lines.setdefault((each.cell, each.node.lineno), set()).update(names[each])
    return [
        f"line {line} of a cell is left out: it replaces {', '.join(sorted(found))}{_which(cell)}"
        for (cell, line), found in lines.items()
    ]


def _asks_for_late_annotations(statement: Statement) -> bool:
    return statement.imports.get("annotations") == "__future__.annotations"


def _asks_for_processes(statement: Statement) -> str:
    """What of a statement shares work between processes; "" if nothing does."""
    found = list(statement.imports.values())
    for each in ast.walk(statement.node):
        if isinstance(each, ast.Attribute):
            found.append(each.attr)
        elif isinstance(each, ast.keyword) and each.arg in ("num_workers", "n_jobs"):
            found.append(f"{each.arg}={ast.unparse(each.value)}")
    return next((each for each in found if PROCESSES.fullmatch(each)), "")


def _which(source: str) -> str:
    """A cell's first line, so that its author finds it."""
    first = next((line.strip() for line in source.splitlines() if line.strip()), "")
    return f" (the cell that begins {first[:60]!r})"


def python(source: str) -> str:
    """A cell as Python: what IPython would run, with its magics and shell lines as calls."""
    from IPython.core.inputtransformer2 import TransformerManager

    return str(TransformerManager().transform_cell(AROUND.sub("", source)))
