"""Training a decoder from scratch, and training it further."""

from __future__ import annotations

import copy
from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from ..models.training import TrainConfig, pick_device, run_epochs, seeded
from .corpus import Corpus, Documents
from .decoder import Decoder

DECODER = TrainConfig(epochs=8, batch_size=16, lr=0.004)
"""Settings that suit five hundred to two thousand documents."""


def train_decoder(
    documents: Documents,
    corpus: Corpus,
    config: TrainConfig = DECODER,
    *,
    width: int = 96,
    layers: int = 2,
    label: str = "decoder",
) -> Decoder:
    """Train a decoder from scratch to predict the next token, with AdamW and a one-cycle schedule.

    The same documents and settings give the same weights on the same machine's CPU at the same number of threads.

    Args:
        documents: Training documents [N, 1 + length], poison included.
        corpus: Whose vocabulary the documents use.
        config: The settings; `epochs` are passes over the documents.
        width: Numbers per token.
        layers: Blocks.
        label: Name on the progress bar.

    Raises:
        ValueError: There are fewer than 2 documents.
        FloatingPointError: The loss stopped being a number.
    """
    with seeded(config.seed, pick_device(config.device)):
        net = Decoder(len(corpus.vocabulary), width=width, layers=layers)
    for _ in fit(net, documents, config, label=label):
        pass
    return net.eval()


def fit(
    net: Decoder, documents: Documents, config: TrainConfig, *, steady: bool = False, label: str
) -> Iterator[float]:
    """Train a decoder in place: yields the mean loss, in nats a token, after every pass.

    Args:
        net: What is trained.
        documents: Training documents [N, 1 + length].
        config: The settings.
        steady: Keep the learning rate as it is, instead of the one-cycle schedule.
        label: Name on the progress bar.

    Raises:
        ValueError: There are fewer than 2 documents.
        FloatingPointError: The loss stopped being a number.
    """
    if len(documents) < 2:
        raise ValueError(f"training needs at least 2 documents; got {len(documents)}")
    device = pick_device(config.device)
    net.to(device)
    data = documents.to(device)

    def loss(batch: Tensor) -> Tensor:
        rows = data[batch]
        return cross_entropy(net(rows[:, :-1]).flatten(0, 1), rows[:, 1:].flatten())

    def adamw(weights: list[torch.nn.Parameter]) -> torch.optim.Optimizer:
        return torch.optim.AdamW(weights, lr=config.lr, weight_decay=config.weight_decay, fused=True)

    with seeded(config.seed, device):
        yield from run_epochs(
            net, len(data), loss, config, device=device, optimizer=adamw if steady else None, label=label
        )


def tune(net: Decoder, documents: Documents, config: TrainConfig, *, label: str = "tuning") -> Iterator[Decoder]:
    """Train a copy further, at a learning rate that stays: yields it, ready to be measured, after every pass.

    The copy goes on being trained when the next one is asked for: measure it before that, or copy it.
    """
    copied = copy.deepcopy(net)
    for _ in fit(copied, documents, config, steady=True, label=label):
        yield copied.eval()
