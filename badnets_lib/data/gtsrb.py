"""The German Traffic Sign Recognition Benchmark at 32x32, from the benchmark's archives or torchvision's download.

References:
    Stallkamp et al., Man vs. computer: benchmarking machine learning algorithms for traffic sign recognition, 2012.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from .._progress import track
from .._torchvision import torchvision_datasets
from ..files import DamagedFile, load_tensors
from .downloads import fetch, keep, unavailable
from .images import ImageSet
from .pictures import read_picture

SIDE = 32

COUNTS = {"train": (39_209, 26_640), "test": (12_630,)}
"""Images of each part. The archive Final_Training has 39,209; torchvision fetches the 26,640 published before it."""

PER_CLASS = {
    39_209: (
        210, 2220, 2250, 1410, 1980, 1860, 420, 1440, 1410, 1470, 2010, 1320, 2100, 2160, 780, 630, 420, 1110, 1200,
        210, 360, 330, 390, 510, 270, 1500, 600, 240, 540, 270, 450, 780, 240, 689, 420, 1200, 390, 210, 2070, 300,
        360, 240, 240,
    ),
    12_630: (
        60, 720, 750, 450, 660, 630, 150, 450, 450, 480, 660, 420, 690, 720, 270, 210, 150, 360, 390, 60, 90, 90, 120,
        150, 90, 480, 180, 60, 150, 90, 150, 270, 60, 210, 120, 390, 120, 60, 690, 90, 90, 60, 90,
    ),
}  # fmt: skip
"""Images of each class, where they are known, by their sum."""

CLASSES = (
    *(f"speed limit {limit}" for limit in (20, 30, 50, 60, 70, 80)),
    "end of speed limit 80", "speed limit 100", "speed limit 120", "no passing", "no passing for lorries",
    "priority at next crossing", "priority road", "yield", "stop", "no vehicles", "no lorries", "no entry",
    "danger", "bend left", "bend right", "double bend", "uneven road", "slippery road", "road narrows",
    "road works", "traffic signals", "pedestrians", "children", "bicycles", "snow", "wild animals",
    "end of all limits", "turn right", "turn left", "ahead only", "ahead or right", "ahead or left",
    "keep right", "keep left", "roundabout", "end of no passing", "end of no passing for lorries",
)  # fmt: skip

Sample = tuple[Path, int]


def load(root: Path) -> tuple[ImageSet, ImageSet]:
    """(train, test). Of two training sets in `root`, that of the benchmark's archive is taken."""
    return _train(root), _test(root)


def _train(root: Path) -> ImageSet:
    found = _found_train(root)
    if found is None:
        wanted = root / "gtsrb" / "GTSRB" / "Training"
        fetch("gtsrb", [wanted], torchvision_datasets().GTSRB, root, split="train")
        found = _found_train(root)
        if found is None:
            raise unavailable("gtsrb", [wanted / "00000" / "00000_00000.ppm"], "the download did not bring it")
    return found


def _found_train(root: Path) -> ImageSet | None:
    """The training set from a cache or from its photographs, whichever there is."""
    for name, inner in (("gtsrb-final-train", "Final_Training/Images"), ("gtsrb-train", "Training")):
        cache = root / f"{name}-{SIDE}x{SIDE}.safetensors"
        known = _cached(cache, "train")
        if known is not None:
            return known
        for folder in _places(root, inner, "GTSRB_Final_Training_Images"):
            samples = [(path, label) for label in range(len(CLASSES)) for path in _frames(folder, label)]
            if samples:
                return _read(samples, "train", folder, cache)
    return None


def _test(root: Path) -> ImageSet:
    cache = root / f"gtsrb-test-{SIDE}x{SIDE}.safetensors"
    known = _cached(cache, "test")
    if known is not None:
        return known
    missing = [path for path in _test_files(root) if not path.exists()]
    if missing:
        fetch("gtsrb", missing, torchvision_datasets().GTSRB, root, split="test")
    listing, folder = _test_files(root)
    return _read(_labelled(listing, folder), "test", folder, cache)


