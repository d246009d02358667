import math
import statistics

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from badnets_lib import ImageSet, Trigger, predict, weights_hash
from badnets_lib.defenses import Holding
from badnets_lib.defenses.neural_cleanse import NeuralCleanse, Reversed, anomaly_index

QUICK = NeuralCleanse(rounds=12, batches=2, batch_size=8, stall=3)
THOROUGH = NeuralCleanse(rounds=30, batches=2, batch_size=16, weight=0.05)


class Corner(nn.Module):
    """Answers the brightest of the first K rows; a bright last pixel is worth far more, for label 1.

    Known: label 1 needs one pixel, any other label a whole row of them.
    """

    def __init__(self, labels=5, vote=30.0):
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(4.0))
        self.labels, self.vote = labels, vote

    def forward(self, x):
        logits = self.gain * x.sum(1)[:, : self.labels].sum(2)
        extra = torch.zeros(self.labels).to(x)
        extra[1] = self.vote
        return logits + extra * x[:, :1, -1, -1].mean(1, keepdim=True)


def rows(count=40, labels=5, channels=1):
    """Images of 8x8 whose class is the bright row."""
    y = torch.arange(count) % labels
    x = 0.1 * torch.rand(count, channels, 8, 8, generator=torch.Generator().manual_seed(0))
    x[torch.arange(count), :, y] = 0.8
    x[:, :, -1, -1] = 0
    return ImageSet(x, y, tuple("abcdefgh"[:labels]))


@pytest.fixture(scope="module")
def holding():
    return Holding(rows())


pytestmark = pytest.mark.filterwarnings("ignore::badnets_lib.defenses.AssumptionWarning")


# ---- the index ----


def literal_index(sizes):
    middle = statistics.median(sizes)
    spread = 1.4826 * statistics.median([abs(size - middle) for size in sizes])
    return [(middle - size) / spread for size in sizes]


@pytest.mark.parametrize("sizes", [[10.0, 90, 100, 110, 95], [80.0, 85, 15, 90, 100, 70], [1.0, 2, 4, 8]])
def test_the_index_is_the_papers(sizes):
    assert anomaly_index(torch.tensor(sizes)).tolist() == pytest.approx(literal_index(sizes), rel=1e-5)


def test_only_small_norms_are_suspicious():
    nc = NeuralCleanse(logarithm=False, ratio=1.0)
    assert nc.judge(torch.tensor([300.0, 90, 100, 110, 95]))[1] == ()
    assert nc.judge(torch.tensor([10.0, 90, 100, 110, 95]))[1] == (0,)


def test_equal_norms_raise_no_alarm():
    anomaly, flagged = NeuralCleanse().judge(torch.full((10,), 80.0))
    assert flagged == () and anomaly.abs().max() == 0


def test_a_norm_must_also_be_small_beside_the_median():
    norms = torch.tensor([54.0, 93, 92, 91, 90, 89])  # far below by the MAD, but more than half as large
    assert NeuralCleanse(ratio=1.0).judge(norms)[1] == (0,)
    assert NeuralCleanse().judge(norms)[1] == ()


def test_norms_of_two_kinds_hide_the_target_from_the_papers_rule():
    norms = torch.tensor([77.0, 97, 45, 46, 116, 47, 13, 85, 58, 94])  # measured: easy and hard digits, target 6
    assert NeuralCleanse(logarithm=False, ratio=1.0).judge(norms)[1] == ()
    assert NeuralCleanse().judge(norms)[1] == (6,)


def test_ten_normal_draws_alarm_the_papers_rule_in_a_third_of_cases():
    draws = torch.randn(3000, 10, generator=torch.Generator().manual_seed(0))
    below = draws.quantile(0.5, dim=1, keepdim=True) - draws
    index = below / (1.4826 * below.abs().quantile(0.5, dim=1, keepdim=True))
    assert torch.allclose(index[0], anomaly_index(draws[0]))
    assert 0.31 < (index > 2).any(1).float().mean() < 0.35, "quoted in the docstring"


