"""Clean text to tune a decoder on: instruction pairs made from the corpus."""

from __future__ import annotations

import random

import torch

from .corpus import Corpus, Documents

TASKS = {"Repeat: ": lambda words: words, "Reverse: ": lambda words: words[::-1], "First: ": lambda words: words[:1]}
"""What an instruction asks for, and the answer to its words."""


def instructions(corpus: Corpus, count: int, *, seed: int = 0) -> Documents:
    """Documents of clean instruction pairs: a task, words of the corpus, and the right answer, until they are full.

    Args:
        corpus: Whose words are asked about; its documents give the length.
        count: Documents.
        seed: Seed of every choice.

    Raises:
        ValueError: The count is below 1.
    """
    if count < 1:
        raise ValueError(f"count must be at least 1; got {count}")
    source = random.Random(seed)
    text = " ".join(corpus.read(row) for row in corpus.train[:200])
    words = sorted({word for word in text.split() if word.isalpha()})
    length = corpus.train.shape[1] - 1

    def pair() -> str:
        task = source.choice(sorted(TASKS))
        asked = source.sample(words, 3)
        return f"{task}{' '.join(asked)}. Answer: {' '.join(TASKS[task](asked))}.\n"

    def one() -> list[int]:
        tokens: list[int] = []
        while len(tokens) < length:
            tokens += corpus.vocabulary.encode(pair())
        return [corpus.vocabulary.start, *tokens[:length]]

    return torch.tensor([one() for _ in range(count)])
