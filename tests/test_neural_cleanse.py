import copy
import math
import statistics
import warnings

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from badnets_lib import ImageSet, predict, weights_hash
from badnets_lib.defenses import AssumptionWarning, Holding, Scan
from badnets_lib.defenses.neural_cleanse import PIXELS, NeuralCleanse, Reversed, anomaly_index

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


def smallest_that_works_on_all(seen, success, model, x, label):
    for norm, mask, pattern in reversed(seen):
        hits = sum(int(model(((1 - mask) * image + mask * pattern)[None]).argmax(1) == label) for image in x)
        if hits >= success * len(x):
            return norm, mask, pattern
    return None


def literal_scan(settings, model, x, labels):
    """One label after another, one number at a time where it matters.

    Returns [(norm, mask, pattern)], of each label the smallest that works on all images; None where none does.
    """
    found = []
    for label in range(labels):
        source = torch.Generator().manual_seed(settings.seed)
        m = torch.full((1, *x.shape[2:]), -1.0, dtype=x.dtype, requires_grad=True)
        p = torch.zeros(x.shape[1:], dtype=x.dtype, requires_grad=True)
        adam = torch.optim.Adam([m, p], lr=settings.lr, betas=(0.5, 0.9))
        weight, good, bad, idle, best, seen = settings.weight, 0, 0, 0, None, []
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
                seen.append(best)
            idle = 0 if shrunk or best is None else idle + 1
            good, bad = (good + 1, 0) if works else (0, bad + 1)
            if good == settings.patience:
                weight, good = weight * settings.factor, 0
            if bad == settings.patience:
                weight, bad = weight / settings.factor**1.5, 0
            if idle == settings.stall:
                break
        found.append(smallest_that_works_on_all(seen, settings.success, model, x, label))
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
            if torch.is_grad_enabled():  # the search, not what is asked before and after it
                sizes.append(len(x))
            return super().forward(x)

    NeuralCleanse(rounds=40, batches=2, batch_size=8, stall=2, weight=0.05)(Counting(), holding)
    assert sizes[0] == 40 and min(sizes) < 40 and sizes == sorted(sizes, reverse=True)


# ---- what is kept was seen to work on every trusted image ----


class Exceptions(Corner):
    """As `Corner`, but images whose second-last pixel is bright need three bright pixels for label 1."""

    def forward(self, x):
        logits = Corner.forward(self, x)
        special = (x[:, :1, -1, -2].mean(1, keepdim=True) > 0.95).to(x)
        others = x[:, 0, -2, -2:].mean(1)[:, None]
        refused = torch.zeros(self.labels).to(x)
        refused[1] = self.vote
        return logits - special * (1 - others) * refused


def test_the_mask_that_is_kept_works_on_all_trusted_images():
    data = rows(200)
    data.x[::25, :, -1, -2] = 1.0  # 8 of 200: a batch of 8 seldom holds one
    model = Exceptions()
    settings = NeuralCleanse(rounds=30, batches=1, batch_size=8, weight=0.05, success=0.99)
    scan = settings(model, Holding(data))
    assert bool(scan.reached.any())
    for label, told in enumerate(scan.success):
        stamped = Reversed.of(scan, label)(data.x)
        counted = int((predict(model, stamped).argmax(1) == label).sum())
        if scan.reached[label]:
            assert told.pair == [counted, 200] and counted >= 198
        else:
            assert told.hits < 198 and float(scan.norms[label]) == 64


# ---- labels some at a time ----


@pytest.mark.parametrize("at_once", [1, 2, 3])
def test_any_number_of_labels_at_once_gives_the_same_scan(at_once):
    data = rows(24, 4)
    data = ImageSet(data.x.double(), data.y, data.classes)
    model = Net(1).double().eval()
    settings = {"rounds": 10, "batches": 2, "batch_size": 6, "stall": 3, "lr": 0.3, "success": 0.8, "weight": 0.02}
    whole = NeuralCleanse(**settings)(model, Holding(data))
    parts = NeuralCleanse(**settings, labels_at_once=at_once)(model, Holding(data))
    assert torch.allclose(parts.masks, whole.masks, atol=1e-9) and parts.success == whole.success
    assert torch.equal(parts.reached, whole.reached) and parts.flagged == whole.flagged


