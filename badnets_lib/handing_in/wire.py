"""Values as bytes, between the grader and a student's code: plain data, raw tensors, never a pickle.

A message is a length, JSON, and the bytes of the tensors that the JSON names, in order. What a
student's code sends is read with `trusted=False`: only plain data, tensors, counts and networks of the
library are made from it, and every size is checked before anything is allocated.
"""

from __future__ import annotations

import json
import numbers
import struct
from collections.abc import Callable
from dataclasses import asdict
from decimal import Decimal
from typing import Any

import torch
from torch import Tensor, nn

from ..counts import Proportion
from ..data.images import ImageSet
from ..models.networks import PaperCNN, SmallCNN, build
from ..poisoning import Attack, Goal, PoisonPlan
from ..triggers import REGISTERED, from_spec, to_spec

LIMIT = 32 * 2**20
"""Bytes of a message at most."""

PLAIN_LIMIT = 2**22
"""Bytes of its JSON at most: made into lists, they take twenty times as many."""

DEPTH = 12
"""Lists within lists at most."""

WIDTH = 256
"""The largest number that may stand in the spec of a network made from a reply."""

PLAIN = (type(None), bool, int, float, str)
COLLECTIONS: dict[str, Any] = {"list": list, "tuple": tuple, "dict": dict, "set": set}
"""Kinds of values that cross as they are; those that are made from them, such as a named tuple, cross as these."""

DTYPES = {
    str(dtype).removeprefix("torch."): dtype
    for dtype in (torch.float32, torch.float64, torch.float16, torch.int64, torch.int32, torch.uint8, torch.bool)
}


class Malformed(ValueError):
    """The bytes are not a message, or the value cannot be one."""


def pack(value: Any) -> bytes:
    """A message that holds `value`.

    Raises:
        Malformed: The value is of a kind that does not cross, too deep or too large.
    """
    blobs: list[bytes] = []
    try:
        text = json.dumps(_down(value, blobs, DEPTH)).encode()
    except (ValueError, RecursionError) as error:
        raise Malformed(str(error)) from None
    message = struct.pack(">I", len(text)) + text + b"".join(blobs)
    for size, most in ((len(text), PLAIN_LIMIT), (len(message), LIMIT)):
        if size > most:
            raise Malformed(f"a value of {size:,} bytes is more than the {most:,} that cross")
    return message


def unpack(message: bytes, *, trusted: bool) -> Any:
    """The value in a message.

    Args:
        message: What `pack` gave, or anything.
        trusted: The grader sent it: triggers, goals, plans and image sets may be made from it too.

    Raises:
        Malformed: It is not a message, or holds more than an untrusted one may.
    """
    try:
        (length,) = struct.unpack_from(">I", message)
        if length > PLAIN_LIMIT:
            raise Malformed(f"{length:,} bytes of JSON are more than the {PLAIN_LIMIT:,} that cross")
        plain = json.loads(message[4 : 4 + length].decode())
        if len(message) < 4 + length:
            raise Malformed("the message ends early")
        blobs = _Blobs(message[4 + length :])
        value = _up(plain, blobs, DEPTH, TRUSTED if trusted else UNTRUSTED)
    except Malformed:
        raise
    except Exception as error:  # whatever these bytes were made to do, they are not a message
        raise Malformed(f"not a message: {type(error).__name__}") from None
    if blobs.rest():
        raise Malformed("the message holds bytes that belong to no tensor")
    return value


