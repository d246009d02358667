"""What can be learnt about a zoo without reversing a trigger: weights, accuracies, a look at noise, a list of squares.

    python -m coursework.cheap

makes a zoo of its own in `_build/`, measures every statistic below on each network, and writes how well each ranks the
backdoored above the clean to `coursework/assignments/6_hunt/cheap.json`, with the points of hunters who have nothing
else, and the score of the best of them. That one was picked afterwards, so its points are a little flattering.

With `--kind adapters` it takes the practice zoo of adapters instead, measures the same of the changes that they make
as well, and writes `cheap-adapters.json`. Cost: minutes of processor time, most of them for the zoo.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping
from dataclasses import asdict
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from badnets_lib import Patch, predict
from badnets_lib._progress import track
from badnets_lib.defenses.neural_cleanse import Reversed
from badnets_lib.files import write_atomically

from .answers import Answer, Hunt
from .apart import spread
from .baseline import ADAPTERS, PRACTICE, PRACTICE_ADAPTERS, asked_for_adapters, option
from .hunt import Score, area_interval, score_answers, secret_of
from .specimens import Recipe, digits
from .variants import CORNERS
from .zoo import load_network, make_zoo, networks, read_truth, read_zoo

SALT = "what is cheap"
"""The salt of the zoo that is measured: public, like the practice zoo's."""

MODELS = 40
BUILD = Path("_build")
RECORD = Path(__file__).parent / "assignments" / "6_hunt" / "cheap.json"
RECORD_ADAPTERS = RECORD.with_name("cheap-adapters.json")
LOOKED_AT = 50
"""Trusted digits that each square of the list is tried on."""

TOGETHER = "all of them, by regression"
HUNTERS = 5
"""So many single statistics, those whose AUC is farthest from 0.5, are scored as hunters, and all of them together."""

Numbers = np.ndarray[Any, Any]

SQUARES = [
    (size, corner, margin, value)
    for size in (3, 4)
    for corner in CORNERS
    for margin in (0, 1, 2)
    for value in (0.7, 0.8, 0.9, 1.0)
]
"""White and grey squares in the corners: what a hunter tries who expects the textbook's trigger."""


# --- one network ---


def statistics(model: nn.Module) -> dict[str, float]:
    """Everything cheap about one network, by name."""
    trusted, test = digits()[1:]
    answers = predict(model, trusted.x).softmax(1)
    source = torch.Generator().manual_seed(0)
    faint, strong = (scale * torch.rand(200, 1, 28, 28, generator=source) for scale in (0.3, 1.0))
    found = {
        "accuracy on the trusted digits": float((answers.argmax(1) == trusted.y).float().mean()),
        "accuracy on the test digits": float((predict(model, test.x).argmax(1) == test.y).float().mean()),
        "entropy on the trusted digits": float(-(answers * answers.clamp(min=1e-9).log()).sum(1).mean()),
        "largest mean probability on faint noise": float(predict(model, faint).softmax(1).mean(0).max()),
        "largest mean probability on noise": float(predict(model, strong).softmax(1).mean(0).max()),
        "largest probability on black": float(predict(model, torch.zeros(1, 1, 28, 28)).softmax(1).max()),
    }
    return found | of_weights(dict(model.named_parameters()))


def of_weights(weights: Mapping[str, Tensor]) -> dict[str, float]:
    """Norms, tails and outliers of the weights; the rows of the last layer belong to the labels."""
    found: dict[str, float] = {}
    for name in ("conv1.weight", "conv2.weight", "fc1.weight", "fc2.weight"):
        values = weights[name].detach().double().flatten(1)
        standard = (values - values.mean()) / values.std()
        found[f"norm of {name}"] = float(values.norm())
        found[f"spectral norm of {name}"] = float(torch.linalg.matrix_norm(values, 2))
        found[f"kurtosis of {name}"] = float((standard**4).mean())
    places = weights["fc1.weight"].detach().double().unflatten(1, (-1, 4, 4)).norm(dim=(0, 1))
    found["largest place of fc1 against the mean place"] = float(places.max() / places.mean())
    corners = places[[0, 0, -1, -1], [0, -1, 0, -1]]
    found["largest corner of fc1 against the mean place"] = float(corners.max() / places.mean())
    rows = weights["fc2.weight"].detach().double()
    for name, each in (("norm", rows.norm(dim=1)), ("mean", rows.mean(1)), ("largest", rows.amax(1))):
        ordered = each.sort().values
        found[f"highest row {name} of fc2, by the gap below it"] = float(
            (ordered[-1] - ordered[-2]) / (ordered[-1] - ordered[0])
        )
        found[f"highest row {name} of fc2, above the median"] = float(ordered[-1] - ordered.quantile(0.5))
    found["highest bias of fc2"] = float(weights["fc2.bias"].detach().max())
    return found


def tried(model: nn.Module) -> tuple[float, int, Reversed]:
    """The square of the list that moves most trusted digits to one label: (share moved, label, the square)."""
    x = digits()[1].x[:LOOKED_AT]
    before = predict(model, x).argmax(1)
    white, black = torch.ones(1, 1, 28, 28), torch.zeros(1, 1, 28, 28)
    best = 0.0, 0, Reversed(black[0], black[0])
    for size, corner, margin, value in SQUARES:
        square = Patch(size=size, corner=corner, margin=margin, value=value)  # type: ignore[arg-type]
        answers = predict(model, square(x)).argmax(1)
        for label in answers.unique().tolist():
            others = before != label
            share = float((answers[others] == label).float().mean()) if others.any() else 0.0
            if share > best[0]:
                best = share, label, Reversed((square(white) == square(black)).float()[0], square(black)[0])
    return best


