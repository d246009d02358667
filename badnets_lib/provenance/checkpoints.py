"""Save and load networks without pickle, together with a statement of where they came from."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from ..files import DamagedFile, ForeignFile, load_tensors, save_tensors, tensors_hash
from ..models.inference import check_network, unwrapped
from ..models.networks import build as from_spec, spec_of
from ..models.quantisation import Quantised
from .weights import NetworkBuilder, built, check_hash, load_weights


def weights_hash(model: nn.Module) -> str:
    """SHA-256 over the names, types, shapes and values of a network's state; 64 hex digits.

    The wrappers of `torch.compile` and `DataParallel` do not count: it is the hash of the network inside.
    """
    return tensors_hash(unwrapped(check_network(model)).state_dict())


def save_model(path: Path | str, model: nn.Module, origin: dict[str, Any]) -> str:
    """Write a network and its origin to one .safetensors file, whole or not at all.

    The weights of any network can be saved. The class is noted as information only: anyone who loads a network that is
    none of this library's says what builds it, see `load_model`.

    Args:
        path: The file.
        model: The network. Of a compiled one, and of one in `DataParallel`, the network inside is saved.
        origin: Where the weights came from, as JSON-ready data: data, plan, settings, seed.

    Returns:
        The weights' SHA-256. Publish it apart from the file: anyone who can replace the file can
        replace the hash inside it too.

    Raises:
        TypeError: It is no network, its state is not made of tensors, or `origin` is no dict of JSON-ready data.
        ValueError: `origin` is empty.
    """
    network = unwrapped(check_network(model))
    if isinstance(network, Quantised):
        raise TypeError("an int8 graph cannot be saved: save the network that it was made from, and quantise it again")
    state = network.state_dict()
    strangers = [name for name, each in state.items() if not isinstance(each, Tensor)]
    if strangers:
        raise TypeError(f"{type(network).__name__} keeps state that is no tensor: {', '.join(strangers)}")
    if not isinstance(origin, dict):
        raise TypeError(f"origin must be a dict of JSON-ready data; got {type(origin).__name__}")
    if not origin:
        raise ValueError("origin must say where the weights came from; got nothing")
    try:
        json.dumps(origin)
    except TypeError as error:
        raise TypeError(f"origin must be JSON-ready data; {error}") from error
    kind = f"{type(network).__module__}:{type(network).__qualname__}"
    return save_tensors(path, state, {"class": kind, "spec": spec_of(network), "origin": origin})


def load_model(
    path: Path | str, build: NetworkBuilder | None = None, *, sha256: str | None = None
) -> tuple[nn.Module, dict[str, Any]]:
    """(network in evaluation mode, origin) from a file that `save_model` wrote.

    Nothing that the file names is imported or run.

    Args:
        path: The file.
        build: What builds the network: a function without arguments, or the import path of one,
            "package.module:factory". Not needed for networks of this library.
        sha256: The weights' hash as published by someone you trust. Without it the file is only
            checked against itself: that finds damage, not a swap.

    Raises:
        FileNotFoundError: There is no such file.
        ForeignFile: The file was not written by `save_model`.
        DamagedFile: The file is damaged, or its hash is not the one you gave.
        ValueError: `build` is needed, or builds a network that the weights do not fit.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "net.safetensors"
        >>> digest = save_model(path, nn.Linear(2, 3), {"data": "none"})
        >>> load_model(path, build=lambda: nn.Linear(2, 3), sha256=digest)[1]
        {'data': 'none'}
    """
    tensors, header = load_tensors(path)
    check_hash(path, tensors_hash(tensors), sha256)
    origin, spec = header.get("origin"), header.get("spec")
    if not isinstance(origin, dict) or not origin:
        raise ForeignFile(f"{path} was written by this library, but holds no network")
    try:
        network = built(_from_spec(path, spec, header.get("class")) if build is None else build)
        return load_weights(network, tensors).eval(), origin
    except (TypeError, ValueError) as error:
        if build is None and spec is not None:
            raise DamagedFile(f"{path} does not hold the network that it names: {error}") from error
        raise


def _from_spec(path: Path | str, spec: Any, kind: Any) -> Callable[[], nn.Module]:
    if spec is None:
        raise ValueError(f"{path} holds a network of class {kind}: say what builds it, load_model(path, build=...)")
    if not isinstance(spec, dict):
        raise ValueError(f"its spec is {spec!r}")
    return lambda: from_spec(spec)
