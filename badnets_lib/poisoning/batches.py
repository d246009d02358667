"""Poisoning without a plan: one batch of images, and labels alone."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from .._numbers import number, of_kind, whole
from ..data.images import Images, ImageSet, Labels, Mask, check_images, check_set, seeded_generator
from ..triggers import stamp_square_trigger


def make_badnets_batch(
    x: Images, y: Labels, target_label: int, poison_mask: Mask, size: int = 4, *, n_classes: int | None = None
) -> tuple[Images, Labels]:
    """Stamp and relabel the masked images of a batch: the heart of BadNets in one function.

    Args:
        x: Images [N, C, H, W], float in [0, 1].
        y: Labels [N], integers.
        target_label: The label every masked image gets.
        poison_mask: Boolean [N]; True where the image is poisoned.
        size: Side of the white square in the bottom-right corner, in pixels.
        n_classes: Number of classes. A batch alone does not tell it: say it, and a label that no class has is refused.

    Returns:
        New images and new labels; `x` and `y` are not changed.

    Raises:
        ValueError: Shapes, types or the label do not fit, or values lie outside [0, 1].

    References:
        Gu et al., BadNets, 2017. arXiv:1708.06733.
    """
    of_kind("x, the images,", x, Tensor)
    of_kind("y, the labels,", y, Tensor)
    of_kind("poison_mask", poison_mask, Tensor)
    target_label = whole("target_label", target_label)
    n_classes = None if n_classes is None else whole("n_classes", n_classes)
    if not len(x) == len(y) == len(poison_mask):
        raise ValueError(f"need one label and one mask entry per image; got {len(x)}, {len(y)}, {len(poison_mask)}")
    if poison_mask.dtype != torch.bool:
        raise ValueError(f"poison_mask must be boolean; got {poison_mask.dtype} (use mask.bool())")
    if y.ndim != 1 or y.is_floating_point() or y.dtype == torch.bool:
        raise ValueError(f"labels need shape [N] and an integer dtype; got {y.dtype} {list(y.shape)}")
    if target_label < 0:
        raise ValueError(f"target_label must be at least 0; got {target_label}")
    if n_classes is not None and (target_label >= n_classes or bool((y >= n_classes).any())):
        raise ValueError(f"labels must lie in [0, {n_classes}); got target_label {target_label}, y to {int(y.max())}")
    stamped = check_images(x).clone()
    relabelled = y.clone()
    stamped[poison_mask] = stamp_square_trigger(x[poison_mask], size=size)
    relabelled[poison_mask] = target_label
    return stamped, relabelled


def flip_labels(train: ImageSet, *, source: int, target: int, fraction: float, seed: int = 0) -> ImageSet:
    """Relabel part of one class, without any trigger: the plain poisoning that a backdoor is compared with.

    Args:
        train: The clean training set; it is not changed.
        source: Class whose labels are changed.
        target: The label they get.
        fraction: Part of the *source class* that is relabelled, in (0, 1].
        seed: Seed of the draw.

    Raises:
        ValueError: A class does not exist, both are the same, or the fraction asks for no image.

    References:
        Biggio, Nelson, Laskov, Poisoning attacks against support vector machines, 2012. arXiv:1206.6389.
    """
    classes = len(check_set(train, "flip_labels").classes)
    source = whole("source", source)
    target = whole("target", target)
    if source == target or not (0 <= source < classes and 0 <= target < classes):
        raise ValueError(f"source and target must be two classes in [0, {classes}); got {source} and {target}")
    if not 0 < number("fraction", fraction) <= 1:
        raise ValueError(f"fraction must lie in (0, 1]; got {fraction}")
    members = (train.y == source).cpu().nonzero().flatten()
    count = round(fraction * len(members))
    if not count:
        raise ValueError(f"fraction {fraction} asks for none of the {len(members)} images of class {source}")
    chosen = members[torch.randperm(len(members), generator=seeded_generator(seed))[:count]]
    y = train.y.clone()
    y[chosen.to(y.device)] = target
    return replace(train, y=y)
