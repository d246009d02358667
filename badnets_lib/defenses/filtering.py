"""Filter, then retrain: what any data filter is good for in the end."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import ClassVar

from torch import nn

from ..data.images import ImageSet
from ..models.training import NetworkSource, TrainConfig, train
from .activation_clustering import ActivationClustering
from .assumptions import FILTER_FINDS, Assumption
from .kinds import RobustTraining
from .verdicts import Flags, Repair, network_in_words, settings_in_words


@dataclass(frozen=True)
class FilterAndRetrain(RobustTraining):
    """Train on everything, drop what the filter flags, and train a fresh network on the rest.

    Args:
        data_filter: Any `DataFilter`.
        network: As the `model` of `train`, for both trainings; the second does not go on from the first.

    References:
        Tran, Li, Madry, Spectral signatures in backdoor attacks, 2018, retrain in this way.
            arXiv:1811.00636.
    """

    assumptions: ClassVar[tuple[Assumption, ...]] = (FILTER_FINDS,)

    data_filter: Callable[[nn.Module, ImageSet], Flags] = field(default_factory=ActivationClustering)
    network: NetworkSource | None = field(default=None, repr=False)

    def __call__(self, data: ImageSet, config: TrainConfig | None = None) -> Repair:
        """Train on data that may be poisoned, twice.

        Args:
            data: The training set; it is not changed.
            config: Settings of both trainings.

        Returns:
            As `retrain`.

        Raises:
            ValueError: The filter leaves a class without images.
        """
        started = time.perf_counter()
        config = config or TrainConfig()
        first = train(data, config, model=self.network, label="before the filter").model
        repair = self.retrain(first, data, config)
        return replace(repair, seconds=time.perf_counter() - started)

    def retrain(self, model: nn.Module, data: ImageSet, config: TrainConfig | None = None) -> Repair:
        """Let the filter judge the data with a network that was trained on them, and train a fresh one on the rest.

        Args:
            model: The network that the filter asks; it is left as it is.
            data: The training set; it is not changed.
            config: Settings of the training.

        Returns:
            A repair whose history is one record: the flags, how many images were judged, how many of each class were
            dropped, and which network was trained.

        Raises:
            ValueError: The filter leaves a class without images.
        """
        started = time.perf_counter()
        flags = self.data_filter(model, data)
        kept = flags.drop_from(data)
        dropped = [had - has for had, has in zip(data.counts(), kept.counts(), strict=True)]
        emptied = [
            name for name, had, gone in zip(data.classes, data.counts(), dropped, strict=True) if had == gone > 0
        ]
        if emptied:
            raise ValueError(f"{self.data_filter!r} leaves no image of class {', '.join(emptied)} to retrain on")
        trained = train(kept, config, model=self.network, label="after the filter").model
        record = {"flags": flags, "judged": len(data), "dropped": dropped, "network": network_in_words(trained)}
        seconds = time.perf_counter() - started
        return Repair(trained, settings_in_words(self, trained), seconds, (record,), flags.oracle)
