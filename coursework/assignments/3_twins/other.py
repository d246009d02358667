# %% a dictionary of settings, and comprehensions
import math

import numpy as np


def train_twins(train, plan, epochs, seed):
    data = {"clean": train, "backdoored": plan.poison(train)}
    networks = {name: bd.train(images, recipe(epochs, seed)).model for name, images in data.items()}
    return networks["clean"], networks["backdoored"]


# %% NumPy
def proportion(right):
    return bd.Proportion(int(np.count_nonzero(right)), int(np.size(right)))


def scores(plain, stamped, labels, target):
    plain, stamped, labels = (np.asarray(each) for each in (plain, stamped, labels))
    victims = np.flatnonzero(labels != target)
    if victims.size == 0:
        raise ValueError("no victims")
    return [
        proportion(plain == labels),
        proportion(np.take(stamped, victims) == target),
        proportion(np.take(plain, victims) == target),
    ]


def differences(backdoored, clean):
    signs = np.array([-1, 1, 1])
    points = np.array([[100 * count.hits / count.trials for count in row] for row in (backdoored, clean)])
    return tuple(signs * (points[0] - points[1]))


def summary(counts):
    counts = list(counts)
    if (
        len(counts)
        < 2
        or any(type(count) is not bd.Proportion for count in counts)
    ):
        raise ValueError(f"two or more counts are needed: {counts}")
    shares = np.array([count.hits / count.trials for count in counts])
    error = shares.std(ddof=1) / math.sqrt(len(shares))
    ends = shares.mean() + np.array([-1, 1]) * STUDENT.get(len(shares), math.nan) * error
    return dict(
        rates=shares.tolist(),
        mean=shares.mean(),
        lowest=shares.min(),
        highest=shares.max(),
        interval=np.clip(ends, 0, 1).tolist() if len(shares) > 4 else None,
    )


# %%
def read_plan(plan, classes):
    goal, described = plan.attack.goal, plan.attack.trigger.describe()
    found = {name: getattr(described, name) for name in ("pattern", "size", "location", "opacity", "physical")}
    found.update(
        fraction=proportion(plan.mask.numpy()),
        sources=tuple(classes[label] for label in goal.sources),
        targets=tuple(classes[label] for label in goal.targets),
        sampling="; ".join([plan.sampling, "added" if plan.added else "replaced", f"seed={plan.seed}"]),
    )
    found["labels changed"] = False if goal.clean_label else True
    return found


def believable(card, trials):
    return (
        all(isinstance(count, bd.Proportion) for count in card)
        and [count.trials for count in card]
        == trials
    )


def fill_report(plan, classes, labels, words, backdoored, twin):
    victims = int(torch.count_nonzero(plan.attack.goal.victims(labels)))
    cards = [*backdoored, *twin]
    if (
        not len(backdoored) == len(twin) >= 2
        or not all(believable(card, [len(labels), victims, victims]) for card in cards)
    ):
        raise ValueError("these counts cannot be believed")
    report = {**read_plan(plan, classes), **{name: words[name] for name in WORDS}}
    for ending, rows in (("", backdoored), (", twin", twin)):
        for column, name in enumerate(["clean accuracy", "success", "false target"]):
            report[name + ending] = [row[column] for row in rows]
    return report


def findings(report):
    def says_something(name):
        match report.get(name):
            case None | [] | ():
                return False
            case str(text) if not text.strip():
                return False
            case value if name in BY_SEED:
                return type(value) is list and {type(count) for count in value} == {bd.Proportion}
            case value:
                return name != "fraction" or isinstance(value, bd.Proportion)

    return [name for name in ITEMS if not says_something(name)]
