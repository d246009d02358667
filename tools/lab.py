"""Exports what the browser lab shows: digits, triggers, settings and networks, as scripts of chapters/_static/lab.

    python tools/lab.py            train the networks (minutes) and write every file
    python tools/lab.py language   train the two language models alone, in a minute
    python tools/lab.py untrained  write the files that need no training, in seconds
    python tools/lab.py check      say whether the committed files are the ones the manifest lists

The scripts hold base64 text, because a page opened from a folder may load scripts and nothing else. `manifest.json`
beside them records where they come from, what each network scored, and a SHA-256 of every file.
"""

from __future__ import annotations

import argparse
import base64
import gzip
import hashlib
import json
import os
import zlib
from collections import OrderedDict
from dataclasses import asdict, dataclass
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import lab_language
import torch
from project import CHAPTERS
from torch import Tensor, nn
from torch.nn.functional import affine_grid, grid_sample

from badnets_lib import (
    FOUR_PIXELS,
    Attack,
    Blend,
    Goal,
    ImageSet,
    Patch,
    Sinusoid,
    TrainConfig,
    Trigger,
    describe_device,
    load,
    results,
    score,
    train,
    widgets,
)
from badnets_lib.defenses import NeuralCleanse
from badnets_lib.evaluation.scores import Scorecard, clean_accuracy
from badnets_lib.files import write_atomically
from badnets_lib.triggers import describe, to_spec
from badnets_lib.triggers.patterns import noise

LAB = CHAPTERS / "_static" / "lab"
MANIFEST = "manifest.json"
EXPLORER = "explorer.html"
LICENCE = "MNIST, (c) Yann LeCun and Corinna Cortes, CC BY-SA 3.0; reduced to 16 grey levels"

TRAIN, DEFENDER, TEST = 300, 10, 100  # digits of each class
LEVELS = 15  # grey levels above black
SAMPLES = 3  # digits of each class that come with the networks, so that there is something to look at at once
RECIPE = TrainConfig(epochs=4, batch_size=32, lr=0.004)
"""How the exported networks are trained. The page trains with the same settings and the reader's number of epochs."""
REPAIR = TrainConfig(epochs=10, batch_size=10, lr=0.001, weight_decay=0.0)
"""How the page's defender fine-tunes on its few digits."""
SCAN = NeuralCleanse()
"""The search for triggers that the page repeats."""
SCAN_SETTINGS = (
    "rounds", "batches", "batch_size", "lr", "weight", "factor", "success", "patience", "stall", "threshold", "ratio",
)  # fmt: skip
SCAN_BETAS = (0.5, 0.9)
"""Adam's decay rates in that search, which are no setting of it."""
WARPS = 7
"""Bent copies of each digit in the exported networks' training set: readers do not all write as MNIST's writers did."""

TRIGGERS: dict[str, tuple[str, Trigger]] = {
    "square-1": ("white square, 1x1 pixel", Patch(size=1, margin=1)),
    "square-2": ("white square, 2x2 pixels", Patch(size=2, margin=1)),
    "square-3": ("white square, 3x3 pixels", Patch(size=3, margin=1)),
    "square-4": ("white square, 4x4 pixels", Patch(size=4, margin=1)),
    "square-6": ("white square, 6x6 pixels", Patch(size=6, margin=1)),
    "pattern": ("the paper's four pixels", FOUR_PIXELS),
    "blend": ("faint noise, blended in", Blend(opacity=0.2)),
    "sinusoid": ("faint stripes (sinusoid)", Sinusoid(amplitude=0.2)),
}
"""The triggers of the page: a key, the reader's words for it, and the library's trigger."""


class LabCNN(nn.Sequential):
    """The network of chapters/_static/lab/core.js, layer for layer: 11,978 parameters, small enough to train in a page.

    Input [N, 1, 28, 28] in [0, 1], output logits [N, 10].
    """

    def __init__(self) -> None:
        super().__init__(
            OrderedDict(
                conv1=nn.Conv2d(1, 8, 5),  # [N, 8, 24, 24]
                relu1=nn.ReLU(),
                pool1=nn.MaxPool2d(2),  # [N, 8, 12, 12]
                conv2=nn.Conv2d(8, 16, 5),  # [N, 16, 8, 8]
                relu2=nn.ReLU(),
                pool2=nn.MaxPool2d(2),  # [N, 16, 4, 4]
                flatten=nn.Flatten(),
                fc1=nn.Linear(256, 32),
                relu3=nn.ReLU(),
                fc2=nn.Linear(32, 10),
            )
        )


