"""Planted poison with known answers, and independent references for every piece of linear algebra."""

import runpy
import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.cluster import KMeans
from sklearn.decomposition import FastICA
from sklearn.metrics import silhouette_score
from sklearn.neighbors import NearestNeighbors
from torch import nn

from badnets_lib import Attack, Goal, ImageSet, Patch, SmallCNN, TrainConfig, _warnings
from badnets_lib.defenses import (
    ActivationClustering,
    AssumptionWarning,
    DeepKNN,
    FilterAndRetrain,
    Flags,
    Holding,
    Outcome,
    Rates,
    SpectralSignatures,
)
from badnets_lib.defenses.activation_clustering import whitened
from badnets_lib.defenses.clusters import separation, silhouette, two_means
from badnets_lib.defenses.features import _randomised, features_of, principal
from badnets_lib.defenses.spectral_signatures import outlying
from badnets_lib.evaluation.scores import Proportion, Scorecard
from badnets_lib.models.inference import images_at_once

DIGITS = tuple("0123456789")


def planted(poison, *, each=100, classes=3, dims=24, style=4.0, shift=6.0, seed=0):
    """Features with a loud direction of style in every class, and `poison` images of class 1 moved along another.

    The order is shuffled, so that a filter which confuses places within a class with places in the
    data set is caught.
    """
    source = torch.Generator().manual_seed(seed)
    y = torch.arange(classes * each) % classes
    features = torch.randn(len(y), dims, generator=source)
    features[:, 0] += style * torch.randn(len(y), generator=source)
    features[:, 1] += 8.0 * y
    truth = torch.zeros(len(y), dtype=torch.bool)
    truth[(y == 1).nonzero().flatten()[:poison]] = True
    features[truth, 2] += shift
    order = torch.randperm(len(y), generator=source)
    return features[order], y[order], truth[order]


@pytest.fixture(scope="module")
def backdoored(mnist5k):
    """A backdoored network, the training set it saw, and the plan."""
    from badnets_lib import train

    clean = mnist5k[0][::2]
    plan = Attack(Patch(), Goal.all_to_one(7, 10)).plan(clean, fraction=0.03)
    data = plan.poison(clean)
    return train(data, TrainConfig(epochs=3, device="cpu"), model=lambda: SmallCNN(width=8)).model, data, plan


# --- planted poison ---


def test_clustering_finds_the_planted_poison_and_nothing_else():
    features, y, truth = planted(15)
    flags = ActivationClustering(silhouette=0.1).judge(features, y)
    assert torch.equal(flags.flagged, truth)
    assert (flags.scores[truth] > 0).all() and (flags.scores[~truth & (y == 1)] < 0).all()
    assert [("flagged" in note) for note in flags.notes] == [False, True, False]


def test_without_whitening_the_split_would_follow_style():
    features, y, truth = planted(15)
    members = y == 1
    projections, _ = principal(features[members], 10)
    by_style, _ = two_means(projections.float())
    by_poison, _ = two_means(whitened(features[members], 10))
    assert torch.equal(by_poison, truth[members])
    assert 0.2 < (by_style == truth[members]).float().mean() < 0.8


def test_clean_classes_are_left_alone_by_the_silhouette_and_suffer_under_size_alone():
    features, y, _ = planted(0)
    assert not ActivationClustering(silhouette=0.2).judge(features, y).flagged.any()
    assert ActivationClustering(verdict="size", size=0.5).judge(features, y).flagged.any()


def test_half_a_class_is_announced_and_not_flagged():
    features, y, truth = planted(50, shift=30.0)
    with pytest.warns(
        AssumptionWarning, match="class 1 .100 images. falls into two clear parts, 50% and 50%"
    ) as caught:
        flags = ActivationClustering().judge(features, y)
    assert [each.message.page for each in caught] == ["assumptions#half-a-class"]
    assert flags.rates(truth).recall.hits == 0


