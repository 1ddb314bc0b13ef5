"""Realised performance on hand-made days: what is judged, what is left out, what has no value."""

from datetime import UTC, date, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from sklearn.metrics import average_precision_score

from fraud_assets.monitoring.performance import (
    JUDGED_SCHEMA,
    judged_day,
    mature_day,
    realised_performance,
)
from fraud_assets.transactions.labels import LABELS_SCHEMA
from fraud_assets.transactions.profile import DecisionChoices

DAY = date(2026, 1, 10)
AS_OF = date(2026, 1, 12)
NOON = datetime(2026, 1, 10, 12, tzinfo=UTC)
CHOICES = DecisionChoices(alert_budget_per_day=2, review_cost=5.0)

SCORES = [0.9, 0.8, 0.7, 0.4, 0.1]
LABELS = [1, 0, 1, 0, 1]


def predictions(scores=SCORES, *, versions=None, payers=None, time=NOON):
    n = len(scores)
    return pl.DataFrame(
        {
            "transaction_id": [f"t{i}" for i in range(n)],
            "event_time": [time] * n,
            "payer_id": payers or [f"c{i}" for i in range(n)],
            "amount": [100.0] * n,
            "score": scores,
            "decision": ["alert" if s >= 0.75 else "pass" for s in scores],
            "model_version": versions or ["4"] * n,
        },
        schema_overrides={
            "event_time": pl.Datetime("us", "UTC"), "score": pl.Float64, "payer_id": pl.String,
            "transaction_id": pl.String, "decision": pl.String, "model_version": pl.String,
            "amount": pl.Float64,
        },
    )  # fmt: skip


def labels(values=LABELS, *, known=NOON + timedelta(days=2), ids=None, payers=None, time=NOON):
    n = len(values)
    return pl.DataFrame(
        {
            "transaction_id": ids or [f"t{i}" for i in range(n)],
            "event_time": [time] * n,
            "event_order_us": list(range(n)),
            "payer_id": payers or [f"c{i}" for i in range(n)],
            "payee_id": [None] * n,
            "amount": [10.0] * n,
            "label": values,
            "label_known_at": [known] * n,
            "label_source": ["source"] * n,
            "scenario": [None] * n,
        },
        schema=LABELS_SCHEMA,
    )


def realised(predicted=None, known=None, choices=CHOICES):
    return realised_performance(
        predictions() if predicted is None else predicted,
        labels() if known is None else known,
        AS_OF,
        2,
        choices,
    )


def test_the_day_that_matures_lies_the_delay_before():
    assert mature_day(AS_OF, 2) == DAY
    assert mature_day(AS_OF, 0) == AS_OF


def test_a_fully_labelled_day_is_judged_by_every_metric():
    found = realised()
    one = found.overall
    assert (found.day, found.as_of, found.alert_budget) == (DAY, AS_OF, 2)
    assert (one.rows, one.labelled, one.judged, one.frauds, one.alerts) == (5, 5, 5, 3, 2)
    assert one.coverage == 1.0
    assert one.average_precision == pytest.approx(average_precision_score(LABELS, SCORES))
    assert (one.card_precision, one.card_precision_achievable) == (0.5, 1.0)
    assert one.recall_at_budget == pytest.approx(1 / 3)
    assert (one.precision, one.recall) == (0.5, pytest.approx(1 / 3))
    assert one.brier == pytest.approx(np.mean((np.array(SCORES) - LABELS) ** 2))
    assert one.savings == pytest.approx(1 - (2 * 5 + 200) / 300)
    assert one.not_computable == {}
    assert one.model_version == "4"
    assert found.by_version == ()


def test_rows_without_a_label_are_unknown_and_not_legitimate():
    found = realised(known=labels().filter(pl.col("transaction_id") != "t1")).overall
    assert (found.rows, found.labelled, found.alerts) == (5, 4, 1)
    assert found.coverage == 0.8
    assert found.precision == 1.0


def test_labels_that_become_known_later_do_not_count():
    late = labels(known=datetime(2026, 1, 13, tzinfo=UTC))
    found = realised(known=late).overall
    assert found.labelled == 0
    assert found.average_precision is None
    assert found.not_computable["savings"] == "none of 5 predictions has a label"
    just = labels(known=datetime(2026, 1, 13, tzinfo=UTC) - timedelta(microseconds=1))
    assert realised(known=just).overall.labelled == 5


def test_a_corrected_label_replaces_the_first():
    corrected = labels([0], known=NOON + timedelta(days=2, hours=1))
    assert realised(known=pl.concat([labels(), corrected])).overall.frauds == 2


def test_predictions_of_other_days_are_ignored():
    other = predictions(time=NOON + timedelta(days=1)).with_columns(
        pl.col("transaction_id") + "-later"
    )
    assert realised(pl.concat([predictions(), other])) == realised()


def test_payers_known_before_the_day_are_left_out():
    before = NOON - timedelta(days=3)
    earlier = labels([1], ids=["old"], payers=["c0"], time=before, known=before)
    found = realised(known=pl.concat([labels(), earlier])).overall
    assert (found.labelled, found.judged, found.frauds) == (5, 4, 2)
    assert found.card_precision == 0.5
    found_that_day = labels([1], ids=["old"], payers=["c0"], time=before, known=NOON)
    assert realised(known=pl.concat([labels(), found_that_day])).overall.judged == 5


