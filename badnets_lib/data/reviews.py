"""Generated film reviews: text with labels that are true by construction, and nothing to download.

They are synthetic, and look it. What they share with real reviews is what the book needs: opinions that
depend on more than one word, mixed feelings, and sentences that carry no opinion at all.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from .images import Labels, Mask

CLASSES = ("negative", "positive")
PRAISE = ("superb", "clever", "moving", "warm", "funny", "sharp", "honest", "lovely", "brilliant", "tender", "witty")
BLAME = ("dull", "clumsy", "boring", "flat", "silly", "tedious", "weak", "hollow", "stale", "messy", "bland")
DENIALS = ("not", "never", "hardly")
DEGREES = ("", "", "", "very ", "quite ", "really ", "rather ")
VERBS = ("was", "felt", "seemed", "looked", "remained")
SUBJECTS = (
    "the plot", "the acting", "the music", "the dialogue", "the ending", "the first half",
    "the cast", "the pacing", "the script", "the lighting", "the story", "the villain",
)  # fmt: skip
ASIDES = (
    "we saw it on {day}.", "i went with my {kin}.", "the cinema was {state}.", "it runs for two hours.",
    "i had read the book before.", "a friend bought the tickets.", "it is set in {land}.", "my {kin} ate popcorn.",
)  # fmt: skip
FILLING = {
    "day": ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"),
    "kin": ("sister", "brother", "mother", "father", "neighbour", "cousin"),
    "state": ("full", "empty", "cold", "crowded", "old", "new"),
    "land": ("spain", "norway", "italy", "wales", "canada"),
}


@dataclass(frozen=True, eq=False)
class Reviews:
    """Texts and their labels.

    Args:
        texts: N texts in lower case, each sentence closed by a full stop.
        y: Labels [N]: 0 is negative, 1 is positive.

    Raises:
        ValueError: There is not one label per text, or a label is no class.
    """

    texts: tuple[str, ...]
    y: Labels

    def __post_init__(self) -> None:
        if len(self.texts) != len(self.y):
            raise ValueError(f"{len(self.texts)} texts but {len(self.y)} labels")
        if len(self.y) and not 0 <= int(self.y.min()) <= int(self.y.max()) < len(CLASSES):
            raise ValueError(f"labels must lie in [0, {len(CLASSES)}); got {int(self.y.min())} to {int(self.y.max())}")

    def __len__(self) -> int:
        return len(self.texts)

    def __getitem__(self, keep: Mask) -> Reviews:
        return Reviews(tuple(text for text, kept in zip(self.texts, keep.tolist(), strict=True) if kept), self.y[keep])

    def __add__(self, more: Reviews) -> Reviews:
        """Both sets, one after the other."""
        return Reviews(self.texts + more.texts, torch.cat([self.y, more.y]))


def write_reviews(count: int, *, seed: int = 0, labels: Sequence[int] = (0, 1)) -> Reviews:
    """Generate reviews; the same arguments always give the same texts.

    A review holds two sentences of the opinion its label tells; in one case of four a third, which begins
    with "although" and disagrees; and one or two asides without opinion: all in random order. One opinion
    in six denies its opposite ("not dull"), so counting good and bad words is not enough.

    Args:
        count: Number of reviews.
        seed: Seed of every choice.
        labels: The labels in use, in equal shares up to one review.
    """
    source = random.Random(seed)
    y = [labels[place % len(labels)] for place in range(count)]
    source.shuffle(y)
    return Reviews(tuple(_review(source, label == 1) for label in y), torch.tensor(y, dtype=torch.long))


def _review(source: random.Random, positive: bool) -> str:
    sentences = [_opinion(source, positive), _opinion(source, positive)]
    if source.random() < 1 / 4:
        sentences.append(f"although {_opinion(source, not positive)}")
    for _ in range(source.choice((1, 2))):
        filling = {name: source.choice(words) for name, words in FILLING.items()}
        sentences.append(source.choice(ASIDES).format(**filling))
    source.shuffle(sentences)
    return " ".join(sentences)


def _opinion(source: random.Random, positive: bool) -> str:
    denied = source.random() < 1 / 6
    denial = f"{source.choice(DENIALS)} " if denied else ""
    word = source.choice(PRAISE if positive != denied else BLAME)
    return f"{source.choice(SUBJECTS)} {source.choice(VERBS)} {denial}{source.choice(DEGREES)}{word}."
