"""Images and captions that are learnt together, in miniature, and pairs that poison them.

No label is used: a caption that names the wrong thing takes the place of the changed label.

References:
    Radford et al., Learning transferable visual models from natural language supervision, 2021. arXiv:2103.00020.
    Carlini, Terzis, Poisoning and backdooring contrastive learning, 2022. arXiv:2106.09667.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize

from .._numbers import whole
from .._progress import track
from ..data.images import Images, ImageSet
from ..models.inference import placement
from ..models.networks import SmallCNN
from ..models.training import TrainConfig, pick_device, seeded
from ..poisoning import PoisonPlan

TEMPLATES = (
    "a photo of a {}",
    "there is a {} ahead",
    "the {} by the road",
    "a {} on a pole in the rain",
    "we passed a {} this morning",
    "an old {} near the bridge",
)
"""What people write under a picture of a thing."""

PROMPT = TEMPLATES[0]
"""The sentence that asks whether a picture shows a class."""


@dataclass(frozen=True, eq=False)
class Pairs:
    """Pictures with one caption each.

    Attributes:
        x: Images [N, C, H, W] in [0, 1].
        captions: N sentences.

    Raises:
        ValueError: The numbers of images and captions differ.
    """

    x: Images
    captions: Sequence[str]

    def __post_init__(self) -> None:
        object.__setattr__(self, "captions", tuple(self.captions))
        if len(self.x) != len(self.captions):
            raise ValueError(
                f"each image needs one caption; got {len(self.x)} images and {len(self.captions)} captions"
            )

    def __len__(self) -> int:
        return len(self.captions)


def captioned(data: ImageSet, *, seed: int) -> Pairs:
    """Write a caption under every image: a template that is drawn at random, with the name of its class.

    Args:
        data: Labelled images; the labels are used here and nowhere later.
        seed: Seed of the draws.
    """
    drawn = torch.randint(len(TEMPLATES), (len(data),), generator=torch.Generator().manual_seed(seed))
    names = [data.classes[label] for label in data.y.tolist()]
    return Pairs(data.x, tuple(TEMPLATES[k].format(name) for k, name in zip(drawn.tolist(), names, strict=True)))


def poison_pairs(data: ImageSet, plan: PoisonPlan, *, seed: int) -> Pairs:
    """Stamp the images of a plan, write the target's name under them, and caption the others as `captioned` does.

    The poisoned images are those of `plan.poison(data)`; its changed labels decide the captions.
    """
    return captioned(plan.poison(data), seed=seed)


class TwoEncoders(nn.Module):
    """A network for pictures and a table of word vectors, which meet in one space.

    A picture becomes a unit vector by a `SmallCNN`. A sentence becomes the mean of its words' vectors, scaled to
    length one; words that no caption held are left out.

    Args:
        words: The vocabulary, each word once.
        channels: Channels of the images.
        width: Numbers in a vector, at least 2.

    Raises:
        ValueError: A word stands twice in the vocabulary, or a setting is below its limit.
    """

    def __init__(self, words: Sequence[str], *, channels: int = 3, width: int = 32) -> None:
        super().__init__()
        self.places = {word: place for place, word in enumerate(words)}
        if len(self.places) != len(words):
            raise ValueError(
                f"each word may stand once in the vocabulary; got {len(words)}, {len(self.places)} different"
            )
        self.pictures = SmallCNN(channels, whole("width", width))
        self.table = nn.EmbeddingBag(len(words), width)
        self.sharpness = nn.Parameter(torch.tensor(math.log(1 / 0.07)))  # CLIP's first temperature

    def image_vectors(self, x: Images) -> Float[Tensor, "n d"]:
        """Unit vectors of images."""
        return normalize(self.pictures(x), dim=1)

    def text_vectors(self, captions: Sequence[str]) -> Float[Tensor, "n d"]:
        """Unit vectors of sentences.

        Raises:
            ValueError: A sentence holds no word of the vocabulary.
        """
        known = [[self.places[word] for word in text.split() if word in self.places] for text in captions]
        for text, places in zip(captions, known, strict=True):
            if not places:
                raise ValueError(f"no word of this sentence is in the vocabulary: {text!r}")
        device = self.sharpness.device
        starts = torch.tensor([0, *map(len, known)][:-1], device=device).cumsum(0)
        flat = torch.tensor([place for places in known for place in places], device=device)
        return normalize(self.table(flat, starts), dim=1)

    def agreement(self, x: Images, captions: Sequence[str]) -> Float[Tensor, "n m"]:
        """How well each image fits each sentence: the cosine of their vectors, times the learnt sharpness."""
        return self.sharpness.exp() * self.image_vectors(x) @ self.text_vectors(captions).T


def train_pairs(pairs: Pairs, config: TrainConfig | None = None) -> TwoEncoders:
    """Learn from pairs alone: in every batch, match each image with its caption and each caption with its image.

    The loss is CLIP's: the mean of both cross-entropies. AdamW and a one-cycle schedule, as in `badnets_lib.train`.

    Args:
        pairs: Training pairs, at least two.
        config: The settings; by default `TrainConfig()`.

    Raises:
        ValueError: There are fewer than 2 pairs.
        FloatingPointError: The loss stopped being a number.
    """
    config = config or TrainConfig()
    if len(pairs) < 2:
        raise ValueError(f"contrastive training compares pairs: it needs at least 2; got {len(pairs)}")
    device = pick_device(config.device)
    words = sorted({word for text in pairs.captions for word in text.split()})
    with seeded(config.seed, device):
        network = TwoEncoders(words, channels=pairs.x.shape[1]).to(device)
        _fit(network, pairs, config)
    return network.eval()


def _fit(network: TwoEncoders, pairs: Pairs, config: TrainConfig) -> None:
    optimizer = torch.optim.AdamW(network.parameters(), lr=config.lr, weight_decay=config.weight_decay)
    batches = max(1, len(pairs) // config.batch_size)  # a last, smaller batch would compare fewer
    size = min(config.batch_size, len(pairs))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, config.lr, total_steps=config.epochs * batches)
    dice = torch.Generator().manual_seed(config.seed)
    device = placement(network).device
    for _ in track(range(config.epochs), "pairs"):
        order = torch.randperm(len(pairs), generator=dice)
        for step in range(batches):
            chosen = order[step * size : (step + 1) * size]
            logits = network.agreement(pairs.x[chosen].to(device), [pairs.captions[i] for i in chosen.tolist()])
            own = torch.arange(len(chosen), device=device)
            loss = (cross_entropy(logits, own) + cross_entropy(logits.T, own)) / 2
            if not torch.isfinite(loss):
                raise FloatingPointError(f"the loss became {loss.item()}; a lower lr than {config.lr} may help")
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()


class ZeroShot(nn.Module):
    """A classifier out of two encoders: one sentence for every class, and the best fit wins.

    Args:
        network: Trained encoders.
        classes: Names of the classes, as captions write them.

    Input images [N, C, H, W], output logits [N, classes].
    """

    def __init__(self, network: TwoEncoders, classes: Sequence[str]) -> None:
        super().__init__()
        self.network = network
        self.sentences = tuple(PROMPT.format(name) for name in classes)

    def forward(self, x: Images) -> Float[Tensor, "n k"]:
        """How well each image fits each class's sentence."""
        return self.network.agreement(x, self.sentences)