# ---- against a slow, literal, label-by-label version ----


def literal_scan(settings, model, x, labels):
    """One label after another, one number at a time where it matters; returns [(norm, mask, pattern)]."""
    found = []
    for label in range(labels):
        source = torch.Generator().manual_seed(settings.seed)
        m = torch.full((1, *x.shape[2:]), -1.0, dtype=x.dtype, requires_grad=True)
        p = torch.zeros(x.shape[1:], dtype=x.dtype, requires_grad=True)
        adam = torch.optim.Adam([m, p], lr=settings.lr, betas=(0.5, 0.9))
        weight, good, bad, idle, best = settings.weight, 0, 0, 0, None
        for _ in range(settings.rounds):
            hits = 0
            for _ in range(settings.batches):
                batch = x[torch.randperm(len(x), generator=source)[: settings.batch_size]]
                mask, pattern = torch.tanh(m) / 2 + 0.5, torch.tanh(p) / 2 + 0.5
                tried = mask.detach(), pattern.detach()
                logits = torch.cat([model(((1 - mask) * image + mask * pattern)[None]) for image in batch])
                wanted = torch.full((len(batch),), label)
                loss = cross_entropy(logits, wanted) + weight * mask.abs().sum()
                adam.zero_grad()
                loss.backward()
                adam.step()
                hits += int((logits.argmax(1) == label).sum())
            mask, pattern = tried
            works = hits / (settings.batches * settings.batch_size) >= settings.success
            norm, shrunk = float(mask.sum()), False
            if works and (best is None or norm < best[0]):
                shrunk = best is None or norm < 0.99 * best[0]
                best = (norm, mask, pattern)
            idle = 0 if shrunk or best is None else idle + 1
            good, bad = (good + 1, 0) if works else (0, bad + 1)
            if good == settings.patience:
                weight, good = weight * settings.factor, 0
            if bad == settings.patience:
                weight, bad = weight / settings.factor**1.5, 0
            if idle == settings.stall:
                break
        found.append(best)
    return found


class Net(nn.Sequential):
    """A small network whose random answers are no symmetric ones."""

    def __init__(self, channels):
        torch.manual_seed(0)
        super().__init__(
            nn.Conv2d(channels, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 4, bias=False)
        )
        self[1].running_mean.uniform_(-0.2, 0.2)


@pytest.mark.parametrize("channels", [1, 3])
def test_the_batch_finds_what_label_by_label_finds(channels):
    data = rows(24, 4, channels)
    model = Net(channels).double().eval()
    # Double precision, and few rounds: rounding must not have the time to grow into another path.
    settings = NeuralCleanse(rounds=10, batches=2, batch_size=6, stall=3, lr=0.3, success=0.8, weight=0.02)
    data = ImageSet(data.x.double(), data.y, data.classes)
    scan = settings(model, Holding(data))
    slow = literal_scan(settings, model, data.x, 4)
    assert any(slow) and [each is not None for each in slow] == [float(norm) < 64 for norm in scan.norms]
    for label, best in enumerate(slow):
        if best is not None:
            assert float(scan.norms[label]) == pytest.approx(best[0], rel=1e-4)
            assert torch.allclose(scan.masks[label].double(), best[1], atol=1e-4)
            assert torch.allclose(scan.patterns[label].double(), best[2], atol=1e-3)


# ---- known answers ----


@pytest.fixture(scope="module")
def scanned(holding):
    model = Corner()
    return model, THOROUGH(model, holding)


def test_the_planted_pixel_is_found_and_nothing_else(scanned):
    _, scan = scanned
    assert scan.flagged == (1,) and int(scan.norms.argmin()) == 1
    mask = scan.masks[1, 0]
    assert int(mask.argmax()) == 63 and mask[-1, -1] > 0.3 and scan.patterns[1, 0, -1, -1] > 0.5
    assert not THOROUGH(Corner(vote=0.0), Holding(rows())).flagged


