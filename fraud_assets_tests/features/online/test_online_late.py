"""Late transactions: placed where they belong, answered as of their own time."""

from __future__ import annotations

from datetime import timedelta

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fraud_assets.features.online.events import OnlineTransaction
from fraud_assets.features.online.state import OnlineFeatures

SECOND_US = 1_000_000
HOUR_US = 3_600 * SECOND_US
DAY_US = 24 * HOUR_US
few = settings(
    max_examples=8,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.differing_executors],
)


def _arrivals(data, build, histories):
    """A history in which some rows arrive after later ones; no two late ones share a time."""
    transactions, labels = build(data.draw(histories))
    delays = data.draw(
        st.lists(
            st.sampled_from([0, 0, 0, 1, 5]),
            min_size=transactions.height,
            max_size=transactions.height,
        )
    )
    arrival = pl.Series("arrival", [i + d for i, d in enumerate(delays)])
    moved = transactions.with_columns(
        # Odd microseconds keep every key apart from all others, so that none is nudged.
        event_time=pl.col("event_time") + pl.duration(microseconds=pl.int_range(pl.len()) * 3)
    )
    return moved.with_columns(arrival).sort("arrival", maintain_order=True).drop("arrival"), labels


@few
@given(data=st.data())
def test_late_rows_and_those_after_them_have_the_features_of_what_had_arrived(
    data, features, parity, build, histories
):
    arrived, labels = _arrivals(data, build, histories)
    state = OnlineFeatures(features, late_days=400.0)
    for label in parity.labels_of(labels, parity.delay_of(features)):
        state.add_label(label)
    found = [state.observe(t) for t in parity.transactions_of(arrived)]
    keyed = arrived.with_columns(
        event_order_us=pl.Series([o.event_order_us for o in found], dtype=pl.Int64)
    )
    # A row's features hold until the next late one: batches end before each of those.
    ends = [i for i, o in enumerate(found) if o.is_late and i]
    start = 0
    for end in [*ends, len(found)]:
        known = keyed.head(end).sort("event_order_us")
        whole = parity.batch(features, known, labels)
        expected = pl.concat(
            whole.filter(pl.col("transaction_id") == row)
            for row in keyed["transaction_id"][start:end]
        )
        assert parity.unequal_values(features, found[start:end], expected) == {}
        start = end


@few
@given(data=st.data())
def test_whatever_came_late_the_next_rows_have_the_features_of_sorted_history(
    data, features, parity, build, histories
):
    transactions, labels = build(data.draw(histories))
    order = data.draw(st.permutations(range(transactions.height)))
    apart = transactions.with_columns(
        event_time=pl.col("event_time") + pl.duration(microseconds=pl.int_range(pl.len()) * 3)
    )
    state = OnlineFeatures(features, late_days=400.0)
    parity.replay(state, apart[order], labels)
    later = apart.with_columns(
        pl.col("event_time") + timedelta(days=data.draw(st.sampled_from([300, 211, 4]))),
        pl.format("x{}", "transaction_id").alias("transaction_id"),
    ).filter(pl.col("event_time") > apart["event_time"].max())
    found = parity.replay(state, later)
    whole = pl.concat([apart, later]).with_columns(
        event_order_us=pl.col("event_time").dt.epoch("us")
    )
    expected = parity.batch(features, whole, labels).slice(apart.height)
    assert parity.unequal_values(features, found, expected) == {}


@pytest.fixture
def state(parity):
    return OnlineFeatures(parity.feature_set_of("everything"), late_days=2.0)


def _observe(state, time_us, amount=1.0, payer="A", payee="X"):
    return state.observe(OnlineTransaction("t", time_us, amount, payer, payee))


def _value(state, observation, name):
    return observation.values[state.names.index(name)]


def test_a_late_row_does_not_see_later_ones_and_later_ones_see_it(state):
    _observe(state, 10 * DAY_US, 5.0)
    _observe(state, 10 * DAY_US + 2 * HOUR_US, 900.0)
    late = _observe(state, 10 * DAY_US + HOUR_US, 7.0)
    assert late.is_late
    assert not late.is_forgotten
    assert late.event_order_us == 10 * DAY_US + HOUR_US
    assert _value(state, late, "payer_count_1d") == 2
    assert _value(state, late, "payer_max_amount_1d") == 7.0
    assert _value(state, late, "payer_seconds_since_last") == 3_600.0
    after = _observe(state, 10 * DAY_US + 3 * HOUR_US, 1.0)
    assert _value(state, after, "payer_count_1d") == 4
    assert _value(state, after, "payer_sum_amount_1d") == 913.0


