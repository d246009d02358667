import json
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings, strategies as st
from safetensors.torch import save_file

from badnets_lib.files import DamagedFile, ForeignFile, load_tensors, save_tensors, tensors_hash, write_atomically

TENSORS = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.tensor([True, False]), "c": torch.tensor(7)}
DTYPES = [
    torch.float32,
    torch.float64,
    torch.float16,
    torch.bfloat16,
    torch.uint8,
    torch.int32,
    torch.int64,
    torch.bool,
]


def test_write_makes_folders_and_replaces(tmp_path):
    path = tmp_path / "new" / "folder" / "note.txt"
    assert write_atomically(path, "first") == path
    write_atomically(str(path), "zweite Fassung: ü".encode())
    assert path.read_text(encoding="utf-8") == "zweite Fassung: ü"
    assert path.stat().st_mode & 0o777 == 0o644
    assert write_atomically(path, "for the owner", mode=0o600).stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("where", ["os.fsync", "pathlib.Path.chmod", "pathlib.Path.replace"])
@pytest.mark.parametrize("stop", [OSError("disk full"), KeyboardInterrupt()], ids=["full", "killed"])
def test_a_stop_during_writing_leaves_the_old_file_and_no_litter(tmp_path, monkeypatch, where, stop):
    path = write_atomically(tmp_path / "note.txt", "old")

    def fail(*_):
        raise stop

    with monkeypatch.context() as broken:
        broken.setattr(where, fail)
        with pytest.raises(type(stop)):
            write_atomically(path, "new, but not finished")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@settings(max_examples=25)
@given(st.dictionaries(st.text("abc.xyz_", min_size=1, max_size=8),
                       st.tuples(st.sampled_from(DTYPES), st.lists(st.integers(0, 4), max_size=3)), max_size=4),
       st.dictionaries(st.text(max_size=5), st.none() | st.booleans() | st.integers() | st.text(max_size=5)
                       | st.floats(allow_nan=False), max_size=3))  # fmt: skip
def test_tensors_come_back_as_they_were(tmp_path_factory, shapes, header):
    tensors = {name: torch.randint(0, 2, shape).to(dtype) for name, (dtype, shape) in shapes.items()}
    path = tmp_path_factory.mktemp("tensors") / "t.safetensors"
    digest = save_tensors(path, tensors, header)
    loaded, found = load_tensors(path)
    assert found == header
    assert digest == tensors_hash(loaded) == tensors_hash(tensors)
    assert set(loaded) == set(tensors)
    assert all(
        torch.equal(loaded[name], tensors[name]) and loaded[name].dtype == tensors[name].dtype for name in loaded
    )


def test_the_hash_sees_names_types_shapes_and_values_but_not_order_or_layout():
    base = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.zeros(2)}
    others = [
        {"x": base["a"], "b": base["b"]},
        base | {"a": base["a"].double()},
        base | {"a": base["a"].reshape(3, 2)},
        base | {"a": base["a"] + 1},
        {"a": base["a"]},
    ]
    assert len({tensors_hash(each) for each in [base, *others]}) == 6
    assert tensors_hash(dict(reversed(base.items()))) == tensors_hash(base)
    assert tensors_hash(base | {"a": base["a"].T.contiguous().T}) == tensors_hash(base)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    path = tmp_path_factory.mktemp("whole") / "t.safetensors"
    save_tensors(path, TENSORS, {"text": "é and | and \\", "number": 1.5})
    return path.read_bytes()


def refused(folder: Path, content: bytes) -> bool:
    path = folder / "damaged.safetensors"
    path.write_bytes(content)
    try:
        load_tensors(path)
    except (DamagedFile, ForeignFile) as error:
        return str(path) in str(error)
    return False


def test_every_flipped_bit_is_refused(whole, tmp_path):
    for position in range(len(whole)):
        damaged = bytearray(whole)
        damaged[position] ^= 1 << (position % 8)
        assert refused(tmp_path, bytes(damaged)), f"bit {position % 8} of byte {position}"


