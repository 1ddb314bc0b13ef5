"""An installation whose days are reported by hand, and real ticks of its sensors."""

from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml

from fraud_assets.assets import DECISION
from fraud_assets.definitions import build_defs
from fraud_assets.resources import store_resource
from fraud_assets.settings import Settings
from fraud_assets.store.decisions import StoredDecision
from fraud_assets.store.decisions import record as record_decision
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
        self.decided = 0
        self.defs = build_defs(settings)
        self.repository = self.defs.get_repository_def()
        migrate(settings.store_sqlalchemy_url)

    def report(self, asset: str, one: date) -> None:
        self.instance.report_runless_asset_event(dg.AssetMaterialization(asset, partition=str(one)))

    def close(self, last: int) -> None:
        """The days 0 to `last` are closed."""
        for index in range(last + 1):
            self.report(DECISION, day(index))

    def decide(self, one: date, action: str = "nothing", **changes: Any) -> StoredDecision:
        """A decision of the policy, as the asset would have recorded it."""
        self.decided += 1
        values = {
            "day": one, "action": action, "rule": "quiet", "champion": "1", "reason": "because",
            "fingerprint": f"reports {self.decided}", "run_id": "a-run",
        }  # fmt: skip
        with PredictionStore(self.settings.store_sqlalchemy_url) as store:
            return record_decision(store, StoredDecision(**{**values, **changes}))

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
    """A champion since day 5, and days closed up to day 20."""
    made = make()
    made.promote(day(5))
    made.close(20)
    return made
