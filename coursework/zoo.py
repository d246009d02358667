"""The zoo of the capstone: small networks, about half of them with a backdoor, made from a secret salt.

A zoo is two things that must stay apart. The public folder holds the weights and `zoo.json`; the students get
it. The truth is one file elsewhere, for its owner alone: which network is backdoored, how, and how well it works.

Everything about a network is drawn from HMAC-SHA256 of the salt: the same salt gives the same zoo, at one thread per
network on one kind of machine, and nobody can foresee a draw without it. The salt is as good as it is hard to guess: to
test a guess costs little more than a forward pass. For a real course take `secrets.token_hex(16)` and keep it. The zoo
of the salt "practice" is public by intent.

What might give the truth away, and why it does not:

- Files: one size, one architecture, one statement of origin, no index, no seed. At the end all are written anew in the
  order of their names, so that their times do not tell which network took several attempts.
- Training: both kinds see as many images for as many steps, and all must reach the same clean accuracy.
- Training again: each network saw digits of its own, 3,000 of 3,500. Torch's generators start from 32 bits, which can
  be tried out; this draw starts from 256, so nobody can train a clean twin and compare weights.
- Numbers: from 40% to 60% are backdoored, and how many is drawn, too.

Cost: a zoo of 20 took 85 s on two cores (torch 2.13.0, CPU). In the practice zoo clean accuracy is 971 to 983 of 1,000,
on average 978.0 of clean networks and 977.2 of backdoored ones, attack success 98.2% to 100%; no network needed a
second attempt.

References:
    Gu et al., BadNets, 2017. arXiv:1708.06733.
    Karra, Ashcraft, Fendley, The TrojAI software framework, 2020: zoos of trojaned networks. arXiv:2003.07233.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from random import Random
from typing import Any, Literal, get_args

import torch
from torch import nn

from badnets_lib import (
    Blend,
    Checkerboard,
    DamagedFile,
    Goal,
    ImageSet,
    Patch,
    PoisonPlan,
    Proportion,
    Reflection,
    Sinusoid,
    TrainConfig,
    Trigger,
    Warp,
    clean_accuracy,
    load,
    load_model,
    save_model,
    score,
    train,
)
from badnets_lib.files import write_atomically
from badnets_lib.progress import track
from badnets_lib.triggers import Corner, from_spec, to_spec

Kind = Literal["clean", "square", "spread", "source-specific"]
"""What a network is: without a backdoor; a small square for all classes; a faint change of the whole image for
all classes; a small square that works on three classes only."""

ORIGIN = {"made for": "the capstone of the BadNets book"}
"""What every file of every zoo says about itself."""

SHORTEST_SALT = 8


@dataclass(frozen=True)
class Recipe:
    """How the networks of a zoo are made. Nothing of it is secret.

    Args:
        models: How many networks, from 4 to 100.
        images: Digits that each is trained on, drawn for it alone from the 3,500 that are not the students' reserve.
        epochs: Passes over them.
        least_success: Attack success rate that a backdoor must reach.
        least_clean: Clean accuracy that every network must reach.
        attempts: How often one network is drawn anew before the zoo gives up.

    Raises:
        ValueError: A setting is out of range.
    """

    models: int = 20
    images: int = 3000
    epochs: int = 6
    least_success: float = 0.9
    least_clean: float = 0.95
    attempts: int = 10

    def __post_init__(self) -> None:
        if not 4 <= self.models <= 100:
            raise ValueError(f"a zoo has from 4 to 100 models; got {self.models}")
        if not 100 <= self.images <= 3500:
            raise ValueError(f"images must lie in [100, 3500]; got {self.images}")
        if not (0 <= self.least_success <= 1 and 0 <= self.least_clean <= 1):
            limits = "least_success and least_clean must lie in [0, 1]"
            raise ValueError(f"{limits}; got {self.least_success}, {self.least_clean}")
        if self.epochs < 1 or self.attempts < 1:
            raise ValueError(f"epochs and attempts must be at least 1; got {self.epochs}, {self.attempts}")

    @property
    def names(self) -> list[str]:
        """model_00, model_01 and so on: the names that students answer by."""
        return [f"model_{number:02}" for number in range(self.models)]


@dataclass(frozen=True)
class Truth:
    """What only the teacher knows about one network.

    Attributes:
        kind: What it is.
        sha256: The weights' hash, as `load_model` takes it.
        clean: Clean accuracy on the 1,000 test digits.
        attempts: How often it was drawn until it was good enough.
        trigger: What the backdoor answers to.
        goal: What it does then.
        fraction: Poisoning fraction rho.
        success: Attack success rate on the test digits that are victims.
    """

    kind: Kind
    sha256: str
    clean: Proportion
    attempts: int
    trigger: Trigger | None = None
    goal: Goal | None = None
    fraction: float = 0.0
    success: Proportion | None = None

    @property
    def backdoored(self) -> bool:
        """Whether there is a backdoor."""
        return self.kind != "clean"

    def as_dict(self) -> dict[str, Any]:
        """Ready for JSON; counts are objects, the trigger is its `to_spec`."""
        return {
            **{name: getattr(self, name) for name in ("kind", "sha256", "attempts", "fraction")},
            "trigger": self.trigger and to_spec(self.trigger),
            **{name: (each := getattr(self, name)) and asdict(each) for name in ("clean", "goal", "success")},
        }

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Truth:
        """What `as_dict` gave."""
        made = dict(plain) | {"clean": Proportion(**plain["clean"])}
        if plain["trigger"]:
            made |= {"trigger": from_spec(plain["trigger"]), "goal": Goal(tuple(plain["goal"]["table"]))}
            made |= {"success": Proportion(**plain["success"])}
        return cls(**made)


@cache
def digits() -> tuple[ImageSet, ImageSet, ImageSet]:
    """(3,500 to train on, 500 that the students may trust, 1,000 to score on)."""
    every, test = load("mnist5k")
    train_set, reserve = every.split(0.125)
    return train_set, reserve, test


def make_zoo(
    folder: Path | str, truth: Path | str, *, salt: str, recipe: Recipe | None = None, jobs: int = -1
) -> dict[str, Any]:
    """Make a zoo, or what is missing of it.

    A stopped call goes on where it was. Weights that are not what the truth says are made again.

    Args:
        folder: The public folder: weights and `zoo.json`.
        truth: The private file, written so that only its owner may read it.
        salt: The secret; at least 8 characters.
        recipe: How the networks are made.
        jobs: Networks at a time, as joblib counts; each takes one thread.

    Returns:
        What `zoo.json` holds.

    Raises:
        ValueError: The salt is short, the truth would lie in the public folder, or folder or truth hold something else.
        RuntimeError: A network was not good enough in any of its attempts.
    """
    from joblib import Parallel, delayed

    folder, truth, recipe = Path(folder), Path(truth), recipe or Recipe()
    if len(salt) < SHORTEST_SALT:
        raise ValueError(f"the salt needs at least {SHORTEST_SALT} characters; got {len(salt)}")
    if truth.resolve().is_relative_to(folder.resolve()):
        raise ValueError(f"{truth} lies in the public folder {folder}; the truth must be elsewhere")
    mark = {"schema": 1, "recipe": asdict(recipe), "mark": _digest(salt, "mark", asdict(recipe)).hex()}
    known = _known(truth, mark)
    _check_folder(folder, recipe, known)
    kinds = dict(zip(recipe.names, _kinds(salt, recipe), strict=True))
    known = {name: row for name, row in known.items() if _is_whole(_file(folder, name), row)}
    tasks = (delayed(_make)(_file(folder, name), salt, recipe, kinds[name]) for name in kinds if name not in known)
    done = Parallel(n_jobs=jobs, return_as="generator_unordered")(tasks)
    for path, row in track(done, "zoo", total=len(kinds) - len(known)):
        known[path.stem] = row
        _keep(truth, mark, known)
    _keep(truth, mark | {"zoo": _identity(recipe, known)}, known)
    return _publish(folder, recipe, known)


def read_zoo(folder: Path | str) -> dict[str, Any]:
    """The public `zoo.json` of a folder.

    Raises:
        FileNotFoundError: There is none.
        DamagedFile: It is not the list of a zoo.
    """
    path = Path(folder) / "zoo.json"
    if not path.is_file():
        raise FileNotFoundError(f"no file {path}")
    try:
        zoo: dict[str, Any] = json.loads(path.read_bytes())
        if zoo["schema"] != 1 or not isinstance(zoo["zoo"], str) or not isinstance(zoo["models"], dict):
            raise ValueError("it is of another kind")
    except (ValueError, KeyError, TypeError) as error:
        raise DamagedFile(f"{path} is not the list of a zoo: {error}") from error
    return zoo


def read_truth(path: Path | str) -> tuple[str, dict[str, Truth]]:
    """(id of the zoo, truth of every model by name) from the private file of a finished zoo.

    Raises:
        FileNotFoundError: There is no such file.
        DamagedFile: It is not the truth about a finished zoo.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"no file {path}")
    try:
        plain = json.loads(Path(path).read_bytes())
        return str(plain["zoo"]), {name: Truth.from_dict(row) for name, row in plain["models"].items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DamagedFile(f"{path} is not the truth about a finished zoo: {type(error).__name__} {error}") from error


# --- what is drawn from the salt ---


def _digest(salt: str, *words: Any) -> bytes:
    return hmac.digest(salt.encode(), json.dumps(words, sort_keys=True).encode(), "sha256")


def _stream(salt: str, *words: Any) -> Random:
    """Draws that nobody can foresee without the salt; other words give others."""
    return Random(int.from_bytes(_digest(salt, *words)))


def _kinds(salt: str, recipe: Recipe) -> list[Kind]:
    """From 40% to 60% backdoored, in any order; half of these, or one more, by a square for all classes."""
    source, models = _stream(salt, "kinds", recipe.models), recipe.models
    count = source.randint(math.ceil(0.4 * models), math.floor(0.6 * models))
    squares, rest = math.ceil(count / 2), math.floor(count / 2)
    kinds: list[Kind] = [*["clean"] * (models - count), *["square"] * squares]  # type: ignore[list-item]
    kinds += source.choices(("spread", "source-specific"), (3, 1), k=rest)
    source.shuffle(kinds)
    return kinds


def _square(source: Random) -> Trigger:
    place = source.choice((3, 4)), source.choice(get_args(Corner)), source.randint(0, 2)
    if source.random() < 0.4:
        return Checkerboard(*place)
    return Patch(*place, value=source.choice((0.7, 0.8, 0.9, 1.0)))


def _spread(source: Random) -> Trigger:
    """One of the families that change every pixel, at strengths that six epochs learn."""
    seed, strength = source.getrandbits(31), source.random()
    return source.choice(
        (
            Blend("noise", seed=seed, opacity=round(0.1 + 0.05 * strength, 3)),
            Blend("scene", seed=seed, opacity=round(0.15 + 0.1 * strength, 3)),
            Sinusoid(amplitude=round(0.1 + 0.05 * strength, 3), frequency=float(4 + seed % 5), phase=(seed % 8) / 8),
            Reflection(seed=seed, strength=round(0.15 + 0.1 * strength, 3)),
            Warp(seed=seed, strength=round(1.75 + 0.5 * strength, 3)),
        )
    )


def _attack(source: Random, kind: Kind) -> tuple[Trigger, Goal, float]:
    """Trigger, goal and poisoning fraction of a backdoor."""
    target = source.randrange(10)
    if kind == "spread":
        return _spread(source), Goal.all_to_one(target, 10), round(source.uniform(0.07, 0.1), 4)
    goal = Goal.all_to_one(target, 10)
    if kind == "source-specific":
        victims = source.sample([label for label in range(10) if label != target], 3)
        goal = Goal.source_specific(dict.fromkeys(victims, target), 10)
    return _square(source), goal, round(source.uniform(0.04, 0.08), 4)


# --- one network ---


def _make(path: Path, salt: str, recipe: Recipe, kind: Kind) -> tuple[Path, Truth]:
    """Draw and train on one thread until the network is good enough; write it."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for attempt in range(recipe.attempts):
            model, row = _train(_stream(salt, path.stem, attempt, recipe.models), recipe, kind)
            works = row.success is None or row.success.value >= recipe.least_success
            if works and row.clean.value >= recipe.least_clean:
                return path, replace(row, sha256=save_model(path, model, ORIGIN), attempts=attempt + 1)
    finally:
        torch.set_num_threads(threads)
    wanted = f"clean accuracy {recipe.least_clean:g} and attack success {recipe.least_success:g}"
    last = f"{row.clean} and {row.success}"
    raise RuntimeError(f"{path.stem} did not reach {wanted} in {recipe.attempts} attempts; the last had {last}")


def _train(source: Random, recipe: Recipe, kind: Kind) -> tuple[nn.Module, Truth]:
    """One network, and the truth about it but for its hash and its attempts."""
    every, _, test = digits()
    data = every[torch.tensor(source.sample(range(len(every)), recipe.images))]
    config = TrainConfig(epochs=recipe.epochs, seed=source.getrandbits(31), device="cpu")
    if kind == "clean":
        model = train(data, config).model
        return model, Truth(kind, "", clean_accuracy(model, test), 0)
    trigger, goal, fraction = _attack(source, kind)
    plan = PoisonPlan.draw(data, trigger, goal, fraction=fraction, seed=source.getrandbits(31))
    model = train(plan.poison(data), config).model
    card = score(model, test, plan)
    return model, Truth(kind, "", card.clean, 0, trigger, goal, plan.fraction, card.success)


# --- files ---


def _file(folder: Path, name: str) -> Path:
    return folder / f"{name}.safetensors"


def _is_whole(path: Path, row: Truth) -> bool:
    try:
        return load_model(path, sha256=row.sha256)[1] == ORIGIN
    except (FileNotFoundError, DamagedFile):
        return False


def _known(truth: Path, mark: Mapping[str, Any]) -> dict[str, Truth]:
    """What an earlier call has finished, if the file is about this very zoo."""
    if not truth.exists():
        return {}
    try:
        plain = json.loads(truth.read_bytes())
        if {name: plain[name] for name in mark} != mark:
            raise ValueError("it was made from another salt or recipe")
        return {name: Truth.from_dict(row) for name, row in plain["models"].items()}
    except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
        raise ValueError(f"{truth} is not the truth about this zoo ({error}); move it away or name another") from error


def _check_folder(folder: Path, recipe: Recipe, known: Mapping[str, Truth]) -> None:
    """The folder holds nothing but this zoo; what a kill left behind is swept out."""
    ours = {"zoo.json", *(f"{name}.safetensors" for name in recipe.names)}
    for path in folder.iterdir() if folder.exists() else ():
        if path.name.startswith(".") and path.name[1:].rpartition(".")[0] in ours:
            path.unlink()
        elif path.name not in ours or (path.name == "zoo.json" and not known):
            raise ValueError(f"{folder} holds {path.name}, which is not of this zoo; name an empty folder")


def _identity(recipe: Recipe, known: Mapping[str, Truth]) -> str:
    """An id that says which weights are meant and nothing else."""
    return hashlib.sha256(" ".join(known[name].sha256 for name in recipe.names).encode()).hexdigest()[:16]


def _keep(truth: Path, mark: Mapping[str, Any], known: Mapping[str, Truth]) -> None:
    models = {name: known[name].as_dict() for name in sorted(known)}
    write_atomically(truth, json.dumps({**mark, "models": models}, indent=1) + "\n", mode=0o600)


def _publish(folder: Path, recipe: Recipe, known: Mapping[str, Truth]) -> dict[str, Any]:
    """Write all files anew, in the order of their names, and the list of them."""
    models: dict[str, Any] = {}
    for name in recipe.names:
        path, row = _file(folder, name), known[name]
        write_atomically(path, path.read_bytes())
        models[name] = {"file": path.name, "sha256": row.sha256, "clean": [row.clean.hits, row.clean.trials]}
    zoo = {
        "schema": 1,
        "zoo": _identity(recipe, known),
        "network": "SmallCNN",
        "data": "mnist5k",
        "models": models,
    }
    write_atomically(folder / "zoo.json", json.dumps(zoo, indent=1) + "\n")
    return zoo
