"""Labelled images held in memory: what every other module takes and gives.

Shapes: N images, C channels, H rows, W columns, K classes. Images are numbers in [0, 1] wherever something is
computed from them. A set may also *keep* them as uint8, a quarter of the memory: 0 is 0 and 255 is 1.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from operator import index
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from zlib import crc32

import numpy as np
import torch
from jaxtyping import Bool, Float, Integer, UInt8
from torch import Tensor

from .._numbers import number, of_kind, shown, whole
from .._warnings import warn_assumption

if TYPE_CHECKING:
    from .export import ImageDataset
    from .folders import GroupOf

Images = Float[Tensor, "n c h w"]
StoredImages = Float[Tensor, "n c h w"] | UInt8[Tensor, "n c h w"]
Labels = Integer[Tensor, " n"]
Mask = Bool[Tensor, " n"]
Layout = Literal["HWC", "CHW"]

CHANNELS = (1, 3, 4)
"""Grey, colour, colour with transparency: a last axis of such a length is taken for the channels."""

CHUNK = 1024
"""Images that are checked, hashed or converted at a time."""

LARGE = 2**25
"""Bytes from which on a copy takes large pages."""


def check_images(x: Tensor) -> Tensor:
    """Return `x` unchanged, or say precisely what is wrong with it.

    Raises:
        TypeError: `x` is no tensor.
        ValueError: `x` is not a float batch of shape [N, C, H, W] with values in [0, 1].
    """
    _check_shape(x)
    if not x.is_floating_point():
        raise ValueError(f"images need a float dtype in [0, 1]; got {x.dtype} (divide by 255 first?)")
    if x.numel():
        low, high = map(float, x.detach().aminmax())
        if not (low >= 0 and high <= 1):  # written so that NaN fails too
            raise ValueError(f"images need values in [0, 1]; got [{low:.3g}, {high:.3g}]")
    return x


def check_stored(x: Tensor) -> Tensor:
    """As `check_images`, but uint8 images are welcome as they are."""
    return _check_shape(x) if isinstance(x, Tensor) and x.dtype == torch.uint8 else check_images(x)


def _check_shape(x: Tensor) -> Tensor:
    if not isinstance(x, Tensor):
        raise TypeError(f"images need a torch tensor [N, C, H, W]; got {type(x).__name__} (see ImageSet.from_arrays)")
    if x.ndim != 4:
        raise ValueError(f"images need shape [N, C, H, W]; got {list(x.shape)}")
    if x.shape[-1] in CHANNELS and x.shape[1] not in CHANNELS:
        raise ValueError(
            f"images need shape [N, C, H, W]; in {list(x.shape)} the last axis looks like the channels "
            "(x.permute(0, 3, 1, 2) moves it, and so does ImageSet.from_arrays with layout='HWC')"
        )
    return x


def to_unit(x: StoredImages) -> Images:
    """Images as numbers in [0, 1], however they are stored: uint8 is divided by 255, float stays as it is."""
    return x.float().div_(255) if x.dtype == torch.uint8 else x


def stored_like(x: Images, stored: Tensor) -> StoredImages:
    """Images in [0, 1] in the dtype in which another set keeps its own; uint8 is rounded to the nearest level."""
    if stored.dtype != torch.uint8:
        return x.to(stored.dtype)
    return (x * 255).round_().to(torch.int16).to(torch.uint8)  # straight from float it takes three times as long


def with_images(x: StoredImages, altered: Iterable[tuple[Tensor, Tensor]]) -> StoredImages:
    """A copy of images in which some are others.

    For large sets the memory comes from numpy, which asks the system for large pages as torch does not: filling it
    takes a third of the time.

    Args:
        x: Images [N, C, H, W].
        altered: Some places [k] at a time and the images that belong there, [k, C, H, W].
    """
    if x.device.type == "cpu" and x.dtype in (torch.uint8, torch.float32) and x.nbytes >= LARGE:
        pixels = np.from_dlpack(x.detach()).copy()
        for places, images in altered:
            pixels[places.numpy()] = images.numpy()
        return torch.from_numpy(pixels)
    out = x.clone()
    for places, images in altered:
        out[places] = images
    return out


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Images, their labels, and what the labels mean. Tensors are shared, never copied: do not edit them.

    Args:
        x: Images [N, C, H, W], float in [0, 1] or uint8.
        y: Labels [N], integers in [0, K), on the same device.
        classes: The K class names, in label order.
        groups: Optional group number of each image [N]: images of one group (frames of one film)
            never end on both sides of a split. On the device of `y`.

    Raises:
        TypeError: Images or labels are no tensors, or `classes` are no names.
        ValueError: A shape, type, range or device does not fit.

    Warns:
        AssumptionWarning: No pixel is brighter than 1/255, as if the images had been divided by 255 twice.
    """

    x: StoredImages
    y: Labels
    classes: tuple[str, ...]
    groups: Labels | None = None
    _known: dict[str, Any] = field(default_factory=dict, repr=False, init=False)

    def __post_init__(self) -> None:
        check_stored(self.x)
        warn_if_divided_twice(self.x)
        object.__setattr__(self, "classes", check_names(self.classes))
        _check_labels(self.y, len(self.x), self.x.device, len(self.classes))
        if self.groups is not None:
            of_kind("groups, one number per image,", self.groups, Tensor, "use torch.tensor(groups)")
        if self.groups is not None and len(self.groups) != len(self.y):
            raise ValueError(f"{len(self.y)} images but {len(self.groups)} group numbers")
        if self.groups is not None and self.groups.device != self.y.device:
            raise ValueError(f"images are on {self.x.device} but group numbers on {self.groups.device}")

    def __len__(self) -> int:
        return len(self.y)

    def __getitem__(self, keep: Any) -> ImageSet:
        """The images at some positions, or those where a mask is True, as a set of their own."""
        if isinstance(keep, bool | int | np.integer):
            raise TypeError(
                f"an ImageSet is indexed by a slice, positions or a mask; got {shown(keep)} (use [{keep}:][:1])"
            )
        if not isinstance(keep, slice):
            try:
                keep = torch.as_tensor(keep, device=self.y.device)
            except (TypeError, ValueError, RuntimeError) as error:
                wanted = "an ImageSet is indexed by a slice, positions or a mask"
                raise TypeError(f"{wanted}; got {shown(keep)}") from error
            if keep.numel() and (keep.is_floating_point() or keep.is_complex()):
                raise TypeError(f"positions must be whole numbers, a mask boolean; got {keep.dtype}")
            if not keep.numel():
                keep = keep.long()
            if keep.ndim != 1:
                raise ValueError(f"positions or a mask need shape [N]; got {list(keep.shape)}")
        groups = None if self.groups is None else self.groups[keep]
        return self.of_checked(self.x[keep], self.y[keep], groups)

    def to(self, device: str | torch.device) -> ImageSet:
        """The same images on another device."""
        try:
            wanted = torch.device(device)
        except (RuntimeError, TypeError) as error:
            raise ValueError(f"device must be a torch device such as 'cpu' or 'cuda'; got {shown(device)}") from error
        if self.x.device == wanted:
            return self
        groups = None if self.groups is None else self.groups.to(device)
        return self.of_checked(self.x.to(device), self.y.to(device), groups)

    def of_checked(self, x: StoredImages, y: Labels, groups: Labels | None) -> ImageSet:
        """A set of these classes whose images and labels are known to be good: nothing is checked.

        Args:
            x: Images [N, C, H, W].
            y: Labels [N].
            groups: Group numbers [N], or None.
        """
        part = object.__new__(ImageSet)
        for name, value in (("x", x), ("y", y), ("classes", self.classes), ("groups", groups), ("_known", {})):
            object.__setattr__(part, name, value)
        return part

    def __repr__(self) -> str:
        shape = "x".join(map(str, self.x.shape[1:]))
        return f"ImageSet({len(self):,} images of {shape}, {len(self.classes)} classes, {self.fingerprint})"

    @property
    def fingerprint(self) -> str:
        """First 16 hex digits of the SHA-256 of class names, pixels and labels, in order.

        It is the same on every device, and for images kept as uint8 or as the same numbers in [0, 1]. It is kept, and
        made anew after an edit, whichever way that came: in place, through `.data`, or through a numpy array that
        shares the memory. Edits are noticed by a checksum of every byte, which is read at each call; one in four
        thousand million edits has the checksum of what was there before.
        """
        checksum = _checksum(self.x, self.y)
        if self._known.get("checksum") != checksum:
            digest = hashlib.sha256(repr((self.classes, list(self.x.shape))).encode())
            for part in torch.split(self.x, CHUNK):
                digest.update(_bytes(to_unit(part).float()))
            digest.update(_bytes(self.y.long()))
            self._known.update(checksum=checksum, fingerprint=digest.hexdigest()[:16])
        self._known["edits"] = _edits(self.x, self.y)
        return str(self._known["fingerprint"])

    @property
    def quick_fingerprint(self) -> str:
        """The fingerprint, without a look at every byte as long as torch counts no edit since the last look.

        A plan asks for it each time it poisons. Edits through `.data` are counted by nobody: only `fingerprint` itself
        notices them.
        """
        edits = _edits(self.x, self.y)
        if edits is None or self._known.get("edits") != edits:
            return self.fingerprint
        return str(self._known["fingerprint"])

    @property
    def label_fingerprint(self) -> str:
        """The same of class names and labels alone: what is known of a set whose images do not fit into memory."""
        return label_fingerprint(self.y, self.classes)

    def counts(self) -> list[int]:
        """Images per class, in label order."""
        return torch.bincount(self.y, minlength=len(self.classes)).tolist()

    def sample(self, count: int, *, seed: int = 0) -> ImageSet:
        """That many images at random, without repeats, in the order in which they were drawn; all if there are fewer.

        Raises:
            ValueError: `count` is below 1.
        """
        if whole("count", count) < 1:
            raise ValueError(f"a sample needs at least 1 image; got count={count}")
        order = torch.randperm(len(self), generator=seeded_generator(seed))
        return self[order[:count]]

    def split(self, fraction: float, *, seed: int = 0) -> tuple[ImageSet, ImageSet]:
        """(rest, held out): about `fraction` of every class is held out, whole groups at a time.

        Args:
            fraction: Part of the images that is held out, strictly between 0 and 1.
            seed: Seed of the draw.

        Raises:
            ValueError: The fraction leaves one side of the split without images.
        """
        if not 0 < number("fraction", fraction) < 1:
            raise ValueError(f"fraction must lie strictly between 0 and 1; got {fraction}")
        source = seeded_generator(seed)
        y = self.y.cpu()
        groups = torch.arange(len(self)) if self.groups is None else self.groups.cpu()
        held = torch.zeros(len(self), dtype=torch.bool)
        decided = held.clone()  # a group that shows several classes is drawn with the first of them
        for label in range(len(self.classes)):
            members = groups[(y == label) & ~decided].unique()
            order = torch.randperm(len(members), generator=source)
            held |= torch.isin(groups, members[order[: round(fraction * len(members))]])
            decided |= torch.isin(groups, members)
        if held.all() or not held.any():
            raise ValueError(f"holding out {fraction} of {len(self)} images leaves one side empty")
        return self[~held], self[held]

    @classmethod
    def from_arrays(
        cls, x: Any, y: Any, classes: Sequence[str], *, layout: Layout | None = None, groups: Any = None
    ) -> ImageSet:
        """Images from numpy, PIL or torch, copied; see `badnets_lib.data.own.from_arrays`."""
        from .own import from_arrays

        return from_arrays(x, y, classes, layout=layout, groups=groups)

    @classmethod
    def from_dataset(cls, dataset: Any, *, classes: Sequence[str] | None = None, groups: Any = None) -> ImageSet:
        """A torch `Dataset` or `DataLoader`, read once; see `badnets_lib.data.own.from_dataset`."""
        from .own import from_dataset

        return from_dataset(dataset, classes=classes, groups=groups)

    @classmethod
    def from_folder(
        cls,
        root: Path | str,
        *,
        size: int | tuple[int, int] | None = None,
        classes: Sequence[str] | None = None,
        groups: GroupOf | None = None,
    ) -> ImageSet:
        """Pictures in one folder a class; see `badnets_lib.data.folders.from_folder`."""
        from .folders import from_folder

        return from_folder(root, size=size, classes=classes, groups=groups)

    def as_dataset(self) -> ImageDataset:
        """The set as a torch `Dataset` of (float image, int label); see `badnets_lib.data.export.ImageDataset`."""
        from .export import ImageDataset

        return ImageDataset(self)

    def save_folder(self, path: Path | str) -> Path:
        """Write one PNG an image, one folder a class; see `badnets_lib.data.folders.save_folder`."""
        from .folders import save_folder

        return save_folder(self, path)


