"""The attack that a network is scored under, and the record of which images were poisoned with it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from operator import index
from pathlib import Path
from typing import Any, get_args

import torch
from torch import Tensor

from .. import _codec
from .._numbers import check_numbers, shown, wholes
from .._warnings import warn_assumption
from ..data.images import (
    CHUNK,
    ImageSet,
    Labels,
    Mask,
    StoredImages,
    check_set,
    label_fingerprint,
    stored_like,
    to_unit,
    with_images,
)
from ..data.lazy import AlteredDataset, labels_of
from ..data.own import as_labels, pair_of
from ..data.pictures import OneImage, item_image
from ..files import existing, write_atomically
from ..triggers import Selective, Trigger, stamp
from ..triggers.base import TOGETHER, check_repeats, stamped_once
from ._draws import Sampling, draw_indices
from .goals import Goal


@dataclass(frozen=True)
class Attack:
    """A trigger and what it should achieve: this is what a network is scored under.

    Args:
        trigger: What is added to an image, or what selects it.
        goal: What it should achieve.

    Raises:
        TypeError: The trigger cannot be called, or the goal is no `Goal`.

    Example:
        >>> Attack(Patch(size=3), Goal.all_to_one(7, 10)).goal.targets
        (7,)
    """

    trigger: Trigger
    goal: Goal

    def __post_init__(self) -> None:
        if not callable(self.trigger) or isinstance(self.trigger, type):
            hint = " (trigger first, then goal)" if isinstance(self.trigger, Goal) else ""
            wanted = "an attack needs a trigger that can be called on images, such as Patch()"
            raise TypeError(f"{wanted}; got {shown(self.trigger)}{hint}")
        if not isinstance(self.goal, Goal):
            raise TypeError(f"an attack needs a Goal, such as Goal.all_to_one(7, 10); got {shown(self.goal)}")

    @property
    def selective(self) -> bool:
        """Whether the trigger selects images instead of stamping them: a semantic backdoor."""
        return isinstance(self.trigger, Selective)

    def on(self, test: ImageSet) -> ImageSet:
        """Triggered victims of a test set, labelled with what the attacker wants.

        Accuracy on the result *is* the attack success rate: images that already belong to their target are left
        out. Of a trigger that selects, the victims that it selects, as they are.

        Raises:
            ValueError: `test` has other classes than the goal, no image of it is a victim, or the trigger breaks its
                contract: see `triggers.stamp`.

        Warns:
            AssumptionWarning: The trigger leaves some victims as they are.
        """
        victims = self._wanted(test, self._carries(test))
        if self.selective:
            return victims
        stamped = stamp(self.trigger, victims.x)
        unchanged = _unchanged(victims.x, stamped)
        if unchanged:
            warn_assumption(
                f"the trigger changes nothing on {unchanged} of {len(victims)} victims: success on them is no success",
                "unchanged-victims",
            )
        return replace(victims, x=stamped)

    def victims(self, test: ImageSet) -> ImageSet:
        """Victims without the trigger, with the same wanted labels. Of a trigger that selects, those it passes over.

        Accuracy on the result is the false-target rate: the success that needs no trigger.

        Raises:
            ValueError: `test` has other classes than the goal, or no image of it is a victim.
        """
        return self._wanted(test, ~self._carries(test) if self.selective else self._carries(test))

    def recovered(self, test: ImageSet) -> ImageSet:
        """Triggered victims of a test set, as in `on`, but labelled with what they truly show.

        Accuracy on the result is what BackdoorBench calls robust accuracy, R-Acc: a network that has forgotten a
        trigger should not only disobey it but read the image under it.

        Raises:
            ValueError: As in `on`.
        """
        victims = self.goal.victims(test.y) & self._carries(test)
        return replace(self.on(test), y=test.y[victims])

    def untouched(self, test: ImageSet) -> ImageSet:
        """The images on which clean accuracy is counted: all, or of a trigger that selects, those it passes over.

        Raises:
            ValueError: The trigger selects every image.
        """
        if not self.selective:
            return check_set(test, "an attack")
        rest = test[~self._carries(test)]
        if not len(rest):
            raise ValueError(f"{self.trigger!r} selects all {len(test)} images; none is left to count as clean")
        return rest

    def plan(
        self,
        train: ImageSet,
        *,
        fraction: float | None = None,
        seed: int = 0,
        sampling: Sampling = "uniform",
        added: bool = False,
        among: Mask | None = None,
    ) -> PoisonPlan:
        """Choose which training images to poison.

        Args:
            train: The clean training set.
            fraction: Poisoning fraction rho: poisoned images over *all* images the network will see. With `added`
                that total includes the copies. None, of a trigger that selects: every image that it selects.
            seed: Seed of the draw.
            sampling: "uniform" over all allowed images, or "per-class" in equal shares.
            added: Add poisoned copies instead of replacing the originals.
            among: Boolean [N]; only images where it is True are poisoned: one class, or the untypical ones.
                Default: all that the goal allows, and of a trigger that selects, all that it selects.

        Raises:
            ValueError: The fraction asks for no image, or for more than goal, trigger and `among` allow; or a trigger
                that selects has a clean-label goal, which leaves it nothing to do.
        """
        check_set(train, "a plan")
        allowed = self._allowed(train.y, len(train.classes), among)
        if self.selective:
            allowed &= self._selected(train)
        indices = draw_indices(train.y, allowed, fraction, seed=seed, sampling=sampling, added=added)
        if not self.selective:
            check_repeats(self.trigger, train.x[list(indices[:2])])
        marks = (train.label_fingerprint, train.fingerprint)
        return PoisonPlan(self, indices, len(train), *marks, index(seed), sampling, added)

    def plan_for_labels(
        self,
        labels: Any,
        classes: Sequence[str],
        *,
        fraction: float,
        seed: int = 0,
        sampling: Sampling = "uniform",
        added: bool = False,
        among: Mask | None = None,
    ) -> PoisonPlan:
        """Choose which training images to poison when only their labels are at hand: see `PoisonPlan.wrap`.

        The same labels and settings give the same images as `plan`. The plan knows no pixels, so it can refuse other
        labels but not other images.

        Args:
            labels: The labels of the clean training set in order: list, numpy array or tensor.
            classes: The class names, in label order.
            fraction: This and all that follows are as in `plan`.
            seed: Seed of the draw.
            sampling: "uniform" or "per-class".
            added: Add poisoned copies instead of replacing the originals.
            among: Boolean [N]; only images where it is True are poisoned.

        Raises:
            ValueError: As in `plan`, labels are no labels of these classes, or the trigger selects images, for which
                it must see them.
        """
        if self.selective:
            raise ValueError(f"{self.trigger!r} selects images by what they show; labels alone do not tell (use plan)")
        y = as_labels(labels)
        names = tuple(classes)
        if not len(y) or int(y.min()) < 0 or int(y.max()) >= len(names):
            raise ValueError(f"need labels in [0, {len(names)}); got {len(y)} of them" + _span(y))
        allowed = self._allowed(y, len(names), among)
        indices = draw_indices(y, allowed, fraction, seed=seed, sampling=sampling, added=added)
        return PoisonPlan(self, indices, len(y), label_fingerprint(y, names), None, index(seed), sampling, added)

    def _carries(self, data: ImageSet) -> Mask:
        """True where the trigger works: everywhere, or where it selects, [N]."""
        check_set(data, "an attack")
        if not isinstance(self.trigger, Selective):
            return torch.ones(len(data), dtype=torch.bool, device=data.y.device)
        return torch.cat([self.trigger.selects(to_unit(part)) for part in torch.split(data.x, CHUNK)])

    def _selected(self, train: ImageSet) -> Mask:
        """True where the trigger selects a training image, [N]; it must not be everywhere."""
        carries = self._carries(train)
        if carries.all():
            raise ValueError(f"{self.trigger!r} selects all {len(train)} images; a trigger must tell some from others")
        return carries

    def _wanted(self, test: ImageSet, where: Mask) -> ImageSet:
        self.goal.check_classes(len(test.classes))
        victims = self.goal.victims(test.y)
        chosen = test[victims & where]
        if not len(chosen):
            why = "the trigger decides so" if victims.any() else "all already have the wanted label"
            raise ValueError(f"none of the {len(test)} images is a victim: {why}")
        return replace(chosen, y=self.goal.wanted(chosen.y))

    def _allowed(self, y: Labels, classes: int, among: Mask | None) -> Mask:
        """True where goal and `among` let an image be poisoned, [N]."""
        self.goal.check_classes(classes)
        if self.selective and self.goal.clean_label:
            raise ValueError("a trigger that selects changes labels only; a clean-label goal leaves it nothing to do")
        allowed = self.goal.candidates(y)
        if among is None:
            return allowed
        mask = torch.as_tensor(among)
        if mask.dtype != torch.bool or mask.shape != y.shape:
            raise ValueError(f"among needs {len(y)} booleans, one per image; got {mask.dtype} {list(mask.shape)}")
        return allowed & mask.to(y.device)


@dataclass(frozen=True)
class PoisonPlan:
    """A complete, replayable record of one poisoning. Usually made by `Attack.plan`.

    Args:
        attack: The trigger that is added, and what it should achieve.
        indices: Positions of the poisoned images in the clean training set, ascending, no repeats.
        size: Number of images in the clean training set.
        labels: `ImageSet.label_fingerprint` of that set.
        fingerprint: `ImageSet.fingerprint` of that set; the plan refuses any other. None if the plan was drawn for
            labels alone, because the images do not fit into memory.
        seed: Seed of the draw.
        sampling: "uniform" over all allowed images, or "per-class" in equal shares.
        added: False: poisoned images replace their clean originals. True: they are added as
            copies after the clean images.

    Raises:
        ValueError: The indices do not ascend, lie outside the set or are none, or the sampling rule is unknown.
    """

    attack: Attack
    indices: tuple[int, ...]
    size: int
    labels: str
    fingerprint: str | None = None
    seed: int = 0
    sampling: Sampling = "uniform"
    added: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "indices", wholes("indices", self.indices))
        if not isinstance(self.attack, Attack):
            raise TypeError(f"a plan needs an Attack(trigger, goal); got {shown(self.attack)}")
        check_numbers(self)
        if self.sampling not in get_args(Sampling):
            raise ValueError(f"sampling must be one of {', '.join(get_args(Sampling))}; got {shown(self.sampling)}")
        if not self.indices:
            raise ValueError("a plan needs at least one poisoned image; got none")
        if any(a >= b for a, b in pairwise(self.indices)):
            raise ValueError("plan indices must ascend without repeats")
        if self.indices[0] < 0 or self.indices[-1] >= self.size:
            raise ValueError(f"plan indices must lie in [0, {self.size}); got {self.indices[0]} to {self.indices[-1]}")

    def __repr__(self) -> str:
        how = "added as copies" if self.added else "replaced"
        return (
            f"PoisonPlan({len(self.indices):,} of {self.size:,} images {how}, rho = {self.fraction:.2%}, "
            f"{self.attack.trigger!r}, {self.attack.goal!r}, seed {self.seed})"
        )

    @property
    def total(self) -> int:
        """How many images the network will see, copies included."""
        return self.size + len(self.indices) if self.added else self.size

    @property
    def fraction(self) -> float:
        """The poisoning fraction rho: poisoned images over all images the network sees."""
        return len(self.indices) / self.total

    @property
    def mask(self) -> Mask:
        """True where an image of the *poisoned* training set is poisoned, [N] or [N + k] with copies."""
        where = torch.zeros(self.size, dtype=torch.bool)
        if self.added:
            return torch.cat([where, torch.ones(len(self.indices), dtype=torch.bool)])
        where[list(self.indices)] = True
        return where

    def poison(self, train: ImageSet) -> ImageSet:
        """The training set as the attacker hands it over, in the dtype of `train`, which is not changed.

        Raises:
            ValueError: `train` is not the set the plan was drawn for.

        Warns:
            AssumptionWarning: The trigger leaves some of the images as they are.
        """
        self.check_data(train)
        touched = torch.tensor(self.indices, device=train.y.device)
        labels = self.poisoned_labels(train.y[touched])
        stamped = self._stamped(train.x, touched)
        if self.added:
            x = torch.cat([train.x, *(images for _, images in stamped)])
            groups = None if train.groups is None else torch.cat([train.groups, train.groups[touched]])
            return train.of_checked(x, torch.cat([train.y, labels]), groups)
        y = train.y.clone()
        y[touched] = labels
        return train.of_checked(with_images(train.x, stamped), y, train.groups)

    def wrap(
        self,
        dataset: Any,
        *,
        labels: Any = None,
        classes: Sequence[str] | None = None,
        transform: Callable[[Any], Any] | None = None,
    ) -> AlteredDataset:
        """A data set that does not fit into memory, poisoned image by image as it is read.

        Args:
            dataset: Any map-style torch `Dataset` of (image, label), images of any size as PIL pictures or tensors
                [C, H, W], uint8 or float in [0, 1]: before normalisation, which belongs into `transform` or the
                network (`Normalized`).
            labels: All its labels in order. Default: its `targets` or `labels`, else one pass over the items.
            classes: The class names, in label order. Default: what it calls `classes`.
            transform: Applied to every image after poisoning, for instance a random crop.

        Returns:
            A map-style `Dataset` of (image, label): uint8 tensors stay uint8, everything else is float in [0, 1].
            Added copies come after the others. It has `classes` and the poisoned `targets`.

        Raises:
            ValueError: Its length, labels or class names are not those the plan was drawn for. Whether its pixels
                are, only `poison` can tell.
        """
        y, names = labels_of(dataset, labels, classes)
        found = label_fingerprint(y, names)
        if len(y) != self.size or found != self.labels:
            raise ValueError(
                f"the plan was drawn for {self.size} images with labels {self.labels}; "
                f"this data set has {len(y)} with labels {found}"
            )
        if not self.attack.selective:
            first = item_image(pair_of(dataset[self.indices[0]])[0])
            check_repeats(self.attack.trigger, first[None])
        wanted = self.poisoned_labels(y[list(self.indices)]).tolist()
        touched = dict(zip(self.indices, wanted, strict=True))
        return AlteredDataset(dataset, y, names, touched, self._stamp_item, added=self.added, transform=transform)

    def _stamp_item(self, image: OneImage) -> OneImage:
        """One image as the plan poisons it."""
        if self.attack.selective:
            return image
        unit = to_unit(image[None])
        return stored_like(stamped_once(self.attack.trigger, unit), image)[0]

    @torch.no_grad()
    def _stamped(self, x: StoredImages, places: Tensor) -> Iterator[tuple[Tensor, StoredImages]]:
        """Some of the places at a time, and their images with the trigger; those that it selects carry it already."""
        if self.attack.selective:
            yield places, x.index_select(0, places)
            return
        check_repeats(self.attack.trigger, x.index_select(0, places[:2]))
        unchanged = 0
        for some in places.split(TOGETHER):
            images = x.index_select(0, some)
            stamped = stored_like(stamped_once(self.attack.trigger, to_unit(images)), images)
            unchanged += _unchanged(images, stamped)
            yield some, stamped
        if unchanged:
            warn_assumption(
                f"the trigger changes nothing on {unchanged} of the {len(places)} images to be poisoned",
                "unchanged-victims",
            )

    def poisoned_labels(self, y: Labels) -> Labels:
        """The labels that poisoned images get, from their own: the wanted ones, or in a clean-label attack the same."""
        return y if self.attack.goal.clean_label else self.attack.goal.wanted(y)

    def check_data(self, train: ImageSet) -> None:
        """Raise unless this is the set the plan was drawn for: pixels, labels and class names."""
        check_set(train, "a plan")
        found = train.quick_fingerprint
        if self.fingerprint is not None and found != self.fingerprint:
            raise ValueError(f"the plan was drawn for data {self.fingerprint}; this set is {found}")
        if len(train) != self.size or train.label_fingerprint != self.labels:
            raise ValueError(
                f"the plan was drawn for {self.size} images with labels {self.labels}; "
                f"this set has {len(train)} with labels {train.label_fingerprint}"
            )
        self.attack.goal.check_classes(len(train.classes))

    def to_json(self) -> str:
        """The plan as text: attack (trigger and goal), index list, fingerprints, seed, sampling rule.

        Raises:
            TypeError: The trigger cannot be saved: see `triggers.register`.
        """
        return _codec.to_json(self, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> PoisonPlan:
        """Rebuild a plan from `to_json`'s text.

        Raises:
            ValueError: The text is not a plan: an item is missing, unknown or of another kind.
        """
        return _codec.from_json(cls, text, "a poison plan")

    def save(self, path: Path | str) -> Path:
        """Write `to_json` to a file, whole or not at all."""
        return write_atomically(path, self.to_json() + "\n")

    @classmethod
    def load(cls, path: Path | str) -> PoisonPlan:
        """Read a plan that `save` wrote."""
        return cls.from_json(existing(path).read_text(encoding="utf-8"))


def _unchanged(before: StoredImages, after: StoredImages) -> int:
    """How many images are the same in both."""
    parts = zip(torch.split(before, TOGETHER), torch.split(after, TOGETHER), strict=True)
    return sum(int(((one - other).flatten(1).any(1) == 0).sum()) for one, other in parts)


def _span(y: Labels) -> str:
    return f" from {int(y.min())} to {int(y.max())}" if len(y) else ""
