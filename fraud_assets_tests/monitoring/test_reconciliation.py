"""Estimate against truth: close on calibrated scores, told apart under concept drift."""

from datetime import date, timedelta

import numpy as np
import pytest

from fraud_assets.modeling import metrics
from fraud_assets.monitoring.estimation import estimate_performance
from fraud_assets.monitoring.reconciliation import (
    Reconciliation,
    ReconciliationSummary,
    reconcile,
    reconciliation_summary,
)
from fraud_assets.monitoring.records import Alternative, DayPerformance

RATIOS = (
    "average_precision", "estimated_average_precision", "alert_precision",
    "estimated_alert_precision", "estimate_error", "frauds_surprise",
)  # fmt: skip


def calibrated(rng, rows=20_000):
    score = rng.beta(0.25, 6.0, rows)
    return score, score >= 0.2, (rng.random(rows) < score).astype(np.int8)


def record(estimated=None, realised=None, surprise=None, number=0):
    """A day's record with these values, and nothing in every other one."""
    nothing = {int: 0, str: "", list[Alternative]: []}
    empty = {
        name: nothing.get(field.annotation) for name, field in DayPerformance.model_fields.items()
    }
    values = {
        "day": date(2026, 1, 1) + timedelta(days=number),
        "matured_estimated_average_precision": estimated,
        "average_precision": realised,
        "frauds_surprise": surprise,
    }
    return DayPerformance.model_validate(empty | values)


def test_a_small_day_by_hand():
    found = reconcile(
        np.array([0.5, 0.5, 0.0, 0.0]), np.array([True, True, False, False]), np.array([1, 1, 0, 0])
    )
    # One fraud is expected. If there are two (1 in 4) each has precision 1, and if one, 1/2.
    assert found == Reconciliation(
        rows=4,
        frauds=2,
        estimated_frauds=1.0,
        average_precision=1.0,
        estimated_average_precision=pytest.approx(0.75),
        alert_precision=1.0,
        estimated_alert_precision=0.5,
        estimate_error=pytest.approx(-0.25),
        frauds_surprise=pytest.approx(1 / np.sqrt(0.5)),
        not_computable={},
    )


def test_calibrated_scores_promise_what_happens():
    score, alert, label = calibrated(np.random.default_rng(1))
    found = reconcile(score, alert, label)
    assert found.frauds == label.sum()
    assert abs(found.frauds_surprise) < 4
    assert abs(found.estimate_error) < 0.05
    assert found.alert_precision == pytest.approx(found.estimated_alert_precision, abs=0.05)
    assert found.average_precision == metrics.average_precision(label, score)


def test_concept_drift_is_told_by_the_reconciliation_and_not_by_the_estimate():
    """The same scores, but frauds come from rows that look harmless, and twice as many."""
    rng = np.random.default_rng(2)
    score, alert, label = calibrated(rng)
    before = reconcile(score, alert, label)
    drifted = np.zeros_like(label)
    drifted[rng.choice(label.size, 2 * int(label.sum()), replace=False)] = 1
    after = reconcile(score, alert, drifted)
    assert after.estimated_average_precision == before.estimated_average_precision
    assert after.estimate_error > 0.15
    assert after.frauds_surprise > 10


def test_the_labels_do_not_move_the_estimate():
    score, alert, label = calibrated(np.random.default_rng(3), rows=500)
    estimate = estimate_performance(score, alert)
    for truth in (label, 1 - label):
        found = reconcile(score, alert, truth)
        assert found.estimated_frauds == estimate.expected_frauds
        assert found.estimated_average_precision == estimate.average_precision
        assert found.estimated_alert_precision == estimate.precision


def test_without_rows_every_value_is_none_with_its_reason():
    none = np.array([])
    found = reconcile(none, none, none)
    assert (found.rows, found.frauds, found.estimated_frauds) == (0, 0, None)
    assert found.not_computable == dict.fromkeys(("estimated_frauds", *RATIOS), "no judged rows")


def test_each_missing_value_has_the_reason_that_fits():
    score, two = np.array([0.3, 0.2]), np.array([False, False])
    quiet = reconcile(score, two, np.array([0, 0]))
    assert quiet.not_computable == {
        "average_precision": "no frauds among 2 judged rows",
        "estimate_error": "no frauds among 2 judged rows",
        "alert_precision": "no alerts among 2 judged rows",
        "estimated_alert_precision": "no alerts among 2 judged rows",
    }
    assert quiet.frauds_surprise == pytest.approx(-0.5 / np.sqrt(0.3 * 0.7 + 0.2 * 0.8))
    hopeless = reconcile(np.zeros(2), ~two, np.array([1, 0]))
    assert hopeless.estimated_frauds == 0.0
    assert hopeless.not_computable == dict.fromkeys(
        ("estimated_average_precision", "estimate_error", "frauds_surprise"), "every score is 0"
    )
    certain = reconcile(np.array([1.0, 0.0]), ~two, np.array([1, 0]))
    assert certain.estimate_error == 0.0
    assert certain.not_computable == {"frauds_surprise": "every score is 0 or 1"}


@pytest.mark.parametrize(
    ("score", "alert", "label", "message"),
    [
        ([0.5, 1.2], [True, False], [1, 0], "1 of 2 scores are not probabilities"),
        ([0.5, np.nan], [True, False], [1, 0], "1 of 2 scores are not probabilities"),
        ([0.5, 0.2], [True], [1, 0], "one length"),
        ([0.5, 0.2], [True, False], [1], "one length"),
        ([0.5, 0.2], [True, False], [1, 2], "labels must be 0 or 1"),
    ],
)
def test_bad_input_is_refused(score, alert, label, message):
    with pytest.raises(ValueError, match=message):
        reconcile(np.array(score), np.array(alert), np.array(label))


def test_the_summary_by_hand():
    days = [
        record(0.6, 0.5, 1.0, number=0),
        record(0.5, 0.6, -3.0, number=1),
        record(0.8, 0.9, 3.1, number=2),
        record(0.7, None, -8.0, number=3),
        record(None, None, None, number=4),
    ]
    found = reconciliation_summary(days)
    assert (found.days, found.counted_days) == (3, 4)
    assert found.mean_error == pytest.approx(-0.1 / 3)
    assert found.mean_absolute_error == pytest.approx(0.1)
    assert found.correlation == pytest.approx(np.corrcoef([0.6, 0.5, 0.8], [0.5, 0.6, 0.9])[0, 1])
    assert found.share_within == 0.5


def test_a_summary_of_nothing_is_none():
    nothing = ReconciliationSummary(0, None, None, None, 0, None)
    assert reconciliation_summary([]) == nothing
    assert reconciliation_summary([record(), record(number=1)]) == nothing


def test_two_days_or_a_constant_have_no_correlation():
    two = [record(0.6, 0.5), record(0.7, 0.8, number=1)]
    assert reconciliation_summary(two).correlation is None
    assert reconciliation_summary(two).mean_error == pytest.approx(0.0)
    steady = [record(0.6, value, number=number) for number, value in enumerate((0.5, 0.6, 0.7))]
    assert reconciliation_summary(steady).correlation is None
    assert reconciliation_summary(steady).days == 3
