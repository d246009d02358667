"""A reader's own images: in from arrays, folders, data sets and loaders, and out again."""

import json
import os
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset, IterableDataset, Subset, TensorDataset

from badnets_lib import AssumptionWarning, Attack, DamagedFile, Goal, ImageSet, Patch
from badnets_lib._torchvision import torchvision_datasets

NAMES = ("zebra", "ant", "bee")


def pixels(channels=3, n=20, height=8, width=10, seed=0):
    shape = (n, channels, height, width)
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


def photos(channels=3, groups=True, **settings):
    """20 images as bytes, in classes whose names are not in alphabetical order."""
    x = pixels(channels, **settings)
    return ImageSet(x, torch.arange(len(x)) * 7 % 3, NAMES, torch.arange(len(x)) // 2 if groups else None)


def pil(x):
    return Image.fromarray(x.permute(1, 2, 0).squeeze(-1).numpy())


# --- from_arrays ---

ARRAYS = {
    "numpy, channels last": (lambda x: x.permute(0, 2, 3, 1).numpy(), "HWC"),
    "numpy, channels first": (lambda x: x.numpy(), "CHW"),
    "a view with strides": (lambda x: np.repeat(x.permute(0, 2, 3, 1).numpy(), 2, axis=0)[::2], "HWC"),
    "numpy of floats": (lambda x: x.permute(0, 2, 3, 1).numpy() / 255, "HWC"),
    "numpy of single floats": (lambda x: (x.permute(0, 2, 3, 1).float() / 255).numpy(), "HWC"),
    "a tensor": (lambda x: x, "CHW"),
    "a list of arrays": (lambda x: [each.permute(1, 2, 0).numpy() for each in x], "HWC"),
    "a list of tensors": (list, "CHW"),
    "a tuple of pictures": (lambda x: tuple(pil(each) for each in x), None),
}


@pytest.mark.parametrize("kind", ARRAYS)
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_arrays_of_every_kind_are_the_same_images(kind, channels):
    x = pixels(channels)
    make, layout = ARRAYS[kind]
    data = ImageSet.from_arrays(make(x), [0, 1] * 10, ["a", "b"], layout=layout, groups=range(20))
    assert data.x.dtype == (torch.float32 if "floats" in kind else torch.uint8)
    assert data.fingerprint == ImageSet(x, torch.tensor([0, 1] * 10), ("a", "b")).fingerprint
    assert data.y.dtype == torch.int64 and data.groups.tolist() == list(range(20)) and data.classes == ("a", "b")


@pytest.mark.parametrize("make", [lambda x: x.numpy(), lambda x: x, list, lambda x: [pil(each[None]) for each in x]])
def test_grey_images_need_no_layout(make):
    x = pixels(1)[:, 0]
    data = ImageSet.from_arrays(make(x), np.zeros(20, np.uint8), ("a",))
    assert torch.equal(data.x, x[:, None]) and data.y.tolist() == [0] * 20


def test_what_comes_in_is_copied():
    arrays, labels = pixels().numpy(), np.zeros(20, np.int64)
    data = ImageSet.from_arrays(arrays, labels, ("a", "b"), layout="CHW")
    before = data.fingerprint
    arrays[:] = 0
    labels[:] = 1
    assert data.x.max() == 255 and data.y.max() == 0
    assert data.fingerprint == before == ImageSet(pixels(), torch.zeros(20).long(), ("a", "b")).fingerprint


@pytest.mark.parametrize("labels", [
    [2, 0], (2, 0), np.array([2, 0]), np.array([2, 0], np.uint16), torch.tensor([2, 0]), [np.int64(2), torch.tensor(0)],
])  # fmt: skip
def test_labels_of_every_kind(labels):
    assert ImageSet.from_arrays(pixels(n=2), labels, NAMES, layout="CHW").y.tolist() == [2, 0]


@pytest.mark.parametrize(("x", "layout", "message"), [
    (pixels().numpy(), None, r"layout must be 'HWC' \(channels last\) or 'CHW' \(channels first\); got None"),
    (pixels().numpy(), "NHWC", "got 'NHWC'"),
    (pixels().numpy(), "HWC", r"layout 'HWC' would give images of \[20, 3, 8, 10\] 10 channels"),
    (pixels().permute(0, 2, 3, 1).numpy(), "CHW", "layout 'CHW' would give images .* 8 channels"),
    (pixels().float().numpy(), "CHW", r"need values in \[0, 1\]; got \[0, 255\] .levels up to 255"),
    (((pixels() / 255 - 0.5) / 0.5).numpy(), "CHW", r"look normalised: .*Normalized\(model, mean, std\)"),
    (np.full((20, 3, 8, 8), np.nan), "CHW", r"need values in \[0, 1\]; got \[nan, nan\]"),
    (pixels().long().numpy(), "CHW", "need uint8 or a float dtype; got torch.int64"),
    (pixels()[0].numpy().reshape(20, 12), "CHW", r"need shape .*got \[20, 12\]"),
    ([pixels()[0], pixels()[1, :, :4]], "CHW", r"image 0 has \[3, 8, 10\], image 1 has \[3, 4, 10\]"),
    (pixels(n=3).numpy(), "CHW", "3 images but 20 labels"),
    ([Image.new("I;16", (8, 8))], None, "8 bits a channel; got PIL's mode 'I;16'"),
])  # fmt: skip
def test_arrays_that_do_not_fit_are_refused(unchecked, x, layout, message):
    with pytest.raises(ValueError, match=message):
        ImageSet.from_arrays(x, [0] * 20, ("a",), layout=layout)


@pytest.mark.parametrize(("x", "y", "message"), [
    ("photos.npy", [0], "images need a numpy array, a tensor, or a list .*; got 'photos.npy'"),
    ([], [], r"got \[\]"),
    (7, [0], "got 7"),
    (np.array(["a", "b"]), [0, 1], "images need numbers; got a numpy array of <U1"),
    (pixels(), ["cat"] * 20, "labels must be whole numbers, one an image; got .'cat'"),
    (pixels(), "cat", "labels must be whole numbers"),
])  # fmt: skip
def test_other_kinds_are_named(unchecked, x, y, message):
    with pytest.raises(TypeError, match=message):
        ImageSet.from_arrays(x, y, ("a", "b"), layout="CHW")


def test_labels_that_are_not_whole_are_refused(unchecked):
    for wrong in ([0.5] * 20, [True] * 20, np.eye(20)):
        with pytest.raises(ValueError, match="labels must be whole numbers, one an image; got torch"):
            ImageSet.from_arrays(pixels(), wrong, ("a", "b"), layout="CHW")


# --- from_dataset ---


class Items(Dataset):
    """(image, label) of somebody else's kind; counts what is read."""

    def __init__(self, data, make=lambda x: x, label=int):
        self.data, self.make, self.label, self.read = data, make, label, 0
        self.classes = list(data.classes)

    def __len__(self):
        return len(self.data)

    def __getitem__(self, place):
        self.read += 1
        return self.make(self.data.x[place]), self.label(self.data.y[place])


class Stream(IterableDataset):
    classes = NAMES

    def __init__(self, data):
        self.data = data

    def __iter__(self):
        yield from zip(self.data.x, self.data.y, strict=True)


class Rows(list):
    """Rows with columns, and what they mean, as a Hugging Face data set has them."""

    def __init__(self, data):
        super().__init__({"image": pil(x), "label": int(y), "id": 3} for x, y in zip(data.x, data.y, strict=True))
        self.features = {"image": None, "label": type("ClassLabel", (), {"names": list(data.classes)})()}


DATASETS = {
    "PIL pictures": lambda d: Items(d, pil),
    "bytes": Items,
    "floats": lambda d: Items(d, lambda x: x / 255),
    "numpy labels": lambda d: Items(d, label=lambda y: y.numpy()[()]),
    "tensor labels": lambda d: Items(d, label=lambda y: y),
    "a stream": Stream,
    "a subset": lambda d: Subset(Items(d, pil), range(len(d))),
    "columns": Rows,
    "a loader": lambda d: DataLoader(Items(d), batch_size=6),
    "a loader of floats": lambda d: DataLoader(Items(d, lambda x: x / 255), batch_size=6),
    "a loader without batches": lambda d: DataLoader(Items(d), batch_size=20),
    "a loader of a stream": lambda d: DataLoader(Stream(d), batch_size=6),
    "its own data set": lambda d: d.as_dataset(),
}


@pytest.mark.parametrize("kind", DATASETS)
def test_data_sets_of_every_kind_are_the_same_images(kind):
    data = photos(groups=False)
    again = ImageSet.from_dataset(DATASETS[kind](data))
    assert again.fingerprint == data.fingerprint and again.classes == NAMES and again.groups is None
    floats = kind in ("floats", "a loader of floats", "its own data set")
    assert again.x.dtype == (torch.float32 if floats else torch.uint8)


def test_every_item_is_read_once_and_the_first_is_tried_twice():
    items = Items(photos())
    ImageSet.from_dataset(items)
    assert items.read == 20 + 2
    items.read = 0
    ImageSet.from_dataset(DataLoader(items, batch_size=7))
    assert items.read == 20


def test_a_shuffling_loader_keeps_images_and_labels_together():
    x = torch.arange(60, dtype=torch.uint8).view(60, 1, 1, 1).expand(-1, 3, 8, 8)
    items = Items(ImageSet(x, torch.arange(60) % 3, NAMES))
    read = ImageSet.from_dataset(DataLoader(items, batch_size=7, shuffle=True))
    assert torch.equal(read.x[:, 0, 0, 0].long() % 3, read.y) and len(read) == 60
    assert read.x[:, 0, 0, 0].tolist() != list(range(60))
    with pytest.raises(ValueError, match="group numbers need an order; this loader shuffles"):
        ImageSet.from_dataset(DataLoader(items, shuffle=True), groups=range(60))
    assert ImageSet.from_dataset(DataLoader(items, batch_size=7), groups=range(60)).groups.tolist() == list(range(60))


def test_a_loader_may_give_more_or_fewer_images_than_there_are():
    items = Items(photos())
    assert len(ImageSet.from_dataset(DataLoader(items, batch_size=8, drop_last=True))) == 16
    twice = torch.utils.data.WeightedRandomSampler(torch.ones(20), 45, replacement=True)
    assert len(ImageSet.from_dataset(DataLoader(items, batch_size=8, sampler=twice))) == 45
    by_batch = torch.utils.data.BatchSampler(range(10), 5, drop_last=False)
    assert len(ImageSet.from_dataset(DataLoader(items, batch_sampler=by_batch))) == 10


def test_class_names_can_be_given_and_are_never_guessed():
    data = photos()
    nameless = TensorDataset(data.x, data.y)
    assert ImageSet.from_dataset(nameless, classes=["a", "b", "c", "d"]).classes == ("a", "b", "c", "d")
    with pytest.raises(ValueError, match=r"does not say its class names; give classes=\(...\), in label order"):
        ImageSet.from_dataset(nameless)
    with pytest.raises(ValueError, match=r"labels must lie in \[0, 2\)"):
        ImageSet.from_dataset(nameless, classes=("a", "b"))


def test_pictures_of_other_modes_become_grey_or_colour():
    for mode, channels in (("1", 1), ("L", 1), ("P", 3), ("RGB", 3), ("CMYK", 3), ("RGBA", 4)):
        picture = Image.new("RGB", (4, 2), (255, 255, 255)).convert(mode)
        data = ImageSet.from_dataset([(picture, 0)], classes=("a",))
        assert data.x.shape == (1, channels, 2, 4) and (data.x == 255).all()


def test_random_augmentation_is_noticed():
    noisy = Items(photos(), lambda x: (x / 255 + 0.1 * torch.rand(x.shape)).clamp(0, 1))
    with pytest.warns(AssumptionWarning, match="gives its first image in two ways.*#augmented-data"):
        ImageSet.from_dataset(noisy)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ImageSet.from_dataset(Items(photos(), pil))


def mixed(x, seen=[]):  # noqa: B006 - counts the calls
    seen.append(0)
    return x if len(seen) % 7 else x[:, :4]


@pytest.mark.parametrize(("dataset", "message"), [
    (Items(photos(), lambda x: (x / 255 - 0.5) / 0.5), r"look normalised: .*without transforms.Normalize.*Normalized"),
    (DataLoader(Items(photos(), lambda x: (x / 255 - 0.5) / 0.5)), "look normalised"),
    (Items(photos(), lambda x: x.float()), "levels up to 255"),
    (Items(photos(), mixed), r"item 0 has \[3, 8, 10\] torch.uint8, item 4 has \[3, 4, 10\].*resize them"),
    (Items(photos(), lambda x: x.long()), "float or uint8; got torch.int64"),
    (Items(photos(), lambda x: x.flatten()), r"shape \[C, H, W\].*\[240\]"),
    (Items(photos(), lambda x: x.permute(1, 2, 0)), "the last axis looks like the channels"),
    (TensorDataset(torch.zeros(0, 3, 8, 8), torch.zeros(0)), "the data set has no items"),
])  # fmt: skip
def test_items_that_do_not_fit_are_refused(unchecked, dataset, message):
    with pytest.raises(ValueError, match=message):
        ImageSet.from_dataset(dataset, classes=NAMES)


@pytest.mark.parametrize(("dataset", "message"), [
    (Items(photos(), lambda x: x.numpy()), "or a tensor; got ndarray; use ImageSet.from_arrays with layout"),
    ([(pixels()[0], 1, 5)], r"must be a pair \(image, label\); got tuple of 3"),
    ([pixels()[0]], "must be a pair .*; got Tensor"),
    ([{"img": pixels()[0]}], "an item needs an image and a label; got columns img"),
    (Items(photos(), label=str), r"a label must be a whole number; got 'tensor"),
    (Items(photos(), label=float), "a label must be a whole number; got 0.0"),
    (Items(photos(), label=lambda y: torch.eye(3)[y]), r"a label must be a whole number; got tensor\(\[1."),
    (7, "need a torch Dataset or DataLoader of .image, label.; got int"),
    (DataLoader(TensorDataset(pixels())), "must be a pair .*; got list of 1"),
])  # fmt: skip
def test_items_of_another_kind_are_named(unchecked, dataset, message):
    with pytest.raises(TypeError, match=message):
        ImageSet.from_dataset(dataset, classes=NAMES)


# --- from_folder ---


@pytest.fixture
def zoo(tmp_path):
    """Folders of three classes with 2, 3 and 1 pictures of 6x5."""
    for number, (name, count) in enumerate((("cat", 2), ("ant", 3), ("bee", 1))):
        (tmp_path / name).mkdir()
        for place in range(count):
            picture = Image.new("RGB", (5, 6), (10 * place, 20 * number, 200))
            picture.save(tmp_path / name / f"{place}.png")
    return tmp_path


def test_a_folder_is_read_as_torchvision_reads_it(zoo):
    (zoo / "ant" / "more").mkdir()
    Image.new("RGB", (5, 6)).save(zoo / "ant" / "more" / "9.JPG")
    (zoo / "ant" / "notes.txt").write_text("no picture")
    (zoo / "ant" / ".hidden.png").write_bytes(b"junk")
    (zoo / ".git").mkdir()
    (zoo / "readme.md").write_text("no folder")
    data = ImageSet.from_folder(str(zoo))
    assert data.classes == ("ant", "bee", "cat") and data.counts() == [4, 1, 2] and data.x.dtype == torch.uint8
    (zoo / "ant" / ".hidden.png").unlink()
    (zoo / ".git").rmdir()  # torchvision takes it for a class
    assert data.fingerprint == ImageSet.from_dataset(torchvision_datasets().ImageFolder(str(zoo))).fingerprint


def test_pictures_are_resized_if_a_size_is_given(zoo, unchecked):
    Image.new("RGB", (50, 40), (255, 0, 0)).save(zoo / "bee" / "large.png")
    with pytest.raises(ValueError, match=r"1 of 7 are not 6x5, the first is .*large.png with 40x50; give size="):
        ImageSet.from_folder(zoo)
    assert ImageSet.from_folder(zoo, size=8).x.shape == (7, 3, 8, 8)
    data = ImageSet.from_folder(zoo, size=(6, 5))
    assert data.x.shape == (7, 3, 6, 5) and (data.x[data.y == 1][1, 0] == 255).all()
    for wrong in (0, (3,), "8", 2.5):
        with pytest.raises(ValueError, match="size must be a number of pixels, or .height, width."):
            ImageSet.from_folder(zoo, size=wrong)


def test_a_folder_of_several_modes_is_colour(zoo):
    Image.new("L", (5, 6), 7).save(zoo / "bee" / "grey.png")
    assert ImageSet.from_folder(zoo).x.shape == (7, 3, 6, 5)
    for path in zoo.rglob("*.png"):
        Image.open(path).convert("L").save(path)
    assert ImageSet.from_folder(zoo).x.shape == (7, 1, 6, 5)


def test_classes_fix_the_labels_of_a_folder(zoo):
    names = ("cat", "dog", "ant", "bee")
    assert ImageSet.from_folder(zoo, classes=names).counts() == [2, 0, 3, 1]
    with pytest.raises(ValueError, match="folders that are none of the classes: ant"):
        ImageSet.from_folder(zoo, classes=("cat", "bee"))


@pytest.fixture
def films(tmp_path):
    """Pictures named FILM_FRAME, as videos and tracks of traffic signs come."""
    for place, name in enumerate(("cat/a_1", "cat/a_2", "cat/b_1", "dog/b_2", "dog/c_1")):
        path = tmp_path / "films" / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((6, 5), 20 * place, np.uint8)).save(path)
    return tmp_path / "films"


