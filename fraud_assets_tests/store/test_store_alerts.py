from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from sqlalchemy import delete, insert
from sqlalchemy.exc import DatabaseError

from fraud_assets.store import alerts as outbox
from fraud_assets.store import schema
from fraud_assets.store.alerts import (
    MAX_ATTEMPTS,
    count_pending,
    mark_delivered,
    mark_failed,
    mark_not_sent,
    mark_sent,
    pending,
    raise_alert,
    recent,
)
from fraud_assets.store.engine import PredictionStore

NOON = datetime(2024, 6, 1, 12, tzinfo=UTC)


def values(day: int | None, source: str = "", **more: object) -> dict[str, Any]:
    return {
        "key": "drift:3",
        "kind": "drift",
        "severity": "warning",
        "day": None if day is None else date(2024, 3, 1) + timedelta(days=day - 1),
        "source": source or f"decision:{day}",
        "title": f"Drift on day {day}",
        "body": "much",
        "link": "http://ui/assets/x",
        "numbers": {"drift_share": 0.5, "recent": None},
        **more,
    }


def raised(
    store: PredictionStore, given: dict[str, Any], now: datetime = NOON, **more: int
) -> bool:
    return raise_alert(store, given, now, **{"quiet_days": 3, "remind_days": 7, **more})


def only(store: PredictionStore) -> outbox.StoredAlert:
    (found,) = recent(store, 10)
    return found


def test_a_new_alert_is_due_at_once_and_comes_back_as_it_was_raised(
    store: PredictionStore,
) -> None:
    assert raised(store, values(5)) is True
    found = only(store)
    assert pending(store, NOON) == [found]
    wanted = values(5)
    assert found.model_dump(include=set(wanted)) == {
        name: value for name, value in wanted.items() if name != "day"
    }
    assert (found.first_day, found.last_day) == (date(2024, 3, 5), date(2024, 3, 5))
    assert (found.created_at, found.occurrences, found.state) == (NOON, 1, "pending")
    assert pending(store, NOON - timedelta(seconds=1)) == []


def test_days_close_together_are_one_episode_and_one_message(store: PredictionStore) -> None:
    assert raised(store, values(5)) is True
    mark_sent(store, only(store).id, NOON)
    for day in (6, 9, 12):  # up to three days after the last
        assert raised(store, values(day)) is False
    found = only(store)
    assert (found.occurrences, found.state, found.source) == (4, "sent", "decision:12")
    assert (found.first_day, found.last_day) == (date(2024, 3, 5), date(2024, 3, 12))
    assert found.title == "Drift on day 12"
    assert raised(store, values(16)) is True
    assert [one.occurrences for one in recent(store, 10)] == [1, 4]


def test_other_keys_are_other_episodes(store: PredictionStore) -> None:
    assert raised(store, values(5))
    assert raised(store, values(5, key="drift:4"))
    assert count_pending(store) == 2


def test_a_late_alert_of_an_older_day_belongs_to_the_episode_around_it(
    store: PredictionStore,
) -> None:
    for day in (10, 20):
        assert raised(store, values(day))
    assert raised(store, values(8)) is False
    newer, older = recent(store, 10)
    assert (older.first_day, older.last_day) == (date(2024, 3, 8), date(2024, 3, 10))
    assert older.title == "Drift on day 10"  # what the newest day says
    assert newer.occurrences == 1
    assert raised(store, values(1)) is True


def test_the_same_source_counts_once_also_when_newer_ones_came_between(
    store: PredictionStore,
) -> None:
    for day in (5, 6, 20):
        raised(store, values(day))
    before = recent(store, 10)
    for day in (5, 6, 20):  # the tick crashed before it kept its cursor
        assert raised(store, values(day), NOON + timedelta(days=30)) is False
    assert recent(store, 10) == before
    assert raised(store, values(5, "decision:6", key="decay:3")) is True


