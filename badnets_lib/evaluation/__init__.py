"""How well a network and an attack work: counts, the report that states them, and how visible a trigger is."""

from .reports import (
    DefenseSection as DefenseSection,
    PoisoningSection as PoisoningSection,
    Report as Report,
    TrainingSection as TrainingSection,
)
from .scores import (
    Scorecard as Scorecard,
    attack_success_rate as attack_success_rate,
    clean_accuracy as clean_accuracy,
    clean_accuracy_drop as clean_accuracy_drop,
    confusion as confusion,
    pooled as pooled,
    score as score,
)
