"""Your own images as an `ImageSet`: from arrays, and from any torch `Dataset` or `DataLoader`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, RandomSampler, Subset

from .._numbers import shown
from .._progress import track
from .._warnings import warn_assumption
from .images import CHANNELS, ImageSet, Labels, Layout, StoredImages, check_names
from .pictures import OneImage, check_float, is_pil, item_image, to_tensor

IMAGE_KEYS = ("image", "img", "pixel_values")
LABEL_KEYS = ("label", "labels", "fine_label")


def from_arrays(
    x: Any, y: Any, classes: Sequence[str], *, layout: Layout | None = None, groups: Any = None
) -> ImageSet:
    """Images and labels that are in memory already. Everything is copied: later edits of yours change nothing.

    Args:
        x: All images in one numpy array or tensor, or a list of numpy arrays, tensors or PIL pictures of one size.
            uint8 (kept so), or float in [0, 1] (kept in single precision).
        y: Labels, N whole numbers: list, numpy array or tensor.
        classes: The class names, in label order.
        layout: Where the channels are: "HWC" as in numpy and PIL, "CHW" as in torch. Must be said, unless the images
            are grey without a channel axis, [N, H, W], or PIL pictures.
        groups: Optional group number of each image, as in `ImageSet`.

    Raises:
        TypeError: Images or labels are of another kind.
        ValueError: Shapes, dtype or range do not fit, or the layout is not said or cannot be right.

    Example:
        >>> import numpy as np
        >>> photos = np.zeros((2, 32, 48, 3), np.uint8)  # two images, 32 rows, 48 columns, three colours
        >>> ImageSet.from_arrays(photos, [0, 1], ("cat", "dog"), layout="HWC").x.shape
        torch.Size([2, 3, 32, 48])
    """
    stacked = _stacked(x)
    pictures = not isinstance(x, Tensor | np.ndarray) and is_pil(x[0])
    images = stacked if pictures else _channels_first(stacked, layout)
    if images.is_floating_point():
        check_float(images)
    elif images.dtype != torch.uint8:
        raise ValueError(f"images need uint8 or a float dtype; got {images.dtype} (of levels 0 to 255: to uint8 first)")
    names = check_names(classes)
    own = torch.empty(images.shape, dtype=torch.uint8 if images.dtype == torch.uint8 else torch.float32)
    own.copy_(images)
    return ImageSet(own, as_labels(y), names, None if groups is None else as_labels(groups, "groups"))


def from_dataset(dataset: Any, *, classes: Sequence[str] | None = None, groups: Any = None) -> ImageSet:
    """All items of a data set, read once and in one pass, so that images and labels stay together.

    Args:
        dataset: A map-style or iterable torch `Dataset` of (image, label), a `DataLoader` of such batches, or a
            Hugging Face data set with an image and a label column. Images are PIL pictures (kept as uint8, a quarter
            of the memory of `ToTensor`) or tensors [C, H, W], uint8 or float in [0, 1], all of one size.
        classes: The class names, in label order. Default: what the data set calls `classes`.
        groups: Optional group number of each item, in the order of the items; not with a shuffling loader.

    Raises:
        TypeError: This is no data set, or its items are no pairs of image and label.
        ValueError: Items differ in size, are normalised or not in [0, 1], or nobody knows the class names.

    Warns:
        AssumptionWarning: The first item is another one when it is read again: the data set augments at random.
    """
    if isinstance(dataset, str | Path):
        raise TypeError(f"need a Dataset or a DataLoader; got the path {str(dataset)!r} (see ImageSet.from_folder)")
    names = check_names(classes) if classes is not None else class_names(dataset)
    if names is None:
        raise ValueError("the data set does not say its class names; give classes=(...), in label order")
    if isinstance(dataset, DataLoader):
        if groups is not None and isinstance(dataset.sampler, RandomSampler):
            raise ValueError("group numbers need an order; this loader shuffles (give its dataset instead)")
        x, y = _filled(_batches(dataset), _length(dataset.sampler))
    else:
        _warn_if_random(dataset)
        x, y = _filled(_items(dataset), _length(dataset))
    return ImageSet(x, y, tuple(names), None if groups is None else as_labels(groups, "groups"))


def class_names(dataset: Any) -> tuple[str, ...] | None:
    """The class names that a data set, the one inside a loader or the one behind a subset knows, or None."""
    if isinstance(dataset, DataLoader | Subset):
        return class_names(dataset.dataset)
    names = getattr(dataset, "classes", None)
    features = getattr(dataset, "features", None)
    if names is None and isinstance(features, Mapping):  # Hugging Face
        names = next((getattr(features[key], "names", None) for key in LABEL_KEYS if key in features), None)
    return tuple(map(str, names)) if isinstance(names, list | tuple) and names else None


def pair_of(item: Any) -> tuple[Any, Any]:
    """Image and label of one item or batch: a pair, or a mapping with columns such as "image" and "label".

    Raises:
        TypeError: It is neither.
    """
    if isinstance(item, Mapping):
        images = [item[key] for key in IMAGE_KEYS if key in item]
        labels = [item[key] for key in LABEL_KEYS if key in item]
        if images and labels:
            return images[0], labels[0]
        raise TypeError(f"an item needs an image and a label; got columns {', '.join(map(str, item))}")
    if not isinstance(item, tuple | list) or len(item) != 2:
        received = f"{type(item).__name__} of {len(item)}" if isinstance(item, tuple | list) else type(item).__name__
        raise TypeError(f"an item must be a pair (image, label); got {received}")
    return item[0], item[1]


def as_labels(y: Any, name: str = "labels") -> Labels:
    """Labels or group numbers from a list, numpy array or tensor, copied.

    Raises:
        TypeError: They are no numbers.
        ValueError: They are no whole numbers in one row.
    """
    try:
        labels = torch.as_tensor(np.asarray(y.cpu() if isinstance(y, Tensor) else y))
    except (TypeError, ValueError) as error:
        raise TypeError(f"{name} must be whole numbers, one an image; got {shown(y)}") from error
    if not labels.numel() and labels.ndim == 1:
        return torch.empty(0, dtype=torch.long)
    if labels.ndim != 1 or labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool:
        raise ValueError(f"{name} must be whole numbers, one an image; got {labels.dtype} {list(labels.shape)}")
    return torch.empty(labels.shape, dtype=torch.long).copy_(labels)


def as_label(label: Any) -> int:
    """One label as a whole number.

    Raises:
        TypeError: It is none.
    """
    whole = label.item() if isinstance(label, Tensor | np.generic) and np.ndim(label) == 0 else label
    if not isinstance(whole, int) or isinstance(whole, bool):
        raise TypeError(f"a label must be a whole number; got {shown(label)}")
    return whole


def _stacked(x: Any) -> Tensor:
    """Images of any of the accepted kinds as one tensor, which may share its memory with them."""
    if isinstance(x, Tensor):
        return x.detach().cpu()
    if isinstance(x, np.ndarray):
        if x.dtype == object or x.dtype.kind not in "uif":
            raise TypeError(f"images need numbers; got a numpy array of {x.dtype}")
        return torch.from_numpy(np.ascontiguousarray(x))
    if not isinstance(x, Sequence) or isinstance(x, str | bytes) or not x:
        raise TypeError(f"images need a numpy array, a tensor, or a list of them or of PIL pictures; got {shown(x)}")
    parts = [to_tensor(each) if is_pil(each) else _stacked(each) for each in x]
    shapes = sorted({tuple(part.shape) for part in parts})
    if len(shapes) > 1:
        other = next(place for place, part in enumerate(parts) if part.shape != parts[0].shape)
        raise ValueError(
            f"images need one shape; image 0 has {list(parts[0].shape)}, image {other} has {list(parts[other].shape)}"
        )
    return torch.stack(parts)


def _channels_first(x: Tensor, layout: Layout | None) -> Tensor:
    """[N, H, W], [N, H, W, C] or [N, C, H, W] as [N, C, H, W]."""
    if x.ndim == 3:
        return x[:, None]
    if x.ndim != 4:
        raise ValueError(f"images need shape [N, H, W, C], [N, C, H, W] or [N, H, W]; got {list(x.shape)}")
    if not isinstance(layout, str) or layout not in get_args(Layout):
        raise ValueError(f"layout must be 'HWC' (channels last) or 'CHW' (channels first); got {shown(layout)}")
    first = x.permute(0, 3, 1, 2) if layout == "HWC" else x
    other = x.shape[1] if layout == "HWC" else x.shape[3]
    if first.shape[1] not in CHANNELS and other in CHANNELS:
        raise ValueError(f"layout {layout!r} would give images of {list(x.shape)} {first.shape[1]} channels")
    return first


def _items(dataset: Any) -> Iterator[tuple[OneImage, Labels]]:
    """Every item as one image and a row of one label."""
    if isinstance(dataset, type) or not (hasattr(dataset, "__getitem__") or hasattr(dataset, "__iter__")):
        raise TypeError(f"need a torch Dataset or DataLoader of (image, label); got {type(dataset).__name__}")
    count = _length(dataset)
    by_place = count is not None and hasattr(dataset, "__getitem__")
    items: Iterable[Any] = (dataset[place] for place in range(count or 0)) if by_place else dataset
    for item in track(items, "reading", count):
        picture, label = pair_of(item)
        yield item_image(picture)[None], torch.tensor([as_label(label)])


def _batches(loader: Iterable[Any]) -> Iterator[tuple[StoredImages, Labels]]:
    """Every batch of a loader."""
    for batch in track(loader, "reading"):
        pictures, labels = pair_of(batch)
        if not isinstance(pictures, Tensor) or pictures.ndim not in (3, 4):
            raise TypeError(f"a loader must give batches of images [N, C, H, W]; got {type(pictures).__name__}")
        for picture, label in zip(pictures, as_labels(labels), strict=True):
            yield item_image(picture)[None], label[None]


def _filled(parts: Iterator[tuple[StoredImages, Labels]], count: int | None) -> tuple[StoredImages, Labels]:
    """Images and labels in two tensors, written in place as they come if their number is known."""
    images: list[Tensor] = []
    labels: list[Tensor] = []
    whole: Tensor | None = None
    for place, (picture, label) in enumerate(parts):
        if not place:
            first = picture
            whole = torch.empty(count, *picture.shape[1:], dtype=picture.dtype) if count else None
        if picture.shape != first.shape or picture.dtype != first.dtype:
            raise ValueError(
                f"items need one size and dtype; item 0 has {list(first.shape[1:])} {first.dtype}, "
                f"item {place} has {list(picture.shape[1:])} {picture.dtype} (resize them in the data set's transform)"
            )
        if whole is None:
            images.append(picture.cpu())
        else:
            whole[place] = picture[0]
        labels.append(label)
    if not labels:
        raise ValueError("the data set has no items")
    y = torch.cat(labels)
    return (torch.cat(images) if whole is None else whole[: len(y)]), y


def _length(dataset: Any) -> int | None:
    if isinstance(dataset, IterableDataset):
        return None  # what it says about its length is not binding
    try:
        return len(dataset)
    except TypeError:
        return None


def _warn_if_random(dataset: Any) -> None:
    """Warn if the first item changes from one reading to the next."""
    if isinstance(dataset, IterableDataset) or not hasattr(dataset, "__getitem__") or not _length(dataset):
        return
    once, again = (item_image(pair_of(dataset[0])[0]) for _ in range(2))
    if once.shape != again.shape or not torch.equal(once, again):
        warn_assumption(
            "the data set gives its first image in two ways, as random augmentation does: what is read is one draw",
            "augmented-data",
        )
