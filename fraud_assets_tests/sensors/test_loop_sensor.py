"""Ticks of the loop sensor on a real instance and a real store: each decision is acted on once."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraud_assets.sensors import LOOP_SENSOR
from fraud_assets.sensors.loop import decisions_to_act_on
from fraud_assets.store.decisions import StoredDecision

FIRST = date(2025, 1, 1)


def day(index: int) -> date:
    return FIRST + timedelta(days=index)


def only_request(tick: Any) -> Any:
    assert len(tick.run_requests) == 1, tick.skip_message
    return tick.run_requests[0]


def test_without_a_decision_there_is_nothing_to_do(pipeline) -> None:
    tick = pipeline.tick(LOOP_SENSOR)
    assert not tick.run_requests
    assert tick.skip_message == "no decision since 0"


def test_a_decision_to_retrain_is_a_run_of_its_day_with_its_reason(pipeline) -> None:
    stored = pipeline.decide(day(20), "retrain", rule="decay", reason="drop 67% > 25%")
    request = only_request(pipeline.tick(LOOP_SENSOR))
    assert (request.job_name, request.partition_key) == ("retraining", str(day(20)))
    assert request.run_key == f"decision-{stored.id}"
    assert request.tags["fraud_assets/decision"] == str(stored.id)
    assert request.tags["fraud_assets/reason"] == "drop 67% > 25%"


@pytest.mark.parametrize(
    ("action", "move"),
    [("fall_back", "fallback"), ("roll_back", "rollback"), ("restore", "restore")],
)
def test_a_change_of_service_is_a_run_of_the_rollback_job(pipeline, action: str, move: str) -> None:
    stored = pipeline.decide(day(20), action, rule="worse", target="7", reason="seven is better")
    request = only_request(pipeline.tick(LOOP_SENSOR))
    assert request.job_name == "rollback"
    assert request.run_config["ops"]["move_champion"]["config"] == {
        "to": "7",
        "day": str(day(20)),
        "action": move,
        "instead_of": "1",
        "reason": "seven is better",
        "rule": "worse",
        "decision_id": stored.id,
    }


@pytest.mark.parametrize("action", ["nothing", "warn"])
def test_other_decisions_are_told_and_not_acted_on(pipeline, action: str) -> None:
    pipeline.decide(day(20), action, reason="drift share 0.40 >= 0.30")
    tick = pipeline.tick(LOOP_SENSOR)
    assert not tick.run_requests
    assert tick.skip_message == f"{day(20)}: {action}: drift share 0.40 >= 0.30"


def test_a_decision_is_acted_on_once(pipeline) -> None:
    pipeline.decide(day(20), "retrain")
    first = pipeline.tick(LOOP_SENSOR)
    assert not pipeline.tick(LOOP_SENSOR, first.cursor).run_requests


def test_a_tick_that_is_lost_and_repeated_asks_for_the_same_run(pipeline) -> None:
    """Dagster starts no second run of a key: what a kill between tick and cursor comes down to."""
    pipeline.decide(day(20), "retrain")
    assert (
        only_request(pipeline.tick(LOOP_SENSOR)).run_key
        == only_request(pipeline.tick(LOOP_SENSOR)).run_key
    )


def test_a_day_that_is_reported_again_with_other_numbers_acts_again(pipeline) -> None:
    pipeline.decide(day(20), "retrain")
    first = pipeline.tick(LOOP_SENSOR)
    pipeline.decide(day(20), "retrain", reason="other numbers")
    second = only_request(pipeline.tick(LOOP_SENSOR, first.cursor))
    assert second.run_key != only_request(first).run_key


def test_the_same_reports_decided_again_are_no_new_decision(pipeline) -> None:
    first = pipeline.decide(day(20), "retrain", fingerprint="same")
    cursor = pipeline.tick(LOOP_SENSOR).cursor
    assert pipeline.decide(day(20), "retrain", fingerprint="same", run_id="b").id == first.id
    assert not pipeline.tick(LOOP_SENSOR, cursor).run_requests


def test_a_backfill_of_old_days_asks_for_nothing(pipeline) -> None:
    cursor = pipeline.tick(LOOP_SENSOR).cursor
    for index in range(5, 15):
        pipeline.decide(day(index), "nothing", rule="outdated", reason="older than the newest")
    assert not pipeline.tick(LOOP_SENSOR, cursor).run_requests


def test_decisions_of_a_time_when_the_sensor_stood_still_are_not_all_made_good(pipeline) -> None:
    """The cooldown of this profile is 2 days. The fallback was not asked for again."""
    for index, action in ((10, "retrain"), (18, "retrain"), (19, "retrain"), (20, "warn")):
        pipeline.decide(day(index), action)
    pipeline.decide(day(11), "fall_back", target="rules-1")
    assert only_request(pipeline.tick(LOOP_SENSOR)).partition_key == str(day(19))


def test_a_retraining_and_a_rollback_may_be_due_at_once(pipeline) -> None:
    pipeline.decide(day(19), "retrain")
    pipeline.decide(day(20), "roll_back", target="1")
    jobs = [request.job_name for request in pipeline.tick(LOOP_SENSOR).run_requests]
    assert jobs == ["retraining", "rollback"]


def test_a_change_of_service_that_the_newest_day_does_not_ask_for_is_over(pipeline) -> None:
    pipeline.decide(day(19), "fall_back", target="rules-1")
    pipeline.decide(day(20), "nothing")
    assert not pipeline.tick(LOOP_SENSOR).run_requests


def test_a_day_that_is_decided_otherwise_later_is_not_retrained_for(pipeline) -> None:
    pipeline.decide(day(20), "retrain")
    pipeline.decide(day(20), "warn", reason="the data was repaired")
    assert not pipeline.tick(LOOP_SENSOR).run_requests


ACTIONS = ("nothing", "warn", "retrain", "fall_back", "roll_back", "restore")


@given(
    st.lists(st.tuples(st.integers(0, 15), st.sampled_from(ACTIONS)), min_size=1, max_size=20),
    st.integers(0, 5),
)
def test_at_most_one_of_each_kind_is_due_and_none_is_stale(
    made: list[tuple[int, str]], cooldown: int
) -> None:
    unread = [
        StoredDecision(
            id=number, day=day(index), action=action, rule="r", champion="1", reason="r",
            fingerprint=str(number),
        )
        for number, (index, action) in enumerate(made, start=1)
    ]  # fmt: skip
    due = decisions_to_act_on(unread, cooldown)
    newest = max(one.day for one in unread)
    assert sum(one.action == "retrain" for one in due) <= 1
    assert sum(one.action != "retrain" for one in due) <= 1
    assert all(one.day == newest for one in due if one.action != "retrain")
    assert [one.id for one in due] == sorted(one.id for one in due if one.id is not None)
    for one in due:
        assert one.action not in ("nothing", "warn")
        assert (newest - one.day).days < max(1, cooldown)