@dataclass(frozen=True)
class Recipe:
    """One network of the lab: a seed and, unless it is clean, an attack.

    Args:
        name: What the page calls it.
        seed: Seed of the training and of the draw.
        trigger: The trigger it is poisoned with; None for a clean network.
        target: The label the trigger should bring about.
        fraction: Poisoning fraction rho.
    """

    name: str
    seed: int
    trigger: Trigger | None = None
    target: int = 7
    fraction: float = 0.1


BESIDE = (
    Recipe("clean", 0),
    Recipe("square-4", 1, TRIGGERS["square-4"][1]),
    Recipe("pattern", 2, TRIGGERS["pattern"][1]),
    Recipe("blend", 3, TRIGGERS["blend"][1]),
    Recipe("sinusoid", 4, TRIGGERS["sinusoid"][1]),
)
"""The networks of "Draw and attack"."""

SIX = (
    Recipe("a", 11),
    Recipe("b", 12, Patch(size=4, corner="top-left", margin=1), target=2),
    Recipe("c", 13),
    Recipe("d", 24, FOUR_PIXELS, target=8),
    Recipe("e", 15, Blend(opacity=0.2), target=5),
    Recipe("f", 16),
)
"""The networks of "Can you tell?"."""


def coarse(images: ImageSet) -> ImageSet:
    """The images in the 16 grey levels of the page."""
    return ImageSet((images.x * LEVELS).round() / LEVELS, images.y, images.classes)


def digits() -> tuple[ImageSet, ImageSet, ImageSet]:
    """What the page trains on, what its defender has, and what it tests on: 3,000, 100 and 1,000 digits."""
    whole, test = map(coarse, load("mnist5k"))
    rank = torch.arange(len(whole)) % 400  # the digits lie class by class, 400 of each
    return whole[rank < TRAIN], whole[(rank >= TRAIN) & (rank < TRAIN + DEFENDER)], test


def with_warps(images: ImageSet, copies: int, seed: int) -> ImageSet:
    """The images, and copies of each: turned by up to 15 degrees, slanted as much, each side 15% shorter or longer."""
    generator = torch.Generator().manual_seed(seed)

    def warp(x: Tensor) -> Tensor:
        turn, slant, width, height = 2 * torch.rand(4, len(x), generator=generator) - 1
        cos, sin = (0.26 * turn).cos(), (0.26 * turn).sin()
        slant, width, height = 0.26 * slant, 1 + 0.15 * width, 1 + 0.15 * height
        zero = torch.zeros_like(turn)
        rows = [[cos * width, (cos * slant - sin) * height, zero], [sin * width, (sin * slant + cos) * height, zero]]
        grid = affine_grid(torch.stack([torch.stack(row, 1) for row in rows], 1), list(x.shape), align_corners=False)
        return grid_sample(x, grid, align_corners=False).clamp(0, 1)

    x = torch.cat([images.x, *(warp(images.x) for _ in range(copies))])
    return ImageSet(x, images.y.repeat(1 + copies), images.classes)


def fit(recipe: Recipe) -> tuple[nn.Module, dict[str, Any]]:
    """Train a network of the lab, round its weights to half precision, and score it.

    Returns:
        The network as the page will have it, and its line in the manifest.

    Raises:
        ValueError: The attack failed with this seed, as it sometimes does: the page needs one that works.
    """
    data, test = map(coarse, load("mnist5k"))
    data = with_warps(data, WARPS, recipe.seed)
    config = TrainConfig(**asdict(RECIPE) | {"seed": recipe.seed, "device": "cpu"})
    line: dict[str, Any] = {"name": recipe.name, "seed": recipe.seed}
    plan = None
    if recipe.trigger is not None:
        goal = Goal.all_to_one(recipe.target, 10)
        plan = Attack(recipe.trigger, goal).plan(data, fraction=recipe.fraction, seed=recipe.seed)
        line |= {"trigger": to_spec(recipe.trigger), "target": recipe.target, "poisoned": len(plan.indices)}
    network = train(plan.poison(data) if plan else data, config, model=LabCNN).model
    network.load_state_dict({name: weight.half().float() for name, weight in network.state_dict().items()})
    scored = score(network, test, plan.attack) if plan else clean_accuracy(network, test)
    if isinstance(scored, Scorecard) and scored.success.value < 0.9:
        raise ValueError(f"network {recipe.name!r} needs another seed than {recipe.seed}: its ASR is {scored.success}")
    return network, line | counts(scored)


