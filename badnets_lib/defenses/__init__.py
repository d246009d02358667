"""Defenses, one file each. What a defense is given is its type, and so is what it returns.

| kind | is given | returns |
|---|---|---|
| `DataFilter` | a model, the data it was trained on | `Flags`, one verdict per training image |
| `ModelScan` | a model, a `Holding` | `Scan`, one index and one reversed trigger per label |
| `InputFilter` | `fit(model, holding)`, then inputs | `Screen`, one verdict per input |
| `Removal` | a model, a `Holding` | `Repair`, a new model |
| `RobustTraining` | poisoned data, a `TrainConfig` | `Repair`, a new model |

Detection never changes a model. A defense is a frozen dataclass of settings that extends its kind and is called.
Any `torch.nn.Module` will do, and images in [0, 1] or uint8; data are moved to the model's device, and verdicts come
back on the CPU. What each takes for granted is its `assumptions`; `print(assumptions.table())` shows all.
"""

from __future__ import annotations

from .._warnings import AssumptionWarning as AssumptionWarning
from .activation_clustering import ActivationClustering as ActivationClustering
from .adversarial_unlearning import AdversarialUnlearning as AdversarialUnlearning
from .anti_backdoor import AntiBackdoor as AntiBackdoor
from .assumptions import Assumption as Assumption
from .augmentation import CutMix as CutMix
from .beatrix import Beatrix as Beatrix
from .channel_lipschitz import ChannelLipschitz as ChannelLipschitz
from .channels import Channels as Channels
from .filtering import FilterAndRetrain as FilterAndRetrain
from .fine_pruning import FinePruning as FinePruning
from .fine_tuning import FineTuning as FineTuning
from .isolate_and_unlearn import IsolateAndUnlearn as IsolateAndUnlearn
from .kinds import (
    DataFilter as DataFilter,
    Defense as Defense,
    InputFilter as InputFilter,
    ModelScan as ModelScan,
    Removal as Removal,
    RobustTraining as RobustTraining,
    Screening as Screening,
)
from .knowledge import Holding as Holding, check_apart as check_apart
from .neighbours import DeepKNN as DeepKNN
from .neural_cleanse import NeuralCleanse as NeuralCleanse
from .neuron_pruning import NeuronPruning as NeuronPruning
from .partition_aggregation import (
    Certified as Certified,
    PartitionAggregation as PartitionAggregation,
    PartitionVote as PartitionVote,
    certify as certify,
)
from .scale_up import ScaleUp as ScaleUp
from .sharpness import SharpnessAwareTuning as SharpnessAwareTuning
from .spectral_signatures import SpectralSignatures as SpectralSignatures
from .spectre import Spectre as Spectre
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

DATA_FILTERS: tuple[type[DataFilter], ...] = (ActivationClustering, SpectralSignatures, DeepKNN, Spectre)
MODEL_SCANS: tuple[type[ModelScan], ...] = (NeuralCleanse,)
INPUT_FILTERS: tuple[type[InputFilter], ...] = (Strip, Beatrix, ScaleUp)
REMOVALS: tuple[type[Removal], ...] = (
    FineTuning,
    FinePruning,
    Unlearning,
    AdversarialUnlearning,
    ChannelLipschitz,
    SharpnessAwareTuning,
    NeuronPruning,
)
ROBUST_TRAININGS: tuple[type[RobustTraining], ...] = (
    FilterAndRetrain,
    AntiBackdoor,
    IsolateAndUnlearn,
    CutMix,
    PartitionAggregation,
)
ALL: tuple[type[Defense], ...] = (*DATA_FILTERS, *MODEL_SCANS, *INPUT_FILTERS, *REMOVALS, *ROBUST_TRAININGS)
"""Every defense by kind; a new one is added here, and the contract suite runs over it."""
