"""One training loop: `run_epochs`. A run repeats from its seed, and resumes after a stop."""

from __future__ import annotations

import copy
import hashlib
import json
import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from .._numbers import check_numbers, of_kind, shown
from .._progress import track
from ..counts import Proportion
from ..data.images import Images, ImageSet, Labels, check_set
from ..files import as_path, tensors_hash
from ._saved_run import SavedRun
from .inference import (
    check_differentiable,
    check_outputs,
    correct,
    evaluating,
    fast_layout,
    lay_back,
    logits_of,
    place,
    placement,
    single,
    strides_of,
)
from .networks import SmallCNN

NetworkSource = nn.Module | Callable[[], nn.Module]
Loss = Callable[[nn.Module, Images, Labels], Tensor]
"""From a network in training mode and a batch to the number that is minimised."""

MakeOptimizer = Callable[[list[nn.Parameter]], torch.optim.Optimizer]
"""From the weights that learn to what changes them."""


def pick_device(name: str = "auto") -> torch.device:
    """The device to compute on: "auto" takes a CUDA GPU if there is one, else the CPU.

    Raises:
        ValueError: `name` is not a device that torch knows, or it is a GPU and there is none.
    """
    if isinstance(name, str) and name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except (RuntimeError, TypeError) as error:
        allowed = "device must be 'auto' or a torch device such as 'cpu' or 'cuda'"
        raise ValueError(f"{allowed}; got {shown(name)}") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"torch {torch.__version__} finds no CUDA GPU here; got device {name!r} (use 'auto' or 'cpu')")
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise ValueError(f"torch {torch.__version__} finds no Apple GPU here; got device {name!r} (use 'auto')")
    return device


def describe_device(name: str = "auto") -> str:
    """One line on where the numbers come from: device, threads, torch version."""
    device = pick_device(name)
    if device.type == "cuda":
        return f"{torch.cuda.get_device_name(device)}, torch {torch.__version__}"
    return f"CPU with {torch.get_num_threads()} threads, torch {torch.__version__}"


@dataclass(frozen=True)
class TrainConfig:
    """Everything that decides a training run apart from the data and the network.

    Args:
        epochs: Passes over the data.
        batch_size: Images per step.
        lr: Peak learning rate of the one-cycle schedule.
        weight_decay: AdamW's decoupled weight decay.
        seed: Seed of the initial weights and of the order of images.
        device: "auto" (a GPU if there is one) or a torch device.

    Raises:
        TypeError: A setting is no number, or no whole one where it must be.
        ValueError: A setting is out of range.
    """

    epochs: int = 6
    batch_size: int = 64
    lr: float = 0.005
    weight_decay: float = 0.01
    seed: int = 0
    device: str = "auto"

    def __post_init__(self) -> None:
        check_numbers(self)
        if self.epochs < 1 or self.batch_size < 2:
            raise ValueError(f"epochs must be at least 1, batch_size at least 2; got {self.epochs}, {self.batch_size}")
        if not (self.lr > 0 and self.weight_decay >= 0):
            raise ValueError(f"lr must be positive, weight_decay not negative; got {self.lr}, {self.weight_decay}")


@dataclass(frozen=True)
class Epoch:
    """What was seen after one pass: mean training loss, and one count per watched set."""

    loss: float
    watched: dict[str, Proportion]

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Epoch:
        """From what `dataclasses.asdict` made of one."""
        return cls(row["loss"], {name: Proportion(**count) for name, count in row["watched"].items()})


@dataclass(frozen=True, eq=False)
class Trained:
    """A trained network and how it came about.

    Attributes:
        model: The network, in evaluation mode, on the device it was trained on.
        config: The settings.
        history: One `Epoch` per pass.
        fingerprint: `ImageSet.fingerprint` of the training data.
        seconds: Wall time of this call, evaluation of watched sets included.
    """

    model: nn.Module
    config: TrainConfig
    history: tuple[Epoch, ...]
    fingerprint: str
    seconds: float = 0.0

    def __repr__(self) -> str:
        last = self.history[-1]
        scores = "".join(f", {name} {count.value:.1%}" for name, count in last.watched.items())
        return f"Trained({type(self.model).__name__}, {len(self.history)} epochs, loss {last.loss:.4f}{scores})"


def classification(network: nn.Module, x: Images, y: Labels) -> Tensor:
    """The usual loss: mean cross-entropy of the network's answers."""
    return cross_entropy(single(logits_of(network(x))), y)


