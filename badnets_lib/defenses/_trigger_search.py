"""The optimisation inside Neural Cleanse: masks and patterns of some labels, all in one batch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from ..counts import Proportion
from ..data.images import Images, StoredImages, to_unit
from ..models.inference import check_differentiable, check_finite, images_at_once, logits_of, placement

if TYPE_CHECKING:
    from .neural_cleanse import NeuralCleanse


class TriggerSearch:
    """Masks and patterns of some labels between two rounds.

    Every label has its own mask, pattern, weight and moments of Adam, and all meet the same images in the same
    order. What is found for a label does not depend on which others are searched beside it.

    Args:
        settings: Of the search.
        network: A frozen network in evaluation mode.
        x: Clean images, as they are stored.
        labels: The labels to look for.
    """

    def __init__(self, settings: NeuralCleanse, network: nn.Module, x: StoredImages, labels: Int[Tensor, " l"]) -> None:
        weights = placement(network)
        numbers = weights.to(torch.promote_types(weights.dtype, torch.float32))  # half precision is too coarse for Adam
        self.settings = settings
        self.network = network
        self.input = weights
        self.numbers = numbers
        self.x = x
        self.labels = labels.to(weights.device)
        self.source = torch.Generator().manual_seed(settings.seed)
        channels, *side = x.shape[1:]
        # Before the tanh. The masks start at 0.12, so that their sums are near those they end with.
        self.m = torch.full((len(labels), 1, *side), -1.0).to(numbers).requires_grad_()
        self.p = torch.zeros(len(labels), channels, *side).to(numbers).requires_grad_()
        self.adam = torch.optim.Adam([self.m, self.p], lr=settings.lr, betas=(0.5, 0.9))
        self.weight = torch.full((len(labels),), settings.weight).to(numbers)
        self.streak = torch.zeros_like(self.weight)
        self.idle = torch.zeros_like(self.weight)
        self.active = torch.ones_like(self.weight, dtype=torch.bool)
        self.norms = torch.full_like(self.weight, torch.inf)
        self.kept: list[list[tuple[Tensor, Tensor]]] = [[] for _ in labels]
        """Of each label, every mask and pattern that was seen to work and was smaller than those before."""

    def one_round(self) -> None:
        """A few steps of Adam for every label that is not done, then adapt weights and keep what is better."""
        hits = torch.zeros_like(self.weight)
        for _ in range(self.settings.batches):
            mask = squashed(self.m.detach())
            pattern = squashed(self.p.detach())
            order = torch.randperm(len(self.x), generator=self.source)
            hits += self.step(self.images(order[: self.settings.batch_size]))
        works = hits >= self.settings.success * self.settings.batches * self.settings.batch_size
        self.keep(works, mask, pattern)  # what was seen to work, not what the last step made of it
        self.adapt(works)

    def images(self, positions: Int[Tensor, " b"]) -> Images:
        """Some of the clean images in [0, 1], where the network is."""
        return to_unit(self.x[positions.to(self.x.device)].to(self.numbers.device)).to(self.numbers.dtype)

    def ask(self, stamped: Images) -> Float[Tensor, "n k"]:
        """The network's logits."""
        return check_finite(logits_of(self.network(stamped.to(self.input.dtype))).to(self.numbers.dtype))

    def step(self, x: Images) -> Float[Tensor, " l"]:
        """One step on the same images for every label; returns how many of them got the label."""
        at_work = self.active.nonzero().flatten()
        mask = squashed(self.m[at_work])[:, None]
        pattern = squashed(self.p[at_work])[:, None]
        stamped = (x + mask * (pattern - x)).flatten(0, 1)  # [labels x images, C, H, W]
        logits = check_differentiable(self.ask(stamped))
        wanted = self.labels[at_work].repeat_interleave(len(x))
        wrong = cross_entropy(logits, wanted, reduction="none").view(len(at_work), -1).mean(1)
        loss = wrong + self.weight[at_work] * mask.flatten(1).sum(1)
        self.m.grad, self.p.grad = torch.autograd.grad(loss.sum(), (self.m, self.p))
        self.adam.step()
        hits = (logits.argmax(1) == wanted).view(len(at_work), -1).sum(1)
        return torch.zeros_like(self.weight).index_copy(0, at_work, hits.to(self.weight))

    def keep(self, works: Tensor, masks: Tensor, patterns: Tensor) -> None:
        """Remember, for each label, each smaller mask that works; a label that no longer improves is done."""
        now = masks.flatten(1).sum(1)
        size = masks[0].numel()
        better = self.active & works & (now < self.norms.clamp(max=size))
        shrunk = better & (now < 0.99 * self.norms.clamp(max=size))
        for place in better.nonzero().flatten().tolist():
            self.kept[place].append((masks[place], patterns[place]))
        self.norms = torch.where(better, now, self.norms)
        self.idle = torch.where(shrunk | self.norms.isinf(), 0, self.idle + 1)
        self.active &= self.idle < self.settings.stall

    def adapt(self, works: Tensor) -> None:
        """Ask for a smaller mask where the trigger has worked for long enough, for success where it has not."""
        factor = self.settings.factor
        patience = self.settings.patience
        self.streak = torch.where(works, self.streak.clamp(min=0) + 1, self.streak.clamp(max=0) - 1)
        rise = self.streak >= patience
        fall = self.streak <= -patience
        self.weight = torch.where(rise, self.weight * factor, torch.where(fall, self.weight / factor**1.5, self.weight))
        self.streak = torch.where(rise | fall, 0, self.streak)

    def verified(self, place: int) -> tuple[Tensor, Tensor, Proportion, bool]:
        """The smallest mask kept for a label that works on *all* clean images, not only on those of its round.

        Args:
            place: Which of the labels.

        Returns:
            Mask, pattern, how often they work, and True. Where none works often enough: a mask over the whole
            image, the best success that was seen, and False.
        """
        best = Proportion(0, len(self.x))
        for mask, pattern in reversed(self.kept[place]):
            success = self.success(int(self.labels[place]), mask, pattern)
            if success.value >= self.settings.success:
                return mask, pattern, success, True
            best = max(best, success, key=lambda each: each.value)
        return torch.ones_like(self.m[place]), torch.full_like(self.p[place], 0.5), best, False

    @torch.no_grad()
    def success(self, label: int, mask: Tensor, pattern: Tensor) -> Proportion:
        """How many of all clean images get the label once they are stamped."""
        hits = 0
        for positions in torch.arange(len(self.x)).split(images_at_once(self.x)):
            logits = self.ask(torch.lerp(self.images(positions), pattern, mask))
            hits += int((logits.argmax(1) == label).sum())
        return Proportion(hits, len(self.x))


def squashed(free: Tensor) -> Tensor:
    """From any number to (0, 1), as the authors' code does it."""
    return free.tanh() / 2 + 0.5
