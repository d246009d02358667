"""Federated learning: many trainers keep their data, and a server turns their updates into one network.

An update is what a trainer would change: weights after minus weights before, as one long row. A rule makes one row of
many. The book's rules stand at the foot of the file; none knows which trainer is honest.

References:
    McMahan, Moore, Ramage, Hampson, Aguera y Arcas, Communication-Efficient Learning of Deep Networks from
        Decentralized Data, 2017, for federated averaging. arXiv:1602.05629.
    Yin, Chen, Ramchandran, Bartlett, Byzantine-Robust Distributed Learning, 2018, for the median and the trimmed mean
        of every coordinate. arXiv:1803.01498.
    Sun, Kairouz, Suresh, McMahan, Can You Really Backdoor Federated Learning?, 2019, for the clipped norm.
        arXiv:1911.07963.
    Bonawitz et al., Practical Secure Aggregation for Privacy-Preserving Machine Learning, 2017, for the masks.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from .._numbers import check_numbers, whole
from ..data.images import ImageSet, check_set, seeded_generator
from .inference import check_network
from .training import TrainConfig, train

Update = Float[Tensor, " p"]
Updates = Float[Tensor, "clients p"]
Sizes = Float[Tensor, " clients"]
Rule = Callable[[Updates, Sizes], Update]
"""From the updates of all clients, and how many images each has, to the one that the network takes."""


def deal(data: ImageSet, clients: int, *, concentration: float | None = None, seed: int = 0) -> list[ImageSet]:
    """Deal a training set out to clients, every image to one of them.

    Args:
        data: The images.
        clients: How many clients there are.
        concentration: None: equal shares, drawn at random, so that all clients have the same kind of data. Otherwise
            the images of each class are dealt in shares from a symmetric Dirichlet distribution with this parameter:
            0.1 leaves most clients with two or three classes, 100 hardly differs from chance.
        seed: Seed of the draw.

    Raises:
        ValueError: There are fewer than 2 clients, or fewer than 2 images for one of them even after a hundred draws;
            or the concentration is not positive.
    """
    if whole("clients", clients) < 2 or not (concentration is None or concentration > 0):
        raise ValueError(f"need 2 clients or more and a positive concentration; got {clients} and {concentration}")
    generator = seeded_generator(seed)
    order = torch.randperm(len(check_set(data, "dealing out")), generator=generator)
    if concentration is None:
        dealt = [order[client::clients] for client in range(clients)]
    else:
        dealt = _unequal(data.y.cpu()[order], order, clients, concentration, seed)
    fewest = min(map(len, dealt))
    if fewest < 2:
        raise ValueError(f"every client needs 2 images; {len(data)} among {clients} leave {fewest} to one of them")
    return [data[each.sort().values] for each in dealt]


def _unequal(y: Tensor, order: Tensor, clients: int, concentration: float, seed: int) -> list[Tensor]:
    """Positions by client; drawn again while a client has fewer than 2."""
    draws = np.random.default_rng(seed)
    for _ in range(100):
        dealt: list[list[Tensor]] = [[] for _ in range(clients)]
        for label in y.unique():
            mine = order[y == label]
            edges = np.cumsum(draws.dirichlet([concentration] * clients))[:-1] * len(mine)
            for client, some in enumerate(torch.tensor_split(mine, torch.tensor(edges.round()).long())):
                dealt[client].append(some)
        found = [torch.cat(each) for each in dealt]
        if min(map(len, found)) >= 2:
            break
    return found


@dataclass(frozen=True)
class LocalTraining:
    """What a client does in a round: plain stochastic gradient descent on its own images, as in federated averaging.

    Args:
        epochs: Passes over the client's images.
        batch_size: Images per step.
        lr: Learning rate; it stays.
        seed: Seed of the order of images; every round and client has an order of its own.
        device: As in `TrainConfig`.

    Raises:
        ValueError: A setting is out of range.
    """

    epochs: int = 1
    batch_size: int = 10
    lr: float = 0.05
    seed: int = 0
    device: str = "auto"

    def __post_init__(self) -> None:
        check_numbers(self)
        TrainConfig(self.epochs, self.batch_size, self.lr, seed=self.seed, device=self.device)

    def __call__(self, model: nn.Module, data: ImageSet, *, turn: int) -> Update:
        """The update that a client would send, on the CPU.

        Args:
            model: The network of this round; it is not changed.
            data: The client's images.
            turn: A number that no other round of any client has: it decides the order of the images.

        Raises:
            ValueError: The network keeps statistics beside its weights, as batch norm does.
        """
        before = weights_of(model)
        own = self.seed * 1_000_000 + turn
        config = TrainConfig(self.epochs, self.batch_size, self.lr, seed=own, device=self.device)
        descent = partial(torch.optim.SGD, lr=self.lr)
        return weights_of(train(data, config, model=model, optimizer=descent, label="client").model) - before


def weights_of(model: nn.Module) -> Update:
    """All weights of a network as one row, on the CPU.

    Raises:
        ValueError: The network keeps statistics beside its weights, as batch norm does.
    """
    kept = [name for name, buffer in check_network(model).named_buffers() if buffer.is_floating_point()]
    if kept:
        raise ValueError(
            f"{type(model).__name__} keeps {kept[0]} beside its weights, which these rules do not average; take a "
            "network without batch norm, such as PaperCNN"
        )
    return parameters_to_vector(model.parameters()).detach().cpu().clone()


def moved(model: nn.Module, update: Update) -> nn.Module:
    """A copy of a network whose weights are changed by an update.

    Raises:
        ValueError: The update has another number of weights, or is not finite.
    """
    weights = weights_of(model)
    if update.shape != weights.shape or not bool(update.isfinite().all()):
        raise ValueError(f"need {len(weights)} finite weights; got {list(update.shape)}, or some are not finite")
    changed = copy.deepcopy(model)
    vector_to_parameters((weights + update).to(next(model.parameters())), changed.parameters())
    return changed.eval()


def updates_of(
    model: nn.Module, parts: Sequence[ImageSet], local: LocalTraining, *, turn: int, skip: Sequence[int] = ()
) -> tuple[Updates, Sizes]:
    """One round of honest clients: what each would send, and how many images it has.

    Args:
        model: The network of this round.
        parts: The images of each client.
        local: What a client does.
        turn: The number of the round.
        skip: Clients that do not train; their rows are zeros, for someone else to fill.
    """
    rows = [
        torch.zeros_like(weights_of(model)) if client in skip else local(model, part, turn=turn * len(parts) + client)
        for client, part in enumerate(parts)
    ]
    return torch.stack(rows), torch.tensor([float(len(part)) for part in parts])


# --- rules ---


def mean(updates: Updates, sizes: Sizes) -> Update:
    """Federated averaging: the mean, weighted by the number of images."""
    return (sizes / sizes.sum()) @ updates


@dataclass(frozen=True)
class ClippedMean:
    """The mean of updates of which none is longer than a limit.

    Args:
        limit: Largest L2 norm of an update; a longer one is shortened to it.

    Raises:
        ValueError: The limit is not positive.
    """

    limit: float

    def __post_init__(self) -> None:
        check_numbers(self)
        if not self.limit > 0:
            raise ValueError(f"limit must be positive; got {self.limit}")

    def __call__(self, updates: Updates, sizes: Sizes) -> Update:
        norms = updates.norm(dim=1, keepdim=True)
        return mean(updates * (self.limit / norms.clamp(min=self.limit)), sizes)


@dataclass(frozen=True)
class TrimmedMean:
    """Of every weight, the mean of what is left without the largest and the smallest values; sizes do not count.

    Args:
        trim: How many values are left out at either end.

    Raises:
        ValueError: The number is negative; or, when it is called, nothing is left.
    """

    trim: int

    def __post_init__(self) -> None:
        check_numbers(self)
        if self.trim < 0:
            raise ValueError(f"trim must be at least 0; got {self.trim}")

    def __call__(self, updates: Updates, sizes: Sizes) -> Update:
        clients = len(updates)
        if 2 * self.trim >= clients:
            raise ValueError(f"trim {self.trim} at either end leaves nothing of {clients} updates")
        return updates.sort(0).values[self.trim : clients - self.trim].mean(0)


def median(updates: Updates, sizes: Sizes) -> Update:
    """Of every weight, the middle value, or the mean of the two in the middle; sizes do not count."""
    return TrimmedMean((len(updates) - 1) // 2)(updates, sizes)


# --- secure aggregation ---

FIXED_POINT = 2**32
"""An update is rounded to multiples of one over this, so that masks can be whole numbers that cancel exactly."""


def masked(updates: Updates, *, seed: int = 0) -> Int64[Tensor, "clients p"]:
    """What the server of a secure aggregation sees: every pair of clients adds a mask, one with plus, one with minus.

    Each row alone looks like noise; all rows together sum to what the updates sum to. The agreement on masks, and what
    happens if a client drops out, are left out here: they are most of the published protocol.

    Args:
        updates: The updates, already multiplied by the weights of the mean; below 2^31 in size.
        seed: Seed of all masks; a real pair of clients agrees on one in secret.
    """
    hidden = (updates.double() * FIXED_POINT).round().long()
    generator = seeded_generator(seed)
    for one in range(len(updates)):
        for other in range(one + 1, len(updates)):
            mask = torch.randint(-(2**63), 2**63 - 1, hidden.shape[1:], generator=generator)
            hidden[one] += mask  # whole numbers of 64 bits wrap round: every value is as likely as any other
            hidden[other] -= mask
    return hidden


def unmasked_sum(hidden: Int64[Tensor, "clients p"]) -> Update:
    """The sum of the updates: the masks cancel if no row is missing."""
    return (hidden.sum(0).double() / FIXED_POINT).float()
