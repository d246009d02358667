"""The examples in the library's docstrings run and print what they say.

Beside the names of its own module an example may use `torch`, `nn`, `np`, `dataclass`, `bd` and the names in it, the
digits as `train`, `test` and `trusted`, one attack on them as `attack` and `plan`, a clean network as `model`, and
an empty `folder`.
"""

import doctest
import importlib
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import badnets_lib as bd

ROOT = Path(__file__).resolve().parent.parent
SOURCES = [path for path in sorted((ROOT / "badnets_lib").rglob("*.py")) if ">>>" in path.read_text(encoding="utf-8")]
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def module_name(path):
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


@pytest.fixture(scope="module")
def names(mnist5k):
    train, test = mnist5k
    attack = bd.Attack(bd.Patch(size=4), bd.Goal.all_to_one(0, 10))
    plan = attack.plan(train, fraction=0.05)
    model = bd.train(train, bd.TrainConfig(epochs=1)).model
    modules = {"torch": torch, "nn": nn, "np": np, "dataclass": dataclass, "bd": bd}
    return vars(bd) | modules | {
        "train": train, "test": test, "trusted": test, "attack": attack, "plan": plan, "model": model
    }  # fmt: skip


@pytest.fixture(autouse=True)
def register_as_it_was():
    """An example registers a trigger of its own."""
    before = dict(bd.triggers.REGISTERED)
    yield
    bd.triggers.REGISTERED.clear()
    bd.triggers.REGISTERED.update(before)


@pytest.mark.parametrize("path", SOURCES, ids=module_name)
def test_examples_print_what_they_say(path, names, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # some write files
    module = importlib.import_module(module_name(path))
    done = doctest.testmod(module, globs=names | {"folder": tmp_path} | vars(module), optionflags=FLAGS)
    assert not done.failed, "the difference is printed above"
    written = re.findall(r"^\s*>>> ", path.read_text(encoding="utf-8"), flags=re.M)
    assert done.attempted == len(written), "an example that no docstring holds is never run"
