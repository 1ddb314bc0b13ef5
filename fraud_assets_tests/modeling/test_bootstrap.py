"""Intervals over days: exact, repeatable, honest about few days."""

import time

import numpy as np
import polars as pl
import pytest
from scipy.stats import t as t_distribution
from sklearn.metrics import average_precision_score

from fraud_assets.modeling.bootstrap import (
    _DailyCurve,
    _day_weights,
    day_bootstrap_average_precision,
    paired_day_bootstrap,
)

COSTS = {"review_cost": 1.0, "loss_share": 1.0, "confidence": 0.95, "seed": 5}


def simulated(days, rows_per_day, gain, rng, share=0.02, effect=0.0):
    """Two scores of the same rows; the first separates better by `gain` on average."""
    day = np.repeat(np.arange(days), rows_per_day)
    label = (rng.random(day.size) < share).astype(np.int64)
    common = rng.normal(size=day.size)
    better = (gain + rng.normal(0, effect, days))[day] if effect else gain
    return pl.DataFrame(
        {
            "day": day,
            "label": label,
            "amount": rng.exponential(100, day.size),
            "score_a": label * (2.0 + better) + 0.8 * common + 0.6 * rng.normal(size=day.size),
            "score_b": label * 2.0 + 0.8 * common + 0.6 * rng.normal(size=day.size),
        }
    ).with_columns(decision_a=pl.col("score_a") > 2.0, decision_b=pl.col("score_b") > 2.0)


def test_a_weighted_day_counts_as_if_its_rows_were_repeated():
    rng = np.random.default_rng(1)
    frame = simulated(4, 300, 0.3, rng, share=0.05)
    day, label = frame["day"].to_numpy(), frame["label"].to_numpy()
    score = frame["score_a"].round(1).to_numpy()  # many ties
    weights = _day_weights(4, 20, seed=3)
    drawn = _DailyCurve.of(day, 4, label, score).average_precision(weights)
    for weight, value in zip(weights, drawn, strict=True):
        rows = np.repeat(np.arange(day.size), weight[day].astype(int))
        assert value == pytest.approx(average_precision_score(label[rows], score[rows]))


def test_estimates_are_those_of_the_whole_frame():
    frame = simulated(5, 400, 0.5, np.random.default_rng(2))
    label = frame["label"].to_numpy()
    gains = paired_day_bootstrap(frame, samples=200, **COSTS)
    precision = [average_precision_score(label, frame[f"score_{s}"].to_numpy()) for s in "ab"]
    assert gains.average_precision.estimate == pytest.approx(precision[0] - precision[1])
    cost = {
        s: frame[f"decision_{s}"].sum()
        + frame.filter((pl.col("label") == 1) & ~pl.col(f"decision_{s}"))["amount"].sum()
        for s in "ab"
    }
    assert gains.cost_per_day.estimate == pytest.approx((cost["b"] - cost["a"]) / 5)


def test_swapping_the_models_mirrors_the_interval():
    frame = simulated(5, 400, 0.5, np.random.default_rng(2))
    swapped = frame.rename({f"{c}_{s}": f"{c}_{'ba'['ab'.index(s)]}"
                            for c in ("score", "decision") for s in "ab"})  # fmt: skip
    there = paired_day_bootstrap(frame, samples=200, **COSTS).average_precision
    back = paired_day_bootstrap(swapped, samples=200, **COSTS).average_precision
    assert (back.low, back.high) == (pytest.approx(-there.high), pytest.approx(-there.low))
    assert back.probability_better == pytest.approx(1 - there.probability_better)


def test_a_model_against_itself_gains_exactly_nothing():
    frame = simulated(5, 200, 0.0, np.random.default_rng(4)).with_columns(
        score_a=pl.col("score_b"), decision_a=pl.col("decision_b")
    )
    gains = paired_day_bootstrap(frame, samples=200, **COSTS)
    for gain in (gains.average_precision, gains.cost_per_day):
        assert (gain.estimate, gain.low, gain.high, gain.probability_better) == (0, 0, 0, 0.5)


