"""The defenses beside the plain or the usual way: rows of `make bench`.

The data filters and STRIP are compared with the adversarial-robustness-toolbox where it is installed
(`pip install adversarial-robustness-toolbox`). The book does not require it; without it these rows are left out.
"""

from __future__ import annotations

import copy
import importlib.util
import warnings
from functools import partial
from typing import Any

import numpy as np
import torch
from timings import Act, Row, compare
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, one_hot

import badnets_lib as bd
from badnets_lib._torchvision import declare_operators
from badnets_lib.defenses import ActivationClustering, DeepKNN, Holding, NeuralCleanse, Rates, SpectralSignatures, Strip
from badnets_lib.defenses.channels import Channels
from badnets_lib.defenses.features import features_of
from badnets_lib.study.experiments.cases import Case, prepare

TARGET = 7
ART = importlib.util.find_spec("art") is not None


def under_attack() -> tuple[nn.Module, bd.PoisonPlan, Holding, bd.ImageSet]:
    """A backdoored network (4x4 patch, rho 10%), its plan, 400 trusted images, and the scored test set."""
    train, test = bd.load("mnist5k")
    train, reserve = train.split(0.125)
    plan = bd.Attack(bd.Patch(), bd.Goal.all_to_one(TARGET, 10)).plan(train, fraction=0.1)
    model = bd.train(plan.poison(train), bd.TrainConfig(device="cpu")).model
    return model, plan, Holding.draw(reserve, 400, apart_from=(train, test)), test


# --- the scan of a model, and pruning ---


def one_label(model: nn.Module, x: Tensor, label: int, *, passes: int = 30) -> Tensor:
    """One label's smallest mask as the usual toolkits look for it, [1, H, W].

    Random mask and pattern, passes over all trusted images in batches of 32, Adam at 0.1, weight 1e-3 once the
    trigger works, times 1.5 after 5 passes of success and divided by 1.5^1.5 after 5 of failure, stop after 10
    without progress.
    """
    source = torch.Generator().manual_seed(label)
    m, p = (torch.atanh((torch.rand(1, *x.shape[1:], generator=source) - 0.5) * 1.999) for _ in range(2))
    adam = torch.optim.Adam([m.requires_grad_(), p.requires_grad_()], lr=0.1, betas=(0.5, 0.9))
    weight, good, bad, idle, least, best = 0.0, 0, 0, 0, float("inf"), torch.ones_like(x[:1])
    for _ in range(passes):
        hits = 0
        for batch in torch.randperm(len(x), generator=source).split(32):
            mask, pattern = m.tanh() / 2 + 0.5, p.tanh() / 2 + 0.5
            logits = model((1 - mask) * x[batch] + mask * pattern)
            loss = cross_entropy(logits, torch.full((len(batch),), label)) + weight * mask.sum()
            adam.zero_grad()
            loss.backward()
            adam.step()
            hits += int((logits.argmax(1) == label).sum())
        works, norm = hits >= 0.99 * len(x), float(mask.detach().sum())
        idle = 0 if norm < 0.99 * least or least == float("inf") else idle + 1
        if works and norm < least:
            least, best = norm, mask.detach().clone()
        good, bad = (good + 1, 0) if works else (0, bad + 1)
        if good >= 5:
            weight, good = weight * 1.5 or 1e-3, 0
        if bad >= 5:
            weight, bad = weight / 1.5**1.5, 0
        if idle >= 10:
            break
    return best[0, :1]


def scanning(repeats: int) -> list[Row]:
    """Neural Cleanse over ten labels of a backdoored network; 400 trusted images. At most twice: it takes long."""
    model, plan, holding, _ = under_attack()
    frozen = copy.deepcopy(model).eval().requires_grad_(False)

    def label_by_label() -> Any:
        return [one_label(frozen, holding.trusted.x, label) for label in range(10)]

    assert NeuralCleanse()(model, holding).flagged == plan.attack.goal.targets
    plain: dict[str, tuple[Act, str]] = {"label by label, usual settings": (label_by_label, "at least 3x")}
    what = "Neural Cleanse, 10 labels"
    return compare(what, lambda: NeuralCleanse()(model, holding), plain, repeats=min(repeats, 2))


def resnet18(classes: int = 10) -> nn.Module:
    """ResNet-18 of torchvision with the stem for images of 32x32."""
    declare_operators()
    from torchvision import models

    network: nn.Module = models.resnet18(num_classes=classes)
    network.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
    network.maxpool = nn.Identity()
    return network


