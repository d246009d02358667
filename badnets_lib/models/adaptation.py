"""What a buyer does to a network before using it: freeze and fine-tune, prune, quantise, distil.

Every function returns a new network and leaves the given one as it was. None of them is a defense by
design; whether a backdoor survives them is the question.
"""

from __future__ import annotations

import copy
import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from operator import attrgetter
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import kl_div, log_softmax, softmax

from ..data.images import Images, ImageSet, check_images, check_stored
from .inference import logits_of, place, placement, predict
from .layers import find_layer
from .networks import build
from .training import TrainConfig, pick_device, run_epochs, seeded


class _Held:
    """Batch norm that keeps to its running statistics while the network round it trains."""

    def train(self, mode: bool = True) -> Any:
        """Stay in evaluation mode, whatever `mode` says."""
        return super().train(False)  # type: ignore[misc]


class _HeldNorm1d(_Held, nn.BatchNorm1d):
    pass


class _HeldNorm2d(_Held, nn.BatchNorm2d):
    pass


class _HeldNorm3d(_Held, nn.BatchNorm3d):
    pass


HELD: dict[type[nn.Module], type[nn.Module]] = {
    nn.BatchNorm1d: _HeldNorm1d,
    nn.BatchNorm2d: _HeldNorm2d,
    nn.BatchNorm3d: _HeldNorm3d,
}
"""For each batch norm the one that holds its statistics."""


def frozen(model: nn.Module, *, train: Sequence[str] | None = None, hold_statistics: bool = True) -> nn.Module:
    """A copy of which only some layers are trained by `badnets_lib.train`.

    Weights that take no gradient stay bit for bit. Batch norm's running statistics are no weights: they
    follow the new data even in a layer whose weights are frozen, unless they are held.

    Args:
        model: Any network.
        train: Names of the layers that go on learning, such as ("fc2",). Default: all, even those that came frozen.
        hold_statistics: Keep batch norm's statistics, and normalise with them during training as well.

    Raises:
        ValueError: There is no layer of that name, or it has nothing to train.
    """
    network = copy.deepcopy(model).requires_grad_(train is None)
    if train is not None:
        chosen = [weight for name in train for weight in find_layer(network, name).parameters()]
        if not chosen:
            raise ValueError(f"the layers {', '.join(train) or '(none)'} have no weights to train")
        for weight in chosen:
            weight.requires_grad_(True)
    if hold_statistics:
        for layer in network.modules():
            layer.__class__ = HELD.get(type(layer), type(layer))
            if isinstance(layer, _Held):
                layer.train(False)
    return network


def with_new_head(model: nn.Module, classes: int, *, seed: int = 0) -> nn.Module:
    """A network for another task: every layer from `model`, but a fresh last one.

    Args:
        model: A `SmallCNN`.
        classes: Number of classes of the new task.
        seed: Seed of the fresh layer.

    Raises:
        ValueError: The network has no `spec` with a number of classes.
    """
    spec = getattr(model, "spec", {})
    if "classes" not in spec:
        raise ValueError(f"{type(model).__name__} cannot be rebuilt for another number of classes")
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        network = build(spec | {"classes": classes})
    kept = {name: each for name, each in model.state_dict().items() if not name.startswith("fc2.")}
    network.load_state_dict(kept, strict=False)
    return network.eval()


def pruned(model: nn.Module, sparsity: float) -> nn.Module:
    """A copy in which the smallest weights of all convolutions and linear layers together are zero.

    Args:
        model: Any network.
        sparsity: Part of those weights that is set to zero, in [0, 1).

    Raises:
        ValueError: The sparsity is out of range, or the network has no such layer.

    References:
        Liu, Dolan-Gavitt, Garg, Fine-Pruning, 2018, prunes whole units that clean images leave silent
            instead. arXiv:1805.12185.
    """
    from torch.nn.utils import prune

    if not 0 <= sparsity < 1:
        raise ValueError(f"sparsity must lie in [0, 1); got {sparsity}")
    network, masked = copy.deepcopy(model), copy.deepcopy(model)
    for weight in masked.parameters():  # torch's pruning cannot read channels_last, which `train` leaves
        weight.data = weight.data.contiguous()
    places = [(layer, "weight") for layer in masked.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    if not places:
        raise ValueError(f"{type(model).__name__} has no convolution and no linear layer to prune")
    prune.global_unstructured(places, pruning_method=prune.L1Unstructured, amount=sparsity)
    for layer, name in places:
        prune.remove(layer, name)
    network.load_state_dict(masked.state_dict())  # torch's masks leave the parameters in another order
    return network


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
        model: Any network that `torch.export` can trace; evaluated on the CPU.
        x: At least two clean images; the range of every activation is read off them, and what exceeds
            it later is clipped.

    Raises:
        ValueError: There are fewer than two images.
    """
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
        network = copy.deepcopy(model).cpu().eval()
        many = torch.export.Dim.DYNAMIC
        graph = torch.export.export(network, (x,), dynamic_shapes=({0: many},)).module()
        quantizer = X86InductorQuantizer().set_global(get_default_x86_inductor_quantization_config())
        observed = prepare_pt2e(graph, quantizer)
        with torch.no_grad():
            observed(x)
        return Quantised(convert_pt2e(observed)).eval()


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


def distilled(
    teacher: nn.Module,
    x: Images,
    config: TrainConfig | None = None,
    *,
    student: Callable[[], nn.Module],
    temperature: float = 4.0,
) -> nn.Module:
    """Train a fresh network to give a teacher's answers, softened, on unlabelled images.

    Args:
        teacher: Any classifier; only asked.
        x: The images the student learns from; what the teacher says elsewhere, it never hears.
        config: Settings, as for `train`.
        student: Function that makes the fresh network.
        temperature: Both networks' logits are divided by this, so that small probabilities count.

    Raises:
        ValueError: There are fewer than two images, or the temperature is not positive.

    References:
        Hinton, Vinyals, Dean, Distilling the Knowledge in a Neural Network, 2015. arXiv:1503.02531.
    """
    if len(check_stored(x)) < 2 or not temperature > 0:
        raise ValueError(f"distillation needs 2 images and a positive temperature; got {len(x)} and {temperature}")
    config = config or TrainConfig()
    device = pick_device(config.device)
    wanted = softmax(predict(teacher, x) / temperature, 1).to(device)
    x = x.to(device)
    with seeded(config.seed, device):
        network = student().to(device)
        weights = placement(network)

        def loss(batch: Tensor) -> Tensor:
            answers = log_softmax(logits_of(network(place(x[batch], weights))) / temperature, 1)
            return temperature**2 * kl_div(answers, wanted[batch], reduction="batchmean")

        for _ in run_epochs(network, len(x), loss, config, device=device, label="distillation"):
            pass
    return network.eval()


def answered(model: nn.Module, x: Images, classes: tuple[str, ...]) -> ImageSet:
    """Images labelled with the network's own answers: data for whoever has the network and no labels."""
    return ImageSet(x, predict(model, x).argmax(1).to(x.device), classes)
