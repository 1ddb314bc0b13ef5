"""Intervals over payers: as a plain bootstrap would make them, honest, repeatable and quick."""

import time
from datetime import date, timedelta
from statistics import fmean

import numpy as np
import polars as pl
import pytest
from scipy.special import logit
from scipy.stats import t as t_distribution
from sklearn.metrics import average_precision_score

from fraud_assets.modeling.bootstrap import Interval
from fraud_assets.modeling.metrics import average_precision
from fraud_assets.monitoring import intervals
from fraud_assets.monitoring.intervals import (
    _Curves,
    daily_average_precision,
    day_average_precision,
    mean_daily_average_precision,
)

FIRST = date(2026, 3, 1)
HOW = {"samples": 200, "seed": 5, "confidence": 0.95}


def frame(day, payer, label, score):
    return pl.DataFrame(
        {
            "day": [FIRST + timedelta(days=int(one)) for one in day],
            "payer_id": payer,
            "label": label,
            "score": score,
        },
        schema={"day": pl.Date, "payer_id": pl.String, "label": pl.Int8, "score": pl.Float64},
    )


def simulated(rng, days=1, rows=1_000, frauds=30, payers=300, per_payer=3, shared=0.7):
    """Frauds of one payer share how easily they are found; some rows have no payer."""
    count = frauds * days
    whose = rng.integers(0, max(1, count // per_payer), count)
    ease = rng.normal(size=count)[whose]
    score = np.r_[
        2.0 + shared * ease + np.sqrt(1 - shared**2) * rng.normal(size=count),
        rng.normal(size=rows * days),
    ]
    payer = [f"f{one}" for one in whose] + [
        None if one == 0 else f"c{one}" for one in rng.integers(0, payers, rows * days)
    ]
    return frame(
        rng.integers(0, days, score.size),
        payer,
        np.r_[np.ones(count), np.zeros(rows * days)],
        score,
    )


def width(found):
    return logit(found.high) - logit(found.low)


def standard_error(found, payers):
    """The bootstrap's own standard error, from the interval that it gave."""
    t = t_distribution.ppf(0.975, payers - 1) * np.sqrt(payers / (payers - 1))
    return width(found) / 2 / t * found.estimate * (1 - found.estimate)


def test_the_estimate_is_the_mean_of_the_days_that_have_a_value():
    rows = simulated(np.random.default_rng(1), days=3)
    quiet = rows.filter(pl.col("label") == 0).with_columns(pl.col("day") + pl.duration(days=9))
    found = mean_daily_average_precision(pl.concat([quiet, rows]), **HOW)
    each = [
        average_precision_score(part["label"].to_numpy(), part["score"].to_numpy())
        for part in rows.partition_by("day")
    ]
    assert found.estimate == pytest.approx(fmean(each))
    assert 0 < found.low < found.estimate < found.high < 1


def test_daily_values_are_by_day_and_leave_out_days_without_one():
    rows = frame([1, 0, 0, 2], ["a", "b", "c", "d"], [1, 0, 1, 0], [0.3, 0.9, 0.5, 0.2])
    assert daily_average_precision(rows) == {FIRST: 0.5, FIRST + timedelta(days=1): 1.0}
    assert daily_average_precision(rows, fraud_share=0.2) == {FIRST: pytest.approx(0.2)}


@pytest.mark.parametrize("share", [None, 0.03])
def test_a_payer_that_is_drawn_twice_counts_as_if_its_rows_were_there_twice(share):
    rng = np.random.default_rng(2)
    rows = simulated(rng, days=3, rows=200, frauds=8, payers=40).drop_nulls("payer_id")
    rows = rows.with_columns(pl.col("score").round(1))  # many ties
    rows = rows.filter(pl.len().over("payer_id") > 1)
    payers = rows["payer_id"].unique().sort()
    weights = rng.poisson(1.0, (payers.len(), 20)).astype(float)
    curves = _Curves.of(rows)
    assert not curves.alone.any()
    drawn = curves._mean(curves.frauds @ weights, curves.legitimate @ weights, share)
    place = dict(zip(payers, range(payers.len()), strict=True))
    whose = np.array([place[one] for one in rows["payer_id"]])
    for column, value in zip(weights.T, drawn, strict=True):
        repeated = rows[np.repeat(np.arange(rows.height), column[whose].astype(int))]
        each = [
            average_precision(part["label"].to_numpy(), part["score"].to_numpy(), fraud_share=share)
            for part in repeated.partition_by("day")
        ]
        assert value == pytest.approx(fmean(one for one in each if one is not None))


@pytest.mark.parametrize("payers", [60, 100_000])
def test_the_standard_error_is_that_of_resampling_every_payer_one_by_one(payers):
    """Also where nearly every payer has one row, and such rows are drawn together."""
    rng = np.random.default_rng(3)
    rows = simulated(rng, days=2, rows=300, frauds=20, payers=payers)
    own = rows.with_row_index().with_columns(
        pl.col("payer_id").fill_null(pl.format("alone-{}", "index")).rank("dense").alias("whose")
    )
    whose, first = own["whose"].to_numpy() - 1, (own["day"] == FIRST).to_numpy()
    label, score = own["label"].to_numpy(), own["score"].to_numpy()
    plain = []
    for _ in range(500):
        weight = rng.poisson(1.0, whose.max() + 1)[whose]
        plain.append(
            fmean(
                average_precision_score(label[day], score[day], sample_weight=weight[day])
                for day in (first, ~first)
            )
        )
    fraud_payers = own.filter(pl.col("label") == 1)["whose"].n_unique()
    found = mean_daily_average_precision(rows, **{**HOW, "samples": 2_000})
    assert standard_error(found, fraud_payers) == pytest.approx(np.std(plain), rel=0.12)


def test_at_another_fraud_share_both_the_estimate_and_the_interval_are_at_that_share():
    rows = simulated(np.random.default_rng(4), frauds=60)
    rarer = mean_daily_average_precision(rows, **HOW, fraud_share=0.005)
    plain = mean_daily_average_precision(rows, **HOW)
    assert rarer.estimate == daily_average_precision(rows, fraud_share=0.005)[FIRST]
    assert rarer.high < plain.estimate
    assert rarer.low < rarer.estimate < plain.low


def test_at_a_given_fraud_share_the_number_of_frauds_is_no_longer_in_doubt():
    rows = simulated(np.random.default_rng(4), frauds=60)
    plain = day_average_precision(rows, **HOW)
    level = day_average_precision(rows, **HOW, fraud_share=60 / 1_060)
    assert level.estimate == pytest.approx(plain.estimate)
    assert plain.low < level.low < level.high < plain.high


def test_frauds_of_few_payers_tell_less_than_frauds_of_many():
    few = simulated(np.random.default_rng(6), frauds=60, per_payer=6, shared=0.9)
    many = few.with_row_index().with_columns(pl.format("p{}", "index").alias("payer_id"))
    assert width(day_average_precision(few, **HOW)) > 1.5 * width(
        day_average_precision(many, **HOW)
    )


def test_a_payer_stays_the_same_on_every_day():
    rows = simulated(np.random.default_rng(7), days=7, frauds=15, per_payer=15, shared=0.9)
    apart = rows.with_columns(pl.format("{}-{}", "payer_id", "day").alias("payer_id"))
    assert width(mean_daily_average_precision(rows, **HOW)) > 1.3 * width(
        mean_daily_average_precision(apart, **HOW)
    )


def test_the_same_rows_and_seed_give_the_same_interval_in_any_order():
    rows = simulated(np.random.default_rng(8), days=2).with_columns(pl.col("score").round(1))
    found = mean_daily_average_precision(rows, **HOW)
    assert mean_daily_average_precision(rows, **HOW) == found
    assert (
        mean_daily_average_precision(rows.sample(fraction=1, shuffle=True, seed=1), **HOW) == found
    )
    assert mean_daily_average_precision(rows, **{**HOW, "seed": 6}).low != found.low


def test_samples_that_are_drawn_in_parts_are_all_drawn(monkeypatch):
    curves = _Curves.of(simulated(np.random.default_rng(9), frauds=60))
    whole = curves.draw(900, 1, None)
    monkeypatch.setattr(intervals, "WEIGHTS_AT_ONCE", 7 * curves.frauds.shape[1])
    parts = curves.draw(900, 1, None)
    assert parts.shape == whole.shape == (900,)
    assert np.unique(parts).size > 800
    assert np.std(parts) == pytest.approx(np.std(whole), rel=0.15)


def test_a_day_of_which_a_resampling_has_nothing_is_left_out_of_its_mean():
    rows = frame([0, 0, 1, 1], ["a", "b", "c", "d"], [1, 0, 1, 0], [0.4, 0.9, 0.5, 0.2])
    curves = _Curves.of(rows)
    assert curves.days == (slice(0, 2), slice(2, 4))
    # Columns: all drawn; no fraud of the second day; no legitimate row of it; no fraud at all.
    frauds = np.array([[1, 1, 1, 0], [0, 0, 0, 0], [1, 0, 1, 0], [0, 0, 0, 0]], dtype=float)
    legitimate = np.array([[1, 1, 1, 1], [0, 0, 0, 0], [0, 0, 0, 0], [1, 1, 0, 1]], dtype=float)
    np.testing.assert_allclose(
        curves._mean(frauds, legitimate, None), [(0.5 + 1.0) / 2, 0.5, (0.5 + 1.0) / 2, np.nan]
    )
    np.testing.assert_allclose(
        curves._mean(frauds, legitimate, 0.2), [(0.2 + 1.0) / 2, 0.2, 0.2, np.nan]
    )


def test_the_limits_are_a_t_interval_of_the_logit():
    drawn = np.array([0.70, 0.75, 0.80, 0.85, 0.90, np.nan])
    low, high = intervals._logit_interval(0.8, drawn, 5, 0.9)
    error = np.std(drawn[:5], ddof=1) * np.sqrt(5 / 4)
    margin = t_distribution.ppf(0.95, 4) * error / (0.8 * 0.2)
    assert (logit(low), logit(high)) == pytest.approx((logit(0.8) - margin, logit(0.8) + margin))


def test_a_day_is_the_mean_of_one_day():
    rows = simulated(np.random.default_rng(10))
    assert day_average_precision(rows, **HOW) == mean_daily_average_precision(rows, **HOW)


def test_without_frauds_nothing_is_known():
    quiet = frame([0, 0], ["a", "b"], [0, 0], [0.1, 0.2])
    assert day_average_precision(quiet, **HOW) == Interval(None, None, None)
    assert mean_daily_average_precision(quiet.clear(), **HOW) == Interval(None, None, None)


def test_frauds_of_one_payer_give_an_estimate_and_no_interval():
    rows = frame([0, 0, 1, 1], ["a", "b", "a", "c"], [1, 0, 1, 0], [0.4, 0.5, 0.4, 0.5])
    assert mean_daily_average_precision(rows, **HOW) == Interval(0.5, None, None)


def test_frauds_without_a_payer_are_each_on_their_own():
    rows = simulated(np.random.default_rng(11), frauds=20)
    nobody = rows.with_columns(payer_id=pl.lit(None, pl.String))
    known = rows.with_row_index().with_columns(pl.format("p{}", "index").alias("payer_id"))
    assert width(day_average_precision(nobody, **HOW)) == pytest.approx(
        width(day_average_precision(known, **HOW)), rel=0.2
    )


def test_a_day_without_a_mistake_does_not_pretend_to_be_certain():
    rows = frame([0] * 4, ["a", "b", "c", "d"], [1, 1, 0, 0], [0.9, 0.8, 0.2, 0.1])
    assert day_average_precision(rows, **HOW) == Interval(1.0, None, None)


def test_at_a_fraud_share_a_day_without_legitimate_rows_has_no_value():
    rows = simulated(np.random.default_rng(12))
    only_fraud = rows.filter(pl.col("label") == 1).with_columns(pl.col("day") + pl.duration(days=1))
    assert mean_daily_average_precision(
        pl.concat([rows, only_fraud]), **HOW, fraud_share=0.02
    ) == mean_daily_average_precision(rows, **HOW, fraud_share=0.02)


def test_bad_input_is_refused():
    rows = simulated(np.random.default_rng(13), days=2)
    with pytest.raises(ValueError, match="one day was expected, and the frame has 2"):
        day_average_precision(rows, **HOW)
    with pytest.raises(ValueError, match="between 0 and 1"):
        mean_daily_average_precision(rows.clear(), **HOW, fraud_share=0.0)
    with pytest.raises(ValueError, match="labels must be 0 or 1"):
        mean_daily_average_precision(rows.with_columns(label=pl.lit(None, pl.Int8)), **HOW)
    with pytest.raises(ValueError, match="missing or infinite"):
        mean_daily_average_precision(rows.with_columns(score=pl.lit(np.nan)), **HOW)


def test_the_interval_holds_the_truth_about_as_often_as_it_says():
    """Twenty frauds of six payers, where plain percentiles are too narrow."""
    rng = np.random.default_rng(14)
    found = [
        day_average_precision(simulated(rng, rows=500, frauds=20), **{**HOW, "seed": number})
        for number in range(250)
    ]
    truth = fmean(one.estimate for one in found)
    held = fmean(one.low <= truth <= one.high for one in found)
    assert 0.92 <= held <= 1.0
    assert fmean(one.high - one.low for one in found) < 0.8


def test_a_week_of_twenty_thousand_rows_a_day_takes_about_a_second_at_most():
    rows = simulated(np.random.default_rng(15), days=7, rows=20_000, frauds=100, payers=60_000)
    mean_daily_average_precision(rows, **{**HOW, "samples": 10})
    start = time.process_time()
    mean_daily_average_precision(rows, **HOW)
    assert time.process_time() - start < 1.5
