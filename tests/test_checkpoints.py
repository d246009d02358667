import os
import sys
from pathlib import Path

import pytest
import torch
from foreign import NETWORKS, made
from hypothesis import given, strategies as st
from safetensors.torch import save_file
from torch import nn

from badnets_lib import (
    DamagedFile,
    ForeignFile,
    PaperCNN,
    SmallCNN,
    load_model,
    load_weights,
    open_weights,
    predict,
    save_model,
    weights_hash,
)
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


def test_foreign_files_are_not_called_damaged(saved, tmp_path):
    save_file(saved[1].state_dict(), tmp_path / "foreign")
    with pytest.raises(ForeignFile, match="foreign is a safetensors file, but was not written by this library"):
        load_model(tmp_path / "foreign")
    torch.save(saved[1].state_dict(), tmp_path / "theirs.pth")
    with pytest.raises(ForeignFile, match="theirs.pth was not written by this library: it holds a pickle"):
        load_model(tmp_path / "theirs.pth")


@pytest.mark.parametrize("header", [
    {"spec": {"name": "Transformer"}, "origin": ORIGIN},
    {"spec": {"name": "SmallCNN", "depth": 9}, "origin": ORIGIN},
    {"spec": {"name": "SmallCNN", "width": 2}, "origin": ORIGIN},  # weights of another shape
    {"spec": 5, "origin": ORIGIN},
], ids=str)  # fmt: skip
def test_a_spec_that_does_not_fit_its_weights_is_refused(saved, tmp_path, header, unchecked):
    save_tensors(tmp_path / "other", saved[1].state_dict(), header)
    with pytest.raises(DamagedFile, match="does not hold the network that it names"):
        load_model(tmp_path / "other")


@pytest.mark.parametrize("header", [
    {}, {"spec": {"name": "SmallCNN", "channels": 1, "classes": 3, "width": 1}}, {"spec": None, "origin": 5},
], ids=["nothing", "no origin", "a number for an origin"])  # fmt: skip
def test_a_whole_file_that_is_no_network_is_told_apart(saved, tmp_path, header):
    save_tensors(tmp_path / "other", saved[1].state_dict(), header)
    with pytest.raises(ForeignFile, match="was written by this library, but holds no network"):
        load_model(tmp_path / "other")


