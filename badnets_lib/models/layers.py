"""What a layer of a network says about images: any layer by its name, or what it is given, as "input of NAME".

Which layers there are, and in which order they are called, is found by running the network on two images.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from .._numbers import of_kind
from ..data.images import StoredImages
from .inference import (
    batches_of,
    check_finite,
    check_network,
    check_tensor,
    evaluating,
    laid_out,
    logits_of,
    place,
    placement,
    single,
    unwrapped,
)

INPUT = "input of "
"""Before a layer's name: not what the layer answers is meant, but what it is given."""

Hear = Callable[[Tensor], Tensor]
"""From what a layer says about a batch, [B, ...], to what is kept of it, [B, ...]."""


def flat(said: Tensor) -> Tensor:
    """One row an image, [B, d]: all of it is kept."""
    return said.flatten(1)


def find_layer(model: nn.Module, name: str) -> nn.Module:
    """The submodule of that name, as `model.named_modules()` gives it.

    Raises:
        ValueError: There is none; the message lists those without parts.
    """
    known: dict[str, nn.Module] = dict(unwrapped(model).named_modules())
    if not isinstance(name, str) or not name or name not in known:
        leaves = [each for each, part in known.items() if each and not [*part.children()]]
        raise ValueError(f"no layer {name!r}; known: {', '.join(leaves)}")
    return known[name]


@dataclass(frozen=True, eq=False)
class Call:
    """One call of one layer.

    Attributes:
        name: The layer's name.
        layer: The layer.
        number: 0 for its first call, 1 for its second, ...
        start: When the call began, counted in beginnings and ends of calls.
        end: When it ended.
        given: The first tensor it was called with, if there is one.
        output: What it returned.
        edits: How often both had been edited in place, `given` when the call began and `output` when it ended.
    """

    name: str
    layer: nn.Module
    number: int
    start: int
    end: int
    given: Tensor | None
    output: Any
    edits: tuple[int, int]

    def within(self, other: Call) -> bool:
        """Whether the other call had begun before this one, and ended after it."""
        return other.start < self.start and self.end < other.end

    def is_given_what(self, other: Call) -> bool:
        """Whether it was given what the other call returned, unchanged."""
        return self.given is not None and self.given is other.output and self.edits[0] == other.edits[1]


@torch.no_grad()
def calls_of(model: nn.Module, x: StoredImages) -> tuple[list[Call], Float[Tensor, "two k"]]:
    """Every call of a layer while the network answers some images, in the order in which the calls end; the logits.

    Args:
        model: Any classifier.
        x: Images [N, C, H, W]; two are enough, and the first two are used.
    """
    network = _with_layers(model)
    check_tensor(x)
    heard: list[Call] = []
    begun: list[tuple[int, Tensor | None, int]] = []
    numbers: Counter[str] = Counter()

    def begin(_layer: nn.Module, args: tuple[Any, ...], named: dict[str, Any]) -> None:
        given = next((each for each in (*args, *named.values()) if isinstance(each, Tensor)), None)
        begun.append((2 * len(heard) + len(begun), given, _edits(given)))

    def listener(name: str) -> Callable[..., None]:
        def hear(layer: nn.Module, _args: tuple[Any, ...], _named: dict[str, Any], output: Any) -> None:
            start, given, edits = begun.pop()
            end = 2 * len(heard) + len(begun) + 1
            heard.append(Call(name, layer, numbers[name], start, end, given, output, (edits, _edits(output))))
            numbers[name] += 1

        return hear

    with evaluating(network), _hooks() as hooks:
        for name, layer in network.named_modules():
            if name:
                hooks.append(layer.register_forward_pre_hook(begin, with_kwargs=True))
                hooks.append(layer.register_forward_hook(listener(name), with_kwargs=True))
        for images in batches_of(x[:2], 2):
            logits = logits_of(network(place(images, placement(network))))
    return heard, logits


def _edits(value: Any) -> int:
    """How often a tensor was edited in place; 0 of anything else, and where torch does not count."""
    return value._version if isinstance(value, Tensor) and not value.is_inference() else 0


