"""A training loop whose loss is a defense's own."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from ..images import Images, ImageSet, Labels
from ..training import TrainConfig, _batches, _seeded, epoch_order, epoch_record, optimizer_for, pick_device

Loss = Callable[[nn.Module, Images, Labels], Tensor]
"""From a network in training mode and a batch to what is minimised."""


def descend(
    start: Callable[[], nn.Module],
    data: ImageSet,
    config: TrainConfig,
    loss: Loss,
    *,
    before_epoch: Callable[[nn.Module], None] = lambda network: None,
) -> nn.Module:
    """Train a network as `badnets_lib.train` does, on another loss than cross-entropy.

    Args:
        start: Makes the network, under the config's seed; it is trained in place.
        data: Training images.
        config: Settings.
        loss: What is minimised. Global random numbers may be drawn in it: they are seeded too.
        before_epoch: Is shown the network, in evaluation mode, before every pass.

    Raises:
        ValueError: There are fewer than 2 images.
        FloatingPointError: The loss stopped being a number.
    """
    if len(data) < 2:
        raise ValueError(f"training needs at least 2 images; got {len(data)}")
    device = pick_device(config.device)
    with _seeded(config.seed, device):
        network = start().to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        x, y = data.x.float().to(device, memory_format=torch.channels_last), data.y.to(device).long()
        optimizer, schedule = optimizer_for(network.parameters(), config, len(data))
        for epoch in range(config.epochs):
            before_epoch(network.eval())
            network.train()
            total = torch.zeros((), device=device)
            for batch in _batches(epoch_order(config.seed, epoch, len(y), device), config.batch_size):
                value = loss(network, x[batch], y[batch])
                optimizer.zero_grad()
                value.backward()
                optimizer.step()
                schedule.step()
                total += value.detach() * len(batch)
            epoch_record(float(total) / len(y), epoch, network, {})
    trained: nn.Module = network.eval()
    return trained
