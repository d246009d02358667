"""What a buyer does to a network before using it: freeze and fine-tune, prune, quantise, distil.

Every function returns a new network and leaves the given one as it was. None of them is a defense by
design; whether a backdoor survives them is the question.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import kl_div, log_softmax, softmax
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd
from torch.nn.utils import skip_init

from .._numbers import number, of_kind, shown
from ..data.images import ImageSet, StoredImages, check_stored
from .inference import check_network, logits_of, place, placement, predict, single, unwrapped
from .layers import find_layer, head
from .quantisation import Quantised as Quantised, quantised as quantised
from .training import TrainConfig, check_trainable, pick_device, run_epochs, seeded, starting_network


class Held:
    """What is put before batch norm's own class to make it keep to its running statistics while the rest trains."""

    def train(self, mode: bool = True) -> Any:
        """Stay in evaluation mode, whatever `mode` says."""
        return super().train(False)  # type: ignore[misc]  # the class after this one is a module


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
    network = copy.deepcopy(check_network(model)).requires_grad_(train is None)
    if train is not None:
        chosen = [weight for name in _layer_names(train) for weight in find_layer(network, name).parameters()]
        if not chosen:
            raise ValueError(f"the layers {', '.join(train) or '(none)'} have no weights to train")
        for weight in chosen:
            weight.requires_grad_(True)
    for layer in network.modules():
        kind = type(layer)
        if isinstance(layer, Held) and not hold_statistics:
            layer.__class__ = kind.__bases__[1]
        elif isinstance(layer, _BatchNorm) and layer.track_running_stats and hold_statistics:
            if not isinstance(layer, Held):
                layer.__class__ = type(f"Held{kind.__name__}", (Held, kind), {})
            layer.training = False
    return network


def _layer_names(names: Any) -> Sequence[str]:
    """Names of layers; one text would be taken apart into letters."""
    if isinstance(names, str) or not isinstance(names, Sequence):
        raise TypeError(f"train must be the names of layers in a tuple; got {shown(names)}")
    return names


def with_new_head(model: nn.Module, classes: int, x: StoredImages, *, seed: int = 0) -> nn.Module:
    """A copy for another task: every layer as it is, but a fresh last one.

    Args:
        model: Any classifier whose logits are made by a linear layer or a convolution.
        classes: Number of classes of the new task, at least 2.
        x: Images in the network's format; two are enough. The network is run to find its last layer.
        seed: Seed of the fresh layer.

    Returns:
        The new network, in evaluation mode.

    Raises:
        ValueError: There are fewer than two classes, or the last layer is of another kind.
    """
    return with_fresh_layers(model, (head(model, x),), classes, x, seed=seed).eval()


def with_fresh_layers(
    model: nn.Module, layers: Sequence[str], classes: int, x: StoredImages, *, seed: int | None = None
) -> nn.Module:
    """A copy in which the named layers are drawn anew and the last one answers with another number of classes.

    Args:
        model: Any classifier whose logits are made by a linear layer or a convolution.
        layers: Names of the layers; the last one is always drawn anew.
        classes: Number of classes, at least 2.
        x: Images in the network's format; two are enough.
        seed: Seed of the fresh weights; None: they are drawn from the global generator.

    Raises:
        ValueError: There are fewer than two classes, or the last layer is of another kind.
    """
    if classes < 2:
        raise ValueError(f"a classifier needs at least 2 classes; got {classes}")
    network = copy.deepcopy(unwrapped(model))
    last = head(network, x)
    parent, _, name = last.rpartition(".")
    setattr(network.get_submodule(parent), name, _widened(last, find_layer(network, last), classes))
    kept = network.state_dict()
    fresh = {f"{layer}.{key}" for layer in (*layers, last) for key in find_layer(network, layer).state_dict()}
    drawn = copy.deepcopy(network).cpu()  # whose generator is the one that is seeded
    with torch.random.fork_rng(devices=[], enabled=seed is not None):
        if seed is not None:
            torch.default_generator.manual_seed(seed)
        for layer in drawn.modules():  # all are drawn, in order, so that the fresh ones are those of a new network
            reset = getattr(layer, "reset_parameters", None)
            if callable(reset):
                reset()
    drawn_state = drawn.state_dict()
    network.load_state_dict({key: drawn_state[key] if key in fresh else kept[key] for key in kept})
    return network


