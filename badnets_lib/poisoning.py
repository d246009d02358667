"""What the attacker wants (`Goal`) and exactly which images were touched (`PoisonPlan`).

A goal is a table with one entry per class: `table[y]` is the label the attacker wants for a
triggered image of class y. All-to-one, source-specific and all-to-all differ only in that table.
A plan is the saved record of one poisoning: it poisons the training set, attacks the test set,
and goes to JSON and back.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from operator import index
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from .files import write_atomically
from .images import Images, ImageSet, Labels, Mask
from .triggers import Trigger, from_spec, stamp_square_trigger, to_spec

Sampling = Literal["uniform", "per-class"]


def make_badnets_batch(
    x: Images, y: Labels, target_label: int, poison_mask: Mask, size: int = 4
) -> tuple[Images, Labels]:
    """Stamp and relabel the masked images of a batch: the heart of BadNets in one function.

    Args:
        x: Images [N, C, H, W], float in [0, 1].
        y: Labels [N], integers.
        target_label: The label every masked image gets.
        poison_mask: Boolean [N]; True where the image is poisoned.
        size: Side of the white square in the bottom-right corner, in pixels.

    Returns:
        New images and new labels; `x` and `y` are not changed.

    Raises:
        ValueError: Shapes, types or the label do not fit.

    References:
        Gu et al., BadNets, 2017. arXiv:1708.06733.
    """
    if not len(x) == len(y) == len(poison_mask):
        raise ValueError(f"need one label and one mask entry per image; got {len(x)}, {len(y)}, {len(poison_mask)}")
    if poison_mask.dtype != torch.bool:
        raise ValueError(f"poison_mask must be boolean; got {poison_mask.dtype} (use mask.bool())")
    if target_label < 0:
        raise ValueError(f"target_label must be at least 0; got {target_label}")
    stamped, relabelled = x.clone(), y.clone()
    stamped[poison_mask] = stamp_square_trigger(x[poison_mask], size=size)
    relabelled[poison_mask] = target_label
    return stamped, relabelled


def flip_labels(train: ImageSet, *, source: int, target: int, fraction: float, seed: int = 0) -> ImageSet:
    """Relabel part of one class, without any trigger: the plain poisoning that a backdoor is compared with.

    Args:
        train: The clean training set; it is not changed.
        source: Class whose labels are changed.
        target: The label they get.
        fraction: Share of the *source class* that is relabelled, in (0, 1].
        seed: Seed of the draw.

    Raises:
        ValueError: A class does not exist, both are the same, or the fraction asks for no image.

    References:
        Biggio, Nelson, Laskov, Poisoning attacks against support vector machines, 2012. arXiv:1206.6389.
    """
    classes = len(train.classes)
    if source == target or not (0 <= source < classes and 0 <= target < classes):
        raise ValueError(f"source and target must be two classes in [0, {classes}); got {source} and {target}")
    if not 0 < fraction <= 1:
        raise ValueError(f"fraction must lie in (0, 1]; got {fraction}")
    members = (train.y == source).cpu().nonzero().flatten()
    count = round(fraction * len(members))
    if not count:
        raise ValueError(f"fraction {fraction} asks for none of the {len(members)} images of class {source}")
    chosen = members[torch.randperm(len(members), generator=torch.Generator().manual_seed(seed))[:count]]
    y = train.y.clone()
    y[chosen.to(y.device)] = target
    return replace(train, y=y)


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
        object.__setattr__(self, "table", tuple(map(index, self.table)))
        if not isinstance(self.clean_label, bool):
            raise ValueError(f"clean_label must be True or False; got {self.clean_label!r}")
        classes = range(len(self.table))
        if any(label not in classes for label in self.table):
            raise ValueError(f"goal labels must lie in [0, {len(self.table)}); got {self.table}")
        if self.table == tuple(classes):
            raise ValueError("this goal changes no class: every entry equals its own index")

    @classmethod
    def all_to_one(cls, target: int, n_classes: int) -> Goal:
        """Every class becomes `target`."""
        return cls((target,) * n_classes)

    @classmethod
    def source_specific(cls, pairs: Mapping[int, int], n_classes: int) -> Goal:
        """Only the classes in `pairs` {source: target} are attacked."""
        strangers = sorted(set(pairs) - set(range(n_classes)))
        if strangers:
            raise ValueError(f"source classes must lie in [0, {n_classes}); got {strangers}")
        return cls(tuple(pairs.get(label, label) for label in range(n_classes)))

    @classmethod
    def all_to_all(cls, n_classes: int) -> Goal:
        """Class i becomes i + 1, the last wraps to 0."""
        return cls(tuple((label + 1) % n_classes for label in range(n_classes)))

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

    @property
    def sources(self) -> tuple[int, ...]:
        """Classes whose triggered images should change their label."""
        return tuple(label for label, want in enumerate(self.table) if want != label)

    @property
    def targets(self) -> tuple[int, ...]:
        """Labels the attacker wants to see."""
        return tuple(sorted({self.table[label] for label in self.sources}))


@dataclass(frozen=True)
class PoisonPlan:
    """A complete, replayable record of one poisoning. Usually made by `PoisonPlan.draw`.

    Args:
        trigger: What is added.
        goal: What it should achieve.
        indices: Positions of the poisoned images in the clean training set, ascending, no repeats.
        size: Number of images in the clean training set.
        fingerprint: `ImageSet.fingerprint` of that set; the plan refuses any other.
        seed: Seed of the draw.
        sampling: "uniform" over all allowed images, or "per-class" in equal shares.
        added: False: poisoned images replace their clean originals. True: they are added as
            copies after the clean images.
    """

    trigger: Trigger
    goal: Goal
    indices: tuple[int, ...]
    size: int
    fingerprint: str
    seed: int = 0
    sampling: Sampling = "uniform"
    added: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "indices", tuple(map(index, self.indices)))
        if self.sampling not in get_args(Sampling):
            raise ValueError(f"sampling must be one of {', '.join(get_args(Sampling))}; got {self.sampling!r}")
        if not self.indices:
            raise ValueError("a plan needs at least one poisoned image; got none")
        if any(a >= b for a, b in zip(self.indices, self.indices[1:], strict=False)):
            raise ValueError("plan indices must ascend without repeats")
        if self.indices[0] < 0 or self.indices[-1] >= self.size:
            raise ValueError(f"plan indices must lie in [0, {self.size}); got {self.indices[0]} to {self.indices[-1]}")

    def __repr__(self) -> str:
        how = "added as copies" if self.added else "replaced"
        return (
            f"PoisonPlan({len(self.indices):,} of {self.size:,} images {how}, rho = {self.fraction:.2%}, "
            f"{self.trigger!r}, {self.goal!r}, seed {self.seed})"
        )

    @classmethod
    def draw(
        cls,
        train: ImageSet,
        trigger: Trigger,
        goal: Goal,
        *,
        fraction: float,
        seed: int = 0,
        sampling: Sampling = "uniform",
        added: bool = False,
        among: Mask | None = None,
    ) -> PoisonPlan:
        """Choose which training images to poison.

        Args:
            train: The clean training set.
            trigger: What will be added.
            goal: What it should achieve; decides which images may be poisoned.
            fraction: Poisoning fraction rho: poisoned images over *all* images the network will
                see. With `added` that total includes the copies.
            seed: Seed of the draw.
            sampling: "uniform" or "per-class".
            added: Add poisoned copies instead of replacing the originals.
            among: Boolean [N]; only images where it is True are poisoned: one class, the
                untypical ones, those with some natural attribute. Default: all the goal allows.

        Raises:
            ValueError: The fraction asks for no image, or for more than the goal and `among` allow.
        """
        if len(goal.table) != len(train.classes):
            raise ValueError(f"the goal has {len(goal.table)} classes; the data have {len(train.classes)}")
        if not 0 <= fraction <= 1 or (added and fraction == 1):
            raise ValueError(f"poisoning fraction must lie in [0, 1], below 1 for added copies; got {fraction}")
        allowed = _candidates(train, goal, among).cpu().nonzero().flatten()
        count = round(len(train) * (fraction / (1 - fraction) if added else fraction))
        if not 0 < count <= len(allowed):
            raise ValueError(
                f"poisoning fraction {fraction} asks for {count} of {len(train)} images; "
                f"{'the goal allows' if among is None else 'the goal and `among` allow'} 1 to {len(allowed)}"
            )
        source = torch.Generator().manual_seed(seed)
        order = allowed[torch.randperm(len(allowed), generator=source)]
        if sampling == "per-class":
            order = _interleave(order, train.y.cpu()[order])
        chosen = order[:count].sort().values.tolist()
        return cls(trigger, goal, tuple(chosen), len(train), train.fingerprint, seed, sampling, added)

    @property
    def fraction(self) -> float:
        """The poisoning fraction rho: poisoned images over all images the network sees."""
        return len(self.indices) / (self.size + len(self.indices) * self.added)

    @property
    def mask(self) -> Mask:
        """True where an image of the *poisoned* training set is poisoned, [N] or [N + k] with copies."""
        where = torch.zeros(self.size, dtype=torch.bool)
        if self.added:
            return torch.cat([where, torch.ones(len(self.indices), dtype=torch.bool)])
        where[list(self.indices)] = True
        return where

    def poison(self, train: ImageSet) -> ImageSet:
        """The training set as the attacker hands it over. `train` itself is not changed.

        Raises:
            ValueError: `train` is not the set the plan was drawn for.
        """
        if train.fingerprint != self.fingerprint:
            raise ValueError(f"the plan was drawn for data {self.fingerprint}; this set is {train.fingerprint}")
        touched = torch.tensor(self.indices, device=train.y.device)
        stamped, labels = self.trigger(train.x[touched]), train.y[touched]
        if not self.goal.clean_label:
            labels = self.goal.wanted(labels)
        if self.added:
            groups = None if train.groups is None else torch.cat([train.groups, train.groups[touched]])
            return replace(train, x=torch.cat([train.x, stamped]), y=torch.cat([train.y, labels]), groups=groups)
        x, y = _copy(train.x), train.y.clone()
        x[touched], y[touched] = stamped, labels
        return replace(train, x=x, y=y)

    def attack(self, test: ImageSet) -> ImageSet:
        """Triggered victims of a test set, labelled with what the attacker wants.

        Accuracy on the result *is* the attack success rate: images that already belong to their
        target are left out.

        Raises:
            ValueError: `test` has other classes than the goal, or no image of it is a victim.
        """
        victims = self.victims(test)
        return replace(victims, x=self.trigger(victims.x))

    def victims(self, test: ImageSet) -> ImageSet:
        """The same images as `attack`, without the trigger, with the same wanted labels."""
        if len(test.classes) != len(self.goal.table):
            raise ValueError(f"the goal has {len(self.goal.table)} classes; the data have {len(test.classes)}")
        chosen = test[self.goal.victims(test.y)]
        if not len(chosen):
            raise ValueError(f"none of the {len(test)} images is a victim: all already have the wanted label")
        return replace(chosen, y=self.goal.wanted(chosen.y))

    def to_json(self) -> str:
        """The plan as text: trigger, goal, index list, fingerprint, seed, sampling rule."""
        plain: dict[str, Any] = {
            "trigger": to_spec(self.trigger),
            "goal": asdict(self.goal),
            "indices": list(self.indices),
            "size": self.size,
            "fingerprint": self.fingerprint,
            "seed": self.seed,
            "sampling": self.sampling,
            "added": self.added,
        }
        return json.dumps(plain, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> PoisonPlan:
        """Rebuild a plan from `to_json`'s text.

        Raises:
            ValueError: The text is not a plan.
        """
        try:
            plain = json.loads(text)
            wrong = [name for name, kind in _KINDS.items() if not isinstance(plain[name], kind)]
            if wrong:
                raise TypeError(f"wrong kind of {', '.join(wrong)}")
            trigger, goal, indices = from_spec(plain.pop("trigger")), plain.pop("goal"), tuple(plain.pop("indices"))
            wish = Goal(tuple(goal.pop("table")), goal.pop("clean_label"), **goal)
            return cls(trigger, wish, indices, **plain)
        except (TypeError, KeyError, AttributeError) as error:
            raise ValueError(f"this text is not a poison plan: {type(error).__name__} {error}") from error

    def save(self, path: Path | str) -> Path:
        """Write `to_json` to a file, whole or not at all."""
        return write_atomically(path, self.to_json() + "\n")

    @classmethod
    def load(cls, path: Path | str) -> PoisonPlan:
        """Read a plan that `save` wrote."""
        return cls.from_json(Path(path).read_text(encoding="utf-8"))


_KINDS = {
    "trigger": dict, "goal": dict, "indices": list, "size": int,
    "fingerprint": str, "seed": int, "sampling": str, "added": bool,
}  # fmt: skip
"""What a plan's JSON holds."""


def _copy(x: Images) -> Images:
    """`x.clone()`, in half the time for many images on the CPU: numpy asks the system for huge pages."""
    if x.device.type != "cpu" or x.dtype == torch.bfloat16 or x.requires_grad:
        return x.clone()
    return torch.from_numpy(x.numpy().copy())


def _candidates(train: ImageSet, goal: Goal, among: Mask | None) -> Mask:
    """True where an image may be poisoned."""
    if among is None:
        return goal.candidates(train.y)
    if among.dtype != torch.bool or among.shape != train.y.shape:
        raise ValueError(f"among needs {len(train)} booleans, one per image; got {among.dtype} {list(among.shape)}")
    return goal.candidates(train.y) & among.to(train.y.device)


def _interleave(order: Tensor, labels: Labels) -> Tensor:
    """Reorder so that every prefix holds the classes in equal shares, as far as they last."""
    turn = torch.zeros(len(order), dtype=torch.long)
    for label in labels.unique():
        members = labels == label
        turn[members] = torch.arange(int(members.sum()))
    return order[turn.argsort(stable=True)]