def _with_layers(model: nn.Module) -> nn.Module:
    """The network itself, whose layers can be listened to.

    Raises:
        TypeError: It is no network.
        ValueError: It is a script, whose layers cannot.
    """
    network = unwrapped(check_network(model))
    if isinstance(network, torch.jit.ScriptModule):
        raise ValueError("nobody can listen to the layers of a scripted network: pass the module that it was made from")
    return network


@contextmanager
def _hooks() -> Iterator[list[Any]]:
    """A list for hooks; whatever happens, they are taken off again."""
    hooks: list[Any] = []
    try:
        yield hooks
    finally:
        for hook in hooks:
            hook.remove()


def head(model: nn.Module, x: StoredImages) -> str:
    """Name of the layer that makes the logits: the last linear layer or convolution of almost every classifier.

    The network is run on two images. What only reshapes, pools or normalises the answers afterwards, such as a
    softmax, is passed over.

    Args:
        model: Any classifier.
        x: Images [N, C, H, W]; the first two are used.

    Raises:
        ValueError: No layer answers with the logits: the network computes them from several layers, or by itself; or
            they are not finite numbers.
    """
    calls, logits = calls_of(model, x)
    wanted: Tensor = check_finite(logits)
    for _ in range(len(calls)):
        found = next((call for call in calls if _ends_in(call.output, wanted)), None)
        if found is None or found.given is None:
            break
        if any(True for _ in found.layer.parameters()):
            if found.given.shape[1:] == x.shape[1:] and [*found.layer.children()]:
                break  # a part that is the whole network, and computes its last step outside of any layer
            return found.name
        wanted = found.given
        calls = calls[: calls.index(found)]
    raise ValueError(
        f"cannot tell which layer of {type(unwrapped(model)).__name__} makes the logits: no layer's output is the "
        "network's answer; name a layer"
    )


def _ends_in(output: Any, wanted: Tensor) -> bool:
    """Whether `wanted` is a layer's output, reshaped, averaged over places or tokens, or put through a softmax."""
    if not isinstance(output, Tensor) or output.ndim < 2 or len(output) != len(wanted):
        return False
    rows = [output.flatten(1)]
    if output.ndim > 2:
        rows.append(output.flatten(2).mean(2))
    if output.ndim == 3:
        rows.append(output.mean(1))
    target = wanted.flatten(1)
    for row in rows:
        if row.shape == target.shape and row.is_floating_point():
            close = 1e-5 * target.abs().max()  # zeros are equal to zeros alone
            ways = (row, row.softmax(1), row.log_softmax(1))
            if any(bool((way.to(target) - target).abs().max() <= close) for way in ways):
                return True
    return False


def last_hidden(model: nn.Module, x: StoredImages) -> str:
    """Name of the last hidden features, as `listen` takes it: "input of" the layer that makes the logits.

    That is the class token of a vision transformer, the pooled features of a DenseNet, "input of fc2" in the book's
    own networks. See `head` for how the layer is found, and for what is raised if it is not.

    Example:
        >>> last_hidden(model, test.x)
        'input of fc2'
        >>> features, logits = listen(model, test.x)
        >>> features.shape
        torch.Size([1000, 64])
    """
    return INPUT + head(model, x)


def last_convolution(model: nn.Module, x: StoredImages) -> str:
    """Name of the last two-dimensional convolution that the network calls once for an image.

    One that makes the logits, as in a network without fully connected layers, is no hidden layer and is left out.

    Args:
        model: Any classifier.
        x: Images [N, C, H, W]; the first two are used.

    Raises:
        ValueError: There is none.
    """
    calls, logits = calls_of(model, x)
    names = [call.name for call in calls if weighted_leaf(call.layer)]
    layers = {call.name: call.layer for call in calls}
    for name in reversed(names):
        layer = layers[name]
        makes_logits = name == names[-1] and getattr(layer, "out_channels", None) == logits.shape[1]
        if isinstance(layer, nn.Conv2d) and names.count(name) == 1 and not makes_logits:
            return name
    raise ValueError(
        f"{type(unwrapped(model)).__name__} has no hidden convolution that it calls once; name a layer with channels"
    )