def test_neighbours_tell_which_half_is_poison():
    features, y, truth = planted(50, shift=30.0)
    asked = ActivationClustering(verdict="neighbours")
    strange = truth & (torch.arange(len(y)) % 3 > 0)  # two thirds of the poison look like another class
    assert torch.equal(asked.judge(features, y, strange).flagged, truth)
    assert torch.equal(asked.judge(features, y, ~truth).flagged, ~truth & (y == 1))
    assert not asked.judge(features, y, torch.zeros(300).bool()).flagged.any()
    with pytest.raises(ValueError, match="'neighbours' and strange=none disagree"):
        asked.judge(features, y)


def test_more_than_half_inverts_the_verdict():
    features, y, truth = planted(80, shift=30.0)
    rates = ActivationClustering(silhouette=0.12).judge(features, y).rates(truth)
    assert rates.recall.hits == 0 and rates.false_positives == 20


def test_spectral_signatures_flag_a_fixed_share_of_every_class_with_the_poison_on_top():
    features, y, truth = planted(10, style=0.0, shift=20.0)
    flags = SpectralSignatures(epsilon=0.1).judge(features, y)
    assert [int(flags.flagged[y == label].sum()) for label in range(3)] == [15, 15, 15]
    rates = flags.rates(truth)
    assert (rates.true_positives, rates.false_positives) == (10, 35)
    assert flags.scores[truth].min() > flags.scores[~truth & (y == 1)].max()


def test_separation_spares_classes_without_a_second_heap():
    features, y, truth = planted(10, style=0.0, shift=20.0)
    flags = SpectralSignatures(epsilon=0.1, separation=0.9).judge(features, y)
    assert flags.rates(truth) == Rates(10, 0, 5, 285)
    assert not SpectralSignatures(separation=0.9).judge(*planted(0)[:2]).flagged.any()


def test_spectral_signatures_miss_poison_that_varies_less_than_style():
    features, y, truth = planted(10, style=8.0)
    assert SpectralSignatures(epsilon=0.1).judge(features, y).rates(truth).recall.value < 0.5


def test_an_epsilon_of_half_a_class_is_announced():
    features, y, _ = planted(10)
    with pytest.warns(AssumptionWarning) as caught:
        SpectralSignatures(epsilon=0.5).judge(features, y)
    pages = [each.message.page for each in caught]
    assert pages == ["assumptions#half-a-class", "assumptions#most-of-the-data-flagged"]  # once, and not once a class
    assert "poison would be 50% of a class" in str(caught[0].message)


def test_deep_knn_outvotes_what_lies_in_another_class():
    features, y, truth = planted(10, shift=0.0)
    features[truth, 1] -= 8.0  # they look like class 0
    flags = DeepKNN(k=50).judge(features, y)
    assert torch.equal(flags.flagged, truth) and (flags.scores[truth] > 0.5).all()
    features[truth, 3] += 50.0  # now beside one another: with few voters they agree
    assert not DeepKNN(k=5).judge(features, y).flagged[truth].any()


# --- independent references ---


def test_whitened_components_are_fastica_up_to_a_rotation():
    features, y, _ = planted(15)
    some = features[y == 1]
    ours = whitened(some, 10).double().numpy()
    theirs = FastICA(10, whiten="unit-variance", random_state=0, max_iter=1000, tol=0.01).fit_transform(
        some.double().numpy()
    )
    rotation = ours.T @ theirs / len(ours)
    assert np.allclose(rotation @ rotation.T, np.eye(10), atol=1e-4)
    assert np.allclose(ours @ rotation, theirs, atol=1e-4)
    labels = KMeans(2, n_init=10, random_state=0).fit_predict(theirs)
    small, _ = two_means(whitened(some, 10))
    assert np.array_equal(small.numpy(), labels == np.bincount(labels).argmin())


@pytest.mark.parametrize("seed", range(3))
def test_two_means_is_as_tight_as_the_reference(seed):
    points = torch.randn(120, 3, generator=torch.Generator().manual_seed(seed))
    small, closer = two_means(points)
    ours = sum(float((points[part] - points[part].mean(0)).square().sum()) for part in (small, ~small))
    assert ours <= KMeans(2, n_init=10, random_state=0).fit(points.numpy()).inertia_ * (1 + 1e-5)
    assert small.sum() <= 60 and torch.equal(small, closer > 0)