def train(
    data: ImageSet,
    config: TrainConfig | None = None,
    *,
    model: NetworkSource | None = None,
    loss: Loss = classification,
    watch: Mapping[str, ImageSet] | None = None,
    resume: Path | str | None = None,
    optimizer: MakeOptimizer | None = None,
    label: str = "training",
) -> Trained:
    """Fit a network with AdamW, a one-cycle schedule and, unless told otherwise, cross-entropy.

    The same data, settings and network give the same weights, bit for bit, on the same machine's
    CPU at the same number of threads; on a GPU, gradients of pooling layers may differ in their last
    digits. The caller's random state is left as it was found. While it trains, a network may lie in memory in the
    layout that is quickest; it is returned as it came, contiguous unless it was given otherwise.

    Args:
        data: Training images, clean or poisoned.
        config: Settings; the defaults suit 4,000 digits.
        model: A network to go on training (a copy is trained), or a function such as `PaperCNN`
            that makes a fresh one under the config's seed. Default: a `SmallCNN` that fits the data.
        loss: What is minimised. It may draw from the global generators: they are seeded.
        watch: Named image sets whose accuracy is counted after every epoch. Give `attack.on(test)`
            to follow the attack success rate.
        resume: File in which the run is kept after every epoch. A run that was interrupted goes on
            from it to the same result; a finished one is returned at once.
        optimizer: A function that makes another optimizer, for a published recipe; its learning rate stays as it is
            made, and the config's `lr` and `weight_decay` are without effect.
        label: Name on the progress bar.

    Raises:
        TypeError: The data are no `ImageSet`, the settings no `TrainConfig`, `watch` is no mapping, or the model is
            neither a network nor a function that makes one.
        ValueError: No data; the network has another number of outputs than there are classes, nothing to learn with,
            or weights that cannot be trained (scripted, half precision); `resume` holds the state of another run, or
            is asked for with a loss or an optimizer of one's own, which no file can tell from another.
        FloatingPointError: The loss stopped being a number.
    """
    config = TrainConfig() if config is None else config
    _check_kinds(data, config, watch)
    if not callable(loss):
        raise TypeError(f"loss must be a function from (network, x, y) to a number; got {shown(loss)}")
    if len(data) < 2:
        raise ValueError(f"training needs at least 2 images; got {len(data)}")
    if resume is not None and loss is not classification:
        raise ValueError(f"only a run on the usual loss can be resumed; got resume={str(resume)!r} and loss={loss!r}")
    if resume is not None and optimizer is not None:
        raise ValueError(
            f"only a run with the usual optimizer can be resumed; got resume={str(resume)!r} and {optimizer!r}"
        )
    started = time.perf_counter()
    device = pick_device(config.device)
    with seeded(config.seed, device):
        network = starting_network(model, data).to(device)
        check_trainable(network, data)
        strides = strides_of(network)
        layout = fast_layout(network, data.x[:2])
        saved = SavedRun(as_path(resume), _identity(network, data, config, watch or {})) if resume is not None else None
        weights = placement(network)
        x = data.x.to(device)
        y = data.y.to(device).long()

        def batch_loss(batch: Tensor) -> Tensor:
            images = place(x[batch], weights).contiguous(memory_format=layout)
            return loss(network, images, y[batch])

        history = saved.history(Epoch.from_row) if saved else []
        learner = run_epochs(
            network, len(data), batch_loss, config, device=device, saved=saved, optimizer=optimizer, label=label
        )
        for mean in learner:
            history.append(Epoch(mean, {name: correct(network, images) for name, images in (watch or {}).items()}))
            if saved:
                saved.keep([asdict(epoch) for epoch in history])
        lay_back(network, strides)
    seconds = time.perf_counter() - started
    return Trained(network.eval(), config, tuple(history), data.fingerprint, seconds)


def run_epochs(
    network: nn.Module,
    count: int,
    loss: Callable[[Tensor], Tensor],
    config: TrainConfig,
    *,
    device: torch.device,
    saved: SavedRun | None = None,
    optimizer: MakeOptimizer | None = None,
    label: str = "training",
) -> Iterator[float]:
    """The training loop: every network of this library that is trained is trained here.

    Args:
        network: What is trained, on its device. Several networks at once come as an `nn.ModuleList`.
        count: Number of training examples.
        loss: From the positions of a batch's examples to the number that is minimised.
        config: Epochs, batch size, learning rate, weight decay, seed.
        device: Where the positions of a batch are wanted.
        saved: An earlier run to go on from, if there is one.
        optimizer: Makes what changes the weights, at a rate that stays; None: AdamW under a one-cycle schedule.
        label: Name on the progress bar.

    Yields:
        The mean loss of each epoch, when it is over; the network is then in training mode.

    Raises:
        FloatingPointError: The loss stopped being a number.
    """
    steps = len(batches(torch.arange(count), config.batch_size)) * config.epochs
    learning = [weight for weight in network.parameters() if weight.requires_grad]
    changes, schedule = _recipe(learning, config, steps) if optimizer is None else _steady(optimizer(learning))
    done = saved.restore(network, changes, schedule) if saved else 0
    for epoch in track(range(done, config.epochs), label):
        network.train()
        total = torch.zeros((), device=device)
        for batch in batches(epoch_order(config.seed, epoch, count, device), config.batch_size):
            value = of_kind("the loss of a batch", loss(batch), Tensor)
            changes.zero_grad()
            value.backward()
            changes.step()
            schedule.step()
            total += value.detach() * len(batch)
        mean = float(total) / count
        if not math.isfinite(mean):
            raise FloatingPointError(f"the loss became {mean} in epoch {epoch + 1}; lower lr")
        yield mean


