"""What the attacker wants, as a table from true class to wanted class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from .._numbers import shown, whole
from ..data.images import Labels, Mask


@dataclass(frozen=True)
class Goal:
    """The attacker's wish, as a table from true class to wanted class.

    Args:
        table: Wanted label for each true label. An entry equal to its index means "leave alone".
        clean_label: Poison images that already carry the wanted label and relabel nothing.

    Raises:
        ValueError: A label is out of range, or the table changes no class.

    Example:
        >>> Goal.all_to_one(7, 10).table
        (7, 7, 7, 7, 7, 7, 7, 7, 7, 7)
    """

    table: tuple[int, ...]
    clean_label: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.table, Sequence) or isinstance(self.table, str):
            hint = "Goal.all_to_one(target, n_classes) makes one"
            raise TypeError(f"a goal is a table with the wanted label of each class; got {shown(self.table)} ({hint})")
        object.__setattr__(self, "table", tuple(whole("a label", label) for label in self.table))
        if not isinstance(self.clean_label, bool):
            raise ValueError(f"clean_label must be True or False; got {shown(self.clean_label)}")
        classes = range(len(self.table))
        if any(label not in classes for label in self.table):
            raise ValueError(f"goal labels must lie in [0, {len(self.table)}); got {self.table}")
        if self.table == tuple(classes):
            raise ValueError("this goal changes no class: every entry equals its own index")

    @classmethod
    def all_to_one(cls, target: int, n_classes: int) -> Goal:
        """Every class becomes `target`."""
        return cls((whole("target", target),) * whole("n_classes", n_classes))

    @classmethod
    def source_specific(cls, pairs: Mapping[int, int], n_classes: int) -> Goal:
        """Only the classes in `pairs` {source: target} are attacked."""
        strangers = sorted(set(pairs) - set(range(whole("n_classes", n_classes))))
        if strangers:
            raise ValueError(f"source classes must lie in [0, {n_classes}); got {strangers}")
        return cls(tuple(pairs.get(label, label) for label in range(n_classes)))

    @classmethod
    def all_to_all(cls, n_classes: int) -> Goal:
        """Class i becomes i + 1, the last wraps to 0."""
        return cls(tuple((label + 1) % n_classes for label in range(whole("n_classes", n_classes))))

    def wanted(self, y: Labels) -> Labels:
        """The label the attacker wants for each true label, [N]."""
        return torch.tensor(self.table, device=y.device, dtype=y.dtype)[y.long()]  # uint8 would index as a mask

    def victims(self, y: Labels) -> Mask:
        """True where success would mean something: the wanted label is not the true one, [N]."""
        return self.wanted(y) != y

    def candidates(self, y: Labels) -> Mask:
        """True where a training image may be poisoned, [N]."""
        if not self.clean_label:
            return self.victims(y)
        return torch.isin(y, torch.tensor(self.targets, device=y.device))

    def check_classes(self, classes: int) -> None:
        """Raise unless the goal speaks of that many classes."""
        if len(self.table) != classes:
            raise ValueError(f"the goal has {len(self.table)} classes; the data have {classes}")

    @property
    def sources(self) -> tuple[int, ...]:
        """Classes whose triggered images should change their label."""
        return tuple(label for label, want in enumerate(self.table) if want != label)

    @property
    def targets(self) -> tuple[int, ...]:
        """Labels the attacker wants to see."""
        return tuple(sorted({self.table[label] for label in self.sources}))
