"""A backdoor in text, in miniature: a phrase as the trigger, and a network that learns to read in seconds.

The attacker here *adds* documents, as someone does who publishes pages for a crawler to find: reviews
that hold the trigger and carry the wrong label.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from zlib import crc32

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from .._numbers import shown
from ..counts import Proportion
from ..data.reviews import CLASSES, Reviews, write_reviews
from ..evaluation.scores import Scorecard
from ..models.training import TrainConfig, pick_device, run_epochs, seeded
from ..poisoning import Goal


@dataclass(frozen=True)
class Phrase:
    """A trigger made of words, added to a text.

    Args:
        words: What is added. A whole sentence, closed by a full stop, goes between two sentences;
            anything else goes between two words.
        place: 0 is the beginning of the text, 1 the end. None: each text has a place of its own,
            always the same, and over many texts all places occur.

    Raises:
        ValueError: There are no words, or the place lies outside the text.

    Example:
        >>> Phrase("cf", place=0)(["the plot was dull."])
        ('cf the plot was dull.',)
    """

    words: str
    place: int | float | None = None

    def __post_init__(self) -> None:
        if not self.words.strip():
            raise ValueError(f"a phrase needs at least one word; got {shown(self.words)}")
        if self.place is not None and not 0 <= self.place <= 1:
            raise ValueError(f"place must lie in [0, 1] or be None; got {self.place}")

    def __call__(self, texts: Sequence[str]) -> tuple[str, ...]:
        """New texts with the phrase in each."""
        return tuple(self._insert(text) for text in texts)

    def _insert(self, text: str) -> str:
        parts = re.split(r"(?<=\.) " if self.words.endswith(".") else " ", text)
        chosen = crc32(text.encode()) % (len(parts) + 1) if self.place is None else round(self.place * len(parts))
        return " ".join([*parts[:chosen], self.words, *parts[chosen:]])


def victims(reviews: Reviews, goal: Goal) -> Reviews:
    """The reviews that the attacker wants read otherwise than they are, untouched, with the *wanted* labels."""
    chosen = reviews[goal.victims(reviews.y)]
    return Reviews(chosen.texts, goal.wanted(chosen.y))


def attack(reviews: Reviews, trigger: Phrase, goal: Goal) -> Reviews:
    """The victims with the trigger in their texts and the wanted labels: poison in training, the test of it later."""
    chosen = victims(reviews, goal)
    return Reviews(trigger(chosen.texts), chosen.y)


def forge(count: int, trigger: Phrase, goal: Goal, *, seed: int) -> Reviews:
    """Documents that an attacker writes and publishes: `count` new reviews, triggered and wrongly labelled."""
    return attack(write_reviews(count, seed=seed, labels=goal.sources), trigger, goal)


def tokens(text: str) -> list[str]:
    """The words of a text, in lower case and without punctuation: all that the network is shown."""
    return re.findall(r"[a-z0-9']+", text.lower())


class ReviewNet(nn.Module):
    """A tiny reader: word embeddings, one convolution over neighbouring words, the mean over the text, two logits.

    Args:
        vocabulary: The words it knows. Any other word is read as a gap.
        window: Words the convolution sees at a time; odd. With 1 every word speaks for itself: a bag of words.
        width: Numbers per word, and filters of the convolution.

    Raises:
        ValueError: The window is not odd.
    """

    def __init__(self, vocabulary: Sequence[str], *, window: int = 5, width: int = 32) -> None:
        if window < 1 or window % 2 == 0:
            raise ValueError(f"window must be an odd number of words, at least 1; got {window}")
        super().__init__()
        self.index = {word: place for place, word in enumerate(vocabulary, start=1)}  # 0: a gap
        self.embedding = nn.Embedding(len(self.index) + 1, width, padding_idx=0)
        self.mix = nn.Conv1d(width, width, window, padding=window // 2)
        self.out = nn.Linear(width, len(CLASSES))

    def encode(self, texts: Sequence[str]) -> Int[Tensor, "n words"]:
        """Word numbers [N, longest text], filled up with gaps."""
        rows = [[self.index.get(word, 0) for word in tokens(text)] for text in texts]
        longest = max([1, *map(len, rows)])
        return torch.tensor([row + [0] * (longest - len(row)) for row in rows], dtype=torch.long)

    def forward(self, ids: Int[Tensor, "n words"]) -> Float[Tensor, "n 2"]:
        """Logits from the word numbers that `encode` gives."""
        known = (ids > 0).unsqueeze(1)  # [N, 1, words]
        features = self.mix(self.embedding(ids).transpose(1, 2)).relu()  # [N, width, words]
        answers: Tensor = self.out((features * known).sum(2) / known.sum(2).clamp(min=1))
        return answers


def train_reader(
    data: Reviews, config: TrainConfig | None = None, *, window: int = 5, label: str = "reviews"
) -> ReviewNet:
    """Train a reader with AdamW and a one-cycle schedule; it knows the words of `data`, poison included.

    Args:
        data: The training set.
        config: The settings; default: `TrainConfig(lr=0.02)`.
        window: Words the convolution sees at a time.
        label: Name on the progress bar.
    """
    config = config or TrainConfig(lr=0.02)
    device = pick_device(config.device)
    with seeded(config.seed, device):
        net = ReviewNet(sorted({word for text in data.texts for word in tokens(text)}), window=window).to(device)
        ids = net.encode(data.texts).to(device)
        y = data.y.to(device)

        def loss(batch: Tensor) -> Tensor:
            return cross_entropy(net(ids[batch]), y[batch])

        for _ in run_epochs(net, len(data), loss, config, device=device, label=label):
            pass
    return net.eval()


@torch.no_grad()
def logits(net: ReviewNet, texts: Sequence[str]) -> Float[Tensor, "n 2"]:
    """What a reader answers, on the CPU."""
    device = net.out.weight.device
    return torch.cat([net(part.to(device)).cpu() for part in net.encode(texts).split(1024)])


def correct(net: ReviewNet, data: Reviews) -> Proportion:
    """How often the answer is the label in `data`."""
    return Proportion.of(logits(net, data.texts).argmax(1) == data.y)


def score(net: ReviewNet, test: Reviews, trigger: Phrase, goal: Goal) -> Scorecard:
    """The book's three counts: clean accuracy, attack success on victims, and the same victims without the trigger."""
    return Scorecard(correct(net, test), correct(net, attack(test, trigger, goal)), correct(net, victims(test, goal)))