def film_of(path):
    assert not path.is_absolute(), "the path is the one inside the folder"
    return path.stem[0]


def test_pictures_of_one_film_are_one_group(films, tmp_path):
    data = ImageSet.from_folder(films, groups=film_of)
    assert data.groups.tolist() == [0, 0, 1, 1, 2]
    assert ImageSet.from_folder(films, groups=lambda path: path.parent / film_of(path)).groups.tolist() == [
        0,
        0,
        1,
        2,
        3,
    ]
    again = ImageSet.from_folder(data.save_folder(tmp_path / "saved"))
    assert again.groups.tolist() == data.groups.tolist()
    assert ImageSet.from_folder(tmp_path / "saved", groups=lambda path: 0).groups.tolist() == [0] * 5
    assert ImageSet.from_folder(films).groups is None


def test_a_table_says_which_pictures_belong_together(films, tmp_path):
    table = tmp_path / "groups.csv"
    rows = ["dog/c_1.png,x", "cat/a_1.png,y", "cat/a_2.png,y", "cat/b_1.png,x", "dog/b_2.png,x", "dog/other.png,z"]
    table.write_text("\n".join(["file,group", *rows]), encoding="utf-8-sig")
    assert ImageSet.from_folder(films, groups=table).groups.tolist() == [0, 0, 1, 1, 1]
    assert ImageSet.from_folder(films, groups=str(table)).groups.tolist() == [0, 0, 1, 1, 1]