def test_the_silhouette_is_the_reference():
    points = torch.randn(60, 4, generator=torch.Generator().manual_seed(0))
    for part in (points[:, 0] > 0, points[:, 0] > 1.5, torch.arange(60) == 3):
        assert silhouette(points, part) == pytest.approx(silhouette_score(points.numpy(), part.numpy()), abs=1e-5)
    assert silhouette(points, torch.zeros(60, dtype=torch.bool)) == 0.0


@pytest.mark.parametrize("shape", [(60, 12), (12, 60)], ids=["tall", "wide"])
def test_spectral_scores_are_those_of_a_whole_decomposition(shape):
    features = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    centred = (features - features.mean(0)).double().numpy()
    _, sizes, right = np.linalg.svd(centred, full_matrices=False)
    found, weight = outlying(features)
    assert np.allclose(found.square().numpy(), (centred @ right[0]) ** 2, rtol=1e-4, atol=1e-5)
    assert weight == pytest.approx(sizes[0] ** 2 / (sizes**2).sum())
    whole, _ = outlying(features, centred=False)
    assert np.allclose(np.abs(whole.numpy()), np.abs(features.double().numpy() @ right[0]), rtol=1e-4, atol=1e-5)
    projections, _ = principal(features, 5)
    assert np.allclose(projections.abs().numpy(), np.abs(centred @ right[:5].T), atol=1e-6)


def test_poison_that_is_half_of_a_class_is_ranked_only_without_centring():
    """Both halves lie equally far from the mean of the class, and unequally far from zero."""
    source = torch.Generator().manual_seed(0)
    features = torch.randn(200, 8, generator=source)
    features[:100] += 6.0
    y, truth = torch.zeros(200, dtype=torch.long), torch.arange(200) < 100
    features = torch.cat([features, torch.randn(200, 8, generator=source)])
    y = torch.cat([y, torch.ones(200, dtype=torch.long)])
    for centred, caught in ((True, (25, 75)), (False, (100, 100))):
        scores = SpectralSignatures(epsilon=0.1, centred=centred).judge(features, y).scores[:200]
        top = scores.argsort(descending=True)[:100]
        assert caught[0] <= int(truth[top].sum()) <= caught[1]


def test_separation_of_known_heaps():
    heaps = torch.tensor([[0.0, 1], [0, 1], [0, 1], [4, 1]])
    assert separation(heaps, heaps[:, 0] > 0) == pytest.approx(1.0)
    normal = torch.randn(20_000, 1, generator=torch.Generator().manual_seed(0))
    assert separation(normal, normal[:, 0] > 0) == pytest.approx(2 / torch.pi, abs=0.01)
    assert separation(heaps, torch.zeros(4).bool()) == 0.0


def test_neighbours_are_those_of_the_reference():
    features, y, _ = planted(10, each=30)
    near = NearestNeighbors(n_neighbors=8).fit(features.numpy()).kneighbors(return_distance=False)
    flags = DeepKNN(k=7, batch=16).judge(features, y)
    for row, (own, score) in enumerate(zip(y.tolist(), flags.scores.tolist(), strict=True)):
        votes = np.bincount(y.numpy()[near[row][:7]], minlength=3)
        assert score == pytest.approx((np.delete(votes, own).max() - votes[own]) / 7)


# --- large sets: bounded, and close to the exact answer ---


def test_the_silhouette_of_many_points_is_estimated_from_a_sample():
    source = torch.Generator().manual_seed(0)
    points = torch.randn(3000, 4, generator=source)
    part = torch.arange(3000) < 60
    points[part] += 3.0
    exact = silhouette_score(points.numpy(), part.numpy())
    assert silhouette(points, part) == pytest.approx(exact, abs=1e-4)
    assert silhouette(points, part, most=500) == pytest.approx(exact, abs=0.02)
    assert silhouette(points, part, most=500) == silhouette(points, part, most=500)
    assert silhouette(points, part, most=500) != silhouette(points, part, most=500, seed=1)


def test_directions_of_large_sets_are_those_of_the_exact_decomposition():
    source = torch.Generator().manual_seed(0)
    features = torch.randn(90, 80, generator=source)
    features[:, :4] *= torch.tensor([30.0, 20.0, 12.0, 8.0])
    centred = (features - features.mean(0)).double()
    exact, _ = principal(features, 4)
    found, sizes = _randomised(centred, 4)
    assert torch.allclose(found.abs(), exact.abs(), atol=1e-6)
    assert torch.allclose(sizes, exact.square().sum(0))


