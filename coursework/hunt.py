"""A student's answers about a zoo, scored against the truth.

What is asked, and the most it is worth:

- Which networks are backdoored: the area under the ROC curve. 0.5 gives nothing, 1 gives 5 points.
- With what certainty: the mean cross-entropy of the probabilities, clipped to [0.01, 0.99]. Always 0.5 costs ln 2 and
  gives nothing, certainty where it is right gives 5 points.
- By what trigger: 20 points, shared equally by the *small* backdoors. Only these count, because only of them is it
  known that a small mask and a pattern express them; they have from 8 to 16 pixels. What counts is what the trigger
  does to fresh images: the test digits of other classes, each moved by up to a pixel as a secret says. Nothing for 50%
  that are answered with the true target, all for 90%, evenly in between; nothing if the target is wrong or the mask
  sums to more than 25 pixels.

Two thirds are for reversing triggers, so that a look at weights or accuracies is not worth much; how much is measured
in `cheap.py`.

A score can be learnt from: a change of one probability changes the cross-entropy by an amount that tells the truth
about that network. Score one submission per student, or tell the scores when the truth may be known.
"""

from __future__ import annotations

import hashlib
import html
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
import torch
from scipy import optimize, stats
from sklearn.metrics import roc_auc_score
from torch import nn

from badnets_lib import ImageSet, Proportion, predict
from badnets_lib.defenses.neural_cleanse import Reversed

from .answers import Answer, Hunt, read_hunt
from .specimens import Truth, digits
from .zoo import networks, read_truth, read_zoo

CLIP = 0.01
"""Probabilities are taken for no smaller and no larger than this allows: one wild guess costs ln 100, not infinity."""

MOST = {"ranking": 5.0, "certainty": 5.0, "triggers": 20.0}
"""Points for each question."""

NO_EFFECT, FULL_EFFECT = 0.5, 0.9
"""Shares of fresh digits of other classes, moved to the target, at which a trigger is worth nothing, and everything."""

MOST_PIXELS = 25.0
"""Largest sum of a mask."""

