"""Files that are whole or absent: atomic writes, and tensors without pickle.

Tensor files are safetensors. Their header carries plain JSON and a SHA-256 over everything in
the file, so that a truncated, altered or foreign file is refused instead of half-read.
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


class DamagedFile(ValueError):
    """The file is not what was written: truncated, altered, or of another kind."""


def write_atomically(path: Path | str, content: bytes | str, *, mode: int = 0o644) -> Path:
    """Write `content` to `path` so that a reader, or a crash, sees the old file or the new one.

    `mode` holds from the first byte on: a file that only its owner may read never was anybody else's.
    """
    path = Path(path)
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


def save_tensors(path: Path | str, tensors: Mapping[str, Tensor], header: Mapping[str, Any]) -> str:
    """Write tensors and a JSON-ready `header` to one safetensors file; return the hash of the tensors."""
    whole = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    digest = tensors_hash(whole)
    text = json.dumps(header, sort_keys=True)
    seal = hashlib.sha256(f"{digest}{text}".encode()).hexdigest()
    write_atomically(path, save(whole, metadata={"header": text, "sha256": digest, "seal": seal}))
    return digest


def load_tensors(path: Path | str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read back what `save_tensors` wrote, after checking every byte of it.

    Raises:
        FileNotFoundError: There is no such file.
        DamagedFile: The file is not exactly what was written.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no file {path}")
    try:
        with safe_open(path, framework="pt") as file:
            meta = file.metadata() or {}
            # Copies: what safetensors gives are views of the file, which could change after the check.
            tensors = {name: file.get_tensor(name).clone() for name in sorted(file.keys())}
    except (SafetensorError, OSError, ValueError) as error:
        raise DamagedFile(f"{path} cannot be read as a safetensors file: {error}") from error
    digest, text = tensors_hash(tensors), meta.get("header", "")
    if meta.get("sha256") != digest or meta.get("seal") != hashlib.sha256(f"{digest}{text}".encode()).hexdigest():
        raise DamagedFile(f"{path} does not match its own SHA-256; do not use it")
    return tensors, json.loads(text)