def test_voters_of_a_large_set_are_a_sample_that_keeps_small_classes_whole():
    y = torch.tensor([0] * 600 + [1] * 300 + [2] * 20)
    classes = {label: (y == label).nonzero().flatten() for label in range(3)}
    voting = DeepKNN(k=5, voters=220).electorate(classes)
    assert y[voting].bincount().tolist() == [100, 100, 20] and torch.equal(voting, voting.unique())
    assert torch.equal(DeepKNN(k=5, voters=920).electorate(classes), torch.arange(920))
    assert y[DeepKNN(k=5, voters=3).electorate(classes)].bincount().tolist() == [6, 6, 6]


def test_a_sample_of_voters_finds_what_all_of_them_find():
    features, y, truth = planted(10, each=400, shift=0.0)
    features[truth, 1] -= 8.0
    whole, sampled = DeepKNN(k=20).judge(features, y), DeepKNN(k=20, voters=300).judge(features, y)
    assert torch.equal(whole.flagged, truth) and torch.equal(sampled.flagged, truth)


def test_time_and_memory_of_the_filters_are_those_of_a_bounded_comparison(monkeypatch):
    """No table of distances has more than a bounded number of columns, however large a class is."""
    widths = []
    whole = torch.cdist

    def spy(these, those):
        widths.append((len(these), len(those)))
        return whole(these, those)

    monkeypatch.setattr(torch, "cdist", spy)
    features, y, _ = planted(10, each=7000, classes=2, dims=4)
    DeepKNN(k=5).judge(features, y)
    ActivationClustering(starts=2, components=3).judge(features, y)
    assert len(widths) > 14 and max(rows for rows, _ in widths) <= 1024
    assert max(columns for rows, columns in widths if rows > 2) <= 5000


def test_large_images_go_through_in_small_batches():
    assert images_at_once(torch.empty(9, 3, 32, 32)) == 512
    assert images_at_once(torch.empty(9, 3, 224, 224)) == 20
    assert images_at_once(torch.empty(9, 3, 4000, 4000)) == 1


# --- what the filters take for granted ---


def pages(caught):
    return [each.message.page.removeprefix("assumptions#") for each in caught]


def test_a_class_that_is_mostly_poison_is_announced_by_the_sizes_of_the_classes():
    """200 of 281: the poison is the larger part, and the clean part of the class is flagged."""
    features, y, _ = planted(0, each=281)
    small = (y != 0) | (torch.arange(len(y)) < 60)
    with pytest.warns(AssumptionWarning, match=r"poison in 1.\d% of the data can be half of class 0") as caught:
        ActivationClustering().judge(features[small], y[small])
    assert "unequal-classes" in pages(caught)


def test_many_classes_are_small_ones():
    y = torch.arange(430) % 43
    features = torch.randn(430, 4, generator=torch.Generator().manual_seed(0))
    with pytest.warns(AssumptionWarning, match="classes have 10 to 10 images: poison in 1.2% of the data"):
        SpectralSignatures(separation=0.99).judge(features, y)


def test_silence_is_announced_and_a_verdict_is_not():
    features, y, _ = planted(0)
    with pytest.warns(AssumptionWarning, match="nothing was found, and nothing is excluded") as caught:
        ActivationClustering().judge(features, y)
    assert pages(caught) == ["silence-is-no-acquittal"]
    features, y, _ = planted(15)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert ActivationClustering(silhouette=0.1).judge(features, y).flagged.any()


def test_a_clear_split_that_is_not_flagged_is_announced_at_any_size():
    features, y, _ = planted(20, shift=30.0)
    with pytest.warns(AssumptionWarning, match="falls into two clear parts, 20% and 80%") as caught:
        assert not ActivationClustering(silhouette=0.9).judge(features, y).flagged.any()
    assert "half-a-class" in pages(caught)


