import pytest
import torch

from badnets_lib import SmallCNN, TrainConfig, weights_hash
from badnets_lib.study.experiments import parts


@pytest.fixture
def small(monkeypatch, mnist5k):
    """The study on fewer digits and fewer steps: what is tested is who is scored, not how well."""
    few = tuple(part[::8] for part in mnist5k)
    monkeypatch.setattr(parts, "load", lambda _: few)
    monkeypatch.setattr(parts, "ADAPTING", TrainConfig(epochs=1, lr=0.003))
    monkeypatch.setattr(parts, "SLEEPING", TrainConfig(epochs=1, lr=0.05, weight_decay=0.0))
    monkeypatch.setattr(parts, "CALIBRATION", 20)
    monkeypatch.setattr(parts, "base", lambda _: network)
    torch.manual_seed(0)
    network = SmallCNN(width=2).eval()
    monkeypatch.setattr(parts, "train", lambda *_, **__: type("Made", (), {"model": network}))
    for cached in (parts.adapter, parts.sleeper):
        cached.cache_clear()
    yield network
    for cached in (parts.adapter, parts.sleeper):
        cached.cache_clear()


@pytest.mark.parametrize("how", ["base", "honest", "poisoned", "mean 1", "sum 3"])
def test_every_way_of_adapting_gives_counts_and_leaves_the_base(small, how):
    before = weights_hash(small)
    row = parts.adapted(how=how, rank=1, seed=0)
    assert {name: trials for name, (_, trials) in row.items()} == {"clean": 125, "success": 113, "false_target": 113}
    assert weights_hash(small) == before


def test_the_sum_holds_the_poisoned_adapter_and_every_honest_one(small, monkeypatch):
    given = []
    monkeypatch.setattr(parts, "attached", lambda base, *adapters, merge: given.append((adapters, merge)) or base)
    parts.adapted(how="mean 3", rank=1, seed=0)
    ((adapters, merge),) = given
    assert merge == "mean" and len({id(adapter) for adapter in adapters}) == 4
    assert adapters[0] is parts.adapter(0, 1, True)


@pytest.mark.parametrize("state", ["trained", "asleep"])
@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_every_state_and_precision_gives_counts(small, state, precision):
    row = parts.slept(origin="poisoned", state=state, precision=precision, seed=0)
    assert row["clean"][1] == 125 and row["success"][1] == row["false_target"][1] == 113
