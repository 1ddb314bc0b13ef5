"""What a state keeps, what it lets go of, and what it refuses."""

from __future__ import annotations

import math
import time
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from fraud_assets.features.online.events import LabelEvent, OnlineTransaction
from fraud_assets.features.online.labels import NO_AMOUNT
from fraud_assets.features.online.snapshot import restore, save
from fraud_assets.features.online.state import OnlineFeatures

SECOND_US = 1_000_000
DAY_US = 86_400 * SECOND_US
START = 20_000 * DAY_US


def _transaction(time_us, payer="A", payee="X", amount=1.0, **more):
    return OnlineTransaction("t", time_us, amount, payer, payee, **more)


def _held(state):
    entities = (state.payers, state.payees)
    pairs = state.pairs
    return {
        "keys": sum(len(h.keys) for e in entities for h in e.histories.values()),
        "labels": sum(len(h.known) for e in entities for h in e.labels.values()),
        "entities": sum(len(e.histories) + len(e.labels) for e in entities),
        "pairs": 0 if pairs is None else len(pairs.once) + len(pairs.often),
        "pair_keys": 0 if pairs is None else sum(map(len, pairs.often.values())),
    }


@pytest.mark.parametrize("returning", [True, False])
def test_a_bounded_rate_leaves_a_bounded_state(parity, returning):
    state = OnlineFeatures(parity.feature_set_of("everything"), late_days=1.0)
    a_day = 300
    most: dict[str, int] = {}
    for i in range(40 * a_day):
        at = START + i * (DAY_US // a_day)
        payer = f"A{i % 100 if returning else i}"
        state.observe(_transaction(at, payer, f"X{i % 37}"))
        state.add_label(LabelEvent(at, i % 2, 1.0, payer, f"X{i % 37}"))
        if i % 50 == 0:
            assert state.size <= i + 1
            for name, number in _held(state).items():
                most[name] = max(most.get(name, 0), number)
    needed = 8 * a_day  # 7 days of windows and one of lateness
    assert needed <= most["keys"] / 2 <= 2 * needed
    assert most["labels"] / 2 <= 2 * needed
    assert most["pairs"] <= 2 * needed
    assert most["pair_keys"] <= 2 * needed
    assert most["entities"] <= 2 * (137 if returning else 2 * needed + 74)
    assert state.size == max(state.payers.events, state.payees.events)
    assert state.payers.events == sum(len(h.keys) for h in state.payers.histories.values())


def test_entities_that_are_never_seen_again_go(parity):
    state = OnlineFeatures(parity.feature_set_of("everything"), late_days=1.0)
    for i in range(500):
        state.observe(_transaction(START + i, f"A{i}", f"X{i}"))
        state.add_label(LabelEvent(START + i, 1, 1.0, f"A{i}", f"X{i}"))
    for i in range(3_000):
        state.observe(_transaction(START + 9 * DAY_US + i * 60 * SECOND_US, "A", "X"))
    held = _held(state)
    assert (held["entities"], held["pairs"]) == (2, 1)
    assert state.size == 3_000


def test_history_is_kept_only_where_a_feature_reads_it(parity):
    state = OnlineFeatures(parity.feature_set_of("cards"))
    for i in range(10):
        state.observe(_transaction(START + i))
        state.add_label(LabelEvent(START, 1, 1.0, "A", "X"))
    assert not state.payees.histories
    assert not state.payers.labels
    assert state.pairs is None
    assert state.size == 10


def test_a_busy_payee_costs_hardly_more_than_a_quiet_one(parity):
    features = parity.feature_set_of("everything")
    rows = pl.DataFrame({"row": range(100_000)}).select(
        transaction_id=pl.format("t{}", "row"),
        event_order_us=START + pl.col("row") * SECOND_US,
        # falling, so that each is a peak: the worst case for a maximum
        amount=(200_000 - pl.col("row")).cast(pl.Float64),
        payer_id=pl.format("A{}", pl.col("row") % 50_000),
        payee_id=pl.lit("busy"),
        kind=pl.lit("PAYMENT"),
    )
    state = OnlineFeatures(features)
    state.load_transactions(
        rows.with_columns(
            event_time=pl.from_epoch("event_order_us", "us").dt.replace_time_zone("UTC")
        )
    )

    def cpu(payee):
        at = state.newest_us
        state.observe(_transaction(at, "P", payee))
        started = time.thread_time()
        for i in range(400):
            state.observe(_transaction(at + i, "P", payee))
        return time.thread_time() - started

    quiet = min(cpu(f"quiet{i}") for i in range(5))
    busy = min(cpu("busy") for _ in range(5))
    assert busy < 2.5 * quiet
    last = state.observe(_transaction(state.newest_us, "P", "busy"))
    values = dict(zip(state.names, last.values, strict=True))
    assert values["payee_count_7d"] == 100_000 + 5 * 401 + 1
    assert values["payee_max_amount_7d"] == 200_000.0


def test_values_are_named_and_passed_through(parity):
    features = parity.feature_set_of("everything")
    state = OnlineFeatures(features)
    found = state.observe(
        _transaction(START + 3_600 * SECOND_US, None, None, 12.5, kind="TRANSFER")
    )
    values = dict(zip(state.names, found.values, strict=True))
    assert state.names == features.names
    assert (values["amount"], values["kind"], values["hour"], values["is_night"]) == (
        12.5,
        "TRANSFER",
        1,
        1.0,
    )
    rest = {v for n, v in values.items() if n.startswith(("payer_", "payee_", "is_new"))}
    assert rest == {None}


@pytest.mark.parametrize("amount", [float("nan"), float("inf"), 1e15, -1e15])
def test_an_amount_that_cannot_be_summed_is_refused_and_changes_nothing(parity, amount):
    state = OnlineFeatures(parity.feature_set_of("everything"))
    state.observe(_transaction(START))
    with pytest.raises((OverflowError, ValueError)):
        state.observe(_transaction(START + 1, amount=amount))
    assert (state.size, state.newest_us) == (1, START)


def test_sums_stay_right_when_the_running_sum_passes_64_bits(parity):
    features = parity.feature_set_of("everything")
    state = OnlineFeatures(features)
    for i in range(30):
        found = state.observe(_transaction(START + i * DAY_US // 2, amount=5e13))
    values = dict(zip(state.names, found.values, strict=True))
    assert values["payer_sum_amount_1d"] == 1e14
    assert values["payer_mean_amount_7d"] == 5e13
    assert values["payer_max_amount_7d"] == 5e13
    late = state.observe(_transaction(START + 29 * DAY_US // 2 - 5, amount=1.0))
    assert late.values[features.names.index("payer_sum_amount_1d")] == 5e13 + 1
    assert late.values[features.names.index("payer_max_amount_1d")] == 5e13


def test_a_fraud_without_an_amount_counts_and_has_no_smallest_amount(parity):
    features = parity.feature_set_of("everything")
    state = OnlineFeatures(features)
    state.add_label(LabelEvent(START, 1, None, "A", None))
    values = dict(zip(state.names, state.observe(_transaction(START)).values, strict=True))
    assert values["payer_risk_1d"] == 1.0
    assert values["payer_last_label"] == 1.0
    assert values["payer_smallest_known_fraud"] is None
    state.add_label(LabelEvent(START, 1, 7.5, "A", None))
    values = dict(zip(state.names, state.observe(_transaction(START)).values, strict=True))
    assert values["payer_smallest_known_fraud"] == 7.5


def test_unordered_days_are_refused(parity, build, new_event):
    transactions, _ = build([new_event(0, "A", "X", 1.0), new_event(5, "A", "X", 2.0)])
    state = OnlineFeatures(parity.feature_set_of("simulator"))
    with pytest.raises(ValueError, match="not in order of event_order_us"):
        state.load_transactions(transactions.reverse())
    assert state.newest_us is None


def test_loaded_rows_of_one_entity_with_equal_keys_are_moved_apart(parity, build, new_event):
    transactions, _ = build([new_event(0, "A", "X", 1.0), new_event(0, "A", "Y", 2.0)])
    same = transactions.with_columns(event_order_us=pl.col("event_order_us").min())
    state = OnlineFeatures(parity.feature_set_of("simulator"))
    state.load_transactions(same)
    keys = list(state.payers.histories["A"].keys)
    assert keys == [same["event_order_us"][0], same["event_order_us"][0] + 1]


def _told(state):
    """Everything that the state knows of labels."""
    return [
        (name, list(held.known), list(held.frauds or ()), list(held.ticks or ()))
        for entities in (state.payers, state.payees)
        for name, held in entities.labels.items()
    ]


@pytest.mark.parametrize(
    "amount", [1e15, 9.3e14, 1.7e308, -1e15, math.inf, -math.inf, math.nan, None]
)
def test_a_label_with_an_amount_that_cannot_be_one_is_learnt_without_it(parity, amount, tmp_path):
    features = parity.feature_set_of("everything")
    state, loaded = OnlineFeatures(features), OnlineFeatures(features)
    state.add_label(LabelEvent(START, 1, 12.5, "A", "X"))
    state.add_label(LabelEvent(START + 1, 1, amount, "A", "X"))
    wanted = [
        (name, [START, START + 1], [START, START + 1], [125_000, NO_AMOUNT]) for name in ("A", "X")
    ]
    assert _told(state) == wanted
    save(state, tmp_path / "state", "")
    restored = restore(features, tmp_path / "state", late_days=2.0)
    assert restored is not None
    assert _told(restored[0]) == wanted

    at = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=START)
    loaded.load_labels(
        pl.DataFrame(
            {
                "payer_id": ["A", "A"],
                "payee_id": ["X", "X"],
                "event_time": [at - timedelta(days=60)] * 2,
                "label_known_at": [at, at + timedelta(microseconds=1)],
                "label": [1, 1],
                "amount": [12.5, amount],
            }
        )
    )
    assert _told(loaded) == wanted


@pytest.mark.parametrize("label", [0, 1])
def test_a_label_that_cannot_be_held_changes_nothing(parity, label):
    state = OnlineFeatures(parity.feature_set_of("everything"))
    state.add_label(LabelEvent(START, 1, 12.5, "A", "X"))
    before = _told(state)
    for payer in ("A", "new"):
        with pytest.raises(OverflowError):
            state.add_label(LabelEvent(1 << 63, label, 1.0, payer, "X"))
    assert _told(state) == before
    (held,) = (held for name, held in state.payers.labels.items() if name == "A")
    for ticks in (1 << 63, -(1 << 63) - 1):
        with pytest.raises(OverflowError):
            held.add(START + 1, label, ticks)
        with pytest.raises(OverflowError):
            held.add_fraud(START + 1, ticks)
    assert _told(state) == before
