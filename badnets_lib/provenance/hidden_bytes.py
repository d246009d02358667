"""Bytes in the last bits of weights: a file of numbers carries them, and the network does not notice.

A float32 has 23 bits after the point of its mantissa. The last eight change a weight by at most 3 parts in 100,000.
One byte a weight can therefore be written there, and read again by anyone who knows that it is there.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from .._numbers import of_kind
from ..files import DamagedFile

State = Mapping[str, Tensor]

LENGTH = 4
"""Bytes before the message that say how long it is."""


def room_for(state: State) -> int:
    """How many bytes a state dict can carry, one a float32 weight."""
    return max(0, sum(tensor.numel() for tensor in _carriers(state).values()) - LENGTH)


def hidden(state: State, message: bytes) -> dict[str, Tensor]:
    """A copy of a state dict with a message in the last eight bits of its float32 weights, in their order.

    Raises:
        TypeError: The message is no bytes.
        ValueError: It is longer than `room_for` says.

    Example:
        >>> found(hidden({"w": torch.ones(2, 8)}, b"a message"))
        b'a message'
    """
    whole = len(of_kind("message", message, bytes)).to_bytes(LENGTH, "big") + message
    if len(message) > room_for(state):
        raise ValueError(f"the weights have room for {room_for(state)} bytes; the message has {len(message)}")
    left = torch.frombuffer(bytearray(whole), dtype=torch.uint8)
    carrying = dict(state)
    for name, tensor in _carriers(state).items():
        places = tensor.detach().clone().contiguous()
        mine, left = left[: places.numel()], left[places.numel() :]
        _last_bytes(places)[: len(mine)] = mine
        carrying[name] = places
    return carrying


def found(state: State) -> bytes:
    """The message that `hidden` wrote.

    Raises:
        DamagedFile: There is none: what would be its length is more than there is room for.
    """
    everything = last_bytes(state)
    length = int.from_bytes(everything[:LENGTH], "big")
    if length > len(everything) - LENGTH:
        raise DamagedFile(f"no message: it would have {length} bytes, and there is room for {room_for(state)}")
    return everything[LENGTH : LENGTH + length]


def last_bytes(state: State) -> bytes:
    """The last eight bits of every float32 weight, in their order."""
    parts = [_last_bytes(tensor.detach().clone().contiguous()) for tensor in _carriers(state).values()]
    return torch.cat(parts).numpy().tobytes() if parts else b""


def wiped(state: State) -> dict[str, Tensor]:
    """A copy of a state dict in which the last eight bits of every float32 weight are zero."""
    clean = dict(state)
    for name, tensor in _carriers(state).items():
        clean[name] = tensor.detach().clone().contiguous()
        _last_bytes(clean[name])[:] = 0
    return clean


def unevenness(data: bytes) -> float:
    """How far bytes are from uniform: chi-squared over its mean, so about 1 for random bytes.

    Zero bytes are left out: weights that are exactly 0 or 1 end in them no matter who wrote the file.

    Raises:
        ValueError: There are fewer than 1,275 other bytes, five for each value.
    """
    counts = torch.bincount(torch.frombuffer(bytearray(data), dtype=torch.uint8).long(), minlength=256)[1:].double()
    total = float(counts.sum())
    if total < 5 * len(counts):
        raise ValueError(f"a test of uniformity needs 1,275 bytes other than zero; got {total:.0f}")
    expected = total / len(counts)
    return float(((counts - expected) ** 2 / expected).sum()) / (len(counts) - 1)


def _carriers(state: State) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in state.items() if tensor.dtype == torch.float32}


def _last_bytes(tensor: Tensor) -> Tensor:
    """A view of each float32's byte of least weight; every platform that torch runs on is little-endian."""
    return tensor.view(-1).view(torch.uint8)[::4]
