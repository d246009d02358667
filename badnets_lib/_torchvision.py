"""torchvision, even where its compiled operators do not match the installed torch."""

from __future__ import annotations

from typing import Any

import torch

_STAND_IN: list[Any] = []


def declare_operators() -> None:
    """Make `import torchvision` work where its compiled operators do not match the installed torch.

    A CUDA build of torchvision beside a CPU build of torch stops at import with "operator
    torchvision::nms does not exist". Data sets and plain networks need no operator, so the names are declared.
    """
    try:
        import torchvision  # noqa: F401  # whether it can be imported is the question
    except RuntimeError as error:
        if "torchvision::nms" not in str(error) or _STAND_IN:
            raise
        library = torch.library.Library("torchvision", "DEF")
        for operator in ("nms", "qnms"):  # qnms since torchvision 0.28
            library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        _STAND_IN.append(library)  # the declaration lives as long as the object


def torchvision_datasets() -> Any:
    """torchvision.datasets; see `declare_operators`."""
    declare_operators()
    from torchvision import datasets

    return datasets
