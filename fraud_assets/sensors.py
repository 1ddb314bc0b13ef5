"""The sensors: they collect facts from the instance, ask the policy, and request runs.

No rule belongs here: what counts as drift or decay, and when to wait, is `monitoring.policy`. A
sensor remembers the last report it read by its storage id, so that nothing is decided twice, and
a day that is reported again is decided again.
"""

from collections.abc import Collection, Sequence
from datetime import date, timedelta
from typing import Final, TypeVar

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

from fraud_assets.assets import DRIFT, FEATURES, PERFORMANCE, VALIDATED
from fraud_assets.jobs import RETRAINING
from fraud_assets.metadata import DriftRecord, PerformanceRecord, Record, ValidationRecord
from fraud_assets.modeling.splits import days_needed, training_end
from fraud_assets.monitoring.policy import (
    DriftFacts,
    FirstTrainingFacts,
    PerformanceFacts,
    PipelineState,
    RetrainingDecision,
    decide_on_drift,
    decide_on_performance,
    first_training_decision,
)
from fraud_assets.resources.source import landed_days
from fraud_assets.settings import Settings
from fraud_assets.store.engine import PredictionStore
from fraud_assets.transactions.profile import Profile

NEW_DAY_SENSOR: Final = "new_day_sensor"
DRIFT_SENSOR: Final = "drift_retraining_sensor"
PERFORMANCE_SENSOR: Final = "performance_retraining_sensor"

REPORT_TAG: Final = "fraud_assets/report"
REASON_TAG: Final = "fraud_assets/reason"
PARTITION_TAG: Final = "dagster/partition"
RANGE_START_TAG: Final = "dagster/asset_partition_range_start"
RANGE_END_TAG: Final = "dagster/asset_partition_range_end"

REPORTS_PER_TICK: Final = 200
RUNS_LOOKED_AT: Final = 200

R = TypeVar("R", bound=Record)


def build_sensors(
    settings: Settings,
    profile: Profile,
    daily_pipeline: UnresolvedAssetJobDefinition,
    retraining: UnresolvedAssetJobDefinition,
) -> list[dg.SensorDefinition]:
    """The three sensors of an installation."""
    choices = profile.monitoring

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

    @dg.sensor(
        name=DRIFT_SENSOR,
        job=retraining,
        minimum_interval_seconds=30,
        default_status=dg.DefaultSensorStatus.STOPPED,
        description=(
            f"Retrains when a drift report reaches {choices.drift_share_threshold:.0%} drifted "
            "inputs, data quality, cooldown and mature frauds allowing. Once per report."
        ),
    )
    def drift_retraining_sensor(
        context: dg.SensorEvaluationContext, store: dg.ResourceParam[PredictionStore]
    ) -> dg.SensorResult:
        event, cursor = newest_unread(context, DRIFT)
        if event is None:
            return nothing_new(cursor)
        report = DriftRecord.from_event(_materialization(event))
        facts = DriftFacts(
            day=report.day,
            storage_id=event.storage_id,
            rows=report.rows,
            drift_share=report.drift_share,
            drifted_columns=tuple(report.drifted_columns),
            score_drift=report.score_drift,
            not_measured=None if report.status == "measured" else report.status,
        )
        since = drifting_since(context.instance, report.day, choices.drift_share_threshold)
        state = pipeline_state(
            context.instance,
            store,
            profile,
            asset=DRIFT,
            day=report.day,
            storage_id=event.storage_id,
            since=since,
        )
        return act(context, decide_on_drift(facts, state, choices), cursor)

    @dg.sensor(
        name=PERFORMANCE_SENSOR,
        job=retraining,
        minimum_interval_seconds=30,
        default_status=dg.DefaultSensorStatus.STOPPED,
        description=(
            f"Retrains when realised average precision falls {choices.performance_drop:.0%} below "
            "the champion's at its gate, and trains the first model once there are labels enough."
        ),
    )
    def performance_retraining_sensor(
        context: dg.SensorEvaluationContext, store: dg.ResourceParam[PredictionStore]
    ) -> dg.SensorResult:
        event, cursor = newest_unread(context, PERFORMANCE)
        if event is None:
            return nothing_new(cursor)
        report = PerformanceRecord.from_event(_materialization(event))
        key = event.storage_id
        since = decaying_since(context.instance, report, choices.performance_drop)
        state = pipeline_state(
            context.instance,
            store,
            profile,
            asset=PERFORMANCE,
            day=report.day,
            storage_id=key,
            since=since,
        )
        if state.champion_version is None:
            first = FirstTrainingFacts(
                day=report.day,
                storage_id=key,
                labelled_days=_days_up_to(context.instance, FEATURES, report.day),
                needed_days=days_needed(profile.label_delay_days, profile.training),
            )
            return act(context, first_training_decision(first, state, choices), cursor)
        facts = PerformanceFacts(
            day=report.day,
            storage_id=key,
            average_precisions=_champions_days(context.instance, state.champion_version),
            gate_average_precision=report.champion_gate_average_precision,
        )
        return act(context, decide_on_performance(facts, state, choices), cursor)

    return [new_day_sensor, drift_retraining_sensor, performance_retraining_sensor]


