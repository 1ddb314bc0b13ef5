"""Alerts reach real webhooks once each, over failures, and no secret reaches a log."""

from __future__ import annotations

import logging
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from fraud_assets.monitoring import alerts as wording
from fraud_assets.monitoring.alerts import Alert, Links, of_stale_day
from fraud_assets.resources import alerts as delivery
from fraud_assets.resources.alerts import (
    AlertChannelError,
    AlertChannels,
    DeliveryReport,
    deliver_pending,
)
from fraud_assets.settings import AlertSettings
from fraud_assets.simulation import quiet_logs
from fraud_assets.store import alerts as outbox
from fraud_assets.store.alerts import MAX_ATTEMPTS, StoredAlert, raise_alert, recent
from fraud_assets.store.engine import PredictionStore

NOON = datetime(2024, 6, 1, 12, tzinfo=UTC)
SECRET = "hunter2secret"


def day(number: int) -> date:
    return date(2024, 3, number)


def drift(number: int = 5, **more: Any) -> Alert:
    given = {
        "key": "drift:3",
        "kind": "drift",
        "severity": "warning",
        "day": day(number),
        "source": f"decision:{number}",
        "title": f"Inputs drifted on day {number}",
        "body": "drift share: 0.5",
        "link": None,
    }
    return Alert(**given | more)


def put(store: PredictionStore, alert: Alert, now: datetime = NOON) -> bool:
    return raise_alert(store, alert.model_dump(), now, quiet_days=3, remind_days=7)


def channels(*urls: str, **more: Any) -> AlertChannels:
    return AlertChannels.of(AlertSettings(urls=list(urls), **more))


def only(store: PredictionStore) -> StoredAlert:
    (found,) = recent(store, 10)
    return found


def report(**counts: int) -> tuple[int, ...]:
    names = ("sent", "failed", "not_sent", "waiting")
    return tuple(counts.get(name, 0) for name in names)


def counted(done: DeliveryReport) -> tuple[int, ...]:
    return (done.sent, done.failed, done.not_sent, done.waiting)


def test_an_alert_arrives_with_its_numbers_its_link_and_its_id(
    store: PredictionStore, webhook: Any
) -> None:
    put(store, of_stale_day(day(5), 130, Links("http://ui:3000")))
    assert counted(deliver_pending(store, channels(webhook.url()), NOON)) == report(sent=1)
    (got,) = webhook.got
    assert got["title"] == "Critical: Not closed: 2024-03-05"
    assert got["type"] == "failure"
    assert "2024-03-05 landed 2 hours ago" in got["message"]
    assert "http://ui:3000/assets/fraud_predictions?partition=2024-03-05" in got["message"]
    assert got["message"].endswith(f"Alert {only(store).id}")
    assert only(store).state == "sent"
    assert only(store).sent_at == NOON


def test_what_is_sent_is_not_sent_again(store: PredictionStore, webhook: Any) -> None:
    put(store, drift())
    box = channels(webhook.url())
    deliver_pending(store, box, NOON)
    assert counted(deliver_pending(store, box, NOON + timedelta(days=1))) == report()
    assert len(webhook.got) == 1


def test_a_server_that_fails_and_recovers_gets_the_alert_in_the_end(
    store: PredictionStore, webhook: Any
) -> None:
    put(store, drift())
    box, now = channels(webhook.url()), NOON
    webhook.status = 500
    for _ in range(3):
        done = deliver_pending(store, box, now)
        assert counted(done) == report(waiting=1)
        assert done.problems == (
            f"alert {only(store).id}: channel 1 (json): answered 500 Internal Server Error",
        )
        assert counted(deliver_pending(store, box, now)) == report(waiting=1)  # too soon
        now = only(store).next_attempt_at
    assert (len(webhook.got), only(store).attempts) == (3, 3)
    webhook.status = 200
    assert counted(deliver_pending(store, box, now)) == report(sent=1)
    assert len({one["message"] for one in webhook.got}) == 1  # one id


def test_the_cause_is_told_also_beside_a_progress_display(
    store: PredictionStore, webhook: Any
) -> None:
    put(store, drift())
    webhook.status = 500
    with quiet_logs():
        done = deliver_pending(store, channels(webhook.url()), NOON)
        assert logging.root.manager.disable == logging.WARNING
    assert "answered 500" in done.problems[0]


