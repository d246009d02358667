"""Adversarial Neuron Pruning (ANP): silence the neurons that a small change of weights turns against clean images."""

from __future__ import annotations

import copy
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import cross_entropy
from torch.nn.modules.batchnorm import _BatchNorm

from .._numbers import check_numbers
from .._progress import track
from ..data.images import Images, ImageSet, Labels, StoredImages, seeded_generator
from ..models.inference import correct, logits_of, place, placement, single, unwrapped
from ..models.layers import find_layer, head
from ..models.training import seeded
from ._repairs import COST, EVERY, begin
from .assumptions import REPAIR_COSTS, SENSITIVE_NEURONS, Assumption
from .kinds import Removal
from .knowledge import Holding
from .verdicts import Repair


@dataclass(frozen=True)
class NeuronPruning(Removal):
    """Learn a mask between 0 and 1 for every neuron while an adversary shakes all neurons; prune those masked out.

    A neuron is a channel of a batch norm: its scale is multiplied by the mask. At each step the adversary adds to
    every mask, and to the factor 1 of every shift, a number that raises the loss on trusted images: a random one within
    the budget, and a step of the budget's size along the sign of the gradient. Then the masks learn to keep the loss
    low, with the noise and without it. Neurons whose mask ends at the threshold or below lose their scale; they keep
    their shift.

    In a network without batch norm the neurons are the outputs of all convolutions and linear layers but the last,
    as the authors advise.

    Args:
        budget: The adversary's epsilon; 0.4 in the authors' code.
        natural: The weight alpha of the loss without noise; 0.2 there.
        steps: Steps of the adversary before each step of the masks, each of budget / steps; 1 there.
        iterations: Steps of the masks; 2,000 there.
        batch_size: Trusted images per step, drawn with replacement; 128 there.
        lr: Learning rate of the masks; 0.2 there, with momentum 0.9.
        threshold: Masks at or below it are pruned, in [0, 1). The default is our choice: the authors' code tries all
            thresholds and shows the attack success at each, which no defender can see.
        seed: Seed of the draws.

    Raises:
        ValueError: A setting is out of range.

    References:
        Wu, Wang, Adversarial Neuron Pruning Purifies Backdoored Deep Models, 2021. arXiv:2110.14430; the authors' code,
            github.com/csdongxian/ANP_backdoor, optimize_mask_cifar.py and models/anp_batchnorm.py, and issue 2 there
            on networks without batch norm.

    Differs from the authors' code: there training images are cropped and flipped at random. As there, the noise may end
    outside of the budget: a random start and a whole step are not cut off.

    Example:
        >>> repair = NeuronPruning(iterations=20)(model, Holding(trusted[:200]))
        >>> sorted(repair.history[0]["masks"])
        ['norm1', 'norm2']
    """

    assumptions: ClassVar[tuple[Assumption, ...]] = (*EVERY, SENSITIVE_NEURONS)

    budget: float = 0.4
    natural: float = 0.2
    steps: int = 1
    iterations: int = 2000
    batch_size: int = 128
    lr: float = 0.2
    threshold: float = 0.2
    seed: int = 0

    def __post_init__(self) -> None:
        check_numbers(self)
        if not (self.budget >= 0 and 0 <= self.natural <= 1 and self.lr > 0 and 0 <= self.threshold < 1):
            limits = "budget must not be negative, natural must lie in [0, 1], threshold in [0, 1), lr be positive"
            raise ValueError(f"{limits}; got {self.budget}, {self.natural}, {self.threshold} and {self.lr}")
        if min(self.steps, self.iterations) < 1 or self.batch_size < 2:
            limits = "steps and iterations must be at least 1, batch_size at least 2"
            raise ValueError(f"{limits}; got {self.steps}, {self.iterations} and {self.batch_size}")

    def __call__(self, model: nn.Module, holding: Holding) -> Repair:
        """A pruned copy. Its history has one record: all masks and the pruned neurons by layer, and trusted accuracy.

        Raises:
            TypeError: The model is no network, or the holding no `Holding`.
            ValueError: There are fewer than 2 trusted images, or the network has no neurons.
            FloatingPointError: The loss stopped being a number.

        Warns:
            AssumptionWarning: There are fewer than 100 trusted images, the network ends in a softmax or is wrong about
                most of them, or pruning took more than 20 points of trusted accuracy.
        """
        started = time.perf_counter()
        trusted, before = begin(model, holding, "ANP")
        masks = self.masks(model, trusted)
        repaired = copy.deepcopy(model).eval()
        pruned = {name: tuple((mask <= self.threshold).nonzero().flatten().tolist()) for name, mask in masks.items()}
        with torch.no_grad():
            for name, neurons in pruned.items():
                weight: Any = find_layer(repaired, name).weight
                weight[list(neurons)] = 0
        after = correct(repaired, trusted)
        if before.value - after.value > COST:
            REPAIR_COSTS.warn(
                f"pruning took trusted accuracy from {before.value:.1%} to {after.value:.1%}; lower threshold"
            )
        shown = {name: tuple(mask.tolist()) for name, mask in masks.items()}
        history = ({"masks": shown, "pruned": pruned, "trusted": after},)
        return Repair(repaired, repr(self), time.perf_counter() - started, history, holding.oracle)

    def masks(self, model: nn.Module, trusted: ImageSet) -> dict[str, Tensor]:
        """{layer: a mask in [0, 1] for each of its neurons}, learnt on trusted images; the model is left as it is."""
        network = copy.deepcopy(unwrapped(model)).requires_grad_(False)
        if placement(network).dtype in (torch.float16, torch.bfloat16):
            network = network.float()
        names = neurons_of(network, trusted.x)
        weights = placement(network)
        device = weights.device
        masks = {
            name: torch.ones(_count(network, name), dtype=weights.dtype, device=device, requires_grad=True)
            for name in names
        }
        learner = torch.optim.SGD([*masks.values()], lr=self.lr, momentum=0.9)
        source = seeded_generator(self.seed)
        with seeded(self.seed, device):  # dropout
            network.train()
            for _ in track(range(self.iterations), "ANP"):
                chosen = torch.randint(len(trusted), (self.batch_size,), generator=source)
                batch = trusted[chosen.to(trusted.x.device)]
                x, y = place(batch.x, weights), batch.y.to(device).long()
                noise = self._noise(network, masks, x, y, source) if self.budget else {}
                loss = self.natural * _loss(network, masks, {}, x, y)
                loss = loss + (1 - self.natural) * _loss(network, masks, noise, x, y) if noise else loss
                if not bool(loss.isfinite()):
                    raise FloatingPointError(f"the loss of the masks became {float(loss.detach())}; lower lr")
                learner.zero_grad()
                loss.backward()
                learner.step()
                with torch.no_grad():
                    for mask in masks.values():
                        mask.clamp_(0, 1)
        return {name: mask.detach() for name, mask in masks.items()}

    def _noise(
        self, network: nn.Module, masks: Mapping[str, Tensor], x: Images, y: Labels, source: torch.Generator
    ) -> dict[str, tuple[Tensor, Tensor]]:
        """What the adversary adds to each mask, and to the factor of each shift."""
        noise = {name: (self._draw(mask, source), self._draw(mask, source)) for name, mask in masks.items()}
        fixed = {name: mask.detach() for name, mask in masks.items()}
        for _ in range(self.steps):
            parts = [part.requires_grad_() for pair in noise.values() for part in pair]
            loss = _loss(network, fixed, noise, x, y)
            gradients = torch.autograd.grad(loss, parts, allow_unused=True, materialize_grads=True)
            with torch.no_grad():
                for part, gradient in zip(parts, gradients, strict=True):
                    part += self.budget / self.steps * gradient.sign()
        return {name: (scale.detach(), shift.detach()) for name, (scale, shift) in noise.items()}

    def _draw(self, mask: Tensor, source: torch.Generator) -> Tensor:
        return (self.budget * (2 * torch.rand(len(mask), generator=source) - 1)).to(mask)


