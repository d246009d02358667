"""Backdoor attacks on image classifiers, small enough to read.

The flow is `ImageSet + Attack(trigger, goal) -> PoisonPlan -> poisoned ImageSet -> Trained -> Scorecard -> Report`.
What an experiment begins with is here by name; the rooms of the library, such as `bd.defenses` and `bd.plots`, are
opened when they are first asked for.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from ._warnings import AssumptionWarning as AssumptionWarning
from .counts import Difference as Difference, Proportion as Proportion
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
        data as data,
        defenses as defenses,
        evaluation as evaluation,
        models as models,
        provenance as provenance,
        study as study,
        triggers as triggers,
    )
    from .display import plots as plots, tables as tables, widgets as widgets
    from .study import results as results, sweeps as sweeps

ROOMS = {
    "attacks": ".attacks",
    "defenses": ".defenses",
    "plots": ".display.plots",
    "results": ".study.results",
    "study": ".study",
    "sweeps": ".study.sweeps",
    "tables": ".display.tables",
    "widgets": ".display.widgets",
}
"""Attributes that are modules, imported when they are first used: `import badnets_lib` stays light."""


def __getattr__(name: str) -> Any:
    if name in ROOMS:
        return importlib.import_module(ROOMS[name], __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *ROOMS})