def test_the_same_seed_gives_the_same_interval_whatever_the_order_of_rows():
    frame = simulated(5, 300, 0.3, np.random.default_rng(6))
    first = paired_day_bootstrap(frame, samples=300, **COSTS)
    assert first == paired_day_bootstrap(frame, samples=300, **COSTS)
    turned = paired_day_bootstrap(frame.reverse(), samples=300, **COSTS).average_precision
    assert turned.low == pytest.approx(first.average_precision.low)
    other = paired_day_bootstrap(frame, samples=300, **{**COSTS, "seed": 6})
    assert other.average_precision.low != first.average_precision.low


def test_without_positives_the_gain_is_not_computable_but_the_cost_is():
    frame = simulated(3, 100, 0.3, np.random.default_rng(7)).with_columns(label=pl.lit(0))
    gains = paired_day_bootstrap(frame, samples=100, **COSTS)
    assert gains.average_precision.estimate is None
    assert gains.average_precision.low is None
    assert gains.cost_per_day.low is not None
    empty = paired_day_bootstrap(frame.clear(), samples=100, **COSTS)
    assert empty.cost_per_day.estimate is None


def test_frauds_on_a_single_day_give_an_estimate_without_an_interval():
    frame = simulated(3, 200, 0.3, np.random.default_rng(8), share=0.1).with_columns(
        label=pl.when(pl.col("day") == 1).then("label").otherwise(0)
    )
    gain = paired_day_bootstrap(frame, samples=100, **COSTS).average_precision
    assert gain.estimate is not None
    assert (gain.low, gain.high) == (None, None)
    alone = day_bootstrap_average_precision(
        frame["day"].to_numpy(), frame["label"].to_numpy(), frame["score_a"].to_numpy(),
        samples=100, seed=1, confidence=0.95,
    )  # fmt: skip
    assert alone.estimate is not None
    assert alone.low is None


def test_a_single_models_interval_stays_between_zero_and_one():
    frame = simulated(2, 100, 0.3, np.random.default_rng(9), share=0.1)
    found = day_bootstrap_average_precision(
        frame["day"].to_numpy(), frame["label"].to_numpy(), frame["score_a"].to_numpy(),
        samples=200, seed=1, confidence=0.95,
    )  # fmt: skip
    assert 0 <= found.low <= found.estimate <= found.high <= 1


@pytest.mark.parametrize("days", [3, 6])
def test_the_interval_of_a_mean_is_the_textbook_t_interval_over_days(days):
    frame = simulated(days, 300, 0.5, np.random.default_rng(12), share=0.1)
    daily = (
        frame.with_columns(
            *(
                (pl.col(f"decision_{s}") + pl.col("amount") * (pl.col("label") == 1)
                 * ~pl.col(f"decision_{s}")).alias(s)
                for s in "ab"
            )
        )
        .group_by("day").agg((pl.col("b") - pl.col("a")).sum().alias("saved"))["saved"].to_numpy()
    )  # fmt: skip
    low, high = t_distribution.interval(
        0.95, days - 1, loc=daily.mean(), scale=daily.std(ddof=1) / np.sqrt(days)
    )
    found = paired_day_bootstrap(frame, samples=20_000, **COSTS).cost_per_day
    assert found.high - found.low == pytest.approx(high - low, rel=0.03)


@pytest.mark.parametrize("days", [3, 5])
@pytest.mark.parametrize("effect", [0.0, 0.2])
def test_the_interval_covers_the_true_gain_even_with_few_days(days, effect):
    rng = np.random.default_rng(10)
    options = {"gain": 0.3, "effect": effect}
    truth = np.mean(
        [
            average_precision_score(big["label"], big["score_a"])
            - average_precision_score(big["label"], big["score_b"])
            for big in (simulated(60, 1000, rng=rng, **options) for _ in range(12))
        ]
    )
    repeats, covered, cost_settings = 150, 0, {**COSTS, "seed": 1}
    for _ in range(repeats):
        frame = simulated(days, 1000, rng=rng, **options)
        gain = paired_day_bootstrap(frame, samples=200, **cost_settings).average_precision
        covered += gain.low <= truth <= gain.high
    # Nominal .95; the plain percentile interval reaches .70 with 3 days and .82 with 5.
    assert covered / repeats >= 0.90


def test_a_hundred_thousand_rows_and_a_thousand_samples_take_less_than_seconds():
    frame = simulated(5, 20_000, 0.3, np.random.default_rng(11))
    started = time.perf_counter()
    paired_day_bootstrap(frame, samples=1000, **COSTS)
    assert time.perf_counter() - started < 5.0