def check_set(data: Any, needed: str = "this") -> ImageSet:
    """The images, if they are an `ImageSet`.

    Raises:
        TypeError: They are something else.
    """
    if isinstance(data, ImageSet):
        return data
    hint = "see ImageSet.from_dataset, from_folder and from_arrays"
    if isinstance(data, tuple) and any(isinstance(part, ImageSet) for part in data):
        hint = "load gives two of them: train, test = load(...)"
    raise TypeError(f"{needed} needs an ImageSet; got {type(data).__name__} ({hint})")


def seeded_generator(seed: Any) -> torch.Generator:
    """A generator of random numbers of its own.

    Raises:
        TypeError: The seed is no whole number.
    """
    try:
        return torch.Generator().manual_seed(index(seed))
    except TypeError:
        raise TypeError(f"a seed is a whole number; got {shown(seed)}") from None


def label_fingerprint(y: Labels, classes: Sequence[str]) -> str:
    """First 16 hex digits of the SHA-256 of class names and labels, in order."""
    digest = hashlib.sha256(repr((tuple(classes), len(y))).encode())
    digest.update(_bytes(y.long()))
    return digest.hexdigest()[:16]


def warn_if_divided_twice(x: StoredImages) -> None:
    """Warn if no pixel is brighter than 1/255: `x / 255` of images that were in [0, 1] already."""
    if x.is_floating_point() and x.numel() and 0 < float(x.detach().max()) <= 1.001 / 255:
        warn_assumption(
            f"the brightest pixel is {float(x.max()):.4f}: were the images divided by 255 twice?", "divided-twice"
        )


