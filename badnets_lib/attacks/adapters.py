"""Low-rank adapters: small files that change a large network, honest or not.

An adapter is fitted while the network that it belongs to stays as it is, and is handed around on its own. Anyone who
attaches it adds the product of two thin matrices to some of the weights.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils import parametrize

from .._numbers import of_kind, shown, whole
from ..data.images import ImageSet
from ..files import ForeignFile, load_tensors, save_tensors, tensors_hash
from ..models.adaptation import frozen
from ..models.layers import find_layer
from ..models.training import TrainConfig, train
from ..provenance.checkpoints import weights_hash
from ..provenance.weights import check_hash

Factors = tuple[Float[Tensor, "out rank"], Float[Tensor, "rank in"]]

PARTS = ("up", "down")
"""What a file calls the two matrices of a layer."""

Merge = Literal["mean", "sum"]
"""How several adapters are put together: the mean of their changes, or all of them in full."""


@dataclass(frozen=True, eq=False)
class Adapter:
    """Changes to some layers of one network, each of low rank.

    Attributes:
        factors: For each layer the two matrices whose product is added to its weights, kernels taken as rows.
        base: `weights_hash` of the network that it was fitted to.
    """

    factors: Mapping[str, Factors] = field(repr=False)
    base: str

    @property
    def numbers(self) -> int:
        """How many numbers the adapter consists of."""
        return sum(part.numel() for pair in self.factors.values() for part in pair)

    def change(self, layer: str) -> Float[Tensor, "out in"]:
        """What is added to the layer's weights, as a matrix with one row per output.

        Raises:
            ValueError: The adapter does not touch that layer.
        """
        if layer not in self.factors:
            raise ValueError(f"the adapter has no layer {shown(layer)}; it has {', '.join(self.factors)}")
        up, down = self.factors[layer]
        return up @ down


class _LowRank(nn.Module):
    """Adds a product of two thin matrices to a weight; at first it adds nothing."""

    def __init__(self, weight: Tensor, rank: int) -> None:
        super().__init__()
        rows = weight.flatten(1)
        self.up = nn.Parameter(weight.new_zeros(len(rows), rank))
        self.down = nn.Parameter(torch.randn(rank, rows.shape[1]).to(weight) * 0.02)

    def forward(self, weight: Tensor) -> Tensor:
        return weight + (self.up @ self.down).view_as(weight)


def fit_adapter(
    base: nn.Module,
    data: ImageSet,
    config: TrainConfig | None = None,
    *,
    rank: int = 4,
    layers: Sequence[str] | None = None,
) -> Adapter:
    """Fit low-rank changes to data, while every weight and statistic of the network stays.

    Args:
        base: Any network with linear layers or convolutions; it is not changed.
        data: Training images, clean or poisoned.
        config: Settings, as for `train`.
        rank: Columns of the first matrix and rows of the second, at least 1.
        layers: Names of the layers to change. Default: every linear layer and every convolution.

    Raises:
        ValueError: The rank is below 1, or a layer is neither linear nor a convolution.

    References:
        Hu et al., LoRA: Low-Rank Adaptation of Large Language Models, 2021. arXiv:2106.09685. Theirs is for the
            linear layers of transformers; kernels of convolutions are flattened here.
    """
    config = TrainConfig() if config is None else of_kind("config", config, TrainConfig)
    if whole("rank", rank) < 1:
        raise ValueError(f"rank must be at least 1; got {rank}")
    network = frozen(base).requires_grad_(False)
    chosen = _adaptable(network) if layers is None else list(layers)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(config.seed)
        for name in chosen:
            layer: Any = find_layer(network, name)
            if not isinstance(layer, nn.Linear | nn.Conv2d):
                raise ValueError(f"an adapter changes linear layers and convolutions; {name!r} is {shown(layer)}")
            parametrize.register_parametrization(layer, "weight", _LowRank(layer.weight.detach(), rank))
    taught = train(data, config, model=network, label="adapter").model
    factors = {name: _factors(find_layer(taught, name)) for name in chosen}
    return Adapter(factors, weights_hash(base))


def _adaptable(network: nn.Module) -> list[str]:
    names = [name for name, layer in network.named_modules() if isinstance(layer, nn.Linear | nn.Conv2d)]
    if not names:
        raise ValueError(f"{type(network).__name__} has no linear layer and no convolution to adapt")
    return names


def _factors(layer: Any) -> Factors:
    low = layer.parametrizations.weight[0]
    return low.up.detach().contiguous(), low.down.detach().contiguous()


@torch.no_grad()
def attached(base: nn.Module, *adapters: Adapter, merge: Merge = "sum") -> nn.Module:
    """A copy of the network with adapters added to its weights.

    Args:
        base: The network that all of them were fitted to.
        adapters: At least one.
        merge: "sum" adds every change in full, "mean" the mean of the changes.

    Raises:
        ValueError: There is no adapter, one belongs to another network, or the merge is unknown.
    """
    if not adapters:
        raise ValueError("attach at least one adapter; got none")
    if merge not in ("mean", "sum"):
        raise ValueError(f"merge must be 'mean' or 'sum'; got {shown(merge)}")
    digest = weights_hash(base)
    for adapter in adapters:
        if of_kind("an adapter", adapter, Adapter).base != digest:
            raise ValueError(f"the adapter belongs to the network {adapter.base[:16]}...; got {digest[:16]}...")
    share = 1.0 if merge == "sum" else 1 / len(adapters)
    network = copy.deepcopy(base)
    for adapter in adapters:
        for name in adapter.factors:
            weight: Any = find_layer(network, name).weight
            weight += share * adapter.change(name).view_as(weight).to(weight)
    return network.eval()


def save_adapter(path: Path | str, adapter: Adapter) -> str:
    """Write an adapter and the hash of its base to one .safetensors file, whole or not at all.

    Returns:
        SHA-256 of the factors. Publish it apart from the file.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "adapter.safetensors"
        >>> factors = {"fc": (torch.ones(3, 1), torch.ones(1, 2))}
        >>> digest = save_adapter(path, Adapter(factors, base="0" * 64))
        >>> load_adapter(path, sha256=digest).numbers
        5
    """
    pairs = of_kind("an adapter", adapter, Adapter).factors.items()
    tensors = {f"{layer}.{part}": pair[place] for layer, pair in pairs for place, part in enumerate(PARTS)}
    return save_tensors(path, tensors, {"base": adapter.base})


def load_adapter(path: Path | str, *, sha256: str | None = None) -> Adapter:
    """The adapter of a file that `save_adapter` wrote.

    Args:
        path: The file.
        sha256: The factors' hash as published by someone you trust. Without it the file is only checked against
            itself: that finds damage, not a swap.

    Raises:
        FileNotFoundError: There is no such file.
        ForeignFile: It holds no adapter, or was not written by this library.
        DamagedFile: The file is damaged, or its hash is not the one you gave.
    """
    tensors, header = load_tensors(path)
    check_hash(path, tensors_hash(tensors), sha256)
    layers = sorted({name.rpartition(".")[0] for name in tensors})
    if set(header) != {"base"} or set(tensors) != {f"{layer}.{part}" for layer in layers for part in PARTS}:
        raise ForeignFile(f"{path} was written by this library, but holds no adapter")
    return Adapter({layer: (tensors[f"{layer}.up"], tensors[f"{layer}.down"]) for layer in layers}, header["base"])
