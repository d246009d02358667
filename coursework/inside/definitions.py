"""What of a notebook is loaded: the functions that are asked for, and what they need. Nothing else runs.

A cell is read as Jupyter reads it: IPython turns its magics and shell lines into Python. Of the statements, only
those run from which the wanted names can be reached: imports, functions, classes, and whatever gives a value to a
name that these use. So a training cell does not run again unless a function needs what it made, and a broken
definition costs the questions that use it and no other.
"""

from __future__ import annotations

import ast
import builtins
import re
import symtable
import sys
from collections.abc import Iterable
from typing import Any

DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
IMPORTS = (ast.Import, ast.ImportFrom)
AROUND = re.compile(r"\A\s*%%(time|timeit|capture|prun)\b[^\n]*(\n|\Z)")
"""A magic that runs the rest of its cell as Python."""


def load(given: Iterable[str], sources: Iterable[str], wanted: Iterable[str]) -> tuple[dict[str, Any], list[str]]:
    """The namespace with the wanted names as far as they can be had, and what went wrong on the way.

    Args:
        given: The code that every student has, in order. What it assigns, a student's cell cannot assign anew.
        sources: The code of the student's cells, in order. A later definition replaces an earlier one.
        wanted: Names that are to be defined.
    """
    problems: list[str] = []
    statements = [statement for source in given for statement in _read(source, problems)]
    kept_names = {name for statement in statements if not isinstance(statement, IMPORTS) for name in bound(statement)}
    for source in sources:
        for statement in _read(source, problems):
            taken = _assigned(statement) & (kept_names | set(dir(builtins)))
            if taken:
                problems.append(
                    f"line {statement.lineno} of a cell is left out: it replaces {', '.join(sorted(taken))}"
                )
            else:
                statements.append(statement)
    namespace: dict[str, Any] = {"__name__": "submission"}
    for statement in needed(statements, wanted):
        module = ast.Module([statement], type_ignores=[])
        try:
            exec(compile(module, "<submission>", "exec", dont_inherit=True), namespace)
        except BaseException as error:
            problems.append(f"line {statement.lineno} of a cell failed: {type(error).__name__}: {error}")
    return namespace, problems


def _read(source: str, problems: list[str]) -> list[ast.stmt]:
    try:
        return ast.parse(python(source)).body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        version = ".".join(map(str, sys.version_info[:2]))
        problems.append(f"a cell could not be read by Python {version}, which marks it: {error}")
        return []


def python(source: str) -> str:
    """A cell as Python: what IPython would run, with its magics and shell lines as calls."""
    from IPython.core.inputtransformer2 import TransformerManager

    return str(TransformerManager().transform_cell(AROUND.sub("", source)))


def needed(statements: list[ast.stmt], wanted: Iterable[str]) -> list[ast.stmt]:
    """The statements from which the wanted names can be reached, in order."""
    made = [bound(statement) for statement in statements]
    values = {name for statement in statements if not isinstance(statement, IMPORTS) for name in bound(statement)}
    made = [names | (_changed(statement) & values) for names, statement in zip(made, statements, strict=True)]
    open_names = set(wanted)
    seen: set[str] = set()
    chosen = {at for at, names in enumerate(made) if "*" in names}
    while open_names:
        name = open_names.pop()
        seen.add(name)
        for at, names in enumerate(made):
            if name in names and at not in chosen:
                chosen.add(at)
                open_names |= used(statements[at]) - seen
    return [statements[at] for at in sorted(chosen)]


def bound(statement: ast.stmt) -> set[str]:
    """The names of the notebook that a statement gives a value; "*" for all of a module."""
    if isinstance(statement, DEFINITIONS):
        return {statement.name}
    if isinstance(statement, IMPORTS):
        return {(alias.asname or alias.name).split(".")[0] for alias in statement.names}
    return _symbols(statement, "assigned") | {name for part in _blocks(statement) for name in bound(part)}


def used(statement: ast.stmt) -> set[str]:
    """The names of the notebook that a statement, or a function in it, needs: none that are local to a function."""
    return _symbols(statement, "needed")


def _symbols(statement: ast.stmt, kind: str) -> set[str]:
    try:
        table = symtable.symtable(ast.unparse(statement), "<submission>", "exec")
    except (SyntaxError, RecursionError, ValueError):  # a return outside of a function: it will say so when it runs
        return set()
    if kind == "assigned":
        return {symbol.get_name() for symbol in table.get_symbols() if symbol.is_assigned() or symbol.is_imported()}
    return set(_free(table))


def _free(table: symtable.SymbolTable) -> Iterable[str]:
    """Names that a scope, or one inside of it, takes from the notebook."""
    whole = table.get_type() == "module"
    for symbol in table.get_symbols():
        if symbol.is_referenced() and (whole or symbol.is_global()):
            yield symbol.get_name()
    for child in table.get_children():
        yield from _free(child)


def _blocks(statement: ast.stmt) -> list[ast.stmt]:
    """The definitions and imports inside of an `if`, a `try` or another block."""
    if isinstance(statement, (*DEFINITIONS, *IMPORTS)):
        return []
    inside = [part for part in ast.walk(statement) if part is not statement]
    return [part for part in inside if isinstance(part, (*DEFINITIONS, *IMPORTS))]


def _assigned(statement: ast.stmt) -> set[str]:
    """The names that a plain assignment gives a value."""
    if not isinstance(statement, (ast.Assign, ast.AnnAssign, ast.AugAssign)):
        return set()
    return _symbols(statement, "assigned")


def _changed(statement: ast.stmt) -> set[str]:
    """The names whose value a statement changes in place: `table["a"] = 1`, `table.update(...)`."""
    targets: list[ast.expr] = []
    if isinstance(statement, ast.Assign):
        targets = statement.targets
    elif isinstance(statement, (ast.AugAssign, ast.AnnAssign)):
        targets = [statement.target]
    elif isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call):
        targets = [statement.value.func]
    return {
        base for target in targets if isinstance(target, (ast.Subscript, ast.Attribute)) and (base := _base(target))
    }


def _base(target: ast.expr) -> str:
    while isinstance(target, (ast.Subscript, ast.Attribute)):
        target = target.value
    return target.id if isinstance(target, ast.Name) else ""
