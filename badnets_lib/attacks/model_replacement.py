"""Model replacement: one client of a federation sends an update so long that the mean becomes the attacker's network.

References:
    Bagdasaryan, Veit, Hua, Estrin, Shmatikov, How To Backdoor Federated Learning, 2018. arXiv:1807.00459; the authors'
        code, github.com/ebagdasa/backdoor_federated_learning.
"""

from __future__ import annotations

from torch import nn

from .._numbers import number
from ..data.images import ImageSet
from ..models.federated import LocalTraining, Sizes, Update


def replacement_boost(sizes: Sizes, client: int) -> float:
    """By how much a client must multiply its update so that the mean of all moves by it in full.

    It is one over the client's weight in the mean: 20 among 20 equal clients. In the paper's notation it is gamma,
    n / eta, where all n clients take part in every round and eta is 1.

    Example:
        >>> replacement_boost(torch.tensor([10.0, 10.0, 20.0]), 2)
        2.0
    """
    return float(sizes.sum() / sizes[client])


def model_replacement(model: nn.Module, poisoned: ImageSet, local: LocalTraining, *, boost: float, turn: int) -> Update:
    """The update of an attacker: its own training on its own poisoned images, multiplied.

    Args:
        model: The network of this round.
        poisoned: The attacker's images, clean and poisoned ones mixed so that the network still reads digits.
        local: How the attacker trains; longer and at a lower rate than honest clients, as the paper does.
        boost: What the update is multiplied by; see `replacement_boost`. 1 is plain poisoning of the client's data.
        turn: As in `LocalTraining`.

    Raises:
        ValueError: The boost is not positive.
    """
    if not number("boost", boost) > 0:
        raise ValueError(f"boost must be positive; got {boost}")
    return boost * local(model, poisoned, turn=turn)
