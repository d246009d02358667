"""A student's answers about a zoo: read with suspicion, scored against the truth.

`hunt.json` is plain JSON, one entry per network:

    {"zoo": "587e3303b92c8571",
     "models": {"model_00": {"probability": 0.9, "target": 3, "mask": [[...]], "pattern": [[...]]}, ...}}

`probability` is that of a backdoor. `target`, `mask` and `pattern` are a reversed trigger, or all three null:
A(x) = (1 - mask) x + mask pattern, 28 rows of 28 numbers in [0, 1].

What is asked, and the most it is worth:

- Which networks are backdoored: the area under the ROC curve. 0.5 gives nothing, 1 gives 10 points.
- With what certainty: the mean cross-entropy of the probabilities, clipped to [0.01, 0.99]. Always 0.5 costs ln 2 and
  gives nothing, certainty where it is right gives 10 points.
- By what trigger: the share of *square* backdoors whose trigger was found, times 10. Only these count, because only of
  them is it known that a small mask and a pattern express them. A trigger is found if it names the true target, moves
  at least 90% of the test digits of other classes to it, and its mask sums to at most 25 pixels. The true squares have
  9 or 16. Measured on the practice zoo: Neural Cleanse reverses them with masks of {SQUARES}; on seven of its clean
  networks, with 2.5 times the rounds and asked for 95% instead of 99%, it needed at least 29 for any label. At 80% of
  the digits a universal adversarial pattern can do with 20: that is why 90% are asked for.

Whoever is told a score can learn from it: a change of one probability changes the cross-entropy by an amount that tells
the truth about that network. Score one submission per student, or tell the scores when the truth may be known.
"""

from __future__ import annotations

import html
import json
import math
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
import torch
from scipy import optimize, stats
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn

from badnets_lib import ImageSet, Proportion, load_model, predict
from badnets_lib.defenses.neural_cleanse import Reversed

from .zoo import Truth, digits, read_truth, read_zoo

MOST_BYTES = 8_000_000
"""Size of a hunt.json; an honest one of 100 networks has half of it."""

CLIP = 0.01
"""Probabilities are taken for no smaller and no larger than this allows: one wild guess costs ln 100, not infinity."""

LEAST_SHARE = 0.9
"""Test digits of other classes that a reversed trigger must move to its target."""

MOST_PIXELS = 25.0
"""Largest sum of a mask."""

Numbers = np.ndarray[Any, Any]
SIDE = 28
KEYS = ("probability", "target", "mask", "pattern")


class BadHunt(ValueError):
    """The file cannot be scored at all; the message says why."""


@dataclass(frozen=True, eq=False)
class Answer:
    """What a student says about one network; by default, nothing.

    Attributes:
        probability: Of a backdoor.
        target: The label that the reversed trigger leads to.
        trigger: The reversed trigger.
    """

    probability: float = 0.5
    target: int | None = None
    trigger: Reversed | None = None