def scanning_many(repeats: int) -> list[Row]:
    """Neural Cleanse over 43 labels of an untrained network for colour images, so that neither way ends early."""
    x = torch.rand(400, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    holding = Holding(bd.ImageSet(x, torch.arange(400) % 43, tuple(map(str, range(43)))))
    model = bd.SmallCNN(3, 43).eval().requires_grad_(False)

    def label_by_label() -> Any:
        return [one_label(model, x, label) for label in range(43)]

    def ours() -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", bd.AssumptionWarning)  # an untrained network knows nothing of its images
            return NeuralCleanse()(model, holding)

    plain: dict[str, tuple[Act, str]] = {"label by label, usual settings": (label_by_label, "at least 3x")}
    return compare("Neural Cleanse, 43 labels", ours, plain, repeats=min(repeats, 1), warm_up=False)


def pruning(repeats: int) -> list[Row]:
    """Clean accuracy and ASR after pruning 0 to 32 channels of the last convolution."""
    model, plan, holding, test = under_attack()
    order = Channels(model, holding.trusted).dormant_first()
    sets = [Channels(model, data) for data in (test, plan.attack.on(test))]

    def one_by_one() -> Any:
        copies = [sets[0].silenced(order[:count]) for count in range(len(order) + 1)]
        return [tuple(bd.clean_accuracy(each, data) for each in copies) for data in (test, plan.attack.on(test))]

    def replayed() -> Any:
        return [each.curve(order) for each in sets]

    assert replayed() == one_by_one()
    plain: dict[str, tuple[Act, str]] = {
        "prune a copy, evaluate it, for each": (one_by_one, "ours below 1,000 ms"),
    }
    what = "Fine-Pruning's curve, 33 points, 1,900 images"
    return compare(what, replayed, plain, repeats=min(repeats, 3))


# --- large classes ---

SMALL_CLASS = 2_000
LARGE_CLASS = 8_000


def two_classes(images: int) -> tuple[Tensor, Tensor]:
    """Random features [2 n, 64] and labels [2 n] of two classes with so many images each; a fifth lies apart."""
    features = torch.randn(2 * images, 64, generator=torch.Generator().manual_seed(0))
    features[: 2 * images // 5, 0] += 10
    return features, torch.arange(2 * images) % 2


def judge_classes(method: ActivationClustering | DeepKNN, images: int) -> Any:
    """A data filter on two such classes, without the warnings that random features deserve."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", bd.AssumptionWarning)
        return method.judge(*two_classes(images))


def large_classes(repeats: int) -> list[Row]:
    """Activation Clustering and Deep k-NN on large classes beside smaller ones.

    Classes of four times the size: 0.25x is linear growth, 0.06x would be growth with the square.
    """
    rows = []
    for method in (ActivationClustering(), DeepKNN()):
        small: dict[str, tuple[Act, str]] = {
            f"the same, {SMALL_CLASS:,} images": (partial(judge_classes, method, SMALL_CLASS), "about 0.25x, linear"),
        }
        what = f"{type(method).__name__}, {LARGE_CLASS:,} images a class"
        rows += compare(what, partial(judge_classes, method, LARGE_CLASS), small, repeats=min(repeats, 3))
    return rows


# --- beside the adversarial-robustness-toolbox ---


EPSILON = 0.33
"""The share of a class that the toolbox expects to be poison by default, and so the spectral filters here."""

AS_PUBLISHED: dict[str, Any] = {
    "clustering, size": ActivationClustering(verdict="size"),
    "clustering, silhouette": ActivationClustering(verdict="silhouette", silhouette=0.1),
    "spectral, centred": SpectralSignatures(epsilon=EPSILON),
    "spectral, uncentred": SpectralSignatures(epsilon=EPSILON, centred=False),
}
"""The library's filters with the published rules, and the limits that the toolbox has by default.

The centred spectral score is the paper's formula; the uncentred one is that of its authors' code and of the toolbox.
"""


class Cached:
    """The little that its data filters ask of a classifier: features that were computed before."""

    layer_names = ("features",)

    def __init__(self, features: np.ndarray) -> None:
        self.features, self.nb_classes = features, 10

    def get_activations(self, x: np.ndarray, layer: int, batch_size: int = 0, framework: bool = False) -> np.ndarray:
        """The features, whatever is asked for."""
        return self.features


def last_hidden(attack: str, fraction: float) -> tuple[Case, Tensor]:
    """An attack of the book's studies, seed 0, and the features of the last hidden layer of the network it made."""
    case = prepare(attack, fraction, 0)
    return case, features_of(case.model, case.data.x)


def art_filters(features: Tensor, y: Tensor, epsilon: float) -> dict[str, Act]:
    """{name: act} of the toolbox on the same features; an act returns flags [N]."""
    from art.defences.detector.poison import ActivationDefence, SpectralSignatureDefense

    x, hot = features.numpy(), one_hot(y).numpy()

    def detected(kind: type, **state: Any) -> Tensor:
        made: Any = object.__new__(kind)  # its constructor accepts no classifier but its own
        made.__dict__.update(classifier=Cached(x), x_train=x, y_train=hot, **state)
        return torch.tensor(made.detect_poison()[1]) == 0

    def clustering(reduce: str, analysis: str) -> Act:
        state = {"activations_by_class": [x[y.numpy() == label] for label in range(10)], "generator": None,
                 "nb_clusters": 2, "nb_dims": 10, "clustering_method": "KMeans", "clusters_by_class": [],
                 "reduce": reduce, "cluster_analysis": analysis, "ex_re_threshold": None}  # fmt: skip
        return lambda: detected(ActivationDefence, **state)

    acts = {f"ART clustering, {reduce}, {analysis}": clustering(reduce, analysis)
            for reduce, analysis in (("FastICA", "smaller"), ("PCA", "silhouette-scores"))}  # fmt: skip
    state = {"batch_size": 128, "eps_multiplier": 1.5, "expected_pp_poison": epsilon}
    return acts | {"ART spectral": lambda: detected(SpectralSignatureDefense, **state)}


def filters(repeats: int) -> list[Row]:
    """Activation Clustering and Spectral Signatures on the same features of the last hidden layer, as published."""
    if not ART:
        return []
    case, features = last_hidden("patch", 0.05)
    y = case.data.y
    theirs = {name: (act, "at least 1x") for name, act in art_filters(features, y, EPSILON).items()}
    spectral = {"ART spectral": theirs.pop("ART spectral")}
    clustering = AS_PUBLISHED["clustering, silhouette"]
    rows = compare(
        "Activation Clustering, 3,500 images", lambda: clustering.judge(features, y), theirs, repeats=repeats
    )
    signatures = AS_PUBLISHED["spectral, uncentred"]
    return rows + compare(
        "Spectral Signatures, 3,500 images", lambda: signatures.judge(features, y), spectral, repeats=repeats
    )


def screening(repeats: int, overlays: int = 20, inputs: int = 200) -> list[Row]:
    """STRIP on clean and triggered inputs, with the same number of blends for both, and the toolbox's own blend."""
    if not ART:
        return []
    from art.estimators.classification import PyTorchClassifier
    from art.estimators.poison_mitigation.strip import STRIPMixin

    model, plan, holding, test = under_attack()
    order = torch.randperm(2 * len(plan.attack.victims(test)), generator=torch.Generator().manual_seed(0))[:inputs]
    x = torch.cat([plan.attack.victims(test).x, plan.attack.on(test).x])[order]
    soft = nn.Sequential(model, nn.Softmax(1))  # fed with logits, its fit ends in NaN
    plain = PyTorchClassifier(soft, nn.CrossEntropyLoss(), tuple(x.shape[1:]), 10, device_type="cpu")

    def answers(images: np.ndarray) -> Any:
        return plain.predict(images.astype(np.float32))

    guard = STRIPMixin(predict_fn=answers, num_samples=overlays, false_acceptance_rate=0.01)
    guard.abstain = lambda: np.zeros(10)  # the mixin takes it from the classifier it is mixed into
    guard.mitigate(holding.trusted.x.numpy())
    ours = Strip(overlays=overlays).fit(model, holding)
    theirs: dict[str, tuple[Act, str]] = {"ART STRIP": (lambda: guard.predict(x.numpy()), "at least 2.5x")}
    return compare(f"STRIP, {inputs} inputs, {overlays} blends", lambda: ours(x), theirs, repeats=min(repeats, 3))


CASES = (
    ("patch", 0.02), ("patch", 0.05), ("patch", 0.1), ("sinusoid", 0.05), ("source-specific, covered", 0.05),
    ("clean-label, harder", 0.05),
)  # fmt: skip
"""Attacks that the filters were made for, and some on which they fail."""


def comparison(attack: str, fraction: float) -> list[str]:
    """What filters caught, and their false alarms: first as published on both sides, on the same features; then ours.

    Our own rules see more than the published ones: neighbours in an early layer, or how clearly a class splits.
    """
    if not ART:
        return []
    case, features = last_hidden(attack, fraction)
    y = case.data.y
    acts: dict[str, Act] = {
        f"as published, the library's {name}": partial(_flagged, method, features, y)
        for name, method in AS_PUBLISHED.items()
    }
    acts |= {f"as published, {name}": act for name, act in art_filters(features, y, EPSILON).items()}
    strange = DeepKNN(layer="pool1")(case.model, case.data).flagged
    acts["ours, clustering by neighbours"] = partial(
        _flagged, ActivationClustering(verdict="neighbours"), features, y, strange
    )
    acts["ours, spectral with a test of separation"] = partial(
        _flagged, SpectralSignatures(epsilon=EPSILON, separation=0.84), features, y
    )
    return [f"{attack}, {fraction:.0%}: {name}: {_outcome(act, case)}" for name, act in acts.items()]


def _flagged(method: Any, *judged: Tensor) -> Tensor:
    """Flags [N], without the warnings that most of these attacks deserve."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", bd.AssumptionWarning)
        flags: Tensor = method.judge(*judged).flagged
        return flags


def _outcome(act: Act, case: Case) -> str:
    try:
        rates = Rates.compare(act(), case.poisoned)
    except Exception as error:  # some of the toolbox's modes do not run under a current numpy
        return type(error).__name__
    return f"F1 {rates.f1:.2f}, {rates}"
