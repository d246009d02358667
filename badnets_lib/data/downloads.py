"""What the loaders of published data sets share: where files live, how they are fetched, and what is said if not."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from ..files import DamagedFile, as_path, save_tensors


class DataUnavailable(RuntimeError):
    """A data set is neither on this machine nor to be had from the network."""


def data_folder(root: Path | str | None = None) -> Path:
    """Where data sets live: `root`, else $BADNETS_DATA, else ~/.cache/badnets."""
    if root is None:
        root = os.environ.get("BADNETS_DATA") or "~/.cache/badnets"
    return as_path(root).expanduser()


def fetch(name: str, missing: Sequence[Path], make: Callable[..., Any], root: Path, **settings: Any) -> Any:
    """A torchvision data set from files in `root`, downloaded if some are missing.

    Raises:
        DataUnavailable: Files are missing, and cannot be had; they are named.
    """
    try:
        return make(root=str(root), download=bool(missing), **settings)
    except (OSError, RuntimeError) as error:
        raise unavailable(name, missing, f"the download failed ({error})" if missing else str(error)) from error


def unavailable(name: str, missing: Sequence[Path], why: str) -> DataUnavailable:
    """The error that names what is missing and where it was looked for."""
    places = "".join(f"missing {path.name} at {path}; " for path in missing[:4])
    more = f"and {len(missing) - 4} more; " if len(missing) > 4 else ""
    return DataUnavailable(
        f"cannot load {name!r}: {places}{more}{why}. Set BADNETS_DATA or root=... to the folder that holds the files. "
        "The data set 'mnist5k' needs no download."
    )


def check_hashes(files: Mapping[Path, str]) -> list[Path]:
    """The missing ones of some files whose MD5 is published.

    Raises:
        DamagedFile: A file is there, but is another one.
    """
    for path, expected in files.items():
        if path.is_file():
            digest = hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
            if digest != expected:
                raise DamagedFile(f"{path} is damaged: MD5 {digest}, expected {expected}; put the published file there")
    return [path for path in files if not path.is_file()]


def keep(cache: Path, tensors: dict[str, Tensor], source: str) -> None:
    """Write a cache, if that is possible: a read-only folder costs speed, not the data."""
    try:
        save_tensors(cache, tensors, {"source": source})
    except OSError:
        pass
