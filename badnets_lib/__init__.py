"""Backdoor attacks on image classifiers, small enough to read.

The flow is `ImageSet + Attack(trigger, goal) -> PoisonPlan -> poisoned ImageSet -> Trained -> Scorecard -> Report`.
What an experiment begins with is here by name; the rooms of the library, such as `bd.defenses` and `bd.plots`, are
opened when they are first asked for.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from ._warnings import AssumptionWarning as AssumptionWarning
from .counts import Difference as Difference, Proportion as Proportion, Seeds as Seeds
from .data import DataUnavailable as DataUnavailable, ImageSet as ImageSet, load as load
from .evaluation.reports import Report as Report
from .evaluation.scores import (
    Scorecard as Scorecard,
    attack_success_rate as attack_success_rate,
    clean_accuracy as clean_accuracy,
    clean_accuracy_drop as clean_accuracy_drop,
    confusion as confusion,
    pooled as pooled,
    score as score,
)
from .files import DamagedFile as DamagedFile, ForeignFile as ForeignFile
from .models import (
    Epoch as Epoch,
    Normalized as Normalized,
    PaperCNN as PaperCNN,
    SmallCNN as SmallCNN,
    TrainConfig as TrainConfig,
    Trained as Trained,
    channel_means as channel_means,
    describe_device as describe_device,
    first_layer as first_layer,
    predict as predict,
    train as train,
)
from .poisoning import (
    Attack as Attack,
    Goal as Goal,
    PoisonPlan as PoisonPlan,
    flip_labels as flip_labels,
    make_badnets_batch as make_badnets_batch,
)
from .provenance import (
    load_model as load_model,
    load_weights as load_weights,
    open_weights as open_weights,
    save_model as save_model,
    weights_hash as weights_hash,
)
from .triggers import (
    FOUR_PIXELS as FOUR_PIXELS,
    SINGLE_PIXEL as SINGLE_PIXEL,
    Attribute as Attribute,
    Blend as Blend,
    Chain as Chain,
    Checkerboard as Checkerboard,
    ColourShift as ColourShift,
    Patch as Patch,
    Picture as Picture,
    Pixels as Pixels,
    Reflection as Reflection,
    Sinusoid as Sinusoid,
    Sticker as Sticker,
    Trigger as Trigger,
    Warp as Warp,
    stamp_square_trigger as stamp_square_trigger,
)

if TYPE_CHECKING:
    from . import (
        attacks as attacks,
        auditing as auditing,
        data as data,
        defenses as defenses,
        display as display,
        evaluation as evaluation,
        models as models,
        provenance as provenance,
        study as study,
        triggers as triggers,
    )
    from .auditing import Audit as Audit, audit as audit
    from .display import plots as plots, tables as tables, widgets as widgets
    from .study import results as results, sweeps as sweeps
    from .study.exercises import check as check

LAZY = {"Audit": ".auditing", "audit": ".auditing", "check": ".study.exercises"}
"""Attributes that live in a room which is imported when they are first used."""

ROOMS = {
    "attacks": ".attacks",
    "auditing": ".auditing",
    "defenses": ".defenses",
    "display": ".display",
    "plots": ".display.plots",
    "results": ".study.results",
    "study": ".study",
    "sweeps": ".study.sweeps",
    "tables": ".display.tables",
    "widgets": ".display.widgets",
}
"""Attributes that are modules, imported when they are first used: `import badnets_lib` stays light."""


_MACHINERY = {"Any", "TYPE_CHECKING", "annotations", "importlib"}

if not TYPE_CHECKING:  # a type checker would take every misspelt name for a room

    def __getattr__(name: str) -> Any:
        if name in ROOMS:
            return importlib.import_module(ROOMS[name], __name__)
        if name in LAZY:
            return getattr(importlib.import_module(LAZY[name], __name__), name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    shown = {name for name in globals() if name not in _MACHINERY and (name[:1] != "_" or name[:2] == "__")}
    return sorted(shown | set(ROOMS) | set(LAZY))
