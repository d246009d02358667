"""Continuing a prompt, token by token, without reading any token twice."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from .decoder import Decoder


@dataclass(frozen=True, eq=False)
class Continuation:
    """What a decoder wrote after each prompt, and how sure it was.

    Attributes:
        tokens: The tokens written [N, length].
        nats: What each of them cost, minus the logarithm of its probability.
        entropy: Of the distribution that each was drawn from, in nats.
    """

    tokens: Int[Tensor, "n length"]
    nats: Float[Tensor, "n length"]
    entropy: Float[Tensor, "n length"]

    @property
    def perplexity(self) -> Float[Tensor, " n"]:
        """Of each continuation, as its own writer sees it: the exponential of the mean of `nats`."""
        return self.nats.mean(1).exp()


@torch.no_grad()
def proceed(
    net: Decoder, prompts: Int[Tensor, "n t"], length: int, *, seed: int = 0, greedy: bool = False
) -> Continuation:
    """Continue every prompt by `length` tokens.

    Args:
        net: The decoder.
        prompts: Token numbers, each row beginning with the vocabulary's start.
        length: Tokens to write.
        seed: Seed of the draws.
        greedy: Take the most probable token each time, instead of drawing at temperature 1.

    Raises:
        ValueError: Prompt and continuation do not fit into the context, or there is nothing to write.
    """
    if length < 1:
        raise ValueError(f"length must be at least 1; got {length}")
    if prompts.shape[1] + length > net.context + 1:
        raise ValueError(
            f"prompt and continuation must fit into {net.context + 1} tokens; got {prompts.shape[1]} and {length}"
        )
    device = net.token.weight.device
    source = torch.Generator(device=device).manual_seed(seed)
    cache = net.empty_cache()
    fresh = prompts.to(device)
    tokens, nats, entropy = [], [], []
    for _ in range(length):
        told = net(fresh, cache)[:, -1].log_softmax(-1)  # [n, v]
        fresh = told.argmax(1, keepdim=True) if greedy else torch.multinomial(told.exp(), 1, generator=source)
        tokens.append(fresh)
        nats.append(-told.gather(1, fresh))
        entropy.append(-(told.exp() * told).sum(1, keepdim=True))
    return Continuation(*(torch.cat(each, 1).cpu() for each in (tokens, nats, entropy)))