def _widened(name: str, layer: nn.Module, classes: int) -> Any:
    """A layer of the same kind with one output for each class."""
    if not isinstance(layer, nn.Linear | nn.Conv2d):
        kind = type(layer).__name__
        raise ValueError(f"a new head needs a linear layer or a convolution at the end; layer {name!r} is a {kind}")
    same: dict[str, Any] = {
        "bias": layer.bias is not None,
        "device": layer.weight.device,
        "dtype": layer.weight.dtype,
    }
    if isinstance(layer, nn.Linear):
        return skip_init(nn.Linear, layer.in_features, classes, **same)
    if layer.groups != 1:
        raise ValueError(f"a new head needs a convolution over all channels at once; layer {name!r} has groups")
    same |= {key: getattr(layer, key) for key in ("kernel_size", "stride", "padding", "dilation", "padding_mode")}
    return skip_init(nn.Conv2d, layer.in_channels, classes, **same)


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

    check_network(model)
    if not 0 <= number("sparsity", sparsity) < 1:
        raise ValueError(f"sparsity must lie in [0, 1); got {sparsity}")
    network, masked = copy.deepcopy(model), copy.deepcopy(model)
    for weight in masked.parameters():  # torch's pruning cannot read channels_last
        weight.data = weight.data.contiguous()
    places = [(layer, "weight") for layer in masked.modules() if isinstance(layer, _ConvNd | nn.Linear)]
    if not places:
        raise ValueError(f"{type(model).__name__} has no convolution and no linear layer to prune")
    prune.global_unstructured(places, pruning_method=prune.L1Unstructured, amount=sparsity)
    for layer, name in places:
        prune.remove(layer, name)
    network.load_state_dict(masked.state_dict())  # torch's masks leave the parameters in another order
    return network


def distilled(
    teacher: nn.Module,
    x: StoredImages,
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
        student: Function that makes the fresh network; what it makes is copied.
        temperature: Both networks' logits are divided by this, so that small probabilities count.

    Raises:
        ValueError: There are fewer than two images, the temperature is not positive, or the student cannot learn or
            has another number of outputs than the teacher.

    References:
        Hinton, Vinyals, Dean, Distilling the Knowledge in a Neural Network, 2015. arXiv:1503.02531.
    """
    if len(check_stored(x)) < 2 or not number("temperature", temperature) > 0:
        raise ValueError(f"distillation needs 2 images and a positive temperature; got {len(x)} and {temperature}")
    config = TrainConfig() if config is None else of_kind("config", config, TrainConfig)
    device = pick_device(config.device)
    wanted = softmax(predict(teacher, x) / temperature, 1).to(device)
    x = x.to(device)
    lesson = ImageSet(x, wanted.argmax(1).to(x.device), tuple(map(str, range(wanted.shape[1]))))
    with seeded(config.seed, device):
        network = starting_network(student, lesson).to(device)
        check_trainable(network, lesson)
        weights = placement(network)

        def loss(batch: Tensor) -> Tensor:
            answers = log_softmax(single(logits_of(network(place(x[batch], weights)))) / temperature, 1)
            return temperature**2 * kl_div(answers, wanted[batch], reduction="batchmean")

        for _ in run_epochs(network, len(x), loss, config, device=device, label="distillation"):
            pass
    return network.eval()


def answered(model: nn.Module, x: StoredImages, classes: tuple[str, ...]) -> ImageSet:
    """Images labelled with the network's own answers: data for anyone who has the network and no labels."""
    return ImageSet(x, predict(model, x).argmax(1).to(x.device), classes)
