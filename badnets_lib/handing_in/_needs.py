"""Which statements of a notebook run, so that some names have the values that they have in Jupyter."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from ._statements import DEFINITIONS, FUNCTIONS, LOOKERS, Deeds, Statement, closure

QUIET = {"IPython", "badnets_lib", "copy", "math", "matplotlib", "pprint", "seaborn", "statistics"}
"""Packages whose functions change nothing that they are handed."""


def replaced(statements: Sequence[Statement]) -> dict[Statement, set[str]]:
    """What students' statements would replace of the given cells' names, or change in place by setting a part of it."""
    facts = _Facts(statements)
    given = {name: [each for each in facts.binders[name] if each.given] for name in facts.binders}
    given = {name: found for name, found in given.items() if found}
    values = {name for name in given if not facts.is_imported(name)}
    found = {}
    for each in statements:
        if not each.given:
            again = {name for name in each.imports if each.imports[name] in _origins(name, given.get(name, ()))}
            names = (each.binds - again | facts.called_by(each, lambda deeds: deeds.gives)) & set(given)
            found[each] = names | (each.does.stores & values)
    return {each: names for each, names in found.items() if names}


def needed(statements: Sequence[Statement], wanted: Iterable[str]) -> tuple[list[Statement], dict[Statement, set[str]]]:
    """(the statements from which the wanted names can be reached, in order; those left out, with what they replace).

    Reached is what gives a needed name its value, and what may change that value in place. What tries something, as
    `Statement.tries` says, counts for what stands below it only.
    """
    facts = _Facts(statements, wanted)
    makers: dict[str, list[int]] = {}
    given = {name for each in statements if each.given for name in each.binds}
    for at, each in enumerate(statements):
        changed = facts.changed(each.does) | facts.called_by(each, lambda deeds: deeds.gives | facts.changed(deeds))
        for name in each.binds | (changed if each.given else changed - given):
            makers.setdefault(name, []).append(at)
    chosen = set(makers.get("*", ()))
    spared: dict[int, set[str]] = {}
    seen: dict[str, int] = {}
    waiting = [(name, -1) for name in facts.wanted]
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


def _origins(name: str, statements: Iterable[Statement]) -> set[str]:
    return {each.imports[name] for each in statements if name in each.imports}


class _Facts:
    """What is known of a notebook's names from all of its statements.

    Args:
        statements: Of the notebook, in order.
        wanted: Functions that are asked for. The checks call them, so calling them before changes nothing.
    """

    def __init__(self, statements: Sequence[Statement], wanted: Iterable[str] = ()) -> None:
        self.wanted = set(wanted)
        self.binders: dict[str, list[Statement]] = {}
        for each in statements:
            for name in each.binds:
                self.binders.setdefault(name, []).append(each)
        self.aliases: dict[str, set[str]] = {}
        for each in statements:
            for name, others in each.aliases.items():
                self.aliases.setdefault(name, set()).update(filter(self._can_change_inside, others))
        self._altering: dict[str, bool] = {}
        self._reached: dict[str, list[Deeds]] = {}

    def changed(self, deeds: Deeds) -> set[str]:
        """The names whose values some deeds may change in place."""
        names = deeds.stores | deeds.calls
        names |= {name for function, name in deeds.passes if self._changes(function, name)}
        return {
            name for name in closure(names, self.aliases) if not self._is_number(name) and not self.is_imported(name)
        }

    def called_by(self, statement: Statement, what: Callable[[Deeds], set[str]]) -> set[str]:
        """Something about the deeds of all functions that a statement may call when it runs."""
        return {name for each in statement.refers for deeds in self._later(each) for name in what(deeds)}

    def _later(self, name: str) -> list[Deeds]:
        """What may be done when that what a name stands for is called."""
        if name not in self._reached:
            found, seen, waiting = [], set(self.wanted), [name]
            while waiting:
                each = waiting.pop()
                for statement in self.binders.get(each, ()) if each not in seen else ():
                    found.append(statement.later)
                    waiting += self._held(statement)
                seen.add(each)
            self._reached[name] = [deeds for deeds in found if deeds != Deeds()]
        return self._reached[name]

    def _held(self, statement: Statement) -> set[str]:
        """The names that a value may call later: not those of functions that were called to make it."""
        if isinstance(statement.node, DEFINITIONS):
            return statement.uses
        return {name for name in statement.uses if name not in statement.called or not self._is_a(name, FUNCTIONS)}

    def _changes(self, function: str, name: str) -> bool:
        """Whether a function may change what it is handed under this name."""
        makers = self.binders.get(function, ())
        if (function in LOOKERS and not makers) or self._is_quiet(function):
            return False
        if makers and all(function in each.arguments for each in makers):
            return self._alters(function)
        return function in ("setattr", "delattr") or not self._is_a(name, DEFINITIONS)

    def _alters(self, function: str) -> bool:
        """Whether a function of the notebook may change one of its arguments."""
        if function not in self._altering:
            self._altering[function] = False  # while it is looked at, for functions that call each other
            deeds = [each.arguments[function] for each in self.binders[function]]
            self._altering[function] = any(
                each.stores or each.calls or any(self._changes(other, "") for other, _ in each.passes) for each in deeds
            )
        return self._altering[function]

    def _everywhere(self, name: str, holds: Callable[[Statement], bool]) -> bool:
        makers = self.binders.get(name, ())
        return bool(makers) and all(map(holds, makers))

    def is_imported(self, name: str) -> bool:
        """Whether a name is a module, or comes from one."""
        return self._everywhere(name, lambda each: name in each.imports)

    def _is_quiet(self, name: str) -> bool:
        return self._everywhere(name, lambda each: each.imports.get(name, "").split(".")[0] in QUIET)

    def _is_a(self, name: str, kinds: Any) -> bool:
        return self._everywhere(name, lambda each: isinstance(each.node, kinds))

    def _is_number(self, name: str) -> bool:
        return self._everywhere(name, lambda each: name in each.numbers)

    def _can_change_inside(self, name: str) -> bool:
        """Whether parts of a value can be changed: not those of a list of numbers."""
        return not self._everywhere(name, lambda each: name in each.numbers | each.lists)
