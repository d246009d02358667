"""A copy of a network for a defense that asks it thousands of times: frozen, and laid out to be quick."""

from __future__ import annotations

import copy
from itertools import pairwise

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from ..data.images import StoredImages
from ..models.inference import check_network, fast_layout


def frozen_copy(model: nn.Module, x: StoredImages) -> nn.Module:
    """A copy in evaluation mode, without gradients, and with its weights laid out as `fast_layout` does.

    Args:
        model: Any classifier; it is not changed.
        x: Images, of which two are tried.
    """
    kept: nn.Module = copy.deepcopy(check_network(model)).eval().requires_grad_(False)
    fast_layout(kept, x[:2])
    return kept


def fused(kept: nn.Module) -> nn.Module:
    """The same network, batch norm folded into the convolution before it, in any plain `nn.Sequential`.

    Anywhere else the order of the layers is not known from their names, and nothing is folded.

    Args:
        kept: A network in evaluation mode that belongs to the caller; its layers are replaced.
    """
    if type(kept).forward is not nn.Sequential.forward:
        return kept
    layers = [(name, part) for name, part in kept.named_modules(remove_duplicate=False) if name and "." not in name]
    for (name, layer), (after, norm) in pairwise(layers):
        if _foldable(layer, norm):
            setattr(kept, name, fuse_conv_bn_eval(layer, norm))
            setattr(kept, after, nn.Identity())
    return kept


def _foldable(layer: nn.Module, norm: nn.Module) -> bool:
    """A plain convolution, and a plain batch norm that has seen data."""
    plain = type(layer) is nn.Conv2d and type(norm) is nn.BatchNorm2d
    hooked = any(part._forward_hooks or part._forward_pre_hooks for part in (layer, norm))
    return plain and not hooked and norm.running_mean is not None
