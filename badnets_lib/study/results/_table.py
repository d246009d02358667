"""A table of finished experiments, and questions to it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import reduce
from operator import add
from typing import Any

from ...counts import Proportion, Seeds
from ._origin import Origin


@dataclass(frozen=True)
class Results:
    """A table of finished experiments.

    Attributes:
        name: Name of the sweep.
        axes: Keywords of the cells, in order.
        rows: One plain dictionary a cell: its keywords, then what was measured, then `seconds`.
            Counts are lists [hits, trials].
        origin: Where they come from.
    """

    name: str
    axes: tuple[str, ...]
    rows: tuple[dict[str, Any], ...] = field(repr=False)
    origin: Origin = field(repr=False)

    def __len__(self) -> int:
        return len(self.rows)

    def where(self, **wanted: Any) -> Results:
        """The rows whose keywords have the given values.

        Raises:
            ValueError: There is no such keyword, or no such row.
        """
        strangers = sorted(set(wanted) - set(self.axes))
        if strangers:
            raise ValueError(f"{self.name} has no axis {', '.join(strangers)}; it has {', '.join(self.axes)}")
        rows = tuple(row for row in self.rows if all(row.get(axis) == value for axis, value in wanted.items()))
        if not rows:
            raise ValueError(f"{self.name} has no row with {wanted}")
        return replace(self, rows=rows)

    def unfold(self, measure: str, axis: str) -> Results:
        """One row for every entry of a measure that is a dictionary: its key becomes an axis, what it holds measures.

        What else a row holds is kept, unless an entry holds something of the same name.

        Raises:
            ValueError: Some row has no dictionary of that name.
        """
        for row in self.rows:
            if not isinstance(row.get(measure), dict):
                raise ValueError(f"{self.name}: {measure!r} is no dictionary in {row}")
        rows = tuple(
            {name: value for name, value in row.items() if name != measure} | {axis: key} | entry
            for row in self.rows
            for key, entry in row[measure].items()
        )
        return replace(self, axes=(*self.axes, axis), rows=rows)

    def groups(self, *axes: str) -> dict[tuple[Any, ...], Results]:
        """The rows by their values of some axes, in the order in which these first occur.

        Raises:
            ValueError: There is no such axis.
        """
        strangers = sorted(set(axes) - set(self.axes))
        if strangers:
            raise ValueError(f"{self.name} has no axis {', '.join(strangers)}; it has {', '.join(self.axes)}")
        found: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
        for row in self.rows:
            found.setdefault(tuple(row.get(axis) for axis in axes), []).append(row)
        return {key: replace(self, rows=tuple(rows)) for key, rows in found.items()}

    def values(self, axis: str) -> list[Any]:
        """The values of one keyword, each once, in the order of the rows."""
        return list(dict.fromkeys(row[axis] for row in self.rows if axis in row))

    def counts(self, measure: str) -> list[Proportion]:
        """One count per row.

        Raises:
            ValueError: Some row has no count of that name.
        """
        for row in self.rows:
            if not (isinstance(row.get(measure), list) and len(row[measure]) == 2):
                raise ValueError(f"{self.name}: {measure!r} is no count [hits, trials] in {row}")
        return [Proportion(*row[measure]) for row in self.rows]

    def count(self, measure: str) -> Proportion:
        """All rows' counts added up. Its interval treats all trials as independent: see `seeds`."""
        return reduce(add, self.counts(measure))

    def seeds(self, measure: str) -> Seeds:
        """A rate over the rows, one row a seed: how it is shown, every seed and from five on an interval."""
        return Seeds(self.counts(measure))