def closed_days(instance: dg.DagsterInstance) -> set[date]:
    """The days whose close has come to its end: both reports at the end of the graph are there.

    The first asset would not do: a day that stopped at a check would then count as closed.
    """
    last = [instance.get_materialized_partitions(dg.AssetKey(a)) for a in (DRIFT, PERFORMANCE)]
    return {date.fromisoformat(key) for key in set.intersection(*last)}


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


def newest_unread(
    context: dg.SensorEvaluationContext, asset: str
) -> tuple[dg.EventLogRecord | None, str | None]:
    """The newest report of the newest day among the unread ones, and the cursor after them all.

    The policy refuses a report of an older day, and a day that was repaired and reported again is
    not judged by what it was before. So no other report can lead to anything, and weighing each
    of a long backfill took longer than the minute that the daemon gives to a tick.
    """
    after = int(context.cursor) if context.cursor else None
    unread = context.instance.fetch_materializations(
        dg.AssetRecordsFilter(asset_key=dg.AssetKey(asset), after_storage_id=after),
        limit=REPORTS_PER_TICK,
        ascending=True,
    ).records
    if not unread:
        return None, context.cursor
    newest = max(unread, key=lambda event: (event.partition_key or "", event.storage_id))
    return newest, str(unread[-1].storage_id)


def nothing_new(cursor: str | None) -> dg.SensorResult:
    """No report since the one that the cursor names."""
    return dg.SensorResult(skip_reason=f"no new report since {cursor or 0}", cursor=cursor)


def pipeline_state(
    instance: dg.DagsterInstance,
    store: PredictionStore,
    profile: Profile,
    *,
    asset: str,
    day: date,
    storage_id: int,
    since: date,
) -> PipelineState:
    """What the policy has to know beside a report of `asset` for `day`.

    The frauds that count are those on the days since `since` that a training as of `day` would
    learn from: before labels of the changed days have matured and passed the gate's days, a
    retraining would learn the old world again. Without a champion every day counts.
    """
    from fraud_assets.store.promotions import champion_on

    runs = instance.get_run_records(dg.RunsFilter(job_name=RETRAINING), limit=RUNS_LOOKED_AT)
    days = [
        date.fromisoformat(r.dagster_run.tags[PARTITION_TAG])
        for r in runs
        if PARTITION_TAG in r.dagster_run.tags
    ]
    handled = {r.dagster_run.tags.get(REPORT_TAG) for r in runs}
    reported = instance.get_materialized_partitions(dg.AssetKey(asset))
    validation = latest(instance, VALIDATED, day, ValidationRecord)
    champion = champion_on(store, day + timedelta(days=1))
    learnt = training_end(day, profile.label_delay_days, profile.training)
    return PipelineState(
        quarantine_share=validation.reject_share if validation else None,
        last_retraining_day=max(days, default=None),
        retraining_running=any(not r.dagster_run.is_finished for r in runs),
        mature_positives=frauds_between(instance, since if champion else date.min, learnt),
        newest_report_day=max(map(date.fromisoformat, reported), default=None),
        handled_ids=frozenset({storage_id} if f"{asset}:{storage_id}" in handled else ()),
        champion_version=champion.version if champion else None,
    )


