"""The gate keeps the champion unless the candidate is shown to be better."""

from datetime import date, timedelta

import numpy as np
import polars as pl
import pytest

from fraud_assets.modeling.evaluation import compare, evaluate
from fraud_assets.modeling.gate import decide_promotion
from fraud_assets.transactions.profile import DecisionChoices, GateChoices

DECISION = DecisionChoices(alert_budget_per_day=20, review_cost=2.0)
GATE = GateChoices(min_positives=30, bootstrap_samples=300)
FIRST = date(2026, 1, 1)


def bank(days=6, per_day=600, level=-5.0, seed=1):
    """Transactions with the probability of fraud that generated their labels."""
    rng = np.random.default_rng(seed)
    rows = days * per_day
    logit = rng.normal(level, 2.0, rows)
    return pl.DataFrame(
        {
            "transaction_id": [f"t{i}" for i in range(rows)],
            "day": [FIRST + timedelta(days=i // per_day) for i in range(rows)],
            "payer_id": [f"p{i}" for i in range(rows)],
            "amount": rng.lognormal(4, 1, rows),
            "label": (rng.random(rows) < 1 / (1 + np.exp(-logit))).astype(np.int8),
            "logit": logit,
        }
    )


LENIENT = GateChoices(max_calibration_error=1.0, max_calibration_ratio=100.0)


def scored(rows, noise, seed, shift=0.0):
    rng = np.random.default_rng(seed)
    logit = rows["logit"].to_numpy() + rng.normal(0, noise, rows.height) + shift
    score = 1 / (1 + np.exp(-logit))
    decision = np.where(score > 0.05, "alert", "pass")
    return rows.with_columns(score=pl.Series(score), decision=pl.Series(decision))


def verdict(candidate, rival, gate=GATE, latency_ms=3.0, **options):
    compared = compare(candidate, rival, decision=DECISION, samples=gate.bootstrap_samples)
    judged = evaluate(candidate, decision=DECISION, samples=gate.bootstrap_samples)
    return decide_promotion(compared, judged, gate, latency_ms=latency_ms, **options)


def failed(decision):
    return {check.name for check in decision.checks if not check.passed}


@pytest.fixture(scope="module")
def rows():
    return bank()


@pytest.fixture(scope="module")
def good(rows):
    return scored(rows, 0.0, 2)


@pytest.fixture(scope="module")
def poor(rows):
    return scored(rows, 3.0, 3)


def test_a_clearly_better_candidate_is_promoted_with_all_its_numbers(good, poor):
    decision = verdict(good, poor)
    assert decision.promote
    assert failed(decision) == set()
    assert len(decision.reasons) == len(decision.checks) == 7
    assert all(any(c.isdigit() for c in reason) for reason in decision.reasons)
    assert decision.numbers["ap_gain_low"] > 0
    assert f"{decision.numbers['ap_gain_low']:+.4g}" in " ".join(decision.reasons)


def test_a_worse_candidate_is_refused(good, poor):
    decision = verdict(poor, good, LENIENT)
    assert not decision.promote
    assert failed(decision) == {"average_precision"}
    assert decision.numbers["ap_gain"] < 0


def test_an_equal_candidate_is_refused(good):
    decision = verdict(good, good)
    assert failed(decision) == {"average_precision"}
    assert "+0 (95% interval +0 to +0); the lower bound does not exceed 0" in decision.reasons[0]


def test_a_slightly_better_candidate_within_the_noise_is_refused(rows):
    candidate, champion = scored(rows, 0.6, 5), scored(rows, 0.65, 6)
    assert "average_precision" in failed(verdict(candidate, champion))


def test_a_lucky_candidate_on_too_few_frauds_is_refused():
    few = bank(level=-7.5, seed=4)
    frauds = int(few["label"].sum())
    assert 2 <= frauds < 30
    lucky = few.with_columns(
        score=pl.col("label") * 0.5 + 0.001,
        decision=pl.when(pl.col("label") == 1).then(pl.lit("alert")).otherwise(pl.lit("pass")),
    )
    decision = verdict(lucky, scored(few, 3.0, 3), GateChoices(max_calibration_error=0.5))
    assert not decision.promote
    assert "positives" in failed(decision)
    assert f"{frauds} known frauds on 6 gate day(s), fewer than the 30" in decision.reasons[0]


def test_exactly_as_many_frauds_as_are_needed_are_enough(rows, good, poor):
    frauds = int(rows["label"].sum())
    assert verdict(good, poor, GateChoices(min_positives=frauds)).promote
    assert failed(verdict(good, poor, GateChoices(min_positives=frauds + 1))) == {"positives"}


def test_a_miscalibrated_candidate_is_refused_however_well_it_ranks(rows, poor):
    decision = verdict(scored(rows, 0.0, 2, shift=3.0), poor)
    assert failed(decision) == {"calibration", "calibration_ratio", "calibration_ratio_at_budget"}
    assert decision.numbers["expected_calibration_error"] > 0.05
    assert "above the limit of 0.05" in decision.reasons[0]


def test_a_slow_or_unmeasured_candidate_is_refused(good, poor):
    slow = verdict(good, poor, latency_ms=20.1)
    assert slow.reasons == ["scoring latency 20.1 ms is above the limit of 20 ms"]
    unmeasured = verdict(good, poor, latency_ms=None)
    assert failed(unmeasured) == {"latency"}
    assert "not measured" in unmeasured.reasons[0]
    assert verdict(good, poor, latency_ms=20.0).promote


def test_margins_must_be_cleared_by_the_lower_bound(good, poor):
    gain = verdict(good, poor).numbers
    between = (gain["ap_gain_low"] + gain["ap_gain"]) / 2
    refused = verdict(good, poor, GateChoices(min_ap_gain=between, bootstrap_samples=300))
    assert failed(refused) == {"average_precision"}


def test_money_decides_only_when_a_margin_is_set(good, poor):
    dear = good.with_columns(decision=pl.lit("alert"))
    assert verdict(dear, poor).promote
    decision = verdict(dear, poor, GateChoices(min_cost_gain=0.0))
    assert failed(decision) == {"cost"}
    assert decision.numbers["cost_gain_per_day"] < 0
    idle = poor.with_columns(decision=pl.lit("pass"))
    assert verdict(good, idle, GateChoices(min_cost_gain=0.0)).promote


def test_without_any_known_fraud_nothing_is_promoted(good, poor):
    none = pl.lit(0, pl.Int8)
    decision = verdict(good.with_columns(label=none), poor.with_columns(label=none))
    assert failed(decision) >= {"positives", "average_precision"}
    assert decision.numbers["ap_gain"] is None
    assert any("not computable" in reason for reason in decision.reasons)


def test_frauds_on_one_day_only_promote_nothing(good, poor):
    only = pl.when(pl.col("day") == FIRST).then("label").otherwise(0).cast(pl.Int8)
    lenient = GateChoices(min_positives=1)
    decision = verdict(good.with_columns(label=only), poor.with_columns(label=only), lenient)
    assert "average_precision" in failed(decision)
    assert any("fewer than two days" in reason for reason in decision.reasons)


def test_the_first_model_is_held_against_the_rule_set(good):
    rules = good.with_columns(
        score=pl.when(pl.col("amount") > 200).then(0.9).otherwise(0.01),
        decision=pl.when(pl.col("amount") > 200).then(pl.lit("alert")).otherwise(pl.lit("pass")),
    )
    decision = verdict(good, rules, champion="the rule set")
    assert decision.promote
    assert any("over the rule set" in reason for reason in decision.reasons)


def test_a_candidate_that_expects_four_times_the_frauds_is_refused_although_few_are_expected():
    rare = bank(level=-7.0, seed=8)
    candidate = scored(rare, 0.0, 2, shift=np.log(6.0))
    decision = verdict(candidate, scored(rare, 3.0, 3))
    assert "calibration_ratio" in failed(decision)
    assert decision.numbers["expected_calibration_error"] < 0.05
    assert "times as many frauds expected as observed among all rows, outside 0.5 to 2" in " ".join(
        decision.reasons
    )


def stretched(rows, factor):
    """The true probabilities with `factor` times the log-odds, right over all rows."""
    logit, truth = rows["logit"].to_numpy(), rows["label"].mean()
    low, high = -40.0, 40.0
    for _ in range(60):
        shift = (low + high) / 2
        score = 1 / (1 + np.exp(-(factor * logit + shift)))
        low, high = (low, shift) if score.mean() > truth else (shift, high)
    decision = np.where(score > 0.05, "alert", "pass")
    return rows.with_columns(score=pl.Series(score), decision=pl.Series(decision))


@pytest.mark.parametrize("factor", [0.1, 4.0])
def test_a_candidate_that_is_right_on_average_only_is_refused(factor):
    rare = bank(level=-7.0, per_day=2_000, seed=8)
    poor = scored(rare, 3.0, 3)
    decision = verdict(stretched(rare, factor), poor)
    assert decision.numbers["expected_calibration_error"] < 0.01
    assert decision.numbers["calibration_ratio"] == pytest.approx(1.0, abs=0.01)
    assert failed(decision) == {"calibration_ratio_at_budget"}
    assert not 0.25 <= decision.numbers["calibration_ratio_at_budget"] <= 2.0
    assert "among the 20 most suspicious rows a day, outside 0.25 to 2" in decision.reasons[0]
    assert verdict(stretched(rare, 1.0), poor).promote


def test_a_better_candidate_that_is_modest_about_what_is_reviewed_is_promoted():
    rare = bank(level=-7.0, per_day=2_000, seed=8)
    decision = verdict(stretched(rare, 0.5), scored(rare, 3.0, 3))
    assert 0.25 < decision.numbers["calibration_ratio_at_budget"] < 0.5
    assert decision.promote


def test_a_better_ranking_that_alerts_nothing_is_refused_by_the_money_it_loses(good, poor):
    silent = good.with_columns(decision=pl.lit("pass"))
    alerting = poor.with_columns(
        decision=pl.when(pl.col("label") == 1).then(pl.lit("alert")).otherwise(pl.lit("pass"))
    )
    decision = verdict(silent, alerting)
    assert failed(decision) == {"cost"}
    assert "a loss is shown" in decision.reasons[0]


def test_without_a_fraud_among_the_most_suspicious_rows_nothing_is_promoted(good, poor):
    backwards = good.with_columns(score=pl.lit(1.0) - pl.col("score"))
    decision = verdict(backwards, poor, LENIENT)
    assert "calibration_ratio_at_budget" in failed(decision)
    assert "not computable: no fraud among the 20 most suspicious" in " ".join(decision.reasons)


def test_a_candidate_that_shines_on_a_single_day_is_refused(rows):
    champion = scored(rows, 1.5, 3)
    best = scored(rows, 0.0, 2)
    first = pl.col("day") == FIRST
    lucky = champion.with_columns(
        pl.when(first).then(best[name]).otherwise(pl.col(name)).alias(name)
        for name in ("score", "decision")
    )
    decision = verdict(lucky, champion, LENIENT)
    assert decision.numbers["ap_gain"] > 0
    assert failed(decision) == {"average_precision"}


def test_chance_promotes_few_of_many_equally_good_challengers():
    promoted = 0
    for seed in range(120):
        rows = bank(days=5, per_day=250, level=-4.0, seed=seed)
        twins = scored(rows, 1.0, 1_000 + seed), scored(rows, 1.0, 5_000 + seed)
        promoted += verdict(*twins, LENIENT.model_copy(update={"bootstrap_samples": 100})).promote
    # One in forty by design; nine or more of 120 have one chance in 300.
    assert promoted <= 8


def test_clearly_better_challengers_are_promoted_on_most_weeks():
    promoted = 0
    for seed in range(20):
        rows = bank(days=6, per_day=600, seed=seed)
        promoted += verdict(scored(rows, 0.3, 100 + seed), scored(rows, 2.5, 200 + seed)).promote
    assert promoted >= 18
