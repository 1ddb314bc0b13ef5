from __future__ import annotations

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fraud_assets.features.batch import compute_features
from fraud_assets.features.definitions import FeatureSet
from fraud_assets.transactions.profile import Profile, load_profile

_content = load_profile("simulator").model_dump(mode="json")
for _entity in ("payer", "payee"):
    _content["features"][_entity]["known_frauds"] = {"window_days": 7}
FEATURES = FeatureSet.from_profile(Profile.model_validate(_content))
few = settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def _days(transactions: pl.DataFrame) -> list:
    return transactions["event_time"].dt.date().unique().sort().to_list()


def _features(transactions: pl.DataFrame, labels: pl.DataFrame) -> pl.DataFrame:
    return compute_features(FEATURES, transactions, labels, _days(transactions), threads=1)


@few
@given(data=st.data())
def test_history_truncated_right_after_a_transaction_leaves_its_features_alone(
    data, build, histories
):
    transactions, labels = build(data.draw(histories))
    whole = _features(transactions, labels)
    last = data.draw(st.integers(0, transactions.height - 1))
    truncated = _features(transactions.head(last + 1), labels)
    assert truncated.equals(whole.head(last + 1))


@few
@given(data=st.data())
def test_whatever_happens_later_leaves_earlier_features_alone(data, build, histories):
    transactions, labels = build(data.draw(histories))
    cut = data.draw(st.integers(0, transactions.height - 1))
    later = pl.int_range(pl.len()) > cut
    altered = transactions.with_columns(
        pl.when(later).then(pl.col("amount") * 3 + 1).otherwise("amount").alias("amount"),
        pl.when(later).then(pl.col("payer_id").reverse()).otherwise("payer_id").alias("payer_id"),
        pl.when(later).then(pl.lit("X")).otherwise("payee_id").alias("payee_id"),
    )
    before = _features(transactions, labels).head(cut + 1)
    assert _features(altered, labels).head(cut + 1).equals(before)


@few
@given(data=st.data())
def test_a_label_known_after_a_transaction_never_changes_its_features(data, build, histories):
    transactions, labels = build(data.draw(histories))
    at = data.draw(st.integers(0, transactions.height - 1))
    moment = pl.from_epoch(transactions["event_order_us"], "us").dt.replace_time_zone("UTC")[at]
    unknown = pl.col("label_known_at") > moment
    turned = labels.with_columns(pl.when(unknown).then(1 - pl.col("label")).otherwise("label"))
    known_only = labels.filter(~unknown)
    whole = _features(transactions, labels)
    assert _features(transactions, turned).head(at + 1).equals(whole.head(at + 1))
    assert _features(transactions, known_only).head(at + 1).equals(whole.head(at + 1))


@pytest.mark.parametrize(("hours_later", "risk"), [(-1, 0.0), (0, 1.0), (1, 1.0)])
def test_a_label_counts_from_the_moment_it_is_usable(build, new_event, hours_later, risk):
    fraud = (0, "A", "X", 10.0, 1, 24)
    delay_hours = 48
    later = ((delay_hours + hours_later) * 3600, "B", "X", 5.0, None, 0)
    transactions, labels = build([new_event(*fraud), new_event(*later)])
    assert _features(transactions, labels)["payee_risk_7d"][1] == risk


def test_a_label_that_comes_later_than_the_delay_counts_only_from_then(build, new_event):
    history = [
        new_event(0, "A", "X", 10.0, 1, 72),
        new_event(60 * 3600, "B", "X", 5.0),
        new_event(12 * 3600, "B", "X", 5.0),
    ]
    risk = _features(*build(history))["payee_risk_7d"]
    assert risk.to_list() == [0.0, 0.0, 1.0]