@given(st.data())
def test_any_damage_is_refused(whole, tmp_path, data):
    position = data.draw(st.integers(0, len(whole) - 1))
    damaged = data.draw(st.sampled_from([
        whole[:position],  # truncated
        whole[:position] + data.draw(st.binary(min_size=1, max_size=8)) + whole[position:],  # with something put in
        whole[:position] + bytes([whole[position] ^ data.draw(st.integers(1, 255))]) + whole[position + 1 :],
    ]))  # fmt: skip
    assert refused(tmp_path, damaged)


def test_the_undamaged_file_is_not_refused(whole, tmp_path):
    assert not refused(tmp_path, whole)


@pytest.mark.parametrize("content", [b"", b"garbage", b"\x00" * 64, b"PK\x03\x04" + b"x" * 100], ids=repr)
def test_foreign_files_are_refused(tmp_path, content):
    assert refused(tmp_path, content)


def test_damage_is_never_taken_for_a_strangers_file(whole, tmp_path):
    for position in range(8, len(whole)):  # in the first eight bytes stands how long the header is
        damaged = bytearray(whole)
        damaged[position] ^= 1
        (tmp_path / "t").write_bytes(damaged)
        with pytest.raises(DamagedFile, match="is damaged"):
            load_tensors(tmp_path / "t")


def test_a_strangers_healthy_file_is_not_called_damaged(tmp_path):
    path = tmp_path / "foreign.safetensors"
    save_file(TENSORS, path)
    with pytest.raises(ForeignFile, match="foreign.safetensors is a safetensors file, but was not written by this"):
        load_tensors(path)
    torch.save(TENSORS, path)
    with pytest.raises(ForeignFile, match="it holds a pickle, as torch.save writes it"):
        load_tensors(path)


def test_a_header_of_any_length_is_no_pickle(tmp_path):
    lengths = set()
    for number in range(600, 760):
        save_tensors(tmp_path / "t", {"a": torch.zeros(1)}, {"text": "x" * number})
        lengths.add((tmp_path / "t").read_bytes()[0])
        assert load_tensors(tmp_path / "t")[1] == {"text": "x" * number}
    assert 0x80 in lengths  # the first byte of a pickle


def test_a_file_without_a_seal_is_refused(tmp_path):
    path = tmp_path / "foreign.safetensors"
    save_file(TENSORS, path, metadata={"header": "{}", "sha256": tensors_hash(TENSORS)})  # a hash, but no seal
    with pytest.raises(DamagedFile, match="does not match its own SHA-256"):
        load_tensors(path)


def test_a_missing_file_is_not_called_damaged(tmp_path):
    with pytest.raises(FileNotFoundError, match="no file .*nowhere"):
        load_tensors(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match="is a folder, not a file"):
        load_tensors(tmp_path)


def test_a_header_that_json_cannot_hold_writes_nothing(tmp_path):
    with pytest.raises(TypeError):
        save_tensors(tmp_path / "t", TENSORS, {"when": object()})
    assert not list(tmp_path.iterdir())


def test_what_was_loaded_does_not_follow_the_file(tmp_path):
    """safetensors maps the file into memory; a later write must not reach tensors that were already checked."""
    path = tmp_path / "t"
    save_tensors(path, {"a": torch.zeros(4096)}, {})
    loaded, _ = load_tensors(path)
    with path.open("r+b") as file:
        file.seek(-4, 2)
        file.write(b"\x00\x00\x80\x3f")
    assert loaded["a"].sum() == 0


def test_saving_leaves_the_tensors_alone(tmp_path):
    before = {name: tensor.clone() for name, tensor in TENSORS.items()}
    save_tensors(tmp_path / "t", TENSORS, json.loads("{}"))
    assert all(torch.equal(before[name], TENSORS[name]) for name in before)
