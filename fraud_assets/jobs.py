"""The jobs: which assets a close of day, and a retraining, materialise."""

from __future__ import annotations

from typing import Final

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

DAILY_PIPELINE: Final = "daily_pipeline"
RETRAINING: Final = "retraining"


def build_jobs() -> list[UnresolvedAssetJobDefinition]:
    """`daily_pipeline` is everything but the models; `retraining` is the models."""
    models = dg.AssetSelection.groups("models")
    return [
        dg.define_asset_job(
            DAILY_PIPELINE,
            selection=dg.AssetSelection.all() - models,
            description=(
                "The close of a day: ingest, validate, label, featurise, score, and report on "
                "drift and performance. Many days run as one run."
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
    ]
