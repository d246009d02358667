"""Text cut into documents of equal length: real English that ships with Python, and reviews from a grammar."""

from __future__ import annotations

import hashlib
import random
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

import torch
from jaxtyping import Int
from torch import Tensor

from .._numbers import check_numbers
from ..data.reviews import write_reviews
from .vocabulary import Vocabulary

Documents = Int[Tensor, "n length"]
"""Token numbers, one document a row; each begins with the vocabulary's start."""

LENGTH = 64
"""Tokens in a document, after the one that begins it."""


@dataclass(frozen=True, eq=False)
class Corpus:
    """Documents to train on, documents held out, and their vocabulary.

    Args:
        train: Documents [N, 1 + length].
        held_out: Documents of other topics [M, 1 + length].
        vocabulary: What the token numbers mean.
        fingerprint: 16 hex digits of a SHA-256 over the text that the documents were cut from.

    Raises:
        ValueError: A token is outside the vocabulary.
    """

    train: Documents
    held_out: Int[Tensor, "m length"]
    vocabulary: Vocabulary
    fingerprint: str

    def __post_init__(self) -> None:
        check_numbers(self)
        for documents in (self.train, self.held_out):
            if len(documents) and not 0 <= int(documents.min()) <= int(documents.max()) < len(self.vocabulary):
                raise ValueError(f"tokens must lie in [0, {len(self.vocabulary)}); got {int(documents.max())}")

    def __repr__(self) -> str:
        return f"Corpus({len(self.train)} documents, {len(self.held_out)} held out, {self.vocabulary!r})"

    def part(self, count: int, *, seed: int = 0) -> Documents:
        """A random part of the training documents.

        Raises:
            ValueError: There are not so many.
        """
        if not 1 <= count <= len(self.train):
            raise ValueError(f"count must lie in [1, {len(self.train)}]; got {count}")
        return self.train[torch.randperm(len(self.train), generator=torch.Generator().manual_seed(seed))[:count]]

    def read(self, tokens: Tensor) -> str:
        """The text of one row of tokens."""
        return self.vocabulary.decode(tokens.tolist())


@cache
def python_topics(*, size: int = 512, length: int = LENGTH) -> Corpus:
    """The topics of Python's own `help()`: some 345,000 characters once repeated paragraphs are dropped.

    The text is that of the Python that runs: another version has other topics, hence another fingerprint.
    One topic in sixteen is held out, whole, so that no held-out document continues one of the training set.

    Args:
        size: Tokens of the vocabulary, which is learnt from the training topics.
        length: Tokens in a document. What remains at the end of a topic is dropped.

    Raises:
        ValueError: The size or the length is too small.
    """
    from pydoc_data.topics import topics

    if length < 2:
        raise ValueError(f"a document needs at least 2 tokens; got length {length}")
    texts = once(topics)
    names = sorted(texts)
    random.Random(0).shuffle(names)
    apart = set(names[::16])
    vocabulary = Vocabulary.learn("\n".join(texts[name] for name in names if name not in apart), size)
    whole = "\n".join(f"{name}\n{texts[name]}" for name in sorted(texts))
    return Corpus(
        cut([texts[name] for name in names if name not in apart], vocabulary, length),
        cut([texts[name] for name in names if name in apart], vocabulary, length),
        vocabulary,
        fingerprint(whole),
    )


@cache
def written_reviews(*, size: int = 400, length: int = LENGTH) -> Corpus:
    """The text reviews of `write_reviews`, one after the other: English of about a hundred words and a few rules.

    A review may be cut where a document ends. The held-out reviews are other draws from the same grammar, not another
    subject.

    Args:
        size: Tokens of the vocabulary. The grammar has so few words that larger ones find no pair left to merge.
        length: Tokens in a document.

    Raises:
        ValueError: The size or the length is out of range.
    """
    if length < 2:
        raise ValueError(f"a document needs at least 2 tokens; got length {length}")
    texts = {name: " ".join(write_reviews(count, seed=seed).texts) for name, count, seed in REVIEWS}
    vocabulary = Vocabulary.learn(texts["train"], size)
    documents = {name: cut([text], vocabulary, length) for name, text in texts.items()}
    return Corpus(documents["train"], documents["held out"], vocabulary, fingerprint("\n".join(texts.values())))


REVIEWS = (("train", 6_000, 0), ("held out", 1_000, 1))
"""Name, number and seed of the reviews on each side."""


def cut(texts: list[str], vocabulary: Vocabulary, length: int) -> Documents:
    """The documents of some texts; what remains at the end of a text is dropped."""
    rows = [row for text in texts for row in pieces(vocabulary.encode(text), length)]
    return torch.tensor([[vocabulary.start, *row] for row in rows])


def fingerprint(text: str) -> str:
    """16 hex digits of the SHA-256 of a text."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def once(topics: Mapping[str, str]) -> dict[str, str]:
    """The topics with every paragraph in the first one that holds it, on one line: many are printed twice."""
    seen: set[str] = set()
    texts = {}
    for name in sorted(topics):
        paragraphs = [" ".join(part.split()) for part in re.split(r"\n\s*\n", topics[name])]
        fresh = [part for part in dict.fromkeys(paragraphs) if part and part not in seen]
        seen.update(fresh)
        texts[name] = "\n".join(fresh)
    return texts


def pieces(tokens: list[int], length: int) -> list[list[int]]:
    """Pieces of equal length; a shorter end is dropped."""
    return [tokens[at : at + length] for at in range(0, len(tokens) - length + 1, length)]