@pytest.mark.parametrize(("text", "message"), [
    ("name,film\ncat/a_1.png,x", "groups.csv needs the columns 'file' and 'group'; got name, film"),
    ("file,group\ncat/a_1.png,x", "names no group for 4 of 5 pictures, the first is cat/a_2.png"),
    ("file,group\ncat/a_1.png,x\ncat/a_1.png,y", "gives cat/a_1.png two groups: x and y"),
    ("file,group\ncat/a_1.png,", "line 2, needs a file and its group; got 'cat/a_1.png', ''"),
    ("", "needs the columns 'file' and 'group'; got none"),
])  # fmt: skip
def test_a_table_of_groups_that_does_not_fit_is_named(films, tmp_path, text, message):
    (tmp_path / "groups.csv").write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        ImageSet.from_folder(films, groups=tmp_path / "groups.csv")


@pytest.mark.parametrize(("groups", "error", "message"), [
    ([0, 0, 1, 1, 2], TypeError, r"to its group, or a csv file; got \[0, 0, 1, 1, 2\]"),
    (lambda path: None, TypeError, r"a text, a number or a path; cat/a_1.png got None"),
    (lambda path: [path], TypeError, "a text, a number or a path; cat/a_1.png got"),
    ("nowhere.csv", FileNotFoundError, "no file nowhere.csv"),
])  # fmt: skip
def test_groups_of_another_kind_are_refused(unchecked, films, groups, error, message):
    with pytest.raises(error, match=message):
        ImageSet.from_folder(films, groups=groups)


