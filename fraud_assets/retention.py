"""The job `retention`: what the store no longer needs to keep."""

from dataclasses import asdict

import dagster as dg

from fraud_assets.store.engine import PredictionStore

RETENTION = "retention"
DELETE_OLD_DAYS = "delete_old_days"


class RetentionConfig(dg.Config):
    """How many days of predictions and answers stay, the newest one included."""

    keep_days: int


@dg.op(
    name=DELETE_OLD_DAYS,
    description="Deletes old predictions, answers and shadow scores; labels and records stay.",
)
def delete_old_days(
    context: dg.OpExecutionContext,
    config: RetentionConfig,
    store: dg.ResourceParam[PredictionStore],
) -> None:
    """Delete the days before the newest `keep_days`."""
    from fraud_assets.store.retention import keep_newest

    report = keep_newest(store, config.keep_days)
    context.add_output_metadata(asdict(report))


def build_retention() -> dg.JobDefinition:
    """The job."""

    @dg.job(
        name=RETENTION,
        description=(
            "Delete the store's predictions and the API's answers that are older than "
            "FRAUD_KEEP_DAYS. `fraud-assets prune` does the same by hand."
        ),
    )
    def retention() -> None:
        delete_old_days()

    return retention