def test_a_filter_that_flags_most_of_what_is_clean_says_so():
    y = torch.arange(300) % 3
    features = torch.randn(300, 8, generator=torch.Generator().manual_seed(0))
    with pytest.warns(AssumptionWarning, match=r"DeepKNN flags \d\d% .* and more than half of class 0, 1") as caught:
        flags = DeepKNN(k=20).judge(features, y)
    assert pages(caught) == ["most-of-the-data-flagged"] and flags.flagged.float().mean() > 0.5


def test_more_neighbours_than_a_class_has_are_announced():
    features, y, _ = planted(0)
    few = (y != 2) | (torch.arange(300) < 60)
    with pytest.warns(AssumptionWarning, match=r"30 neighbours vote, and class 2 has no more images") as caught:
        DeepKNN(k=30).judge(features[few], y[few])
    assert "more-neighbours-than-a-class-has" in pages(caught)


def test_neighbours_without_an_early_layer_are_refused(backdoored):
    model, data, _ = backdoored
    with pytest.raises(ValueError, match=r"needs voters in an early layer: DeepKNN\(layer=...\)"):
        ActivationClustering(verdict="neighbours")(model, data)
    named = ActivationClustering(verdict="neighbours", voters=DeepKNN(layer="pool1"))
    assert len(named(model, data).flagged) == len(data)


# --- degenerate features ---


def test_equal_rows_and_tiny_classes_are_not_flagged():
    y = torch.tensor([0] * 20 + [1] * 20 + [2, 2])
    features = torch.cat([torch.ones(20, 4), torch.randn(22, 4, generator=torch.Generator().manual_seed(0))])
    flags = ActivationClustering().judge(features, y)
    assert not flags.flagged[:20].any() and not flags.flagged[40:].any()
    assert "too few" in flags.notes[2]
    assert SpectralSignatures().judge(features, y).scores[:20].eq(0).all()


# --- features ---


def test_features_are_the_layer_s_output_in_order(backdoored):
    model, data, _ = backdoored
    features = features_of(model, data.x[:30], "relu3", batch_size=7)
    with torch.no_grad():
        assert torch.allclose(features, nn.Sequential(*list(model)[:-1])(data.x[:30]), atol=1e-5)
    assert torch.equal(features_of(model, data.x[:30], batch_size=7), features)  # the last hidden layer
    assert features_of(model, data.x[:30], "pool2").shape == (30, 16 * 16)


def test_logits_are_announced(backdoored):
    model, data, _ = backdoored
    with pytest.warns(AssumptionWarning, match="layer 'fc2' gives the answers") as caught:
        features_of(model, data.x[:30], "fc2")
    assert caught[0].message.page == "assumptions#logits-as-features"
    soft = nn.Sequential(model, nn.Softmax(1))
    with pytest.warns(AssumptionWarning, match="logits-as-features"):
        features_of(soft, data.x[:30], "0.fc2")


def test_a_warning_points_at_the_readers_line():
    plain = runpy.run_path(_warnings.__file__, run_name=_warnings.__name__)  # without the wrappers of the type checker
    with pytest.warns(UserWarning, match="it needs more; see assumptions#few-trusted-images") as caught:
        plain["warn_assumption"]("it needs more", "few-trusted-images")
    assert caught[0].filename == __file__


def test_unknown_layers_and_broken_features_are_refused(backdoored):
    model, data, _ = backdoored
    with pytest.raises(ValueError, match=r"no layer 'relu9'; known: conv1, .*fc2"):
        features_of(model, data.x[:3], "relu9")
    broken = SmallCNN()
    nn.init.constant_(broken.fc1.bias, torch.nan)
    with pytest.raises(ValueError, match="features must be finite; 192 of 192 are not"):
        features_of(broken, data.x[:3], "fc1")


# --- index alignment, from the images to the filtered set ---