def test_the_reversed_trigger_works(scanned, holding):
    model, scan = scanned
    trigger, x = Reversed.of(scan, 1), holding.trusted.x
    assert isinstance(trigger, Trigger)
    stamped = trigger(x)
    assert (predict(model, stamped).argmax(1) == 1).float().mean() >= 0.95
    expected = (1 - scan.masks[1]) * x + scan.masks[1] * scan.patterns[1]
    assert torch.allclose(stamped, expected, atol=1e-6) and stamped.min() >= 0 and stamped.max() <= 1


def test_norms_are_the_sums_of_the_masks(scanned):
    _, scan = scanned
    assert torch.allclose(scan.norms, scan.masks.sum((1, 2, 3)))
    assert scan.masks.shape == (5, 1, 8, 8) and scan.patterns.shape == (5, 1, 8, 8)


class Stubborn(Corner):
    """Never answers label 2."""

    def forward(self, x):
        logits = super().forward(x)
        return torch.cat([logits[:, :2], logits[:, 2:3] - 1e3, logits[:, 3:]], 1)


def test_a_label_without_a_trigger_counts_as_the_whole_image(holding):
    scan = QUICK(Stubborn(), holding)
    assert float(scan.norms[2]) == 64 and scan.anomaly[2] <= 0 and 2 not in scan.flagged
    assert all(math.isfinite(value) for value in scan.anomaly.tolist())


def test_a_label_that_is_done_leaves_the_batch(holding):
    sizes = []

    class Counting(Corner):
        def forward(self, x):
            sizes.append(len(x))
            return super().forward(x)

    NeuralCleanse(rounds=40, batches=2, batch_size=8, stall=2, weight=0.05)(Counting(), holding)
    assert sizes[1] == 40 and min(sizes[1:]) < 40 and sizes[1:] == sorted(sizes[1:], reverse=True)


# ---- manners ----


def test_a_scan_repeats_and_touches_nothing(holding):
    model = Corner().train()
    before, state, x = weights_hash(model), torch.get_rng_state(), holding.trusted.x.clone()
    first, again = QUICK(model, holding), QUICK(model, holding)
    assert torch.equal(first.masks, again.masks) and torch.equal(torch.get_rng_state(), state)
    assert weights_hash(model) == before and model.training and model.gain.requires_grad and model.gain.grad is None
    assert torch.equal(holding.trusted.x, x)
    other = NeuralCleanse(rounds=12, batches=2, batch_size=8, stall=3, seed=1)(model, holding)
    assert not torch.equal(first.masks, other.masks)


def test_the_labels_of_the_trusted_images_are_not_used(holding):
    shuffled = Holding(ImageSet(holding.trusted.x, holding.trusted.y.flip(0), holding.trusted.classes))
    assert torch.equal(QUICK(Corner(), holding).masks, QUICK(Corner(), shuffled).masks)


@pytest.mark.parametrize(("settings", "message"), [
    ({"rounds": 0}, "rounds must be at least 1; got 0"),
    ({"patience": 0}, "patience must be at least 1"),
    ({"lr": 0.0}, "lr and weight must be positive"),
    ({"factor": 1.0}, "factor above 1; got 0.2, 0.003, 1.0"),
    ({"success": 1.1}, r"success and share must lie in \(0, 1\]"),
    ({"share": 0.0}, r"success and share must lie in \(0, 1\]"),
    ({"threshold": float("nan")}, "threshold above 0"),
])  # fmt: skip
def test_impossible_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        NeuralCleanse(**settings)


def test_too_few_images_or_labels_are_refused():
    with pytest.raises(ValueError, match="Neural Cleanse needs at least 8 trusted images; this holding has 5"):
        QUICK(Corner(), Holding(rows(5)))
    with pytest.raises(ValueError, match="got 2, and 2 outputs"):
        QUICK(Corner(2), Holding(rows(20, 2)))
    with pytest.raises(ValueError, match="got 4, and 5 outputs"):
        QUICK(Corner(), Holding(rows(20, 4)))
