"""The sensor that tells people what was decided or promoted, what failed, and what is late."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Final

import dagster as dg
from pydantic import AwareDatetime, BaseModel

from fraud_assets.assets.monitoring.dashboard import as_decision
from fraud_assets.metadata import PARTITION_TAG, RANGE_END_TAG, RANGE_START_TAG
from fraud_assets.monitoring.alerts import (
    Alert,
    Links,
    of_decision,
    of_failed_run,
    of_promotion,
    of_silence,
    of_stale_day,
)
from fraud_assets.resources.alerts import AlertChannels, DeliveryReport, deliver_pending
from fraud_assets.resources.source import landed_days
from fraud_assets.sensors.new_day import closed_days
from fraud_assets.settings import AlertSettings, Settings
from fraud_assets.store.engine import PredictionStore
from fraud_assets.transactions.profile import Profile
from fraud_assets.transactions.sources import SourceError

ALERT_SENSOR: Final = "alert_sensor"

WILL_RETRY_TAG: Final = "dagster/will_retry"
"""Dagster's own: the run is tried again, so that its failure is not the end."""

FIRST_LOOK: Final = timedelta(days=1)
"""How far back a sensor that is switched on looks for failed runs."""

OVERLAP: Final = timedelta(minutes=1)
"""Runs are asked for by the time of their last change; the outbox counts none twice."""


class Seen(BaseModel):
    """The cursor: what has been looked at, and since when days have been waiting."""

    decision: int = 0
    promotion: int = 0
    failures_until: AwareDatetime | None = None
    waiting: dict[date, AwareDatetime] = {}
    newest_landed: date | None = None
    newest_landed_at: AwareDatetime | None = None


def build_alert_sensor(settings: Settings, profile: Profile) -> dg.SensorDefinition:
    """The sensor `alert_sensor`."""
    choices = settings.alerts
    links = Links(choices.ui_url)

    @dg.sensor(
        name=ALERT_SENSOR,
        minimum_interval_seconds=30,
        default_status=dg.DefaultSensorStatus.STOPPED,
        description=(
            "Tells people through Apprise of drift, decay, broken data, changes of service, "
            "promotions and refusals, failed runs and late days: once per episode, with the "
            "numbers and a link. Where to is set by FRAUD_ALERTS__URLS."
        ),
    )
    def alert_sensor(
        context: dg.SensorEvaluationContext, store: dg.ResourceParam[PredictionStore]
    ) -> dg.SensorResult:
        from fraud_assets.store.alerts import raise_alert

        now = datetime.now(UTC)
        seen = Seen.model_validate_json(context.cursor) if context.cursor else Seen()
        closed = closed_days(context.instance)
        landed = _landed(settings, profile, seen, closed)
        found = [
            *_decided(store, seen, links, choices),
            *_promoted(store, seen, links, choices, now),
            *_failed(context.instance, seen, links, now),
            *_late(seen, landed, closed, links=links, choices=choices, now=now),
            *_silent(seen, landed, settings, links, now),
        ]
        raised = sum(
            raise_alert(
                store,
                alert.model_dump(),
                now,
                quiet_days=choices.quiet_days,
                remind_days=choices.remind_days,
                quiet_hours=choices.quiet_hours,
            )
            for alert in found
        )
        channels = AlertChannels.of(choices)
        told = said(len(found), raised, deliver_pending(store, channels, now), channels)
        return dg.SensorResult(skip_reason=told, cursor=seen.model_dump_json())

    return alert_sensor


def said(found: int, raised: int, report: DeliveryReport, channels: AlertChannels) -> str:
    """What a tick has done, in one sentence with its numbers.

    Args:
        found: alerts that were made from what is new.
        raised: how many of these a message is due for; the others repeat what is known.
        report: of the delivery, which also takes what earlier ticks have left.
        channels: where to.
    """
    counts = {
        "repeated": found - raised,
        "sent": report.sent,
        "kept and not sent": report.not_sent,
        "given up": report.failed,
        "waiting": report.waiting,
    }
    parts = [f"{raised} {'alert' if raised == 1 else 'alerts'} raised"]
    parts += [f"{count} {what}" for what, count in counts.items() if count]
    # One server that is down is one problem, however many alerts wait for it.
    problems = list(dict.fromkeys(one.partition(": ")[2] for one in report.problems))
    if report.not_sent and not channels.channels:
        problems.append("FRAUD_ALERTS__URLS names no channel")
    return ", ".join(parts) + (": " + "; ".join(problems) if problems else "")


def _decided(
    store: PredictionStore, seen: Seen, links: Links, choices: AlertSettings
) -> Iterator[Alert]:
    from fraud_assets.store.decisions import history

    unread = history(store, since_id=seen.decision)
    newest = max((one.day for one in unread), default=date.min)
    for one in unread:
        assert one.id is not None  # noqa: S101  what is stored has one
        seen.decision = one.id
        if _is_news(one.day, newest, choices):
            yield from of_decision(as_decision(one), one.id, links)


