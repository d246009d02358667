"""A backdoor whose trigger is another one for every image: a small generator, trained together with the network.

References:
    Nguyen, Tran, Input-aware dynamic backdoor attack, 2020. arXiv:2010.08138.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from .counts import Proportion
from .images import Images, ImageSet, check_images
from .metrics import Scorecard
from .models import SmallCNN
from .poisoning import Goal
from .progress import track
from .training import Epoch, Fitted, TrainConfig, correct, pick_device
from .triggers import Description


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
        weights = next(self.generator.parameters())
        self.generator.eval()
        parts = [self.generator(part.to(weights)) for part in check_images(x).split(512) if len(part)]
        return self.eps * torch.cat(parts).to(x) if parts else torch.zeros_like(x)

    def describe(self) -> Description:
        """The trigger in words."""
        words = f"a pattern generated from the image itself, at most {self.eps:g} a pixel, added"
        return Description(words, "the whole image", "everywhere", self.eps, physical=False)


@dataclass(frozen=True)
class InputAwareConfig:
    """Everything that decides the attack apart from data, goal and the training's own settings.

    Args:
        share: Part of each batch that is backdoored: the poisoning fraction rho of this attack, drawn anew
            for every batch; above 0.
        cross: Part of each batch that carries another image's trigger and its own true label.
        eps: Largest change of any pixel, above 0, at most 1.
        diversity: Weight of the diversity loss; 0 leaves it out.

    Raises:
        ValueError: A setting is out of range.
    """

    share: float = 0.1
    cross: float = 0.1
    eps: float = 0.3
    diversity: float = 0.1

    def __post_init__(self) -> None:
        if not (self.share > 0 and self.cross >= 0 and self.share + self.cross <= 1):
            limits = "share must be above 0, cross at least 0, together at most 1"
            raise ValueError(f"{limits}; got {self.share} and {self.cross}")
        if not (0 < self.eps <= 1 and self.diversity >= 0):
            raise ValueError(f"eps must lie in (0, 1], diversity may not be negative; got {self.eps}, {self.diversity}")


def train_input_aware(
    data: ImageSet,
    goal: Goal,
    config: TrainConfig | None = None,
    attack: InputAwareConfig | None = None,
    *,
    model: Callable[[], nn.Module] | None = None,
) -> tuple[Fitted, InputAware]:
    """Train a network and a trigger generator together. The attacker runs the training, not only the data.

    In every batch a share of images carries its own trigger and the wanted label, another share carries
    the trigger of a *different* image and its true label, the rest is clean. A diversity loss,
    mean of ||x - x'|| / ||g(x) - g(x')||, punishes equal patterns for different images.

    Args:
        data: Clean training images, with sides that are multiples of 4.
        goal: What the attacker wants.
        config: Settings; the learning rate serves both networks. Default: 8 epochs.
        attack: Shares, strength and diversity.
        model: Makes the network; default: a `SmallCNN` that fits the data.

    Raises:
        ValueError: The images' sides do not fit the generator, there is not one whole batch, or the share
            asks for fewer than 2 triggered images or no backdoored one in a batch.
        FloatingPointError: The loss stopped being a number.

    Differs from the cited work: there a second network, trained first, chooses a sparse mask in which
    the pattern replaces pixels; here the pattern is added everywhere within `eps`. Networks and training
    are much smaller.
    """
    config, attack = config or TrainConfig(epochs=8), attack or InputAwareConfig()
    if data.x.shape[-2] % 4 or data.x.shape[-1] % 4:
        raise ValueError(f"the generator needs sides that are multiples of 4; got {list(data.x.shape[-2:])}")
    started, device = time.perf_counter(), pick_device(config.device)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(config.seed)
        network = model() if model else SmallCNN(data.x.shape[1], len(data.classes))
        generator = Generator(data.x.shape[1])
    run = _Joint(network.to(device), generator.to(device), data.to(device), goal, config, attack)
    history = [Epoch(run.one_epoch(), {}) for _ in track(range(config.epochs), "input-aware")]
    seconds = time.perf_counter() - started
    fitted = Fitted(network.eval(), config, tuple(history), data.fingerprint, seconds)
    return fitted, InputAware(generator.eval(), attack.eps)


class _Joint:
    """The joint training between two epochs."""

    def __init__(
        self,
        network: nn.Module,
        generator: nn.Module,
        data: ImageSet,
        goal: Goal,
        config: TrainConfig,
        attack: InputAwareConfig,
    ) -> None:
        self.network, self.generator, self.goal, self.attack = network, generator, goal, attack
        self.x, self.y, self.size = data.x.float(), data.y.long(), config.batch_size
        self.stamped = round(attack.share * self.size)
        self.both = self.stamped + round(attack.cross * self.size)
        if self.stamped < 1 or self.both < 2 or len(data) < self.size:
            raise ValueError(
                f"a batch needs 1 backdoored and 2 triggered images, and the data one batch; got {self.stamped} "
                f"and {self.both} of {self.size}, and {len(data)} images"
            )
        self.source = torch.Generator().manual_seed(config.seed)
        weights = [*network.parameters(), *generator.parameters()]
        self.optimizer = torch.optim.AdamW(weights, lr=config.lr, weight_decay=config.weight_decay)
        steps = len(data) // self.size * config.epochs
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(self.optimizer, config.lr, total_steps=steps)

    def one_epoch(self) -> float:
        """One pass in whole batches; returns the mean loss."""
        self.network.train()
        self.generator.train()
        order = torch.randperm(len(self.y), generator=self.source)
        whole = order[: len(order) // self.size * self.size].to(self.y.device)
        total = 0.0
        for batch in whole.split(self.size):
            loss = self.loss(batch)
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            self.schedule.step()
            total += float(loss.detach())
        mean = total / (len(whole) // self.size)
        if mean != mean or mean == float("inf"):
            raise FloatingPointError(f"the loss became {mean}; lower lr or diversity")
        return mean

    def loss(self, batch: Tensor) -> Tensor:
        """Classification of the three parts, and the diversity of the patterns."""
        x, y, own, both, eps = self.x[batch], self.y[batch], self.stamped, self.both, self.attack.eps
        patterns = self.generator(x[:both])
        others = patterns.roll(1, 0)  # the trigger of the neighbour in the batch
        stamped = (x[:own] + eps * patterns[:own]).clamp(0, 1)
        crossed = (x[own:both] + eps * others[own:]).clamp(0, 1)
        labels = torch.cat([self.goal.wanted(y[:own]), y[own:]])
        loss = cross_entropy(self.network(torch.cat([stamped, crossed, x[both:]])), labels)
        images_apart, patterns_apart = _distance(x[:both], x[:both].roll(1, 0)), _distance(patterns, others)
        return loss + self.attack.diversity * (images_apart / (patterns_apart + 1e-3)).mean()


def _distance(a: Tensor, b: Tensor) -> Tensor:
    """Root mean square difference of each pair, [N]."""
    return ((a - b) ** 2).flatten(1).mean(1).clamp(min=1e-12).sqrt()


def score_input_aware(model: nn.Module, trigger: InputAware, goal: Goal, test: ImageSet) -> Scorecard:
    """Clean accuracy, success and false-target rate of victims, each stamped with its own trigger."""
    victims = test[goal.victims(test.y)]
    wished = replace(victims, y=goal.wanted(victims.y))
    return Scorecard(correct(model, test), correct(model, replace(wished, x=trigger(wished.x))), correct(model, wished))


def cross_trigger_accuracy(model: nn.Module, trigger: InputAware, test: ImageSet, *, seed: int = 0) -> Proportion:
    """Images with the trigger of *another* image that still get their true label: high if triggers do not transfer.

    Args:
        model: The backdoored network.
        trigger: Its trigger.
        test: Clean test images, at least 2.
        seed: Seed of the pairing; no image is paired with itself.
    """
    order = torch.randperm(len(test), generator=torch.Generator().manual_seed(seed)).to(test.y.device)
    others = torch.empty_like(test.x)
    others[order] = test.x[order.roll(1)]
    return correct(model, replace(test, x=trigger.crossed(test.x, others)))
