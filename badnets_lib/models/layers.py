"""What a layer of a network answers: any layer of any network, by its name, or the last hidden one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ..data.images import StoredImages
from .inference import BATCH, check_network, evaluating, logits_of, place, placement


def find_layer(model: nn.Module, name: str) -> nn.Module:
    """The submodule of that name.

    Raises:
        ValueError: There is none; the message lists those that compute something.
    """
    known: dict[str, nn.Module] = dict(model.named_modules())
    if not name or name not in known:
        leaves = [each for each, part in known.items() if each and not [*part.children()]]
        raise ValueError(f"no layer {name!r}; known: {', '.join(leaves)}")
    return known[name]


@torch.no_grad()
def listen(
    model: nn.Module, x: StoredImages, layer: str, hear: Callable[[Tensor], Tensor], *, batch_size: int = BATCH
) -> tuple[Tensor, Float[Tensor, "n k"]]:
    """What a layer answers to every image, and the logits, both one row an image.

    Args:
        model: Any classifier; it is evaluated as `predict` does.
        x: Images [N, C, H, W].
        layer: Name of the layer.
        hear: From the layer's output of a batch, [B, ...], to what is kept of it, [B, ...].
        batch_size: Images per forward pass.

    Raises:
        ValueError: There is no such layer, the network does not call it, it calls it several times for an image, or
            its output is no tensor with one row an image.
    """
    weights = placement(check_network(model))
    heard: list[Tensor] = []
    logits: list[Tensor] = []
    calls: list[Any] = []
    hook = find_layer(model, layer).register_forward_hook(lambda _part, _given, output: calls.append(output))
    try:
        with evaluating(model):
            for part in torch.split(x, batch_size):
                calls.clear()
                logits.append(logits_of(model(place(part, weights))).cpu())
                heard.append(hear(_only_answer(layer, calls, len(part))))
    finally:
        hook.remove()
    return torch.cat(heard), torch.cat(logits)


def _only_answer(layer: str, calls: list[Any], images: int) -> Tensor:
    if not calls:
        raise ValueError(f"the network never calls layer {layer!r} by itself; name another one")
    if len(calls) > 1:
        raise ValueError(
            f"the network calls layer {layer!r} {len(calls)} times for an image; name one that it calls once"
        )
    output = calls[0][0] if isinstance(calls[0], tuple) and calls[0] else calls[0]
    if not isinstance(output, Tensor) or not output.ndim or len(output) != images:
        shape = list(output.shape) if isinstance(output, Tensor) else type(output).__name__
        raise ValueError(f"layer {layer!r} must answer with one row an image; got {shape} for {images} images")
    return output.detach()


def last_hidden(model: nn.Module, x: StoredImages) -> str:
    """Name of the last hidden layer: the last one that hands on what the logits are computed from.

    The network is run on one image. Of the layers without parts, those that answer with the logits or come after
    them (the last linear layer, a softmax) are left out, and so are those that are called several times.

    Args:
        model: Any classifier.
        x: Images [N, C, H, W]; one is enough.

    Raises:
        ValueError: No layer is left.
    """
    order: list[tuple[str, Tensor]] = []
    hooks = [
        part.register_forward_hook(lambda _part, _given, output, name=name: order.append((name, output)))
        for name, part in model.named_modules()
        if name and not [*part.children()]
    ]
    try:
        with torch.no_grad(), evaluating(model):
            logits = logits_of(model(place(x[:1], placement(model))))
    finally:
        for hook in hooks:
            hook.remove()
    names = [name for name, _ in order]
    logit_makers = [place for place, (_, output) in enumerate(order) if _same(output, logits)]
    before = order[: logit_makers[0]] if logit_makers else order
    for name, output in reversed(before):
        if isinstance(output, Tensor) and output.ndim >= 2 and len(output) == 1 and names.count(name) == 1:
            return name
    raise ValueError(f"{type(model).__name__} has no hidden layer that is called once; name a layer")


def _same(output: Any, logits: Tensor) -> bool:
    return isinstance(output, Tensor) and output.shape == logits.shape and bool(torch.equal(output, logits))


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
        return output.mean((2, 3)).cpu()

    rows, _ = listen(model, x, layer, means)
    return rows.mean(0)
