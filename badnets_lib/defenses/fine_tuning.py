"""Fine-tuning on trusted images: the plainest removal, and the one every other is compared with."""

from __future__ import annotations

import copy
import time
from dataclasses import dataclass

from torch import nn

from ..data.images import ImageSet
from ..models.adaptation import frozen
from ..models.training import Epoch, TrainConfig, train
from .assumptions import check_enough_trusted
from .kinds import Removal
from .knowledge import Holding
from .verdicts import Repair


@dataclass(frozen=True)
class FineTuning(Removal):
    """Go on training a copy of the network on trusted images alone.

    How strong it is depends on the learning rate, the number of epochs and which layers learn: see `STRENGTHS`.

    Args:
        epochs: Passes over the trusted images.
        lr: Peak learning rate of the one-cycle schedule. Training from scratch uses 0.005.
        batch_size: Images per step.
        weight_decay: AdamW's decoupled weight decay.
        layers: Names of the layers that learn; None for all. The others keep every weight.
        seed: Seed of the order of images.

    Raises:
        ValueError: A setting is out of range.

    References:
        Liu, Dolan-Gavitt, Garg, Fine-Pruning, 2018, section 4, on why fine-tuning alone may leave a backdoor
            as it is. arXiv:1805.12185.
    """

    epochs: int = 10
    lr: float = 0.005
    batch_size: int = 32
    weight_decay: float = 0.01
    layers: tuple[str, ...] | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        self.config("cpu")

    def __call__(self, model: nn.Module, holding: Holding) -> Repair:
        """A fine-tuned copy of the model.

        Raises:
            ValueError: There are fewer than 2 trusted images, or no layer of a given name.

        Warns:
            AssumptionWarning: There are fewer than 100 trusted images.
        """
        started = time.perf_counter()
        trusted = holding.need(2, "fine-tuning")
        check_enough_trusted(len(trusted), 100, "fine-tuning")
        tuned, epochs = self.tune(model, trusted)
        history = tuple({"epoch": number, "loss": epoch.loss} for number, epoch in enumerate(epochs, 1))
        return Repair(tuned, repr(self), time.perf_counter() - started, history, holding.oracle)

    def tune(self, model: nn.Module, data: ImageSet) -> tuple[nn.Module, tuple[Epoch, ...]]:
        """(a copy that was trained on, one `Epoch` per pass), on the model's device."""
        start = frozen(model, train=self.layers, hold_statistics=self.layers is not None)
        device = next(model.parameters()).device
        fitted = train(data, self.config(str(device)), model=start, label="fine-tuning")
        tuned = copy.deepcopy(model)  # its layers are of the given kinds, and none of them is frozen
        tuned.load_state_dict(fitted.model.state_dict())
        return tuned.eval(), fitted.history

    def config(self, device: str) -> TrainConfig:
        """The settings as `train` takes them."""
        return TrainConfig(self.epochs, self.batch_size, self.lr, self.weight_decay, self.seed, device)


STRENGTHS = {
    "last layer": FineTuning(layers=("fc2",)),
    "gentle": FineTuning(lr=0.001),
    "as in training": FineTuning(),
    "strong": FineTuning(epochs=20, lr=0.02),
}
"""Fine-tuning from the weakest to the strongest, for networks whose last layer is "fc2"."""
