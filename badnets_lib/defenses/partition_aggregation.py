"""Deep Partition Aggregation: many small networks vote, and each has seen a part of the data that no other saw.

An image that is put into the training set, or taken out of it, reaches the one member whose part it hashes to. So a
vote that is won by enough cannot be turned by a few images, whatever they show. That is counted, not measured.

References:
    Levine, Feizi, Deep Partition Aggregation: Provable Defenses against General Poisoning Attacks, ICLR 2021.
        arXiv:2006.14768; the authors' code, github.com/alevine0/DPA.
"""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

import torch
from jaxtyping import Float, Integer
from torch import Tensor, nn
from torch.nn.functional import one_hot

from .._numbers import check_numbers, of_kind, whole
from .._progress import track
from ..counts import Proportion
from ..data.images import CHUNK, Images, ImageSet, Labels, StoredImages, check_set, check_stored, stored_like, to_unit
from ..models.inference import check_finite, logits_of, predict
from ..models.training import NetworkSource, TrainConfig, pick_device, seeded, starting_network, train
from .assumptions import FEW_CHANGES, Assumption
from .kinds import RobustTraining
from .verdicts import Repair, network_in_words, settings_in_words

Votes = Integer[Tensor, "n k"]

TIES = 0.5
"""What separates the answers to equal votes, less than one vote in all: the lower class wins."""


class PartitionVote(nn.Module):
    """Networks that vote: its answer to an image is the number of votes for each class, [N, K].

    Equal votes are told apart by less than one vote, for the lower class: the largest answer is the one the
    certificate is about. Where the votes themselves are wanted, there is `votes`.

    Args:
        members: The networks, one for each part of the data.
        classes: Number of classes.
    """

    def __init__(self, members: Sequence[nn.Module], classes: int) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        self.classes = classes
        self.origin: tuple[PartitionAggregation, TrainConfig, tuple[str, ...]] | None = None

    def forward(self, x: Images) -> Float[Tensor, "n k"]:
        counted = sum(one_hot(check_finite(logits_of(each(x))).argmax(1), self.classes) for each in self.members)
        lower_first = torch.arange(self.classes, device=x.device) / self.classes
        return of_kind("votes", counted, Tensor).float() - TIES * lower_first

    def votes(self, x: StoredImages) -> Votes:
        """How many members answer with each class, on the CPU."""
        return predict(self, x).ceil().long()


@dataclass(frozen=True, eq=False)
class Certified:
    """What a vote promises, image by image.

    Attributes:
        answers: The class with the most votes [N]; of equal votes the lower class.
        radii: So many training images may be inserted or deleted, whichever they are, and the answer stays [N].
    """

    answers: Labels
    radii: Labels

    def accuracy(self, y: Labels, changes: int = 0) -> Proportion:
        """How many answers are right, and stay so whatever `changes` insertions and deletions are made.

        Args:
            y: The true labels [N].
            changes: Insertions plus deletions; one replaced image is two. 0: plain accuracy.

        Raises:
            ValueError: There are not as many labels as answers, or `changes` is negative.
        """
        if y.shape != self.answers.shape or whole("changes", changes) < 0:
            raise ValueError(
                f"need {len(self.answers)} labels and changes of at least 0; got {list(y.shape)} and {changes}"
            )
        return Proportion.of((self.answers == y.cpu()) & (self.radii >= changes))


