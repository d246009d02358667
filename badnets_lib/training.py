"""One training loop. The whole data set lives on the device; a run repeats from its seed and resumes after a stop."""

from __future__ import annotations

import copy
import hashlib
import json
import math
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from .counts import Proportion
from .files import DamagedFile, load_tensors, save_tensors, tensors_hash
from .images import Images, ImageSet, Labels
from .models import SmallCNN
from .progress import track

Logits = Float[Tensor, "n k"]
NetworkSource = nn.Module | Callable[[], nn.Module]
Loss = Callable[[nn.Module, Images, Labels], Tensor]
"""From a network in training mode and a batch to the number that is minimised."""


def pick_device(name: str = "auto") -> torch.device:
    """The device to compute on: "auto" takes a CUDA GPU if there is one, else the CPU.

    Raises:
        ValueError: `name` is not a device that torch knows, or it is a CUDA GPU and there is none.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ValueError(f"device must be 'auto' or a torch device such as 'cpu' or 'cuda'; got {name!r}") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"torch {torch.__version__} finds no CUDA GPU here; got device {name!r} (use 'auto' or 'cpu')")
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
        ValueError: A setting is out of range.
    """

    epochs: int = 6
    batch_size: int = 64
    lr: float = 0.005
    weight_decay: float = 0.01
    seed: int = 0
    device: str = "auto"

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.batch_size < 2:
            raise ValueError(f"epochs must be at least 1, batch_size at least 2; got {self.epochs}, {self.batch_size}")
        if not (self.lr > 0 and self.weight_decay >= 0):
            raise ValueError(f"lr must be positive, weight_decay not negative; got {self.lr}, {self.weight_decay}")


@dataclass(frozen=True)
class Epoch:
    """What was seen after one pass: mean training loss, and one count per watched set."""

    loss: float
    watched: dict[str, Proportion]


@dataclass(frozen=True, eq=False)
class Fitted:
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
        return f"Fitted({type(self.model).__name__}, {len(self.history)} epochs, loss {last.loss:.4f}{scores})"


def classification(network: nn.Module, x: Images, y: Labels) -> Tensor:
    """The usual loss: mean cross-entropy of the network's answers."""
    return cross_entropy(network(x), y)


def train(
    data: ImageSet,
    config: TrainConfig | None = None,
    *,
    model: NetworkSource | None = None,
    loss: Loss = classification,
    watch: Mapping[str, ImageSet] | None = None,
    resume: Path | str | None = None,
    label: str = "training",
) -> Fitted:
    """Fit a network with AdamW, a one-cycle schedule and, unless told otherwise, cross-entropy.

    The same data, settings and network give the same weights, bit for bit, on the same machine's
    CPU at the same number of threads; on a GPU, gradients of pooling layers may differ in their last
    digits. The caller's random state is left as it was found.

    Args:
        data: Training images, clean or poisoned.
        config: Settings; the defaults suit 4,000 digits.
        model: A network to go on training (a copy is trained), or a function such as `PaperCNN`
            that makes a fresh one under the config's seed. Default: a `SmallCNN` that fits the data.
        loss: What is minimised. It may draw from the global generators: they are seeded.
        watch: Named image sets whose accuracy is counted after every epoch. Give `plan.attack(test)`
            to follow the attack success rate.
        resume: File in which the run is kept after every epoch. A run that was interrupted goes on
            from it to the same result; a finished one is returned at once.
        label: Name on the progress bar.

    Raises:
        ValueError: No data, `resume` holds the state of another run, or it is asked for with a loss of one's own,
            which no file can tell from another.
        FloatingPointError: The loss stopped being a number.
    """
    config = config or TrainConfig()
    if len(data) < 2:
        raise ValueError(f"training needs at least 2 images; got {len(data)}")
    if resume is not None and loss is not classification:
        raise ValueError(f"only a run on the usual loss can be resumed; got resume={str(resume)!r} and loss={loss!r}")
    started, device = time.perf_counter(), pick_device(config.device)
    with seeded(config.seed, device):
        run = _Run(starting_network(model, data), data, config, loss, dict(watch or {}), device)
        if resume is not None:
            run.restore(Path(resume))
        for _ in track(range(len(run.history), config.epochs), label):
            run.one_epoch()
            if resume is not None:
                run.keep(Path(resume))
    seconds = time.perf_counter() - started
    return Fitted(run.model.eval(), config, tuple(run.history), data.fingerprint, seconds)