def test_an_episode_that_goes_on_is_told_again_after_a_week_by_the_clock(
    store: PredictionStore,
) -> None:
    raised(store, values(5))
    first = only(store)
    mark_delivered(store, first.id, "a", NOON)
    mark_sent(store, first.id, NOON)
    soon, late = NOON + timedelta(days=6, hours=23), NOON + timedelta(days=7)
    assert raised(store, values(6), soon) is False
    assert raised(store, values(7), late) is True
    again = only(store)
    assert (again.state, again.reminders, again.delivered) == ("pending", 1, [])
    assert again.message_id != first.message_id
    assert again.next_attempt_at == late
    assert raised(store, values(8), late) is False  # it is due already
    mark_sent(store, again.id, late)
    assert raised(store, values(9), late + timedelta(days=1)) is False


def test_what_belongs_to_no_day_is_told_once_within_some_hours(store: PredictionStore) -> None:
    def failed(run: str, hours: float) -> bool:
        now = NOON + timedelta(hours=hours)
        return raised(store, values(None, run, key="failed_run"), now, quiet_hours=6)

    assert failed("run:a", 0) is True
    mark_sent(store, only(store).id, NOON)
    assert failed("run:b", 5.9) is False
    assert only(store).occurrences == 2
    assert only(store).first_day is None
    assert failed("run:c", 6) is True
    assert failed("run:a", 6) is False
    assert [one.occurrences for one in recent(store, 10)] == [1, 2]


@pytest.mark.parametrize("how", ["failed", "not_sent"])
def test_an_episode_that_nobody_was_told_of_is_told_as_it_goes_on(
    store: PredictionStore, how: str
) -> None:
    raised(store, values(5))
    settle(store, only(store).id, how)
    assert only(store).state == how
    assert pending(store, NOON + timedelta(days=99)) == []
    assert raised(store, values(6)) is True
    found = only(store)
    assert (found.state, found.attempts, found.reminders) == ("pending", 0, 0)


def settle(store: PredictionStore, alert_id: int, how: str) -> None:
    if how == "not_sent":
        mark_not_sent(store, alert_id, "nobody")
        return
    for _ in range(MAX_ATTEMPTS):
        mark_failed(store, alert_id, "no", NOON)


def test_who_was_told_of_a_failed_alert_is_not_told_again_until_a_reminder_is_due(
    store: PredictionStore,
) -> None:
    raised(store, values(5))
    mark_delivered(store, only(store).id, "a", NOON)
    settle(store, only(store).id, "failed")
    raised(store, values(6))
    assert (only(store).delivered, only(store).reminders) == (["a"], 0)
    settle(store, only(store).id, "failed")
    raised(store, values(7), NOON + timedelta(days=7))
    assert (only(store).delivered, only(store).reminders) == ([], 1)


def test_a_failed_delivery_is_tried_again_ever_more_rarely_and_given_up_in_the_end(
    store: PredictionStore,
) -> None:
    raised(store, values(5))
    alert_id, now, waits = only(store).id, NOON, []
    for attempt in range(1, MAX_ATTEMPTS + 1):
        assert mark_failed(store, alert_id, f"no {attempt}", now) is (attempt == MAX_ATTEMPTS)
        found = only(store)
        assert (found.attempts, found.last_error) == (attempt, f"no {attempt}")
        if attempt < MAX_ATTEMPTS:
            due = found.next_attempt_at
            assert pending(store, due - timedelta(seconds=1)) == []
            assert pending(store, due) == [found]
            waits.append((due - now).total_seconds() / 60)
            now = due
    assert waits[:8] == [1, 2, 4, 8, 16, 32, 60, 60]
    assert max(waits) == 60
    assert only(store).state == "failed"
    assert count_pending(store) == 0


