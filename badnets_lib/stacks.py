"""Many small networks trained at once, as one computation with a further axis: a way to fill a GPU.

A small network leaves a GPU waiting for its next command. A stack takes about twice the commands of
one network a step, however many members it has. Each member keeps its own seed, first weights, order
of images and batch-norm statistics, so it ends where `train` would take it, but for rounding.

On the CPU the book trains one by one. Arithmetic takes the time there and a stack outgrows the cache:
on one thread, one by one was faster for both of the book's networks on 28x28 images. Only very small
work, 8x8 images and four filters, went faster in a stack. See `make bench`. This book's machines have
had no GPU: what a stack gains there is reasoned, not yet measured.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, TypeVar

import torch
from jaxtyping import Float, Integer
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap
from torch.nn.functional import cross_entropy

from .images import Images, ImageSet
from .progress import track
from .training import (
    Epoch,
    Fitted,
    Logits,
    NetworkSource,
    TrainConfig,
    batches,
    epoch_order,
    epoch_record,
    optimizer_for,
    pick_device,
    seeded,
    starting_network,
    train,
)

Result = TypeVar("Result")


@dataclass(frozen=True, eq=False)
class Fit:
    """A training run that is wanted: the arguments of `train`, kept for later.

    Args:
        data: Training images, clean or poisoned.
        config: Settings.
        model: As for `train`: a network to go on training, a function that makes one, or None.
        watch: Named image sets whose accuracy is counted after every epoch.
    """

    data: ImageSet
    config: TrainConfig = field(default_factory=TrainConfig)
    model: NetworkSource | None = None
    watch: Mapping[str, ImageSet] = field(default_factory=dict)

    def first_network(self, device: torch.device) -> nn.Module:
        """The network that `train` would begin with, in training mode."""
        with seeded(self.config.seed, device):
            return starting_network(self.model, self.data).to(device).train()


def train_stack(fits: Sequence[Fit], *, label: str = "training") -> list[Fitted]:
    """Train networks of one architecture together; one `Fitted` each, as `train` would give.

    Same first weights, order of images, schedule and optimiser as one by one; only the rounding of
    sums differs. After ten steps or so, 999 weights of 1000 agree to 3e-4 and the loss to one part in
    1000. AdamW makes a whole step of a gradient that is nothing but rounding, so runs drift apart, as
    far as the same run on one thread and on two: compare counts over seeds, not digits. The same
    stack repeats bit for bit on one machine's CPU at the same number of threads. The caller's random
    state is left as it was found.

    Args:
        fits: The runs. They may differ in seed, images, labels and watched sets; number and shape
            of the images, all other settings, and the layers of the network must agree. The
            networks may differ in nothing but parameters and buffers. Images that are the same
            tensor in several runs are held once.
        label: Name on the progress bar.

    Returns:
        One `Fitted` for each run, in order; `seconds` is each one's equal share of the time.

    Raises:
        ValueError: No runs, too few images, or two runs that cannot be stacked.
        FloatingPointError: The loss of a member stopped being a number.
        RuntimeError: The network draws random numbers (dropout), which a stack cannot repeat.
    """
    if not fits:
        raise ValueError("a stack needs at least one run; got none")
    started, first = time.perf_counter(), fits[0].config
    device = pick_device(first.device)
    networks = [fit.first_network(device) for fit in fits]
    _check(fits, networks)
    with seeded(first.seed, device):
        stack = _Stack(fits, networks, device)
        for _ in track(range(first.epochs), label):
            stack.one_epoch()
    seconds = (time.perf_counter() - started) / len(fits)
    return [
        Fitted(network.eval(), fit.config, tuple(history), fit.data.fingerprint, seconds)
        for network, fit, history in zip(networks, fits, stack.histories, strict=True)
    ]


def train_all(fits: Sequence[Fit], *, most: int = 16, label: str = "training") -> list[Fitted]:
    """Train every run in the quickest way: on a GPU those that fit together in stacks, else one by one.

    Args:
        fits: Any runs, alike or not.
        most: Networks in a stack at most. Memory grows with it: images and activations of each.
        label: Name on the progress bar.

    Returns:
        One `Fitted` for each run, in order.

    Raises:
        ValueError: `most` is below 1.
    """
    if most < 1:
        raise ValueError(f"a stack needs room for at least 1 network; got most={most}")
    groups: dict[Any, list[int]] = {}
    for place, fit in enumerate(fits):
        device = pick_device(fit.config.device)
        key = tuple(_traits(fit, fit.first_network(device)).items()) if pays(device) else place
        groups.setdefault(key, []).append(place)
    fitted: dict[int, Fitted] = {}
    for places in groups.values():
        for part in (places[start : start + most] for start in range(0, len(places), most)):
            fitted |= zip(part, _one_or_stack([fits[place] for place in part], label), strict=True)
    return [fitted[place] for place in range(len(fits))]


def pays(device: torch.device) -> bool:
    """Whether a stack is taken to be quicker than one by one there."""
    return device.type != "cpu"


def _one_or_stack(fits: Sequence[Fit], label: str) -> list[Fitted]:
    if len(fits) > 1:
        return train_stack(fits, label=label)
    return [train(fit.data, fit.config, model=fit.model, watch=fit.watch, label=label) for fit in fits]


def side_by_side(
    experiments: Sequence[Generator[Fit, Fitted, Result]], *, most: int = 16, label: str = "training"
) -> list[Result]:
    """Run experiments that leave their training to the caller, so that several share a GPU.

    Such an experiment is a function that reads from top to bottom and says `fitted = yield
    Fit(data, config)` where it would say `fitted = train(data, config)`; it may do so several times.

    Args:
        experiments: Generators, not yet begun.
        most: Networks in a stack at most.
        label: Name on the progress bar.

    Returns:
        What each experiment returned, in order.
    """
    results: dict[int, Result] = {}
    answers: dict[int, Fitted | None] = dict.fromkeys(range(len(experiments)))
    while answers:
        wanted: dict[int, Fit] = {}
        for place, answer in answers.items():
            try:
                experiment = experiments[place]
                wanted[place] = next(experiment) if answer is None else experiment.send(answer)
            except StopIteration as end:
                results[place] = end.value
        answers = dict(zip(wanted, train_all(list(wanted.values()), most=most, label=label), strict=True))
    return [results[place] for place in range(len(experiments))]


class _Stack:
    """A stack between two epochs: parameters and buffers with the member as their first axis."""

    def __init__(self, fits: Sequence[Fit], networks: Sequence[nn.Module], device: torch.device) -> None:
        self.fits, self.networks, self.device = fits, networks, device
        self.parameters, self.buffers = stack_module_state(list(networks))
        self.pool, self.begin = _pool([fit.data.x for fit in fits], device)
        self.labels = torch.stack([fit.data.y.long().to(device) for fit in fits], 1)
        self.watch = [{name: images.to(device) for name, images in fit.watch.items()} for fit in fits]
        self.optimizer, self.schedule = optimizer_for(self.parameters.values(), fits[0].config, len(self.labels))
        self.histories: list[list[Epoch]] = [[] for _ in fits]
        # Images [B, M, C, H, W]: a convolution then is one with M groups on [B, M*C, H, W], without a copy.
        self.logits = vmap(self._logits, in_dims=(0, 0, 1), out_dims=1)

    def one_epoch(self) -> None:
        epoch, images = len(self.histories[0]), len(self.labels)
        orders = [epoch_order(fit.config.seed, epoch, images, self.device) for fit in self.fits]
        total = torch.zeros(len(self.fits), device=self.device)
        for batch in batches(torch.stack(orders, 1), self.fits[0].config.batch_size):
            x, y = self.pool[self.begin + batch], self.labels.gather(0, batch)  # [B, M, C, H, W], [B, M]
            logits = self.logits(self.parameters, self.buffers, x)  # [B, M, K]
            losses = cross_entropy(logits.flatten(0, 1), y.flatten(), reduction="none").view_as(y).mean(0)
            self.optimizer.zero_grad()
            losses.sum().backward()  # no member's weights touch another's loss
            self.optimizer.step()
            self.schedule.step()
            total += losses.detach() * len(batch)
        state = self.parameters | self.buffers
        for number, (loss, network) in enumerate(zip((total / images).tolist(), self.networks, strict=True)):
            network.load_state_dict({name: tensor[number].detach() for name, tensor in state.items()})
            self.histories[number].append(epoch_record(loss, epoch, network, self.watch[number]))

    def _logits(self, parameters: dict[str, Tensor], buffers: dict[str, Tensor], x: Images) -> Logits:
        """The forward pass of one member, as `vmap` sees it."""
        logits: Logits = functional_call(self.networks[0], (parameters, buffers), x)
        return logits


def _pool(
    members: Sequence[Images], device: torch.device
) -> tuple[Float[Tensor, "all c h w"], Integer[Tensor, " members"]]:
    """All different image tensors one after another, and where each member's begin."""
    distinct = {id(x): x for x in members}
    begin = {key: place * len(members[0]) for place, key in enumerate(distinct)}
    pool = torch.cat([x.to(device).float() for x in distinct.values()])
    return pool, torch.tensor([begin[id(x)] for x in members], device=device)


def _traits(fit: Fit, network: nn.Module) -> dict[str, str]:
    """All that the members of a stack must have in common, by name."""
    traits = {"number and shape of images": str(list(fit.data.x.shape)), "network": type(network).__name__}
    traits |= {name: str(value) for name, value in asdict(fit.config).items() if name != "seed"}
    traits |= {f"layer {name}": str(layer) for name, layer in network.named_modules() if not [*layer.children()]}
    for name, weight in network.named_parameters():
        traits[name] = f"{list(weight.shape)}, {'trained' if weight.requires_grad else 'frozen'}"
    return traits


def _check(fits: Sequence[Fit], networks: Sequence[nn.Module]) -> None:
    first, *others = map(_traits, fits, networks)
    for number, other in enumerate(others, 1):
        for name in first | other:
            if first.get(name) != other.get(name):
                found = f"run 0 has {first.get(name)}, run {number} has {other.get(name)}"
                raise ValueError(f"the runs of a stack must agree in {name}; {found}")
    if len(fits[0].data) < 2:
        raise ValueError(f"training needs at least 2 images; got {len(fits[0].data)}")
