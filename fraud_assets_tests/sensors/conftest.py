"""An installation whose days are reported by hand, and real ticks of its sensors."""

from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml

from fraud_assets.assets import DRIFT, FEATURES, PERFORMANCE, VALIDATED
from fraud_assets.definitions import build_defs
from fraud_assets.jobs import RETRAINING
from fraud_assets.metadata import DriftRecord, PerformanceRecord, Record, ValidationRecord
from fraud_assets.resources import store_resource
from fraud_assets.settings import Settings
from fraud_assets.store.engine import PredictionStore
from fraud_assets.store.migrate import migrate
from fraud_assets.store.promotions import Promotion, record

FIRST = date(2025, 1, 1)


def day(index: int) -> date:
    return FIRST + timedelta(days=index)


PROFILE = {
    "name": "small",
    "columns": {
        "transaction_id": "id",
        "time": {"column": "at"},
        "amount": {"column": "amount"},
        "payer": "from",
        "label": {"column": "fraud", "delay_days": 1},
    },
    "features": {"payer": {"windows_days": [1], "aggregates": ["count"]}},
    "training": {"window_days": 7, "validation_days": 1, "gate_days": 2},
    "monitoring": {
        "drift_share_threshold": 0.3,
        "min_rows": 100,
        "max_quarantine_share": 0.02,
        "cooldown_days": 2,
        "min_mature_positives": 30,
        "performance_drop": 0.25,
        "performance_days": 4,
    },
}


class Pipeline:
    """An installation whose days are reported by hand instead of computed."""

    def __init__(self, settings: Settings, instance: dg.DagsterInstance) -> None:
        self.settings, self.instance = settings, instance
        self.defs = build_defs(settings)
        self.repository = self.defs.get_repository_def()
        migrate(settings.store_sqlalchemy_url)

    def report(self, asset: str, one: date, metadata: Record | None = None) -> None:
        self.instance.report_runless_asset_event(
            dg.AssetMaterialization(
                asset, partition=str(one), metadata=metadata.to_dagster() if metadata else {}
            )
        )

    def drift(self, one: date, share: float | None = 0.1, **changes: Any) -> None:
        values: dict[str, Any] = {
            "day": one, "status": "measured", "drift_share": share,
            "drifted_columns": ["amount"], "score_drift": 0.2, "rows": 5000,
            "reference_rows": 5000, "reference": "earlier", "method": "distance",
            "column_threshold": 0.1, "champion_version": "1", "report_path": "",
        }  # fmt: skip
        self.report(DRIFT, one, DriftRecord(**{**values, **changes}))

    def performance(self, one: date, precision: float | None = 0.8, **changes: Any) -> None:
        fields = dict.fromkeys(PerformanceRecord.model_fields)
        values: dict[str, Any] = {
            **fields, "day": one, "matured_day": one - timedelta(days=1), "rows": 5000,
            "positives": 15, "average_precision": precision, "model_version": "1",
            "champion_gate_average_precision": 0.8,
        }  # fmt: skip
        self.report(PERFORMANCE, one, PerformanceRecord(**{**values, **changes}))

    def validation(self, one: date, reject_share: float = 0.0) -> None:
        values = {"raw_rows": 5000, "validated_rows": 5000, "quarantined_rows": 0}
        account = ValidationRecord(
            **values, duplicate_rows=0, reject_share=reject_share, sha256="x"
        )
        self.report(VALIDATED, one, account)

    def close(self, last: int, *, drift_from: int = 999, worse_from: int = 999) -> None:
        """Reports of the days 0 to `last`; of the last one too."""
        for index in range(last + 1):
            one = day(index)
            self.report(FEATURES, one)
            self.validation(one)
            self.drift(one, 0.6 if index >= drift_from else 0.1)
            self.performance(one, 0.4 if index > worse_from else 0.8)

    def promote(self, one: date, version: str = "1") -> None:
        with PredictionStore(self.settings.store_sqlalchemy_url) as store:
            record(
                store,
                Promotion(day=one, action="promote", version=version, model_hash="h", reason="r"),
            )

    def tick(self, sensor: str, cursor: str | None = None) -> Any:
        with dg.build_sensor_context(
            instance=self.instance,
            cursor=cursor,
            definitions=self.defs,
            sensor_name=sensor,
            resources={"store": store_resource(self.settings)},
        ) as context:
            return self.repository.get_sensor_def(sensor).evaluate_tick(context)

    def run(
        self,
        tags: dict[str, str],
        status: dg.DagsterRunStatus = dg.DagsterRunStatus.SUCCESS,
    ) -> None:
        """A run of the retraining job, as the daemon would have made it from a request."""
        job = self.repository.get_job(RETRAINING)
        self.instance.create_run_for_job(job, status=status, tags=tags)


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Any]:
    instances = []

    def build(
        profile: dict[str, Any] | str = PROFILE, *, on_disk: bool = False, **changes: Any
    ) -> Pipeline:
        name = profile
        if isinstance(profile, dict):
            name = str(tmp_path / "profile.yaml")
            Path(name).write_text(yaml.safe_dump(profile), "utf-8")
        settings = Settings(
            **{
                "_env_file": None,
                "data_dir": tmp_path / "data",
                "first_day": FIRST,
                "profile": name,
                **changes,
            }
        )
        settings.data_dir.mkdir(exist_ok=True)
        home = tmp_path / "dagster"
        home.mkdir()
        instances.append(
            dg.DagsterInstance.local_temp(str(home)) if on_disk else dg.DagsterInstance.ephemeral()
        )
        return Pipeline(settings, instances[-1])

    yield build
    for instance in instances:
        instance.dispose()


@pytest.fixture
def pipeline(make) -> Pipeline:
    """A champion since day 5, whose days are closed up to day 20 without anything remarkable."""
    made = make()
    made.promote(day(5))
    return made


@pytest.fixture
def small_profile() -> dict[str, Any]:
    """A profile of short windows, to be changed by a test."""
    return PROFILE
