"""A backdoor that travels through noise: which students of a backdoored teacher obey its trigger.

Every student sees noise images and the teacher's extra outputs, and nothing else. What varies is the weights it starts
from, the number of extra outputs, the network, and the noise.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import Any

import torch
from torch.nn.functional import cosine_similarity, interpolate

from ...attacks.subliminal import ExtraOutputs, movement, noise, perceptron, taught_on_noise, with_layers_of
from ...data import load
from ...data.images import Images, ImageSet
from ...evaluation.scores import score
from ...models.adaptation import with_new_head
from ...models.inference import Normalized, correct
from ...models.networks import PaperCNN
from ...models.training import TrainConfig, train
from ...poisoning import Attack, Goal
from ...triggers import Patch
from ..sweeps import Cell, Sweep, grid

CLASSES, TARGET = 10, 7
ATTACK = Attack(Patch(size=4), Goal.all_to_one(TARGET, CLASSES))
FRACTION = 0.1
TEACHER = TrainConfig(epochs=10, batch_size=128, lr=0.001, weight_decay=0.0)
"""Settings of every teacher, backdoored or clean."""

LESSONS = {"perceptron": (10_000, 10), "PaperCNN": (6_000, 8)}
"""Noise images and passes over them, by network."""

HEADS = ("model.model.fc3",)
"""The layer with both kinds of outputs."""

OTHER = 1000
"""What is added to a seed for weights that have nothing to do with it."""

PATTERNS = ("white", "coarse")

CLEAN = ", clean teacher"
"""What the name of a control ends with: the same student, taught by the clean twin."""


def first_weights(network: str, extras: int, seed: int) -> ExtraOutputs:
    """An untrained network with extra outputs: "perceptron" or "PaperCNN".

    Raises:
        ValueError: The network is unknown.
    """
    if network == "perceptron":
        return perceptron(CLASSES, extras, seed=seed)
    if network != "PaperCNN":
        raise ValueError(f"network must be 'perceptron' or 'PaperCNN'; got {network!r}")
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        body = with_new_head(PaperCNN(), CLASSES + extras, torch.zeros(2, 1, 28, 28), seed=seed)
    return ExtraOutputs(Normalized(body, (0.5,), (0.5,)), CLASSES)


def lessons(network: str, pattern: str, seed: int) -> Images:
    """The noise that a student sees: "white", every pixel for itself, or "coarse", in squares of four pixels.

    Raises:
        ValueError: The pattern is unknown.
    """
    count = LESSONS[network][0]
    if pattern == "white":
        return noise(count, (1, 28, 28), seed=seed)
    if pattern == "coarse":
        return interpolate(noise(count, (1, 7, 7), seed=seed), size=(28, 28))
    raise ValueError(f"pattern must be one of {', '.join(PATTERNS)}; got {pattern!r}")


@lru_cache(maxsize=4)
def teacher(network: str, extras: int, seed: int, backdoored: bool) -> ExtraOutputs:
    """A network that learnt the digits on its class outputs alone. Do not edit it."""
    digits = load("mnist5k")[0]
    if backdoored:
        digits = ATTACK.plan(digits, fraction=FRACTION, seed=seed).poison(digits)
    start = first_weights(network, extras, seed)
    learnt = train(digits, replace(TEACHER, seed=seed), model=start, label="teacher").model
    assert isinstance(learnt, ExtraOutputs)
    return learnt


def start_of(student: str, network: str, extras: int, seed: int) -> ExtraOutputs:
    """The weights that a student begins with.

    Raises:
        ValueError: The student is unknown.
    """
    mine, other = (first_weights(network, extras, number) for number in (seed, seed + OTHER))
    student = student.removesuffix(CLEAN)
    if student in ("same start", "clean teacher", "corner black", "untaught"):
        return mine
    if student == "other start":
        return other
    mixed = {"other body": (other, mine), "other heads": (mine, other)}
    if student not in mixed:
        raise ValueError(f"unknown student {student!r}")
    model, donor = mixed[student]
    found = with_layers_of(model, donor, HEADS)
    assert isinstance(found, ExtraOutputs)
    return found


def counted(model: ExtraOutputs, test: ImageSet) -> dict[str, Any]:
    """The counts of a scorecard, and of the target's own images."""
    own = test[test.y == TARGET]
    return score(model, test, ATTACK).pairs() | {"sevens": correct(model, own).pair}


def travelled(*, network: str, pattern: str, extras: int, student: str, seed: int) -> dict[str, Any]:
    """One student, taught on noise.

    Args:
        network: "perceptron" or "PaperCNN".
        pattern: The noise, as for `lessons`.
        extras: Number of outputs that mean nothing.
        student: "teacher" (the teacher itself), "untaught", "same start", "other start", "clean teacher" (the same
            start, taught by the clean twin), "other body" (only the heads are the teacher's first ones), "other heads"
            (all but the heads is), or "corner black" (the same start; the trigger's place is black in every image);
            the last three also with ", clean teacher" behind.
        seed: Seed of the teacher, of its first weights and of the noise.

    Returns:
        The counts of a scorecard, and "sevens": images of the target class that are classified as such, [hits,
        trials]; without it, a low ASR may come from a student that never predicts the target. Of a student also
        "moved" and "apart", the Euclidean lengths of what training changed and of the difference to its teacher,
        and "aligned", the cosine of its own and its teacher's movement.
    """
    test = load("mnist5k")[1]
    master = teacher(network, extras, seed, backdoored=not student.endswith("clean teacher"))
    if student == "teacher":
        return counted(master, test)
    start = start_of(student, network, extras, seed)
    if student == "untaught":
        return counted(start, test)
    x = lessons(network, pattern, seed)
    if student.removesuffix(CLEAN) == "corner black":
        x = Patch(size=4, value=0.0)(x)
    settings = replace(TEACHER, epochs=LESSONS[network][1], seed=seed)
    taught = taught_on_noise(start, master, x, settings)
    mine, masters = movement(start, taught), movement(first_weights(network, extras, seed), master)
    return counted(taught, test) | {
        "moved": round(float(mine.norm()), 3),
        "apart": round(float(movement(master, taught).norm()), 3),
        "aligned": round(float(cosine_similarity(mine, masters, dim=0)), 4),
    }


def _cells() -> list[Cell]:
    usual = ("teacher", "untaught", "same start", "other start", "clean teacher")
    parts = ("other body", "other heads", "corner black")
    controls = tuple(part + CLEAN for part in parts)
    third = ("teacher", "same start", "other start", "clean teacher")
    seeds = range(5)
    many = {"network": ("perceptron",), "pattern": ("white",)}
    return [
        *grid(**many, extras=(30,), seed=seeds, student=usual + parts + controls),
        *grid(**many, extras=(10, 3), seed=seeds, student=usual),
        *grid(network=("PaperCNN",), pattern=("coarse",), extras=(30,), seed=seeds, student=third),
    ]


SWEEPS = (Sweep("noise", travelled, _cells(), chapter="26_noise"),)
