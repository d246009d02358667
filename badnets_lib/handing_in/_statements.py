"""What a statement of a notebook does to the notebook's names, as far as its text tells.

A name can be given a value, or the value can be changed in place: by an entry that is set, by a method that is called,
by a function that it is handed to. The compiler's own table tells which names are bound and which are used; the rest
is a walk over the statement. Where the text leaves it open, a change is taken for possible.
"""

from __future__ import annotations

import ast
import builtins
import importlib
import symtable
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
DEFINITIONS = (*FUNCTIONS, ast.ClassDef)

WRITERS = {"setattr", "delattr", "exec", "eval", "map", "filter", "next"}
"""Builtins that change what they are handed, or call it."""

BUILTINS = set(dir(builtins))

LOOKERS = BUILTINS - WRITERS | {"display"}
"""Functions that only look at what they are handed."""

LOOKS = {
    "abs", "all", "any", "argmax", "argmin", "clone", "copy", "count", "cpu", "detach", "dim", "endswith", "float",
    "format", "get", "index", "int", "item", "items", "join", "keys", "long", "lower", "max", "mean", "min", "numel",
    "numpy", "size", "split", "startswith", "std", "strip", "sum", "tolist", "upper", "values",
}  # fmt: skip
"""Methods that change nothing."""


@dataclass
class Deeds:
    """What some code does to values by their names.

    Attributes:
        gives: Names of the notebook that it gives a value from inside of a function: `global x`.
        stores: Names of which it sets or deletes an entry or an attribute.
        calls: Names of which it calls a method.
        passes: (function, name) for each name that it hands to a function; "" for a function without a name.
    """

    gives: set[str] = field(default_factory=set)
    stores: set[str] = field(default_factory=set)
    calls: set[str] = field(default_factory=set)
    passes: set[tuple[str, str]] = field(default_factory=set)

    def add(self, other: Deeds) -> None:
        """Take over what other code does."""
        for each in fields(self):
            getattr(self, each.name).update(getattr(other, each.name))

    def of(self, names: set[str], *, inside: bool) -> Deeds:
        """What is done to these names, or to all others."""
        deeds = Deeds(passes={(function, name) for function, name in self.passes if (name in names) == inside})
        for part in ("gives", "stores", "calls"):
            getattr(deeds, part).update(name for name in getattr(self, part) if (name in names) == inside)
        return deeds

    def spread(self, aliases: Mapping[str, set[str]]) -> Deeds:
        """The same deeds, done to all that a name may be another name of."""
        passes = {(function, each) for function, name in self.passes for each in closure({name}, aliases)}
        return Deeds(self.gives, closure(self.stores, aliases), closure(self.calls, aliases), passes)


@dataclass(frozen=True, eq=False)
class Statement:
    """A statement of a notebook.

    Attributes:
        node: The statement itself.
        cell: The code of the cell that it stands in.
        given: It stands in a cell that every student has.
        star: It is one name of `from module import *`.
        binds: Names that it gives a value, or deletes.
        uses: Names that it, or a function in it, needs.
        refers: Names that it needs while it runs: functions among them may be called.
        called: Names that it calls while it runs.
        does: What it does while it runs.
        later: What functions in it do when they are called.
        arguments: What functions in it do to their own arguments, by their names.
        same: What a name of it is another name of: `other = table`.
        parts: What a name of it may be a part of: `row` of `table` in `for row in table`.
        imports: Where the names that it imports come from.
        numbers: Names that it gives a number, a text or another value that nothing can change.
        lists: Names that it gives a list, a table or a range of such values.
    """

    node: ast.stmt
    cell: str
    given: bool
    star: bool
    binds: set[str]
    uses: set[str]
    refers: set[str]
    called: set[str]
    does: Deeds
    later: Deeds
    arguments: dict[str, Deeds]
    same: dict[str, set[str]]
    parts: dict[str, set[str]]
    imports: dict[str, str]
    numbers: set[str]
    lists: set[str]

    def tries(self, name: str) -> bool:
        """Whether it replaces a builtin, deletes a name, or brings one with `import *`: so for what stands below."""
        return name in self.binds and (name in BUILTINS or self.star or isinstance(self.node, ast.Delete))


def split(module: ast.Module) -> list[ast.stmt]:
    """The statements of a cell, each import as one of its own."""
    return list(_Split().visit(module).body)


def understood(node: ast.stmt, cell: str, *, given: bool) -> Statement:
    """A statement, with what it does.

    Raises:
        SyntaxError: The compiler does not take it.
        RecursionError: It is nested too deeply.
    """
    binds, uses = bound_and_used(ast.unparse(node))
    walk = _Walk()
    walk.visit(node)
    numbers, lists = _constants(node)
    imports = {
        alias.asname or alias.name.split(".")[0]: _origin(each, alias)
        for each in ast.walk(node)
        if isinstance(each, ast.Import | ast.ImportFrom)
        for alias in each.names
    }
    return Statement(
        node, cell, given, hasattr(node, "star"), binds | walk.walrus | walk.does.gives | ({"*"} & set(imports)), uses,
        walk.refers, walk.called, walk.does, walk.later, walk.arguments, walk.same, walk.parts, imports, numbers, lists,
    )  # fmt: skip


