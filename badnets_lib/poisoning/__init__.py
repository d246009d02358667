"""What the attacker wants (`Goal`), with which trigger (`Attack`), and which images were touched (`PoisonPlan`).

A goal is a table with one entry per class: `table[y]` is the label the attacker wants for a
triggered image of class y. All-to-one, source-specific and all-to-all differ only in that table.
An attack is a trigger and a goal: it is what a network is scored under. A plan is the saved record of one
poisoning: it poisons one training set, and goes to JSON and back.
"""

from ._draws import Sampling as Sampling
from .batches import flip_labels as flip_labels, make_badnets_batch as make_badnets_batch
from .goals import Goal as Goal
from .plans import Attack as Attack, PoisonPlan as PoisonPlan