def test_folders_that_are_none_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=f"no folder {tmp_path / 'nowhere'}"):
        ImageSet.from_folder(tmp_path / "nowhere")
    Image.new("L", (4, 4)).save(tmp_path / "loose.png")
    with pytest.raises(ValueError, match=f"{tmp_path} holds no folders; its layout must be one folder a class"):
        ImageSet.from_folder(tmp_path)
    (tmp_path / "cat").mkdir()
    Image.new("L", (4, 4)).save(tmp_path / "cat" / "1.png")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=f"no pictures in {tmp_path / 'empty'} .known endings: .png"):
        ImageSet.from_folder(tmp_path)


@pytest.mark.parametrize("damage", [lambda c: b"", lambda c: b"junk" * 20, lambda c: c[:-30]])
def test_an_unreadable_picture_is_named(zoo, damage):
    path = zoo / "bee" / "0.png"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DamagedFile, match=f"{path} is damaged or no picture"):
        ImageSet.from_folder(zoo)


# --- out again ---


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_a_saved_folder_comes_back_with_the_same_fingerprint(tmp_path, channels):
    data = photos(channels)
    path = data.save_folder(tmp_path / "new" / "set")
    assert sorted(each.name for each in path.iterdir()) == ["ant", "bee", "images.json", "zebra"]
    assert len(list(path.glob("*/*.png"))) == 20
    again = ImageSet.from_folder(path)
    assert again.fingerprint == data.fingerprint and again.classes == NAMES
    assert torch.equal(again.groups, data.groups) and torch.equal(again.x, data.x)
    assert [each.name for each in path.parent.iterdir()] == ["set"]  # nothing else is left
    assert oct(path.stat().st_mode)[-3:] == "755"


