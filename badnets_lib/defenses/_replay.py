"""Running a network many times from one layer on: what comes before it is computed once and handed out again."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from ..data.images import Images
from ..models.inference import Logits, logits_of
from ..models.layers import Call


def calls_before(calls: Sequence[Call], last: Call) -> dict[str, tuple[int, ...]]:
    """The layers that have answered when a call ends, that call included, and which of their calls those are.

    Layers inside of a layer that has answered are left out.
    """
    done = [call for call in calls if call.end <= last.end]
    wanted: dict[str, tuple[int, ...]] = {}
    for call in done:
        if not any(call.within(other) for other in done):
            wanted[call.name] = (*wanted.get(call.name, ()), call.number)
    return wanted


@contextmanager
def replaying(network: nn.Module, before: Mapping[str, Sequence[int]], x: Images) -> Iterator[Callable[[], Logits]]:
    """A function that gives the logits of some images again and again, when only the end of the network changes.

    What some layers return is recorded, and handed out again whenever the function runs the network. If the answers
    do not come out the same in this way, for instance because the network edits a record in place, it is run from its
    images each time.

    Args:
        network: A network of one's own, in evaluation mode, without gradients.
        before: Which calls of which layers are recorded, from `calls_before`. Forward hooks of these layers may change
            what is handed out.
        x: Images on the network's device and in its dtype.
    """
    parts = dict(network.named_modules())
    replayed = {name: _Replayed(parts[name], numbers) for name, numbers in before.items()}
    try:
        for name, each in replayed.items():
            parts[name].forward = each
        with torch.no_grad():
            answers = logits_of(network(x))

        def replay() -> Logits:
            for each in replayed.values():
                each.rewind()
            with torch.no_grad():
                return logits_of(network(x))

        if not all(torch.equal(replay(), answers) for _ in range(2)):
            for name in replayed:
                del parts[name].forward
            replayed.clear()
        yield replay
    finally:
        for name in replayed:
            del parts[name].forward


class _Replayed:
    """A layer's `forward`: it computes and records the wanted calls once; rewound, it hands out the records."""

    def __init__(self, part: nn.Module, numbers: Sequence[int]) -> None:
        self.compute = part.forward
        self.numbers = numbers
        self.records: list[Any] = []
        self.recording = True
        self.calls = 0

    def rewind(self) -> None:
        self.recording = False
        self.calls = 0

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        number = self.calls
        self.calls += 1
        if not self.recording and number < len(self.records):
            return self.records[number]
        output = self.compute(*args, **kwargs)
        if self.recording and number in self.numbers:
            self.records.append(copy.deepcopy(output))
        return output