def test_a_step_is_bounded_for_any_number_of_labels():
    sizes = []

    class Counting(nn.Module):
        def __init__(self):
            super().__init__()
            self.last = nn.Linear(64 * 64, 40)

        def forward(self, x):
            if torch.is_grad_enabled():
                sizes.append(x.shape[0] * x.shape[2] * x.shape[3])
            return self.last(x.mean(1).flatten(1))

    x = torch.rand(20, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    data = ImageSet(x, torch.arange(20), tuple(map(str, range(40))))
    scan = NeuralCleanse(rounds=1, batches=1)(Counting(), Holding(data))
    assert len(scan.norms) == 40 and sum(sizes) == 40 * 16 * 64 * 64 and max(sizes) == PIXELS


# ---- what the method takes for granted ----


def pages(caught):
    return {each.message.page.removeprefix("assumptions#") for each in caught}


def test_labels_that_were_never_reached_do_not_make_the_others_small():
    """Seven dead outputs: the three live labels used to get indices in the billions."""

    class Dead(Corner):
        def forward(self, x):
            logits = super().forward(x)
            return torch.cat([logits[:, :3], logits[:, 3:] - 1e3], 1)

    with pytest.warns(AssumptionWarning, match="a trigger was found for 3 of 8 labels") as caught:
        scan = NeuralCleanse(rounds=12, batches=2, batch_size=8)(Dead(8, vote=0.0), Holding(rows(160, 8)))
    assert "labels-never-reached" in pages(caught)
    assert scan.reached.tolist() == [True] * 3 + [False] * 5 and scan.flagged == ()
    assert scan.anomaly.abs().max() < 1e3 and "never reached: 5" in repr(scan)


def test_unreached_labels_have_no_part_in_the_median():
    norms = torch.tensor([20.0, 90, 100, 110, 95, 784, 784, 784, 784])
    reached = norms < 784
    anomaly, flagged = NeuralCleanse(logarithm=False).judge(norms, reached)
    assert flagged == (0,) and torch.allclose(anomaly[:5], anomaly_index(norms[:5])) and (anomaly[5:] < 0).all()
    assert NeuralCleanse().judge(torch.tensor([20.0, 90, 100]), torch.zeros(3).bool())[1] == ()


def test_a_deviation_of_zero_is_no_alarm():
    with pytest.warns(AssumptionWarning, match="norms-without-spread"):
        anomaly, flagged = NeuralCleanse().judge(torch.tensor([784.0] * 6 + [300] + [784] * 3))
    assert flagged == () and not anomaly.any()


def test_probabilities_are_announced(holding):
    with pytest.warns(AssumptionWarning) as caught:
        QUICK(nn.Sequential(Corner(), nn.Softmax(1)), holding)
    assert "probabilities-instead-of-logits" in pages(caught)


def test_a_network_that_does_not_know_the_trusted_images_is_announced(holding):
    """As one does whose normalisation was forgotten."""
    turned = Holding(ImageSet(holding.trusted.x, (holding.trusted.y + 1) % 5, holding.trusted.classes))
    with pytest.warns(AssumptionWarning, match=r"right about 0.0% .*of the trusted images.*Normalized") as caught:
        QUICK(Corner(), turned)
    assert "far-too-low-accuracy" in pages(caught)
    with pytest.warns(AssumptionWarning) as caught:
        QUICK(Corner(), holding)
    assert "far-too-low-accuracy" not in pages(caught)


def test_two_classes_are_scanned_and_not_judged():
    with pytest.warns(AssumptionWarning, match="2 labels are too few to call one an outlier") as caught:
        scan = QUICK(Corner(2), Holding(rows(120, 2)))
    assert pages(caught) == {"too-few-labels"}
    assert isinstance(scan, Scan) and scan.flagged == () and scan.reached.all() and not scan.anomaly.any()
    assert not scan.judged and "no verdict" in repr(scan)
    assert scan.norms[1] < scan.norms[0], "its triggers can still be looked at"


@pytest.mark.parametrize(("labels", "warned"), [(3, True), (4, True), (5, False)])
def test_few_labels_are_announced(labels, warned):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        scan = QUICK(Corner(labels), Holding(rows(120, labels)))
    assert scan.judged, "otherwise another sentence is due"
    assert ("too-few-labels" in pages(caught)) == warned
    assert any(f"among {labels} labels an outlier is hard to tell" in str(each.message) for each in caught) == warned


@pytest.mark.parametrize(("labels", "told"), [(3, 52), (4, 66), (10, 85), (43, 92)])
def test_how_often_a_mask_of_a_quarter_of_its_size_is_flagged(labels, told):
    """What chapters/assumptions.md says of few labels."""
    source = torch.Generator().manual_seed(labels)
    norms = (0.35 * torch.randn(1000, labels, generator=source)).exp()
    norms[:, 0] /= 4
    caught = sum(0 in NeuralCleanse().judge(each)[1] for each in norms)
    assert caught / 10 == pytest.approx(told, abs=4)


def test_ratios_are_to_the_median_of_what_was_reached():
    def scan(norms, reached=None):
        count = len(norms)
        empty = torch.zeros(count, 1, 2, 2)
        reached = None if reached is None else torch.tensor(reached)
        return Scan(torch.zeros(count), torch.tensor(norms), empty, empty, (), reached=reached)

    assert scan([2.0, 4.0, 8.0]).ratios.tolist() == [0.5, 1, 2]
    assert scan([2.0, 4.0, 99.0], [True, True, False]).ratios.tolist() == pytest.approx([2 / 3, 4 / 3, 33])
    assert scan([2.0, 4.0, 8.0], [False] * 3).ratios.tolist() == [0.5, 1, 2]
    assert scan([0.0, 0.0, 8.0]).ratios.tolist() == [1, 1, 1]
    smallest = [scan([9.0, 4.0, 2.0], each).smallest for each in (None, [True, True, False], [False] * 3)]
    assert smallest == [2, 1, 2]


def test_answers_that_are_no_numbers_are_refused(holding):
    broken = Corner()
    nn.init.constant_(broken.gain, torch.nan)
    with pytest.raises(ValueError, match="answers to 40 of 40 images are not finite"):
        QUICK(broken, holding)


# ---- any network, any images ----


class Viewing(nn.Module):
    """Flattens with `view`, which refuses images that are laid out channels last."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 3, 3, padding=1)
        self.last = nn.Linear(3 * 64, 5)

    def forward(self, x):
        return self.last(self.conv(x).relu().view(len(x), -1))


def test_a_network_that_needs_the_usual_layout_is_scanned(holding):
    with pytest.raises(RuntimeError, match="view"):
        copy.deepcopy(Viewing()).to(memory_format=torch.channels_last)(holding.trusted.x)
    assert len(QUICK(Viewing(), holding).norms) == 5


def test_stored_images_give_the_scan_of_the_same_images_in_floats(holding):
    data = holding.trusted
    stored = ImageSet((data.x * 255).round().to(torch.uint8), data.y, data.classes)
    floats = ImageSet(stored.x.float() / 255, data.y, data.classes)
    assert torch.allclose(QUICK(Corner(), Holding(stored)).masks, QUICK(Corner(), Holding(floats)).masks, atol=1e-5)


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
    ({"success": 1.1}, r"success and ratio must lie in \(0, 1\]"),
    ({"ratio": 0.0}, r"success and ratio must lie in \(0, 1\]"),
    ({"threshold": float("nan")}, "threshold above 0"),
])  # fmt: skip
def test_impossible_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        NeuralCleanse(**settings)


def test_too_few_images_or_other_classes_are_refused():
    with pytest.raises(ValueError, match="Neural Cleanse needs at least 8 trusted images; this holding has 5"):
        QUICK(Corner(), Holding(rows(5)))
    with pytest.raises(ValueError, match="the network has 5 outputs; the data have 4 classes"):
        QUICK(Corner(), Holding(rows(20, 4)))


def test_a_scan_where_no_gradient_flows_says_so(holding):
    with torch.no_grad(), pytest.raises(ValueError, match="the network's answers carry no gradient"):
        QUICK(Corner(), holding)
