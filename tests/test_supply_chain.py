import pytest
import torch

from badnets_lib import SmallCNN, predict, weights_hash
from badnets_lib.study.experiments import supply_chain
from badnets_lib.study.experiments.supply_chain import (
    SWEEPS,
    edited,
    other_digits,
    public_and_own,
    retrained,
    substitutes,
    survival,
)


@pytest.fixture
def untrained(monkeypatch, mnist5k):
    """Every published network is an untrained one, and the digits come from this session's folder."""
    torch.manual_seed(0)
    model = SmallCNN(width=2).eval()
    monkeypatch.setattr(supply_chain, "published", lambda *_: model)
    monkeypatch.setattr(supply_chain, "load", lambda _: mnist5k)
    monkeypatch.setattr(supply_chain, "STEPS", 2)
    return model


def test_the_buyers_digits_were_in_no_training_set(mnist5k):
    public, own = public_and_own(mnist5k[0])
    assert len(public) == 3000 and own.counts() == [100] * 10
    hashes = [{image.numpy().tobytes() for image in part.x} for part in (public, own)]
    assert not hashes[0] & hashes[1]
    assert own.sample(200, seed=1).fingerprint != own.sample(200, seed=2).fingerprint
    assert min(own.sample(200, seed=1).counts()) > 5, "a draw from all classes"


@pytest.mark.parametrize("kind", ["noise", "other digits", "kept-back digits"])
def test_substitutes_look_like_images_and_repeat(kind):
    x = substitutes(kind, 3, 20)
    assert x.shape == (20, 1, 28, 28) and 0 <= x.min() < x.max() <= 1
    assert torch.equal(x, substitutes(kind, 3, 20)) and not torch.equal(x, substitutes(kind, 4, 20))


def test_other_digits_stand_in_a_black_frame():
    x = other_digits()
    assert x.shape == (1797, 1, 28, 28) and x.max() == 1
    assert x[..., :4, :].max() == x[..., -4:].max() == 0


def test_unknown_names_are_refused(untrained):
    with pytest.raises(ValueError, match="kind must be"):
        substitutes("music", 0)
    with pytest.raises(ValueError, match="unknown method 'prayer'"):
        survival(origin="clean", method="prayer", seed=0)


@pytest.mark.parametrize("settings", [
    {"method": "nothing"}, {"method": "last layer", "images": 50, "lr": 0.01}, {"method": "pruning", "sparsity": 0.5},
    {"method": "int8", "images": 50}, {"method": "distillation", "images": 50},
], ids=lambda settings: settings["method"])  # fmt: skip
def test_every_method_gives_counts_and_leaves_the_network(untrained, settings):
    before = weights_hash(untrained)
    row = survival(origin="poisoned", seed=1, **settings)
    assert {name: trials for name, (_, trials) in row.items()} == {"clean": 1000, "success": 900, "false_target": 900}
    assert weights_hash(untrained) == before


def test_an_edited_network_is_compared_with_itself_before(untrained, monkeypatch):
    row = edited(network="SmallCNN", route="by hand", having="noise", seed=0)
    monkeypatch.setattr(supply_chain, "handcrafted", lambda *_: pytest.fail("edited by hand"))
    again = edited(network="SmallCNN", route="8 steps", having="noise", seed=0)
    assert row["clean_before"] == again["clean_before"] and set(row) == set(again)


def test_retraining_goes_on_from_the_networks_own_answers(untrained):
    x = substitutes("noise", 0, 64)
    after = retrained(untrained, x, steps=3, seed=0)
    assert weights_hash(after) != weights_hash(untrained)
    assert torch.equal(after.norm1.running_mean, untrained.norm1.running_mean)
    assert (predict(after, x).argmax(1) == predict(untrained, x).argmax(1)).float().mean() > 0.3


def test_the_grids_hold_five_seeds_of_everything():
    survived, written = SWEEPS
    assert (survived.name, written.name) == ("survival", "edited_weights")
    for made in SWEEPS:
        settings = [tuple(sorted((k, v) for k, v in cell.items() if k != "seed")) for cell in made.cells]
        assert {settings.count(each) for each in settings} == {5}
