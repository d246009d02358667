"""Filter, then retrain: what any data filter is good for in the end."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from torch import nn

from ..data.images import ImageSet
from ..models.training import NetworkSource, TrainConfig, train
from .activation_clustering import ActivationClustering
from .kinds import RobustTraining
from .verdicts import Flags, Repair


@dataclass(frozen=True)
class FilterAndRetrain(RobustTraining):
    """Train on everything, drop what the filter flags, and train a fresh network on the rest.

    Args:
        data_filter: Any `DataFilter`.
        network: As the `model` of `train`, for both trainings.

    References:
        Tran, Li, Madry, Spectral signatures in backdoor attacks, 2018, retrain in this way.
            arXiv:1811.00636.
    """

    data_filter: Callable[[nn.Module, ImageSet], Flags] = field(default_factory=ActivationClustering)
    network: NetworkSource | None = None

    def __call__(self, data: ImageSet, config: TrainConfig | None = None) -> Repair:
        """Train on data that may be poisoned.

        Args:
            data: The training set; it is not changed.
            config: Settings of both trainings.

        Returns:
            A repair whose history is one record: how many images were judged, and how many of each class dropped.

        Raises:
            ValueError: The filter leaves a class without images.
        """
        started, config = time.perf_counter(), config or TrainConfig()
        first = train(data, config, model=self.network, label="before the filter").model
        flags = self.data_filter(first, data)
        kept = flags.drop_from(data)
        before, after = data.counts(), kept.counts()
        emptied = [name for name, had, has in zip(data.classes, before, after, strict=True) if had > has == 0]
        if emptied:
            raise ValueError(f"{self.data_filter!r} leaves no image of class {', '.join(emptied)} to retrain on")
        model = train(kept, config, model=self.network, label="after the filter").model
        record = {"judged": len(data), "dropped": [had - has for had, has in zip(before, after, strict=True)]}
        return Repair(model, repr(self), time.perf_counter() - started, (record,), flags.oracle)
