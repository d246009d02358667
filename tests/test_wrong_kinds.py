"""Wrong kinds of argument, everywhere: one sentence of the library's own, and never one of torch or Python.

Every call below works as it stands. Each of its arguments in turn is replaced by everything that is wrong in `WRONG`.
"""

from __future__ import annotations

import dataclasses
import linecache
import math
import traceback

import numpy as np
import pytest
import torch
from torch import nn

import badnets_lib as bd
from badnets_lib import attacks, defenses, triggers
from badnets_lib.data.images import ImageSet
from badnets_lib.models import adaptation, layers

pytestmark = pytest.mark.usefixtures("unchecked")

CONFIG = bd.TrainConfig(epochs=1, device="cpu")
ATTACK = bd.Attack(bd.Patch(size=2), bd.Goal.all_to_one(0, 4))
X = torch.rand(40, 1, 8, 8, generator=torch.Generator().manual_seed(0))
DATA = bd.ImageSet(X, torch.arange(40) % 4, tuple("abcd"))
NET = bd.SmallCNN(1, 4, 2)
PLAN = ATTACK.plan(DATA, fraction=0.1)
CARD = bd.Scorecard(*[bd.Proportion(1, 2)] * 3)

WRONG = {
    "a text": "x",
    "a list": [1.5, None],
    "an array": np.zeros((3, 2)),
    "None": None,
    "a Trained": bd.Trained(NET, CONFIG, (bd.Epoch(0.5, {}),), ""),
    "a Repair": defenses.Repair(NET, "none"),
    "no path": "nowhere/at/all",
    "a negative number": -1,
    "NaN": math.nan,
    "half": 0.5,
    "a tensor": torch.zeros(3),
    "a table": {},
    "a class": bd.SmallCNN,
    "a network": NET,
    "images": DATA,
}


def settings(cls):
    """Every field of a record with its default."""
    return {each.name: getattr(cls(), each.name) for each in dataclasses.fields(cls) if each.init}


