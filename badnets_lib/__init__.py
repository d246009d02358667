"""Backdoor attacks on image classifiers, small enough to read.

The flow is `ImageSet + Trigger + Goal -> PoisonPlan -> poisoned ImageSet -> Fitted -> Scorecard ->
Report`. Pictures and notebook controls are imported by name: `from badnets_lib import plots, widgets`.
"""

from .checkpoints import load_model as load_model, save_model as save_model, weights_hash as weights_hash
from .counts import Difference as Difference, Proportion as Proportion
from .data import DataUnavailable as DataUnavailable, load as load
from .evasion import (
    AdversarialPatch as AdversarialPatch,
    fgsm as fgsm,
    learn_patch as learn_patch,
    pgd as pgd,
)
from .files import DamagedFile as DamagedFile
from .images import ImageSet as ImageSet
from .metrics import (
    Scorecard as Scorecard,
    attack_success_rate as attack_success_rate,
    clean_accuracy as clean_accuracy,
    clean_accuracy_drop as clean_accuracy_drop,
    confusion as confusion,
    false_target_rate as false_target_rate,
    pooled as pooled,
    score as score,
)
from .models import PaperCNN as PaperCNN, SmallCNN as SmallCNN, first_layer as first_layer
from .poisoning import (
    Goal as Goal,
    PoisonPlan as PoisonPlan,
    flip_labels as flip_labels,
    make_badnets_batch as make_badnets_batch,
)
from .reports import (
    DefenseTest as DefenseTest,
    Poisoning as Poisoning,
    Report as Report,
    Training as Training,
)
from .training import (
    Epoch as Epoch,
    Fitted as Fitted,
    TrainConfig as TrainConfig,
    channel_means as channel_means,
    describe_device as describe_device,
    predict as predict,
    train as train,
)
from .triggers import (
    FOUR_PIXELS as FOUR_PIXELS,
    SINGLE_PIXEL as SINGLE_PIXEL,
    Attribute as Attribute,
    Blend as Blend,
    Chain as Chain,
    Checkerboard as Checkerboard,
    ColourShift as ColourShift,
    Description as Description,
    Patch as Patch,
    Pixels as Pixels,
    Pose as Pose,
    Reflection as Reflection,
    Sinusoid as Sinusoid,
    Sticker as Sticker,
    Trigger as Trigger,
    Warp as Warp,
    stamp_square_trigger as stamp_square_trigger,
)
