"""Running a network many times from one layer on: what comes before it is computed once and handed out again."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..data.images import Images, StoredImages
from ..models.inference import Logits, evaluating, logits_of, place, placement


@dataclass(frozen=True, eq=False)
class Call:
    """One call of a layer while a network answers one image.

    Attributes:
        name: The layer.
        number: 0 for its first call, 1 for its second, ...
        start: When the call began, counted in beginnings and ends of calls.
        end: When it ended.
        given: Its first argument, and how often that had been edited in place.
        output: What it returned, and how often that had been edited in place.
    """

    name: str
    number: int
    start: int
    end: int
    given: tuple[Any, int]
    output: tuple[Any, int]

    def within(self, other: Call) -> bool:
        """Whether the other call had begun before this one, and ended after it."""
        return other.start < self.start and self.end < other.end

    def is_given_what(self, other: Call) -> bool:
        """Whether the argument is what the other call returned, unchanged."""
        return self.given[0] is other.output[0] and self.given[1] == other.output[1]


def calls_of(model: nn.Module, x: StoredImages) -> tuple[Call, ...]:
    """Every call of every layer while the network answers the first image, in the order in which they end.

    Raises:
        ValueError: The network is scripted: its layers cannot be listened to.
    """
    if isinstance(model, torch.jit.ScriptModule):
        raise ValueError("nobody can listen to the layers of a scripted network: pass the module that it was made from")
    calls: list[Call] = []
    begun: list[tuple[int, tuple[Any, int]]] = []
    numbers: Counter[str] = Counter()

    def begin(_part: nn.Module, given: tuple[Any, ...]) -> None:
        begun.append((2 * len(calls) + len(begun), _with_edits(given[0] if given else None)))

    def end(name: str) -> Callable[[nn.Module, Any, Any], None]:
        def hear(_part: nn.Module, _given: Any, output: Any) -> None:
            start, given = begun.pop()
            now = 2 * len(calls) + len(begun) + 1
            calls.append(Call(name, numbers[name], start, now, given, _with_edits(output)))
            numbers[name] += 1

        return hear

    parts = [(name, part) for name, part in model.named_modules() if name]
    hooks = [part.register_forward_pre_hook(begin) for _, part in parts]
    hooks += [part.register_forward_hook(end(name)) for name, part in parts]
    try:
        with torch.no_grad(), evaluating(model):
            model(place(x[:1], placement(model)))
    finally:
        for hook in hooks:
            hook.remove()
    return tuple(calls)


def _with_edits(value: Any) -> tuple[Any, int]:
    return value, value._version if isinstance(value, Tensor) else 0


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
