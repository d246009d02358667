import numpy as np
import pytest
import torch
from hypothesis import given, strategies as st
from scipy import stats

from badnets_lib import Difference, Proportion, Seeds


@st.composite
def proportions(draw):
    trials = draw(st.integers(1, 10_000))
    return Proportion(draw(st.integers(0, trials)), trials)


confidences = st.floats(0.01, 0.999)


@pytest.mark.parametrize(("hits", "trials", "low", "high"), [
    (81, 263, 0.2553, 0.3662),  # the four columns of Newcombe, Two-sided confidence intervals for the single
    (15, 148, 0.0624, 0.1605),  # proportion, Statistics in Medicine 1998, table I, method 3
    (0, 20, 0.0000, 0.1611),
    (1, 29, 0.0061, 0.1718),
])  # fmt: skip
def test_wilson_interval_is_the_published_one(hits, trials, low, high):
    assert Proportion(hits, trials).interval() == pytest.approx((low, high), abs=5e-5)


@pytest.mark.parametrize(("first", "second", "low", "high"), [
    ((56, 70), (48, 80), 0.0524, 0.3339),  # Newcombe, Interval estimation for the difference between independent
    ((9, 10), (3, 10), 0.1705, 0.8090),    # proportions, Statistics in Medicine 1998, table II, method 10
    ((6, 7), (2, 7), 0.0582, 0.8062),
    ((5, 56), (0, 29), -0.0381, 0.1926),
    ((0, 10), (0, 20), -0.1611, 0.2775),
    ((10, 10), (0, 20), 0.6791, 1.0000),
])  # fmt: skip
def test_newcombe_interval_is_the_published_one(first, second, low, high):
    assert Difference(Proportion(*first), Proportion(*second)).interval() == pytest.approx((low, high), abs=5e-5)


@given(proportions(), confidences)
def test_interval_contains_the_value_and_stays_in_range(count, confidence):
    low, high = count.interval(confidence)
    assert 0 <= low <= count.value <= high <= 1
    assert low < high


@given(proportions(), confidences, confidences)
def test_more_confidence_is_wider(count, one, other):
    narrow, wide = count.interval(min(one, other)), count.interval(max(one, other))
    assert wide[0] <= narrow[0] and narrow[1] <= wide[1]


@given(proportions())
def test_one_more_hit_moves_the_interval_up(count):
    more = Proportion(count.hits + 1, count.trials + 1)
    assert more.value >= count.value
    assert more.interval()[0] > count.interval()[0]


@given(proportions(), st.integers(2, 50))
def test_more_trials_at_the_same_share_are_narrower(count, factor):
    many = Proportion(count.hits * factor, count.trials * factor)
    assert many.interval()[1] - many.interval()[0] < count.interval()[1] - count.interval()[0]


@given(proportions(), proportions())
def test_pooling_adds_the_counts(a, b):
    assert a + b == Proportion(a.hits + b.hits, a.trials + b.trials)
    assert min(a.value, b.value) <= (a + b).value <= max(a.value, b.value)


@given(proportions(), proportions(), confidences)
def test_difference_contains_its_value_and_turns_round(a, b, confidence):
    low, high = Difference(a, b).interval(confidence)
    assert -1 <= low <= Difference(a, b).value <= high <= 1
    assert Difference(b, a).interval(confidence) == pytest.approx((-high, -low))


def test_a_proportion_prints_its_interval_and_its_counts():
    assert str(Proportion(1860, 2000)) == "93.0% [91.8%, 94.0%] (1860/2000)"


def test_a_difference_prints_signed_points():
    assert str(Difference(Proportion(56, 70), Proportion(48, 80))) == "+20.0 points [+5.2, +33.4]"


@pytest.mark.parametrize(("hits", "trials"), [(0, 0), (-1, 5), (6, 5), (0, -3)])
def test_impossible_counts_are_refused(hits, trials):
    with pytest.raises(ValueError, match=f"got {hits}/{trials}"):
        Proportion(hits, trials)


def test_counts_are_whole_numbers_of_any_make(unchecked):
    count = Proportion(np.int64(3), torch.tensor(4))
    assert count == Proportion(3, 4) and str(count).endswith("(3/4)") and type(count.hits) is type(count.trials) is int
    for hits, trials in ((2.5, 4), (3.0, 4), (3, "4"), (3, None)):
        with pytest.raises(TypeError, match="must be a whole number; got"):
            Proportion(hits, trials)


@pytest.mark.parametrize("confidence", [0.0, 1.0, -0.5, 95.0, float("nan")])
def test_an_impossible_confidence_is_refused(confidence):
    with pytest.raises(ValueError, match="strictly between 0 and 1"):
        Proportion(1, 2).interval(confidence)
    with pytest.raises(ValueError, match="strictly between 0 and 1"):
        Difference(Proportion(1, 2), Proportion(1, 2)).interval(confidence)


# ---- seeds ----


def test_every_seed_is_shown_and_an_interval_only_from_five_on():
    assert str(Seeds([Proportion(1, 4), Proportion(3, 4)])) == "50.0% (seeds 25.0, 75.0)"
    assert Seeds((0.1, 0.2, 0.3, 0.4)).interval() is None
    five = Seeds((0.33, 0.75, 0.34, 0.41, 0.5))
    low, high = five.interval()
    expected = stats.t.interval(0.95, 4, five.mean, stats.sem(five.rates))
    assert (low, high) == pytest.approx(expected)
    assert str(five) == f"46.6% [{low:.1%}, {high:.1%}] (seeds 33.0, 75.0, 34.0, 41.0, 50.0)"
    assert (five.lowest, five.highest) == (0.33, 0.75)


def test_seeds_that_all_agree_have_no_interval_for_it_would_have_no_width():
    assert Seeds([0.0] * 5).interval() is None
    assert str(Seeds([0.0] * 5)) == "0.0% (seeds 0.0, 0.0, 0.0, 0.0, 0.0)"


@given(st.lists(st.floats(0, 1), min_size=5, max_size=12))
def test_the_interval_over_seeds_holds_the_mean_and_stays_in_range(rates):
    seeds = Seeds(rates)
    if len(set(rates)) == 1:
        assert seeds.interval() is None
        return
    low, high = seeds.interval()
    assert 0 <= low <= seeds.mean + 1e-12 and seeds.mean - 1e-12 <= high <= 1


@pytest.mark.parametrize(("rates", "message"), [((), "at least one seed"), ((0.2, 1.2), r"\[0, 1\]; got 1.2")])
def test_rates_that_are_none_are_refused(rates, message):
    with pytest.raises(ValueError, match=message):
        Seeds(rates)