def fully_connected(model: nn.Module, x: StoredImages) -> tuple[str, ...]:
    """Names of the fully connected layers at the end, in the order of the calls: the head, and those directly before.

    Directly means that no other layer with weights is called in between. Of a `SmallCNN` they are "fc1" and "fc2", of
    a residual network or a vision transformer the last layer alone.

    Args:
        model: Any classifier.
        x: Images [N, C, H, W]; the first two are used.

    Raises:
        ValueError: No layer makes the logits; see `head`.
    """
    last = head(model, x)
    weighted = [call for call in calls_of(model, x)[0] if weighted_leaf(call.layer)]
    found: list[str] = []
    for call in reversed(weighted):
        if call.name != last and not (found and isinstance(call.layer, nn.Linear)):
            break
        found.insert(0, call.name)
    return tuple(found) or (last,)


def weighted_leaf(layer: nn.Module) -> bool:
    """Whether a layer has weights and no parts."""
    return not [*layer.children()] and any(True for _ in layer.parameters())


@torch.no_grad()
def listen(
    model: nn.Module, x: StoredImages, layer: str | None = None, hear: Hear = flat, *, batch_size: int | None = None
) -> tuple[Tensor, Float[Tensor, "n k"]]:
    """What a layer says about every image, and the logits, both one row an image and in single precision at least.

    Args:
        model: Any classifier; it is evaluated as `predict` does.
        x: Images [N, C, H, W].
        layer: Name of the layer whose output is heard; "input of NAME" hears what it is given instead. None: the last
            hidden features, see `last_hidden`.
        hear: From what is heard of a batch, [B, ...], to what is kept of it, [B, ...]; all of it by default.
        batch_size: Images per forward pass; None: as many as `images_at_once` says.

    Returns:
        What was heard, on the network's device, and the logits [N, K] on the CPU.

    Raises:
        ValueError: There is no such layer, the network does not call it, it calls it several times for an image, or
            what is heard is no tensor with one row an image.
    """
    network = _with_layers(model)
    layer = last_hidden(network, x) if layer is None else of_kind("layer, the name of a layer,", layer, str)
    found = find_layer(network, layer.removeprefix(INPUT))
    weights = placement(network)
    said: list[Any] = []
    heard: list[Tensor] = []
    logits: list[Tensor] = []

    def hook(_layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        said.append(next(iter((*args, *kwargs.values())), None) if layer.startswith(INPUT) else output)

    with evaluating(network), laid_out(network, check_tensor(x)), _hooks() as hooks:
        hooks.append(found.register_forward_hook(hook, with_kwargs=True))
        for part in batches_of(x, batch_size):
            said.clear()
            logits.append(single(logits_of(network(place(part, weights)))).cpu())
            heard.append(single(hear(_only(layer, said, len(part)))))
    return torch.cat(heard), torch.cat(logits)


def _only(layer: str, said: list[Any], images: int) -> Tensor:
    """The one tensor that was heard."""
    if not said:
        raise ValueError(f"the network never calls layer {layer!r} by itself; name another one")
    if len(said) > 1:
        raise ValueError(
            f"the network calls layer {layer!r} {len(said)} times for an image; name one that it calls once"
        )
    answer = said[0][0] if isinstance(said[0], tuple) and said[0] else said[0]
    if not isinstance(answer, Tensor) or not answer.ndim or len(answer) != images:
        shape = list(answer.shape) if isinstance(answer, Tensor) else type(answer).__name__
        raise ValueError(f"layer {layer!r} must give one row an image; got {shape} for {images} images")
    return answer.detach()


@torch.no_grad()
def channel_means(model: nn.Module, x: StoredImages, layer: str) -> Float[Tensor, " channels"]:
    """Mean activation of every channel of a named layer, over images and places.

    Args:
        model: A network with a submodule of that name; it is evaluated as `predict` does.
        x: Images [N, C, H, W].
        layer: Name of the submodule, for instance "relu1"; its output must be [N, c, h, w].

    Raises:
        ValueError: There is no such layer, it is called several times for an image, or its output has no channels.
    """

    def means(output: Tensor) -> Tensor:
        if output.ndim != 4:
            raise ValueError(f"layer {layer!r} gives shape {list(output.shape)}; channel means need [N, c, h, w]")
        return single(output).mean((2, 3)).cpu()

    rows, _ = listen(model, x, layer, means)
    return rows.mean(0)