def test_what_a_channel_has_is_kept(store: PredictionStore) -> None:
    raised(store, values(5))
    for channel in ("a", "b", "a"):
        mark_delivered(store, only(store).id, channel, NOON)
    mark_failed(store, only(store).id, "c does not answer", NOON)
    assert only(store).delivered == ["a", "b"]
    assert only(store).sent_at == NOON
    mark_sent(store, only(store).id, NOON + timedelta(hours=1))
    assert (only(store).state, only(store).last_error) == ("sent", None)


def test_marks_that_come_too_late_change_nothing(store: PredictionStore) -> None:
    raised(store, values(5))
    mark_sent(store, only(store).id, NOON)
    before = only(store)
    assert mark_failed(store, before.id, "no", NOON) is False
    mark_not_sent(store, before.id, "nobody")
    mark_delivered(store, before.id, "a", NOON)
    mark_sent(store, before.id, NOON + timedelta(days=1))
    assert only(store) == before


def test_the_longest_due_comes_first_and_recent_lists_the_newest(store: PredictionStore) -> None:
    for place in range(4):
        now = NOON - timedelta(minutes=place)
        raised(store, values(5, key=f"k{place}"), now)
    assert [one.key for one in pending(store, NOON)] == ["k3", "k2", "k1", "k0"]
    assert [one.key for one in recent(store, 2)] == ["k3", "k2"]


def test_two_who_raise_the_same_alert_at_once_leave_one_row(
    store: PredictionStore, meet_after: Callable[[object, str], None]
) -> None:
    meet_after(outbox, "_is_counted")
    with ThreadPoolExecutor(2) as pool:
        due = list(pool.map(lambda day: raised(store, values(day)), (5, 6)))
    assert sorted(due) == [False, True]
    assert only(store).occurrences == 2


def test_a_character_that_postgresql_does_not_have_loses_no_alert(store: PredictionStore) -> None:
    assert raised(store, values(5, body="a\0b", numbers={"text": "c\0d"}))
    assert only(store).body == "a\N{REPLACEMENT CHARACTER}b"
    assert only(store).numbers == {"text": "c\0d"}
    mark_failed(store, only(store).id, "e\0f", NOON)
    assert only(store).last_error == "e\N{REPLACEMENT CHARACTER}f"


@pytest.mark.parametrize(
    "wrong",
    [
        {"severity": "dire"},
        {"key": ""},
        {"source": ""},
        {"title": None},
        {"numbers": {"share": float("inf")}},
        {"surprise": 1},
    ],
)
def test_an_alert_that_says_too_little_or_nonsense_is_refused(
    store: PredictionStore, wrong: dict[str, object]
) -> None:
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        raised(store, values(5) | wrong)
    assert recent(store, 10) == []


@pytest.mark.parametrize(
    ("wrong", "check"),
    [
        ({"severity": "dire"}, "alerts_severity_is_known"),
        ({"state": "lost"}, "alerts_state_is_known"),
        ({"last_day": None}, "alerts_have_both_days_or_none"),
    ],
)
def test_the_database_refuses_what_the_outbox_cannot_hold(
    store: PredictionStore, wrong: dict[str, object], check: str
) -> None:
    raised(store, values(5))
    row = only(store).model_dump(exclude={"id"}) | wrong
    with pytest.raises(DatabaseError, match=check), store.writing() as connection:
        connection.execute(insert(schema.alerts), [row])


@settings(
    deadline=None,
    max_examples=25,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.lists(st.integers(1, 40), max_size=12), st.integers(0, 4))
def test_every_source_is_counted_once_and_episodes_raised_in_order_lie_apart(
    store: PredictionStore, days: list[int], quiet_days: int
) -> None:
    with store.writing() as connection:
        connection.execute(delete(schema.alert_sources))
        connection.execute(delete(schema.alerts))
    for day in [*sorted(days), *days]:
        raised(store, values(day), quiet_days=quiet_days)
    found = recent(store, 100)
    assert sum(one.occurrences for one in found) == len(set(days))
    for later, earlier in pairwise(found):
        assert later.first_day - earlier.last_day > timedelta(days=quiet_days)