def bound_and_used(code: str) -> tuple[set[str], set[str]]:
    """(names that code gives a value or deletes, names that it or a function in it needs).

    Raises:
        SyntaxError: The compiler does not take it.
    """
    table = symtable.symtable(code, "<submission>", "exec")
    bound = {each.get_name() for each in table.get_symbols() if each.is_assigned() or each.is_imported()}
    return bound, set(_free(table))


def _free(table: symtable.SymbolTable) -> Iterable[str]:
    """Names that a scope, or one inside of it, takes from the notebook."""
    whole = table.get_type() == "module"
    for symbol in table.get_symbols():
        if symbol.is_referenced() and (whole or symbol.is_global()):
            yield symbol.get_name()
    for child in table.get_children():
        yield from _free(child)


def closure(names: set[str], aliases: Mapping[str, set[str]]) -> set[str]:
    """Names, and all that they may be other names of."""
    found, waiting = set(names), list(names)
    while waiting:
        more = aliases.get(waiting.pop(), set()) - found
        found |= more
        waiting += more
    return found


class _Split(ast.NodeTransformer):
    """Makes a statement of its own of each name that is imported; of `*` as many as the module has names."""

    def visit_Import(self, node: ast.Import) -> list[ast.stmt]:
        return [ast.copy_location(ast.Import([alias]), node) for alias in node.names]

    def visit_ImportFrom(self, node: ast.ImportFrom) -> list[ast.stmt]:
        star = node.names[0].name == "*"
        aliases = [ast.alias(name) for name in _exported(node)] if star else node.names
        made: list[ast.stmt] = []
        for alias in aliases:
            made.append(ast.copy_location(ast.ImportFrom(node.module, [alias], node.level), node))
            if star:
                made[-1].star = True  # type: ignore[attr-defined]
        return [ast.fix_missing_locations(each) for each in made]


def _exported(node: ast.ImportFrom) -> list[str]:
    """The names that `from module import *` gives; "*" where that fails, so that it fails again where it is told."""
    try:
        module: Any = importlib.import_module("." * node.level + (node.module or ""))
        return list(getattr(module, "__all__", None) or [name for name in vars(module) if not name.startswith("_")])
    except BaseException:
        return ["*"]


def _origin(node: ast.Import | ast.ImportFrom, alias: ast.alias) -> str:
    """What a name is imported from: the module, or the module and its name there."""
    if isinstance(node, ast.ImportFrom):
        return f"{node.module}.{alias.name}"
    return alias.name if alias.asname else alias.name.split(".")[0]


def _constants(node: ast.stmt) -> tuple[set[str], set[str]]:
    """(names that get a constant, names that get a collection of constants) from an assignment."""
    found: tuple[set[str], set[str]] = set(), set()
    if isinstance(node, ast.Assign):
        targets = node.targets
    elif isinstance(node, ast.AugAssign | ast.AnnAssign):
        targets = [node.target]
    else:
        return found
    for target, value in (pair for each in targets for pair in _pairs(each, node.value)):
        if isinstance(target, ast.Name) and _is_constant(value):
            found[0].add(target.id)
        elif isinstance(target, ast.Name) and _is_flat(value):
            found[1].add(target.id)
    return found


def _pairs(target: ast.expr, value: ast.expr | None) -> list[tuple[ast.expr, ast.expr | None]]:
    """The targets of an assignment, each with what it gets."""
    if not isinstance(target, ast.Tuple | ast.List):
        return [(target, value)]
    if isinstance(value, ast.Tuple | ast.List) and len(value.elts) == len(target.elts):
        return [pair for one, other in zip(target.elts, value.elts, strict=True) for pair in _pairs(one, other)]
    return [(each, value) for each in target.elts]


def _is_constant(value: ast.expr | None) -> bool:
    if isinstance(value, ast.BinOp):
        return _is_constant(value.left) and _is_constant(value.right)
    if isinstance(value, ast.UnaryOp):
        return _is_constant(value.operand)
    return isinstance(value, ast.Constant) or (isinstance(value, ast.Tuple) and all(map(_is_constant, value.elts)))


def _is_flat(value: ast.expr | None) -> bool:
    if isinstance(value, ast.Dict):
        return bool(value.values) and all(map(_is_constant, value.values))
    if isinstance(value, ast.Call):
        return isinstance(value.func, ast.Name) and value.func.id == "range"
    return isinstance(value, ast.List | ast.Set) and bool(value.elts) and all(map(_is_constant, value.elts))


