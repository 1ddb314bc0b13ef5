from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fraud_assets.features.batch import FeatureInputError, compute_features
from fraud_assets.features.definitions import FeatureSet
from fraud_assets.transactions.profile import Profile, load_profile

_content = load_profile("simulator").model_dump(mode="json")
for _entity in ("payer", "payee"):
    _content["features"][_entity]["known_frauds"] = {"window_days": 7}
FEATURES = FeatureSet.from_profile(Profile.model_validate(_content))


def _all_days(transactions: pl.DataFrame) -> list[date]:
    return transactions["event_time"].dt.date().unique().sort().to_list()


def _with_lookback(frame: pl.DataFrame, column: str, day: date, days: int) -> pl.DataFrame:
    on = pl.col(column).dt.date()
    return frame.filter(on.is_between(day - timedelta(days=days), day))


@settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_days_computed_alone_with_their_lookback_equal_one_pass_to_the_bit(data, build, histories):
    transactions, labels = build(data.draw(histories))
    days = _all_days(transactions)
    whole = compute_features(FEATURES, transactions, labels, days, threads=1)
    alone = [
        compute_features(
            FEATURES,
            _with_lookback(transactions, "event_time", day, FEATURES.lookback_days),
            _with_lookback(labels, "label_known_at", day, FEATURES.label_lookback_days),
            [day],
            threads=1,
        )
        for day in days
    ]
    assert pl.concat(alone).equals(whole)


@pytest.fixture(scope="module")
def busy(build, new_event):
    random = np.random.default_rng(5)
    gaps = random.integers(0, 900, 3_000)
    return build(
        [
            new_event(
                int(gap),
                f"P{random.integers(60)}",
                f"M{int(20 * random.random() ** 2)}",
                float(np.round(random.lognormal(5, 3), 2)),
                int(random.random() < 0.1),
                int(random.integers(0, 100)),
            )
            for gap in gaps
        ]
    )


@pytest.mark.parametrize("chunk_rows", [1, 300, 1_000])
@pytest.mark.parametrize("threads", [1, 2])
def test_no_choice_of_chunks_or_threads_alters_a_bit(busy, chunk_rows, threads):
    transactions, labels = busy
    days = _all_days(transactions)
    assert len(days) > 10
    whole = compute_features(FEATURES, transactions, labels, days, threads=1, chunk_rows=10**9)
    chunked = compute_features(
        FEATURES, transactions, labels, days, threads=threads, chunk_rows=chunk_rows
    )
    assert chunked.equals(whole)


def test_days_need_not_be_consecutive_or_in_order(busy):
    transactions, labels = busy
    days = _all_days(transactions)
    whole = compute_features(FEATURES, transactions, labels, days)
    some = [days[9], days[2], days[3]]
    expected = whole.filter(pl.col("event_time").dt.date().is_in(some))
    assert compute_features(FEATURES, transactions, labels, some).equals(expected)


def test_a_day_without_transactions_gives_an_empty_frame_of_the_same_schema(busy):
    transactions, labels = busy
    day = _all_days(transactions)[0]
    nothing = compute_features(FEATURES, transactions, labels, [day - timedelta(days=9)])
    assert nothing.height == 0
    assert nothing.schema == compute_features(FEATURES, transactions, labels, [day]).schema
    assert compute_features(FEATURES, transactions.clear(), labels.clear(), [day]).equals(nothing)


def test_the_output_has_the_columns_of_the_contract(busy):
    transactions, labels = busy
    found = compute_features(FEATURES, transactions, labels, _all_days(transactions)[:1])
    identity = ["transaction_id", "event_time", "event_order_us", "payer_id", "amount"]
    assert found.columns == identity + [n for n in FEATURES.names if n != "amount"]
    assert found.schema["amount"] == pl.Float64
    assert found.schema["kind"] == pl.String
    assert {found.schema[n] for n in FEATURES.numeric_names if n != "amount"} == {pl.Float32}


def test_a_first_transaction_has_counts_of_one_and_no_recency(build, new_event):
    transactions, labels = build([new_event(0, "A", "X", 12.5)])
    row = compute_features(FEATURES, transactions, labels, _all_days(transactions)).to_dicts()[0]
    assert (row["payer_count_7d"], row["payer_mean_amount_7d"]) == (1.0, 12.5)
    assert (row["payer_amount_ratio"], row["is_new_payee"], row["payee_risk_7d"]) == (1.0, 1.0, 0.0)
    assert row["payer_seconds_since_last"] is None


def test_a_missing_entity_gives_missing_features_not_zeros(build, new_event):
    transactions, labels = build([new_event(0, None, "X", 1.0), new_event(5, None, None, 2.0)])
    found = compute_features(FEATURES, transactions, labels, _all_days(transactions))
    assert found["payer_count_7d"].to_list() == [None, None]
    assert found["payee_risk_7d"].to_list() == [0.0, None]
    assert found["is_new_payee"].to_list() == [None, None]


def test_transactions_out_of_order_are_refused(busy):
    transactions, labels = busy
    with pytest.raises(FeatureInputError, match="not strictly in order"):
        compute_features(FEATURES, transactions.reverse(), labels, _all_days(transactions))


def test_a_missing_column_is_named(busy):
    transactions, labels = busy
    with pytest.raises(FeatureInputError, match="lack kind"):
        compute_features(FEATURES, transactions.drop("kind"), labels, _all_days(transactions))
