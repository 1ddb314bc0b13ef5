from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraud_assets.serving.recent import RecentAnswers
from fraud_assets.store.answers import StoredAnswer


def answer(name: str, event_time_us: int) -> StoredAnswer:
    return StoredAnswer(
        transaction_id=name,
        event_time_us=event_time_us,
        event_order_us=event_time_us,
        amount=1.0,
        score=0.1,
        decision="pass",
        threshold=0.5,
        reasons=[],
        model_version="1",
        model_hash="hash",
        served_by="champion",
        digest="digest",
        worker="w0",
        sequence=1,
        scored_at_us=event_time_us,
    )


puts = st.lists(st.tuples(st.integers(0, 30), st.integers(-20, 20)), max_size=60)


@given(puts, st.integers(1, 40))
def test_what_was_put_is_found_or_may_be_forgotten(puts, capacity):
    recent = RecentAnswers(capacity)
    for number, event_time in puts:
        recent.put(answer(f"t{number}", event_time))
    for number, event_time in puts:
        assert recent.get(f"t{number}") is not None or recent.may_be_forgotten(event_time)
    assert len(recent) == min(capacity, len({number for number, _ in puts}))


@given(puts, st.integers(1, 40))
def test_the_newest_ones_put_are_found_whatever_their_event_time(puts, capacity):
    recent = RecentAnswers(capacity)
    for place, (_, event_time) in enumerate(puts):
        recent.put(answer(f"t{place}", event_time))
    for place, (_, event_time) in list(enumerate(puts))[-capacity:]:
        found = recent.get(f"t{place}")
        assert found is not None
        assert found.event_time_us == event_time


@given(st.lists(st.integers(-20, 20), max_size=40), st.integers(0, 40), st.integers(1, 40))
def test_after_loading_a_part_the_others_may_be_forgotten(times, limit, capacity):
    stored = sorted(times)
    others, newest = stored[: max(0, len(stored) - limit)], stored[max(0, len(stored) - limit) :]
    recent = RecentAnswers(capacity)
    loaded = [answer(f"t{place}", event_time) for place, event_time in enumerate(newest)]
    recent.load(loaded, complete=not others)
    assert all(recent.may_be_forgotten(event_time) for event_time in others)
    for one in loaded:
        assert recent.get(one.transaction_id) or recent.may_be_forgotten(one.event_time_us)


def test_a_transaction_newer_than_all_that_was_forgotten_needs_no_look_in_the_store():
    recent = RecentAnswers(10)
    for number in range(100):
        recent.put(answer(f"t{number}", number))
    assert recent.may_be_forgotten(89)
    assert not recent.may_be_forgotten(90)


def test_a_complete_load_forgets_nothing():
    recent = RecentAnswers(10)
    recent.load([answer("a", 5)], complete=True)
    assert recent.get("a") is not None
    assert not recent.may_be_forgotten(0)


def test_putting_takes_as_long_in_a_full_memory_as_in_a_small_one():
    def seconds(capacity: int) -> float:
        recent = RecentAnswers(capacity)
        made = [answer(str(number), number) for number in range(capacity + 20_000)]
        for one in made[:capacity]:
            recent.put(one)
        start = time.thread_time()
        for one in made[capacity:]:
            recent.put(one)
        return time.thread_time() - start

    # Walking over deleted keys took forty times as long.
    assert seconds(100_000) < 10 * seconds(1_000)


def test_no_capacity_is_refused():
    with pytest.raises(ValueError, match="capacity is 0"):
        RecentAnswers(0)