class _Walk(ast.NodeVisitor):
    """Collects what code does while it runs, and what functions in it do later."""

    def __init__(self) -> None:
        self.refers: set[str] = set()
        self.called: set[str] = set()
        self.walrus: set[str] = set()
        self.does, self.later = Deeds(), Deeds()
        self.arguments: dict[str, Deeds] = {}
        self.same: dict[str, set[str]] = {}
        self.parts: dict[str, set[str]] = {}

    def visit_Name(self, node: ast.Name) -> None:
        if isinstance(node.ctx, ast.Load):
            self.refers.add(node.id)

    def visit_Global(self, node: ast.Global) -> None:
        self.does.gives.update(node.names)

    def visit_NamedExpr(self, node: ast.NamedExpr) -> None:
        self.walrus.add(node.target.id)  # the table has none that stands in a comprehension
        self.generic_visit(node)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        self._part(node)

    def visit_Subscript(self, node: ast.Subscript) -> None:
        self._part(node)

    def _part(self, node: ast.Attribute | ast.Subscript) -> None:
        if not isinstance(node.ctx, ast.Load):
            self.does.stores.add(_base(node))
        self.generic_visit(node)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        self.does.stores.add(_base(node.target))  # a list grows in place
        self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> None:
        self._call(node.func, [*node.args, *(keyword.value for keyword in node.keywords)])
        self.generic_visit(node)

    def _call(self, function: ast.expr, arguments: list[ast.expr]) -> None:
        name = _base(function)
        if isinstance(function, ast.Name):
            self.called.add(name)
        elif not isinstance(function, ast.Attribute) or function.attr not in LOOKS:
            self.does.calls.add(name)
        self.does.passes |= {(name, each) for argument in arguments for each in _handed(argument)}

    def visit_For(self, node: ast.For) -> None:
        _name_again(self.parts, node.target, node.iter)
        self.generic_visit(node)

    def visit_comprehension(self, node: ast.comprehension) -> None:
        _name_again(self.parts, node.target, node.iter)
        self.generic_visit(node)

    def visit_Assign(self, node: ast.Assign) -> None:
        for target, value in (pair for each in node.targets for pair in _pairs(each, node.value)):
            if isinstance(value, ast.Name | ast.Attribute | ast.Subscript):
                _name_again(self.same if isinstance(value, ast.Name) else self.parts, target, value)
        self.generic_visit(node)

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        self._decorators(node)
        self.visit(node.args)
        self._function(node.args, node.body, node.name)

    visit_AsyncFunctionDef = visit_FunctionDef

    def visit_Lambda(self, node: ast.Lambda) -> None:
        """It may be called at once: what it does counts as done."""
        self.visit(node.args)
        self.does.add(self._function(node.args, [node.body]))

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        self._decorators(node)
        arguments, self.arguments = self.arguments, {}  # a method is not called by its name alone
        self.generic_visit(node)
        self.arguments = arguments

    def _decorators(self, node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> None:
        for decorator in node.decorator_list:
            self._call(decorator, [])
            self.does.passes.add(("", _base(decorator)))  # an object that keeps what it decorates
            self.visit(decorator)

    def _function(self, arguments: ast.arguments, body: Iterable[ast.AST], name: str = "") -> Deeds:
        """What a function does to the notebook's values when it is called."""
        inner = _Walk()
        for part in body:
            inner.visit(part)
        given = {each.arg for each in ast.walk(arguments) if isinstance(each, ast.arg)}
        stored = {each for part in body for each in _stored(part)}
        names = {name: inner.same.get(name, set()) | inner.parts.get(name, set()) for name in inner.same | inner.parts}
        does = inner.does.spread(names)
        does.add(inner.later.spread(names))
        self.arguments.setdefault(name, Deeds()).add(does.of(given, inside=True))
        outside = does.of((given | stored) - inner.does.gives, inside=False)
        self.later.add(outside)
        return outside


def _name_again(names: dict[str, set[str]], target: ast.expr, value: ast.expr) -> None:
    """What is assigned as it is, or iterated over, has another name from now on."""
    others = {each.id for each in ast.walk(value) if isinstance(each, ast.Name)}
    for each in ast.walk(target):
        if isinstance(each, ast.Name):
            names.setdefault(each.id, set()).update(others)


def _stored(node: ast.AST) -> Iterator[str]:
    """Names that a function gives a value, and that are therefore its own."""
    for each in ast.walk(node):
        if isinstance(each, ast.Name) and isinstance(each.ctx, ast.Store):
            yield each.id
        elif isinstance(each, DEFINITIONS):
            yield each.name
        elif isinstance(each, ast.alias):
            yield (each.asname or each.name).split(".")[0]


def _base(node: ast.expr) -> str:
    """The name that `name.a["b"].c()` begins with; "" if it is none."""
    while not isinstance(node, ast.Name):
        if isinstance(node, ast.Subscript | ast.Attribute | ast.Starred):
            node = node.value
        elif isinstance(node, ast.Call):
            node = node.func
        else:
            return ""
    return node.id


def _handed(node: ast.AST) -> Iterator[str]:
    """The names in an argument, without those that are only looked at."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in LOOKERS:
        return
    if isinstance(node, ast.Name):
        yield node.id
    for child in ast.iter_child_nodes(node):
        yield from _handed(child)
