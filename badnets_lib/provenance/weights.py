"""Weights from anywhere: opened without running what the file says, and loaded into a network that you build."""

from __future__ import annotations

import importlib
import warnings
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from .._numbers import of_kind, shown
from ..files import DamagedFile, ForeignFile, existing, holds_pickle, load_tensors, read_safetensors, tensors_hash
from ..models.inference import check_network

NetworkBuilder = Callable[[], nn.Module] | str
"""What builds a network: a function without arguments, or the import path of one, "package.module:factory"."""

NESTS = ("state_dict", "model_state_dict", "model", "net")
"""Where training scripts keep a state dict inside of what they save."""

REST = "the rest is left out"

PREFIXES = ("module.", "_orig_mod.")
"""What `DataParallel` and `torch.compile` put before every name."""


def open_weights(path: Path | str) -> tuple[dict[str, Tensor], str]:
    """(state dict, its SHA-256) from anyone's .safetensors, .pth or .pt file; nothing in it is run.

    A file of `torch.save` is read with `weights_only=True`. A state dict inside a larger checkpoint is found, and
    prefixes that `DataParallel` or `torch.compile` put before every name are left out; both are said in a warning.

    Args:
        path: The file; its content counts, not the ending of its name.

    Returns:
        The tensors on the CPU, and their hash: that of `weights_hash` for a network that they are loaded into.

    Raises:
        FileNotFoundError: There is no such file.
        ForeignFile: It holds more than tensors, or no state dict.
        DamagedFile: It cannot be read.
    """
    path = existing(path)
    state = _state_dict(path, _unpickled(path)) if holds_pickle(path) else _tensors(path)
    for prefix in PREFIXES:
        if state and all(name.startswith(prefix) for name in state):
            warnings.warn(f"{path}: every name begins with {prefix!r}, which is left out", stacklevel=2)
            state = {name.removeprefix(prefix): tensor for name, tensor in state.items()}
    return state, tensors_hash(state)


def _tensors(path: Path) -> dict[str, Tensor]:
    """What a safetensors file holds; one of this library's is checked against its seal."""
    try:
        return load_tensors(path)[0]
    except ForeignFile:
        return read_safetensors(path)[0]


def _unpickled(path: Path) -> Any:
    """What `torch.save` wrote, if it is made of tensors and plain containers alone."""
    with path.open("rb") as file:
        zipped = file.read(2) == b"PK"
    if zipped and not zipfile.is_zipfile(path):
        raise DamagedFile(f"{path} is damaged: the archive of torch.save is not complete")
    try:
        with path.open("rb") as file:  # a path that ends in .safetensors would be read as one
            return torch.load(file, map_location="cpu", weights_only=True)  # noqa: TID251
    except Exception as error:
        if "PytorchStreamReader" in str(error) or isinstance(error, EOFError):
            raise DamagedFile(f"{path} is damaged: {error}") from error
        raise ForeignFile(
            f"{path} holds more than tensors, and to unpickle it would run whatever it names: ask for the state dict, "
            "torch.save(model.state_dict(), path)"
        ) from error


def _state_dict(path: Path, content: Any) -> dict[str, Tensor]:
    """The state dict in what a training script saved."""
    if _is_state(content):
        return dict(content)
    nested = content if isinstance(content, Mapping) else {}
    for name in NESTS:
        if _is_state(nested.get(name)):
            others = ", ".join(repr(key) for key, each in nested.items() if key != name and _is_state(each))
            rest = f"the rest is left out, {others} too, which could be another network's" if others else REST
            warnings.warn(f"{path}: the state dict is its entry {name!r}; {rest}", stacklevel=3)
            return dict(nested[name])
    found = f"a dict with {', '.join(map(repr, nested))}" if nested else type(content).__name__
    raise ForeignFile(f"{path} holds no state dict, a dict of names and tensors; it holds {found}")


def _is_state(content: Any) -> bool:
    return _names_tensors(content) and bool(content)


def _names_tensors(content: Any) -> bool:
    return isinstance(content, Mapping) and all(
        isinstance(name, str) and isinstance(each, Tensor) for name, each in content.items()
    )


def load_weights(model: nn.Module, state: Mapping[str, Tensor]) -> nn.Module:
    """Put weights into a network, in place, in the precision that they have; the network is returned.

    Raises:
        TypeError: The model is no network, or the weights are no names with tensors.
        ValueError: They do not fit: the message names what is missing, what is not wanted, and what has another shape.
    """
    check_network(model)
    if not _names_tensors(state):
        hint = "; open_weights(path) gives (state dict, hash)" if isinstance(state, str | Path | tuple) else ""
        raise TypeError(f"weights must be a state dict, names and tensors; got {type(state).__name__}{hint}")
    mine: dict[str, Tensor] = model.state_dict(keep_vars=True)
    shapes = [
        f"{name} {list(state[name].shape)} instead of {list(mine[name].shape)}"
        for name in mine
        if name in state and state[name].shape != mine[name].shape
    ]
    wrong = {
        "missing": [name for name in mine if name not in state],
        "not wanted": [name for name in state if name not in mine],
        "of another shape": shapes,
    }
    if any(wrong.values()):
        listed = "; ".join(f"{what}: {_some(names)}" for what, names in wrong.items() if names)
        raise ValueError(f"the weights do not fit {type(model).__name__}; {listed}")
    for name, tensor in mine.items():
        if tensor.dtype != state[name].dtype:
            tensor.data = tensor.data.to(state[name].dtype)
    model.load_state_dict(dict(state))
    return model


def _some(names: list[str], most: int = 5) -> str:
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + rest


def built(build: NetworkBuilder) -> nn.Module:
    """The network that a builder builds; the global random state is left as it was.

    Raises:
        TypeError: It is no builder, or builds no network.
        ValueError: There is nothing at the import path.
    """
    make = imported(build) if isinstance(build, str) else build
    if isinstance(make, nn.Module) or not callable(make):
        raise TypeError(f"build must be a function that builds the network, or its import path; got {shown(build)}")
    with torch.random.fork_rng(devices=[]):  # the first weights are drawn, then overwritten
        network = make()
    if not isinstance(network, nn.Module):
        raise TypeError(f"build must build a torch.nn.Module; got {type(network).__name__} from {build!r}")
    return network


def imported(path: str) -> Any:
    """What an import path "package.module:name" stands for. Only for paths that you wrote yourself: it runs the module.

    Raises:
        ValueError: It is no such path, or there is nothing there.
    """
    module, colon, name = path.partition(":")
    if not (module and colon and name):
        raise ValueError(f"an import path must look like 'package.module:factory'; got {shown(path)}")
    try:
        found: Any = importlib.import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"nothing to import at {path!r}: {error}") from error
    return found


def check_hash(path: Path | str, found: str, expected: str | None) -> None:
    """Raise unless the weights are those that someone published.

    Raises:
        ValueError: The published hash is no SHA-256.
        DamagedFile: It is another one.
    """
    if expected is None:
        return
    wanted = of_kind("sha256", expected, str).strip().lower()
    if len(wanted) != 64 or set(wanted) - set("0123456789abcdef"):
        raise ValueError(f"sha256 must be 64 hex digits; got {shown(expected)}")
    if found != wanted:
        raise DamagedFile(f"{path} holds weights {found}, expected {wanted}")
