"""An audit: everything the library can ask of a stranger's network, in one call, and what it did not ask.

This room lies above the defenses, which it calls one after another, and below the faces that show its report.
"""

from .blind_spots import BlindSpot as BlindSpot
from .procedure import LowAccuracy as LowAccuracy, audit as audit, check_accuracy as check_accuracy
from .records import (
    LabelTrigger as LabelTrigger,
    Picture as Picture,
    RepairTried as RepairTried,
    Screening as Screening,
    Step as Step,
    Suspects as Suspects,
)
from .report import Audit as Audit
