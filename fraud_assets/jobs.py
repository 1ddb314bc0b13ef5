"""The jobs: which assets a close of day, and a retraining, materialise."""

from __future__ import annotations

from typing import Final

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

from fraud_assets.assets import RETRAINING
from fraud_assets.retention import RETENTION, build_retention
from fraud_assets.rollback import ROLLBACK, build_rollback

__all__ = ["DAILY_PIPELINE", "RETENTION", "RETRAINING", "ROLLBACK", "Job", "build_jobs"]

DAILY_PIPELINE: Final = "daily_pipeline"

Job = UnresolvedAssetJobDefinition | dg.JobDefinition


def build_jobs() -> list[Job]:
    """All but the models (`daily_pipeline`), the models (`retraining`), and two ops' jobs."""
    models = dg.AssetSelection.groups("models")
    return [
        dg.define_asset_job(
            DAILY_PIPELINE,
            selection=dg.AssetSelection.all() - models,
            description=(
                "The close of a day: ingest, validate, label, featurise, score, and report on "
                "drift and performance, and decide what follows. Many days run as one run."
            ),
        ),
        dg.define_asset_job(
            RETRAINING,
            selection=models,
            description=(
                "Train a candidate as of the day, judge it against the champion on later "
                "label-mature days, and promote it if it clears the gate."
            ),
        ),
        build_rollback(),
        build_retention(),
    ]
