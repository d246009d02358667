"""Images in folders, one folder a class: the layout of torchvision's `ImageFolder`, read and written."""

from __future__ import annotations

import csv
import json
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from operator import index
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .._numbers import shown
from .._progress import track
from ..files import DamagedFile, as_path, existing
from .images import ImageSet, check_names, stored_like, to_unit
from .own import as_labels
from .pictures import MODES, mode_of, read_picture, to_pil

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".ppm", ".pgm", ".webp", ".tif", ".tiff")
"""Files with these endings are pictures; others are passed over."""

SPLITS = {"train", "training", "val", "valid", "validation", "dev", "test", "testing"}
"""Folders with such names alone are parts of a data set, not classes."""

LISTING = "images.json"
"""What `save_folder` writes beside the classes: their order, the order of the images, and the groups."""


GroupOf = Callable[[Path], Hashable] | Path | str
"""From a picture's path inside the folder to its group, or a csv file that says so."""


def from_folder(
    root: Path | str,
    *,
    size: int | tuple[int, int] | None = None,
    classes: Sequence[str] | None = None,
    groups: GroupOf | None = None,
) -> ImageSet:
    """Read the pictures of a folder that has one folder a class, as uint8.

    Pictures are grey or colour as they are; if a folder holds several kinds, all become colour. They come class by
    class, sorted by name. A folder that `save_folder` wrote comes back in its own order.

    Args:
        root: The folder.
        size: Resize to so many pixels: (height, width), or one number for both. Default: all must have one size.
        classes: The class names, in label order, where they are not simply the folders there, sorted: a test set
            in which some classes have no picture. Folders of other names are then an error.
        groups: What belongs together, such as the frames of one film: a function from the path of a picture inside
            the folder, such as `Path("stop/00003_00012.png")`, to a name for its group, or a csv file with the
            columns "file" (that path) and "group". Equal names are one group, also in different classes. Groups are
            numbered as they come. Default: those that `save_folder` wrote, if it did.

    Raises:
        FileNotFoundError: There is no such folder, or no such csv file.
        TypeError: The groups are neither a function nor a file, or a name of one is None or cannot be compared.
        ValueError: It holds no class folders, or whole data sets (train, test); a class has no pictures; pictures
            differ in size, or do not fit into memory; or the csv file lacks a column or a picture, or gives one two
            groups.
        DamagedFile: A picture cannot be read, or one that `save_folder` wrote is missing; it is named.

    Example:
        >>> folder = test.save_folder("pictures")
        >>> ImageSet.from_folder(folder, groups=lambda path: path.stem[:2]).groups.max()
        tensor(9)
    """
    names, files, written = files_of(root, classes)
    numbers = written if groups is None else _numbered(Path(root).expanduser(), [path for path, _ in files], groups)
    sides = _sides(size)
    shapes = [_header(path) for path, _ in track(files, f"{Path(root).name}: sizes")]
    if sides is None:
        sides = _one_size(files, [shape for shape, _ in shapes])
    modes = {mode for _, mode in shapes}
    mode = modes.pop() if len(modes) == 1 else "RGB"
    try:
        x = torch.empty(len(files), len(mode), *sides, dtype=torch.uint8)
    except RuntimeError as error:
        raise ValueError(f"{len(files)} pictures of {sides[0]}x{sides[1]} pixels do not fit into memory") from error
    for place, (path, _) in enumerate(track(files, Path(root).name)):
        x[place] = read_picture(path, mode, sides)
    return ImageSet(x, torch.tensor([label for _, label in files]), names, numbers)


def files_of(
    root: Path | str, classes: Sequence[str] | None = None
) -> tuple[tuple[str, ...], list[tuple[Path, int]], Tensor | None]:
    """Class names, (file, label) of every picture, and groups, in the order in which `from_folder` reads them.

    Raises:
        FileNotFoundError: There is no such folder.
        ValueError: It holds no class folders, or a class has no pictures.
        DamagedFile: A picture that `save_folder` wrote is missing.
    """
    root = as_path(root).expanduser()
    if not root.is_dir():
        raise FileNotFoundError(f"no folder {root}")
    if classes is not None:
        classes = check_names(classes)
    names, files, groups = _listed(root) if (root / LISTING).is_file() else (*_found(root, classes), None)
    if classes is not None and classes != names:
        raise ValueError(f"{root} was written with the classes {names}; you asked for {classes}")
    return names, files, groups


