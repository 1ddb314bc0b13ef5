"""Days of the simulator, through the real validation and labels, replayed as they would arrive."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import polars as pl
import pytest

from fraud_assets.features.online.state import OnlineFeatures
from fraud_assets.features.online.warm import warm_state
from fraud_assets.lake import LABELS, VALIDATED, Lake
from fraud_assets.transactions.labels import labels_known_on
from fraud_assets.transactions.profile import load_profile
from fraud_assets.transactions.simulator import Simulator, SimulatorConfig
from fraud_assets.transactions.validation import validate_day

FIRST = date(2026, 3, 2)
DAYS = 14
ASKED = 3
PROFILE = load_profile("simulator")


@pytest.fixture(scope="module")
def days():
    """Validated days with re-sent and broken rows set aside, and the labels known on each."""
    simulator = Simulator(SimulatorConfig(transactions_per_day=400, duplicates_share=0.05))
    validated = {}
    seen = pl.Series("transaction_id", [], dtype=pl.String)
    for index in range(DAYS):
        day = FIRST + timedelta(days=index)
        raw = simulator.day(index, day).with_row_index("source_row")
        outcome = validate_day(raw, PROFILE, day, seen)
        assert outcome.duplicates.height + outcome.quarantined.height > 0
        validated[day] = outcome.validated
        seen = pl.concat([seen, outcome.validated["transaction_id"]])
    everything = pl.concat(validated.values())
    labels = {day: labels_known_on(everything, day, PROFILE) for day in validated}
    return validated, labels


@pytest.fixture(scope="module")
def frames(days):
    validated, labels = days
    return pl.concat(validated.values()), pl.concat(labels.values())


@pytest.mark.parametrize("profile", ["simulator", "everything"])
def test_days_of_the_simulator_replayed_have_the_features_of_the_batch(profile, frames, parity):
    transactions, labels = frames
    features = parity.feature_set_of(profile)
    state = OnlineFeatures(features)
    found = parity.replay(state, transactions, labels)
    expected = parity.batch(features, transactions, labels)
    assert labels["label"].sum() > 5
    assert parity.unequal_values(features, found, expected) == {}
    assert [o.event_order_us for o in found] == transactions["event_order_us"].to_list()


def test_keys_are_those_of_the_daily_validation_also_where_times_are_equal(parity):
    times = ["00:00:00", "10:00:00", "10:00:00", "10:00:00", "10:00:00.000001", "23:59:59"]
    seen: list[int] = []
    expected: list[int] = []
    state = OnlineFeatures(parity.feature_set_of("simulator"))
    simulator = Simulator(SimulatorConfig(transactions_per_day=100))
    for index in range(2):
        day = FIRST + timedelta(days=index)
        raw = simulator.day(index, day).head(6)
        moments = [f"{day}T{time}" for time in times]
        raw = raw.with_columns(
            pl.Series("timestamp", moments).str.to_datetime(time_unit="us", time_zone="UTC"),
            labelKnownAt=pl.lit(f"{day + timedelta(days=1)}T00:00:00Z"),
            amount=pl.lit(1.0),
            nameOrig=pl.lit("C1"),
            type=pl.lit("PAYMENT"),
            transactionId=pl.format("T{}-{}", pl.lit(index), pl.int_range(pl.len())),
        ).with_row_index("source_row")
        validated = validate_day(raw, PROFILE, day).validated
        assert validated.height == 6
        expected += validated["event_order_us"].to_list()
        seen += [state.observe(t).event_order_us for t in parity.transactions_of(validated)]
    assert seen == expected
    assert len(set(seen)) == 12


def test_late_and_repeated_rows_among_them_have_the_features_of_what_had_arrived(frames, parity):
    transactions, labels = frames
    features = parity.feature_set_of("everything")
    random = np.random.default_rng(3)
    # a few of the last days' rows come hours later, and two come twice
    last = transactions.with_row_index("row").filter(
        pl.col("event_time").dt.date() > FIRST + timedelta(days=DAYS - ASKED - 1)
    )
    late = random.choice(last["row"].to_numpy(), 12, replace=False)
    arrival = np.arange(transactions.height, dtype=float)
    arrival[late] += random.integers(20, 300, 12) + 0.5
    arrived = transactions[np.argsort(arrival, kind="stable")]
    arrived = pl.concat([arrived, arrived.tail(2)])  # sent again, which the service would catch
    first = arrived.height - last.height - 2
    state = OnlineFeatures(features)
    state.load_transactions(arrived.head(first))
    state.load_labels(labels)
    found = [state.observe(t) for t in parity.transactions_of(arrived.slice(first))]
    assert sum(o.is_late for o in found) >= 6
    keys = [*arrived["event_order_us"].head(first), *(o.event_order_us for o in found)]
    keyed = arrived.with_columns(event_order_us=pl.Series(keys), row=pl.int_range(pl.len()))
    ends = [i for i, o in enumerate(found) if o.is_late and i]
    start = 0
    for end in [*ends, len(found)]:
        known = keyed.head(first + end).sort("event_order_us")
        whole = parity.batch(features, known, labels)
        expected = whole.with_columns(known["row"]).filter(pl.col("row") >= first + start)
        assert parity.unequal_values(features, found[start:end], expected.sort("row")) == {}
        start = end


@pytest.mark.parametrize("asked", [1, ASKED])
def test_a_state_warmed_from_the_lake_answers_as_one_that_saw_everything(
    asked, days, frames, parity, tmp_path
):
    validated, labels = days
    lake = Lake(str(tmp_path))
    for day, rows in validated.items():
        lake.write_day(VALIDATED, day, rows)
        lake.write_day(LABELS, day, labels[day])
    features = parity.feature_set_of("simulator")
    last = FIRST + timedelta(days=DAYS - asked - 1)
    warm = warm_state(lake, features, late_days=0.5, up_to=last)
    assert warm.last_day == last
    assert warm.transactions < sum(rows.height for day, rows in validated.items() if day <= last)
    assert warm.labels > 0
    later = pl.concat(validated[last + timedelta(days=i + 1)] for i in range(asked))
    told = pl.concat(labels[last + timedelta(days=i + 1)] for i in range(asked))
    found = parity.replay(warm.state, later, told)
    expected = parity.batch(features, *frames).tail(later.height)
    assert parity.unequal_values(features, found, expected) == {}


def test_an_empty_lake_gives_an_empty_state(parity, tmp_path):
    warm = warm_state(Lake(str(tmp_path)), parity.feature_set_of("simulator"), late_days=2.0)
    assert (warm.last_day, warm.transactions, warm.labels) == (None, 0, 0)
    assert warm.state.newest_us is None