def test_a_day_without_frauds_has_no_value_where_none_can_be():
    one = realised(known=labels([0] * 5)).overall
    for name in ("average_precision", "roc_auc", "card_precision", "recall", "savings",
                 "recall_at_budget", "calibration_ratio"):  # fmt: skip
        assert getattr(one, name) is None
        assert one.not_computable[name] == "no frauds among 5 judged rows"
    assert one.precision == 0.0
    assert one.brier is not None


def test_each_missing_value_has_the_reason_that_fits():
    quiet = realised(predictions([0.5, 0.2]), labels([1, 0])).overall
    assert quiet.not_computable == {"precision": "no alerts among 2 judged rows"}
    only_fraud = realised(predictions([0.9]), labels([1])).overall
    assert only_fraud.not_computable == {"roc_auc": "no legitimate rows among 1 judged rows"}
    free = realised(predictions().with_columns(amount=pl.lit(0.0))).overall
    assert free.not_computable == {"savings": "nothing would be lost to the 3 frauds: no amount"}
    nobody = predictions().with_columns(payer_id=pl.lit(None, pl.String))
    assert realised(nobody).overall.not_computable == dict.fromkeys(
        ("card_precision", "card_precision_achievable"), "none of the 3 frauds has a payer"
    )
    nothing = realised(predictions([]), labels([])).overall
    assert nothing.coverage is None
    assert set(nothing.not_computable.values()) == {"no predictions"}
    before = NOON - timedelta(days=3)
    all_known = labels([1] * 5, ids=[f"o{i}" for i in range(5)], time=before, known=before)
    gone = realised(known=pl.concat([labels(), all_known])).overall
    assert gone.judged == 0
    assert gone.not_computable["brier"] == (
        "all 5 labelled rows are of payers known to be compromised"
    )


def test_several_versions_are_judged_apart_but_for_the_budget_they_shared():
    found = realised(predictions(versions=["4", "4", "5", "5", "5"]))
    assert found.overall.model_version is None
    assert found.overall.average_precision == realised().overall.average_precision
    assert [one.model_version for one in found.by_version] == ["4", "5"]
    assert [one.rows for one in found.by_version] == [2, 3]
    assert found.by_version[0].precision == 0.5
    assert found.by_version[1].card_precision is None
    assert found.by_version[1].not_computable["card_precision"] == (
        "the alert budget was shared by 2 model versions"
    )


def test_a_transaction_predicted_twice_is_refused():
    with pytest.raises(ValueError, match="2026-01-10: 5 transactions were predicted twice"):
        realised(pl.concat([predictions(), predictions()]))


def test_an_unknown_decision_is_refused():
    with pytest.raises(ValueError, match="5 decisions are neither alert nor pass"):
        realised(predictions().with_columns(decision=pl.lit("block")))


def judged(predicted=None, known=None):
    return judged_day(
        predictions() if predicted is None else predicted,
        labels() if known is None else known,
        AS_OF,
        2,
    )


def test_the_judged_rows_are_one_per_transaction_as_it_was_predicted_then():
    rows = judged(predictions(versions=["4", "4", "5", "5", "5"]))
    assert rows.schema == JUDGED_SCHEMA
    assert rows.rows()[0] == ("t0", DAY, "c0", 100.0, 1, "4", 0.9, True, True)
    assert rows["label"].to_list() == LABELS
    assert rows["score"].to_list() == SCORES
    assert rows["alert"].to_list() == [True, True, False, False, False]
    assert rows["model_version"].to_list() == ["4", "4", "5", "5", "5"]
    assert rows["in_force"].all()


def test_the_judged_rows_are_those_that_the_metrics_are_over():
    before = NOON - timedelta(days=3)
    earlier = labels([1], ids=["old"], payers=["c0"], time=before, known=before)
    late = labels([1, 0], known=NOON + timedelta(days=9)).tail(1)
    known = pl.concat([labels().filter(pl.col("transaction_id") != "t1"), earlier, late])
    other = predictions(time=NOON - timedelta(days=1)).with_columns(
        pl.col("transaction_id") + "-earlier"
    )
    predicted = pl.concat([other, predictions()])
    rows, found = judged(predicted, known), realised(predicted, known).overall
    assert rows["transaction_id"].to_list() == ["t2", "t3", "t4"]
    assert (found.judged, found.frauds, found.alerts) == (3, rows["label"].sum(), 0)
    assert rows["alert"].sum() == 0
    assert found.average_precision == pytest.approx(
        average_precision_score(rows["label"].to_numpy(), rows["score"].to_numpy())
    )


def test_a_day_with_nothing_to_judge_has_no_judged_rows_and_all_columns():
    nothing = judged(predictions([]), labels([]))
    assert nothing.is_empty()
    assert nothing.schema == JUDGED_SCHEMA


def test_judged_rows_are_refused_as_the_metrics_are():
    with pytest.raises(ValueError, match="5 transactions were predicted twice"):
        judged(pl.concat([predictions(), predictions()]))
    with pytest.raises(ValueError, match="5 decisions are neither alert nor pass"):
        judged(predictions().with_columns(decision=pl.lit("block")))
