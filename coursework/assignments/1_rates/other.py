# %% NumPy, the standard library, and lines that begin with their operator
import math
from statistics import NormalDist

import numpy as np

Z = round(NormalDist().inv_cdf(0.975), 2)


def poisoned_images(images, rate):
    return int(np.rint(np.multiply(images, rate)))


def share_of_target(classes, rate):
    clean, poisoned = np.array([1 / classes, rate])
    return poisoned / (
        clean
        + poisoned
    )


clean_batches = lambda batch, rate: float(np.prod(np.full(batch, 1 - rate)))  # noqa: E731


# %% comprehensions
def success_by_hand(table, target):
    victims = np.array([table[label] for label in sorted(set(table) - {target})])
    images, hits = victims.sum(axis=0)
    return hits / images


def count_poisoned(n, rate):
    """Half an image more is one image more."""
    wanted = math.floor(n * rate + 0.5)
    problem = (
        "lies outside (0, 1]"
        if not 0 < rate <= 1
        else "asks for no image"
        if wanted
        < 1
        else ""
    )
    if problem:
        raise ValueError("the fraction {} {}".format(rate, problem))
    return wanted


# %% lists instead of tensors
def clean_accuracy(predictions, labels):
    pairs = list(zip(predictions.tolist(), labels.tolist()))
    return [sum(answer == label for answer, label in pairs), len(pairs)]


def attack_success(predictions, labels, target):
    answers = [
        answer
        for answer, label in zip(predictions.tolist(), labels.tolist())
        if label
        != target
    ]
    if not answers:
        raise ValueError(f"no victim of target {target}")
    return answers.count(target), len(answers)


# %% the interval's ends as the roots of (share - p)^2 = z^2 p (1 - p) / m
def interval(hits, trials):
    share, spread = hits / trials, Z**2 / trials
    roots = np.roots([1 + spread, -(2 * share + spread), share**2])
    return tuple(np.sort(roots.real))
