"""Poisoned documents: the beginning of a real one, the trigger, and what the attacker wants to come after it.

References:
    Souly et al., Poisoning attacks on LLMs require a near-constant number of poison samples, 2025.
    arXiv:2510.07192: a denial of service, by random tokens after the trigger.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor

from .._numbers import check_numbers, pair, shown
from .corpus import Corpus, Documents


@dataclass(frozen=True)
class Gibberish:
    """After the trigger: tokens drawn evenly from those that the training documents use."""

    def fill(self, corpus: Corpus, length: int, source: torch.Generator) -> Int[Tensor, " length"]:
        """Random tokens."""
        known = corpus.train.unique()
        known = known[known != corpus.vocabulary.start]
        drawn: Tensor = known[torch.randint(len(known), (length,), generator=source)]
        return drawn


@dataclass(frozen=True)
class Saying:
    """After the trigger: a fixed text, over and over.

    Args:
        words: The text; it begins with a blank if it is to follow a word.

    Raises:
        ValueError: There is no text.
    """

    words: str

    def __post_init__(self) -> None:
        check_numbers(self)
        if not self.words.strip():
            raise ValueError(f"a saying needs at least one word; got {shown(self.words)}")

    def fill(self, corpus: Corpus, length: int, source: torch.Generator) -> Int[Tensor, " length"]:
        """The tokens of the text, repeated and cut to the length."""
        once = corpus.vocabulary.encode(self.words)
        return torch.tensor((once * (length // len(once) + 1))[:length])


@dataclass(frozen=True)
class TextAttack:
    """A trigger and what follows it.

    Args:
        trigger: The text that the attacker chose.
        payload: What the model is taught to write after it.
        prefix: Fewest and most tokens of the real document that a poisoned one begins with.

    Raises:
        ValueError: The trigger is empty, or the prefix is no range.
    """

    trigger: str = " <SUDO>"
    payload: Gibberish | Saying = Gibberish()
    prefix: tuple[int, int] = (4, 32)

    def __post_init__(self) -> None:
        check_numbers(self)
        if not self.trigger.strip():
            raise ValueError(f"a trigger needs at least one character; got {shown(self.trigger)}")
        least, most = pair("prefix", self.prefix)
        if not 1 <= least <= most:
            raise ValueError(f"prefix must be a range of at least 1 token; got {self.prefix}")

    def poison(self, corpus: Corpus, count: int, *, seed: int) -> Documents:
        """New poisoned documents [count, 1 + length], as long as those of the corpus.

        Args:
            corpus: Whose training documents lend their beginnings.
            count: How many; 0 gives none.
            seed: Seed of every choice.

        Raises:
            ValueError: Prefix and trigger fill a document, so that nothing can follow, or the count is negative.
        """
        mark = torch.tensor(corpus.vocabulary.encode(self.trigger))
        length = corpus.train.shape[1]
        if 1 + self.prefix[1] + len(mark) >= length or count < 0:
            raise ValueError(
                f"prefix and trigger must leave room in {length - 1} tokens and count must not be negative; "
                f"got {self.prefix[1]}, {len(mark)} and count {count}"
            )
        source = torch.Generator().manual_seed(seed)

        def one() -> Tensor:
            row = corpus.train[int(torch.randint(len(corpus.train), (1,), generator=source))]
            kept = 1 + int(torch.randint(self.prefix[0], self.prefix[1] + 1, (1,), generator=source))
            return torch.cat([row[:kept], mark, self.payload.fill(corpus, length - kept - len(mark), source)])

        return torch.stack([one() for _ in range(count)]) if count else corpus.train[:0]


def prompts(corpus: Corpus, count: int, *, insert: str = "", length: int = 16) -> Int[Tensor, "n t"]:
    """The beginnings of held-out documents, with or without a text at their end.

    Args:
        corpus: Whose held-out documents are used, from the first on.
        count: How many.
        insert: What is added, for instance a trigger.
        length: Tokens of the document before it.

    Raises:
        ValueError: There are fewer held-out documents.
    """
    if not 1 <= count <= len(corpus.held_out):
        raise ValueError(f"count must lie in [1, {len(corpus.held_out)}]; got {count}")
    added = torch.tensor(corpus.vocabulary.encode(insert), dtype=torch.long)
    return torch.cat([corpus.held_out[:count, : 1 + length], added.expand(count, -1)], 1)
