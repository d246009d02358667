"""The kinds of defense: what each is given, and what it returns. A defense is of the kind whose class it extends."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from torch import nn

from ..data.images import ImageSet, StoredImages
from ..models.training import TrainConfig
from .assumptions import Assumption
from .knowledge import Holding
from .verdicts import Flags, Repair, Scan, Screen


class Defense:
    """A frozen dataclass of settings. It never changes the network or the data that it is given.

    Attributes:
        assumptions: What it takes for granted; `assumptions.table()` shows those of all defenses.
    """

    assumptions: ClassVar[tuple[Assumption, ...]] = ()


class DataFilter(Defense, ABC):
    """Finds suspicious training images in the eyes of a network that was trained on them."""

    @abstractmethod
    def __call__(self, model: nn.Module, data: ImageSet) -> Flags:
        """One verdict for every image of the training set."""


class ModelScan(Defense, ABC):
    """Looks for a backdoor in a network, label by label."""

    @abstractmethod
    def __call__(self, model: nn.Module, holding: Holding) -> Scan:
        """One index and one reversed trigger for every label."""


class Screening(ABC):
    """A fitted run-time filter."""

    @abstractmethod
    def __call__(self, x: StoredImages) -> Screen:
        """One verdict for every input."""


class InputFilter(Defense, ABC):
    """Turns away suspicious inputs at run time, after it was fitted to a network."""

    @abstractmethod
    def fit(self, model: nn.Module, holding: Holding) -> Screening:
        """The filter that watches over this network."""


class Removal(Defense, ABC):
    """Makes a new network without the backdoor, if all goes well."""

    @abstractmethod
    def __call__(self, model: nn.Module, holding: Holding) -> Repair:
        """The new network, and how it came about."""


class RobustTraining(Defense, ABC):
    """Trains on poisoned data so that the backdoor is not learnt, if all goes well."""

    @abstractmethod
    def __call__(self, data: ImageSet, config: TrainConfig | None = None) -> Repair:
        """The trained network, and how it came about."""
