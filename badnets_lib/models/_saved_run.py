"""A training run in a file, so that it can go on after a stop."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from ..files import DamagedFile, load_tensors, save_tensors

Entry = TypeVar("Entry")


class SavedRun:
    """Weights, optimiser, schedule and history of a run, kept after every epoch.

    Args:
        path: The file; it need not exist yet. A damaged one is warned about, and the run begins anew.
        identity: What tells this run from others, by name.

    Raises:
        ValueError: The file holds another run.
    """

    def __init__(self, path: Path, identity: Mapping[str, str]) -> None:
        self.path = path
        self.identity = dict(identity)
        self.tensors: dict[str, Tensor] = {}
        self.header: dict[str, Any] = {}
        try:
            self.tensors, self.header = load_tensors(path)
        except FileNotFoundError:
            return
        except DamagedFile as error:
            warnings.warn(f"{error}; training starts again from the first epoch", stacklevel=3)
            return
        found = self.header.get("identity")
        for name, value in self.identity.items():
            if not isinstance(found, dict) or found.get(name) != value:
                theirs = found.get(name) if isinstance(found, dict) else None
                raise ValueError(f"{path} holds another run: its {name} is {theirs}, this run's {value}")

    def history(self, entry: Callable[[Mapping[str, Any]], Entry]) -> list[Entry]:
        """The epochs that are done, each made by `entry` from its row."""
        return [entry(row) for row in self.header.get("history", ())]

    def restore(
        self, network: nn.Module, optimizer: torch.optim.Optimizer, schedule: torch.optim.lr_scheduler.LRScheduler
    ) -> int:
        """Put all three where the file left them, remember them for `keep`, and return how many epochs are done."""
        self.network, self.optimizer, self.schedule = network, optimizer, schedule
        if not self.header:
            return 0
        state: dict[int, dict[str, Tensor]] = {}
        weights: dict[str, Tensor] = {}
        for name, tensor in self.tensors.items():
            part, _, rest = name.partition(".")
            if part == "model":
                weights[rest] = tensor
            else:
                index, _, key = rest.partition(".")
                state.setdefault(int(index), {})[key] = tensor
        network.load_state_dict(weights)
        learning = [weight for group in optimizer.param_groups for weight in group["params"]]
        for number, parameter in enumerate(learning):
            for key, value in state.get(number, {}).items():  # the fused optimiser wants the parameter's own layout
                if value.shape == parameter.shape:
                    state[number][key] = torch.empty_like(parameter).copy_(value)
        optimizer.load_state_dict({"state": state, "param_groups": self.header["groups"]})
        schedule.load_state_dict(self.header["schedule"])
        return len(self.header["history"])

    def keep(self, history: Sequence[Mapping[str, Any]]) -> None:
        """Write everything to the file, whole or not at all."""
        state = self.optimizer.state_dict()
        tensors = {f"model.{name}": tensor for name, tensor in self.network.state_dict().items()}
        for index, entry in state["state"].items():
            tensors |= {f"optimizer.{index}.{name}": tensor for name, tensor in entry.items()}
        header = {
            "identity": self.identity,
            "groups": state["param_groups"],
            "schedule": self.schedule.state_dict(),
            "history": list(history),
        }
        save_tensors(self.path, tensors, header)
