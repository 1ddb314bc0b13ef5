"""Ticks of the alert sensor that tell what was decided or promoted, and how they deliver it."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta

import pytest

from fraud_assets.resources.alerts import AlertChannels, DeliveryReport
from fraud_assets.sensors.alerts import said
from fraud_assets.settings import AlertSettings

FIRST = date(2025, 1, 1)
SECRET = "hunter2secret"
UI = "http://ui:3000"


def day(index: int) -> date:
    return FIRST + timedelta(days=index)


# --- what was decided ----------------------------------------------------------------------------


def test_drift_is_one_delivered_alert_with_its_numbers_and_a_link(told, webhook) -> None:
    told.drift(20)
    assert told.tick() == "1 alert raised, 1 sent"
    (got,) = webhook.got
    assert (got["title"], got["type"]) == ("Warning: Inputs of champion 3 have drifted", "warning")
    assert f"drift share 0.42 >= 0.30\nSince {day(19)}." in got["message"]
    assert "drift share: 0.42\nscore drift: not computable\n\n" in got["message"]
    assert f"{UI}/assets/debugging_dashboard?partition={day(20)}" in got["message"]
    sent = told.only()
    assert (sent.state, sent.key, sent.source) == ("sent", "drift:3", "decision:1")
    assert sent.numbers == {"drift_share": 0.42, "score_drift": None}


def test_drift_that_goes_on_is_one_episode_and_one_message(told, webhook) -> None:
    for index in range(20, 25):
        told.drift(index)
        said_ = told.tick()
    assert said_ == "0 alerts raised, 1 repeated"
    assert len(webhook.got) == 1
    episode = told.only()
    assert (episode.occurrences, episode.first_day, episode.last_day) == (5, day(20), day(24))


def test_days_that_are_closed_between_two_ticks_are_one_message_too(told, webhook) -> None:
    for index in (20, 21, 22):
        told.drift(index)
    assert told.tick() == "1 alert raised, 2 repeated, 1 sent"
    assert webhook.got[0]["message"].endswith(f"Alert 1, 3 times from {day(20)} to {day(22)}")


def test_a_tick_that_is_lost_and_repeated_tells_and_counts_nothing_twice(told, webhook) -> None:
    told.drift(20)
    told.tick()
    told.cursor = None
    assert told.tick() == "0 alerts raised, 1 repeated"
    assert len(webhook.got) == 1
    assert told.only().occurrences == 1


def test_quiet_days_are_no_alert(told, webhook) -> None:
    told.pipeline.decide(day(20))
    assert told.tick() == "0 alerts raised"
    assert (told.outbox(), webhook.got) == ([], [])


def test_an_action_is_told_beside_its_finding_and_each_time(told, webhook) -> None:
    for index in (20, 22):
        told.pipeline.decide(
            day(index),
            "roll_back",
            rule="worse",
            champion="3",
            target="2",
            reason="2 gains 0.1",
            findings=[{"kind": "worse", "text": "2 gains 0.1"}],
        )
        assert told.tick() == "1 alert raised, 1 sent"
    assert webhook.titles == ["Critical: Rolling back from 3 to 2"] * 2


def test_what_was_decided_while_the_sensor_was_off_for_weeks_is_not_told(told, webhook) -> None:
    told.drift(0)
    told.promotion(0, "keep", version="2", previous_version="1")
    for index in range(1, 40):
        told.pipeline.decide(day(index))
    told.drift(40)
    told.promotion(40, "keep")
    assert told.tick() == "2 alerts raised, 2 sent"
    assert webhook.titles == [
        "Warning: Inputs of champion 3 have drifted",
        "Warning: Challenger 4 was refused",
    ]
    assert {one.last_day for one in told.outbox()} == {day(40)}


# --- promotions ----------------------------------------------------------------------------------


def test_a_refused_challenger_is_told_with_the_reason_and_the_numbers(told, webhook) -> None:
    told.promotion(20, "keep", numbers={"ap_gain": -0.0123, "ap_gain_low": None})
    assert told.tick() == "1 alert raised, 1 sent"
    (got,) = webhook.got
    assert got["title"] == "Warning: Challenger 4 was refused"
    assert "average precision gain -0.012 (-0.041 to 0.018) < 0" in got["message"]
    assert f"As of {day(20)}; 3 stays." in got["message"]
    assert "ap gain: -0.0123\nap gain low: not computable" in got["message"]
    assert f"{UI}/assets/champion_model?partition={day(20)}" in got["message"]
    assert told.tick() == "0 alerts raised"


def test_a_promotion_is_kept_where_only_warnings_are_wanted(told, webhook) -> None:
    told.promotion(20, "promote")
    assert told.tick() == "1 alert raised, 1 kept and not sent"
    assert webhook.got == []
    assert (told.only().state, told.only().severity) == ("not_sent", "info")


def test_a_rollback_by_hand_is_told_without_numbers_that_it_does_not_have(build, webhook) -> None:
    told = build(minimum_severity="info")
    told.promotion(20, "rollback", numbers={"rule": None, "decision_id": None})
    told.tick()
    assert webhook.titles == ["Info: Rolled back to 4"]
    assert "not computable" not in webhook.got[0]["message"]


def test_a_refusal_of_weeks_ago_is_not_told_although_no_later_one_is_known(told) -> None:
    told.promotion(20, "keep", created_at=datetime.now(UTC) - timedelta(days=20))
    assert told.tick() == "0 alerts raised"
    assert told.outbox() == []


# --- delivery ------------------------------------------------------------------------------------


def test_what_a_webhook_that_is_down_missed_a_later_tick_delivers(told, webhook) -> None:
    webhook.status = 503
    told.drift(20)
    told.fail()
    assert told.tick() == (
        "2 alerts raised, 2 waiting: channel 1 (json): answered 503 Service Unavailable"
    )
    assert told.tick() == "0 alerts raised, 1 repeated, 2 waiting"  # too soon to try again
    webhook.status, webhook.got[:] = 200, []
    told.age(2)
    assert told.tick() == "0 alerts raised, 1 repeated, 2 sent"
    assert sorted(webhook.titles) == [
        "Warning: Inputs of champion 3 have drifted",
        "Warning: Run failed: nightly",
    ]
    assert {one.state for one in told.outbox()} == {"sent"}
    told.age(100)
    assert told.tick() == "0 alerts raised, 1 repeated"
    assert len(webhook.got) == 2


def test_without_a_url_alerts_are_kept_and_the_tick_says_how_to_have_them_sent(build) -> None:
    told = build(urls=[])
    told.drift(20)
    assert told.tick() == (
        "1 alert raised, 1 kept and not sent: FRAUD_ALERTS__URLS names no channel"
    )
    kept = told.only()
    assert kept.state == "not_sent"
    assert kept.last_error == "no channel is configured: set FRAUD_ALERTS__URLS"


def causes(error: BaseException | None) -> list[str]:
    """The messages of an error and of what led to it."""
    return [] if error is None else [str(error), *causes(error.__cause__ or error.__context__)]


def test_a_wrong_url_fails_the_tick_by_place_and_scheme_and_loses_nothing(build, webhook) -> None:
    told = build(urls=[webhook.url(), f"slack://{SECRET}"])
    told.drift(20)
    with pytest.raises(Exception) as failed:  # noqa: PT011  Dagster's wrapper; the causes are read
        told.tick()
    messages = causes(failed.value)
    assert any("alert URL 2 (slack://…) is none that Apprise can use" in one for one in messages)
    assert SECRET not in str(failed.getrepr(style="long", showlocals=False, chain=True))
    assert told.only().state == "pending"

    right = told.pipeline.settings.model_copy(
        update={"alerts": AlertSettings(urls=[webhook.url()])}
    )
    repaired = type(told)(type(told.pipeline)(right, told.instance))
    assert repaired.tick() == "0 alerts raised, 1 repeated, 1 sent"
    assert len(webhook.got) == 1


def test_a_tick_names_a_problem_once_and_every_number_that_is_not_zero() -> None:
    down = "channel 1 (slack): no connection"
    report = DeliveryReport(
        sent=2, failed=1, not_sent=4, waiting=5, problems=(f"alert 7: {down}", f"alert 8: {down}")
    )
    channels = AlertChannels.of(AlertSettings(urls=["json://127.0.0.1/"]))
    text = said(5, 3, report, channels)
    assert text == (
        f"3 alerts raised, 2 repeated, 2 sent, 4 kept and not sent, 1 given up, 5 waiting: {down}"
    )
    assert not re.search(r"[=\[\]<>]", text)
