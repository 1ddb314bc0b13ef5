"""The sensor that closes the days which have landed in the source."""

from collections.abc import Collection, Sequence
from datetime import date, timedelta
from typing import Final

import dagster as dg

from fraud_assets.assets import DECISION
from fraud_assets.jobs import Job
from fraud_assets.metadata import RANGE_END_TAG, RANGE_START_TAG
from fraud_assets.resources.source import landed_days
from fraud_assets.settings import Settings
from fraud_assets.transactions.profile import Profile

NEW_DAY_SENSOR: Final = "new_day_sensor"


def build_new_day_sensor(
    settings: Settings, profile: Profile, daily_pipeline: Job
) -> dg.SensorDefinition:
    """The sensor `new_day_sensor`."""

    @dg.sensor(
        name=NEW_DAY_SENSOR,
        job=daily_pipeline,
        minimum_interval_seconds=30,
        default_status=dg.DefaultSensorStatus.STOPPED,
        description="Closes each day that has landed in the source; many at once in one run.",
    )
    def new_day_sensor(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        landed = landed_days(settings, profile)
        closed = closed_days(context.instance)
        awaited = first_absent({*landed, *closed}, settings.first_day)
        requested = date.fromisoformat(context.cursor) if context.cursor else date.min
        new = [d for d in landed if requested < d < awaited and d not in closed]
        if not new:
            newest = str(landed[-1]) if landed else "none"
            reason = f"no new day: {len(landed)} landed, the newest is {newest}"
            if landed and awaited < landed[-1]:
                later = sum(d > awaited for d in landed)
                reason += f"; {later} wait for {awaited}, which has not landed"
            return dg.SensorResult(skip_reason=reason, cursor=context.cursor)
        return dg.SensorResult(
            run_requests=[_close(first, last) for first, last in consecutive(new)],
            cursor=new[-1].isoformat(),
        )

    return new_day_sensor


def closed_days(instance: dg.DagsterInstance) -> set[date]:
    """The days whose close has come to its end: what follows from them has been decided.

    The first asset would not do: a day that stopped at a check would then count as closed.
    """
    return {
        date.fromisoformat(key)
        for key in instance.get_materialized_partitions(dg.AssetKey(DECISION))
    }


def first_absent(days: Collection[date], first: date) -> date:
    """The first day from `first` on that is not among `days`.

    No day after it can be closed, because its features look back over the absent one.

    >>> first_absent({date(2025, 1, 1), date(2025, 1, 3)}, date(2025, 1, 1))
    datetime.date(2025, 1, 2)
    """
    absent = first
    while absent in days:
        absent += timedelta(days=1)
    return absent


def consecutive(days: Sequence[date]) -> list[tuple[date, date]]:
    """Runs of consecutive days as (first, last).

    >>> consecutive([date(2025, 1, 1), date(2025, 1, 2), date(2025, 1, 4)])[1]
    (datetime.date(2025, 1, 4), datetime.date(2025, 1, 4))
    """
    spans: list[tuple[date, date]] = []
    for day in sorted(days):
        if spans and day - spans[-1][1] == timedelta(days=1):
            spans[-1] = (spans[-1][0], day)
        else:
            spans.append((day, day))
    return spans


def _close(first: date, last: date) -> dg.RunRequest:
    if first == last:
        return dg.RunRequest(run_key=f"day:{first}", partition_key=first.isoformat())
    return dg.RunRequest(
        run_key=f"days:{first}:{last}",
        tags={RANGE_START_TAG: first.isoformat(), RANGE_END_TAG: last.isoformat()},
    )
