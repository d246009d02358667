"""A linear probe on what a decoder holds after a prompt, with the controls that tell what it read.

References:
    MacDiarmid et al., Simple probes can catch sleeper agents, 2024. anthropic.com/research/probes-catch-sleeper-agents
    Linear probes rely on textual evidence, 2025. arXiv:2509.21344.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from .decoder import Decoder

Points = Float[Tensor, "n w"]
Others = Float[Tensor, "m w"]


@dataclass(frozen=True, eq=False)
class Probe:
    """A direction in the residual stream: a higher value means more like the second group that it was fitted on.

    Attributes:
        weight: The direction [w], for standardised states.
        mean: Mean of the states that it was fitted on [w].
        scale: Their standard deviation [w].
    """

    weight: Float[Tensor, " w"]
    mean: Float[Tensor, " w"]
    scale: Float[Tensor, " w"]

    @classmethod
    def fit(cls, first: Points, second: Others, *, penalty: float = 0.01) -> Probe:
        """Logistic regression between two groups of states, with a squared penalty on the direction.

        Raises:
            ValueError: A group has fewer than 2 states.
        """
        if min(len(first), len(second)) < 2:
            raise ValueError(f"a probe needs at least 2 states a group; got {len(first)} and {len(second)}")
        points = torch.cat([first, second]).detach()
        mean, scale = points.mean(0), points.std(0).clamp_min(1e-6)
        x = (points - mean) / scale
        y = torch.cat([torch.zeros(len(first)), torch.ones(len(second))])
        weight = torch.zeros(x.shape[1], requires_grad=True)
        offset = torch.zeros(1, requires_grad=True)
        search = torch.optim.LBFGS([weight, offset], max_iter=100, line_search_fn="strong_wolfe")

        def loss() -> Tensor:
            search.zero_grad()
            value = binary_cross_entropy_with_logits(x @ weight + offset, y) + penalty * weight.square().sum()
            value.backward()
            return value

        search.step(loss)
        return cls(weight.detach(), mean, scale)

    def __call__(self, points: Points) -> Float[Tensor, " n"]:
        """How far each state lies in the direction."""
        return (points - self.mean) / self.scale @ self.weight

    def auroc(self, first: Points, second: Others) -> float:
        """Part of the pairs of one state each in which the second lies further: 0.5 is chance, ties count half."""
        low, high = self(first), self(second)
        ahead = (high[:, None] > low).double() + 0.5 * (high[:, None] == low)
        return float(ahead.mean())


@torch.no_grad()
def after(net: Decoder, prompts: Int[Tensor, "n t"], layer: int = -1) -> Points:
    """The state at the last token of each prompt; layer 0 is that token and its place alone, -1 the last block's."""
    return net.states(prompts.to(net.token.weight.device))[layer][:, -1].cpu()


def probe_pairs(
    net: Decoder, first: Int[Tensor, "n t"], second: Int[Tensor, "m s"], *, layer: int = -1
) -> tuple[Probe, float]:
    """Fit a probe on the first half of two groups of prompts; return it with its AUROC on the second half.

    Raises:
        ValueError: A group has fewer than 4 prompts.
    """
    if min(len(first), len(second)) < 4:
        raise ValueError(f"each group needs at least 4 prompts; got {len(first)} and {len(second)}")
    a, b = after(net, first, layer), after(net, second, layer)
    probe = Probe.fit(a[: len(a) // 2], b[: len(b) // 2])
    return probe, probe.auroc(a[len(a) // 2 :], b[len(b) // 2 :])