CALLS = {
    "ImageSet": (bd.ImageSet, {"x": X, "y": DATA.y, "classes": DATA.classes, "groups": DATA.y}),
    "from_arrays": (ImageSet.from_arrays, {"x": X, "y": DATA.y, "classes": DATA.classes, "layout": "CHW"}),
    "from_dataset": (ImageSet.from_dataset, {"dataset": DATA.as_dataset(), "classes": DATA.classes, "groups": DATA.y}),
    "from_folder": (ImageSet.from_folder, {"root": "folder", "classes": DATA.classes}),
    "save_folder": (DATA.save_folder, {"path": "saved"}),
    "an index": (DATA.__getitem__, {"keep": DATA.y > 1}),
    "sample": (DATA.sample, {"count": 3, "seed": 0}),
    "split": (DATA.split, {"fraction": 0.5, "seed": 0}),
    "to": (DATA.to, {"device": "cpu"}),
    "load": (bd.load, {"name": "mnist5k"}),
    "Attack": (bd.Attack, {"trigger": ATTACK.trigger, "goal": ATTACK.goal}),
    "plan": (ATTACK.plan, {"train": DATA, "fraction": 0.1, "seed": 0}),
    "victims": (ATTACK.on, {"test": DATA}),
    "poison": (PLAN.poison, {"train": DATA}),
    "save a plan": (PLAN.save, {"path": "/"}),
    "load a plan": (bd.PoisonPlan.load, {"path": "/"}),
    "PoisonPlan": (bd.PoisonPlan, {
        "attack": ATTACK, "indices": (1, 2), "size": 40, "labels": "0" * 16, "seed": 0, "added": False,
    }),
    "Goal": (bd.Goal, {"table": (0, 0), "clean_label": False}),
    "predict": (bd.predict, {"model": NET, "x": X, "batch_size": 8}),
    "train": (bd.train, {"data": DATA, "config": CONFIG, "model": NET, "watch": {}, "resume": None}),
    "TrainConfig": (bd.TrainConfig, settings(bd.TrainConfig)),
    "score": (bd.score, {"model": NET, "test": DATA, "attack": ATTACK, "batch_size": 4}),
    "success": (bd.attack_success_rate, {"model": NET, "test": DATA, "attack": ATTACK}),
    "accuracy": (bd.clean_accuracy, {"model": NET, "data": DATA}),
    "drop": (bd.clean_accuracy_drop, {"clean": CARD, "backdoored": CARD}),
    "pooled": (bd.pooled, {"cards": [CARD, CARD]}),
    "Proportion": (bd.Proportion, {"hits": 1, "trials": 2}),
    "confidence": (bd.Proportion(1, 2).interval, {"confidence": 0.9}),
    "sum": (bd.Proportion(1, 2).__add__, {"other": bd.Proportion(1, 2)}),
    "Difference": (bd.Difference, {"first": bd.Proportion(1, 2), "second": bd.Proportion(1, 2)}),
    "Scorecard": (bd.Scorecard, vars(CARD)),
    "Normalized": (bd.Normalized, {"model": NET, "mean": (0.5,), "std": (0.5,)}),
    "SmallCNN": (bd.SmallCNN, {"channels": 1, "classes": 3, "width": 2}),
    "channel_means": (bd.channel_means, {"model": NET, "x": X, "layer": "relu1"}),
    "first_layer": (bd.first_layer, {"model": NET}),
    "device": (bd.describe_device, {"name": "cpu"}),
    "flip_labels": (bd.flip_labels, {"train": DATA, "source": 0, "target": 1, "fraction": 0.5, "seed": 0}),
    "badnets batch": (bd.make_badnets_batch, {
        "x": X, "y": DATA.y, "target_label": 0, "poison_mask": DATA.y > 1, "size": 2, "n_classes": 4,
    }),
    "square": (bd.stamp_square_trigger, {"x": X, "size": 2}),
    "save_model": (bd.save_model, {"path": "/", "model": NET, "origin": {"a": 1}}),
    "load_model": (bd.load_model, {"path": "/"}),
    "open_weights": (bd.open_weights, {"path": "/"}),
    "weights_hash": (bd.weights_hash, {"model": NET}),
    "audit": (bd.audit, {"model": NET, "trusted": DATA, "training": DATA, "minutes": 1, "names": ()}),
    "load an audit": (bd.Audit.load, {"folder": "/"}),
    "load a report": (bd.Report.load, {"path": "/"}),
    "head": (layers.head, {"model": NET, "x": X}),
    "last convolution": (layers.last_convolution, {"model": NET, "x": X}),
    "listen": (layers.listen, {"model": NET, "x": X, "layer": "relu1"}),
    "Patch": (bd.Patch, settings(bd.Patch)),
    "Blend": (bd.Blend, settings(bd.Blend)),
    "Sticker": (bd.Sticker, settings(bd.Sticker)),
    "ColourShift": (bd.ColourShift, settings(bd.ColourShift)),
    "Pixels": (bd.Pixels, {"at": ((1, 1),)}),
    "Chain": (bd.Chain, {"steps": (bd.Patch(),)}),
    "Picture": (bd.Picture, {"png": ""}),
    "stamp": (bd.Patch(2), {"x": X}),
    "describe": (triggers.describe, {"trigger": bd.Patch()}),
    "NeuralCleanse": (defenses.NeuralCleanse, settings(defenses.NeuralCleanse)),
    "Strip": (defenses.Strip, settings(defenses.Strip)),
    "FineTuning": (defenses.FineTuning, settings(defenses.FineTuning)),
    "FinePruning": (defenses.FinePruning, settings(defenses.FinePruning)),
    "Unlearning": (defenses.Unlearning, settings(defenses.Unlearning)),
    "AdversarialUnlearning": (defenses.AdversarialUnlearning, settings(defenses.AdversarialUnlearning)),
    "a scan": (defenses.NeuralCleanse(), {"model": NET, "holding": defenses.Holding(DATA)}),
    "a repair": (defenses.FineTuning(), {"model": NET, "holding": defenses.Holding(DATA)}),
    "Holding": (defenses.Holding, {"trusted": DATA}),
    "Channels": (defenses.Channels, {"model": NET, "data": DATA, "layer": "conv2", "batch_size": 8}),
    "silenced": (defenses.Channels(NET, DATA).silenced, {"channels": (0,)}),
    "curve": (defenses.Channels(NET, DATA).curve, {"order": (0,)}),
    "fgsm": (attacks.fgsm, {"model": NET, "x": X, "y": DATA.y, "eps": 0.1}),
    "pgd": (attacks.pgd, {"model": NET, "x": X, "y": DATA.y, "eps": 0.1, "step": 0.01, "steps": 2}),
    "learn_patch": (attacks.learn_patch, {"model": NET, "data": DATA, "target": 0, "size": 2, "steps": 1}),
    "handcrafted": (attacks.handcrafted, {"model": NET, "trigger": bd.Patch(2), "target": 0, "x": X}),
    "channels": (attacks.backdoor_channels, {"model": NET, "clean": X, "triggered": X, "count": 1, "layer": "relu2"}),
    "strengthened": (attacks.strengthened, {"model": NET, "channels": (0,), "k": 2, "x": X}),
    "transferred": (attacks.transferred, {"model": NET, "data": DATA, "config": CONFIG}),
    "harden": (attacks.harden, {"train": DATA, "plan": PLAN, "model": NET}),
    "add_covers": (attacks.add_covers, {"train": DATA, "plan": PLAN, "disguise": "x", "amount": 0.1}),
    "input-aware": (attacks.train_input_aware, {"data": DATA, "goal": ATTACK.goal, "config": CONFIG}),
    "pruned": (adaptation.pruned, {"model": NET, "sparsity": 0.5}),
    "frozen": (adaptation.frozen, {"model": NET, "train": ("fc2",)}),
    "distilled": (adaptation.distilled, {"teacher": NET, "x": X, "config": CONFIG, "student": NET}),
}  # fmt: skip


def raised_here(error):
    """Whether the error was raised by a line of the library that says `raise`."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    line = linecache.getline(last.filename, last.lineno)
    return "/badnets_lib/" in last.filename and line.lstrip().startswith("raise")


@pytest.mark.parametrize("name", CALLS)
def test_every_wrong_argument_gets_one_sentence_of_the_library(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    DATA.save_folder("folder")
    call, arguments = CALLS[name]
    foreign = []
    refused = 0
    for argument in arguments:
        for what, wrong in WRONG.items():
            try:
                call(**arguments | {argument: wrong})
            except Exception as error:
                refused += 1
                if not raised_here(error) or "\n" in str(error):
                    foreign.append(f"{argument} = {what}: {type(error).__name__}: {error}")
    assert not foreign, "\n".join(foreign)
    assert refused > len(WRONG) / 2


def test_a_network_inside_of_something_is_pointed_at():
    with pytest.raises(TypeError, match=r"need a network, a torch.nn.Module; got Trained \(.*trained.model\)"):
        bd.predict(WRONG["a Trained"], X)
    assert isinstance(NET, nn.Module)