def test_a_missing_file_is_not_called_damaged(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        load_model(tmp_path / "nowhere")


def test_a_published_hash_may_be_in_capitals_but_must_be_a_hash(saved):
    path, _, digest = saved
    assert load_model(path, sha256=f" {digest.upper()}\n")[1] == ORIGIN
    with pytest.raises(ValueError, match="sha256 must be 64 hex digits; got '12ab'"):
        load_model(path, sha256="12ab")


# --- any network ---


def linear():
    return nn.Sequential(nn.Flatten(), nn.Linear(4, 3))


def named_in_a_module():
    """What an import path of these tests leads to."""
    return made("blocks in a Sequential")


@pytest.mark.parametrize("name", NETWORKS)
def test_any_network_is_saved_and_built_again(tmp_path, name):
    model, x = made(name), torch.rand(2, 3, 32, 32)
    digest = save_model(tmp_path / "m", model, ORIGIN)
    again, origin = load_model(tmp_path / "m", lambda: made(name, seed=1), sha256=digest)
    assert torch.equal(predict(again, x), predict(model, x)) and weights_hash(again) == digest and origin == ORIGIN
    assert not again.training
    with pytest.raises(ValueError, match=rf"holds a network of class {type(model).__module__}:.*say what builds it"):
        load_model(tmp_path / "m")


def test_an_import_path_of_the_callers_builds_it(tmp_path):
    save_model(tmp_path / "m", made("blocks in a Sequential"), ORIGIN)
    again, _ = load_model(tmp_path / "m", "test_checkpoints:named_in_a_module")
    assert weights_hash(again) == weights_hash(made("blocks in a Sequential"))


def test_what_the_file_names_is_never_imported(tmp_path, monkeypatch):
    (tmp_path / "trap.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(str(tmp_path))
    save_tensors(tmp_path / "m", linear().state_dict(), {"class": "trap:Net", "spec": None, "origin": ORIGIN})
    with pytest.raises(ValueError, match="class trap:Net: say what builds it"):
        load_model(tmp_path / "m")
    assert load_model(tmp_path / "m", linear)[1] == ORIGIN
    assert "trap" not in sys.modules


@pytest.mark.parametrize(("build", "error", "message"), [
    ("nowhere", ValueError, "must look like 'package.module:factory'; got 'nowhere'"),
    ("torch.nn:", ValueError, "must look like"),
    ("no_such_module:net", ValueError, "nothing to import at 'no_such_module:net'"),
    ("torch.nn:NoSuchNet", ValueError, "nothing to import at 'torch.nn:NoSuchNet'"),
    (lambda: 3, TypeError, "build must build a torch.nn.Module; got int"),
    (linear(), TypeError, "build must be a function that builds the network, or its import path; got Sequential"),
    (lambda: nn.Linear(4, 3), ValueError,
     "do not fit Linear; missing: weight, bias; not wanted: 1.bias, 1.weight$"),
    (lambda: nn.Sequential(nn.Flatten(), nn.Linear(5, 3)), ValueError,
     r"do not fit Sequential; of another shape: 1.weight \[3, 4\] instead of \[3, 5\]$"),
])  # fmt: skip
def test_a_builder_that_does_not_fit_is_named(tmp_path, unchecked, build, error, message):
    save_model(tmp_path / "m", linear(), ORIGIN)
    with pytest.raises(error, match=message):
        load_model(tmp_path / "m", build)


def test_long_lists_of_names_are_cut():
    with pytest.raises(ValueError, match=r"missing: conv1.weight, .* and \d+ more; not wanted: 1.weight, 1.bias$"):
        load_weights(made("ResNet-18"), linear().state_dict())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("make", [lambda: SmallCNN(1, 3, 2), linear], ids=["book", "any"])
def test_the_precision_of_the_weights_is_kept(tmp_path, dtype, make):
    model = make().to(dtype)
    digest = save_model(tmp_path / "m", model, ORIGIN)
    again, _ = load_model(tmp_path / "m", None if isinstance(model, SmallCNN) else make, sha256=digest)
    assert weights_hash(again) == digest
    assert {each.dtype for each in again.parameters()} == {dtype}


@pytest.mark.parametrize("wrap", [nn.DataParallel, lambda net: torch.compile(net, backend="eager")])
def test_a_wrapped_network_is_saved_without_its_wrapper(tmp_path, wrap):
    model = SmallCNN(1, 3, 2)
    assert save_model(tmp_path / "m", wrap(model), ORIGIN) == weights_hash(model)
    assert weights_hash(load_model(tmp_path / "m")[0]) == weights_hash(model)


def test_tied_weights_are_saved_once_each(tmp_path):
    def tied():
        model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
        model[1].weight = model[0].weight
        return model

    model = tied()
    digest = save_model(tmp_path / "m", model, ORIGIN)
    again, _ = load_model(tmp_path / "m", tied, sha256=digest)
    assert again[1].weight is again[0].weight and weights_hash(again) == weights_hash(model)


def test_a_book_network_with_other_layers_needs_a_builder(tmp_path):
    def changed():
        model = SmallCNN(1, 3, 2)
        model.relu3 = nn.Sequential(nn.ReLU(), nn.Linear(8, 8))
        return model

    save_model(tmp_path / "m", changed(), ORIGIN)
    with pytest.raises(ValueError, match="say what builds it"):
        load_model(tmp_path / "m")
    assert load_model(tmp_path / "m", changed)[1] == ORIGIN


def test_state_that_is_no_tensor_is_named(tmp_path):
    class Counter(nn.Module):
        def get_extra_state(self):
            return {"calls": 3}

    with pytest.raises(TypeError, match="Counter keeps state that is no tensor: _extra_state"):
        save_model(tmp_path / "m", Counter(), ORIGIN)


# --- anybody's weights ---


def test_any_file_of_tensors_is_opened_by_its_content(tmp_path):
    model = linear()
    save_file(model.state_dict(), tmp_path / "a.bin")
    torch.save(model.state_dict(), tmp_path / "b.safetensors")
    torch.save(model.state_dict(), tmp_path / "c.pt", _use_new_zipfile_serialization=False)
    save_model(tmp_path / "d", model, ORIGIN)
    for name in ("a.bin", "b.safetensors", "c.pt", "d"):
        state, digest = open_weights(tmp_path / name)
        assert digest == weights_hash(model) == weights_hash(load_weights(linear(), state))


@pytest.mark.parametrize("entry", ["state_dict", "model_state_dict", "model", "net"])
def test_a_state_dict_inside_a_checkpoint_is_found_and_said(tmp_path, entry):
    torch.save({entry: linear().state_dict(), "epoch": 3, "best": 0.5}, tmp_path / "c.pth")
    with pytest.warns(UserWarning, match=f"the state dict is its entry '{entry}'; the rest is left out"):
        state, _ = open_weights(tmp_path / "c.pth")
    assert list(state) == ["1.weight", "1.bias"]


@pytest.mark.parametrize(("wrap", "prefix"), [
    (nn.DataParallel, "module."), (lambda net: torch.compile(net, backend="eager"), "_orig_mod."),
])  # fmt: skip
def test_prefixes_of_wrappers_are_left_out_and_said(tmp_path, wrap, prefix):
    model = linear()
    torch.save(wrap(model).state_dict(), tmp_path / "c.pth")
    with pytest.warns(UserWarning, match=f"every name begins with '{prefix}', which is left out"):
        state, digest = open_weights(tmp_path / "c.pth")
    assert digest == weights_hash(model) and list(state) == ["1.weight", "1.bias"]


class Trap:
    """Unpickling it writes a file."""

    def __reduce__(self):
        return Path.touch, (Path(os.environ["TRAP"]),)


def test_nothing_is_ever_unpickled(tmp_path, monkeypatch):
    monkeypatch.setenv("TRAP", str(tmp_path / "sprung"))
    for name, content in {"trap": {"state_dict": linear().state_dict(), "extra": Trap()}, "net": linear()}.items():
        for new in (True, False):
            torch.save(content, tmp_path / name, _use_new_zipfile_serialization=new)
            with pytest.raises(ForeignFile, match=f"{name} holds more than tensors, .* ask for the state dict"):
                open_weights(tmp_path / name)
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize(("content", "message"), [
    ({"epoch": 3, "lr": 0.1}, "holds no state dict, .*; it holds a dict with 'epoch', 'lr'"),
    ([torch.zeros(1)], "it holds list"),
    (torch.zeros(1), "it holds Tensor"),
])  # fmt: skip
def test_a_pickle_without_a_state_dict_is_named(tmp_path, content, message):
    torch.save(content, tmp_path / "c.pth")
    with pytest.raises(ForeignFile, match=message):
        open_weights(tmp_path / "c.pth")


def test_damaged_and_missing_weights_are_told_apart(tmp_path):
    torch.save(linear().state_dict(), tmp_path / "c.pth")
    whole = (tmp_path / "c.pth").read_bytes()
    (tmp_path / "c.pth").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "d.safetensors").write_bytes(b"garbage")
    for name in ("c.pth", "d.safetensors"):
        with pytest.raises(DamagedFile, match=f"{name} is damaged"):
            open_weights(tmp_path / name)
    with pytest.raises(FileNotFoundError, match="no file .*nowhere.pth"):
        open_weights(tmp_path / "nowhere.pth")
    with pytest.raises(FileNotFoundError, match="is a folder, not a file"):
        open_weights(tmp_path)


def test_what_cannot_be_saved_writes_nothing(tmp_path):
    with pytest.raises(ValueError, match="origin must say where the weights came from"):
        save_model(tmp_path / "m", PaperCNN(), {})
    assert not list(tmp_path.iterdir())


def test_loading_leaves_the_random_state_alone(saved):
    before = torch.get_rng_state()
    load_model(saved[0])
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(("state", "message"), [
    ("w.pth", r"weights must be a state dict, names and tensors; got str; open_weights\(path\) gives"),
    (({}, "00"), "weights must be a state dict, names and tensors; got tuple; open_weights"),
    ({"weight": 3}, "weights must be a state dict, names and tensors; got dict$"),
])  # fmt: skip
def test_what_is_no_state_dict_is_named(unchecked, state, message):
    with pytest.raises(TypeError, match=message):
        load_weights(nn.Linear(2, 3), state)


def test_weights_and_network_in_the_wrong_order_are_named(unchecked):
    with pytest.raises(TypeError, match="need a network, a torch.nn.Module; got dict"):
        load_weights({"weight": torch.zeros(1)}, nn.Linear(2, 3))  # type: ignore[arg-type]


def test_a_second_state_dict_in_a_checkpoint_is_named(tmp_path):
    path = tmp_path / "ema.pth"
    states = {name: nn.Linear(2, 3).state_dict() for name in ("model", "model_ema")}
    torch.save(states | {"epoch": 3}, path)
    with pytest.warns(UserWarning, match="its entry 'model'; the rest is left out, 'model_ema' too"):
        found, _ = open_weights(path)
    assert torch.equal(found["weight"], states["model"]["weight"])


@pytest.mark.parametrize(("origin", "message"), [
    ("from a friend", "origin must be a dict of JSON-ready data; got str"),
    ({"mean": torch.ones(2)}, "origin must be JSON-ready data; .*Tensor"),
])  # fmt: skip
def test_an_origin_that_could_not_be_read_back_is_not_written(tmp_path, unchecked, origin, message):
    with pytest.raises(TypeError, match=message):
        save_model(tmp_path / "net.safetensors", nn.Linear(2, 3), origin)
    assert not list(tmp_path.iterdir())