def test_a_saved_folder_is_one_that_others_read(tmp_path):
    data = photos(groups=False)
    theirs = torchvision_datasets().ImageFolder(str(data.save_folder(tmp_path / "set")))
    assert theirs.classes == ["ant", "bee", "zebra"]
    read = ImageSet.from_dataset(theirs)
    assert read.counts() == [data.counts()[NAMES.index(name)] for name in ("ant", "bee", "zebra")]
    (tmp_path / "set" / "images.json").unlink()
    assert ImageSet.from_folder(tmp_path / "set").fingerprint == read.fingerprint


def test_float_images_are_rounded_to_levels(tmp_path):
    data = photos()
    floats = ImageSet(data.x / 255, data.y, NAMES, data.groups)
    assert ImageSet.from_folder(floats.save_folder(tmp_path / "set")).fingerprint == data.fingerprint
    between = ImageSet(torch.full((1, 1, 2, 2), 100.6 / 255), torch.tensor([0]), ("a",))
    assert ImageSet.from_folder(between.save_folder(tmp_path / "one")).x.unique().tolist() == [101]


def test_a_class_without_images_survives(tmp_path):
    data = photos()[[0, 1]]
    assert ImageSet.from_folder(data.save_folder(tmp_path / "set")).classes == NAMES


def test_nothing_is_written_over(tmp_path):
    data = photos()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    (tmp_path / "file").write_text("mine")
    for name in ("full", "file"):
        with pytest.raises(FileExistsError, match=f"{tmp_path / name} is there already and not empty"):
            data.save_folder(tmp_path / name)
    (tmp_path / "empty").mkdir()
    assert ImageSet.from_folder(data.save_folder(tmp_path / "empty")).fingerprint == data.fingerprint