Recipe = tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]


def _recipe(learning: list[nn.Parameter], config: TrainConfig, steps: int) -> Recipe:
    """The book's: AdamW under a one-cycle schedule."""
    changes = torch.optim.AdamW(learning, lr=config.lr, weight_decay=config.weight_decay, fused=True)
    return changes, torch.optim.lr_scheduler.OneCycleLR(changes, config.lr, total_steps=steps)


def _steady(changes: torch.optim.Optimizer) -> Recipe:
    """Another optimizer, whose learning rate stays."""
    return changes, torch.optim.lr_scheduler.ConstantLR(changes, factor=1.0)


def starting_network(model: NetworkSource | None, data: ImageSet) -> nn.Module:
    """The network that `train` begins with: a copy of a given one, or a fresh one from the global generator.

    A function's network is copied too: one that hands out the same network again and again must not have it trained.

    Raises:
        TypeError: `model` is neither a network nor a function that makes one, or the network cannot be copied.
    """
    if model is None:
        return SmallCNN(channels=data.x.shape[1], classes=len(data.classes))
    made = model() if callable(model) and not isinstance(model, nn.Module) else model
    if not isinstance(made, nn.Module):
        raise TypeError(f"model must be a network or a function that makes one; got {shown(model)}")
    placement(made)  # weights without values cannot be copied to any device
    try:
        return copy.deepcopy(made)
    except RuntimeError as error:
        raise TypeError(f"{type(made).__name__} cannot be copied, and training works on a copy: {error}") from error


def check_trainable(network: nn.Module, data: ImageSet) -> None:
    """Raise before any training if the network cannot learn, or cannot tell these classes apart.

    Raises:
        ValueError: It cannot.
    """
    name = type(network).__name__
    if isinstance(network, torch.jit.ScriptModule):
        raise ValueError(f"a scripted network cannot be trained; got {name}: pass the module that it was made from")
    learning = [weight for weight in network.parameters() if weight.requires_grad]
    if not learning:
        raise ValueError(f"{name} has no weight that learns: it has none, or all are frozen (requires_grad=False)")
    if any(weight.dtype == torch.float16 for weight in learning):
        raise ValueError(
            f"{name} has weights in float16, in which the squares that AdamW keeps vanish; train it in float32 or "
            "bfloat16: model.float()"
        )
    with evaluating(network):
        logits = logits_of(network(place(data.x[:2], placement(network))))
    check_differentiable(check_outputs(logits, len(data.classes)))


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Seed the global generators, choose repeatable kernels, and put both back afterwards."""
    devices = [device] if device.type == "cuda" else []
    flags = torch.backends.cudnn.flags(enabled=True, deterministic=True, benchmark=False)
    with torch.random.fork_rng(devices=devices), flags:
        _seed(seed, device)
        yield


def _seed(value: int, device: torch.device) -> None:
    """Seed the generators that the run uses. `torch.manual_seed` would seed every GPU of the caller too."""
    torch.default_generator.manual_seed(value)
    if device.type == "cuda":
        with torch.cuda.device(device):
            torch.cuda.manual_seed(value)


def epoch_order(seed: int, epoch: int, images: int, device: torch.device) -> Tensor:
    """The order of images in an epoch. Every epoch owns its seed, so a resumed run needs no saved generator."""
    _seed(1_000_003 * (seed + 1) + epoch, device)  # a prime apart: no two runs of a thousand epochs share an order
    return torch.randperm(images).to(device)


def batches(order: Tensor, size: int) -> tuple[Tensor, ...]:
    """Split an order into batches; a last batch of one image, which batch norm refuses, joins its neighbour."""
    parts: tuple[Tensor, ...] = order.split(size)
    if len(parts) > 1 and len(parts[-1]) == 1:
        return (*parts[:-2], torch.cat(parts[-2:]))
    return parts


def _check_kinds(data: Any, config: Any, watch: Any) -> None:
    check_set(data, "training")
    if not isinstance(config, TrainConfig):
        hint = " (a network is given as model=...)" if isinstance(config, nn.Module) else ""
        raise TypeError(f"settings of a training are a TrainConfig; got {shown(config)}{hint}")
    if watch is not None and not isinstance(watch, Mapping):
        raise TypeError(f"watch must map names to image sets; got {type(watch).__name__}")


def _identity(model: nn.Module, data: ImageSet, config: TrainConfig, watch: Mapping[str, ImageSet]) -> dict[str, str]:
    settings = {name: value for name, value in asdict(config).items() if name != "device"}
    return {
        "settings": json.dumps(settings, sort_keys=True),
        "data": data.fingerprint,
        "first weights": tensors_hash(model.state_dict())[:16],
        "watched sets": hashlib.sha256(repr([(k, v.fingerprint) for k, v in watch.items()]).encode()).hexdigest()[:16],
        "torch": torch.__version__,
    }