def _promoted(
    store: PredictionStore, seen: Seen, links: Links, choices: AlertSettings, now: datetime
) -> Iterator[Alert]:
    from fraud_assets.store.promotions import history

    unread = history(store, since_id=seen.promotion)
    newest = max((one.day for one in unread), default=date.min)
    for one in unread:
        seen.promotion = one.id or seen.promotion
        # Promotions are rare: the newest that is unread may be weeks old itself.
        recorded = now - one.created_at if one.created_at is not None else timedelta()
        is_recent = recorded <= timedelta(days=max(1, choices.quiet_days))
        if is_recent and _is_news(one.day, newest, choices):
            yield of_promotion(
                one.day,
                one.action,
                one.version,
                one.previous_version,
                one.reason,
                promotion_id=seen.promotion,
                links=links,
                # The gate's. A change of service has none of its own.
                numbers=one.numbers if one.action in ("promote", "keep") else None,
            )


def _is_news(day: date, newest: date, choices: AlertSettings) -> bool:
    """A sensor that was off for long does not tell of what is over."""
    return (newest - day).days <= choices.quiet_days


def _failed(
    instance: dg.DagsterInstance, seen: Seen, links: Links, now: datetime
) -> Iterator[Alert]:
    since = seen.failures_until or now - FIRST_LOOK
    seen.failures_until = now
    records = instance.get_run_records(
        dg.RunsFilter(statuses=[dg.DagsterRunStatus.FAILURE], updated_after=since - OVERLAP),
        ascending=True,
    )
    for record in records:
        run = record.dagster_run
        if run.tags.get(WILL_RETRY_TAG) == "true":
            continue
        step, error = _cause(instance, run.run_id)
        yield of_failed_run(run.run_id, run.job_name, _days_of(run.tags), step, error, links=links)


def _cause(instance: dg.DagsterInstance, run_id: str) -> tuple[str | None, str]:
    """The first step that failed, and why; without one, why the run did."""
    failures = instance.all_logs(run_id, of_type=dg.DagsterEventType.STEP_FAILURE)
    for entry in failures:
        event = entry.dagster_event
        if event is not None and event.is_step_failure:
            error = event.step_failure_data.error
            cause = error.cause if error is not None and error.cause is not None else error
            return event.step_key, cause.message if cause is not None else ""
    ends = instance.all_logs(run_id, of_type=dg.DagsterEventType.RUN_FAILURE)
    return None, next((entry.user_message or entry.message for entry in ends), "")


def _days_of(tags: Mapping[str, str]) -> list[date]:
    names = (PARTITION_TAG, RANGE_START_TAG, RANGE_END_TAG)
    return sorted({day for name in names if (day := _day(tags.get(name, ""))) is not None})


def _day(partition: str) -> date | None:
    """The instance may hold other people's jobs too, whose partitions need not be days."""
    try:
        return date.fromisoformat(partition)
    except ValueError:
        return None


def _landed(settings: Settings, profile: Profile, seen: Seen, closed: set[date]) -> list[date]:
    """The days that have landed; where the source cannot tell, those that are known to have.

    A source that is down, or an SQL source without a query for its days, must not keep back what
    there is to tell. A day that was waiting waits on.
    """
    try:
        return landed_days(settings, profile)
    except SourceError:
        return sorted({*seen.waiting, *closed, *filter(None, [seen.newest_landed])})


def _late(
    seen: Seen,
    landed: Sequence[date],
    closed: set[date],
    *,
    links: Links,
    choices: AlertSettings,
    now: datetime,
) -> Iterator[Alert]:
    """Days that landed after the last closed one and are still not closed.

    Earlier ones may have been closed by a version that took no decisions.
    """
    last = max(closed, default=date.min)
    open_days = [day for day in landed if day > last]
    seen.waiting = {day: seen.waiting.get(day, now) for day in open_days}
    for day, since in seen.waiting.items():
        minutes = int((now - since).total_seconds() // 60)
        if minutes >= choices.stale_after_minutes:
            yield of_stale_day(day, minutes, links)


def _silent(
    seen: Seen, landed: Sequence[date], settings: Settings, links: Links, now: datetime
) -> Iterator[Alert]:
    """No new day for a long time, where the deployment says what is long."""
    newest = landed[-1] if landed else None
    if seen.newest_landed_at is None or newest != seen.newest_landed:
        seen.newest_landed, seen.newest_landed_at = newest, now
    limit = settings.alerts.silent_after_minutes
    minutes = int((now - seen.newest_landed_at).total_seconds() // 60)
    if limit is not None and minutes >= limit and newest != settings.last_day:
        yield of_silence(newest, minutes, links)