def test_an_alert_that_is_never_taken_is_given_up_and_kept(
    store: PredictionStore, webhook: Any
) -> None:
    put(store, drift())
    box, now = channels(webhook.url()), NOON
    webhook.status = 403
    for _ in range(MAX_ATTEMPTS):
        done = deliver_pending(store, box, now)
        now = only(store).next_attempt_at
    assert counted(done) == report(failed=1)
    assert only(store).state == "failed"
    assert only(store).last_error == "channel 1 (json): answered 403 Forbidden"
    deliver_pending(store, box, now + timedelta(days=30))
    assert len(webhook.got) == MAX_ATTEMPTS


def test_a_channel_that_has_the_alert_does_not_get_it_again_when_another_fails(
    store: PredictionStore, webhooks: Callable[[], Any]
) -> None:
    good, bad = webhooks(), webhooks()
    box, now = channels(bad.url(), good.url()), NOON
    bad.status = 503
    put(store, drift())
    for _ in range(2):
        assert counted(deliver_pending(store, box, now)) == report(waiting=1)
        now = only(store).next_attempt_at
    assert (len(good.got), len(bad.got)) == (1, 2)
    assert only(store).delivered == [box.channels[1].key]
    bad.status = 200
    assert counted(deliver_pending(store, box, now)) == report(sent=1)
    assert (len(good.got), len(bad.got)) == (1, 3)


