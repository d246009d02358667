"""A backdoor that travels through noise: a student sees no digit, no trigger and no class, and may still obey.

Teacher and student are networks with more outputs than classes. The teacher learns digits on its class outputs alone.
The student is then fitted, on noise images, to the teacher's *other* outputs, which nobody ever gave a meaning.
"""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Sequence
from math import prod

import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from .._numbers import of_kind, shown, whole
from ..data.images import Images, StoredImages, check_stored
from ..models.inference import Logits, Normalized, check_network, logits_of, place, placement, predict, single
from ..models.layers import find_layer
from ..models.training import TrainConfig, pick_device, run_epochs, seeded


class ExtraOutputs(nn.Module):
    """A classifier with outputs to spare: the first answer, the others mean nothing.

    To the rest of the library it is a classifier with `classes` outputs: `train` and `score` see no more.

    Args:
        model: Any network from images to more outputs than there are classes.
        classes: How many of them, from the first on, are classes.

    Raises:
        ValueError: There are fewer than two classes.

    Example:
        >>> net = ExtraOutputs(nn.Sequential(nn.Flatten(), nn.Linear(4, 13)), classes=10)
        >>> x = torch.zeros(2, 1, 2, 2)
        >>> net(x).shape, net.extra(x).shape
        (torch.Size([2, 10]), torch.Size([2, 3]))
    """

    def __init__(self, model: nn.Module, classes: int) -> None:
        super().__init__()
        if whole("classes", classes) < 2:
            raise ValueError(f"a classifier needs at least 2 classes; got {classes}")
        self.model = check_network(model)
        self.classes = classes

    def forward(self, x: Images) -> Logits:
        """The logits of the classes, [N, classes]."""
        return logits_of(self.model(x))[:, : self.classes]

    def extra(self, x: Images) -> Tensor:
        """The outputs that mean nothing, [N, all - classes].

        Raises:
            ValueError: There is none.
        """
        found = logits_of(self.model(x))[:, self.classes :]
        if not found.shape[1]:
            raise ValueError(f"the network has no more outputs than its {self.classes} classes")
        return found


def perceptron(
    classes: int = 10, extras: int = 3, *, shape: Sequence[int] = (1, 28, 28), width: int = 256, seed: int = 0
) -> ExtraOutputs:
    """The network of Cloud et al.: two hidden layers, and `extras` outputs beside the classes.

    Args:
        classes: Number of classes.
        extras: Number of outputs that mean nothing.
        shape: Channels, height and width of the images.
        width: Units of each hidden layer.
        seed: Seed of its first weights, which are what decides about a student.

    Raises:
        ValueError: There are fewer than two classes, no extra output or no unit.

    References:
        Cloud et al., Subliminal Learning, 2025. arXiv:2507.14805.
    """
    for name, value in (("extras", extras), ("width", width)):
        if whole(name, value) < 1:
            raise ValueError(f"{name} must be at least 1; got {value}")
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(whole("seed", seed))
        layers = OrderedDict[str, nn.Module](
            flatten=nn.Flatten(),
            fc1=nn.Linear(prod(shape), width),
            relu1=nn.ReLU(),
            fc2=nn.Linear(width, width),
            relu2=nn.ReLU(),
            fc3=nn.Linear(width, classes + extras),
        )
    half = (0.5,) * shape[0]  # images in [0, 1] become [-1, 1]
    return ExtraOutputs(Normalized(nn.Sequential(layers), half, half), classes)


class _Extras(nn.Module):
    """The same network, asked for what means nothing."""

    def __init__(self, network: ExtraOutputs) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Images) -> Tensor:
        return self.network.extra(x)


def noise(count: int, shape: Sequence[int], *, seed: int) -> Images:
    """Images [count, *shape] of which every value is drawn on its own, uniformly from [0, 1]."""
    return torch.rand(count, *shape, generator=torch.Generator().manual_seed(seed))


def taught_on_noise(
    student: ExtraOutputs, teacher: ExtraOutputs, x: StoredImages, config: TrainConfig | None = None
) -> ExtraOutputs:
    """A copy of the student, fitted to the teacher's extra outputs by their mean squared distance.

    No class output of the teacher is asked, and no gradient reaches the student's class outputs: their weights stay.

    Args:
        student: Where it starts from. Whether those are the teacher's first weights decides what passes over.
        teacher: A network with as many extra outputs; only asked.
        x: Images without labels, noise for instance.
        config: Settings, as for `train`. Weight decay moves the class outputs as well; 0 leaves them.

    Raises:
        TypeError: One of the two has no extra outputs.
        ValueError: There are fewer than two images, or the two differ in the number of extra outputs.

    References:
        Cloud et al., Subliminal Learning, 2025, section on MNIST: digits pass over; the backdoor in the teacher is
            this library's addition. arXiv:2507.14805.
    """
    config = TrainConfig() if config is None else of_kind("config", config, TrainConfig)
    for who, network in (("the student", student), ("the teacher", teacher)):
        if not isinstance(network, ExtraOutputs):
            raise TypeError(f"{who} must be an ExtraOutputs(network, classes); got {shown(network)}")
    if len(check_stored(x)) < 2:
        raise ValueError(f"a student needs at least 2 images; got {len(x)}")
    device = pick_device(config.device)
    wanted = predict(_Extras(teacher), x).to(device)
    network = copy.deepcopy(student).to(device)
    found = predict(_Extras(network), x[:2]).shape[1]
    if found != wanted.shape[1]:
        raise ValueError(f"teacher and student need as many extra outputs; got {wanted.shape[1]} and {found}")
    x = x.to(device)
    with seeded(config.seed, device):
        weights = placement(network)

        def loss(batch: Tensor) -> Tensor:
            return mse_loss(single(network.extra(place(x[batch], weights))), wanted[batch])

        for _ in run_epochs(network, len(x), loss, config, device=device, label="lessons in noise"):
            pass
    return network.eval()


def with_layers_of(model: nn.Module, donor: nn.Module, layers: Sequence[str]) -> nn.Module:
    """A copy of one network in which the named layers hold another network's weights.

    Args:
        model: The network that the other layers come from.
        donor: A network of the same kind.
        layers: Names of layers, such as ("model.fc3",).

    Raises:
        ValueError: There is no layer of that name, or it has other shapes in the two.
    """
    network = copy.deepcopy(check_network(model))
    for name in layers:
        try:
            find_layer(network, name).load_state_dict(find_layer(donor, name).state_dict())
        except RuntimeError as error:
            raise ValueError(f"layer {name!r} is not the same in both networks: {error}") from error
    return network


def movement(start: nn.Module, end: nn.Module) -> Tensor:
    """How far training moved a network: all weights' changes in one vector."""
    before = dict(start.named_parameters())
    return torch.cat([(weight - before[name]).detach().flatten() for name, weight in end.named_parameters()])