def save_folder(data: ImageSet, path: Path | str) -> Path:
    """Write every image as a PNG into one folder a class, for other programs and for `from_folder`.

    uint8 images come back exactly, with order, classes, groups and fingerprint. Float images are rounded to 256
    levels. The folder appears under its name when it is whole; a run that was killed leaves a hidden folder.

    Args:
        data: The images.
        path: A folder that does not exist yet, or is empty.

    Returns:
        The folder.

    Raises:
        FileExistsError: There is something already.
        ValueError: A class name cannot be a folder's, or images have not 1, 3 or 4 channels.
    """
    path = as_path(path).expanduser()
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise FileExistsError(f"{path} is there already and not empty; nothing was written")
    for name in data.classes:
        if not name or name != name.strip(". ") or set(name) & set('/\\:*?"<>|') or not name.isprintable():
            raise ValueError(f"the class name {name!r} cannot be the name of a folder")
    if len({name.casefold() for name in data.classes}) < len(data.classes):
        raise ValueError(f"class names must differ by more than upper and lower case; got {data.classes}")
    if data.x.shape[1] not in MODES:
        raise ValueError(f"a picture has 1, 3 or 4 channels; these images have {data.x.shape[1]}")
    path.parent.mkdir(parents=True, exist_ok=True)
    half = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.unfinished-"))
    try:
        _write(data, half)
        half.chmod(0o755)
        half.replace(path)
    except BaseException:
        shutil.rmtree(half, ignore_errors=True)
        raise
    return path


def _write(data: ImageSet, folder: Path) -> None:
    for name in data.classes:
        (folder / name).mkdir()
    digits = len(str(len(data)))
    files = [f"{data.classes[label]}/{place:0{digits}}.png" for place, label in enumerate(data.y.tolist())]
    level = torch.empty(0, dtype=torch.uint8)
    for place, name in enumerate(track(files, f"writing {folder.name}")):
        to_pil(stored_like(to_unit(data.x[place : place + 1]), level)[0]).save(folder / name)
    groups = None if data.groups is None else data.groups.tolist()
    listing = {"classes": list(data.classes), "images": files, "groups": groups}
    (folder / LISTING).write_text(json.dumps(listing, indent=0), encoding="utf-8")


def _listed(root: Path) -> tuple[tuple[str, ...], list[tuple[Path, int]], Tensor | None]:
    """Classes, files with labels, and groups as `save_folder` wrote them down."""
    try:
        listing = json.loads((root / LISTING).read_text(encoding="utf-8"))
        names = tuple(map(str, listing["classes"]))
        labels = {name: label for label, name in enumerate(names)}
        files = [(root / name, labels[Path(name).parent.as_posix()]) for name in listing["images"]]
        groups = None if listing["groups"] is None else as_labels(listing["groups"], "groups")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DamagedFile(f"{root / LISTING} is not what save_folder writes ({error!r})") from error
    present = {path for path in root.glob("*/*") if path.suffix.lower() in SUFFIXES}
    missing = sorted({path for path, _ in files} - present)
    strangers = sorted(present - {path for path, _ in files})
    if missing or strangers:
        what = f"missing {missing[0]}" if missing else f"{strangers[0]} is not in it"
        raise DamagedFile(f"{root} is not as {LISTING} lists it: {what} (without {LISTING}, it is read as it is)")
    return names, files, groups