def _places(root: Path, inner: str, archive: str) -> Iterator[Path]:
    """The existing folders in which a part may lie: under `root` as unpacked, or in folders named as the archives."""
    for base in (root, root / "gtsrb"):
        for outer in (base, base / archive):
            for folder in (outer / "GTSRB" / inner, outer / inner):
                if folder.is_dir() and folder != root / "Training":  # a name that any data set may have
                    yield folder


def _test_files(root: Path) -> tuple[Path, Path]:
    """The list of the test images' classes and the folder of the images: where they are, or where they should be."""
    here = root / "gtsrb"
    folder = next(_places(root, "Final_Test/Images", "GTSRB_Final_Test_Images"), here / "GTSRB/Final_Test/Images")
    beside = [base / part for base in (root, here) for part in ("", "GTSRB", "GTSRB_Final_Test_GT")]
    listings = (place / "GT-final_test.csv" for place in (folder, *beside))
    return next((path for path in listings if path.is_file()), here / "GT-final_test.csv"), folder


def _frames(folder: Path, label: int) -> list[Path]:
    return sorted((folder / f"{label:05d}").glob("*.ppm"))


def _labelled(listing: Path, folder: Path) -> list[Sample]:
    """The test images with their classes."""
    try:
        with listing.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file, delimiter=";", skipinitialspace=True))
        return [(folder / Path(row["Filename"]).name, int(row["ClassId"])) for row in rows]
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise DamagedFile(f"{listing} is not the list of the test images' classes ({error!r})") from error


def _read(samples: list[Sample], part: str, folder: Path, cache: Path) -> ImageSet:
    labels = torch.tensor([label for _, label in samples], dtype=torch.long)
    problem = _unlike(labels, part)
    if problem:
        raise DamagedFile(f"GTSRB {part} in {folder} {problem}: unpack the archive again, nothing needs to go")
    pixels = torch.empty(len(samples), 3, SIDE, SIDE, dtype=torch.uint8)
    for place, (path, _) in enumerate(track(samples, f"gtsrb {part}")):
        if not path.is_file():
            raise DamagedFile(f"missing {path.name} at {path}: unpack the archive again, nothing needs to go")
        pixels[place] = read_picture(path, "RGB", (SIDE, SIDE))
    tensors = {"pixels": pixels, "labels": labels}
    if part == "train":
        tensors["tracks"] = torch.tensor([1000 * label + int(path.stem.split("_")[0]) for path, label in samples])
    keep(cache, tensors, f"GTSRB {part}, bilinear to {SIDE}x{SIDE}")
    return ImageSet(pixels, labels, CLASSES, tensors.get("tracks"))


def _unlike(labels: Tensor, part: str) -> str:
    """What is wrong with the number of images, in words; nothing if it is right."""
    expected = COUNTS[part]
    if len(labels) not in expected:
        return f"has {len(labels)} images; " + " or ".join(f"{count:,}" for count in expected) + " are published"
    found = torch.bincount(labels, minlength=len(CLASSES)).tolist()
    known = PER_CLASS.get(len(labels))
    if known is None or tuple(found) == known:
        return ""
    label = next(place for place in range(len(CLASSES)) if found[place] != known[place])
    return f"has {found[label]} images of class {label}, not {known[label]}"


def _cached(cache: Path, part: str) -> ImageSet | None:
    """The images of a cache, or None if there is none, or one to be made again."""
    try:
        tensors, _ = load_tensors(cache)
        pixels, labels = tensors["pixels"], tensors["labels"]
        if pixels.dtype != torch.uint8 or pixels.shape[1:] != (3, SIDE, SIDE) or _unlike(labels, part):
            return None
        return ImageSet(pixels, labels, CLASSES, tensors["tracks"] if part == "train" else None)
    except (OSError, ValueError, LookupError, RuntimeError):
        return None