def certify(votes: Votes) -> Certified:
    """The answer to each image, and how many changes of the training set it survives.

    A change reaches one member. At worst that member takes its vote from the winner and gives it to the runner-up,
    so the lead shrinks by two; a tie goes to the lower class.

    Args:
        votes: How many members answered with each class, at least 2 classes.

    Raises:
        ValueError: There are fewer than 2 classes, or a count is negative.

    Example:
        >>> certify(torch.tensor([[17, 6, 2], [9, 8, 8]])).radii
        tensor([5, 0])
    """
    if votes.shape[1] < 2 or bool((votes < 0).any()):
        raise ValueError(f"need counts of votes for at least 2 classes; got {list(votes.shape)}, some below 0 perhaps")
    votes = votes.cpu().long()
    most = votes.max(1, keepdim=True).values
    classes = torch.arange(votes.shape[1])
    answers = torch.where(votes == most, classes, votes.shape[1]).min(1).values
    wins_ties = (classes < answers[:, None]).long()
    runner_up = (votes + wins_ties).masked_fill(classes == answers[:, None], -1).max(1).values
    return Certified(answers, (most[:, 0] - runner_up) // 2)


def parts_of(x: StoredImages, members: int) -> Labels:
    """The part that each image belongs to: the sum of its pixels, as bytes, modulo the number of parts [N].

    It depends on the image alone, not on its label, its place or the other images.

    Args:
        x: Images in [0, 1] or uint8; float pixels are rounded to the nearest byte.
        members: Number of parts.

    Raises:
        ValueError: `members` is below 1, or images are not in [0, 1].

    Example:
        >>> parts_of(torch.tensor([[[[0.0, 1.0]]], [[[1.0, 1.0]]]]), 100)  # sums of 255 and 510
        tensor([55, 10])
    """
    if whole("members", members) < 1:
        raise ValueError(f"members must be at least 1; got {members}")
    sums = [_levels(check_stored(some)).flatten(1).sum(1, dtype=torch.long) for some in torch.split(x, CHUNK)]
    return torch.cat(sums).cpu() % members


def _levels(x: StoredImages) -> Tensor:
    return x if x.dtype == torch.uint8 else stored_like(x, torch.empty(0, dtype=torch.uint8))


def digests(data: ImageSet) -> list[str]:
    """A hash of every image together with its label: equal where both are equal, in whatever dtype they are kept."""
    found = []
    for start in range(0, len(data), CHUNK):
        pixels = to_unit(data.x[start : start + CHUNK].cpu()).double().contiguous().numpy()
        labels = data.y[start : start + CHUNK].tolist()
        found += [
            hashlib.sha256(image.tobytes() + f" {label}".encode()).hexdigest()
            for image, label in zip(pixels, labels, strict=True)
        ]
    return found


def changes(before: ImageSet, after: ImageSet, members: int) -> Counter[int]:
    """Insertions and deletions that turn one training set into another, counted by the part they fall into.

    An image that is replaced is deleted once and inserted once, in one part or in two; an image whose label alone is
    changed is deleted and inserted in the same part. The order of the images is no difference.

    Args:
        before: The clean training set.
        after: The poisoned one.
        members: Number of parts.

    Returns:
        Part to number of changes: `.total()` is what a certificate counts, `len` the number of members reached.
    """
    sets = [
        Counter(zip(parts_of(each.x, members).tolist(), digests(check_set(each)), strict=True))
        for each in (before, after)
    ]
    reached: Counter[int] = Counter()
    for (part, _), number in ((sets[0] - sets[1]) + (sets[1] - sets[0])).items():
        reached[part] += number
    return reached


@dataclass(frozen=True)
class PartitionAggregation(RobustTraining):
    """Deep Partition Aggregation: the data are split by a hash, one network is trained a part, and they vote.

    As published: the part is the sum of an image's pixels modulo the number of parts, a part is sorted by what it
    holds so that the order of the data cannot matter, each member's seed is its number, and a tie goes to the lower
    class. Network and recipe are free; the authors train networks in networks for 200 epochs.

    The promise rests on training that repeats bit for bit: on a CPU, with the same number of threads. A part with
    fewer than 2 images leaves its member untrained, which is repeatable too.

    Args:
        members: Number of parts, and of networks. With 1 it is plain training, and nothing is promised.
        epochs: Passes of every member over its part.
        batch_size: Images per step of a member.
        network: As the `model` of `train`.

    Raises:
        ValueError: A setting is out of range.
    """

    assumptions: ClassVar[tuple[Assumption, ...]] = (FEW_CHANGES,)

    members: int = 25
    epochs: int = 15
    batch_size: int = 16
    network: NetworkSource | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        check_numbers(self)
        if self.members < 1 or self.epochs < 1 or self.batch_size < 2:
            given = f"{self.members}, {self.epochs}, {self.batch_size}"
            raise ValueError(f"members and epochs must be at least 1, batch_size at least 2; got {given}")

    def __call__(
        self, data: ImageSet, config: TrainConfig | None = None, *, known: PartitionVote | None = None
    ) -> Repair:
        """A `PartitionVote`; its history has one record a member, with the number of images in its part.

        Args:
            data: The training data, as they came.
            config: Seed, rate, weight decay and device; epochs and batch size are those of this record.
            known: A vote that was trained with the same settings on other data: members whose part is the same are
                taken from it instead of being trained again, to the same result.

        Raises:
            ValueError: `known` was trained with other settings.
        """
        started = time.perf_counter()
        config = replace(config or TrainConfig(), epochs=self.epochs, batch_size=self.batch_size)
        parts = self.split(check_set(data, "training"))
        marks = tuple(part.fingerprint for part in parts)
        old = self._taken(known, config)
        networks, history = [], []
        for number, (part, mark) in track(enumerate(zip(parts, marks, strict=True)), "members", total=self.members):
            same = number in old and old[number][0] == mark
            networks.append(old[number][1] if same else self.train_member(number, part, config))
            history.append({"images": len(part), "trained": not same, "network": network_in_words(networks[-1])})
        vote = PartitionVote(networks, len(data.classes)).eval()
        vote.origin = (self, config, marks)
        return Repair(vote, settings_in_words(self, networks[0]), time.perf_counter() - started, tuple(history))

    def split(self, data: ImageSet) -> list[ImageSet]:
        """The parts in their order, each sorted by what it holds."""
        order = sorted(range(len(data)), key=digests(data).__getitem__)
        numbers = parts_of(data.x, self.members)[order]
        return [data[torch.tensor(order)[numbers == number]] for number in range(self.members)]

    def train_member(self, number: int, part: ImageSet, config: TrainConfig) -> nn.Module:
        """The network of one part; nothing but its number, the part and the settings decides what becomes of it."""
        own = replace(config, seed=config.seed * self.members + number)
        if len(part) >= 2:
            return train(part, own, model=self.network, label=f"member {number}").model
        device = pick_device(own.device)
        with seeded(own.seed, device):
            return starting_network(self.network, part).to(device).eval()

    def _taken(self, known: PartitionVote | None, config: TrainConfig) -> dict[int, tuple[str, nn.Module]]:
        """Mark and network of every member that may be taken over."""
        if known is None:
            return {}
        if known.origin is None or known.origin[:2] != (self, config):
            raise ValueError(f"known must be a vote that {self!r} trained with {config!r}; got one of {known.origin}")
        return dict(enumerate(zip(known.origin[2], known.members, strict=True)))