def neurons_of(network: nn.Module, x: StoredImages) -> tuple[str, ...]:
    """Names of the layers whose outputs are the neurons: batch norms with weights, else all with weights but the last.

    Args:
        network: Any classifier.
        x: Images [N, C, H, W]; the first two are used, and only if there is no batch norm.

    Raises:
        ValueError: It has none, or no batch norm and no layer that makes the logits.
    """
    parts = dict(network.named_modules())
    norms = tuple(
        name for name, part in parts.items() if isinstance(part, _BatchNorm) and isinstance(part.weight, Tensor)
    )
    if norms:
        return norms
    last = head(network, x)
    found = tuple(name for name, part in parts.items() if isinstance(part, nn.Conv2d | nn.Linear) and name != last)
    if not found:
        raise ValueError(f"{type(network).__name__} has no batch norm, and no layer before the last, to prune")
    return found


def _count(network: nn.Module, name: str) -> int:
    weight: Any = find_layer(network, name).weight
    return len(weight)


def _loss(
    network: nn.Module,
    masks: Mapping[str, Tensor],
    noise: Mapping[str, tuple[Tensor, Tensor]],
    x: Images,
    y: Labels,
) -> Tensor:
    """The loss of a network whose neurons are masked and shaken."""
    changed = {}
    for name, mask in masks.items():
        layer: Any = find_layer(network, name)
        scale, shift = noise.get(name, (torch.zeros_like(mask), torch.zeros_like(mask)))
        changed[f"{name}.weight"] = layer.weight * (mask + scale).view(-1, *[1] * (layer.weight.ndim - 1))
        if layer.bias is not None:
            changed[f"{name}.bias"] = layer.bias * (1 + shift)
    return cross_entropy(single(logits_of(functional_call(network, changed, (x,)))), y)
