"""Attacks at test time, for comparison: they change images, never the network.

Teaching versions of three classics. A backdoor needs none of this: its trigger is chosen before
training and is the same for every image.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from .._numbers import number, whole
from .._progress import track
from ..data.images import Images, ImageSet, Labels, check_images, check_label_tensor, check_set, seeded_generator
from ..models.inference import (
    BATCH,
    check_finite,
    check_network,
    check_outputs,
    evaluating,
    logits_of,
    place,
    placement,
    single,
)
from ..triggers import register


def fgsm(model: nn.Module, x: Images, y: Labels, *, eps: float = 0.1, batch_size: int = BATCH) -> Images:
    """One step of size `eps` along the sign of the loss gradient.

    Args:
        model: A classifier.
        x: Images [N, C, H, W] in [0, 1].
        y: The true labels [N]; the attack moves away from them.
        eps: Largest change of any pixel, in units of [0, 1].
        batch_size: Images per gradient.

    Returns:
        New images within `eps` of `x` in the max norm, in [0, 1].

    Raises:
        ValueError: As `pgd`.

    References:
        Goodfellow, Shlens, Szegedy, Explaining and harnessing adversarial examples, 2015. arXiv:1412.6572.
    """
    return pgd(model, x, y, eps=eps, step=eps, steps=1, random_start=False, batch_size=batch_size)


def pgd(
    model: nn.Module,
    x: Images,
    y: Labels,
    *,
    eps: float = 0.1,
    step: float = 0.02,
    steps: int = 20,
    random_start: bool = True,
    seed: int = 0,
    batch_size: int = BATCH,
) -> Images:
    """Projected gradient ascent on the loss, inside the max-norm ball of radius `eps`.

    Args:
        model: A classifier.
        x: Images [N, C, H, W] in [0, 1].
        y: The true labels [N].
        eps: Radius of the ball, in units of [0, 1].
        step: Length of one step.
        steps: Number of steps.
        random_start: Begin at a random point of the ball instead of at `x`.
        seed: Seed of that point.
        batch_size: Images per gradient.

    Returns:
        New images within `eps` of `x`, in [0, 1], on the device and in the dtype of `x`.

    Raises:
        TypeError: The model is no network, or its output no logits.
        ValueError: `eps` or `step` is not positive, or `steps` is below 1; there is not one label an image, or one that
            the network has no output for; or the network's answers are not finite.

    References:
        Madry et al., Towards deep learning models resistant to adversarial attacks, 2018. arXiv:1706.06083.
    """
    for name, value in (("eps", eps), ("step", step)):
        number(name, value)
    steps = whole("steps", steps)
    if not (eps > 0 and step > 0 and steps >= 1):  # written so that NaN fails too
        raise ValueError(f"eps and step must be positive and steps at least 1; got {eps}, {step}, {steps}")
    if len(check_images(x)) != len(check_label_tensor(y)) or not len(x):
        raise ValueError(f"need at least one image and one label for each; got {len(x)} and {len(y)}")
    clean = single(x.detach().to(placement(check_network(model)).device))
    labels = y.to(clean.device).long()
    noise = torch.zeros_like(clean)
    if random_start:
        noise = torch.rand(clean.shape, generator=seeded_generator(seed)).to(clean) * 2 * eps - eps
    attacked = (clean + noise).clamp(0, 1)
    with evaluating(model, frozen=True):
        for _ in range(steps):
            gradient = _gradient(model, attacked, labels, batch_size)
            attacked = (attacked + step * gradient.sign()).clamp(clean - eps, clean + eps).clamp(0, 1)
    return attacked.to(x)


def _gradient(model: nn.Module, x: Tensor, y: Tensor, batch_size: int) -> Tensor:
    """Gradient of the loss at every image; in batches, so that memory does not grow with N."""
    weights = placement(model)
    parts: list[Tensor] = []
    for some, labels in zip(x.split(batch_size), y.split(batch_size), strict=True):
        some = some.detach().requires_grad_()
        logits = check_finite(single(logits_of(model(place(some, weights)))))
        low, high, outputs = int(labels.min()), int(labels.max()), logits.shape[1]
        if low < 0 or high >= outputs:
            raise ValueError(f"labels must lie in [0, {outputs}), the network's outputs; got {low} to {high}")
        parts += torch.autograd.grad(cross_entropy(logits, labels, reduction="sum"), some)
    return torch.cat(parts)


@register
@dataclass(frozen=True, eq=False)
class AdversarialPatch:
    """Learnt pixels [C, S, S] pasted into the bottom-right corner, over any image."""

    pixels: Float[Tensor, "c s s"]

    def __call__(self, x: Images) -> Images:
        size = self.pixels.shape[-1]
        if size > min(x.shape[-2:]):
            raise ValueError(f"a patch of {size} pixels does not fit {x.shape[-2]}x{x.shape[-1]} images")
        out = x.clone()
        out[:, :, -size:, -size:] = self.pixels.to(x)
        return out


def learn_patch(
    model: nn.Module, data: ImageSet, target: int, *, size: int = 8, steps: int = 150, lr: float = 0.1, seed: int = 0
) -> AdversarialPatch:
    """Optimise one patch that pulls every image towards `target`, against a fixed network.

    The original also draws a random place, scale and rotation at every step; this one stays in
    its corner, where the book's BadNets trigger sits too.

    Args:
        model: The network under attack; it is not changed.
        data: Images the attacker may practise on. Do not pass the test set.
        target: The wanted label.
        size: Side of the patch in pixels.
        steps: Optimiser steps, 64 images each.
        lr: Learning rate of Adam on the patch's logits.
        seed: Seed of the order of images.

    Raises:
        ValueError: The target is not a class, the patch does not fit, `steps` is below 1, every
            image is of the target, or the network has another number of outputs than there are classes.

    References:
        Brown et al., Adversarial patch, 2017. arXiv:1712.09665.
    """
    target = whole("target", target)
    if not 0 <= target < len(check_set(data, "a patch").classes):
        raise ValueError(f"target must lie in [0, {len(data.classes)}); got {target}")
    size = whole("size", size)
    steps = whole("steps", steps)
    if not 1 <= size <= min(data.x.shape[-2:]):
        raise ValueError(f"size must lie between 1 and {min(data.x.shape[-2:])}; got {size}")
    if steps < 1:
        raise ValueError(f"steps must be at least 1; got {steps}")
    weights = placement(check_network(model))
    device = weights.device
    practice = data[data.y != target].to(device)
    if not len(practice):
        raise ValueError(f"need images of other classes than {target} to practise on; got none")
    source = seeded_generator(seed)
    logits = torch.zeros(data.x.shape[1], size, size, device=device, requires_grad=True)
    optimizer = torch.optim.Adam([logits], lr=lr)
    with evaluating(model, frozen=True):
        for _ in track(range(steps), "adversarial patch"):
            batch = practice.x[torch.randint(len(practice), (64,), generator=source).to(device)]
            stamped = AdversarialPatch(logits.sigmoid())(place(batch, logits))
            answers = check_outputs(single(logits_of(model(place(stamped, weights)))), len(data.classes))
            loss = cross_entropy(answers, torch.full((64,), target, device=device))
            (logits.grad,) = torch.autograd.grad(loss, logits)
            optimizer.step()
    return AdversarialPatch(logits.detach().sigmoid().cpu())
