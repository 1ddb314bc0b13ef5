"""When a rate has moved, when chance explains it, and how often it is said wrongly."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from fraud_assets.monitoring.rates import compare_rates, dispersion

FACTOR = 1.5
EVEN = [(100, 10_000)] * 7


def negative_binomial(rng, mean, k, days, rows=10_000):
    """Counts of days with the variance mean + mean² / k."""
    counts = rng.poisson(rng.gamma(k, mean / k, days))
    return [(min(int(count), rows), rows) for count in counts]


def test_a_rate_that_doubled_has_moved():
    found = compare_rates([(200, 10_000)], EVEN, FACTOR)

    assert (found.current, found.reference, found.ratio) == (0.02, 0.01, pytest.approx(2.0))
    assert 1.0 < found.low < 2.0 < found.high
    assert (found.moved, found.reason) == (True, None)


def test_a_rate_that_halved_has_moved():
    found = compare_rates([(50, 10_000)], EVEN, FACTOR)

    assert found.ratio == pytest.approx(0.5)
    assert found.high < 1.0
    assert found.moved is True


def test_a_certain_change_below_the_factor_is_none():
    found = compare_rates([(14_000, 1_000_000)], [(10_000, 1_000_000)] * 7, FACTOR)

    assert found.low > 1.3
    assert found.moved is False
    assert compare_rates([(14_000, 1_000_000)], [(10_000, 1_000_000)] * 7, 1.3).moved is True


def test_the_factor_itself_is_enough():
    assert compare_rates([(20_000, 1_000_000)], [(10_000, 1_000_000)] * 7, 2.0).moved is True
    assert compare_rates([(5_000, 1_000_000)], [(10_000, 1_000_000)] * 7, 2.0).moved is True


def test_a_large_change_of_a_few_events_may_be_chance():
    found = compare_rates([(3, 1_000)], [(1, 1_000)] * 7, FACTOR)

    assert found.ratio == pytest.approx(3.0)
    assert found.low < 1.0 < found.high
    assert found.moved is False


def test_days_that_vary_widen_the_interval():
    varied = [(20, 10_000), (180, 10_000)] * 3 + [(100, 10_000)]

    even, wide = (compare_rates([(200, 10_000)], days, FACTOR) for days in (EVEN, varied))

    assert wide.ratio == even.ratio
    assert wide.low < even.low
    assert wide.high > even.high
    assert (even.moved, wide.moved) == (True, False)


def test_few_reference_days_widen_the_interval():
    few, many = (compare_rates([(150, 10_000)], EVEN[:days], 1.0) for days in (2, 7))

    assert few.high - few.low > 2 * (many.high - many.low)


def test_days_of_the_current_side_are_taken_together():
    split = compare_rates([(90, 4_000), (0, 0), (110, 6_000)], EVEN, FACTOR)

    assert split == compare_rates([(200, 10_000)], EVEN, FACTOR)


def test_rows_and_not_days_are_the_measure_of_a_rate():
    found = compare_rates([(10, 1_000)], [(100, 10_000), (200, 20_000), (10, 1_000)], FACTOR)

    assert found.ratio == pytest.approx(1.0)
    assert found.moved is False


def test_alerts_that_stop_are_noticed_also_where_days_vary():
    varied = [(70, 10_000), (130, 10_000), (100, 10_000)] * 2 + [(100, 10_000)]

    found = compare_rates([(0, 10_000)], varied, FACTOR)

    assert dispersion(varied) > 2
    assert found.current == 0.0
    assert found.ratio == pytest.approx(0.5 / 700.5 * 7)
    assert found.moved is True


def test_no_events_where_hardly_any_were_expected_are_no_change():
    found = compare_rates([(0, 1_000)], [(2, 1_000), (0, 1_000), (1, 1_000)], FACTOR)

    assert 0.0 < found.low < found.ratio < 1.0 < found.high
    assert found.moved is False


def test_frauds_where_there_were_none_have_moved_and_have_a_finite_ratio():
    found = compare_rates([(60, 10_000)], [(0, 10_000)] * 7, FACTOR)

    assert found.reference == 0.0
    assert found.ratio == pytest.approx(60.5 / 0.5 * 7)
    assert math.isfinite(found.high)
    assert found.moved is True


@pytest.mark.parametrize(
    ("current", "reference", "reason"),
    [
        ([], EVEN, "no rows on the current days"),
        ([(0, 0)], EVEN, "no rows on the current days"),
        ([(1, 10)], [], "no rows on the reference days"),
        ([(0, 10)], [(0, 20), (0, 5)], "no events in 10 current and 25 reference rows"),
        ([(1, 10)], [(1, 20)], "one reference day: how much days vary cannot be told"),
        ([(1, 10)], [(1, 20), (0, 0)], "one reference day: how much days vary cannot be told"),
    ],
)
def test_where_nothing_can_be_said_the_reason_is(current, reference, reason):
    found = compare_rates(current, reference, FACTOR)

    assert (found.moved, found.low, found.high, found.reason) == (None, None, None, reason)


def test_what_can_be_computed_is_told_also_where_nothing_can_be_said():
    assert compare_rates([], EVEN, FACTOR).reference == 0.01
    assert compare_rates([(0, 10)], [(0, 20)] * 2, FACTOR).current == 0.0
    assert compare_rates([(1, 10)], [(1, 20)], FACTOR).ratio == pytest.approx(2.0)


@pytest.mark.parametrize("day", [(11, 10), (-1, 10)])
def test_impossible_days_are_refused(day):
    with pytest.raises(ValueError, match="events in 10 rows"):
        compare_rates([day], EVEN, FACTOR)
    with pytest.raises(ValueError, match="events in 10 rows"):
        compare_rates(EVEN, [day], FACTOR)


@pytest.mark.parametrize(("factor", "confidence"), [(0.9, 0.99), (math.nan, 0.99), (1.5, 1.0)])
def test_choices_without_a_meaning_are_refused(factor, confidence):
    with pytest.raises(ValueError, match="is below 1, or confidence"):
        compare_rates(EVEN, EVEN, factor, confidence)


def test_the_interval_is_scipys_wilson_interval_of_the_odds():
    many = [(100, 10_000)] * 2_000  # so many days that Student's t is the normal distribution

    found = compare_rates([(150, 10_000)], many, FACTOR, confidence=0.95)

    wilson = binomtest(150, 150 + 200_000).proportion_ci(0.95, method="wilson")
    assert found.low == pytest.approx(wilson.low / (1 - wilson.low) * 2_000, rel=1e-3)
    assert found.high == pytest.approx(wilson.high / (1 - wilson.high) * 2_000, rel=1e-3)


def test_dispersion_is_one_of_poisson_days_and_their_excess_of_others():
    rng = np.random.default_rng(3)
    poisson = [(int(count), 10_000) for count in rng.poisson(50, 3_000)]

    assert dispersion(poisson) == pytest.approx(1.0, abs=0.1)
    assert dispersion(negative_binomial(rng, 50, 5, 3_000)) == pytest.approx(11.0, rel=0.15)
    assert dispersion([(20, 10_000), (180, 10_000)]) == 128.0  # 80² / 100, twice, over 1
    assert dispersion(EVEN) == 1.0
    assert dispersion([(10, 1_000), (1_000, 100_000)]) == 1.0
    assert dispersion([(3, 10), (0, 0)]) == 1.0
    assert dispersion([(0, 10)] * 5) == 1.0


@pytest.mark.parametrize(("mean", "k", "days"), [(20, 3, 5), (100, 3, 7), (40, 3, 14), (30, 8, 30)])
def test_false_alarms_are_rare_though_frauds_come_in_campaigns(mean, k, days):
    rng = np.random.default_rng(days)

    said = [
        compare_rates(
            negative_binomial(rng, mean, k, 1), negative_binomial(rng, mean, k, days), FACTOR
        ).moved
        for _ in range(1_500)
    ]

    assert np.mean(said) < 0.03  # with the variance of Poisson days it is some 30 %


def test_a_lasting_change_of_varying_days_is_found():
    rng = np.random.default_rng(1)

    said = [
        compare_rates(
            negative_binomial(rng, 300, 10, 1), negative_binomial(rng, 100, 10, 14), FACTOR
        ).moved
        for _ in range(300)
    ]

    assert np.mean(said) > 0.7


DAYS = st.lists(st.tuples(st.integers(0, 60), st.integers(60, 500)), min_size=2, max_size=9)


@given(one=DAYS, other=DAYS)
def test_the_ratio_is_inverted_when_the_sides_are_swapped(one, other):
    here, there = compare_rates(one, other, FACTOR), compare_rates(other, one, FACTOR)

    assert (here.current, here.reference) == (there.reference, there.current)
    if sum(events for events, _ in (*one, *other)) == 0:
        assert (here.ratio, there.ratio) == (None, None)
    else:
        assert here.ratio == pytest.approx(1 / there.ratio)


@given(one=DAYS, other=DAYS, seed=st.integers(0, 99))
def test_the_order_of_the_days_changes_nothing_and_the_interval_holds_the_ratio(one, other, seed):
    rng = np.random.default_rng(seed)
    found = compare_rates(one, other, FACTOR)
    mixed = compare_rates(rng.permutation(one).tolist(), rng.permutation(other).tolist(), FACTOR)

    assert mixed.moved is found.moved
    assert mixed.ratio == found.ratio
    if found.moved is not None:
        assert (mixed.low, mixed.high) == pytest.approx((found.low, found.high))
        assert 0.0 < found.low < found.ratio < found.high < math.inf


@given(days=DAYS)
def test_days_compared_with_themselves_have_not_moved(days):
    found = compare_rates(days, days, FACTOR)

    assert found.moved is not True
    assert found.ratio in (None, 1.0)
