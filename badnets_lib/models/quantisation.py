"""A network in eight bits: post-training quantisation, as a phone or a browser would run it."""

from __future__ import annotations

import copy
import logging
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from operator import attrgetter
from typing import Any

import torch
from torch import Tensor, nn

from .._extras import need
from ..data.images import Images, check_images
from .inference import logits_of, unwrapped
from .layers import calls_of


class Quantised(nn.Module):
    """A network on int8 weights and 8-bit activations, on the CPU."""

    def __init__(self, graph: Any) -> None:
        super().__init__()
        self._graph: Any
        object.__setattr__(self, "_graph", graph)  # an exported graph has one mode only, and must not be asked
        self._anchor = nn.Parameter(torch.zeros(()), requires_grad=False)  # tells `predict` device and dtype

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self._graph(x)
        return logits

    @property
    def weights(self) -> dict[str, Tensor]:
        """The tensors it is computed from: int8 weights, their scales and zero points, float biases."""
        names = [node.target for node in self._graph.graph.nodes if node.op == "get_attr"]
        return {name: attrgetter(name)(self._graph).detach() for name in names}


def quantised(model: nn.Module, x: Images) -> Quantised:
    """Static int8 post-training quantisation: weights per channel, activations per tensor.

    Batch norm is folded into the convolution before it. The rounding is that of 8-bit kernels, computed
    here with the reference arithmetic, which runs on every machine.

    Args:
        model: Any classifier that `torch.export` can trace; evaluated on the CPU, in single precision.
        x: At least two clean images; the range of every activation is read off them, and what exceeds
            it later is clipped.

    Raises:
        ModuleNotFoundError: torchao is not installed; a plain installation leaves it out.
        ValueError: There are fewer than two images, or torch.export or torchao cannot work with the network.
    """
    need("torchao", "quantisation")
    if len(check_images(x)) < 2:
        raise ValueError(f"quantisation needs at least 2 images to read ranges off; got {len(x)}")
    with _quiet():
        from torchao.quantization.pt2e.quantize_pt2e import (
            convert_pt2e,
            prepare_pt2e,
        )
        from torchao.quantization.pt2e.quantizer.x86_inductor_quantizer import (
            X86InductorQuantizer,
            get_default_x86_inductor_quantization_config,
        )

        x = x.detach().cpu().float().contiguous()
        network = _ready_to_trace(model, x)
        quantizer = X86InductorQuantizer().set_global(get_default_x86_inductor_quantization_config())
        try:
            many = torch.export.Dim.DYNAMIC
            graph = torch.export.export(network, (x,), dynamic_shapes=({0: many},)).module()
            observed = prepare_pt2e(graph, quantizer)
            with torch.no_grad():
                observed(x)
            return Quantised(convert_pt2e(observed)).eval()
        except Exception as error:  # whatever stops torch.export or torchao, in whichever of their layers
            reason = str(error).strip().split("\n")[0]
            raise ValueError(f"{type(unwrapped(model)).__name__} cannot be quantised by torchao: {reason}") from error


def _ready_to_trace(model: nn.Module, x: Images) -> nn.Module:
    """A copy that answers with its logits alone, and in which no ReLU module is called twice.

    torchao looks for a convolution and *its* ReLU by the module, and stops where one module serves several.
    """
    network = copy.deepcopy(unwrapped(model)).cpu().float().eval()
    uses = Counter(call.name for call in calls_of(network, x)[0] if isinstance(call.layer, nn.ReLU))
    for name, count in uses.items():
        if count > 1:
            parent, _, own = name.rpartition(".")
            setattr(network.get_submodule(parent), own, _PlainReLU())
    return _LogitsOnly(network).eval()


class _PlainReLU(nn.Module):
    """A ReLU that torchao tells apart at every call."""

    def forward(self, x: Tensor) -> Tensor:
        return x.relu()


class _LogitsOnly(nn.Module):
    """A network that answers with its logits alone: a traced graph returns tensors, not objects."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        return logits_of(self.model(x))


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the libraries' remarks about kernels that are not used here out of a reader's page."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