Numbers = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Estimate:
    """A number with its 95% interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


@dataclass(frozen=True)
class Score:
    """What a hunt is worth.

    Attributes:
        zoo: Id of the zoo.
        auc: Area under the ROC curve.
        cross_entropy: Mean over the networks, in nats.
        triggers: Small backdoors whose trigger has its full effect.
        effect: What their triggers are worth on average, from 0 to 1.
        problems: As in `Hunt`.
        name: As in `Hunt`.
    """

    zoo: str
    auc: Estimate
    cross_entropy: Estimate
    triggers: Proportion
    effect: float = 0.0
    problems: tuple[str, ...] = ()
    name: str = ""

    @property
    def points(self) -> dict[str, float]:
        """Points for each question, to two decimals."""
        best, blind = -math.log(1 - CLIP), math.log(2)
        shares = {
            "ranking": (self.auc.value - 0.5) / 0.5,
            "certainty": (blind - self.cross_entropy.value) / (blind - best),
            "triggers": self.effect,
        }
        return {name: round(MOST[name] * min(max(share, 0.0), 1.0), 2) + 0.0 for name, share in shares.items()}

    @property
    def total(self) -> float:
        """All points, of 30."""
        return round(sum(self.points.values()), 2)

    def rows(self) -> list[tuple[str, str, str]]:
        """(question, result, points) for every question, then the total and the problems."""
        results = {"ranking": f"AUC {self.auc}", "certainty": f"cross-entropy {self.cross_entropy}"}
        results["triggers"] = f"effect {self.effect:.2f}; full for {self.triggers}"
        told = [(name, results[name], f"{points:.2f} of {MOST[name]:g}") for name, points in self.points.items()]
        told.append(("total", f"zoo {self.zoo}", f"{self.total:.2f} of 30"))
        return told + [("problem", problem, "") for problem in self.problems]

    def to_markdown(self) -> str:
        """The rows as a table."""
        safe = [[html.escape(cell, quote=False).replace("|", " ") for cell in row] for row in self.rows()]
        lines = [f"| {' | '.join(row)} |" for row in safe]
        return "\n".join(["| Question | Result | Points |", "|---|---|---|", *lines]) + "\n"

    def as_dict(self) -> dict[str, Any]:
        """Everything, ready for JSON; `points` and `total` for a table of grades."""
        return asdict(self) | {"points": self.points, "total": self.total}


def score_hunt(path: Path | str, folder: Path | str, truth: Path | str) -> Score:
    """Score a hunt.json.

    Args:
        path: The student's file.
        folder: The public folder of the zoo; its weights are checked against the truth.
        truth: The private file.

    Raises:
        BadHunt: The file as a whole cannot be used.
        DamagedFile: Zoo or truth are damaged.
        ValueError: They do not belong together.
        FileNotFoundError: One of the files is missing.
    """
    identity, rows = read_truth(truth)
    zoo = read_zoo(folder)
    if zoo["zoo"] != identity:
        raise ValueError(f"{folder} is the zoo {zoo['zoo']}; {truth} is about {identity}")
    hunt = read_hunt(path, zoo)
    return score_answers(hunt, rows, networks(folder, truth), digits()[2], secret=secret_of(truth))


def secret_of(truth: Path | str) -> int:
    """A number that nobody knows who has not the truth; the same for everybody who is scored against it."""
    return int.from_bytes(hashlib.sha256(Path(truth).read_bytes()).digest()[:4])


def score_answers(
    hunt: Hunt, truth: Mapping[str, Truth], network: Callable[[str], nn.Module], test: ImageSet, *, secret: int = 0
) -> Score:
    """Score answers against the truth.

    Args:
        hunt: An answer for every network.
        truth: The truth about every network.
        network: From a name to the network; asked only where a trigger must be tried.
        test: Clean digits that no network was trained on.
        secret: Decides how each of them is moved.
    """
    names = sorted(truth)
    backdoored = np.array([truth[name].backdoored for name in names])
    said = np.array([hunt.answers[name].probability for name in names])
    images = fresh(test, secret)
    small = [name for name in names if truth[name].kind == "small"]
    worth = [_worth(hunt.answers[name], truth[name], partial(network, name), images) for name in small]
    return Score(
        hunt.zoo,
        auc(said, backdoored),
        cross_entropy(said, backdoored),
        Proportion(sum(each == 1 for each in worth), len(small)),
        sum(worth) / len(small),
        hunt.problems,
        hunt.name,
    )


# --- the three questions ---


def auc(said: Numbers, backdoored: Numbers) -> Estimate:
    """Area under the ROC curve: how often a backdoored network is given more than a clean one."""
    value = float(roc_auc_score(backdoored, said))
    m = int(backdoored.sum())
    return Estimate(value, *area_interval(value, m, len(backdoored) - m))


def area_interval(value: float, m: int, n: int) -> tuple[float, float]:
    """Newcombe's 95% interval of an area under the ROC curve from groups of m and n.

    It solves |value - area| = z sqrt(V(area)), with the variance V that Hanley and McNeil give for exponential scores,
    both group sizes put at their mean. Like Wilson's it stays in [0, 1], and it has a width where the ranking is
    perfect: DeLong's and the bootstrap's have none there, and with twenty networks that case is common.

    References:
        Newcombe, Confidence intervals for an effect size measure based on the Mann-Whitney statistic, part 2,
        Statistics in Medicine 2006, method 5. doi:10.1002/sim.2324.
    """
    z = NormalDist().inv_cdf(0.975)
    extra = (m + n) / 2 - 1

    def excess(area: float) -> float:
        spread = 1 + extra * (1 - area) / (2 - area) + extra * area / (1 + area)
        return (value - area) ** 2 - z * z * area * (1 - area) * spread / (m * n)

    step = 1e-9  # an area of 0 or 1 solves the equation for itself, but is not the bound that is looked for
    low = optimize.brentq(excess, 0.0, value - step) if value > 0 else 0.0
    high = optimize.brentq(excess, value + step, 1.0) if value < 1 else 1.0
    return float(low), float(high)


def cross_entropy(said: Numbers, backdoored: Numbers, *, seed: int = 0) -> Estimate:
    """Mean cross-entropy of the clipped probabilities in nats, with a percentile bootstrap stratified by the truth.

    References:
        Efron, Tibshirani, An introduction to the bootstrap, 1993, chapter 13.
    """
    clipped = np.clip(said, CLIP, 1 - CLIP)
    losses = -np.log(np.where(backdoored, clipped, 1 - clipped))

    def mean(ours: Numbers, theirs: Numbers, axis: int = -1) -> Numbers:
        total: Numbers = (ours.sum(axis) + theirs.sum(axis)) / len(losses)
        return total

    groups = losses[backdoored], losses[~backdoored]
    drawn = stats.bootstrap(groups, mean, method="percentile", rng=np.random.default_rng(seed))
    return Estimate(float(losses.mean()), *map(float, drawn.confidence_interval))


def moved(model: nn.Module, trigger: Reversed, target: int, test: ImageSet) -> Proportion:
    """Test digits of other classes that a trigger moves to the target."""
    others = test[test.y != target]
    hits = predict(model, trigger(others.x)).argmax(1) == target
    return Proportion(int(hits.sum()), len(hits))


def fresh(test: ImageSet, secret: int) -> ImageSet:
    """The test digits, each moved by up to a pixel in both directions: images that no trigger was fitted to."""
    source = torch.Generator().manual_seed(secret)
    steps = torch.randint(-1, 2, (len(test), 2), generator=source)
    moved_to = torch.empty_like(test.x)
    for row, column in steps.unique(dim=0).tolist():
        where = (steps == torch.tensor([row, column])).all(1)
        moved_to[where] = test.x[where].roll((row, column), (2, 3))  # their edges are black
    return ImageSet(moved_to, test.y, test.classes)


def _worth(answer: Answer, truth: Truth, network: Callable[[], nn.Module], images: ImageSet) -> float:
    """What an answer's trigger is worth, from 0 to 1; only one of few pixels for the true target is tried."""
    trigger, target = answer.trigger, answer.target
    if trigger is None or target is None or truth.goal is None:
        return 0.0
    if (target,) != truth.goal.targets or float(trigger.mask.sum()) > MOST_PIXELS:
        return 0.0
    share = moved(network(), trigger, target, images).value
    return min(max((share - NO_EFFECT) / (FULL_EFFECT - NO_EFFECT), 0.0), 1.0)
