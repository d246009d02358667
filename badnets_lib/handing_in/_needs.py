"""Which statements of a notebook run, so that some names have the values that they have in Jupyter."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from ._statements import BUILTINS, DEFINITIONS, FUNCTIONS, LOOKERS, Deeds, Statement, closure

QUIET = {"IPython", "badnets_lib", "copy", "math", "matplotlib", "pprint", "seaborn", "statistics"}
"""Packages whose functions change nothing that they are handed."""


def replaced(statements: Sequence[Statement]) -> dict[Statement, set[str]]:
    """What students' statements would replace of the given cells' names, or change in place by setting a part of it."""
    facts = _Facts(statements)
    again = facts.when_called(lambda deeds: deeds.gives)
    found = {}
    for each in statements:
        if not each.given:
            same = {name for name, origin in each.imports.items() if origin in facts.given.get(name, ())}
            parts = {name for name in each.does.stores if "" in facts.given.get(name, ())}
            names = each.binds | facts.reached(each, again)
            found[each] = (names - same) & facts.given.keys() | parts
    return {each: names for each, names in found.items() if names}


def needed(statements: Sequence[Statement], wanted: Iterable[str]) -> tuple[list[Statement], dict[Statement, set[str]]]:
    """(the statements from which the wanted names can be reached, in order; those left out, with what they replace).

    Reached is what gives a needed name its value, and what may change that value in place. What tries something, as
    `Statement.tries` says, counts for what stands below it only.
    """
    makers = _makers(statements, set(wanted))
    chosen = set(makers.get("*", ()))
    spared: dict[int, set[str]] = {}
    seen: dict[str, int] = {}
    waiting = [(name, -1) for name in wanted]
    while waiting:
        name, user = waiting.pop()
        if seen.get(name, -2) >= user:
            continue
        seen[name] = user
        for at in makers.get(name, ()):
            if at >= user and statements[at].tries(name):
                spared.setdefault(at, set()).add(name)
            elif at not in chosen:
                chosen.add(at)
                waiting += [(used, at) for used in statements[at].uses]
    left_out = {statements[at]: spared[at] for at in sorted(spared) if at not in chosen}
    return [statements[at] for at in sorted(chosen)], left_out


def _makers(statements: Sequence[Statement], wanted: set[str]) -> dict[str, list[int]]:
    """By name, where it gets a value or may be changed in place; no student's statement changes what is given."""
    facts = _Facts(statements, wanted)
    later = facts.when_called(lambda deeds: deeds.gives | facts.changed(deeds))
    makers: dict[str, list[int]] = {}
    for at, each in enumerate(statements):
        changed = facts.changed(each.does) | facts.reached(each, later)
        for name in each.binds | (changed if each.given else changed - facts.given.keys()):
            makers.setdefault(name, []).append(at)
    return makers


class _Facts:
    """What is known of a notebook's names from all of its statements.

    Args:
        statements: Of the notebook, in order.
        wanted: Functions that are asked for. The checks call them, so calling them before changes nothing.

    Attributes:
        given: The names of the cells that every student has, with the places that they are imported from, "" for none.
    """

    def __init__(self, statements: Sequence[Statement], wanted: Iterable[str] = ()) -> None:
        self.statements = statements
        self.wanted = set(wanted)
        self.given: dict[str, set[str]] = {}
        for each in statements:
            for name in each.binds if each.given else ():
                self.given.setdefault(name, set()).add(each.imports.get(name, ""))
        self.binds = {name for each in statements for name in each.binds}
        self.imported = self._always(lambda each: each.imports.keys())
        self.quiet = self._always(lambda each: {name for name, at in each.imports.items() if at.split(".")[0] in QUIET})
        self.functions = self._always(lambda each: each.binds if isinstance(each.node, FUNCTIONS) else ())
        self.definitions = self._always(lambda each: each.binds if isinstance(each.node, DEFINITIONS) else ())
        self.known = self._always(lambda each: each.arguments.keys())
        self.numbers = self._always(lambda each: each.numbers)
        firm = self._always(lambda each: each.numbers | each.lists)
        self.aliases: dict[str, set[str]] = {}
        self.arguments: dict[str, list[Deeds]] = {}
        for each in statements:
            for name, others in each.same.items():
                self.aliases.setdefault(name, set()).update(others)
            for name, others in each.parts.items():
                self.aliases.setdefault(name, set()).update(others - firm)
            for name, deeds in each.arguments.items():
                self.arguments.setdefault(name, []).append(deeds)
        self._altering: dict[str, bool] = {}

    def _always(self, names: Callable[[Statement], Iterable[str]]) -> set[str]:
        """Names that every statement which gives them a value is said to give in this way."""
        others = {name for each in self.statements for name in each.binds.difference(names(each))}
        return self.binds - others

    def changed(self, deeds: Deeds) -> set[str]:
        """The names whose values some deeds may change in place."""
        names = deeds.stores | deeds.calls
        names |= {name for function, name in deeds.passes if self._changes(function, name)}
        return closure(names, self.aliases) - self.numbers - self.imported - (BUILTINS - self.binds)

    def when_called(self, what: Callable[[Deeds], set[str]]) -> dict[str, set[str]]:
        """By name, something about all that may be done when what it stands for is called."""
        heirs: dict[str, set[str]] = {}
        for each in self.statements:
            made_by = each.called & self.functions if not isinstance(each.node, DEFINITIONS) else set()
            for name in each.uses - made_by:  # a value does not do again what the function did that made it
                heirs.setdefault(name, set()).update(each.binds - self.wanted)
        found: dict[str, set[str]] = {}
        for each in self.statements:
            names = what(each.later)
            for name in closure(each.binds - self.wanted, heirs) if names else ():
                found.setdefault(name, set()).update(names)
        return found

    def reached(self, statement: Statement, by_name: dict[str, set[str]]) -> set[str]:
        """The same about all that a statement may call while it runs."""
        return {name for each in statement.refers for name in by_name.get(each, ())}

    def _changes(self, function: str, name: str) -> bool:
        """Whether a function may change what it is handed under this name."""
        if (function in LOOKERS and function not in self.binds) or function in self.quiet:
            return False
        if function in self.known:
            return self._alters(function)
        return function in ("setattr", "delattr") or name not in self.definitions

    def _alters(self, function: str) -> bool:
        """Whether a function of the notebook may change one of its arguments."""
        if function not in self._altering:
            self._altering[function] = False  # while it is looked at, for functions that call each other
            self._altering[function] = any(
                each.stores or each.calls or any(self._changes(other, "") for other, _ in each.passes)
                for each in self.arguments[function]
            )
        return self._altering[function]