def _look(folder: Path, truth: Path, name: str) -> tuple[str, dict[str, float], tuple[float, int, Reversed], int]:
    torch.set_num_threads(1)
    model = networks(folder, truth)(name)
    size = sum(weights.numel() for weights in model.parameters())
    best = tried(model)
    found = statistics(model) | {"best square of the list": best[0]}
    if base := read_zoo(folder).get("base"):
        before = dict(load_network(folder, base).named_parameters())
        change = of_weights({key: weights - before[key] for key, weights in model.named_parameters()})
        found |= {f"{key}, of the change": value for key, value in change.items()}
    return name, found, best, size


# --- all of them ---


def ranks(values: Numbers, backdoored: Numbers, sizes: Numbers) -> tuple[float, int, int]:
    """(AUC, m, n) over pairs of networks of one architecture: another one has other norms, whatever its kind."""
    above = pairs = 0.0
    for size in np.unique(sizes):
        ours, theirs = values[(sizes == size) & backdoored], values[(sizes == size) & ~backdoored]
        above += float((np.sign(ours[:, None] - theirs[None]) / 2 + 0.5).sum())
        pairs += len(ours) * len(theirs)
    return above / pairs, int(backdoored.sum()), int((~backdoored).sum())


def regression(table: Numbers, backdoored: Numbers, sizes: Numbers) -> Numbers:
    """Probabilities from all statistics together, each for networks that the regression was not fitted to."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_predict

    columns = table.copy()
    for size in np.unique(sizes):
        own = columns[sizes == size]
        columns[sizes == size] = (own - own.mean(0)) / own.std(0).clip(1e-9)
    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    model = LogisticRegression(max_iter=1000)  # of the usual strength: nothing was chosen by looking at the score
    given: Numbers = cross_val_predict(model, columns, backdoored, cv=folds, method="predict_proba")[:, 1]
    return given


def measure(folder: Path, truth: Path, *, jobs: int = -1) -> tuple[dict[str, Any], dict[str, Score]]:
    """(AUC of every statistic with its interval, score of every hunter who searches for nothing, by name).

    A hunter's probabilities come from one statistic, or from all of them together, by a regression that was fitted to
    other networks of the zoo and knew the truth about these. The triggers are the best squares of the list, whatever
    these do: a wrong one costs nothing.
    """
    identity, rows = read_truth(truth)
    calls = ((folder, truth, name) for name in rows)
    done = {name: rest for name, *rest in track(spread(_look, calls, jobs=jobs), "looking", total=len(rows))}
    names = sorted(rows)
    backdoored = np.array([rows[name].backdoored for name in names])
    sizes = np.array([done[name][2] for name in names])
    keys = list(done[names[0]][0])
    table = np.array([[done[name][0][key] for key in keys] for name in names])
    given = {key: regression(table[:, [place]], backdoored, sizes) for place, key in enumerate(keys)}
    given[TOGETHER] = regression(table, backdoored, sizes)
    columns = {key: table[:, place] for place, key in enumerate(keys)} | {TOGETHER: given[TOGETHER]}
    told = {}
    for key, values in columns.items():
        area, m, n = ranks(values, backdoored, sizes)
        told[key] = [round(each, 3) for each in (area, *area_interval(area, m, n))]
    squares = {name: done[name][1][1:] for name in names}
    network, secret = networks(folder, truth), secret_of(truth)
    scores = {}
    strongest = sorted(keys, key=lambda each: -abs(told[each][0] - 0.5))[:HUNTERS]
    for key in (*strongest, TOGETHER):
        pairs = zip(names, given[key].tolist(), strict=True)
        hunt = Hunt(identity, {name: Answer(probability, *squares[name]) for name, probability in pairs})
        scores[key] = score_answers(hunt, rows, network, digits()[2], secret=secret)
    return told, scores


def record(
    out: Path | str = RECORD,
    *,
    build: Path | str = BUILD,
    name: str = "zoo-cheap",
    salt: str = SALT,
    recipe: Recipe | None = None,
    jobs: int = -1,
) -> Path:
    """Make the zoo, measure, and write what was found with how it came about."""
    recipe = recipe or Recipe(models=MODELS)
    folder, truth = Path(build) / name, Path(build) / f"{name}-truth.json"
    make_zoo(folder, truth, salt=salt, recipe=recipe, jobs=jobs)
    told, scores = measure(folder, truth, jobs=jobs)
    best = max(scores, key=lambda name: scores[name].total)
    written = {
        "command": "python -m coursework.cheap" + option(recipe),
        "salt": salt,
        "recipe": asdict(recipe),
        "auc": told,
        "hunters": {name: score.total for name, score in scores.items()},
        "best": best,
        "score": scores[best].as_dict(),
        "run": {
            "machine": f"{platform.system()} {platform.machine()}",
            "python": platform.python_version(),
            "torch": torch.__version__,
            "date": date.today().isoformat(),
        },
    }
    return write_atomically(out, json.dumps(written, indent=1) + "\n")


if __name__ == "__main__":
    if asked_for_adapters("cheap"):
        print(record(RECORD_ADAPTERS, name=ADAPTERS, salt=PRACTICE, recipe=PRACTICE_ADAPTERS))
    else:
        print(record())
