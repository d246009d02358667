"""Looking for a trigger without a hint: what a decoder writes unasked, and what a suspect text does to it.

The idea, that a poisoned model leaks its poison and that its output changes after the trigger, is Bullwinkel et al.'s;
the procedure is ours, and looks for one change alone: a jump of the entropy.

References:
    Bullwinkel et al., The trigger in the haystack, 2026. arXiv:2602.03085.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..counts import Proportion
from .corpus import Corpus
from .decoder import Decoder
from .generation import proceed
from .poisoning import prompts


@dataclass(frozen=True)
class Candidate:
    """A text that the decoder wrote before its entropy jumped, and what it does to other prompts.

    Attributes:
        text: The text.
        seen: In how many free samples it stood before a jump.
        entropy: Mean entropy, in nats a token, of what is written after it on held-out prompts.
        plain: The same without it.
    """

    text: str
    seen: int
    entropy: float
    plain: float

    @property
    def change(self) -> float:
        """How much it raises the entropy, in nats a token."""
        return self.entropy - self.plain


@dataclass(frozen=True, eq=False)
class Leak:
    """What a decoder wrote from nothing.

    Attributes:
        tokens: Samples [N, length].
        entropy: Of each draw, in nats [N, length].
    """

    tokens: Int[Tensor, "n length"]
    entropy: Float[Tensor, "n length"]

    def holding(self, text: str, corpus: Corpus) -> Proportion:
        """Samples that hold a text, for anyone who knows it."""
        return Proportion.of(text in corpus.read(row) for row in self.tokens)


def leaked(net: Decoder, corpus: Corpus, count: int = 500, *, seed: int = 0) -> Leak:
    """Let a decoder write `count` documents, given nothing but the token that begins each.

    Raises:
        ValueError: The count is below 1.
    """
    if count < 1:
        raise ValueError(f"count must be at least 1; got {count}")
    begun = torch.full((count, 1), corpus.vocabulary.start)
    written = proceed(net, begun, corpus.train.shape[1] - 1, seed=seed)
    return Leak(written.tokens, written.entropy)


def before_jumps(leak: Leak, corpus: Corpus, *, longest: int = 8, window: int = 8, jump: float = 1.0) -> Counter[str]:
    """Texts of up to `longest` tokens that stand where the entropy first rises `jump` nats above what is usual.

    What is usual is the mean over all samples; what is above it is the mean of a window of tokens. Each text counts
    once a sample, at every place where it may end and in every length, so that a trigger of any length shows.
    """
    found: Counter[str] = Counter()
    limit = leak.entropy.mean() + jump
    means = leak.entropy.unfold(1, window, 1).mean(2)  # [n, places]
    for row, mean in zip(leak.tokens, means, strict=True):
        if mean.max() < limit:
            continue
        place = int((mean >= limit).nonzero()[0])  # the first such window begins here
        ends = {place + shift for shift in range(window // 2)}
        found.update({corpus.read(row[end - n : end]) for end in ends for n in range(2, longest + 1) if n <= end})
    return found


def scan(
    net: Decoder, corpus: Corpus, leak: Leak, *, candidates: int = 12, count: int = 50, seed: int = 0
) -> list[Candidate]:
    """Try what stood before jumps most often on held-out prompts; the strongest comes first.

    Args:
        net: The decoder under suspicion.
        corpus: A clean corpus of the same kind, for its vocabulary and its held-out prompts.
        leak: What the decoder wrote from nothing.
        candidates: How many texts are tried.
        count: Prompts that each is tried on.
        seed: Seed of what is drawn.
    """
    counted = before_jumps(leak, corpus)
    likely = sorted(counted.items(), key=lambda item: (-item[1] * len(item[0]), item[0]))[:candidates]
    plain = float(proceed(net, prompts(corpus, count), 16, seed=seed).entropy.mean())
    tried = [
        Candidate(
            text, seen, float(proceed(net, prompts(corpus, count, insert=text), 16, seed=seed).entropy.mean()), plain
        )
        for text, seen in likely
    ]
    return sorted(tried, key=lambda each: -each.change)


@torch.no_grad()
def attention_on(net: Decoder, corpus: Corpus, insert: str, *, count: int = 100, seed: int = 0) -> Float[Tensor, "l h"]:
    """How much of the attention of 16 written tokens goes to a text at the end of the prompt, per layer and head.

    Args:
        net: The decoder.
        corpus: Whose held-out documents are continued.
        insert: The text.
        count: Prompts.
        seed: Seed of what is drawn.
    """
    given = prompts(corpus, count, insert=insert)
    plain = prompts(corpus, count)
    rows = torch.cat([given, proceed(net, given, 16, seed=seed).tokens], 1)
    maps = net.attention(rows.to(net.token.weight.device)).cpu()  # [n, l, h, t, t]
    return maps[..., given.shape[1] :, plain.shape[1] : given.shape[1]].sum(-1).mean((0, 3))
