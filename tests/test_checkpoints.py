import pytest
import torch
from hypothesis import given, strategies as st
from safetensors.torch import save_file
from torch import nn

from badnets_lib import DamagedFile, PaperCNN, SmallCNN, load_model, predict, save_model, weights_hash
from badnets_lib.files import save_tensors

ORIGIN = {"data": "digits", "seed": 3}


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    torch.manual_seed(0)
    path, model = tmp_path_factory.mktemp("models") / "m.safetensors", SmallCNN(1, 3, 1)
    return path, model, save_model(path, model, ORIGIN)


@pytest.mark.parametrize("model", [SmallCNN(3, 4, 2), PaperCNN()], ids=["small", "paper"])
def test_a_network_comes_back_with_its_answers(tmp_path, model):
    digest = save_model(tmp_path / "m", model, ORIGIN)
    again, origin = load_model(tmp_path / "m", sha256=digest)
    x = torch.rand(5, 3 if isinstance(model, SmallCNN) else 1, 28, 28)
    assert torch.equal(predict(again, x), predict(model, x))
    assert origin == ORIGIN and not again.training
    assert digest == weights_hash(model) == weights_hash(again)


def test_the_hash_follows_the_weights_and_not_their_layout():
    torch.manual_seed(0)
    model = SmallCNN(3)
    before = weights_hash(model)
    assert len(before) == 64
    assert weights_hash(model.to(memory_format=torch.channels_last)) == before
    with torch.no_grad():
        model.fc2.bias[0] += 1e-6
    assert weights_hash(model) != before


def test_another_hash_than_the_published_one_is_refused(saved):
    path, _, digest = saved
    other = digest[:-1] + ("0" if digest[-1] != "0" else "1")
    with pytest.raises(DamagedFile, match=f"holds weights {digest}, expected {other}"):
        load_model(path, sha256=other)


@given(st.data())
def test_a_damaged_network_is_never_loaded(saved, tmp_path, data):
    whole = saved[0].read_bytes()
    position = data.draw(st.integers(0, len(whole) - 1))
    flipped = whole[:position] + bytes([whole[position] ^ (1 << data.draw(st.integers(0, 7)))]) + whole[position + 1 :]
    path = tmp_path / "damaged"
    path.write_bytes(data.draw(st.sampled_from([flipped, whole[:position]])))
    with pytest.raises(DamagedFile, match=str(path)):
        load_model(path)


def test_a_foreign_safetensors_file_is_refused(saved, tmp_path):
    save_file(saved[1].state_dict(), tmp_path / "foreign")
    with pytest.raises(DamagedFile, match="SHA-256"):
        load_model(tmp_path / "foreign")


@pytest.mark.parametrize("header", [
    {},
    {"spec": {"name": "SmallCNN", "channels": 1, "classes": 3, "width": 1}},  # no origin
    {"spec": {"name": "Transformer"}, "origin": ORIGIN},
    {"spec": {"name": "SmallCNN", "depth": 9}, "origin": ORIGIN},
    {"spec": {"name": "SmallCNN", "width": 2}, "origin": ORIGIN},  # weights of another shape
    {"spec": 5, "origin": ORIGIN},
    {"spec": {"name": "SmallCNN", "channels": 1, "classes": 3, "width": 1}, "origin": 5},
], ids=str)  # fmt: skip
def test_a_whole_file_that_is_no_network_is_refused(saved, tmp_path, header, unchecked):
    save_tensors(tmp_path / "other", saved[1].state_dict(), header)
    with pytest.raises(DamagedFile, match="not a saved network"):
        load_model(tmp_path / "other")


def test_a_missing_file_is_not_called_damaged(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        load_model(tmp_path / "nowhere")


def test_a_network_that_nobody_could_rebuild_is_not_saved(tmp_path):
    with pytest.raises(TypeError, match="Linear has no spec"):
        save_model(tmp_path / "m", nn.Linear(2, 2), ORIGIN)
    with pytest.raises(ValueError, match="origin must say where the weights came from"):
        save_model(tmp_path / "m", PaperCNN(), {})
    assert not list(tmp_path.iterdir())


def test_loading_leaves_the_random_state_alone(saved):
    before = torch.get_rng_state()
    load_model(saved[0])
    assert torch.equal(torch.get_rng_state(), before)
