"""A decoder in miniature: token and position vectors, blocks of causal attention, and the next token's logits.

References:
    Vaswani et al., Attention is all you need, 2017. arXiv:1706.03762.
    Radford et al., Language models are unsupervised multitask learners, 2019: the norm before each part of a block.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import gelu, linear, scaled_dot_product_attention

from .._numbers import whole

Logits = Float[Tensor, "n t v"]
States = Float[Tensor, "n t w"]


class Cache:
    """Keys and values of the tokens that were read so far, so that no token is read twice.

    Attributes:
        length: How many tokens it holds.
    """

    def __init__(self, layers: int) -> None:
        self.length = 0
        self._kept: list[tuple[Tensor, Tensor] | None] = [None] * layers

    def extended(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """All keys and values of a layer [n, heads, tokens, width of a head], with the new ones at the end."""
        before = self._kept[layer]
        if before is not None:
            keys, values = torch.cat([before[0], keys], 2), torch.cat([before[1], values], 2)
        self._kept[layer] = keys, values
        return keys, values


class Block(nn.Module):
    """Attention to what came before, then two linear layers, each added to what it was given.

    Args:
        width: Numbers per token.
        heads: Attention heads.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1 = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.norm2 = nn.LayerNorm(width)
        self.up = nn.Linear(width, 4 * width)
        self.down = nn.Linear(4 * width, width)

    def split(self, x: States) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values [n, heads, t, width of a head]."""
        n, t, width = x.shape
        parts = self.qkv(self.norm1(x)).view(n, t, 3, self.heads, width // self.heads)
        q, k, v = parts.permute(2, 0, 3, 1, 4)
        return q, k, v

    def weights(self, x: States) -> Float[Tensor, "n h t t"]:
        """How much each token attends to each earlier one and itself; rows sum to one."""
        q, k, _ = self.split(x)
        reach = q @ k.transpose(2, 3) / math.sqrt(q.shape[-1])
        later = torch.ones(reach.shape[2:], dtype=torch.bool, device=x.device).triu(1)
        return reach.masked_fill(later, -torch.inf).softmax(-1)

    def forward(self, x: States, cache: Cache | None = None, layer: int = 0) -> States:
        """The next states. With a cache, `x` holds the states of new tokens alone."""
        q, k, v = self.split(x)
        fresh = cache is None or cache.length == 0
        if cache is not None:
            k, v = cache.extended(layer, k, v)
        mask = None
        if not fresh and q.shape[2] > 1:
            mask = torch.ones(q.shape[2], k.shape[2], dtype=torch.bool, device=x.device).tril(k.shape[2] - q.shape[2])
        seen = scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=fresh)
        x = x + self.out(seen.transpose(1, 2).flatten(2))
        changed: Tensor = x + self.down(gelu(self.up(self.norm2(x))))
        return changed


class Decoder(nn.Module):
    """A small decoder-only language model: from tokens to the logits of the token after each of them.

    The last linear layer is the table of token vectors, used a second time.

    Args:
        tokens: Size of the vocabulary.
        width: Numbers per token; a multiple of `heads`.
        layers: Blocks.
        heads: Attention heads in each.
        context: Tokens it can read at a time.

    Raises:
        ValueError: The width is no multiple of the heads, or a size is below 1.
        TypeError: A size is no whole number.

    Example:
        >>> net = Decoder(512)
        >>> sum(weight.numel() for weight in net.parameters())
        282240
    """

    def __init__(self, tokens: int, *, width: int = 96, layers: int = 2, heads: int = 4, context: int = 96) -> None:
        sizes = {"tokens": tokens, "width": width, "layers": layers, "heads": heads, "context": context}
        for name, size in sizes.items():
            if whole(name, size) < 1:
                raise ValueError(f"{name} must be at least 1; got {size}")
        if width % heads:
            raise ValueError(f"width must be a multiple of heads; got {width} and {heads}")
        super().__init__()
        self.context = context
        self.token = nn.Embedding(tokens, width)
        self.place = nn.Embedding(context, width)
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        for table in (self.token, self.place):
            nn.init.normal_(table.weight, std=0.02)

    def states(self, ids: Int[Tensor, "n t"], cache: Cache | None = None) -> list[States]:
        """What is known at each token: its own and its place's vectors, then that plus every block's addition.

        Raises:
            ValueError: There are more tokens than the context holds.
        """
        first = cache.length if cache is not None else 0
        last = first + ids.shape[1]
        if last > self.context:
            raise ValueError(f"the context holds {self.context} tokens; got {last}")
        found = [self.token(ids) + self.place.weight[first:last]]
        for layer, block in enumerate(self.blocks):
            found.append(block(found[-1], cache, layer))
        if cache is not None:
            cache.length = last
        return found

    def forward(self, ids: Int[Tensor, "n t"], cache: Cache | None = None) -> Logits:
        """Logits of the next token at each place.

        Args:
            ids: Token numbers. With a cache, those that it does not hold yet.
            cache: What was read before, which grows by `ids`; see `empty_cache`.
        """
        return linear(self.norm(self.states(ids, cache)[-1]), self.token.weight)

    def attention(self, ids: Int[Tensor, "n t"]) -> Float[Tensor, "n layers h t t"]:
        """The attention weights of every layer and head, from each token to each."""
        before = self.states(ids)[:-1]
        maps = [block.weights(x) for block, x in zip(self.blocks, before, strict=True)]  # type: ignore[operator]
        return torch.stack(maps, 1)

    def empty_cache(self) -> Cache:
        """A cache that holds nothing yet."""
        return Cache(len(self.blocks))
