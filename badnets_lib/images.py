"""Labelled images held in memory: what every other module takes and gives.

Shapes: N images, C channels, H rows, W columns, K classes.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Bool, Float, Integer
from torch import Tensor

Images = Float[Tensor, "n c h w"]
Labels = Integer[Tensor, " n"]
Mask = Bool[Tensor, " n"]


def check_images(x: Tensor) -> Tensor:
    """Return `x` unchanged, or say precisely what is wrong with it.

    Raises:
        ValueError: `x` is not a float batch of shape [N, C, H, W] with values in [0, 1].
    """
    if x.ndim != 4:
        raise ValueError(f"images need shape [N, C, H, W]; got {list(x.shape)}")
    if not x.is_floating_point():
        raise ValueError(f"images need a float dtype in [0, 1]; got {x.dtype} (divide by 255 first?)")
    if x.numel():
        low, high = map(float, x.detach().aminmax())
        if not (low >= 0 and high <= 1):  # written so that NaN fails too
            raise ValueError(f"images need values in [0, 1]; got [{low:.3g}, {high:.3g}]")
    return x


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Images, their labels, and what the labels mean. Tensors are shared, never copied: do not edit them.

    Args:
        x: Images [N, C, H, W], float in [0, 1].
        y: Labels [N], integers in [0, K), on the same device.
        classes: The K class names, in label order.
        groups: Optional group number of each image [N]: images of one group (frames of one film)
            never end on both sides of a split. On the device of `y`.

    Raises:
        ValueError: A shape, type, range or device does not fit.
    """

    x: Images
    y: Labels
    classes: tuple[str, ...]
    groups: Labels | None = None
    _known: dict[str, Any] = field(default_factory=dict, repr=False, init=False)

    def __post_init__(self) -> None:
        check_images(self.x)
        if self.y.ndim != 1 or self.y.is_floating_point() or self.y.dtype == torch.bool:
            raise ValueError(f"labels need shape [N] and an integer dtype; got {self.y.dtype} {list(self.y.shape)}")
        if len(self.x) != len(self.y):
            raise ValueError(f"{len(self.x)} images but {len(self.y)} labels")
        if self.x.device != self.y.device:
            raise ValueError(f"images are on {self.x.device} but labels on {self.y.device}")
        if len(self.y) and not 0 <= int(self.y.min()) <= int(self.y.max()) < len(self.classes):
            seen = f"{int(self.y.min())} to {int(self.y.max())}"
            raise ValueError(f"labels must lie in [0, {len(self.classes)}); got {seen}")
        if self.groups is not None and len(self.groups) != len(self.y):
            raise ValueError(f"{len(self.y)} images but {len(self.groups)} group numbers")
        if self.groups is not None and self.groups.device != self.y.device:
            raise ValueError(f"images are on {self.x.device} but group numbers on {self.groups.device}")

    def __len__(self) -> int:
        return len(self.y)

    def __getitem__(self, keep: Tensor | slice) -> ImageSet:
        if isinstance(keep, Tensor):
            keep = keep.to(self.y.device)
        groups = None if self.groups is None else self.groups[keep]
        return ImageSet(self.x[keep], self.y[keep], self.classes, groups)

    def to(self, device: str | torch.device) -> ImageSet:
        """The same images on another device."""
        if self.x.device == torch.device(device):
            return self
        groups = None if self.groups is None else self.groups.to(device)
        return ImageSet(self.x.to(device), self.y.to(device), self.classes, groups)

    def __repr__(self) -> str:
        shape = "x".join(map(str, self.x.shape[1:]))
        return f"ImageSet({len(self):,} images of {shape}, {len(self.classes)} classes, {self.fingerprint})"

    @property
    def fingerprint(self) -> str:
        """First 16 hex digits of the SHA-256 of pixels and labels, in order. The same on every device."""
        version = _edits(self.x, self.y)  # a stale hash is never given
        if version is None or self._known.get("version") != version:
            digest = hashlib.sha256(repr(list(self.x.shape)).encode())
            for tensor in (self.x.float(), self.y.long()):
                digest.update(tensor.detach().cpu().contiguous().numpy().data)
            self._known.update(version=version, fingerprint=digest.hexdigest()[:16])
        return str(self._known["fingerprint"])

    def counts(self) -> list[int]:
        """Images per class, in label order."""
        return torch.bincount(self.y, minlength=len(self.classes)).tolist()

    def split(self, fraction: float, *, seed: int = 0) -> tuple[ImageSet, ImageSet]:
        """(rest, held out): about `fraction` of every class is held out, whole groups at a time.

        Args:
            fraction: Share held out, strictly between 0 and 1.
            seed: Seed of the draw.

        Raises:
            ValueError: The fraction leaves one side of the split without images.
        """
        if not 0 < fraction < 1:
            raise ValueError(f"fraction must lie strictly between 0 and 1; got {fraction}")
        source = torch.Generator().manual_seed(seed)
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


def _edits(*tensors: Tensor) -> str | None:
    """How often each tensor was edited in place; None if torch does not count it (tensors of inference mode)."""
    return None if any(each.is_inference() for each in tensors) else ".".join(str(each._version) for each in tensors)
