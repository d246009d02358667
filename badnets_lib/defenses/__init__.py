"""Defenses, one file each. What a defense is given is its type, and so is what it returns.

| kind | is given | returns |
|---|---|---|
| `DataFilter` | a model, the data it was trained on | `Flags`, one verdict per training image |
| `ModelScan` | a model, a `Holding` | `Scan`, one index and one reversed trigger per label |
| `InputFilter` | `fit(model, holding)`, then inputs | `Screen`, one verdict per input |
| `Removal` | a model, a `Holding` | `Repair`, a new model |
| `RobustTraining` | poisoned data, a `TrainConfig` | `Repair`, a new model |

Detection never changes a model. The protocols need not be inherited; a defense is a frozen dataclass of
settings that is called. Data are moved to the model's device; verdicts come back on the CPU.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from torch import nn

from .._warnings import AssumptionWarning as AssumptionWarning
from ..data.images import Images, ImageSet
from ..models.training import TrainConfig
from .activation_clustering import ActivationClustering as ActivationClustering
from .adversarial_unlearning import AdversarialUnlearning as AdversarialUnlearning
from .anti_backdoor import AntiBackdoor as AntiBackdoor
from .augmentation import CutMix as CutMix
from .filtering import FilterAndRetrain as FilterAndRetrain
from .fine_pruning import FinePruning as FinePruning
from .fine_tuning import FineTuning as FineTuning
from .knowledge import Holding as Holding, check_apart as check_apart
from .neighbours import DeepKNN as DeepKNN
from .neural_cleanse import NeuralCleanse as NeuralCleanse
from .spectral_signatures import SpectralSignatures as SpectralSignatures
from .strip import Strip as Strip
from .unlearning import Unlearning as Unlearning
from .verdicts import (
    Flags as Flags,
    Outcome as Outcome,
    Rates as Rates,
    Repair as Repair,
    Scan as Scan,
    Screen as Screen,
)


@runtime_checkable
class DataFilter(Protocol):
    """Finds suspicious training images in the eyes of a model that was trained on them."""

    def __call__(self, model: nn.Module, data: ImageSet) -> Flags: ...


@runtime_checkable
class ModelScan(Protocol):
    """Looks for a backdoor in a model, label by label."""

    def __call__(self, model: nn.Module, holding: Holding) -> Scan: ...


@runtime_checkable
class Screening(Protocol):
    """A fitted run-time filter."""

    def __call__(self, x: Images) -> Screen: ...


@runtime_checkable
class InputFilter(Protocol):
    """Turns away suspicious inputs at run time, after it was fitted to a model."""

    def fit(self, model: nn.Module, holding: Holding) -> Screening: ...


@runtime_checkable
class Removal(Protocol):
    """Makes a new model without the backdoor, if all goes well."""

    def __call__(self, model: nn.Module, holding: Holding) -> Repair: ...


@runtime_checkable
class RobustTraining(Protocol):
    """Trains on poisoned data so that the backdoor is not learnt, if all goes well."""

    def __call__(self, data: ImageSet, config: TrainConfig | None = None) -> Repair: ...


DATA_FILTERS: tuple[type[DataFilter], ...] = (ActivationClustering, SpectralSignatures, DeepKNN)
MODEL_SCANS: tuple[type[ModelScan], ...] = (NeuralCleanse,)
INPUT_FILTERS: tuple[type[InputFilter], ...] = (Strip,)
REMOVALS: tuple[type[Removal], ...] = (FineTuning, FinePruning, Unlearning, AdversarialUnlearning)
ROBUST_TRAININGS: tuple[type[RobustTraining], ...] = (FilterAndRetrain, AntiBackdoor, CutMix)
"""Every defense by kind; a new one is added here, and the contract suite runs over it."""