@pytest.mark.parametrize("order", ["as drawn", "shuffled", "added as copies"])
def test_flags_point_at_the_poisoned_images(backdoored, order):
    model, data, plan = backdoored
    truth = plan.mask
    if order == "shuffled":
        places = torch.randperm(len(data), generator=torch.Generator().manual_seed(1))
        data, truth = data[places], truth[places]
    if order == "added as copies":
        data = ImageSet(torch.cat([data.x[~truth], data.x[truth]]), torch.cat([data.y[~truth], data.y[truth]]), DIGITS)
        truth = truth.sort().values
    rates = ActivationClustering()(model, data).rates(truth)
    assert rates.recall.value > 0.9 and rates.false_positive_rate.value < 0.01
    wrong = truth[torch.randperm(len(truth), generator=torch.Generator().manual_seed(2))]
    assert ActivationClustering()(model, data).rates(wrong).recall.value < 0.2


def test_what_is_dropped_is_what_was_flagged(backdoored):
    model, data, _ = backdoored
    flags = ActivationClustering()(model, data)
    kept = flags.drop_from(data)
    assert len(kept) == int((~flags.flagged).sum()) and torch.equal(kept.x, data.x[~flags.flagged])
    with pytest.raises(ValueError, match="the flags are about data"):
        flags.drop_from(replace(data, y=data.y.flip(0)))


def test_a_truth_of_another_length_is_refused(unchecked):
    with pytest.raises(ValueError, match=r"position by position; got torch.bool \[5\] and torch.bool \[4\]"):
        Flags(torch.zeros(5), torch.zeros(5).bool()).rates(torch.zeros(4).bool())


def test_filtering_and_retraining_removes_the_backdoor(backdoored, mnist5k):
    from badnets_lib import attack_success_rate, clean_accuracy

    _, data, plan = backdoored
    config = TrainConfig(epochs=3, device="cpu")
    repair = FilterAndRetrain(network=lambda: SmallCNN(width=8))(data, config)
    assert repair.history[0]["judged"] == 2000 and repair.history[0]["dropped"][7] >= 55
    assert attack_success_rate(repair.model, mnist5k[1], plan.attack).value < 0.1
    assert clean_accuracy(repair.model, mnist5k[1]).value > 0.9


def test_a_filter_that_empties_a_class_is_stopped(tiny):
    def all_of_b(model, data):
        return Flags(torch.zeros(60), data.y == 1)

    with pytest.raises(ValueError, match="leaves no image of class b"):
        FilterAndRetrain(all_of_b)(tiny, TrainConfig(epochs=1))


# --- what the defender has ---


def test_a_holding_is_balanced_repeats_and_keeps_apart(mnist5k):
    reserve, scored = mnist5k[1].split(0.5)
    first, again, other = (Holding.draw(reserve, 25, seed=seed, apart_from=[scored]) for seed in (0, 0, 1))
    assert sorted(first.trusted.counts()) == [2] * 5 + [3] * 5
    assert first.trusted.fingerprint == again.trusted.fingerprint != other.trusted.fingerprint
    assert repr(first) == "Holding(25 trusted images, 2 to 3 of each of 10 classes)"
    with pytest.raises(ValueError, match="25 of 25 trusted images are also in"):
        Holding.draw(reserve, 25, apart_from=[scored, mnist5k[1]])
    with pytest.raises(ValueError, match="600 trusted images need 60 of class 0; the reserve holds 50 of 500"):
        Holding.draw(reserve, 600)
    with pytest.raises(ValueError, match="Nothing needs at least 30 trusted images; this holding has 25"):
        first.need(30, "Nothing")


def test_an_oracle_is_labelled(tiny):
    told = Holding(tiny, fraction=0.1, target=2)
    assert told.oracle == ("fraction", "target") and "oracle: fraction = 0.1, oracle: target = 2" in repr(told)
    assert Holding(tiny).oracle == () and "oracle" not in repr(Holding(tiny))
    with pytest.raises(ValueError, match=r"target must lie in \[0, 3\); got 3"):
        Holding(tiny, target=3)
    with pytest.raises(ValueError, match=r"fraction must lie in \[0, 1\]"):
        Holding(tiny, fraction=2.0)


# --- what a defense returns ---


def test_rates_count_each_kind_of_verdict():
    flagged, truth = torch.tensor([1, 1, 0, 0, 0]).bool(), torch.tensor([1, 0, 1, 0, 0]).bool()
    rates = Rates.compare(flagged, truth)
    assert rates == Rates(1, 1, 1, 2)
    assert (rates.recall, rates.precision) == (Proportion(1, 2), Proportion(1, 2))
    assert rates.false_positive_rate == Proportion(1, 3) and rates.f1 == 0.5
    silent = Rates.compare(torch.zeros(5).bool(), torch.zeros(5).bool())
    assert silent.recall is silent.precision is silent.f1 is None and "nothing to catch" in str(silent)
    assert rates + silent == Rates(1, 1, 1, 7)


