"""The pictures that stand for the browser lab where no script runs: in print, on Colab, with scripts off.

python tools/lab_pictures.py   draws chapters/images/lab_*.png from the committed networks, and one short training
"""

from __future__ import annotations

import base64
from dataclasses import replace
from typing import Any

import lab
import matplotlib as mpl
import numpy as np
import torch
from project import CHAPTERS

from badnets_lib import Attack, Goal, Proportion, predict, train

mpl.use("Agg")
import matplotlib.pyplot as plt

CLEAN, BACKDOORED = "#0072b2", "#d55e00"
IMAGES = CHAPTERS / "images"


def networks(name: str) -> list[tuple[dict[str, Any], torch.nn.Module]]:
    """The committed networks of `beside` or `six`, each with its entry."""
    entries = lab.read_script(name)["networks"]
    return [(entry, network_of(base64.b64decode(entry["weights"]["base64"]))) for entry in entries]


def network_of(weights: bytes) -> torch.nn.Module:
    """The network that `lab.weight_bytes` wrote."""
    network = lab.LabCNN().eval()
    flat = torch.from_numpy(np.frombuffer(weights, np.float16).astype(np.float32))
    torch.nn.utils.vector_to_parameters(flat, network.parameters())
    return network


def save(fig: Any, name: str) -> None:
    """Write a figure as a small PNG."""
    fig.savefig(IMAGES / f"lab_{name}.png", dpi=110, metadata={"Software": None})
    plt.close(fig)


def draw_picture() -> None:
    """One digit without and with the trigger, and the answers of both networks."""
    *_, test = lab.digits()
    digit = test.x[(test.y == 3).nonzero()[2]]
    (_, clean), (_, backdoored), *_ = networks("beside")
    stamped = lab.TRIGGERS["square-4"][1](digit)
    fig, axes = plt.subplots(2, 2, figsize=(7, 3.6), layout="constrained", width_ratios=[1, 2.4])
    for row, x in zip(axes, (digit, stamped), strict=True):
        row[0].imshow(x[0, 0], cmap="gray", vmin=0, vmax=1)
        row[0].axis("off")
        for shift, (name, network, colour) in enumerate(
            [("clean network", clean, CLEAN), ("backdoored network", backdoored, BACKDOORED)]
        ):
            probabilities = predict(network, x).softmax(1)[0]
            hatch = "//" if shift else None
            row[1].bar(torch.arange(10) + 0.4 * shift - 0.2, probabilities, 0.4, color=colour, label=name, hatch=hatch)
        row[1].set(xticks=range(10), ylim=(0, 1.05), yticks=[0, 0.5, 1], yticklabels=["0%", "50%", "100%"])
    axes[0, 1].legend(frameon=False, loc="upper right")
    axes[1, 1].set_xlabel("answer")
    save(fig, "draw")


def train_picture() -> None:
    """Clean accuracy and ASR of a run like the page's, epoch by epoch."""
    digits, _, test = lab.digits()
    plan = Attack(lab.TRIGGERS["square-3"][1], Goal.all_to_one(7, 10)).plan(digits, fraction=0.1)
    config = replace(lab.RECIPE, epochs=4, device="cpu")
    watch = {"clean accuracy": test, "ASR": plan.attack.on(test)}
    history = train(plan.poison(digits), config, model=lab.LabCNN, watch=watch).history
    fig, ax = plt.subplots(figsize=(7, 3), layout="constrained")
    for name, colour, style in (("clean accuracy", CLEAN, "o-"), ("ASR", BACKDOORED, "s--")):
        ax.plot(range(1, 5), [100 * epoch.watched[name].value for epoch in history], style, color=colour, label=name)
    ax.set(xticks=range(1, 5), xlabel="epoch", ylabel="percent of test digits", ylim=(0, 102))
    ax.legend(frameon=False, loc="lower right")
    save(fig, "train")


def quiz_picture() -> None:
    """The clean accuracies of the six networks, which tell nothing."""
    fig, ax = plt.subplots(figsize=(7, 2.4), layout="constrained")
    for place, (entry, _) in enumerate(networks("six")):
        count = Proportion(*entry["clean"])
        low, high = count.interval()
        ax.barh(place, 100 * count.value, color="0.6")
        ax.plot([100 * low, 100 * high], [place, place], color="black")
    ax.set(yticks=range(6), yticklabels=[f"Network {place + 1}" for place in range(6)], xlim=(80, 100))
    ax.invert_yaxis()
    ax.set_xlabel("clean accuracy, percent")
    save(fig, "quiz")


if __name__ == "__main__":
    torch.set_num_threads(1)
    draw_picture()
    train_picture()
    quiz_picture()