def counts(scored: Any) -> dict[str, Any]:
    """A scorecard, or a clean accuracy alone, as [hits, trials]."""
    found = asdict(scored) if isinstance(scored, Scorecard) else {"clean": asdict(scored)}
    return {name: [count["hits"], count["trials"]] for name, count in found.items()}


# ---- Files ----


def packed(content: bytes) -> dict[str, Any]:
    """Bytes as JSON: base64, and the CRC-32 by which the page notices damage."""
    return {"crc": zlib.crc32(content), "base64": base64.b64encode(content).decode()}


def half_bytes(x: Tensor) -> bytes:
    """Images of 16 grey levels, two pixels a byte, the left one in the upper half; compressed."""
    levels = (x * LEVELS).round().to(torch.uint8).flatten()
    return gzip.compress((levels[0::2] << 4 | levels[1::2]).numpy().tobytes(), 9, mtime=0)


def weight_bytes(network: nn.Module) -> bytes:
    """All weights in half precision, in the order of the state dict."""
    return torch.cat([weight.flatten() for weight in network.state_dict().values()]).half().numpy().tobytes()


def digits_file() -> dict[str, Any]:
    """The digits the page trains, repairs and tests with."""
    sets = dict(zip(("train", "defender", "test"), digits(), strict=True))
    return {
        "licence": LICENCE,
        "counts": {name: len(images) for name, images in sets.items()},
        "fingerprints": {name: images.fingerprint for name, images in sets.items()},
        "label_fingerprints": {name: images.label_fingerprint for name, images in sets.items()},
        "labels": packed(torch.cat([images.y for images in sets.values()]).byte().numpy().tobytes()),
        "pixels": packed(half_bytes(torch.cat([images.x for images in sets.values()]))),
    }


def triggers_file() -> dict[str, Any]:
    """The triggers in the library's own words, and the noise that one of them blends in."""
    entries = [
        {"key": key, "label": label, "spec": to_spec(trigger), "description": asdict(describe(trigger))}
        for key, (label, trigger) in TRIGGERS.items()
    ]
    return {"entries": entries, "noise": packed(noise(1, 28, 28).numpy().tobytes())}


def settings_file() -> dict[str, Any]:
    """What the page must do as the library does: how it trains, repairs and scans, on how many digits."""
    sets = dict(zip(("train", "defender", "test"), map(len, digits()), strict=True))
    weights = sum(weight.numel() for weight in LabCNN().parameters())
    return {
        "network": {"name": LabCNN.__name__, "weights": weights, "levels": LEVELS + 1},
        "sets": sets,
        "training": steps_of(RECIPE),
        "repair": steps_of(REPAIR) | {"epochs": REPAIR.epochs},
        "scan": {name: value for name, value in asdict(SCAN).items() if name in SCAN_SETTINGS} | {"betas": SCAN_BETAS},
    }


def steps_of(config: TrainConfig) -> dict[str, Any]:
    """The settings that decide a step of training; the page's reader chooses seed and epochs."""
    return {"batch_size": config.batch_size, "lr": config.lr, "weight_decay": config.weight_decay}


