"""Measure badnets_lib beside the plain way of doing the same thing: `make bench`.

Every row runs both ways in this process (or, for imports, in fresh ones), in turns, and compares
medians, so that a busy machine slows both alike. A ratio is the plain way's time over ours: 2.0x
means twice as fast. Nothing fails on a slow machine; the goals are printed beside the ratios.
A row that breaks off is named, the others go on, and the exit code is 1.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("TQDM_DISABLE", "1")

import numpy as np
import torch
from bench_defenses import (
    CASES,
    comparison,
    filters,
    large_classes,
    pruning,
    resnet18,
    scanning,
    scanning_many,
    screening,
)
from bench_memory import TASKS, Peak, peak
from PIL import Image
from timings import HEAD, Act, Row, compare, line
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, Dataset

import badnets_lib as bd
from badnets_lib.data.images import to_unit
from badnets_lib.files import write_atomically
from badnets_lib.language import Decoder, proceed


def colours(count: int, classes: int = 10) -> bd.ImageSet:
    """Random colour images of 32x32, kept as uint8."""
    source = torch.Generator().manual_seed(0)
    x = torch.randint(0, 256, (count, 3, 32, 32), generator=source, dtype=torch.uint8)
    y = torch.randint(0, classes, (count,), generator=source)
    return bd.ImageSet(x, y, tuple(map(str, range(classes))))


def owned(pixels: np.ndarray, labels: np.ndarray, classes: int) -> bd.ImageSet:
    """Images in memory that numpy does not share, as `ImageSet.from_arrays` keeps them, with a known fingerprint.

    A set is hashed once; one that shares its memory with numpy is hashed anew for every poisoning.
    """
    data = bd.ImageSet(torch.tensor(pixels), torch.tensor(labels), tuple(map(str, range(classes))))
    data.fingerprint  # noqa: B018 - known before the clock starts
    return data


# --- poisoning ---


def poisoning(repeats: int) -> list[Row]:
    """Poison 6,000 of 60,000 images of 28x28."""
    source = np.random.default_rng(0)
    raw = source.integers(0, 256, (60_000, 28, 28), dtype=np.uint8)
    labels = source.integers(0, 10, 60_000)
    pixels = raw[:, None].astype(np.float32) / 255
    train = owned(pixels, labels, 10)
    plan = bd.Attack(bd.Patch(), bd.Goal.all_to_one(7, 10)).plan(train, fraction=0.1)
    chosen = np.array(plan.indices)

    def with_numpy() -> tuple[Any, Any]:
        x, y = pixels.copy(), labels.copy()
        x[chosen, :, -4:, -4:] = 1.0
        y[chosen] = 7
        return x, y

    def with_pil() -> tuple[Tensor, list[int]]:
        poisoned, images, targets = set(plan.indices), [], []
        for index, (image, label) in enumerate(zip(raw, labels, strict=True)):
            picture = Image.fromarray(image)
            if index in poisoned:
                picture.paste(255, (24, 24, 28, 28))
            images.append(torch.from_numpy(np.array(picture))[None].float().div(255))
            targets.append(7 if index in poisoned else int(label))
        return torch.stack(images), targets

    assert np.array_equal(plan.poison(train).x.numpy(), with_numpy()[0])
    what = "poison 6,000 of 60,000 images"
    plain: dict[str, tuple[Act, str]] = {
        "numpy: copy and assign": (with_numpy, "at least 0.5x"),
        "PIL: one image at a time": (with_pil, "at least 20x"),
    }
    return compare(what, lambda: plan.poison(train), plain, repeats=repeats)


def poisoning_colour(repeats: int) -> list[Row]:
    """Poison 2,500 of 50,000 colour images of 32x32 that are kept as uint8."""
    train = colours(50_000)
    plan = bd.Attack(bd.Patch(), bd.Goal.all_to_one(7, 10)).plan(train, fraction=0.05)
    chosen = np.array(plan.indices)
    pixels = train.x.numpy().copy()
    labels = train.y.numpy().copy()

    def with_numpy() -> tuple[Any, Any]:
        x = pixels.copy()
        y = labels.copy()
        x[chosen, :, -4:, -4:] = 255
        y[chosen] = 7
        return x, y

    train = owned(pixels, labels, 10)
    assert np.array_equal(plan.poison(train).x.numpy(), with_numpy()[0])
    plain: dict[str, tuple[Act, str]] = {"numpy: copy and assign": (with_numpy, "at least 0.5x")}
    return compare("poison 2,500 of 50,000 colour images", lambda: plan.poison(train), plain, repeats=repeats)


# --- training ---


class PerSample(Dataset[tuple[Tensor, int]]):
    """A data set as common toolkits write it: PIL image in, stamped and turned to a tensor on every access."""

    def __init__(self, data: bd.ImageSet) -> None:
        self.pictures = [Image.fromarray(image) for image in (data.x[:, 0] * 255).round().byte().numpy()]
        self.labels = data.y.tolist()

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        image = torch.from_numpy(np.array(self.pictures[index]))[None].float().div(255)
        return image, self.labels[index]


def plain_epochs(model: nn.Module, batches: Callable[[], Any], epochs: int, steps: int) -> nn.Module:
    """Forward, backward, step: the loop of every tutorial, with the library's optimiser settings."""
    config = bd.TrainConfig()
    optimizer = torch.optim.AdamW(model.parameters(), lr=config.lr, weight_decay=config.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, config.lr, total_steps=steps * epochs)
    model.train()
    for _ in range(epochs):
        for x, y in batches():
            loss = cross_entropy(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return model.eval()


def in_memory(data: bd.ImageSet) -> Callable[[], Any]:
    """Shuffled batches of tensors in memory, as numbers in [0, 1]."""

    def batches() -> Any:
        for batch in torch.randperm(len(data)).split(64):
            yield to_unit(data.x[batch]), data.y[batch]

    return batches


def training(repeats: int) -> list[Row]:
    """One epoch over 4,000 images of 28x28 in batches of 64."""
    data, _ = bd.load("mnist5k")
    data.fingerprint  # noqa: B018 - known before the clock starts, as in a chapter
    steps = math.ceil(len(data) / 64)
    rows = []
    loader = DataLoader(PerSample(data), batch_size=64, shuffle=True)
    for make in (bd.SmallCNN, bd.PaperCNN):

        def ours(make: Callable[[], nn.Module] = make) -> Any:
            return bd.train(data, bd.TrainConfig(epochs=1), model=make)

        def bare(make: Callable[[], nn.Module] = make) -> Any:
            return plain_epochs(make(), in_memory(data), 1, steps)

        def per_sample(make: Callable[[], nn.Module] = make) -> Any:
            return plain_epochs(make(), lambda: loader, 1, steps)

        plain: dict[str, tuple[Act, str]] = {
            "bare loop over tensors": (bare, "at least 1x, aim 1.5x"),
            "DataLoader, transform per image": (per_sample, "-"),
        }
        rows += compare(f"one epoch of {make.__name__}, 4,000 images", ours, plain, repeats=repeats)
    return rows


def accuracies(seeds: int) -> list[str]:
    """Clean accuracy of the library's loop and of the bare one, seed by seed: they must agree."""
    train, test = bd.load("mnist5k")
    steps = math.ceil(len(train) / 64)
    lines = []
    for make in (bd.SmallCNN, bd.PaperCNN):
        ours: list[bd.Proportion] = []
        bare: list[bd.Proportion] = []
        for seed in range(seeds):
            config = bd.TrainConfig(epochs=3, seed=seed)
            ours.append(bd.clean_accuracy(bd.train(train, config, model=make).model, test))
            torch.manual_seed(seed)
            bare.append(bd.clean_accuracy(plain_epochs(make(), in_memory(train), 3, steps), test))
        told = f"ours {by_seed(ours)}, bare loop {by_seed(bare)}"
        lines.append(f"{make.__name__}, 3 epochs, seeds 0 to {seeds - 1}: {told}")
    return lines


def residual_network(repeats: int) -> list[Row]:
    """One epoch of ResNet-18 with the stem for small images over 256 colour images of 32x32."""
    data = colours(256)
    data.fingerprint  # noqa: B018 - known before the clock starts, as in a chapter

    def ours() -> Any:
        return bd.train(data, bd.TrainConfig(epochs=1), model=resnet18)

    def bare() -> Any:
        return plain_epochs(resnet18(), in_memory(data), 1, math.ceil(len(data) / 64))

    plain: dict[str, tuple[Act, str]] = {"bare loop over tensors": (bare, "at least 1x")}
    return compare("one epoch of ResNet-18, 256 images", ours, plain, repeats=min(repeats, 3))


def by_seed(counts: list[bd.Proportion]) -> str:
    """Every seed's rate, in percent."""
    return " ".join(f"{100 * count.value:.1f}" for count in counts) + "%"


# --- a language model ---


class PlainDecoder(nn.Module):
    """A decoder of the same sizes from torch's own layers: `nn.TransformerEncoderLayer` under a causal mask."""

    def __init__(self, tokens: int, width: int = 96, layers: int = 2, heads: int = 4, context: int = 96) -> None:
        super().__init__()
        self.token = nn.Embedding(tokens, width)
        self.place = nn.Embedding(context, width)
        settings: dict[str, Any] = {"dropout": 0.0, "activation": "gelu", "batch_first": True, "norm_first": True}
        self.blocks = nn.ModuleList(
            nn.TransformerEncoderLayer(width, heads, 4 * width, **settings) for _ in range(layers)
        )
        self.norm = nn.LayerNorm(width)
        self.mask = nn.Transformer.generate_square_subsequent_mask(context)

    def forward(self, ids: Tensor) -> Tensor:
        """Logits of the next token at each place."""
        length = ids.shape[1]
        x = self.token(ids) + self.place.weight[:length]
        for block in self.blocks:
            x = block(x, src_mask=self.mask[:length, :length], is_causal=True)
        logits: Tensor = self.norm(x) @ self.token.weight.T
        return logits


def language_steps(repeats: int) -> list[Row]:
    """Twenty training steps of the decoder on 16 documents of 64 tokens."""
    rows = torch.randint(0, 512, (16, 65), generator=torch.Generator().manual_seed(0))

    def steps(net: nn.Module) -> None:
        changes = torch.optim.AdamW(net.parameters(), lr=0.001, fused=True)
        for _ in range(20):
            loss = cross_entropy(net(rows[:, :-1]).flatten(0, 1), rows[:, 1:].flatten())
            changes.zero_grad()
            loss.backward()
            changes.step()

    ours, theirs = Decoder(512), PlainDecoder(512)
    plain: dict[str, tuple[Act, str]] = {"nn.TransformerEncoderLayer": (lambda: steps(theirs), "at least 1x")}
    return compare("20 training steps of the decoder", lambda: steps(ours), plain, repeats=repeats)


def language_writing(repeats: int) -> list[Row]:
    """Write 200 tokens after each of 8 prompts, and the same by reading everything anew for each token."""
    net = Decoder(512, context=256).eval()
    given = torch.randint(0, 512, (8, 16), generator=torch.Generator().manual_seed(0))

    def naive() -> Tensor:
        rows = given
        with torch.no_grad():
            for _ in range(200):
                rows = torch.cat([rows, net(rows)[:, -1:].argmax(-1)], 1)
        return rows[:, 16:]

    def cached() -> Tensor:
        return proceed(net, given, 200, greedy=True).tokens

    assert torch.equal(cached(), naive())
    plain: dict[str, tuple[Act, str]] = {"everything read anew": (naive, "at least 5x")}
    return compare("write 200 tokens after 8 prompts", cached, plain, repeats=repeats)


# --- loading and importing ---


def loading(repeats: int) -> list[Row]:
    """`load("mnist5k")` from the package's text file, and from its own cache."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)

        def first() -> Any:
            (root / "mnist5k.safetensors").unlink(missing_ok=True)
            return bd.load("mnist5k", root=root)

        def cached() -> Any:
            return bd.load("mnist5k", root=root)

        return compare("load mnist5k from its cache", cached, {"the first time": (first, "-")}, repeats=repeats)


def importing(repeats: int) -> list[Row]:
    """A fresh interpreter that imports the library, beside one that imports torch alone."""

    def run(module: str) -> Act:
        return lambda: subprocess.run([sys.executable, "-c", f"import {module}"], check=True)

    plain = {"import torch": (run("torch"), "close to 1x")}
    return compare("import badnets_lib", run("badnets_lib"), plain, repeats=repeats)


PARTS = (
    poisoning, poisoning_colour, training, residual_network, scanning, scanning_many, pruning, large_classes, filters,
    screening, language_steps, language_writing, loading, importing,
)  # fmt: skip
"""Every comparison, in the order of the table."""

CAUGHT = "caught"
"""The name under which `--only` runs what filters catch, which is no timing."""


# --- telling ---


def main() -> None:
    """Run everything, print a table, and write it as JSON where asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5, help="how often each way is timed (default 5)")
    parser.add_argument("--seeds", type=int, default=3, help="seeds of the accuracy check (default 3, 0 skips it)")
    parser.add_argument("--json", type=Path, help="also write the results to this file")
    names = [*(part.__name__ for part in PARTS), CAUGHT]
    parser.add_argument("--only", nargs="+", choices=names, help="run these parts alone, and replace only their rows")
    options = parser.parse_args()
    if options.only:
        again(options.only, options.repeats, options.json)
        return
    where = f"{platform.machine()}, {bd.describe_device('cpu')}, Python {platform.python_version()}"
    print(f"{where}; medians of {options.repeats}; ratio: plain over ours\n", flush=True)
    print(HEAD)
    failed: list[str] = []
    rows: list[Row] = []
    for part in PARTS:
        rows += tried(part.__name__, partial(part, options.repeats), failed, show=line)
    print()
    memory: list[Peak] = []
    for task in TASKS:
        memory += tried(f"memory: {task[0]}", partial(peaks, task), failed)
    print()
    checks: list[str] = []
    caught: list[str] = []
    if options.seeds:
        checks += tried("accuracy of both loops", partial(accuracies, options.seeds), failed)
        for attack, fraction in CASES:
            caught += tried(f"filters on {attack}, {fraction:.0%}", partial(comparison, attack, fraction), failed)
    if options.json:
        plain = {"where": where, "repeats": options.repeats, "failed": failed, "accuracy": checks, "caught": caught,
                 "memory": [asdict(each) for each in memory],
                 "rows": [asdict(row) | {"ratio": row.ratio} for row in rows]}  # fmt: skip
        write_atomically(options.json, json.dumps(plain, indent=2) + "\n")
    if failed:
        sys.exit(f"{len(failed)} broke off:\n" + "\n".join(failed))


