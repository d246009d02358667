"""Optional packages: a plain installation works without them, and says in one sentence which one a function needs."""

from __future__ import annotations

import importlib.util
import subprocess
import sys

import pytest
import torch

from badnets_lib import SmallCNN
from badnets_lib.evaluation.visibility import visibility
from badnets_lib.models.quantisation import quantised
from badnets_lib.provenance.manifests import new_key, verified

CALLS = {
    "torchao": ("quantisation", lambda: quantised(SmallCNN(1, 10), torch.rand(2, 1, 28, 28))),
    "cryptography": ("signing", new_key),
    "torchmetrics": ("visibility", lambda: visibility(torch.rand(1, 1, 28, 28), torch.rand(1, 1, 28, 28))),
}

WITHOUT = """
import sys
for name in ("torchao", "cryptography", "torchmetrics"):
    sys.modules[name] = None  # an import of it fails
import torch, badnets_lib as bd
images = bd.ImageSet(torch.rand(20, 1, 28, 28), torch.arange(20) % 10, tuple("0123456789"))
attack = bd.Attack(bd.Patch(size=4), bd.Goal.all_to_one(0, 10))
poisoned = attack.plan(images, fraction=0.1, seed=0).poison(images)
fitted = bd.train(poisoned, bd.TrainConfig(epochs=1))
print(bd.score(fitted.model, images, attack))
for room in bd.ROOMS:
    getattr(bd, room)
"""


@pytest.mark.parametrize("package", CALLS)
def test_a_missing_package_is_named_by_what_needs_it(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    what, call = CALLS[package]
    found = importlib.util.find_spec
    monkeypatch.setattr("badnets_lib._extras.find_spec", lambda name: None if name == package else found(name))
    with pytest.raises(ModuleNotFoundError, match=f"^{what} needs {package}, which .* pip install {package}$"):
        call()


def test_a_signature_cannot_be_checked_without_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("badnets_lib._extras.find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match="checking a signature needs cryptography"):
        verified("{}", "00" * 32)


def test_the_library_attacks_and_scores_without_any_of_them() -> None:
    done = subprocess.run([sys.executable, "-W", "error::ImportWarning", "-c", WITHOUT], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "attack success rate" in done.stdout


def test_with_the_package_the_call_goes_through() -> None:
    for _, call in CALLS.values():
        call()