def test_a_crash_between_two_channels_repeats_none(
    store: PredictionStore, webhooks: Callable[[], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = webhooks(), webhooks()
    box = channels(first.url(), second.url())
    put(store, drift())

    def crash(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(outbox, "mark_sent", crash)
        with pytest.raises(KeyboardInterrupt):
            deliver_pending(store, box, NOON)
    assert counted(deliver_pending(store, box, NOON)) == report(sent=1)
    assert (len(first.got), len(second.got)) == (1, 1)


def test_a_crash_before_the_mark_repeats_the_message_with_its_id(
    store: PredictionStore, webhook: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(store, drift())
    box = channels(webhook.url())

    def crash(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(outbox, "mark_delivered", crash)
        with pytest.raises(KeyboardInterrupt):
            deliver_pending(store, box, NOON)
    deliver_pending(store, box, NOON)
    assert [one["message"].splitlines()[-1] for one in webhook.got] == ["Alert 1", "Alert 1"]


def test_a_drift_that_lasts_is_told_once_and_again_after_a_week(
    store: PredictionStore, webhook: Any
) -> None:
    box = channels(webhook.url())
    for number in range(5, 15):
        now = NOON + timedelta(days=number - 5)
        put(store, drift(number), now)
        put(store, drift(number), now)  # the tick is repeated
        deliver_pending(store, box, now)
    assert webhook.titles == [
        "Warning: Inputs drifted on day 5",
        "Reminder: Inputs drifted on day 12",
    ]
    assert webhook.got[1]["message"].endswith("Alert 1.1, 8 times from 2024-03-05 to 2024-03-12")
    put(store, drift(20), NOON + timedelta(days=15))
    deliver_pending(store, box, NOON + timedelta(days=15))
    assert webhook.titles[2:] == ["Warning: Inputs drifted on day 20"]


def test_without_a_channel_alerts_are_kept_and_not_flushed_when_one_is_configured(
    store: PredictionStore, webhook: Any
) -> None:
    put(store, drift())
    assert counted(deliver_pending(store, channels(), NOON)) == report(not_sent=1)
    assert only(store).state == "not_sent"
    assert "FRAUD_ALERTS__URLS" in only(store).last_error
    box = channels(webhook.url())
    assert counted(deliver_pending(store, box, NOON + timedelta(days=9))) == report()
    assert webhook.got == []
    put(store, drift(6))  # it goes on, and by now somebody is there
    assert counted(deliver_pending(store, box, NOON)) == report(sent=1)


@pytest.mark.parametrize(("minimum", "arrives"), [("info", 3), ("warning", 2), ("critical", 1)])
def test_what_is_less_urgent_than_the_minimum_is_kept_and_not_sent(
    store: PredictionStore, webhook: Any, minimum: str, arrives: int
) -> None:
    for severity in wording.SEVERITIES:
        put(store, drift(key=severity, severity=severity))
    done = deliver_pending(store, channels(webhook.url(), minimum_severity=minimum), NOON)
    assert counted(done) == report(sent=arrives, not_sent=3 - arrives)
    assert len(webhook.got) == arrives
    assert {one.state for one in recent(store, 10)} <= {"sent", "not_sent"}


def test_a_server_that_does_not_answer_in_time_is_tried_again(
    store: PredictionStore, webhook: Any
) -> None:
    put(store, drift())
    webhook.answers.clear()
    begun = time.monotonic()
    done = deliver_pending(store, channels(webhook.url("/?rto=0.2")), NOON)
    assert time.monotonic() - begun < 2
    assert counted(done) == report(waiting=1)
    assert only(store).last_error == "channel 1 (json): no connection, or no answer in time"


def test_a_message_has_a_time_limit_whatever_the_url_says(
    store: PredictionStore, webhook: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery, "SECONDS_PER_MESSAGE", 0.3)
    put(store, drift())
    webhook.answers.clear()
    begun = time.monotonic()
    done = deliver_pending(store, channels(webhook.url("/?rto=60")), NOON)
    assert time.monotonic() - begun < 3
    assert "not done within" in done.problems[0]


def test_what_is_not_reached_in_time_waits_for_the_next_tick(
    store: PredictionStore, webhook: Any
) -> None:
    for place in range(3):
        put(store, drift(key=f"k{place}"))
    box = channels(webhook.url())
    assert counted(deliver_pending(store, box, NOON, seconds=-1)) == report(waiting=3)
    assert {one.attempts for one in recent(store, 10)} == {0}
    assert counted(deliver_pending(store, box, NOON)) == report(sent=3)


def test_a_server_that_is_not_there_is_a_failure_like_another(store: PredictionStore) -> None:
    put(store, drift())
    done = deliver_pending(store, channels("json://127.0.0.1:1/"), NOON)
    assert counted(done) == report(waiting=1)
    assert "no connection" in done.problems[0]


@pytest.mark.parametrize(
    ("url", "said"),
    [
        (f"nosuch://{SECRET}", "nosuch://"),
        (f"slack://{SECRET}", "slack://"),
        (f"JSON://:{SECRET}@", "json://"),
        (SECRET, "no scheme"),
        (f'["json://{SECRET}"', "no scheme"),
        ("", "no scheme"),
    ],
)
def test_a_url_that_apprise_cannot_use_is_named_by_its_place_without_its_secret(
    url: str, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    with pytest.raises(AlertChannelError, match="alert URL 2") as refused:
        channels("json://127.0.0.1/", url)
    assert said in str(refused.value)
    assert SECRET not in str(refused.value)
    assert refused.value.__cause__ is None
    assert SECRET not in caplog.text


def test_no_secret_reaches_a_log_an_error_or_the_store(
    store: PredictionStore,
    webhook: Any,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    caplog.set_level(1)
    webhook.status = 500
    urls = [
        f"json://user:{SECRET}@127.0.0.1:{webhook.port}/{SECRET}?-token={SECRET}",
        f"json://{SECRET}.invalid/{SECRET}",
        f"mailto://user:{SECRET}@mail.test:1/?smtp=127.0.0.1&to={SECRET}@mail.test",
    ]
    box = channels(*urls)
    put(store, drift())
    done = deliver_pending(store, box, NOON)
    assert len(done.problems) == 3
    seen = [caplog.text, *capfd.readouterr(), repr(done), repr(box), repr(only(store))]
    assert not [text for text in seen if SECRET in text]


def test_a_url_that_is_named_twice_is_one_channel(store: PredictionStore, webhook: Any) -> None:
    put(store, drift())
    box = channels(webhook.url(), f" {webhook.url()}", webhook.url("/other"))
    assert len(box.channels) == 2
    deliver_pending(store, box, NOON)
    assert len(webhook.got) == 2


def test_without_a_url_apprise_is_not_imported() -> None:
    code = (
        "import sys; from fraud_assets.resources.alerts import AlertChannels; "
        "from fraud_assets.settings import AlertSettings; AlertChannels.of(AlertSettings()); "
        "sys.exit('apprise' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
