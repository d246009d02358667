import copy
from statistics import NormalDist

import pytest
import torch
from torch import nn

from badnets_lib import ImageSet, Patch, SmallCNN, predict
from badnets_lib.defenses import AssumptionWarning, Holding, Screen, Strip
from badnets_lib.defenses.strip import entropy

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
    fitted = Strip(overlays=20).fit(Planted(), holding)
    clean, triggered = images(100, seed=1).x, Patch(size=1)(images(100, seed=1).x)
    screen = fitted(torch.cat([clean, triggered]))
    assert isinstance(screen, Screen)
    rates = screen.rates(torch.arange(200) >= 100)
    assert rates.recall.hits == 100 and rates.false_positives <= 4


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
    with pytest.warns(AssumptionWarning, match="a rate of 0.01 needs at least 100 trusted images; got 50"):
        Strip(overlays=10).fit(Planted(), few)
    with pytest.raises(ValueError, match="STRIP needs at least 101 trusted images; this holding has 50"):
        Strip().fit(Planted(), few)


@pytest.mark.parametrize(("settings", "message"), [
    ({"overlays": 1}, "overlays must be at least 2"),
    ({"batch": 0}, "batch at least 1; got 100 and 0"),
    ({"weight": 0.0}, r"weight must lie in \(0, 1\]"),
    ({"false_rejection": 1.0}, "false_rejection strictly between 0 and 1; got 1.0 and 1.0"),
])  # fmt: skip
def test_impossible_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        Strip(**settings)
