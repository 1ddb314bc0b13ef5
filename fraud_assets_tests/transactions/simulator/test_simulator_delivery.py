"""What a delivered day looks like: schema, order, ids, balances, labels, noise, spoiled rows."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta

import polars as pl
import pytest

from fraud_assets.transactions.profile import load_profile
from fraud_assets.transactions.simulator import Simulator, SimulatorConfig
from fraud_assets.transactions.simulator.config import FALSE_REPORT

Day = Callable[[int], pl.DataFrame]
FIRST_DAY = date(2026, 1, 1)
CHANGED_DAY = 30

SCHEMA = {
    "step": pl.Int64,
    "timestamp": pl.Datetime("us", "UTC"),
    "type": pl.String,
    "amount": pl.Float64,
    "nameOrig": pl.String,
    "oldbalanceOrg": pl.Float64,
    "newbalanceOrig": pl.Float64,
    "nameDest": pl.String,
    "oldbalanceDest": pl.Float64,
    "newbalanceDest": pl.Float64,
    "isFraud": pl.Int8,
    "isFlaggedFraud": pl.Int8,
    "transactionId": pl.String,
    "labelKnownAt": pl.Datetime("us", "UTC"),
    "scenario": pl.String,
}


def test_the_schema_is_paysims_with_ids_times_and_delayed_labels(default_day: Day) -> None:
    assert dict(default_day(5).schema) == SCHEMA


def test_the_shipped_profile_maps_onto_existing_columns(default_day: Day) -> None:
    columns = load_profile("simulator").columns
    assert columns.label is not None
    assert columns.kind is not None
    mapped = {
        columns.transaction_id, columns.time.column, columns.amount.column, columns.payer,
        columns.payee, columns.kind.column, columns.label.column, columns.label.known_at,
        columns.label.scenario,
    }  # fmt: skip
    assert mapped <= set(default_day(5).columns)
    assert columns.label.delay_days == SimulatorConfig().legitimate_delay_days


@pytest.mark.parametrize("index", [0, 5, CHANGED_DAY])
def test_rows_are_sorted_inside_the_day_and_steps_count_its_hours(
    clean_day: Day, index: int
) -> None:
    frame = clean_day(index)
    assert frame["timestamp"].is_sorted()
    assert frame["timestamp"].dt.date().unique().to_list() == [FIRST_DAY + timedelta(days=index)]
    hours = frame["timestamp"].dt.hour().cast(pl.Int64)
    assert (frame["step"] == index * 24 + hours + 1).all()


def test_the_volume_is_what_was_asked_for(default_day: Day) -> None:
    assert abs(default_day(5).height / 20_000 - 1) < 0.1


def test_nights_are_quieter_than_days(clean_day: Day) -> None:
    hours = clean_day(5)["timestamp"].dt.hour()
    assert (hours.is_between(1, 4)).mean() < 0.5 * (hours.is_between(10, 13)).mean()


def test_ids_are_unique_except_for_rows_that_were_sent_again(default_day: Day) -> None:
    frame = pl.concat([default_day(4), default_day(5)])
    again = frame.filter(~pl.col("transactionId").is_first_distinct())
    share = again.height / frame.height
    assert 0 < share < 0.002
    content = [c for c in frame.columns if c not in ("timestamp", "step", "labelKnownAt")]
    pairs = again.join(frame.unique("transactionId", keep="first"), on="transactionId")
    delays = (pairs["timestamp"] - pairs["timestamp_right"]).dt.total_seconds()
    assert delays.is_between(0, 1800).all()
    for column in content[1:]:
        if column != "transactionId":
            assert pairs[column].eq_missing(pairs[f"{column}_right"]).all(), column


def test_without_re_sending_all_ids_are_unique(clean_day: Day) -> None:
    assert pl.concat([clean_day(i)["transactionId"] for i in (4, 5, 30)]).is_unique().all()


@pytest.mark.parametrize("index", [5, CHANGED_DAY])
def test_balances_move_by_the_amount(clean_day: Day, index: int) -> None:
    frame = clean_day(index)
    sign = pl.when(pl.col("type") == "CASH_IN").then(1.0).otherwise(-1.0)
    payer_move = pl.col("newbalanceOrig") - pl.col("oldbalanceOrg")
    payee_move = pl.col("newbalanceDest") - pl.col("oldbalanceDest")
    merchant = pl.col("nameDest").str.starts_with("M")
    checked = frame.select(
        payer=(payer_move - sign * pl.col("amount")).abs() < 0.005,
        payee=merchant | ((payee_move + sign * pl.col("amount")).abs() < 0.005),
        merchants_show_zero=~merchant
        | ((pl.col("oldbalanceDest") == 0) & (pl.col("newbalanceDest") == 0)),
        not_negative=pl.min_horizontal(
            "oldbalanceOrg", "newbalanceOrig", "oldbalanceDest", "newbalanceDest"
        )
        >= 0,
    )
    for column in checked.columns:
        assert checked[column].all(), column


@pytest.mark.parametrize("index", [5, CHANGED_DAY])
def test_payments_go_to_merchants_and_nothing_else_does(clean_day: Day, index: int) -> None:
    frame = clean_day(index)
    to_merchant = frame["nameDest"].str.starts_with("M")
    assert ((frame["type"] == "PAYMENT") == to_merchant).all()


def test_frauds_become_known_within_their_delay_and_the_rest_exactly_at_the_end(
    clean_day: Day,
) -> None:
    config = SimulatorConfig()
    delays = (
        clean_day(CHANGED_DAY)
        .with_columns(
            days=(pl.col("labelKnownAt") - pl.col("timestamp")).dt.total_seconds() / 86400
        )
        .group_by("isFraud")
        .agg(pl.col("days").min().alias("least"), pl.col("days").max().alias("most"))
        .sort("isFraud")
    )
    legitimate, fraud = delays.rows(named=True)
    assert legitimate["least"] == legitimate["most"] == config.legitimate_delay_days
    assert fraud["least"] >= config.fraud_delay_min_days - 1e-4
    assert fraud["most"] <= config.fraud_delay_max_days
    assert fraud["most"] - fraud["least"] > 1.0


def test_no_label_is_known_before_its_event_even_for_spoiled_and_re_sent_rows() -> None:
    config = SimulatorConfig(
        transactions_per_day=2_000,
        fraud_delay_min_days=0.0,
        fraud_delay_max_days=0.0,
        duplicates_share=0.2,
        dirty_share=0.2,
    )
    frame = Simulator(config).day(CHANGED_DAY, FIRST_DAY)
    assert frame["isFraud"].sum() > 0
    assert (frame["labelKnownAt"] >= frame["timestamp"]).all()


def test_label_noise_hides_some_frauds_and_reports_as_many_in_error() -> None:
    noisy = SimulatorConfig(label_noise_share=0.2, dirty_share=0.0, duplicates_share=0.0)
    quiet = noisy.model_copy(update={"label_noise_share": 0.0})
    frames = {
        config.label_noise_share: pl.concat(
            [Simulator(config).day(index, FIRST_DAY) for index in range(30, 36)]
        )
        for config in (noisy, quiet)
    }
    truth = frames[0.0]["isFraud"].sum()
    wrong = frames[0.2].filter(pl.col("scenario") == FALSE_REPORT).height
    hidden = truth - frames[0.2].filter(pl.col("scenario") != FALSE_REPORT).height
    assert 0.14 < wrong / truth < 0.26
    assert 0.14 < hidden / truth < 0.26


def test_the_scenario_is_named_exactly_for_what_is_labelled_fraud(default_day: Day) -> None:
    frame = default_day(CHANGED_DAY)
    assert ((frame["isFraud"] == 1) == frame["scenario"].is_not_null()).all()


def test_spoiled_rows_are_few_of_every_sort_and_never_frauds() -> None:
    config = SimulatorConfig(dirty_share=0.02, duplicates_share=0.0)
    frame = Simulator(config).day(5, FIRST_DAY)
    sorts = {
        "negative amount": pl.col("amount") < 0,
        "unknown type": pl.col("type") == "REFUND",
        "no payer": pl.col("nameOrig").is_null(),
        "no number": pl.col("amount").is_nan(),
        "another day": pl.col("timestamp").dt.date() != FIRST_DAY,
    }
    counts = {name: frame.filter(sort).height for name, sort in sorts.items()}
    assert min(counts.values()) > 0.1 * sum(counts.values()), counts
    assert 0.014 < sum(counts.values()) / frame.height < 0.026
    spoiled = frame.filter(
        pl.any_horizontal(*(sort.fill_null(value=False) for sort in sorts.values()))
    )
    assert spoiled["isFraud"].sum() == 0


def test_without_a_dirty_share_nothing_is_spoiled(clean_day: Day) -> None:
    frame = clean_day(5)
    assert frame["nameOrig"].null_count() == 0
    assert (frame["amount"] > 0).all()
    assert frame["amount"].is_finite().all()
    assert set(frame["type"]) == {"CASH_IN", "CASH_OUT", "DEBIT", "PAYMENT", "TRANSFER"}