def drifting_since(instance: dg.DagsterInstance, day: date, threshold: float) -> date:
    """The first of the consecutive days up to `day` whose drift share reached the threshold."""
    reports = latest_by_day(instance, DRIFT, DriftRecord)
    first = day
    while (before := reports.get(first - timedelta(days=1))) is not None:
        if before.drift_share is None or before.drift_share < threshold:
            break
        first = before.day
    return first


def decaying_since(instance: dg.DagsterInstance, report: PerformanceRecord, allowed: float) -> date:
    """The first matured day of the decay that `report` is part of.

    Goes back over the days of the same champion until two in a row were good: average precision
    of a single day is too noisy for one to end a decay.
    """
    gate, first = report.champion_gate_average_precision, report.matured_day or report.day
    if gate is None:
        return first
    reports = latest_by_day(instance, PERFORMANCE, PerformanceRecord)
    good = 0
    for day in sorted((d for d in reports if d <= report.day), reverse=True):
        one = reports[day]
        if one.model_version != report.model_version or one.matured_day is None:
            break
        if one.average_precision is not None and one.average_precision >= (1 - allowed) * gate:
            good += 1
            if good == 2:
                break
            continue
        good, first = 0, one.matured_day
    return first


def frauds_between(instance: dg.DagsterInstance, first: date, last: date) -> int:
    """Frauds that are known of the days from `first` to `last`, by the performance reports."""
    reports = latest_by_day(instance, PERFORMANCE, PerformanceRecord).values()
    return sum(
        r.positives for r in reports if r.matured_day is not None and first <= r.matured_day <= last
    )


def latest(instance: dg.DagsterInstance, asset: str, day: date, record: type[R]) -> R | None:
    """The newest record of an asset's day; None where it was never materialised."""
    found = instance.fetch_materializations(
        dg.AssetRecordsFilter(asset_key=dg.AssetKey(asset), asset_partitions=[day.isoformat()]),
        limit=1,
    ).records
    return record.from_event(_materialization(found[0])) if found else None


def latest_by_day(instance: dg.DagsterInstance, asset: str, record: type[R]) -> dict[date, R]:
    """The newest record of every day of an asset."""
    found: dict[date, R] = {}
    cursor: str | None = None
    while True:
        page = instance.fetch_materializations(
            dg.AssetKey(asset), limit=REPORTS_PER_TICK, cursor=cursor
        )
        for event in page.records:
            if event.partition_key is not None:
                day = date.fromisoformat(event.partition_key)
                if day not in found:
                    found[day] = record.from_event(_materialization(event))
        if not page.has_more:
            return found
        cursor = page.cursor


def act(
    context: dg.SensorEvaluationContext, decision: RetrainingDecision, cursor: str | None
) -> dg.SensorResult:
    """Request the retraining that was decided on, or say why not."""
    context.log.info(f"{decision.day}: {decision.action}: {decision.reason}")
    if decision.action == "skip":
        return dg.SensorResult(skip_reason=decision.reason, cursor=cursor)
    asset = DRIFT if decision.trigger == "drift" else PERFORMANCE
    return dg.SensorResult(
        run_requests=[
            dg.RunRequest(
                run_key=decision.run_key,
                partition_key=decision.day.isoformat(),
                tags={REPORT_TAG: f"{asset}:{decision.storage_id}", REASON_TAG: decision.reason},
            )
        ],
        cursor=cursor,
    )


def _champions_days(instance: dg.DagsterInstance, version: str) -> tuple[float | None, ...]:
    """Average precision of the matured days that `version` scored, oldest first."""
    reports = latest_by_day(instance, PERFORMANCE, PerformanceRecord)
    return tuple(
        reports[day].average_precision
        for day in sorted(reports)
        if reports[day].matured_day is not None and reports[day].model_version == version
    )


def _days_up_to(instance: dg.DagsterInstance, asset: str, day: date) -> int:
    keys = instance.get_materialized_partitions(dg.AssetKey(asset))
    return sum(date.fromisoformat(key) <= day for key in keys)


def _materialization(event: dg.EventLogRecord) -> dg.AssetMaterialization:
    found = event.asset_materialization
    if found is None:
        raise TypeError(f"event {event.storage_id} is not a materialisation")
    return found
