import copy
import warnings
from statistics import NormalDist

import pytest
import torch
from torch import nn

from badnets_lib import ImageSet, Patch, SmallCNN, predict
from badnets_lib.defenses import AssumptionWarning, Holding, Screen, Strip
from badnets_lib.defenses.assumptions import check_threshold
from badnets_lib.defenses.strip import entropy
from badnets_lib.models.inference import PIXELS

DIGITS = tuple("0123456789")


class Planted(nn.Module):
    """Known answers: sure where the last pixel is white, otherwise the less sure the darker the image."""

    def __init__(self):
        super().__init__()
        self.sharpness = nn.Parameter(torch.tensor(4.0))

    def forward(self, x):
        logits = -self.sharpness * x.mean((1, 2, 3))[:, None] * torch.linspace(0, 1, 10)
        sure = 50.0 * nn.functional.one_hot(torch.full((len(x),), 7), 10)
        return torch.where((x[:, 0, -1, -1] > 0.99)[:, None], sure, logits)


def images(n, seed=0):
    x = 0.3 * torch.rand(n, 1, 8, 8, generator=torch.Generator().manual_seed(seed))
    return ImageSet(x * torch.linspace(0.2, 1, n)[:, None, None, None], torch.arange(n) % 10, DIGITS)


@pytest.fixture
def holding():
    return Holding(images(200))


def slow_entropies(model, x, overlays, weight):
    """One image and one overlay at a time, with numbers instead of tensors."""
    means = []
    for image in x:
        each = []
        for overlay in overlays:
            with torch.no_grad():
                answer = model(((image + weight * overlay).clamp(0, 1))[None]).softmax(1)[0].tolist()
            each.append(-sum(p * torch.log2(torch.tensor(p)).item() for p in answer if p > 0))
        means.append(sum(each) / len(each))
    return torch.tensor(means)


@pytest.mark.parametrize(("weight", "batch"), [(1.0, 1000), (0.5, 7), (1.0, 3)])
def test_scores_are_those_of_a_slow_literal_version(holding, weight, batch):
    fitted = Strip(overlays=5, weight=weight, batch=batch, false_rejection=0.05).fit(Planted(), holding)
    x = torch.cat([images(6, seed=2).x, Patch(size=1)(images(3, seed=3).x)])
    expected = slow_entropies(Planted(), x, fitted.overlays, weight)
    assert torch.allclose(fitted(x).scores, expected, atol=1e-4)


def test_triggered_inputs_are_refused_and_clean_ones_let_through(holding):
    fitted = Strip(overlays=20, false_rejection=0.05).fit(Planted(), holding)
    clean, triggered = images(100, seed=1).x, Patch(size=1)(images(100, seed=1).x)
    screen = fitted(torch.cat([clean, triggered]))
    assert isinstance(screen, Screen)
    rates = screen.rates(torch.arange(200) >= 100)
    assert rates.recall.hits == 100 and rates.false_positives <= 10


def test_the_threshold_is_a_normal_quantile_of_the_trusted_entropies(holding):
    fitted = Strip(overlays=20, false_rejection=0.1).fit(Planted(), holding)
    normal = NormalDist(float(fitted.trusted.mean()), float(fitted.trusted.std()))
    assert fitted.threshold == pytest.approx(normal.inv_cdf(0.1)) and len(fitted.trusted) == 200
    looser = Strip(overlays=20, false_rejection=0.3).fit(Planted(), holding)
    assert looser.threshold > fitted.threshold


def test_no_trusted_image_is_blended_with_itself():
    """Three images, of which two are overlays: the first overlay is judged under the second alone."""
    trusted = images(3)
    with pytest.warns(AssumptionWarning, match="few-trusted-images"):
        fitted = Strip(overlays=2).fit(Planted(), Holding(trusted))
    for row, image in enumerate(trusted.x):
        others = [overlay for overlay in fitted.overlays if not torch.equal(overlay, image)]
        assert len(others) == (1 if any(torch.equal(image, overlay) for overlay in fitted.overlays) else 2)
        assert fitted.trusted[row] == pytest.approx(
            float(slow_entropies(Planted(), image[None], others, 1.0)), abs=1e-4
        )


def test_the_filter_keeps_a_copy_of_the_network(holding):
    model = Planted()
    fitted = Strip(overlays=5, false_rejection=0.05).fit(model, holding)
    x = images(5, seed=1).x
    before = fitted(x).scores
    with torch.no_grad():
        model.sharpness.fill_(100.0)
    assert torch.equal(fitted(x).scores, before)
    assert repr(fitted).startswith("FittedStrip(threshold=") and "tensor" not in repr(fitted)


