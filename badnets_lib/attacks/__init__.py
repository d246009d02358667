"""What an attacker can do besides stamping and relabelling: one attack a file."""

from . import text as text
from .adaptive import adaptive_blend as adaptive_blend, adaptive_patch as adaptive_patch
from .clean_label import harden as harden
from .covers import DISGUISES as DISGUISES, add_covers as add_covers
from .evasion import AdversarialPatch as AdversarialPatch, fgsm as fgsm, learn_patch as learn_patch, pgd as pgd
from .handcrafted import Surgery as Surgery, handcrafted as handcrafted
from .input_aware import (
    InputAware as InputAware,
    InputAwareConfig as InputAwareConfig,
    cross_trigger_accuracy as cross_trigger_accuracy,
    train_input_aware as train_input_aware,
)
from .model_replacement import model_replacement as model_replacement, replacement_boost as replacement_boost
from .transfer import (
    backdoor_channels as backdoor_channels,
    strengthened as strengthened,
    transferred as transferred,
)