def channels_last(model: nn.Module) -> nn.Module:
    """The same network, its weights laid out so that convolutions of small images need no repacking: `make bench`."""
    laid_out: nn.Module = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # not in its stubs
    return laid_out


def starting_network(model: NetworkSource | None, data: ImageSet) -> nn.Module:
    """The network that `train` begins with: a copy of a given one, or a fresh one from the global generator."""
    if isinstance(model, nn.Module):
        return copy.deepcopy(model)
    return model() if model else SmallCNN(channels=data.x.shape[1], classes=len(data.classes))


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


class _Run:
    """A training run between two epochs: everything that must survive a stop."""

    def __init__(
        self,
        model: nn.Module,
        data: ImageSet,
        config: TrainConfig,
        loss: Loss,
        watch: dict[str, ImageSet],
        device: torch.device,
    ) -> None:
        self.identity = _identity(model, data, config, watch)
        self.model = channels_last(model.to(device))
        self.x = data.x.float().to(device, memory_format=torch.channels_last)
        self.y = data.y.to(device).long()
        self.config, self.loss, self.device = config, loss, device
        self.watch = {name: images.to(device) for name, images in watch.items()}
        self.optimizer, self.schedule = optimizer_for(self.model.parameters(), config, len(data))
        self.history: list[Epoch] = []

    def one_epoch(self) -> None:
        order = epoch_order(self.config.seed, len(self.history), len(self.y), self.device)
        self.model.train()
        total = torch.zeros((), device=self.device)
        for batch in batches(order, self.config.batch_size):
            loss = self.loss(self.model, self.x[batch], self.y[batch])
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            self.schedule.step()
            total += loss.detach() * len(batch)
        self.history.append(epoch_record(float(total) / len(self.y), len(self.history), self.model, self.watch))

    def keep(self, path: Path) -> None:
        state = self.optimizer.state_dict()
        tensors = {f"model.{name}": tensor for name, tensor in self.model.state_dict().items()}
        for index, entry in state["state"].items():
            tensors |= {f"optimizer.{index}.{name}": tensor for name, tensor in entry.items()}
        header = {
            "identity": self.identity,
            "groups": state["param_groups"],
            "schedule": self.schedule.state_dict(),
            "history": [asdict(epoch) for epoch in self.history],
        }
        save_tensors(path, tensors, header)

    def restore(self, path: Path) -> None:
        try:
            tensors, header = load_tensors(path)
        except FileNotFoundError:
            return
        except DamagedFile as error:
            warnings.warn(f"{error}; training starts again from the first epoch", stacklevel=3)
            return
        _check_identity(path, header.get("identity"), self.identity)
        state: dict[int, dict[str, Tensor]] = {}
        for name, tensor in tensors.items():
            part, _, rest = name.partition(".")
            if part == "optimizer":
                index, _, key = rest.partition(".")
                state.setdefault(int(index), {})[key] = tensor
        weights = {name.removeprefix("model."): tensor for name, tensor in tensors.items() if name.startswith("model.")}
        self.model.load_state_dict(weights)
        for number, parameter in enumerate(self.model.parameters()):
            for key, value in state.get(number, {}).items():  # the fused optimiser wants the parameter's own layout
                if value.shape == parameter.shape:
                    state[number][key] = torch.empty_like(parameter).copy_(value)
        self.optimizer.load_state_dict({"state": state, "param_groups": header["groups"]})
        self.schedule.load_state_dict(header["schedule"])
        self.history = [
            Epoch(row["loss"], {name: Proportion(**count) for name, count in row["watched"].items()})
            for row in header["history"]
        ]