def test_the_copy_answers_as_the_network_does(holding):
    model = SmallCNN(1, 10, 4).eval()
    for norm in (model.norm1, model.norm2):
        nn.init.normal_(norm.running_mean), nn.init.uniform_(norm.running_var, 0.5, 2.0), nn.init.normal_(norm.weight)
    kept = Strip(overlays=5, false_rejection=0.05).fit(model, holding).model
    x = holding.trusted.x
    assert torch.allclose(predict(kept, x), predict(model, x), atol=1e-4)
    assert isinstance(kept.norm1, nn.Identity) and isinstance(model.norm1, nn.BatchNorm2d)


def test_the_seed_chooses_the_overlays(holding):
    first, again, other = (
        Strip(overlays=5, false_rejection=0.05, seed=seed).fit(Planted(), holding) for seed in (0, 0, 1)
    )
    assert torch.equal(first.overlays, again.overlays) and not torch.equal(first.overlays, other.overlays)


def test_entropy_in_bits():
    rows = torch.tensor([[1.0, 0, 0, 0], [0.5, 0.5, 0, 0], [0.25, 0.25, 0.25, 0.25]])
    assert torch.allclose(entropy(rows), torch.tensor([0.0, 1.0, 2.0]))


def test_logits_are_announced():
    with pytest.warns(AssumptionWarning, match="rows are not probabilities") as caught:
        entropy(torch.tensor([[3.0, 1.0]]))
    assert caught[0].message.page == "assumptions#strip-on-logits"
    with pytest.warns(AssumptionWarning):
        entropy(torch.tensor([[1.5, -0.5]]))


def test_a_network_that_answers_with_probabilities_is_announced(holding):
    """Their softmax is nearly flat, so that every input looks alike."""
    with pytest.warns(AssumptionWarning, match="probabilities-instead-of-logits"):
        Strip(overlays=5, false_rejection=0.05).fit(nn.Sequential(copy.deepcopy(Planted()), nn.Softmax(1)), holding)


def test_few_trusted_images_are_announced_and_too_few_refused(holding):
    few = Holding(holding.trusted[:50])
    with pytest.warns(AssumptionWarning, match="a rate of 0.01 needs at least 1000 trusted images; got 50"):
        Strip(overlays=10).fit(Planted(), few)
    with pytest.warns(AssumptionWarning) as caught:  # of other things
        Strip(overlays=10, false_rejection=0.2).fit(Planted(), few)
    assert "few-trusted-images" not in pages(caught), "ten of fifty are enough"
    with pytest.raises(ValueError, match="STRIP needs at least 101 trusted images; this holding has 50"):
        Strip().fit(Planted(), few)


# ---- a threshold that can refuse nothing ----


class Sure(Planted):
    """As `Planted`, but most answers are as sure as those to a trigger: some images alone are doubtful."""

    def forward(self, x):
        doubtful = (x[:, 0, 0, 0] > 0.25)[:, None]
        return torch.where(doubtful, super().forward(x), 50.0 * nn.functional.one_hot(torch.zeros(len(x)).long(), 10))


def pages(caught):
    return {each.message.page.removeprefix("assumptions#") for each in caught}


def test_a_threshold_below_zero_bits_is_announced_and_the_quantile_offered(holding):
    """A normal distribution fitted to entropies near 0 begins below 0, where no entropy can be."""
    filter_of = Strip(overlays=5, false_rejection=0.02)
    entropies = torch.cat([torch.full((150,), 0.02), torch.full((50,), 3.0)])
    assert filter_of.threshold(entropies) < 0
    with pytest.warns(
        AssumptionWarning, match=r"refuses nothing.*quantile .*is 0.02 bits \(rule='empirical'\)"
    ) as caught:
        check_threshold(filter_of.threshold(entropies), entropies, 0.02)
    assert pages(caught) == {"a-threshold-that-refuses-nothing"}
    assert Strip(overlays=5, false_rejection=0.02, rule="empirical").threshold(entropies) == pytest.approx(0.02)


def test_a_filter_that_cannot_refuse_the_trigger_says_so(holding):
    triggered = Patch(size=1)(images(20, seed=1).x)
    with pytest.warns(AssumptionWarning) as caught:
        dead = Strip(overlays=5, false_rejection=0.01).fit(Sure(), holding)
    assert dead.threshold <= 0 and not dead(triggered).refused.any()
    assert "a-threshold-that-refuses-nothing" in pages(caught)


def test_a_threshold_below_every_trusted_image_is_announced():
    entropies = torch.cat([torch.full((380,), 2.0), torch.full((20,), 0.5)])
    with pytest.warns(AssumptionWarning, match="lies below every trusted image"):
        check_threshold(0.4, entropies, 0.01)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_threshold(0.6, entropies, 0.01)
        check_threshold(0.4, entropies, 0.005)  # of so few refusals none may well be missing by chance


