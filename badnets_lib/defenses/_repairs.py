"""How every removal begins and ends: what it is given is looked at, and what the repair costs is measured."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import nn

from ..counts import Proportion
from ..data.images import ImageSet
from ..models.inference import check_network, placement, predict
from ..models.training import Epoch, Loss, MakeOptimizer, TrainConfig, classification, train
from .assumptions import FEW_TRUSTED, LOW_ACCURACY, PROBABILITIES, REPAIR_COSTS, check_answers, check_enough_trusted
from .knowledge import Holding, check_holding

EVERY = (FEW_TRUSTED, PROBABILITIES, LOW_ACCURACY, REPAIR_COSTS)
"""What every removal that trains takes for granted."""

ENOUGH = 100
"""With fewer trusted images than this, a repair is not to be believed."""

COST = 0.2
"""A repair during which so much trusted accuracy is lost forgets the network it was given."""


def begin(model: nn.Module, holding: Holding, what: str) -> tuple[ImageSet, Proportion]:
    """The trusted images, and how many of them the network is right about.

    Args:
        model: The network that will be repaired.
        holding: What the defender has.
        what: The name of the removal, for messages.

    Raises:
        TypeError: The model is no network, or the holding no `Holding`.
        ValueError: The network is scripted, there are fewer than 2 trusted images, it has another number of outputs
            than there are classes, or an answer is not a finite number.

    Warns:
        AssumptionWarning: There are fewer than 100 trusted images, the network ends in a softmax, or it is right about
            fewer than 60% of the trusted images.
    """
    check_repairable(model)
    trusted = check_holding(holding).need(2, what)
    check_enough_trusted(len(trusted), ENOUGH, what)
    logits = predict(model, trusted.x)
    check_answers(logits, trusted.y, len(trusted.classes))
    right = Proportion.of(logits.argmax(1) == trusted.y.cpu())
    return trusted, right


def check_repairable(model: nn.Module) -> None:
    """Raise unless this is a network whose layers can be changed.

    Raises:
        TypeError: The model is no network.
        ValueError: It is scripted.
    """
    if isinstance(check_network(model), torch.jit.ScriptModule):
        raise ValueError(
            f"a scripted network cannot be repaired; got {type(model).__name__}: pass what it was made from"
        )


def retrained(
    model: nn.Module,
    data: ImageSet,
    config: TrainConfig,
    *,
    start: nn.Module | None = None,
    loss: Loss = classification,
    optimizer: MakeOptimizer | None = None,
    watched: ImageSet,
    label: str,
) -> tuple[nn.Module, tuple[Epoch, ...]]:
    """A copy of a network that was trained on, of the same kind and dtype, and one `Epoch` per pass.

    A network in half precision is trained in single precision; its weights are rounded afterwards.

    Args:
        model: The network; it is left as it is.
        data: What is learnt.
        config: Settings; the device is that of the network.
        start: A variant of the network with the same weights, of which some layers are frozen.
        loss: What is minimised.
        optimizer: Makes what changes the weights, as for `train`.
        watched: The trusted images; the accuracy on them is counted after every epoch.
        label: Name on the progress bar.
    """
    start = model if start is None else start
    if placement(model).dtype in (torch.float16, torch.bfloat16):
        start = copy.deepcopy(start).float()
    trained = train(data, config, model=start, loss=loss, optimizer=optimizer, watch={"trusted": watched}, label=label)
    network = copy.deepcopy(model)  # its layers are of the given kinds, and none of them is frozen
    network.load_state_dict(trained.model.state_dict())
    return network.eval(), trained.history


def check_cost(before: Proportion, epochs: Sequence[Epoch]) -> None:
    """Warn if trusted accuracy fell far on the way: what comes afterwards was learnt from the trusted images alone.

    Args:
        before: Trusted accuracy of the network as it was given.
        epochs: What was seen after each epoch.
    """
    lowest = min((epoch.watched["trusted"] for epoch in epochs), key=lambda count: count.value, default=before)
    if before.value - lowest.value > COST:
        REPAIR_COSTS.warn(
            f"trusted accuracy fell from {before.value:.1%} to {lowest.value:.1%} during the repair: the network "
            "forgets what it knew and learns the trusted images instead; lower lr"
        )