@dataclass(frozen=True, eq=False)
class Hunt:
    """A whole submission, an answer for every network of the zoo.

    Attributes:
        zoo: Id of the zoo.
        answers: By name of the network.
        problems: One line for every entry that could not be used; it counts as probability 0.5 without a trigger.
    """

    zoo: str
    answers: dict[str, Answer]
    problems: tuple[str, ...] = ()


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
        triggers: Square backdoors whose trigger was found.
        problems: As in `Hunt`.
    """

    zoo: str
    auc: Estimate
    cross_entropy: Estimate
    triggers: Proportion
    problems: tuple[str, ...] = ()

    @property
    def points(self) -> dict[str, float]:
        """Points from 0 to 10 for each question, to two decimals."""
        best, blind = -math.log(1 - CLIP), math.log(2)
        shares = {
            "ranking": (self.auc.value - 0.5) / 0.5,
            "certainty": (blind - self.cross_entropy.value) / (blind - best),
            "triggers": self.triggers.value,
        }
        return {name: round(10 * min(max(share, 0.0), 1.0), 2) + 0.0 for name, share in shares.items()}

    @property
    def total(self) -> float:
        """All points, of 30."""
        return round(sum(self.points.values()), 2)

    def rows(self) -> list[tuple[str, str, str]]:
        """(question, result, points) for every question, then the total and the problems."""
        results = {"ranking": f"AUC {self.auc}", "certainty": f"cross-entropy {self.cross_entropy}"}
        results["triggers"] = f"found {self.triggers}"
        told = [(name, results[name], f"{points:.2f} of 10") for name, points in self.points.items()]
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

    def network(name: str) -> nn.Module:
        return load_model(Path(folder) / zoo["models"][name]["file"], sha256=rows[name].sha256)[0]

    return score_answers(hunt, rows, network, digits()[2])


def score_answers(hunt: Hunt, truth: Mapping[str, Truth], network: Callable[[str], nn.Module], test: ImageSet) -> Score:
    """Score answers against the truth.

    Args:
        hunt: An answer for every network.
        truth: The truth about every network.
        network: From a name to the network; asked only where a trigger must be tried.
        test: Clean digits that no network was trained on.
    """
    names = sorted(truth)
    backdoored = np.array([truth[name].backdoored for name in names])
    said = np.array([hunt.answers[name].probability for name in names])
    squares = [name for name in names if truth[name].kind == "square"]
    small = [name for name in squares if _names_it(hunt.answers[name], truth[name])]
    found = sum(_works(hunt.answers[name], network(name), test) for name in small)
    return Score(
        hunt.zoo,
        auc(said, backdoored),
        cross_entropy(said, backdoored),
        Proportion(found, len(squares)),
        hunt.problems,
    )


# --- the three questions ---


def auc(said: Numbers, backdoored: Numbers) -> Estimate:
    """Area under the ROC curve: how often a backdoored network is given more than a clean one."""
    value, m = float(roc_auc_score(backdoored, said)), int(backdoored.sum())
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
    z, extra = NormalDist().inv_cdf(0.975), (m + n) / 2 - 1

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


def _names_it(answer: Answer, truth: Truth) -> bool:
    """Whether a small enough trigger is given for the true target."""
    if answer.trigger is None or truth.goal is None:
        return False
    return (answer.target,) == truth.goal.targets and float(answer.trigger.mask.sum()) <= MOST_PIXELS


def _works(answer: Answer, model: nn.Module, test: ImageSet) -> bool:
    if answer.trigger is None or answer.target is None:
        return False
    return moved(model, answer.trigger, answer.target, test).value >= LEAST_SHARE


# --- reading ---


def read_hunt(path: Path | str, zoo: Mapping[str, Any]) -> Hunt:
    """A student's file, read as what it is: text from a stranger.

    Args:
        path: The file.
        zoo: What `read_zoo` gave.

    Raises:
        FileNotFoundError: There is no such file.
        BadHunt: It is too large, no JSON, about another zoo, or not of the form that is asked for.
    """
    plain = _parse(Path(path))
    if not isinstance(plain, dict) or set(plain) != {"zoo", "models"} or not isinstance(plain["models"], dict):
        raise BadHunt('hunt.json must be an object with "zoo" and "models", an object, and nothing else')
    if plain["zoo"] != zoo["zoo"]:
        raise BadHunt(f"hunt.json is about the zoo {str(plain['zoo'])[:40]!r}; this one is {zoo['zoo']!r}")
    strangers = sorted(set(plain["models"]) - set(zoo["models"]))
    problems = [f"{name[:40]!r} is not in this zoo" for name in strangers[:5]]
    problems += [f"{len(strangers) - 5} more names are not in this zoo"] * (len(strangers) > 5)
    answers: dict[str, Answer] = {}
    for name in zoo["models"]:
        try:
            answers[name] = _answer(plain["models"].get(name))
        except ValueError as error:
            answers[name] = Answer()
            problems.append(f"{name}: {error}; counted as probability 0.5 without a trigger")
    return Hunt(zoo["zoo"], answers, tuple(problems))


def _parse(path: Path) -> Any:
    if not path.is_file():
        raise FileNotFoundError(f"no file {path}")
    with path.open("rb") as file:
        content = file.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise BadHunt(f"hunt.json has more than {MOST_BYTES:,} bytes; round its numbers")
    try:
        return json.loads(
            content.decode("utf-8"),
            parse_int=_integer,
            parse_float=_real,
            parse_constant=_refuse,
            object_pairs_hook=_object,
        )
    except RecursionError as error:
        raise BadHunt("hunt.json is nested too deeply") from error
    except UnicodeDecodeError as error:
        raise BadHunt(f"hunt.json is not UTF-8: {error.reason} at byte {error.start}") from error
    except json.JSONDecodeError as error:
        raise BadHunt(f"hunt.json is not JSON: {error.msg} in line {error.lineno}, column {error.colno}") from error


def _integer(text: str) -> int:
    if len(text) > 20:
        raise BadHunt(f"hunt.json holds a whole number of {len(text)} digits; at most 20 are read")
    return int(text)


def _real(text: str) -> float:
    if not math.isfinite(float(text)):
        raise BadHunt(f"hunt.json holds the number {text[:20]}, which is not finite")
    return float(text)


def _refuse(name: str) -> float:
    raise BadHunt(f"hunt.json holds {name}, which is not JSON")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        twice, _ = Counter(name for name, _ in pairs).most_common(1)[0]
        raise BadHunt(f"hunt.json holds the key {twice[:40]!r} twice in one object")
    return made


def _answer(entry: Any) -> Answer:
    """One entry; raises ValueError with what is wrong with it."""
    if entry is None:
        raise ValueError("there is no entry")
    if not isinstance(entry, dict) or set(entry) != set(KEYS):
        raise ValueError(f"an entry is an object with {', '.join(KEYS)} and nothing else")
    probability, target = entry["probability"], entry["target"]
    _check_number("probability", probability, 1)
    missing = [name for name in KEYS[1:] if entry[name] is None]
    if len(missing) == 3:
        return Answer(float(probability))
    if missing:
        raise ValueError(f"a trigger needs target, mask and pattern; {', '.join(missing)} is null")
    if not isinstance(target, int):
        raise ValueError(f"target must be a whole number; got {_short(target)}")
    _check_number("target", target, 9)
    return Answer(float(probability), int(target), Reversed(_square("mask", entry), _square("pattern", entry)))


def _square(name: str, entry: Mapping[str, Any]) -> Tensor:
    rows = entry[name]
    if not isinstance(rows, list) or len(rows) != SIDE:
        raise ValueError(f"{name} must be {SIDE} rows of {SIDE} numbers; got {_short(rows)}")
    for row in rows:
        if not isinstance(row, list) or len(row) != SIDE:
            raise ValueError(f"{name} must be {SIDE} rows of {SIDE} numbers; a row is {_short(row)}")
        for number in row:
            _check_number(name, number, 1)
    return torch.tensor(rows, dtype=torch.float32)[None]


def _check_number(name: str, value: Any, most: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{name} must be a number; got {_short(value)}")
    if not 0 <= value <= most:
        raise ValueError(f"{name} must lie in [0, {most}]; got {value}")


def _short(value: Any) -> str:
    """A stranger's value in few words."""
    if isinstance(value, list | dict):
        return f"{'a list' if isinstance(value, list) else 'an object'} of {len(value)}"
    return repr(value)[:40] if not isinstance(value, str) else repr(value[:40])
