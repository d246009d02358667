"""A backdoor whose trigger is another one for every image: a small generator, trained together with the network.

References:
    Nguyen, Tran, Input-aware dynamic backdoor attack, 2020. arXiv:2010.08138.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from .._numbers import check_numbers, of_kind
from ..counts import Proportion
from ..data.images import CHUNK, Images, ImageSet, check_images, check_set, seeded_generator, stored_like, to_unit
from ..models.inference import BATCH, correct, evaluating, logits_of, place, placement, single
from ..models.training import (
    Epoch,
    NetworkSource,
    TrainConfig,
    Trained,
    check_trainable,
    pick_device,
    run_epochs,
    seeded,
    starting_network,
)
from ..poisoning import Goal
from ..triggers import Description


class Generator(nn.Sequential):
    """From images [N, C, H, W] to patterns of the same shape in (-1, 1): two steps down, two steps up.

    H and W must be multiples of 4.
    """

    def __init__(self, channels: int = 1, width: int = 16) -> None:
        def up(into: int, out: int) -> list[nn.Module]:
            return [nn.Upsample(scale_factor=2, mode="nearest"), nn.Conv2d(into, out, 3, padding=1)]

        super().__init__(
            nn.Conv2d(channels, width, 3, stride=2, padding=1),  # [N, w, H/2, W/2]
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, 2 * width, 3, stride=2, padding=1),  # [N, 2w, H/4, W/4]
            nn.BatchNorm2d(2 * width),
            nn.ReLU(),
            *up(2 * width, width),  # [N, w, H/2, W/2]
            nn.BatchNorm2d(width),
            nn.ReLU(),
            *up(width, channels),  # [N, C, H, W]
            nn.Tanh(),
        )


@dataclass(frozen=True, eq=False)
class InputAware:
    """The trained trigger: A(x) = clip(x + eps g(x)), with g the generator.

    It is a `Trigger`, but none that can be saved as a spec: it is made of weights.

    Attributes:
        generator: The network g, from images to patterns in (-1, 1).
        eps: Largest change of any pixel, in units of [0, 1].
    """

    generator: nn.Module
    eps: float

    def __call__(self, x: Images) -> Images:
        return self.crossed(x, x)

    def crossed(self, x: Images, others: Images) -> Images:
        """Each image with the trigger that belongs to another one."""
        return (x + self.pattern(others).to(x)).clamp(0, 1)

    @torch.no_grad()
    def pattern(self, x: Images) -> Float[Tensor, "n c h w"]:
        """What is added to each image, eps g(x), in [-eps, eps]."""
        weights = placement(self.generator)
        with evaluating(self.generator):
            parts = [self.generator(place(part, weights)) for part in check_images(x).split(BATCH) if len(part)]
        return self.eps * torch.cat(parts).to(x) if parts else torch.zeros_like(x)

    def describe(self) -> Description:
        """The trigger in words."""
        words = f"a pattern generated from the image itself, at most {self.eps:g} a pixel, added"
        return Description(words, "the whole image", "everywhere", self.eps, physical=False)


@dataclass(frozen=True)
class InputAwareConfig:
    """Everything that decides the attack apart from data, goal and the training's own settings.

    Args:
        fraction: Part of each batch that is backdoored: the poisoning fraction rho of this attack, drawn anew
            for every batch; above 0.
        cross: Part of each batch that carries another image's trigger and its own true label.
        eps: Largest change of any pixel, above 0, at most 1.
        diversity: Weight of the diversity loss; 0 leaves it out.

    Raises:
        ValueError: A setting is out of range.
    """

    fraction: float = 0.1
    cross: float = 0.1
    eps: float = 0.3
    diversity: float = 0.1

    def __post_init__(self) -> None:
        check_numbers(self)
        if not (self.fraction > 0 and self.cross >= 0 and self.fraction + self.cross <= 1):
            limits = "fraction must be above 0, cross at least 0, together at most 1"
            raise ValueError(f"{limits}; got {self.fraction} and {self.cross}")
        if not (0 < self.eps <= 1 and self.diversity >= 0):
            raise ValueError(f"eps must lie in (0, 1], diversity may not be negative; got {self.eps}, {self.diversity}")

    def counts(self, size: int) -> tuple[int, int]:
        """(backdoored images, images with another one's trigger) in a batch of that size; the rest is clean."""
        stamped = round(self.fraction * size)
        return stamped, round(self.cross * size)


def train_input_aware(
    data: ImageSet,
    goal: Goal,
    config: TrainConfig | None = None,
    attack: InputAwareConfig | None = None,
    *,
    model: NetworkSource | None = None,
) -> tuple[Trained, InputAware]:
    """Train a network and a trigger generator together. The attacker runs the training, not only the data.

    In every batch some images carry their own trigger and the wanted label, some carry
    the trigger of a *different* image and its true label, the rest is clean. A diversity loss,
    mean of ||x - x'|| / ||g(x) - g(x')||, punishes equal patterns for different images.

    Args:
        data: Clean training images, with sides that are multiples of 4.
        goal: What the attacker wants.
        config: Settings; the learning rate serves both networks. Default: 8 epochs.
        attack: How much of a batch, strength and diversity.
        model: A network, of which a copy is trained, or a function that makes one; default: a `SmallCNN` that fits
            the data.

    Raises:
        TypeError: As `train`.
        ValueError: The images' sides do not fit the generator, there is not one whole batch, the fraction asks for
            fewer than 2 triggered images or no backdoored one in a batch, the goal has other classes than the data,
            or the network cannot be trained: see `train`.
        FloatingPointError: The loss stopped being a number.

    Differs from the cited work: there a second network, trained first, chooses a sparse mask in which
    the pattern replaces pixels; here the pattern is added everywhere within `eps`. Networks and training
    are much smaller.
    """
    config = TrainConfig(epochs=8) if config is None else of_kind("config", config, TrainConfig)
    attack = InputAwareConfig() if attack is None else of_kind("attack", attack, InputAwareConfig)
    of_kind("goal", goal, Goal).check_classes(len(check_set(data, "training").classes))
    if data.x.shape[-2] % 4 or data.x.shape[-1] % 4:
        raise ValueError(f"the generator needs sides that are multiples of 4; got {list(data.x.shape[-2:])}")
    _check_batch(attack, config.batch_size, len(data))
    started = time.perf_counter()
    device = pick_device(config.device)
    with seeded(config.seed, device):
        network = starting_network(model, data).to(device)
        check_trainable(network, data)
        generator = Generator(data.x.shape[1]).to(device)
        lesson = _Lesson(network, generator, data.to(device), goal, attack)
        both = nn.ModuleList([network, generator])
        losses = [*run_epochs(both, len(data), lesson.loss, config, device=device, label="input-aware")]
    trained = Trained(
        network.eval(), config, tuple(Epoch(loss, {}) for loss in losses), data.fingerprint,
        time.perf_counter() - started,
    )  # fmt: skip
    return trained, InputAware(generator.eval(), attack.eps)


def _check_batch(attack: InputAwareConfig, size: int, images: int) -> None:
    """Raise if a whole batch would hold no backdoored image or fewer than two triggered ones, or there is none."""
    stamped, crossed = attack.counts(size)
    if stamped < 1 or stamped + crossed < 2 or images < size:
        raise ValueError(
            f"a batch needs 1 backdoored and 2 triggered images, and the data one batch; got {stamped} "
            f"and {stamped + crossed} of {size}, and {images} images"
        )


class _Lesson:
    """What the two networks learn from a batch."""

    def __init__(
        self, network: nn.Module, generator: nn.Module, data: ImageSet, goal: Goal, attack: InputAwareConfig
    ) -> None:
        self.network = network
        self.weights = placement(network)
        self.generator = generator
        self.x = data.x
        self.y = data.y.long()
        self.goal = goal
        self.attack = attack

    def loss(self, batch: Tensor) -> Tensor:
        """Classification of the three parts of a batch, and the diversity of the patterns."""
        x = place(self.x[batch], placement(self.generator))
        y = self.y[batch]
        stamped, crossed = self.attack.counts(len(batch))
        own, others, clean = x.split([stamped, crossed, len(batch) - stamped - crossed])
        triggered = x[: stamped + crossed]
        patterns = self.generator(triggered)
        neighbours = patterns.roll(1, 0)  # the trigger of the neighbour in the batch
        eps = self.attack.eps
        backdoored = (own + eps * patterns[:stamped]).clamp(0, 1)
        honest = (others + eps * neighbours[stamped:]).clamp(0, 1)
        labels = torch.cat([self.goal.wanted(y[:stamped]), y[stamped:]])
        images = place(torch.cat([backdoored, honest, clean]), self.weights)
        loss = cross_entropy(single(logits_of(self.network(images))), labels)
        images_apart = _distance(triggered, triggered.roll(1, 0))
        patterns_apart = _distance(patterns, neighbours)
        return loss + self.attack.diversity * (images_apart / (patterns_apart + 1e-3)).mean()


def _distance(a: Tensor, b: Tensor) -> Tensor:
    """Root mean square difference of each pair, [N]."""
    return ((a - b) ** 2).flatten(1).mean(1).clamp(min=1e-12).sqrt()


def cross_trigger_accuracy(model: nn.Module, trigger: InputAware, test: ImageSet, *, seed: int = 0) -> Proportion:
    """Images with the trigger of *another* image that still get their true label: high if triggers do not transfer.

    Args:
        model: The backdoored network.
        trigger: Its trigger.
        test: Clean test images, at least 2.
        seed: Seed of the pairing; no image is paired with itself.

    Raises:
        ValueError: There are fewer than 2 images.
    """
    if len(test) < 2:
        raise ValueError(f"crossing triggers needs at least 2 images; got {len(test)}")
    order = torch.randperm(len(test), generator=seeded_generator(seed)).to(test.y.device)
    partner = torch.empty_like(order)
    partner[order] = order.roll(1)
    crossed = torch.empty_like(test.x)
    for some in torch.arange(len(test), device=order.device).split(CHUNK):
        stamped = trigger.crossed(to_unit(test.x[some]), to_unit(test.x[partner[some]]))
        crossed[some] = stored_like(stamped, test.x)
    return correct(model, replace(test, x=crossed))
