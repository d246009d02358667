"""What the defender has. A defense is given this object and nothing else, so that no result rests on a leak."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .._numbers import check_numbers
from ..data.images import CHUNK, ImageSet, seeded_generator, to_unit


@dataclass(frozen=True, eq=False)
class Holding:
    """Trusted images, and whatever the defender was told about the attack.

    Args:
        trusted: Clean, correctly labelled images; `train[:0]` for a defender who has none.
        fraction: The poisoning fraction rho, if it is known. No real defender knows it.
        target: The attacker's label, if it is known. No real defender knows it.

    Raises:
        TypeError: The trusted images are no `ImageSet`.
        ValueError: The fraction or the label is out of range.

    Example:
        >>> images = ImageSet(torch.rand(40, 1, 8, 8), torch.arange(40) % 2, ("a", "b"))
        >>> train, reserve = images.split(0.5)
        >>> Holding.draw(reserve, 10, apart_from=(train,))
        Holding(10 trusted images, 5 of each of 2 classes)
    """

    trusted: ImageSet
    fraction: float | None = None
    target: int | None = None

    def __post_init__(self) -> None:
        check_numbers(self)
        if self.fraction is not None and not 0 <= self.fraction <= 1:
            raise ValueError(f"fraction must lie in [0, 1]; got {self.fraction}")
        if self.target is not None and not 0 <= self.target < len(self.trusted.classes):
            raise ValueError(f"target must lie in [0, {len(self.trusted.classes)}); got {self.target}")

    @classmethod
    def draw(
        cls,
        reserve: ImageSet,
        n: int,
        *,
        balanced: bool = True,
        seed: int = 0,
        apart_from: Sequence[ImageSet] = (),
        fraction: float | None = None,
        target: int | None = None,
    ) -> Holding:
        """`n` trusted images, drawn from a clean reserve.

        Args:
            reserve: Clean images that are in neither the training set nor the test set a result is
                scored on. `ImageSet.split` makes one.
            n: How many to draw.
            balanced: True: as many of every class, or one more where `n` is no multiple of the number of classes.
                False: of each class in proportion to the reserve.
            seed: Seed of the draw.
            apart_from: Sets that must not hold any of the drawn images: the training set and the scored test set.
            fraction: As in `Holding`.
            target: As in `Holding`.

        Raises:
            TypeError: The reserve is no `ImageSet`.
            ValueError: The reserve has too few images of some class, or a drawn image is in a set it
                must be apart from.
        """
        if not isinstance(reserve, ImageSet):
            raise TypeError(f"trusted images are drawn from an ImageSet; got {type(reserve).__name__}")
        if n < 1:
            raise ValueError(f"a draw needs at least 1 trusted image; got n={n}")
        source = seeded_generator(seed)
        wanted = _equal(len(reserve.classes), n, source) if balanced else _in_proportion(reserve.counts(), n)
        chosen: list[Tensor] = []
        for label, count in enumerate(wanted):
            members = (reserve.y.cpu() == label).nonzero().flatten()
            if len(members) < count:
                hint = "; balanced=False draws in proportion" if balanced and n <= len(reserve) else ""
                raise ValueError(
                    f"{n} trusted images need {count} of class {label}; the reserve holds {len(members)} of "
                    f"{len(reserve)}{hint}"
                )
            chosen.append(members[torch.randperm(len(members), generator=source)[:count]])
        trusted = reserve[torch.cat(chosen).sort().values]
        for other in apart_from:
            check_apart(trusted, other)
        return cls(trusted, fraction, target)

    @property
    def oracle(self) -> tuple[str, ...]:
        """Names of what no real defender knows, to be shown beside every result."""
        return tuple(name for name in ("fraction", "target") if getattr(self, name) is not None)

    def need(self, least: int, what: str) -> ImageSet:
        """The trusted images, if there are at least so many.

        Args:
            least: How many are needed.
            what: The name of the defense, for the message.

        Raises:
            ValueError: There are fewer.
        """
        if len(self.trusted) < least:
            raise ValueError(f"{what} needs at least {least} trusted images; this holding has {len(self.trusted)}")
        return self.trusted

    def __repr__(self) -> str:
        counts = self.trusted.counts()
        each = str(min(counts)) if min(counts) == max(counts) else f"{min(counts)} to {max(counts)}"
        known = "".join(f", oracle: {name} = {getattr(self, name):g}" for name in self.oracle)
        return f"Holding({len(self.trusted):,} trusted images, {each} of each of {len(counts)} classes{known})"


def check_holding(holding: Any) -> Holding:
    """The holding, if it is one.

    Raises:
        TypeError: It is something else.
    """
    if not isinstance(holding, Holding):
        hint = " (Holding(images) makes one)" if isinstance(holding, ImageSet) else ""
        raise TypeError(f"a defense needs a Holding, what the defender has; got {type(holding).__name__}{hint}")
    return holding


def _equal(classes: int, n: int, source: torch.Generator) -> list[int]:
    wanted = torch.full((classes,), n // classes)
    wanted[torch.randperm(classes, generator=source)[: n % classes]] += 1
    return wanted.tolist()


def _in_proportion(counts: Sequence[int], n: int) -> list[int]:
    """`n` images by class, as near to the proportions as whole numbers allow: the largest remainders round up."""
    total = max(1, sum(counts))
    wanted = [n * count // total for count in counts]
    by_remainder = sorted(range(len(counts)), key=lambda label: n * counts[label] % total, reverse=True)
    for label in by_remainder[: n - sum(wanted)]:
        wanted[label] += 1
    return wanted


def check_apart(ours: ImageSet, theirs: ImageSet) -> None:
    """Raise if two sets share an image, pixel for pixel.

    Raises:
        ValueError: They do; a result on `theirs` would be a leak.
    """
    known = set(pixel_keys(theirs))
    shared = sum(key in known for key in pixel_keys(ours))
    if shared:
        raise ValueError(f"{shared} of {len(ours)} trusted images are also in {theirs!r}; the result would be a leak")


def pixel_keys(data: ImageSet) -> list[bytes]:
    """A hash of the pixels of each image, the same however they are stored: equal images have equal keys."""
    return [
        hashlib.blake2b(image.tobytes(), digest_size=16).digest()
        for part in data.x.detach().split(CHUNK)
        for image in to_unit(part.cpu()).float().numpy()
    ]
