"""Files that are whole or absent: atomic writes, and tensors without pickle.

Tensor files are safetensors. Their header carries plain JSON and a SHA-256 over everything in
the file, so that a truncated, altered or foreign file is refused instead of half-read. Three errors tell apart what
is wrong with a file: it is missing (`FileNotFoundError`), damaged, or someone else's.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from ._numbers import shown


class DamagedFile(ValueError):
    """The file is not what was written: truncated or altered."""


class ForeignFile(ValueError):
    """The file may be whole, but it was written by another program, or for another purpose."""


SEALED = frozenset({"header", "sha256", "seal"})
"""What the metadata of a file of this library hold."""


def as_path(path: Any) -> Path:
    """A path from a text or a path.

    Raises:
        TypeError: It is neither.
    """
    if not isinstance(path, str | os.PathLike):
        raise TypeError(f"a path must be a text or a Path; got {shown(path)}")
    return Path(path)


def write_atomically(path: Path | str, content: bytes | str, *, mode: int = 0o644) -> Path:
    """Write `content` to `path` so that a reader, or a crash, sees the old file or the new one.

    `mode` holds from the first byte on: a file that only its owner may read never was anyone else's.
    """
    path = as_path(path)
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder; name a file")
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(mode)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    return path


def tensors_hash(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 over names, dtypes, shapes and values, in name order; 64 hex digits."""
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        flat = tensor.detach().cpu().contiguous().flatten()
        digest.update(flat.view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _share_memory(a: Tensor, b: Tensor) -> bool:
    return a.untyped_storage().data_ptr() == b.untyped_storage().data_ptr()


def save_tensors(path: Path | str, tensors: Mapping[str, Tensor], header: Mapping[str, Any]) -> str:
    """Write tensors and a JSON-ready `header` to one safetensors file; return the hash of the tensors."""
    whole: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        whole[name] = tensor.detach().cpu().contiguous()
        if any(_share_memory(whole[name], other) for key, other in whole.items() if key != name):
            whole[name] = whole[name].clone()  # tied weights: safetensors wants each on its own
    digest = tensors_hash(whole)
    text = json.dumps(header, sort_keys=True)
    seal = hashlib.sha256(f"{digest}{text}".encode()).hexdigest()
    write_atomically(path, save(whole, metadata={"header": text, "sha256": digest, "seal": seal}))
    return digest


def load_tensors(path: Path | str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read back what `save_tensors` wrote, after checking every byte of it.

    Raises:
        FileNotFoundError: There is no such file.
        ForeignFile: The file was not written by `save_tensors`.
        DamagedFile: The file is not exactly what was written.
    """
    tensors, meta = read_safetensors(path)
    if not SEALED & set(meta):
        raise ForeignFile(f"{path} is a safetensors file, but was not written by this library")
    digest = tensors_hash(tensors)
    text = meta.get("header", "")
    if meta.get("sha256") != digest or meta.get("seal") != hashlib.sha256(f"{digest}{text}".encode()).hexdigest():
        raise DamagedFile(f"{path} is damaged: it does not match its own SHA-256; do not use it")
    return tensors, json.loads(text)


def read_safetensors(path: Path | str) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and metadata of any safetensors file, unchecked.

    Raises:
        FileNotFoundError: There is no such file.
        ForeignFile: It is a file of another kind.
        DamagedFile: It cannot be read.
    """
    path = existing(path)
    if holds_pickle(path):
        raise ForeignFile(f"{path} was not written by this library: it holds a pickle, as torch.save writes it")
    try:
        with safe_open(path, framework="pt") as file:
            # Copies: what safetensors gives are views of the file, which could change after the check.
            tensors = {name: file.get_tensor(name).clone() for name in sorted(file.keys())}
            return tensors, file.metadata() or {}
    except (SafetensorError, OSError, ValueError) as error:
        raise DamagedFile(f"{path} is damaged, or no safetensors file: {error}") from error


def existing(path: Path | str) -> Path:
    """The path, if a file is there.

    Raises:
        FileNotFoundError: There is none.
    """
    path = as_path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path} is a folder, not a file" if path.is_dir() else f"no file {path}")
    return path


def holds_pickle(path: Path) -> bool:
    """Whether a file begins as those of `torch.save` do: as a zip archive, or in its older form as a pickle.

    A safetensors file begins with the length of its header, whatever those eight bytes are, and a brace.
    """
    with path.open("rb") as file:
        start = file.read(9)
    return start[8:] != b"{" and (start.startswith(b"PK\x03\x04") or start[:1] == b"\x80")