def check_label_tensor(y: Any) -> Tensor:
    """The labels, if they are a tensor at all.

    Raises:
        TypeError: They are something else.
    """
    if not isinstance(y, Tensor):
        raise TypeError(
            f"labels need a torch tensor [N] of integers; got {type(y).__name__} (use torch.tensor(labels))"
        )
    return y


def _check_labels(y: Tensor, images: int, device: torch.device, classes: int) -> None:
    check_label_tensor(y)
    if y.ndim != 1 or y.is_floating_point() or y.dtype == torch.bool:
        raise ValueError(f"labels need shape [N] and an integer dtype; got {y.dtype} {list(y.shape)}")
    if images != len(y):
        raise ValueError(f"{images} images but {len(y)} labels")
    if device != y.device:
        raise ValueError(f"images are on {device} but labels on {y.device}")
    if len(y) and not 0 <= int(y.min()) <= int(y.max()) < classes:
        raise ValueError(f"labels must lie in [0, {classes}); got {int(y.min())} to {int(y.max())}")


def check_names(classes: Any) -> tuple[str, ...]:
    """The class names as a tuple.

    Raises:
        TypeError: They are none.
    """
    if isinstance(classes, str) or not isinstance(classes, Sequence) or not all(isinstance(c, str) for c in classes):
        raise TypeError(f"classes must be the class names in label order; got {shown(classes)}")
    return tuple(classes)


def _edits(*tensors: Tensor) -> str | None:
    """How often each tensor was edited in place; None where nobody counts.

    Torch counts no edits of tensors made in inference mode, and none that go through a numpy array which shares the
    memory; the storage of such a tensor cannot be resized any more.
    """
    if any(each.is_inference() or not each.untyped_storage().resizable() for each in tensors):
        return None
    return ".".join(str(each._version) for each in tensors)


def _bytes(tensor: Tensor) -> memoryview:
    """A copy of what a tensor holds, in order: its own memory, once given to numpy, could not be resized any more."""
    flat = tensor.detach().cpu().contiguous().clone().flatten()
    return flat.view(torch.uint8).numpy().data


def _checksum(*tensors: Tensor) -> int:
    """A CRC-32 of everything that tensors hold, a few times quicker than their SHA-256 as numbers in [0, 1]."""
    checksum = 0
    for tensor in tensors:
        for part in torch.split(tensor, CHUNK):
            checksum = crc32(_bytes(part), checksum)
    return checksum
