"""The hunt to beat: the library's Neural Cleanse at its default settings, on every network of a zoo.

    python -m coursework.baseline

makes the practice zoo in `_build/`, scans it, scores the scan and writes `coursework/assignments/6_hunt/baseline.json`.
With `--kind adapters` it does so for a practice zoo of 12 adapters, and writes `baseline-adapters.json` beside it.
Cost: minutes of processor time, a good part of them for the zoo.
"""

from __future__ import annotations

import argparse
import json
import platform
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from badnets_lib._progress import track
from badnets_lib.defenses import Holding, NeuralCleanse
from badnets_lib.defenses.verdicts import Scan
from badnets_lib.files import write_atomically

from .adapters import AdapterRecipe
from .apart import spread
from .hunt import score_hunt
from .specimens import Recipe, digits
from .zoo import Row, load_network, make_zoo, read_zoo

PRACTICE = "practice"
"""The salt of the zoo whose truth everybody may know."""

ADAPTERS = "adapters-practice"
PRACTICE_ADAPTERS = AdapterRecipe(models=12)
"""The practice zoo of adapters: its folder, and its recipe. The salt is the same."""

BUILD = Path("_build")
RECORD = Path(__file__).parent / "assignments" / "6_hunt" / "baseline.json"
RECORD_ADAPTERS = RECORD.with_name("baseline-adapters.json")


def margins(norms: Float[Tensor, " k"], scan: NeuralCleanse) -> Float[Tensor, " k"]:
    """How far each label's index lies above the verdict's limit; a positive one is a flag.

    The verdict has two limits: the index of log norms above `threshold`, and the norm at most `share` of the median.
    Divided by the same spread as the index, the second reads: the index at least log(1 / share) / spread. What counts
    is the higher of the two.
    """
    below = norms.log().quantile(0.5) - norms.log()
    spread = (1.4826 * below.abs().quantile(0.5)).clamp(min=1e-9)
    needed = (torch.tensor(1 / scan.ratio).log() / spread).clamp(min=scan.threshold)
    return below / spread - needed


def answer(found: Scan, scan: NeuralCleanse) -> dict[str, Any]:
    """An entry of hunt.json from a scan.

    The probability is the logistic function of the largest margin: 0.5 at the verdict's limit, and each unit of the
    index, one robust standard deviation of log norms, multiplies the odds by e. Nothing in it was fitted to a zoo.
    The trigger is that of the label with the largest margin.
    """
    margin = margins(found.norms, scan)
    label = int(margin.argmax())
    return {
        "probability": round(float(margin[label].sigmoid()), 4),
        "target": label,
        "mask": _rounded(found.masks[label, 0]),
        "pattern": _rounded(found.patterns[label, 0]),
    }


def scan_zoo(folder: Path | str, out: Path | str, *, scan: NeuralCleanse | None = None, jobs: int = -1) -> Path:
    """Scan every network of a zoo with the 500 trusted digits; write the answers as a hunt.json.

    Args:
        folder: The public folder of the zoo.
        out: The file to write.
        scan: Settings; the defaults if none are given.
        jobs: Networks at a time, as joblib counts; each takes one thread.
    """
    zoo = read_zoo(folder)
    scan = scan or NeuralCleanse()
    calls = ((Path(folder), name, row, zoo.get("base"), scan) for name, row in zoo["models"].items())
    done = spread(_scan, calls, jobs=jobs)
    answers = dict(track(done, "scanning", total=len(zoo["models"])))
    hunt = {"zoo": zoo["zoo"], "models": {name: answers[name] for name in zoo["models"]}}
    return write_atomically(out, json.dumps(hunt) + "\n")


def record(
    out: Path | str = RECORD,
    *,
    build: Path | str = BUILD,
    name: str = "zoo-practice",
    recipe: Recipe | None = None,
    jobs: int = -1,
) -> Path:
    """Make the practice zoo, scan it, score the scan, and write the score with how it came about."""
    folder, truth, hunt = (Path(build) / each for each in (name, f"{name}-truth.json", f"{name}-hunt.json"))
    make_zoo(folder, truth, salt=PRACTICE, recipe=recipe, jobs=jobs)
    scan_zoo(folder, hunt, jobs=jobs)
    score = score_hunt(hunt, folder, truth)
    told = {
        "command": "python -m coursework.baseline" + option(recipe),
        "salt": PRACTICE,
        "hunter": repr(NeuralCleanse()),
        "score": score.as_dict(),
        "run": {
            "machine": f"{platform.system()} {platform.machine()}",
            "python": platform.python_version(),
            "torch": torch.__version__,
            "badnets_lib": version("badnets_lib"),
            "date": date.today().isoformat(),
        },
    }
    return write_atomically(out, json.dumps(told, indent=1) + "\n")


def option(recipe: Recipe | None) -> str:
    """What the command line says beyond the command for a recipe."""
    return " --kind adapters" if isinstance(recipe, AdapterRecipe) else ""


def asked_for_adapters(program: str) -> bool:
    """Whether the command line has `--kind adapters`."""
    parser = argparse.ArgumentParser(prog=f"python -m coursework.{program}")
    parser.add_argument("--kind", choices=("networks", "adapters"), default="networks", help="of the zoo")
    return bool(parser.parse_args().kind == "adapters")


def _scan(folder: Path, name: str, row: Row, base: Row | None, scan: NeuralCleanse) -> tuple[str, dict[str, Any]]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return name, answer(scan(load_network(folder, row, base), Holding(digits()[1])), scan)
    finally:
        torch.set_num_threads(threads)


def _rounded(grid: Float[Tensor, "h w"]) -> list[list[float]]:
    """Three decimals: a tenth of the file, and nothing that a network would notice."""
    return [[round(value, 3) for value in row] for row in grid.tolist()]


if __name__ == "__main__":
    if asked_for_adapters("baseline"):
        print(record(RECORD_ADAPTERS, name=ADAPTERS, recipe=PRACTICE_ADAPTERS))
    else:
        print(record())