def test_a_late_row_is_nudged_past_equal_keys_of_its_own_entities_only(state):
    at = 10 * DAY_US
    for payer, payee in (("A", "X"), ("B", "Y"), ("C", "X")):
        _observe(state, at, 1.0, payer, payee)
    _observe(state, at + HOUR_US)
    assert _observe(state, at, 1.0, "D", "Z").event_order_us == at
    assert _observe(state, at, 1.0, "A", "Z").event_order_us == at + 1
    assert _observe(state, at, 1.0, "D", "X").event_order_us == at + 1
    assert _observe(state, at, 1.0, "D", "Z").event_order_us == at + 2


def test_as_late_as_allowed_is_remembered_and_later_is_not(state):
    _observe(state, 20 * DAY_US)
    held = state.size
    kept = _observe(state, 18 * DAY_US, 3.0)
    assert (kept.is_late, kept.is_forgotten) == (True, False)
    assert state.size == held + 1
    gone = _observe(state, 18 * DAY_US - 1, 4.0)
    assert (gone.is_late, gone.is_forgotten) == (True, True)
    assert state.size == held + 1
    assert _value(state, gone, "payer_count_7d") == 1
    again = _observe(state, 18 * DAY_US - 1, 4.0, "new", "too")
    assert _value(state, again, "payee_mean_amount_1d") == 4.0
    assert _value(state, again, "is_new_payee") == 1.0
    assert _value(state, _observe(state, 20 * DAY_US), "payer_count_7d") == 3


def test_a_row_late_by_all_that_is_allowed_has_its_full_window(state):
    seen = {}  # long enough for expired rows to have been dropped several times
    for hour in range(20 * 24):
        at = 30 * DAY_US + hour * HOUR_US
        seen[at] = 1_000.0 - hour
        _observe(state, at, seen[at])
        if hour % 10 == 0 and hour > 48:
            then = at - 2 * DAY_US + 10
            late = _observe(state, then, 1.0)
            assert not late.is_forgotten
            seen[then] = 1.0
            amounts = [v for k, v in seen.items() if then - 7 * DAY_US < k <= then]
            assert _value(state, late, "payer_count_7d") == len(amounts)
            assert _value(state, late, "payer_max_amount_7d") == max(amounts)
            assert _value(state, late, "payer_sum_amount_7d") == sum(amounts)
    held = state.payers.histories["A"]
    assert len(held.peaks) <= len(held.keys) < len(seen) - 48


def test_a_pair_is_known_from_the_latest_time_it_met(state):
    met = [_observe(state, (30 + 5 * i) * DAY_US) for i in range(5)]
    assert [_value(state, one, "is_new_payee") for one in met] == [1.0, 0.0, 0.0, 0.0, 0.0]
    again = _observe(state, (30 + 20 + 8) * DAY_US)
    assert _value(state, again, "is_new_payee") == 1.0


@pytest.mark.parametrize("falls", [True, False])
def test_the_largest_amount_of_a_busy_entity_is_right_for_late_rows_too(state, falls):
    amounts = [float(500 - i if falls else i + 1) for i in range(500)]
    at = 40 * DAY_US
    for i, amount in enumerate(amounts):
        _observe(state, at + i * SECOND_US, amount)
    for place in (499, 498, 300, 60, 10, 1):
        late = _observe(state, at + place * SECOND_US - 5, 0.25)
        assert _value(state, late, "payer_max_amount_1d") == max(amounts[:place])
    _observe(state, at + 250 * SECOND_US + 7, 10_000.0)
    inside = _observe(state, at + 260 * SECOND_US + 7, 1.0)
    before = _observe(state, at + 240 * SECOND_US + 7, 1.0)
    assert _value(state, inside, "payer_max_amount_1d") == 10_000.0
    assert _value(state, before, "payer_max_amount_1d") == max(amounts[:241])
    newest = _observe(state, at + 250 * SECOND_US + DAY_US, 1.0)
    assert _value(state, newest, "payer_max_amount_1d") == max(amounts[251:])
    assert _value(state, newest, "payer_sum_amount_7d") == sum(amounts) + 6 * 0.25 + 10_003.0


def test_a_row_observed_twice_counts_twice(state):
    # Whoever calls knows the ids; the state does not.
    _observe(state, 5 * DAY_US, 2.0)
    assert _value(state, _observe(state, 5 * DAY_US, 2.0), "payer_sum_amount_1d") == 4.0
