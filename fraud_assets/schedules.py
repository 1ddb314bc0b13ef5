"""Schedules: a nightly retraining, for whoever wants it, and the deletion of old days."""

import dagster as dg

from fraud_assets.assets import FEATURES
from fraud_assets.jobs import Job
from fraud_assets.retention import DELETE_OLD_DAYS


def build_schedules(
    retraining: Job, retention: Job, keep_days: int | None
) -> list[dg.ScheduleDefinition]:
    """Retrain every night as of the newest day that has features; delete old days every night.

    The loop retrains when there is a reason to; a nightly training costs many times more and gains
    little (`make bench-loop`), which is why it is off. Days are deleted only where the settings say
    how many are kept.
    """

    @dg.schedule(
        name="daily_retraining",
        job=retraining,
        cron_schedule="0 3 * * *",
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.STOPPED,
        description="Retrains every night as of the newest day with features; off by default.",
    )
    def daily_retraining(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        keys = context.instance.get_materialized_partitions(dg.AssetKey(FEATURES))
        if not keys:
            return dg.SkipReason(f"no day of {FEATURES} has been materialised yet")
        newest = max(keys)
        return dg.RunRequest(run_key=f"daily_retraining:{newest}", partition_key=newest)

    if keep_days is None:
        return [daily_retraining]
    daily_retention = dg.ScheduleDefinition(
        name="daily_retention",
        job=retention,
        cron_schedule="0 4 * * *",
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.RUNNING,
        run_config={"ops": {DELETE_OLD_DAYS: {"config": {"keep_days": keep_days}}}},
        description=f"Every night: what is older than {keep_days} days leaves the store.",
    )
    return [daily_retraining, daily_retention]
