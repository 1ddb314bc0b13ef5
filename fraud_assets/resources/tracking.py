"""Experiment tracking through dagster-mlflow.

dagster-mlflow opens one MLflow run per Dagster run. Every trained day is a nested run in it, and
every trial a nested run in that. The library leaves runs open that its hook does not see, so
whoever opens a run here ends it, with its status.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import dagster as dg

from fraud_assets.settings import Settings


class Tracking:
    """What the assets use of MLflow while they train and evaluate."""

    def __init__(self, mlflow: Any) -> None:  # noqa: ANN401  the library's class is untyped
        self._mlflow = mlflow
        self.failed = False

    @contextmanager
    def nested_run(self, name: str, tags: Mapping[str, str]) -> Iterator[str]:
        """Open a nested MLflow run, yield its id, and end it as finished or failed."""
        run = self._mlflow.start_run(run_name=name, nested=True, tags=dict(tags))
        try:
            yield run.info.run_id
        except BaseException:
            self.failed = True
            self._mlflow.end_run(status="FAILED")
            raise
        self._mlflow.end_run(status="FINISHED")

    def log_trial(self, number: int, params: Mapping[str, Any], value: float | None) -> None:
        """Keep one Optuna trial as a nested run of the one that is open."""
        with self.nested_run(f"trial {number}", {}):
            self._mlflow.log_params(dict(params))
            if value is not None:
                self._mlflow.log_metric("validation_average_precision", value)

    def log_params(self, params: Mapping[str, Any]) -> None:
        """Parameters of the open run."""
        self._mlflow.log_params(dict(params))

    def log_metrics(self, metrics: Mapping[str, float | None]) -> None:
        """Metrics of the open run; one that could not be computed is left out, not zero."""
        self._mlflow.log_metrics({k: float(v) for k, v in metrics.items() if v is not None})

    def log_document(self, name: str, content: str | bytes) -> None:
        """A small file among the artefacts of the open run."""
        if isinstance(content, str):
            self._mlflow.log_text(content, name)
            return
        import tempfile
        from pathlib import Path

        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / name
            path.write_bytes(content)
            self._mlflow.log_artifact(str(path))


def tracking_resource(settings: Settings) -> dg.ResourceDefinition:
    """One MLflow run around the Dagster run; mlflow is imported when a run first needs it."""

    def create(context: dg.InitResourceContext) -> Iterator[Tracking]:
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
        import mlflow
        from dagster_mlflow.resources import MlFlow

        mlflow.set_tracking_uri(settings.mlflow_uri)
        # Without a location of ours MLflow puts artefacts beside whatever folder we run in.
        if mlflow.get_experiment_by_name(settings.mlflow_experiment) is None:
            mlflow.create_experiment(
                settings.mlflow_experiment, artifact_location=settings.mlflow_artifact_root
            )
        library = MlFlow(
            context.replace_config(
                {
                    "experiment_name": settings.mlflow_experiment,
                    "mlflow_tracking_uri": settings.mlflow_uri,
                    "env": {},
                    "extra_tags": {},
                }
            )
        )
        tracking = Tracking(library)
        try:
            yield tracking
        finally:
            mlflow.end_run(status="FAILED" if tracking.failed else "FINISHED")

    return dg.ResourceDefinition(
        dg.resource(create).resource_fn,
        description="MLflow tracking (dagster-mlflow): one MLflow run per Dagster run.",
    )
