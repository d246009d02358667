"""Fine-tuning on trusted images: the plainest removal, and the one every other is compared with."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import nn

from .._numbers import check_numbers, shown
from ..data.images import ImageSet
from ..models.adaptation import frozen
from ..models.inference import placement
from ..models.layers import head
from ..models.training import Epoch, TrainConfig
from ._repairs import EVERY, begin, check_cost, retrained
from .assumptions import CLEAN_TRAINING, Assumption
from .kinds import Removal
from .knowledge import Holding
from .verdicts import Repair


@dataclass(frozen=True)
class FineTuning(Removal):
    """Go on training a copy of the network on trusted images alone.

    How strong it is depends on the learning rate, the number of epochs and which layers learn: see `STRENGTHS`.

    Args:
        epochs: Passes over the trusted images.
        lr: Peak learning rate of the one-cycle schedule. The default suits the book's small networks; a large or
            pretrained one needs less.
        batch_size: Images per step.
        weight_decay: AdamW's decoupled weight decay.
        layers: Names of the layers that learn; "last" for the one that gives the logits, which is found by running the
            network; None for all. The others keep every weight, and batch norm its statistics.
        seed: Seed of the order of images.

    Raises:
        TypeError: The layers are not given as a tuple of names.
        ValueError: A setting is out of range.

    References:
        Liu, Dolan-Gavitt, Garg, Fine-Pruning, 2018, section 4, on why fine-tuning alone may leave a backdoor
            as it is. arXiv:1805.12185.
    """

    assumptions: ClassVar[tuple[Assumption, ...]] = (*EVERY, CLEAN_TRAINING)

    epochs: int = 10
    lr: float = 0.005
    batch_size: int = 32
    weight_decay: float = 0.01
    layers: tuple[str, ...] | Literal["last"] | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        check_numbers(self)
        self.config("cpu")
        named = isinstance(self.layers, tuple | list) and all(isinstance(name, str) for name in self.layers)
        if not named and self.layers is not None and not (isinstance(self.layers, str) and self.layers == "last"):
            raise TypeError(f"layers must be a tuple of names, 'last' or None; got {shown(self.layers)}")

    def __call__(self, model: nn.Module, holding: Holding) -> Repair:
        """A fine-tuned copy of the model; its history holds loss and trusted accuracy after each epoch.

        Raises:
            TypeError: The model is no network, or the holding no `Holding`.
            ValueError: There are fewer than 2 trusted images, or no layer of a given name.

        Warns:
            AssumptionWarning: There are fewer than 100 trusted images, the network ends in a softmax or is wrong about
                most of them, or trusted accuracy fell by more than 20 points on the way.
        """
        started = time.perf_counter()
        trusted, before = begin(model, holding, "fine-tuning")
        tuned, epochs = self.tune(model, trusted)
        check_cost(before, epochs)
        return Repair(tuned, repr(self), time.perf_counter() - started, as_history(epochs), holding.oracle)

    def tune(
        self, model: nn.Module, data: ImageSet, *, watched: ImageSet | None = None
    ) -> tuple[nn.Module, tuple[Epoch, ...]]:
        """(a copy that was trained on, one `Epoch` per pass), on the model's device.

        Args:
            model: The network; it is left as it is.
            data: What it learns.
            watched: Images whose accuracy is counted after every epoch, as "trusted"; by default the data.
        """
        layers = (head(model, data.x),) if self.layers == "last" else self.layers
        start = frozen(model, train=layers, hold_statistics=layers is not None)
        config = self.config(str(placement(model).device))
        watched = data if watched is None else watched
        return retrained(model, data, config, start=start, watched=watched, label="fine-tuning")

    def config(self, device: str) -> TrainConfig:
        """The settings as `train` takes them."""
        return TrainConfig(self.epochs, self.batch_size, self.lr, self.weight_decay, self.seed, device)


def as_history(epochs: tuple[Epoch, ...]) -> tuple[dict[str, object], ...]:
    """Epochs as records of a `Repair`."""
    return tuple(
        {"epoch": number, "loss": epoch.loss, "trusted": epoch.watched["trusted"]}
        for number, epoch in enumerate(epochs, 1)
    )


STRENGTHS = {
    "last layer": FineTuning(layers="last"),
    "gentle": FineTuning(lr=0.001),
    "as in training": FineTuning(),
    "strong": FineTuning(epochs=20, lr=0.02),
}
"""Fine-tuning from the weakest to the strongest; the learning rates are those of the book's networks."""