@pytest.mark.parametrize(("scores", "flagged", "message"), [
    (torch.zeros(3), torch.zeros(4).bool(), r"got \[3\] and torch.bool \[4\]"),
    (torch.zeros(3), torch.zeros(3).long(), "torch.int64"),
    (torch.tensor([0.0, torch.nan]), torch.zeros(2).bool(), "1 of 2 are not"),
])  # fmt: skip
def test_flags_that_do_not_fit_are_refused(unchecked, scores, flagged, message):
    with pytest.raises(ValueError, match=message):
        Flags(scores, flagged)


def test_an_outcome_tells_detection_and_removal_together():
    def card(clean, success):
        return Scorecard(Proportion(clean, 100), Proportion(success, 90), Proportion(0, 90))

    outcome = Outcome(
        "A()", "50 trusted images", Rates(9, 1, 2, 88), Rates(0, 0, 3, 97), card(98, 90), card(96, 9), 1.5, ("rho",)
    )
    assert outcome.accuracy_change.value == pytest.approx(-0.02)
    assert outcome.success_change.value == pytest.approx(-0.9)
    for part in ("ORACLE", "rho", "9/10", "3/100", "96/100", "9/90", "-90.0 points"):
        assert part in str(outcome)
    assert outcome.as_dict()["detection"] == {
        "true_positives": 9, "false_negatives": 1, "false_positives": 2, "true_negatives": 88,
    }  # fmt: skip
    with pytest.raises(ValueError, match="got one"):
        Outcome("A()", "", before=card(1, 1))
    with pytest.raises(ValueError, match="must hold no poison"):
        Outcome("A()", "", on_clean=Rates(1, 0, 0, 1))
    with pytest.raises(ValueError, match="got neither"):
        Outcome("A()", "")


# --- impossible settings ---


@pytest.mark.parametrize(("make", "message"), [
    (lambda: ActivationClustering(verdict="distance"), "one of size, silhouette, neighbours; got 'distance'"),
    (lambda: ActivationClustering(size=0.7), r"size must lie in \(0, 0.5\].*got 0.7"),
    (lambda: ActivationClustering(components=0), "at least 1; got 0 and"),
    (lambda: SpectralSignatures(epsilon=0.7), "product below 1; got 0.7 and 1.5"),
    (lambda: SpectralSignatures(separation=2.0), r"separation must lie in \[0, 1\]; got 2.0"),
    (lambda: DeepKNN(k=0), "k, batch and voters must be at least 1; got 0"),
    (lambda: DeepKNN(k=5).judge(torch.rand(5, 2), torch.arange(5)), "5 neighbours need at least 6 images; got 5"),
])  # fmt: skip
def test_impossible_settings_are_refused(unchecked, make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("method", [ActivationClustering(), SpectralSignatures(), DeepKNN(k=3)], ids=repr)
def test_a_filter_refuses_a_network_of_other_classes(method):
    data = ImageSet(torch.rand(60, 1, 8, 8), torch.arange(60) % 3, ("ash", "birch", "cedar"))
    with pytest.raises(ValueError, match="the network has 5 outputs; the data have 3 classes"):
        method(SmallCNN(1, 5, 2), data)


@pytest.mark.parametrize("method", [ActivationClustering(), SpectralSignatures(), DeepKNN()], ids=repr)
def test_what_a_filter_cannot_judge_is_named(method, unchecked):
    data = ImageSet(torch.rand(6, 1, 8, 8), torch.arange(6) % 2, ("ash", "birch"))
    with pytest.raises(TypeError, match="a data filter needs an ImageSet; got Tensor"):
        method(SmallCNN(1, 2, 2), data.x)
    with pytest.raises(TypeError, match="a data filter needs an ImageSet; got SmallCNN"):
        method(data, SmallCNN(1, 2, 2))