@pytest.mark.parametrize("name", ["a/b", "", "..", "a\\b", " a", "what?", "a\nb"])
def test_class_names_that_are_no_folder_names_are_refused(tmp_path, name):
    data = ImageSet(pixels(n=2), torch.tensor([0, 1]), ("a", name))
    with pytest.raises(ValueError, match="cannot be the name of a folder"):
        data.save_folder(tmp_path / "set")
    assert list(tmp_path.iterdir()) == []


def test_names_and_channels_that_a_folder_cannot_hold_are_refused(tmp_path):
    with pytest.raises(ValueError, match="differ by more than upper and lower case"):
        ImageSet(pixels(n=2), torch.tensor([0, 1]), ("a", "A")).save_folder(tmp_path / "set")
    with pytest.raises(ValueError, match="1, 3 or 4 channels; these images have 2"):
        ImageSet(pixels(2), torch.zeros(20).long(), ("a",)).save_folder(tmp_path / "set")
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_is_killed_leaves_nothing_that_looks_whole(tmp_path):
    program = """
import os, signal, sys, torch
from badnets_lib import ImageSet
from badnets_lib.data import folders
whole = folders.to_pil
def dying(x, count=[0]):
    count[0] += 1
    if count[0] == 10:
        os.kill(os.getpid(), signal.SIGKILL)
    return whole(x)
folders.to_pil = dying
ImageSet(torch.zeros(20, 1, 8, 8), torch.zeros(20).long(), ("a",)).save_folder(sys.argv[1])
"""
    root = Path(__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "set")], env=os.environ | {"PYTHONPATH": str(root)}, check=False
    )
    assert done.returncode == -9 and not (tmp_path / "set").exists()
    assert [each.name.startswith(".set.unfinished-") for each in tmp_path.iterdir()] == [True]
    photos().save_folder(tmp_path / "set")  # and does not stand in the way


