"""Data sets that do not fit into memory: some of their items are altered as they are read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset, Subset

from .._progress import track
from .images import ImageSet, Labels, to_unit
from .own import as_label, as_labels, class_names, pair_of
from .pictures import OneImage, is_pil, item_image


class AlteredDataset(Dataset[tuple[Any, int]]):
    """A map-style data set in which the images at some places are altered and have another label.

    Made by `PoisonPlan.wrap`. Workers of a `DataLoader` can read it if they can read the data set behind it.

    Attributes:
        dataset: The data set behind it.
        classes: The class names.
        targets: The label of every item, altered ones included.
        altered: Places of the altered items, ascending.
    """

    def __init__(
        self,
        dataset: Any,
        labels: Labels,
        classes: Sequence[str],
        touched: Mapping[int, int],
        alter: Callable[[OneImage], OneImage],
        *,
        added: bool = False,
        transform: Callable[[Any], Any] | None = None,
    ) -> None:
        """Args are those of `PoisonPlan.wrap`; `touched` maps places to new labels, `alter` changes an image."""
        self.dataset = dataset
        self.classes = list(classes)
        self.transform = transform
        self._alter = alter
        self._labels = labels.tolist()
        self.targets = list(self._labels)
        self._sources = list(range(len(self.targets)))
        if added:
            self.altered = [len(self.targets) + place for place in range(len(touched))]
            self.targets += touched.values()
            self._sources += touched.keys()
        else:
            self.altered = list(touched)
            for place, label in touched.items():
                self.targets[place] = label
        self._is_altered = frozenset(self.altered)

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, place: int) -> tuple[Any, int]:
        place = range(len(self))[place]
        source = self._sources[place]
        picture, label = pair_of(self.dataset[source])
        if as_label(label) != self._labels[source]:
            raise ValueError(f"item {source} has label {as_label(label)}; it had {self._labels[source]} at the start")
        image = item_image(picture)
        if is_pil(picture):
            image = to_unit(image[None])[0]
        if place in self._is_altered:
            image = self._alter(image)
        return image if self.transform is None else self.transform(image), self.targets[place]


def labels_of(dataset: Any, labels: Any, classes: Sequence[str] | None) -> tuple[Labels, tuple[str, ...]]:
    """All labels of a map-style data set in order, and its class names: said, known to it, or read in one pass.

    Raises:
        TypeError: This is no map-style data set.
        ValueError: Labels are more or fewer than items, or nobody knows the class names.
    """
    if isinstance(dataset, ImageSet):
        raise TypeError("need a map-style Dataset; got an ImageSet, which is in memory (plan.poison is for those)")
    if not hasattr(dataset, "__getitem__") or not hasattr(dataset, "__len__"):
        raise TypeError(f"need a map-style Dataset, with a length and items by place; got {type(dataset).__name__}")
    names = tuple(classes) if classes is not None else class_names(dataset)
    if names is None:
        raise ValueError("the data set does not say its class names; give classes=(...), in label order")
    known = as_labels(labels) if labels is not None else _known_labels(dataset)
    if known is None:
        places = track(range(len(dataset)), "reading labels")
        known = torch.tensor([as_label(pair_of(dataset[place])[1]) for place in places], dtype=torch.long)
    if len(known) != len(dataset):
        raise ValueError(f"{len(dataset)} items but {len(known)} labels")
    return known, names


def _known_labels(dataset: Any) -> Tensor | None:
    """The labels that a data set, or the one behind a subset, keeps in a list of its own."""
    if isinstance(dataset, Subset):
        behind = _known_labels(dataset.dataset)
        return None if behind is None else behind[list(dataset.indices)]
    if getattr(dataset, "target_transform", None) is not None:
        return None  # the list is that before the transform
    for name in ("targets", "labels"):
        found = getattr(dataset, name, None)
        if isinstance(found, Tensor | Sequence) or hasattr(found, "__array__"):
            return as_labels(found)
    return None
