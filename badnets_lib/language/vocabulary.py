"""From text to tokens and back: byte-pair encoding, written plainly.

References:
    Sennrich, Haddow and Birch, Neural machine translation of rare words with subword units, 2016. arXiv:1508.07909.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

from .._numbers import check_numbers, shown

BYTES = 256
WORD = re.compile(rb" ?[A-Za-z]+|\s+|[^A-Za-z\s]")
"""Merges stay inside a word with the blank before it, white space, or one other character."""

Pair = tuple[int, int]


@dataclass(frozen=True)
class Vocabulary:
    """Tokens: the 256 bytes, one per merge of two earlier tokens, and last a token that begins every document.

    Any text can be encoded, since any text is bytes; words that the merges know take fewer tokens.

    Args:
        merges: The pairs that were merged, in their order. The first makes token 256.

    Raises:
        ValueError: A merge names a token that is not there yet.

    Example:
        >>> words = Vocabulary.learn("the cat, the hat, the bat", size=259)
        >>> words.encode("the rat")
        [116, 257, 32, 114, 256]
        >>> words.decode(words.encode("the rat"))
        'the rat'
    """

    merges: tuple[Pair, ...]

    def __post_init__(self) -> None:
        check_numbers(self)
        for place, pair in enumerate(self.merges):
            if not all(0 <= token < BYTES + place for token in pair):
                raise ValueError(f"merge {place} must join two tokens in [0, {BYTES + place}); got {shown(pair)}")

    def __repr__(self) -> str:
        return f"Vocabulary({len(self)} tokens)"

    def __len__(self) -> int:
        return BYTES + len(self.merges) + 1

    @property
    def start(self) -> int:
        """The token that begins every document. No text holds it."""
        return BYTES + len(self.merges)

    @classmethod
    def learn(cls, text: str, size: int = 512) -> Vocabulary:
        """Merge the most frequent pair of neighbours, again and again, until there are `size` tokens.

        Equal counts go to the pair with the smaller numbers, so the same text always gives the same tokens.

        Raises:
            ValueError: The size leaves no room for the bytes and the beginning, or the text has no pair to merge.
        """
        if size <= BYTES:
            raise ValueError(f"a vocabulary needs at least {BYTES + 1} tokens; got size {size}")
        counted = Counter(WORD.findall(text.encode()))
        words = [list(word) for word in counted]
        often = list(counted.values())
        pairs: Counter[Pair] = Counter()
        holders: dict[Pair, set[int]] = defaultdict(set)

        def count(place: int, sign: int) -> None:
            for pair in pairwise(words[place]):
                pairs[pair] += sign * often[place]
                holders[pair].add(place)

        for place in range(len(words)):
            count(place, 1)
        merges: list[Pair] = []
        while BYTES + len(merges) + 1 < size:
            best = min(pairs, key=lambda pair: (-pairs[pair], pair), default=(0, 0))
            if not pairs[best]:
                raise ValueError(f"the text has no pair left to merge after {len(merges)} merges; got size {size}")
            for place in holders.pop(best):
                count(place, -1)
                words[place] = _merged(words[place], best, BYTES + len(merges))
                count(place, 1)
            merges.append(best)
        return cls(tuple(merges))

    def encode(self, text: str) -> list[int]:
        """The tokens of a text, without the one that begins a document."""
        return [token for word in WORD.findall(text.encode()) for token in self._word(word)]

    def decode(self, tokens: Sequence[int]) -> str:
        """The text of tokens; a byte that is no character shows as a question mark in a box."""
        return b"".join(self._texts[token] for token in tokens).decode(errors="replace")

    def _word(self, word: bytes) -> list[int]:
        if word not in self._known:
            found = list(word)
            for place, pair in enumerate(self.merges):
                if pair[0] in found and pair[1] in found:
                    found = _merged(found, pair, BYTES + place)
            self._known[word] = found
        return self._known[word]

    @cached_property
    def _known(self) -> dict[bytes, list[int]]:
        return {}

    @cached_property
    def _texts(self) -> list[bytes]:
        texts = [bytes([byte]) for byte in range(BYTES)]
        for first, second in self.merges:
            texts.append(texts[first] + texts[second])
        return [*texts, b""]


def _merged(word: list[int], pair: Pair, token: int) -> list[int]:
    """A word in which every occurrence of the pair became one token, from left to right."""
    found: list[int] = []
    for each in word:
        if found and (found[-1], each) == pair:
            found[-1] = token
        else:
            found.append(each)
    return found
