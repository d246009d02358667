"""FT-SAM: fine-tuning that looks for weights whose whole neighbourhood is good, not for a sharp minimum nearby."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import cross_entropy

from .._numbers import check_numbers
from ..data.images import Images, Labels
from ..models.adaptation import frozen
from ..models.inference import logits_of, placement, single
from ..models.training import TrainConfig
from ._repairs import EVERY, begin, check_cost, retrained
from .assumptions import CLEAN_TRAINING, Assumption
from .fine_tuning import as_history
from .kinds import Removal
from .knowledge import Holding
from .verdicts import Repair


@dataclass(frozen=True)
class SharpnessAwareTuning(Removal):
    """Fine-tune a copy on trusted images by the gradient at the worst weights nearby (FT-SAM).

    At every step the weights w are moved up the loss L to w + e, the gradient there is taken, and w makes its step with
    it. The move is the adaptive one: with g the gradient at w, e = radius x w^2 g / ||w g||. Large weights are moved
    furthest; the authors found the weights of backdoor neurons to be large.

    Args:
        radius: The length rho, in units relative to the weights; 2 in the authors' code for CIFAR-10, 8 for GTSRB and
            Tiny ImageNet.
        epochs: Passes over the trusted images; 100 in the authors' code for CIFAR-10.
        lr: Learning rate; it falls and rises along a cosine of 100 steps down and 100 up, as in the authors' code.
        batch_size: Images per step.
        momentum: Of stochastic gradient descent.
        weight_decay: Of stochastic gradient descent.
        smoothing: The part of a label that is spread evenly over the other classes, in [0, 1).
        seed: Seed of the order of images.

    Raises:
        ValueError: A setting is out of range.

    References:
        Zhu, Wei, Shen, Fan, Wu, Enhancing Fine-Tuning Based Backdoor Defense with Sharpness-Aware Minimization, 2023.
            arXiv:2304.11823; the authors' code, github.com/SCLBD/BackdoorBench, defense/ft-sam.py and
            config/defense/ft-sam.

    Differs from the authors' code: there training images are cropped and flipped at random, which digits and signs do
    not bear, and are 5% of the training set, 2,500 of CIFAR-10: ten steps a pass. With 400 images it is two.

    Example:
        >>> repair = SharpnessAwareTuning(epochs=2)(model, Holding(trusted[:200]))
        >>> len(repair.history)
        2
    """

    assumptions: ClassVar[tuple[Assumption, ...]] = (*EVERY, CLEAN_TRAINING)

    radius: float = 2.0
    epochs: int = 100
    lr: float = 0.01
    batch_size: int = 256
    momentum: float = 0.9
    weight_decay: float = 5e-4
    smoothing: float = 0.1
    seed: int = 0

    def __post_init__(self) -> None:
        check_numbers(self)
        self._config("cpu")
        if not (self.radius >= 0 and 0 <= self.momentum < 1 and 0 <= self.smoothing < 1):
            limits = "radius must not be negative, momentum and smoothing must lie in [0, 1)"
            raise ValueError(f"{limits}; got {self.radius}, {self.momentum} and {self.smoothing}")

    def __call__(self, model: nn.Module, holding: Holding) -> Repair:
        """A fine-tuned copy of the model; its history holds loss and trusted accuracy after each epoch.

        Raises:
            TypeError: The model is no network, or the holding no `Holding`.
            ValueError: There are fewer than 2 trusted images.

        Warns:
            AssumptionWarning: There are fewer than 100 trusted images, the network ends in a softmax or is wrong about
                most of them, or trusted accuracy fell by more than 20 points on the way.
        """
        started = time.perf_counter()
        trusted, before = begin(model, holding, "FT-SAM")
        repaired, epochs = retrained(
            model,
            trusted,
            self._config(str(placement(model).device)),
            start=frozen(model, hold_statistics=False),
            loss=self.loss,
            optimizer=self._optimizer,
            watched=trusted,
            label="FT-SAM",
        )
        check_cost(before, epochs)
        return Repair(repaired, repr(self), time.perf_counter() - started, as_history(epochs), holding.oracle)

    def loss(self, network: nn.Module, x: Images, y: Labels) -> Tensor:
        """The loss at the worst weights nearby, whose gradient is the one with which the weights make their step.

        Batch norm's running statistics are those of the pass at the weights themselves.
        """
        weights = {name: weight for name, weight in network.named_parameters() if weight.requires_grad}
        gradients = torch.autograd.grad(
            self._smoothed(network(x), y), [*weights.values()], allow_unused=True, materialize_grads=True
        )
        moves = worst_moves([*weights.values()], gradients, self.radius)
        moved = {name: weight + move for (name, weight), move in zip(weights.items(), moves, strict=True)}
        statistics = {name: each.clone() for name, each in network.named_buffers()}
        return self._smoothed(functional_call(network, {**moved, **statistics}, (x,)), y)

    def _smoothed(self, answers: Any, y: Labels) -> Tensor:
        """Cross-entropy with labels of 1 - smoothing, and the rest spread over the other classes.

        Torch spreads it over all classes; the same targets need K / (K - 1) times as much.
        """
        logits = single(logits_of(answers))
        classes = logits.shape[1]
        return cross_entropy(logits, y, label_smoothing=min(1.0, self.smoothing * classes / max(1, classes - 1)))

    def _config(self, device: str) -> TrainConfig:
        return TrainConfig(self.epochs, self.batch_size, self.lr, self.weight_decay, self.seed, device)

    def _optimizer(self, weights: list[nn.Parameter]) -> torch.optim.Optimizer:
        """Stochastic gradient descent whose learning rate follows a cosine, a step a batch."""
        changes = torch.optim.SGD(weights, self.lr, momentum=self.momentum, weight_decay=self.weight_decay)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(changes, T_max=100)
        changes.register_step_post_hook(lambda *_: schedule.step())
        return changes


@torch.no_grad()
def worst_moves(weights: list[nn.Parameter], gradients: tuple[Tensor, ...], radius: float) -> tuple[Tensor, ...]:
    """The change of all weights that raises the loss most, to first order, within an adaptive radius.

    Args:
        weights: All that learn.
        gradients: The loss's, one for each.
        radius: Of sum((move / weight)^2) the root is at most this.

    References:
        Kwon, Kim, Park, Choi, ASAM: Adaptive Sharpness-Aware Minimization for Scale-Invariant Learning of Deep Neural
            Networks, 2021. arXiv:2102.11600.
    """
    scaled = torch.stack(
        [(weight * gradient).norm() for weight, gradient in zip(weights, gradients, strict=True)]
    ).norm()
    return tuple(
        radius / (scaled + 1e-12) * weight.square() * gradient
        for weight, gradient in zip(weights, gradients, strict=True)
    )
