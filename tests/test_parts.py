import pytest
import torch

from badnets_lib import SmallCNN, TrainConfig, weights_hash
from badnets_lib.study.experiments import parts


@pytest.fixture
def small(monkeypatch, mnist5k):
    """The study on fewer digits and fewer steps: what is tested is who is scored, not how well."""
    few = tuple(part[::8] for part in mnist5k)
    monkeypatch.setattr(parts, "load", lambda _: few)
    monkeypatch.setattr(parts, "SLEEPING", TrainConfig(epochs=1, lr=0.05, weight_decay=0.0))
    monkeypatch.setattr(parts, "CALIBRATION", 20)
    torch.manual_seed(0)
    network = SmallCNN(width=2).eval()
    monkeypatch.setattr(parts, "train", lambda *_, **__: type("Made", (), {"model": network}))
    parts.sleeper.cache_clear()
    yield network
    parts.sleeper.cache_clear()


@pytest.mark.parametrize("state", ["trained", "asleep"])
@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_every_state_and_precision_gives_counts(small, state, precision):
    before = weights_hash(small)
    row = parts.slept(origin="poisoned", state=state, precision=precision, seed=0)
    assert weights_hash(small) == before
    assert row["clean"][1] == 125 and row["success"][1] == row["false_target"][1] == 113
    assert row["agree"][1] == row["agree_stamped"][1] == 125
    if precision == "float32":
        assert row["agree"] == row["agree_stamped"] == [125, 125], "with itself"


@pytest.mark.parametrize(
    ("how", "made"),
    [
        ("sum 3", [(True, 0), (False, 1), (False, 2), (False, 3)]),
        ("honest sum 3", [(False, 0), (False, 1), (False, 2), (False, 3)]),
        ("mean 1", [(True, 0), (False, 1)]),
        ("honest mean 1", [(False, 0), (False, 1)]),
    ],
)
def test_the_honest_merge_differs_in_one_adapter(small, monkeypatch, how, made):
    merged = []

    def attached(base, *adapters, merge):
        merged.append((merge, [*adapters]))
        return base

    monkeypatch.setattr(parts, "base", lambda seed: small)
    monkeypatch.setattr(parts, "adapter", lambda seed, rank, poisoned, number=0: (poisoned, number))
    monkeypatch.setattr(parts, "attached", attached)
    parts.adapted(how=how, rank=4, seed=0)
    assert merged == [(how.split()[-2], made)]