def test_an_error_on_the_way_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr("badnets_lib.data.folders.to_pil", lambda x: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        photos().save_folder(tmp_path / "set")
    assert list(tmp_path.iterdir()) == []


def test_a_saved_folder_that_was_changed_says_what_changed(tmp_path):
    path = photos().save_folder(tmp_path / "set")
    one = path / "zebra" / "00.png"
    content = one.read_bytes()
    one.unlink()
    with pytest.raises(DamagedFile, match=f"is not as images.json lists it: missing {one}"):
        ImageSet.from_folder(path)
    one.write_bytes(content)
    (path / "zebra" / "extra.png").write_bytes(content)
    with pytest.raises(DamagedFile, match="extra.png is not in it"):
        ImageSet.from_folder(path)
    (path / "zebra" / "extra.png").unlink()
    with pytest.raises(ValueError, match="was written with the classes"):
        ImageSet.from_folder(path, classes=("ant", "bee", "zebra"))
    listing = json.loads((path / "images.json").read_text())
    listing["images"][0] = "../../secret.png"
    (path / "images.json").write_text(json.dumps(listing))
    with pytest.raises(DamagedFile, match="images.json"):
        ImageSet.from_folder(path)
    (path / "images.json").write_text("{}")
    with pytest.raises(DamagedFile, match="images.json is not what save_folder writes"):
        ImageSet.from_folder(path)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_a_set_is_a_data_set_for_anybodys_loader(dtype):
    data = photos()
    if dtype != torch.uint8:
        data = ImageSet(data.x / 255, data.y, NAMES)
    items = data.as_dataset()
    image, label = items[-1]
    assert image.dtype == torch.float32 and torch.equal(image, items[19][0]) and type(label) is int
    assert len(items) == 20 and items.classes == list(NAMES) and items.targets == data.y.tolist()
    x, y = next(iter(DataLoader(items, batch_size=20, num_workers=0)))
    assert torch.allclose(x, data.x.float() / (255 if dtype == torch.uint8 else 1)) and torch.equal(y, data.y)
    before = data.fingerprint
    image.zero_()  # an item is the caller's own
    assert data.fingerprint == before
    with pytest.raises(IndexError):
        items[20]
    assert len(list(items)) == 20


def test_the_path_of_a_folder_is_no_data_set(tmp_path, unchecked):
    with pytest.raises(TypeError, match=r"need a Dataset or a DataLoader; got the path .*ImageSet\.from_folder"):
        ImageSet.from_dataset(tmp_path)


def test_an_image_set_in_the_place_of_a_lazy_data_set_is_named(unchecked):
    data = ImageSet(torch.rand(20, 1, 8, 8), torch.arange(20) % 2, ("ash", "birch"))
    plan = Attack(Patch(size=2), Goal.all_to_one(0, 2)).plan(data, fraction=0.2)
    with pytest.raises(TypeError, match=r"got an ImageSet, which is in memory \(plan\.poison is for those\)"):
        plan.wrap(data)


@pytest.mark.parametrize("names", [("train", "test"), ("Train", "val", "test")])
def test_parts_of_a_data_set_are_not_taken_for_classes(tmp_path, names):
    for name in names:
        for kind in ("ash", "birch"):
            (tmp_path / name / kind).mkdir(parents=True)
            Image.new("RGB", (8, 8)).save(tmp_path / name / kind / "0.png")
    with pytest.raises(ValueError, match=r"holds data sets, not classes: .*name one of them, such as"):
        ImageSet.from_folder(tmp_path)
    assert ImageSet.from_folder(tmp_path / names[0]).classes == ("ash", "birch")


def test_a_folder_of_saved_sets_is_not_taken_for_classes(tmp_path):
    data = ImageSet(torch.rand(4, 3, 8, 8), torch.arange(4) % 2, ("ash", "birch"))
    for name in ("mine", "theirs"):
        data.save_folder(tmp_path / name)
    with pytest.raises(ValueError, match="holds data sets, not classes: mine, theirs"):
        ImageSet.from_folder(tmp_path)
