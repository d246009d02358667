"""A notebook of the coursework as its grader reads it, for the grader and for the student who is about to hand it in.

Of a notebook, the functions that are asked for are loaded, and what they need. Nothing else runs.

A cell is read as Jupyter reads it: IPython turns its magics and shell lines into Python. Of the statements, only
those run from which the wanted names can be reached: imports, functions, classes, and whatever gives a value to a
name that these use. So a training cell does not run again unless a function needs what it made, and a broken
definition costs the questions that use it and no other.
"""

from __future__ import annotations

import ast
import builtins
import importlib
import json
import os
import pkgutil
import re
import symtable
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

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
    cells: dict[ast.stmt, str] = {}
    kept_names = {name for statement in statements if not isinstance(statement, IMPORTS) for name in bound(statement)}
    for source in sources:
        for statement in _read(source, problems):
            taken = _assigned(statement) & (kept_names | set(dir(builtins)))
            if taken:
                what = ", ".join(sorted(taken))
                problems.append(f"line {statement.lineno} of a cell is left out: it replaces {what}{_which(source)}")
            else:
                statements.append(statement)
                cells[statement] = source
    namespace: dict[str, Any] = {"__name__": "submission"}
    for statement in needed(statements, wanted):
        module = ast.Module([statement], type_ignores=[])
        try:
            exec(compile(module, "<submission>", "exec", dont_inherit=True), namespace)
        except BaseException as error:
            which = _which(cells[statement]) if statement in cells else ""
            problems.append(f"line {statement.lineno} of a cell failed: {type(error).__name__}: {error}{which}")
    return namespace, problems


def _read(source: str, problems: list[str]) -> list[ast.stmt]:
    try:
        return ast.parse(python(source)).body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        version = ".".join(map(str, sys.version_info[:2]))
        problems.append(f"a cell could not be read by Python {version}, which marks it: {error}{_which(source)}")
        return []


def _which(source: str) -> str:
    """A cell's first line, so that its author finds it."""
    first = next((line.strip() for line in source.splitlines() if line.strip()), "")
    return f" (the cell that begins {first[:60]!r})"


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


# ---- what answers may not use ----


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


# ---- for the student, before handing in ----


def as_graded(name: str, wanted: Iterable[str], path: Path | str | None = None) -> str:
    """What the grader would load of a notebook, what not, and why.

    In Colab the notebook is read as it stands; elsewhere from its file, so save it first.

    Args:
        name: The assignment, and its file's name without the ending.
        wanted: The functions that the assignment asks for.
        path: The file, if it is somewhere else or has another name. Where there is none, the text says so.
    """
    try:
        notebook = open_notebook(name, path)
    except FileNotFoundError as error:
        return str(error)
    return "\n".join(report(notebook, list(wanted)))


def report(notebook: dict[str, Any], wanted: list[str]) -> list[str]:
    """The lines of `as_graded`."""
    given, own = [], []
    for cell in notebook["cells"]:
        about = cell.get("metadata", {}).get("nbgrader", {})
        source = "".join(cell["source"])
        if cell["cell_type"] == "code" and not about.get("locked"):
            own.append(source)
        elif cell["cell_type"] == "code" and not about.get("grade"):
            given.append(source)
    with closed(notebook["metadata"].get("badnets", {}).get("closed", [])):
        namespace, problems = load(given, own, wanted)
    missing = [name for name in wanted if not callable(namespace.get(name))]
    lines = [f"{name}: {_state(namespace.get(name))}" for name in wanted]
    lines += [f"{name}: {_words(text)}" for name, text in _written(notebook).items()]
    if problems:
        lines += ["", "Not loaded, and why:", *(f"- {problem}" for problem in problems)]
    lines += ["", "Look at the lines above." if missing or problems else "All of it is read as it stands."]
    return [*lines, "Whether the answers are right is another question: that is for the checks."]


def _state(function: Any) -> str:
    """What became of a function that is asked for."""
    if not callable(function):
        return "MISSING"
    names = getattr(getattr(function, "__code__", None), "co_names", ())
    return "no code of yours yet" if "NotImplementedError" in names else "read"


def _words(text: str) -> str:
    """What is there of a written answer."""
    return "no answer yet" if text.strip() in ("", "YOUR ANSWER HERE") else f"read, {len(text.split())} words"


def _written(notebook: dict[str, Any]) -> dict[str, str]:
    """The written answers by their cells' names."""
    found = {}
    for cell in notebook["cells"]:
        about = cell.get("metadata", {}).get("nbgrader", {})
        if cell["cell_type"] == "markdown" and about.get("grade") and about.get("solution"):
            found[str(about["grade_id"])] = "".join(cell["source"])
    return found


def open_notebook(name: str, path: Path | str | None = None) -> dict[str, Any]:
    """A notebook of an assignment: Colab's, as it stands, or a file.

    Raises:
        FileNotFoundError: There is no such file.
    """
    if path is None and "google.colab" in sys.modules:
        colab: Any = importlib.import_module("google.colab._message")
        return dict(colab.blocking_request("get_ipynb", timeout_sec=30)["ipynb"])
    places = [Path(path)] if path is not None else [Path(os.environ.get("JPY_SESSION_NAME", "")), Path(f"{name}.ipynb")]
    for place in places:
        if place.is_file() and place.suffix == ".ipynb":
            return dict(json.loads(place.read_text(encoding="utf-8-sig")))
    raise FileNotFoundError(
        f"no file {places[-1]} in {Path.cwd()}: save the notebook, or say which file it is, "
        f"as_graded({name!r}, ..., path='my notebook.ipynb')"
    )