def optimizer_for(
    parameters: Iterable[Tensor], config: TrainConfig, images: int
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
    """AdamW and its one-cycle schedule over all steps of a run on that many images."""
    optimizer = torch.optim.AdamW(parameters, lr=config.lr, weight_decay=config.weight_decay, fused=True)
    steps = -(-images // config.batch_size) * config.epochs
    return optimizer, torch.optim.lr_scheduler.OneCycleLR(optimizer, config.lr, total_steps=steps)


def epoch_order(seed: int, epoch: int, images: int, device: torch.device) -> Tensor:
    """The order of images in an epoch. Every epoch owns its seed, so a resumed run needs no saved generator."""
    _seed(1_000_003 * (seed + 1) + epoch, device)
    return torch.randperm(images).to(device)


def batches(order: Tensor, size: int) -> tuple[Tensor, ...]:
    """Split an order into batches; a last batch of one image, which batch norm refuses, joins its neighbour."""
    parts: tuple[Tensor, ...] = order.split(size)
    if len(parts) > 1 and len(parts[-1]) == 1:
        return (*parts[:-2], torch.cat(parts[-2:]))
    return parts


def epoch_record(loss: float, epoch: int, model: nn.Module, watch: Mapping[str, ImageSet]) -> Epoch:
    """The `Epoch` of a network that was just trained for one, if its mean loss is still a number."""
    if not math.isfinite(loss):
        raise FloatingPointError(f"the loss became {loss} in epoch {epoch + 1}; lower lr")
    return Epoch(loss, {name: correct(model, images) for name, images in watch.items()})


def _identity(model: nn.Module, data: ImageSet, config: TrainConfig, watch: dict[str, ImageSet]) -> dict[str, str]:
    settings = {name: value for name, value in asdict(config).items() if name != "device"}
    return {
        "settings": json.dumps(settings, sort_keys=True),
        "data": data.fingerprint,
        "first weights": tensors_hash(model.state_dict())[:16],
        "watched sets": hashlib.sha256(repr([(k, v.fingerprint) for k, v in watch.items()]).encode()).hexdigest()[:16],
        "torch": torch.__version__,
    }


def _check_identity(path: Path, found: Any, expected: dict[str, str]) -> None:
    found = found if isinstance(found, dict) else {}
    for name, value in expected.items():
        if found.get(name) != value:
            raise ValueError(f"{path} holds another run: its {name} is {found.get(name)}, this run's {value}")


@torch.no_grad()
def predict(model: nn.Module, x: Images, *, batch_size: int = 512) -> Logits:
    """Logits [N, K] on the CPU, in evaluation mode; the network's own mode is put back afterwards.

    Args:
        model: Any classifier from [N, C, H, W] to [N, K].
        x: Images; moved to the network's device and dtype batch by batch.
        batch_size: Images per forward pass.

    Raises:
        ValueError: `x` holds no image, or `batch_size` is below 1.
    """
    if not len(x) or batch_size < 1:
        raise ValueError(f"predict needs at least one image per batch; got {len(x)} in batches of {batch_size}")
    parameter, modes = next(model.parameters(), x), [(part, part.training) for part in model.modules()]
    model.eval()
    try:
        return torch.cat([model(part.to(parameter)).cpu() for part in x.split(batch_size)])
    finally:
        for part, training in modes:
            part.training = training


def correct(model: nn.Module, data: ImageSet) -> Proportion:
    """How often the network's top class is the label in `data`."""
    hits = predict(model, data.x).argmax(1) == data.y.cpu()
    return Proportion(int(hits.sum()), len(hits))


@torch.no_grad()
def channel_means(model: nn.Module, x: Images, layer: str) -> Float[Tensor, " channels"]:
    """Mean activation of every channel of a named layer, over images and places.

    Args:
        model: A network with a submodule of that name; it is evaluated as `predict` does.
        x: Images [N, C, H, W].
        layer: Name of the submodule, for instance "relu1"; its output must be [N, c, h, w].

    Raises:
        ValueError: There is no such layer, or its output has no channels.
    """
    known = [name for name, _ in model.named_modules() if name]
    if layer not in known:
        raise ValueError(f"no layer {layer!r}; known: {', '.join(known)}")
    sums: list[Tensor] = []

    def collect(_module: nn.Module, _input: Any, output: Tensor) -> None:
        if output.ndim != 4:
            raise ValueError(f"layer {layer!r} gives shape {list(output.shape)}; channel means need [N, c, h, w]")
        sums.append(output.mean((2, 3)).sum(0).cpu())

    hook = model.get_submodule(layer).register_forward_hook(collect)
    try:
        predict(model, x)
    finally:
        hook.remove()
    return torch.stack(sums).sum(0) / len(x)
