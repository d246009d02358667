"""Save and load networks without pickle, together with a statement of where they came from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..files import DamagedFile, load_tensors, save_tensors, tensors_hash
from ..models.networks import build


def weights_hash(model: nn.Module) -> str:
    """SHA-256 over the names, shapes and values of a network's state; 64 hex digits."""
    return tensors_hash(model.state_dict())


def save_model(path: Path | str, model: nn.Module, origin: dict[str, Any]) -> str:
    """Write a network and its origin to one .safetensors file, whole or not at all.

    Args:
        path: The file.
        model: A network of `badnets_lib.models` (it carries the spec that rebuilds it).
        origin: Where the weights came from, as JSON-ready data: data, plan, settings, seed.

    Returns:
        The weights' SHA-256. Publish it apart from the file: whoever can replace the file can
        replace the hash inside it too.

    Raises:
        TypeError: The network has no `spec`.
        ValueError: `origin` is empty.
    """
    spec = getattr(model, "spec", None)
    if not isinstance(spec, dict):
        raise TypeError(f"{type(model).__name__} has no spec to rebuild it from; use a network of badnets_lib.models")
    if not origin:
        raise ValueError("origin must say where the weights came from; got nothing")
    return save_tensors(path, model.state_dict(), {"spec": spec, "origin": origin})


def load_model(path: Path | str, *, sha256: str | None = None) -> tuple[nn.Module, dict[str, Any]]:
    """(network in evaluation mode, origin) from a file that `save_model` wrote.

    Args:
        path: The file.
        sha256: The weights' hash as published by whoever you trust. Without it the file is only
            checked against itself: that finds damage, not a swap.

    Raises:
        FileNotFoundError: There is no such file.
        DamagedFile: The file is damaged, or its hash is not the one you gave.
    """
    tensors, header = load_tensors(path)
    found = tensors_hash(tensors)
    if sha256 is not None and found != sha256:
        raise DamagedFile(f"{path} holds weights {found}, expected {sha256}")
    try:
        with torch.random.fork_rng(devices=[]):  # the first weights are drawn, then overwritten
            model = build(header["spec"])
        model.load_state_dict(tensors)
        origin = dict(header["origin"])
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise DamagedFile(f"{path} is a tensor file, but not a saved network: {error}") from error
    return model.eval(), origin