def test_the_empirical_rule_refuses_as_many_trusted_images_as_it_says(holding):
    fitted = Strip(overlays=20, false_rejection=0.1, rule="empirical").fit(Planted(), holding)
    assert int((fitted.trusted < fitted.threshold).sum()) == 20
    assert fitted(Patch(size=1)(images(30, seed=1).x)).refused.all()


class Constant(nn.Module):
    def __init__(self):
        super().__init__()
        self.last = nn.Parameter(torch.arange(10.0))

    def forward(self, x):
        return self.last.expand(len(x), 10) + 0 * x.mean((1, 2, 3))[:, None]


def test_a_network_whose_entropies_are_all_equal_gives_a_filter_that_refuses_nobody(holding):
    fitted = Strip(overlays=5, false_rejection=0.05).fit(Constant(), holding)
    assert not fitted(holding.trusted.x[:20]).refused.any()


# ---- any network ----


def test_another_number_of_outputs_is_refused(holding):
    with pytest.raises(ValueError, match="the network has 3 outputs; the data have 10 classes"):
        Strip(overlays=5).fit(nn.Sequential(nn.Flatten(), nn.Linear(64, 3)), holding)


class Skipping(nn.Sequential):
    """A convolution and a batch norm that are neighbours by name, with a step between them."""

    def forward(self, x):
        return self[2](self[1](self[0](x).relu()))


def shaken(network):
    """Statistics and weights of batch norms as if they had seen data."""
    for norm in network.modules():
        if isinstance(norm, nn.BatchNorm2d) and norm.running_mean is not None:
            nn.init.normal_(norm.running_mean)
            nn.init.uniform_(norm.running_var, 0.5, 2.0)
    return network.eval()


def shared_layers():
    """One ReLU at two places; read without repeats, the second convolution stands before the batch norm."""
    relu = nn.ReLU()
    first, second = nn.Conv2d(1, 4, 3), nn.Conv2d(4, 4, 3)
    return nn.Sequential(first, relu, second, relu, nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(64, 10))


@pytest.mark.parametrize("make", [
    shared_layers,
    lambda: Skipping(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Sequential(nn.Flatten(), nn.Linear(144, 10))),
    lambda: nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4, track_running_stats=False), nn.Flatten(), nn.Linear(144, 10)
    ),
    lambda: nn.Sequential(nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4)), nn.Flatten(), nn.Linear(144, 10)),
], ids=["shared layer", "own forward", "statistics of the batch", "nested"])  # fmt: skip
def test_what_cannot_be_folded_is_left_as_it_is(holding, make):
    model = shaken(make())
    kept = Strip(overlays=5, false_rejection=0.05).fit(model, holding).model
    x = holding.trusted.x[:40]
    assert torch.allclose(predict(kept, x), predict(model, x), atol=1e-4)


def test_stored_images_are_screened_like_floats(holding):
    stored = (holding.trusted.x * 255).round().to(torch.uint8)
    data = ImageSet(stored, holding.trusted.y, DIGITS)
    floats = ImageSet(stored.float() / 255, holding.trusted.y, DIGITS)
    one, other = (Strip(overlays=5, false_rejection=0.05).fit(Planted(), Holding(each)) for each in (data, floats))
    assert torch.allclose(one.trusted, other.trusted, atol=1e-5)
    assert torch.allclose(one(data.x[:9]).scores, other(floats.x[:9]).scores, atol=1e-5)


def test_large_images_go_through_in_small_batches():
    seen = []

    class Counting(nn.Module):
        def __init__(self):
            super().__init__()
            self.last = nn.Linear(1, 2)

        def forward(self, x):
            seen.append(x.shape[0] * x.shape[2] * x.shape[3])
            return self.last(x.mean((1, 2, 3))[:, None])

    x = torch.rand(8, 1, 256, 256, generator=torch.Generator().manual_seed(0))
    with pytest.warns(AssumptionWarning):
        fitted = Strip(overlays=5).fit(Counting(), Holding(ImageSet(x, torch.arange(8) % 2, ("a", "b"))))
    fitted(x)
    assert max(seen) <= PIXELS and sum(seen) >= 2 * 8 * 5 * 256 * 256


@pytest.mark.parametrize(("settings", "message"), [
    ({"overlays": 1}, "overlays must be at least 2"),
    ({"batch": 0}, "batch at least 1; got 100 and 0"),
    ({"weight": 0.0}, r"weight must lie in \(0, 1\]"),
    ({"rule": "median"}, "rule must be one of normal, empirical; got 'median'"),
    ({"false_rejection": 1.0}, "false_rejection strictly between 0 and 1; got 1.0 and 1.0"),
])  # fmt: skip
def test_impossible_settings_are_refused(unchecked, settings, message):
    with pytest.raises(ValueError, match=message):
        Strip(**settings)
