"""Any history, replayed one event at a time, gives the features of the batch engine."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fraud_assets.features.online.events import LabelEvent, OnlineTransaction
from fraud_assets.features.online.state import OnlineFeatures

few = settings(
    max_examples=10,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.differing_executors],
)


@few
@given(data=st.data())
def test_a_replayed_history_has_the_features_of_the_batch(data, features, parity, build, histories):
    transactions, labels = build(data.draw(histories))
    state = OnlineFeatures(features, late_days=data.draw(st.sampled_from([0.0, 2.0])))
    found = parity.replay(state, transactions, labels)
    expected = parity.batch(features, transactions, labels)
    assert [o.event_order_us for o in found] == expected["event_order_us"].to_list()
    assert not any(o.is_late for o in found)
    assert parity.unequal_values(features, found, expected) == {}


@few
@given(data=st.data())
def test_labels_may_be_told_in_any_order_and_before_they_are_used(
    data, features, parity, build, histories
):
    transactions, labels = build(data.draw(histories))
    state = OnlineFeatures(features)
    told = parity.labels_of(labels, parity.delay_of(features))
    for label in data.draw(st.permutations(told)):
        state.add_label(label)
    found = parity.replay(state, transactions)
    expected = parity.batch(features, transactions, labels)
    assert parity.unequal_values(features, found, expected) == {}


@few
@given(data=st.data())
def test_days_loaded_at_any_cut_are_like_days_observed(data, features, parity, build, histories):
    transactions, labels = build(data.draw(histories))
    cut = data.draw(st.integers(0, transactions.height))
    again = data.draw(st.integers(0, cut))
    state = OnlineFeatures(features)
    state.load_transactions(transactions.head(again))
    state.load_transactions(transactions.slice(again, cut - again))
    labelled = data.draw(st.integers(0, labels.height))
    state.load_labels(labels.head(labelled))
    state.load_labels(labels.slice(labelled))
    found = parity.replay(state, transactions.slice(cut))
    expected = parity.batch(features, transactions, labels).slice(cut)
    assert parity.unequal_values(features, found, expected) == {}
    assert [o.event_order_us for o in found] == expected["event_order_us"].to_list()


DAY_US = 86_400_000_000
START = 20_000 * DAY_US


@pytest.mark.parametrize("days", [1, 7])
@pytest.mark.parametrize(("gap_us", "is_inside"), [(-1_000, True), (-999, False), (0, False)])
def test_windows_begin_a_millisecond_short_and_include_their_first_key(
    parity, days, gap_us, is_inside
):
    state = OnlineFeatures(parity.feature_set_of("everything"))
    state.observe(OnlineTransaction("a", START, 5.0, "A", "X"))
    state.add_label(LabelEvent(START, 1, 5.0, "A", "X"))
    elapsed = days * DAY_US + gap_us
    found = state.observe(OnlineTransaction("b", START + elapsed, 1.0, "A", "X"))
    values = dict(zip(state.names, found.values, strict=True))
    for entity in ("payer", "payee"):
        assert values[f"{entity}_count_{days}d"] == 1 + is_inside
        assert values[f"{entity}_max_amount_{days}d"] == (5.0 if is_inside else 1.0)
        assert values[f"{entity}_labelled_count_{days}d"] == is_inside
        assert values[f"{entity}_risk_{days}d"] == float(is_inside)
        if days == 7:
            known = (1.0, 5.0, elapsed / 1e6) if is_inside else (None, None, None)
            assert values[f"{entity}_last_label"] == known[0]
            assert values[f"{entity}_smallest_known_fraud"] == known[1]
            assert values[f"{entity}_seconds_since_known_fraud"] == known[2]
            assert values[f"{entity}_seconds_since_last"] == known[2]
            assert values["is_new_payee"] == float(not is_inside)


def test_a_label_that_becomes_usable_at_the_very_moment_counts(parity):
    state = OnlineFeatures(parity.feature_set_of("everything"))
    state.add_label(LabelEvent(START + 1, 1, 5.0, "A", "X"))
    for at, count in ((START, 0), (START + 1, 1)):
        found = state.observe(OnlineTransaction("a", at, 5.0, "A", "X"))
        assert found.values[state.names.index("payer_labelled_count_1d")] == count
        assert found.values[state.names.index("payer_last_label")] == (count or None)