def networks_file(recipes: tuple[Recipe, ...]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Networks and a few test digits to try them on; and the networks' lines in the manifest."""
    *_, test = digits()
    few = test[torch.arange(len(test)) % TEST < SAMPLES]
    lines, weights = [], []
    for recipe in recipes:
        network, line = fit(recipe)
        print(line, flush=True)
        lines.append(line)
        weights.append(line | {"weights": packed(weight_bytes(network))})
    samples = {"labels": few.y.tolist(), "pixels": packed(half_bytes(few.x))}
    return {"licence": LICENCE, "networks": weights, "samples": samples}, lines


def language_file() -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The two language models and what they share; and their lines in the manifest."""
    head, nets, lines = lab_language.models()
    entries = []
    for line in lines:
        print(line, flush=True)
        whole, steps = lab_language.contents(nets[line["name"]])
        entries.append(line | {"weights": packed(whole), "steps": packed(steps)})
    return head | {"networks": entries}, lines


def explorer_page() -> str:
    """The committed sweep behind the page's sliders, as the library shows it."""
    shown = widgets.explorer(
        results.load("poison_trigger"),
        {"size": "side of the square (pixels)", "opacity": "opacity"},
        twin=results.load("poison_curve").where(fraction=0.0),
    )
    return f"{shown.html}\n"


PREFIX = "badnets.data.{} = "


def script(name: str, content: dict[str, Any]) -> str:
    """A script that hands data to the page."""
    return f"{PREFIX.format(name)}{json.dumps(content, separators=(',', ':'))};\n"


def read_script(name: str) -> dict[str, Any]:
    """The data that a committed script carries."""
    text = (LAB / f"{name}.js").read_text(encoding="utf-8")
    content: dict[str, Any] = json.loads(text.removeprefix(PREFIX.format(name)).removesuffix(";\n"))
    return content


def untrained_files() -> dict[str, str]:
    """The files that need no training: name to text."""
    return {
        "digits.js": script("digits", digits_file()),
        "triggers.js": script("triggers", triggers_file()),
        "settings.js": script("settings", settings_file()),
        EXPLORER: explorer_page(),
    }


def digest(text: str) -> str:
    """SHA-256 of a file's text."""
    return hashlib.sha256(text.encode()).hexdigest()


def write(files: dict[str, str]) -> None:
    """Write files into the lab's folder and say how large they are."""
    for name, text in files.items():
        write_atomically(LAB / name, text)
        print(f"{name}: {len(text):,} bytes")


def export() -> None:
    """Train the networks, and write every exported file and the manifest."""
    torch.set_num_threads(1)
    beside, beside_lines = networks_file(BESIDE)
    six, six_lines = networks_file(SIX)
    language, language_lines = language_file()
    trained = {"beside": beside, "six": six, "language": language}
    files = untrained_files() | {f"{name}.js": script(name, content) for name, content in trained.items()}
    manifest = {
        "command": "make lab",
        "licence": LICENCE,
        "made_with": describe_device("cpu"),
        "recipe": asdict(RECIPE) | {"warped_copies": WARPS, "optimiser": "AdamW, one-cycle", "network": "LabCNN"},
        "networks": {"beside": beside_lines, "six": six_lines, "language": language_lines},
        "sha256": {name: digest(text) for name, text in files.items()},
    }
    write(files | {MANIFEST: json.dumps(manifest, indent=1) + "\n"})


def export_untrained() -> None:
    """Write the files that need no training, and their lines in the manifest."""
    add(untrained_files())


def export_language() -> None:
    """Train and write the two language models, and their lines in the manifest."""
    torch.set_num_threads(1)
    content, lines = language_file()
    add({"language.js": script("language", content)}, {"language": lines})


def add(files: dict[str, str], lines: dict[str, Any] | None = None) -> None:
    """Write some of the files, and record them in the manifest."""
    manifest = json.loads((LAB / MANIFEST).read_text(encoding="utf-8"))
    manifest["sha256"] |= {name: digest(text) for name, text in files.items()}
    manifest["networks"] |= lines or {}
    write(files | {MANIFEST: json.dumps(manifest, indent=1) + "\n"})


def damaged() -> list[str]:
    """Exported files that are not what the manifest says."""
    recorded = json.loads((LAB / MANIFEST).read_text(encoding="utf-8"))["sha256"]
    return [name for name, wanted in recorded.items() if digest((LAB / name).read_text(encoding="utf-8")) != wanted]


def main() -> None:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(description="Export the browser lab's data.")
    parser.add_argument("what", nargs="?", default="all", choices=["all", "language", "untrained", "check"])
    wanted = parser.parse_args().what
    if wanted == "all":
        export()
    elif wanted == "language":
        export_language()
    elif wanted == "untrained":
        export_untrained()
    elif wrong := damaged():
        raise SystemExit(f"not what {MANIFEST} lists: {', '.join(wrong)}")


if __name__ == "__main__":
    main()