def again(names: list[str], repeats: int, path: Path | None) -> None:
    """Run some parts once more; what the file holds of others stays as it is, and new rows come after its rows."""
    print(HEAD)
    rows = [row for part in PARTS if part.__name__ in names for row in part(repeats)]
    for row in rows:
        print(line(row))
    caught = [told for case in CASES for told in comparison(*case)] if CAUGHT in names else []
    print(*caught, sep="\n")
    if path:
        kept = json.loads(path.read_text(encoding="utf-8"))
        known = {(row["what"], row["plain"]): row for row in kept["rows"]}
        known |= {(row.what, row.plain): asdict(row) | {"ratio": row.ratio} for row in rows}
        kept |= {"rows": list(known.values()), "caught": caught or kept["caught"]}
        write_atomically(path, json.dumps(kept, indent=2) + "\n")


def peaks(task: tuple[str, str, str, str, str]) -> list[Peak]:
    """The peak memory of one task, as a list."""
    return [peak(*task)]


def tried(what: str, act: Callable[[], list[Any]], failed: list[str], *, show: Callable[[Any], str] = str) -> list[Any]:
    """What a part gives, printed. Of one that breaks off nothing: it is named among those that failed."""
    try:
        results = act()
    except Exception as error:
        failed.append(f"{what}: {type(error).__name__}: {error}")
        print(f"FAILED {failed[-1]}", flush=True)
        return []
    for result in results:
        print(show(result), flush=True)
    return results


if __name__ == "__main__":
    main()
