"""The daily retraining schedule: there for whoever wants it, off by default."""

import dagster as dg

from fraud_assets.assets import FEATURES
from fraud_assets.jobs import Job


def build_schedules(retraining: Job) -> list[dg.ScheduleDefinition]:
    """Retrain every night as of the newest day that has features.

    The loop retrains when there is a reason to; a nightly training costs many times more and gains
    little (`make bench-loop`), which is why it is off.
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

    return [daily_retraining]
