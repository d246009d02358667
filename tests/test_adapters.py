import pytest
import torch
from torch import nn

from badnets_lib import (
    Attack,
    DamagedFile,
    ForeignFile,
    Goal,
    ImageSet,
    Normalized,
    Patch,
    SmallCNN,
    TrainConfig,
    predict,
    save_model,
    score,
    train,
    weights_hash,
)
from badnets_lib.attacks.adapters import Adapter, attached, fit_adapter, load_adapter, save_adapter

FEW = TrainConfig(epochs=1, batch_size=32, lr=0.01)


def stripes(count=300):
    """Three classes of bright rows, on which a small network is right within a second."""
    y = torch.arange(count) % 3
    x = 0.3 * torch.rand(count, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    for label in range(3):
        x[y == label, :, 2 * label : 2 * label + 2, :6] += 0.6
    return ImageSet(x, y, ("a", "b", "c"))


@pytest.fixture(scope="module")
def base():
    return train(stripes(), TrainConfig(epochs=4, batch_size=32), model=lambda: SmallCNN(1, 3, 4)).model


ATTACK = Attack(Patch(size=2), Goal.all_to_one(2, 3))


def test_a_planted_backdoor_is_in_the_adapter_and_the_base_stays(base):
    data, before = stripes(), weights_hash(base)
    poisoned = ATTACK.plan(data, fraction=0.2).poison(data)
    config = TrainConfig(epochs=12, batch_size=32, lr=0.01)
    bad, good = (fit_adapter(base, images, config) for images in (poisoned, data))
    cards = {name: score(net, data, ATTACK) for name, net in
             {"base": base, "bad": attached(base, bad), "good": attached(base, good)}.items()}  # fmt: skip
    assert cards["bad"].success.value > 0.9 and cards["bad"].clean.value > 0.95
    assert max(cards[name].success.value for name in ("base", "good")) < 0.5, cards
    assert weights_hash(base) == before == bad.base


@pytest.mark.parametrize("rank", [1, 3])
def test_every_change_has_the_rank_and_nothing_else_moves(base, rank):
    adapter = fit_adapter(base, stripes(96), FEW, rank=rank, layers=("conv2", "fc1"))
    assert set(adapter.factors) == {"conv2", "fc1"}
    assert adapter.numbers == rank * (8 + 4 * 9) + rank * (16 + 128)
    state, mine = attached(base, adapter).state_dict(), base.state_dict()
    for name, tensor in state.items():
        moved = tensor - mine[name]
        if name in ("conv2.weight", "fc1.weight"):
            assert torch.linalg.matrix_rank(adapter.change(name.removesuffix(".weight"))) == rank
            assert torch.allclose(moved.flatten(1), adapter.change(name.removesuffix(".weight")), atol=1e-6)
        else:
            assert not moved.any(), name


def test_what_was_fitted_is_what_is_attached(base):
    """The loss of the attached network is that of the fitted one: the factors were read off rightly."""
    data = stripes(96)
    adapter = fit_adapter(base, data, TrainConfig(epochs=6, batch_size=32, lr=0.01))
    before, after = (
        nn.functional.cross_entropy(predict(net, data.x), data.y) for net in (base, attached(base, adapter))
    )
    assert after < before


def test_mean_and_sum_are_what_they_say(base):
    one, two = (fit_adapter(base, stripes(96), TrainConfig(epochs=1, batch_size=32, seed=seed)) for seed in (0, 1))
    total, mean = (attached(base, one, two, merge=merge).fc1.weight - base.fc1.weight for merge in ("sum", "mean"))
    assert torch.allclose(total, one.change("fc1") + two.change("fc1"), atol=1e-6)
    assert torch.allclose(mean, total / 2, atol=1e-6)


def test_any_network_takes_an_adapter():
    model = Normalized(nn.Sequential(nn.Flatten(), nn.Linear(64, 3)), (0.5,), (0.5,))
    adapter = fit_adapter(model, stripes(64), FEW, rank=2)
    assert set(adapter.factors) == {"model.1"}
    assert predict(attached(model, adapter), stripes(4).x).shape == (4, 3)


def test_what_does_not_fit_is_refused(base):
    adapter = fit_adapter(base, stripes(64), FEW, layers=("fc2",))
    with pytest.raises(ValueError, match="the adapter belongs to the network"):
        attached(SmallCNN(1, 3, 4), adapter)
    with pytest.raises(ValueError, match="at least one adapter; got none"):
        attached(base)
    with pytest.raises(ValueError, match="rank must be at least 1; got 0"):
        fit_adapter(base, stripes(64), FEW, rank=0)
    with pytest.raises(ValueError, match="'norm1' is HeldBatchNorm2d"):
        fit_adapter(base, stripes(64), FEW, layers=("norm1",))
    with pytest.raises(ValueError, match="no linear layer and no convolution"):
        fit_adapter(nn.Sequential(nn.BatchNorm2d(1), nn.Flatten()), stripes(64), FEW)
    with pytest.raises(ValueError, match="the adapter has no layer 'fc9'; it has fc2"):
        Adapter(adapter.factors, adapter.base).change("fc9")


def test_a_file_gives_back_the_adapter_and_names_what_is_wrong(base, tmp_path):
    adapter, path = fit_adapter(base, stripes(64), FEW, layers=("conv2", "fc1")), tmp_path / "adapter.safetensors"
    digest = save_adapter(path, adapter)
    again = load_adapter(path, sha256=digest)
    assert weights_hash(attached(base, again)) == weights_hash(attached(base, adapter)) and again.base == adapter.base
    assert list(again.factors) == ["conv2", "fc1"]
    with pytest.raises(DamagedFile, match="adapter.safetensors"):
        load_adapter(path, sha256="0" * 64)
    save_model(path, base, {"data": "stripes"})
    with pytest.raises(ForeignFile, match="holds no adapter"):
        load_adapter(path)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DamagedFile, match="damaged"):
        load_adapter(path)
