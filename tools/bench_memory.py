"""How much memory the library takes beside the plain way: each measured in a fresh process, rows of `make bench`."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass

MIB = 2**20


@dataclass(frozen=True)
class Peak:
    """Peak memory beyond what the imports take, in MiB, of one task done in two ways."""

    what: str
    plain: str
    ours: float
    theirs: float
    goal: str

    def __str__(self) -> str:
        return f"| {self.what} | {self.plain} | {self.ours:,.0f} MiB | {self.theirs:,.0f} MiB | {self.goal} |"


BEGIN = """
import math, re, sys
import numpy as np, torch
import badnets_lib as bd
from badnets_lib import defenses
from torch import nn
from torch.nn.functional import cross_entropy
sys.path.insert(0, "tools")
from bench_defenses import resnet18
torch.set_num_threads(1)
def peak():
    # what getrusage tells includes the size of the process that started this one
    return int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read()).group(1))

cross_entropy(nn.Conv2d(3, 4, 3)(torch.rand(64, 3, 32, 32)).flatten(1), torch.zeros(64).long()).backward()  # warm up
start = peak()
"""

END = """
print((peak() - start) / 1024)
"""

EPOCH_OURS = """
source = np.random.default_rng(0)
raw = source.integers(0, 256, (50_000, 3, 32, 32), dtype=np.uint8)
data = bd.ImageSet(torch.from_numpy(raw), torch.from_numpy(source.integers(0, 10, 50_000)), tuple("0123456789"))
data = bd.Attack(bd.Patch(), bd.Goal.all_to_one(7, 10)).plan(data, fraction=0.05).poison(data)
del raw
bd.train(data, bd.TrainConfig(epochs=1, device="cpu"))
"""

EPOCH_BARE = """
source = np.random.default_rng(0)
x = torch.from_numpy(source.integers(0, 256, (50_000, 3, 32, 32), dtype=np.uint8))
y = torch.from_numpy(source.integers(0, 10, 50_000))
x[:2500, :, -4:, -4:] = 255
y[:2500] = 7
model = bd.SmallCNN(3)
optimizer = torch.optim.AdamW(model.parameters())
for batch in torch.randperm(len(x)).split(64):
    loss = cross_entropy(model(x[batch].float().div(255)), y[batch])
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
"""

LARGE_IMAGES = """
x = torch.randint(0, 256, (2_000, 3, 224, 224), dtype=torch.uint8)
data = bd.ImageSet(x, torch.arange(2_000) % 4, tuple("abcd"))
model = bd.SmallCNN(3, 4)
attack = bd.Attack(bd.Sticker(), bd.Goal.all_to_one(0, 4))
bd.score(model, data, attack)
defenses.NeuralCleanse(rounds=1, batches=1)(model, defenses.Holding(data))
"""

LARGE_IMAGES_BARE = """
x = torch.randint(0, 256, (2_000, 3, 224, 224), dtype=torch.uint8)
model = bd.SmallCNN(3, 4).eval()
with torch.no_grad():
    for batch in x.split(32):
        model(batch.float().div(255))
"""

LABELS_OURS = """
data = bd.ImageSet(torch.rand(128, 3, 32, 32), torch.arange(128) % 43, tuple(map(str, range(43))))
defenses.NeuralCleanse(rounds=1, batches=1)(resnet18(43), defenses.Holding(data))
"""

LABELS_PLAIN = """
from bench_defenses import one_label
one_label(resnet18(43).eval().requires_grad_(False), torch.rand(128, 3, 32, 32), 0, passes=1)
"""

CLUSTERING = """
from bench_defenses import SMALL_CLASS, LARGE_CLASS, judge_classes
judge_classes(defenses.ActivationClustering(), {size})
"""

NEIGHBOURS = """
from bench_defenses import SMALL_CLASS, LARGE_CLASS, judge_classes
judge_classes(defenses.DeepKNN(), {size})
"""

TASKS = (
    (
        "load, poison and train one epoch on 50,000 colour images of 32x32 (146 MiB as uint8)",
        "bare loop over uint8 tensors, poisoned in place", EPOCH_OURS, EPOCH_BARE, "at most 1.5 times the data more",
    ),
    (
        "score and scan 2,000 images of 224x224 (287 MiB as uint8)",
        "forward passes in batches of 32", LARGE_IMAGES, LARGE_IMAGES_BARE, "at most 3,072 MiB",
    ),
    (
        "Neural Cleanse on a ResNet-18, 43 labels", "one label alone", LABELS_OURS, LABELS_PLAIN,
        "bounded, whatever the number of labels",
    ),
    (
        "ActivationClustering, 8,000 images a class", "the same, 2,000 images",
        CLUSTERING.format(size="LARGE_CLASS"), CLUSTERING.format(size="SMALL_CLASS"), "at most 4 times, linear",
    ),
    (
        "DeepKNN, 8,000 images a class", "the same, 2,000 images",
        NEIGHBOURS.format(size="LARGE_CLASS"), NEIGHBOURS.format(size="SMALL_CLASS"), "at most 4 times, linear",
    ),
)  # fmt: skip


def peak(what: str, plain: str, ours: str, bare: str, goal: str) -> Peak:
    """One task, ours and the plain way."""
    return Peak(what, plain, measured(ours), measured(bare), goal)


def measured(code: str) -> float:
    """Peak memory in MiB that some code takes beyond the imports, in a process of its own.

    Raises:
        RuntimeError: The process did not end well.
    """
    answer = subprocess.run([sys.executable, "-W", "ignore", "-c", BEGIN + code + END], capture_output=True, text=True)
    if answer.returncode:
        raise RuntimeError((answer.stderr.splitlines() or [f"exit code {answer.returncode}"])[-1])
    return float(answer.stdout.splitlines()[-1])