def inside(value: Any) -> Any:
    """What of an argument a function could change in place, as values that cross; None for what has nothing such.

    A network and a set of images give their tensors by name.
    """
    value = _plain(value)
    if isinstance(value, Tensor):
        return value.detach()
    if isinstance(value, nn.Module):
        return dict(value.state_dict())
    if isinstance(value, ImageSet):
        return {"x": value.x, "y": value.y}
    if isinstance(value, dict):
        return {key: inside(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [inside(entry) for entry in value]
    return value if isinstance(value, set | Proportion) or type(value) in PLAIN else None


def changed(before: Any, after: Any) -> bool:
    """Whether two results of `inside` differ; a number that is none equals itself."""
    if type(before) is not type(after):
        return True
    if isinstance(before, Tensor):
        same = before.shape == after.shape and before.dtype == after.dtype
        return not (same and torch.equal(before.nan_to_num(7.25), after.nan_to_num(7.25)))
    if isinstance(before, dict):
        return list(before) != list(after) or any(changed(before[key], after[key]) for key in before)
    if isinstance(before, list):
        return len(before) != len(after) or any(map(changed, before, after))
    return bool(before != after and (before == before or after == after))


class _Blobs:
    """The bytes behind the JSON, handed out in order."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def take(self, count: int) -> bytearray:
        if not 0 <= count <= self.rest():
            raise Malformed("a tensor is longer than the message")
        self.at += count
        return bytearray(self.data[self.at - count : self.at])

    def rest(self) -> int:
        return len(self.data) - self.at


def _down(value: Any, blobs: list[bytes], depth: int) -> Any:
    if depth == 0:
        raise Malformed(f"lists within lists, more than {DEPTH} deep")
    value = _plain(value)
    if type(value) in PLAIN:
        return value
    for name, kind in COLLECTIONS.items():
        if isinstance(value, kind):
            entries = value.items() if kind is dict else value
            return {name: [_down(entry, blobs, depth - 1) for entry in entries]}
    if isinstance(value, Tensor):
        return {"tensor": _raw(value, blobs)}
    for name, (kinds, parts, _) in TRUSTED.items():
        if type(value) in kinds:
            return {name: _down(parts(value), blobs, depth - 1)}
    allowed = "numbers, text, tensors, lists, dictionaries or sets"
    raise Malformed(f"a {type(value).__name__} does not cross; return {allowed}")


def _raw(tensor: Tensor, blobs: list[bytes]) -> list[Any]:
    """Type and shape of a tensor, whose bytes are added to the others."""
    flat = tensor.detach().cpu().contiguous()
    kind = str(flat.dtype).removeprefix("torch.")
    if kind not in DTYPES:
        raise Malformed(f"a tensor of {flat.dtype} does not cross; use one of {', '.join(DTYPES)}")
    blobs.append(flat.flatten().view(torch.uint8).numpy().tobytes() if flat.numel() else b"")
    return [kind, list(flat.shape)]


def _plain(value: Any) -> Any:
    """NumPy's arrays as tensors, all numbers and texts as Python's own; anything else as it is."""
    if type(value).__module__ == "numpy":
        return torch.from_numpy(value.copy()) if hasattr(value, "shape") and value.shape else value.item()
    if type(value) in PLAIN or isinstance(value, Tensor):
        return value
    if isinstance(value, numbers.Integral):
        return int(value)
    if isinstance(value, numbers.Real | Decimal):
        return float(value)
    if isinstance(value, str):
        return str.__str__(value)
    return set(value) if isinstance(value, frozenset) else value


def _up(plain: Any, blobs: _Blobs, depth: int, records: Records) -> Any:
    if depth == 0:
        raise Malformed(f"lists within lists, more than {DEPTH} deep")
    if not isinstance(plain, dict | list):
        return plain
    ((kind, held),) = dict(plain).items()
    if kind == "tensor":
        return _tensor(held[0], held[1], blobs)
    if kind in COLLECTIONS:
        return COLLECTIONS[kind](_up(entry, blobs, depth - 1, records) for entry in held)
    if kind not in records:
        raise Malformed(f"a {kind} may not cross here")
    return records[kind][2](_up(held, blobs, depth - 1, records))


def _tensor(dtype: str, shape: list[int], blobs: _Blobs) -> Tensor:
    """A tensor from raw bytes. A bool is any byte but 0; a number that is not one stays what it is."""
    count = 1
    if len(shape) > DEPTH:
        raise Malformed(f"a tensor cannot have {len(shape)} dimensions")
    for side in shape:
        if type(side) is not int or not 0 <= side <= LIMIT:
            raise Malformed(f"a tensor cannot have the shape {shape}")
        count *= side
    kind = torch.uint8 if dtype == "bool" else DTYPES[dtype]
    data = blobs.take(count * kind.itemsize)
    tensor = torch.frombuffer(data, dtype=kind) if data else torch.empty(0, dtype=kind)
    return (tensor != 0 if dtype == "bool" else tensor).reshape(shape)


def _network(parts: tuple[dict[str, Any], dict[str, Tensor]]) -> nn.Module:
    """A network of the library from its spec and weights."""
    spec, weights = parts
    if any(type(size) is int and size > WIDTH for size in spec.values()):
        raise Malformed(f"a network this large does not cross: {spec}")
    with torch.random.fork_rng(devices=[]):  # the first weights are drawn, then overwritten
        network = build(spec)
    network.load_state_dict(weights)
    return network.eval()


Records = dict[str, tuple[tuple[type[Any], ...], Callable[[Any], Any], Callable[[Any], Any]]]
"""By name: the types, the parts of one as values that cross, and how it is made from them."""

UNTRUSTED: Records = {
    "proportion": ((Proportion,), lambda p: [p.hits, p.trials], lambda parts: Proportion(*parts)),
    "network": ((SmallCNN, PaperCNN), lambda n: (n.spec, dict(n.state_dict())), _network),
}

TRUSTED: Records = UNTRUSTED | {
    "images": (
        (ImageSet,), lambda s: [s.x, s.y, s.classes, s.groups], lambda parts: ImageSet(*parts)
    ),
    "trigger": (tuple(REGISTERED.values()), to_spec, from_spec),
    "goal": ((Goal,), asdict, lambda fields: Goal(**fields)),
    "attack": ((Attack,), lambda attack: [attack.trigger, attack.goal], lambda parts: Attack(*parts)),
    "plan": ((PoisonPlan,), PoisonPlan.to_json, PoisonPlan.from_json),
}  # fmt: skip