def _found(root: Path, classes: Sequence[str] | None) -> tuple[tuple[str, ...], list[tuple[Path, int]]]:
    """Class names and files with labels, as they are found."""
    folders = sorted(path.name for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))
    if not folders:
        raise ValueError(f"{root} holds no folders; its layout must be one folder a class, with pictures in it")
    inside = [name for name in folders if (root / name / LISTING).is_file()]
    if inside or (len(folders) > 1 and {name.lower() for name in folders} <= SPLITS):
        one = root / (inside or folders)[0]
        raise ValueError(f"{root} holds data sets, not classes: {', '.join(folders)}; name one of them, such as {one}")
    strangers = sorted(set(folders) - set(folders if classes is None else classes))
    if strangers:
        raise ValueError(f"{root} holds folders that are none of the classes: {', '.join(strangers)}")
    names = tuple(folders if classes is None else classes)
    files = [(path, label) for label, name in enumerate(names) for path in _pictures(root / name)]
    empty = sorted(set(range(len(names))) - {label for _, label in files})
    if empty and (classes is None or not files):
        raise ValueError(f"no pictures in {root / names[empty[0]]} (known endings: {', '.join(SUFFIXES)})")
    return names, files


def _numbered(root: Path, files: Sequence[Path], groups: GroupOf) -> Tensor:
    """The number of each picture's group, [N], in the order in which the groups come."""
    if not callable(groups) and not isinstance(groups, Path | str):
        raise TypeError(
            f"groups must be a function from a picture's path to its group, or a csv file; got {shown(groups)}"
        )
    inside = [path.relative_to(root) for path in files]
    named = [groups(path) for path in inside] if callable(groups) else _from_csv(Path(groups), inside)
    numbers: dict[Hashable, int] = {}
    for path, name in zip(inside, named, strict=True):
        if name is None or not isinstance(name, Hashable):
            raise TypeError(f"the name of a group must be a text, a number or a path; {path} got {shown(name)}")
        numbers.setdefault(name, len(numbers))
    return torch.tensor([numbers[name] for name in named])


def _from_csv(table: Path, files: Sequence[Path]) -> list[str]:
    """The group of each file as a csv file names it; files that are not asked for may stand there too."""
    known: dict[str, str] = {}
    with existing(table.expanduser()).open(encoding="utf-8-sig", newline="") as lines:
        rows = csv.DictReader(lines)
        missing = {"file", "group"} - set(rows.fieldnames or ())
        if missing:
            got = ", ".join(rows.fieldnames or ("none",))
            raise ValueError(f"{table} needs the columns 'file' and 'group'; got {got}")
        for row in rows:
            file, group = row["file"], row["group"]
            if not file or not group:
                raise ValueError(
                    f"{table}, line {rows.line_num}, needs a file and its group; got {shown(file)}, {group!r}"
                )
            if known.setdefault(Path(file).as_posix(), group) != group:
                raise ValueError(f"{table} gives {file} two groups: {known[Path(file).as_posix()]} and {group}")
    absent = [path.as_posix() for path in files if path.as_posix() not in known]
    if absent:
        raise ValueError(f"{table} names no group for {len(absent)} of {len(files)} pictures, the first is {absent[0]}")
    return [known[path.as_posix()] for path in files]


def _pictures(folder: Path) -> list[Path]:
    """The picture files of one class, also in folders below it, sorted."""
    paths = (path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    return sorted(path for path in paths if not path.name.startswith("."))


def _sides(size: Any) -> tuple[int, int] | None:
    if size is None:
        return None
    try:
        sides = (index(size), index(size)) if not isinstance(size, tuple | list) else tuple(map(index, size))
    except TypeError:
        sides = ()
    if len(sides) != 2 or min(sides) < 1:
        raise ValueError(f"size must be a number of pixels, or (height, width); got {shown(size)}")
    return sides


def _header(path: Path) -> tuple[tuple[int, int], str]:
    """(height, width) and mode of a picture, from its first bytes."""
    from PIL import Image

    try:
        with Image.open(path) as picture:
            return picture.size[::-1], mode_of(picture)
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        raise DamagedFile(f"{path} is damaged or no picture ({error})") from error


def _one_size(files: list[tuple[Path, int]], sizes: list[tuple[int, int]]) -> tuple[int, int]:
    """The size of all pictures, in (height, width)."""
    usual = Counter(sizes).most_common(1)[0][0]
    others = [place for place, size in enumerate(sizes) if size != usual]
    if others:
        first = others[0]
        raise ValueError(
            f"pictures need one size: {len(others)} of {len(files)} are not {usual[0]}x{usual[1]}, the first is "
            f"{files[first][0]} with {sizes[first][0]}x{sizes[first][1]}; give size=(height, width)"
        )
    return usual
