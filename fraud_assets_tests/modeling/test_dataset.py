"""Which rows may be learned from: labels known by then, and never the unknown as legitimate."""

from datetime import UTC, date, datetime

import numpy as np
import polars as pl
import pytest

from fraud_assets.modeling.dataset import (
    known_fraud_payers,
    known_payers_by_day,
    labelled_rows,
    thin_negatives,
    without_known_payers,
)


def moment(day: int, hour: int = 12) -> datetime:
    return datetime(2026, 1, day, hour, tzinfo=UTC)


@pytest.fixture
def features():
    return pl.DataFrame(
        {
            "transaction_id": ["c", "a", "b", "d"],
            "event_time": [moment(1), moment(1, 23), moment(2), moment(3)],
            "payer_id": ["p1", "p2", "p1", "p3"],
            "amount": [1.0, 2.0, 3.0, 4.0],
        },
        schema_overrides={"event_time": pl.Datetime("us", "UTC")},
    )


@pytest.fixture
def labels():
    rows = [
        # id, payer, event, label, known at, scenario
        ("a", "p2", moment(1, 23), 0, moment(3), None),
        ("c", "p1", moment(1), 1, moment(3, 23), "takeover"),
        ("b", "p1", moment(2), 0, moment(4, 0), None),
        ("a", "p2", moment(1, 23), 1, moment(5), "scam"),
        ("c", "p1", moment(1), 0, moment(6), None),
    ]
    columns = ["transaction_id", "payer_id", "event_time", "label", "label_known_at", "scenario"]
    frame = pl.DataFrame(rows, schema=columns, orient="row")
    return frame.with_columns(
        pl.col("label").cast(pl.Int8),
        pl.col("event_time", "label_known_at").dt.cast_time_unit("us"),
        pl.col("event_time").dt.epoch("us").alias("event_order_us"),
        pl.lit(None, pl.String).alias("payee_id"),
        pl.lit("source").alias("label_source"),
    )


def test_unknown_transactions_are_left_out_and_the_order_is_kept(features, labels):
    rows = labelled_rows(features, labels, date(2026, 1, 3))
    assert rows["transaction_id"].to_list() == ["c", "a"]
    assert rows["label"].to_list() == [1, 0]
    assert rows["scenario"].to_list() == ["takeover", None]
    assert rows["day"].to_list() == [date(2026, 1, 1)] * 2
    assert rows.schema["label"] == pl.Int8
    assert rows.schema["day"] == pl.Date


def test_a_label_of_the_next_midnight_is_not_known_yet(features, labels):
    assert "b" not in labelled_rows(features, labels, date(2026, 1, 3))["transaction_id"]
    assert "b" in labelled_rows(features, labels, date(2026, 1, 4))["transaction_id"]


def test_the_latest_known_label_counts(features, labels):
    before = labelled_rows(features, labels, date(2026, 1, 4))
    after = labelled_rows(features, labels, date(2026, 1, 6))
    assert before.filter(pl.col("transaction_id") == "a")["label"].to_list() == [0]
    assert after.filter(pl.col("transaction_id") == "a")["label"].to_list() == [1]


def test_a_payer_is_known_only_after_the_day_of_its_label(labels):
    assert known_fraud_payers(labels, date(2026, 1, 3)).to_list() == []
    assert known_fraud_payers(labels, date(2026, 1, 4)).to_list() == ["p1"]
    assert known_fraud_payers(labels, date(2026, 1, 6)).to_list() == ["p1", "p2"]


def test_a_withdrawn_fraud_no_longer_marks_its_payer(labels):
    assert known_fraud_payers(labels, date(2026, 1, 7)).to_list() == ["p2"]


def test_known_payers_are_dropped_on_their_own_day_only(features, labels):
    rows = labelled_rows(features, labels, date(2026, 1, 4))
    known = known_payers_by_day(labels, [date(2026, 1, 1), date(2026, 1, 2)])
    known[date(2026, 1, 2)] = pl.Series(["p1"])
    kept = without_known_payers(rows, known)
    assert kept["transaction_id"].to_list() == ["c", "a"]


def test_rows_without_a_payer_stay():
    frame = pl.DataFrame(
        {"day": [date(2026, 1, 1)] * 2, "payer_id": [None, "p1"]},
        schema={"day": pl.Date, "payer_id": pl.String},
    )
    kept = without_known_payers(frame, {date(2026, 1, 1): pl.Series(["p1"])})
    assert kept["payer_id"].to_list() == [None]


def test_a_day_that_was_not_looked_up_is_an_error(features, labels):
    rows = labelled_rows(features, labels, date(2026, 1, 4))
    with pytest.raises(KeyError, match="2026-01-02"):
        without_known_payers(rows, {date(2026, 1, 1): pl.Series([], dtype=pl.String)})


def test_thinning_keeps_every_fraud_and_the_weight_of_the_rest():
    label = (np.random.default_rng(1).random(10_000) < 0.02).astype(np.int8)

    rows, weight = thin_negatives(label, 2_000, seed=7)

    assert rows.size == 2_000
    assert (np.diff(rows) > 0).all()
    assert label[rows].sum() == label.sum()
    assert weight[label[rows] == 1].tolist() == [1.0] * int(label.sum())
    assert weight.sum() == pytest.approx(10_000, rel=1e-4)
    assert thin_negatives(label, 10_000, seed=7) is None
    np.testing.assert_array_equal(rows, thin_negatives(label, 2_000, seed=7)[0])


def test_thinning_never_leaves_frauds_alone():
    label = np.repeat(np.array([0, 1], dtype=np.int8), 100)

    rows, _ = thin_negatives(label, 50, seed=1)

    assert (label[rows] == 0).sum() == 100
