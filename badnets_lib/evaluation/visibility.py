"""How visible a trigger is: PSNR and SSIM, computed by torchmetrics (`pip install torchmetrics`)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from types import ModuleType
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from .._extras import need
from .._torchvision import declare_operators
from ..data.images import Images, check_images

SSIM_WINDOW = 11
"""Side of SSIM's Gaussian window (standard deviation 1.5 pixels); images may not be smaller."""

AT_ONCE = 64
"""Images that are measured at a time."""


@dataclass(frozen=True)
class Visibility:
    """Two distances between images and their stamped versions, averaged over the images.

    Attributes:
        psnr: Peak signal-to-noise ratio in dB, the mean over images; infinite if any image is unchanged.
            Higher is less visible.
        ssim: Structural similarity, the mean over images; 1 for equal images. Higher is less visible.
        unchanged: Number of images that are exactly equal.
    """

    psnr: float
    ssim: float
    unchanged: int = 0

    def __str__(self) -> str:
        return f"PSNR {self.psnr:.1f} dB, SSIM {self.ssim:.3f}"


def visibility(x: Images, stamped: Images) -> Visibility:
    """Mean PSNR and SSIM of stamped images against the originals.

    Args:
        x: Images [N, C, H, W] in [0, 1], at least 11 pixels high and wide.
        stamped: The same images with a trigger.

    Raises:
        ValueError: The shapes differ, there is no image, or the images are smaller than SSIM's window.
        ModuleNotFoundError: torchmetrics is not installed.

    References:
        Wang, Bovik, Sheikh, Simoncelli, Image quality assessment: from error visibility to structural
        similarity, IEEE Transactions on Image Processing 2004.
    """
    ratios, similarities = psnr(x, stamped), ssim(x, stamped)
    return Visibility(float(ratios.mean()), float(similarities.mean()), int(ratios.isinf().sum()))


def psnr(x: Images, stamped: Images) -> Float[Tensor, " n"]:
    """10 log10(1 / mean squared error) of every image in dB, [N]; infinite where nothing changed."""
    metric: Callable[..., Any] = _metrics().peak_signal_noise_ratio
    return _of_each(x, stamped, partial(metric, data_range=1.0, reduction="none", dim=(1, 2, 3)))


def ssim(x: Images, stamped: Images) -> Float[Tensor, " n"]:
    """Structural similarity of every image, [N]: 1 for equal images."""
    metric: Callable[..., Any] = _metrics().structural_similarity_index_measure
    return _of_each(x, stamped, partial(metric, data_range=1.0, reduction="none", kernel_size=SSIM_WINDOW))


def _of_each(x: Images, stamped: Images, metric: Callable[..., Tensor]) -> Tensor:
    """The metric of every image, some images at a time."""
    if check_images(x).shape != check_images(stamped).shape:
        raise ValueError(f"images and stamped images must have one shape; got {list(x.shape)}, {list(stamped.shape)}")
    if not len(x) or min(x.shape[-2:]) < SSIM_WINDOW:
        least = f"at least one image of {SSIM_WINDOW}x{SSIM_WINDOW} pixels"
        raise ValueError(f"visibility needs {least}; got {len(x)} of {x.shape[-2]}x{x.shape[-1]}")
    parts = zip(x.detach().split(AT_ONCE), stamped.detach().to(x.device).split(AT_ONCE), strict=True)
    return torch.cat([metric(theirs.float(), mine.float()).reshape(len(mine)).cpu() for mine, theirs in parts])


def _metrics() -> ModuleType:
    need("torchmetrics", "visibility")
    declare_operators()  # torchmetrics imports torchvision, whose operators may not match the installed torch
    from torchmetrics.functional import image

    return image
