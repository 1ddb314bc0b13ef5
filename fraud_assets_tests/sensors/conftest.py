"""An installation whose days are reported by hand, and real ticks of its sensors."""

import json
from collections.abc import Callable, Iterator
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml
from sqlalchemy import update

from fraud_assets.assets import DECISION
from fraud_assets.definitions import build_defs
from fraud_assets.resources import store_resource
from fraud_assets.sensors import ALERT_SENSOR
from fraud_assets.settings import Settings
from fraud_assets.store.alerts import StoredAlert, recent
from fraud_assets.store.decisions import StoredDecision
from fraud_assets.store.decisions import record as record_decision
from fraud_assets.store.engine import PredictionStore
from fraud_assets.store.migrate import migrate
from fraud_assets.store.promotions import Promotion, record
from fraud_assets.store.schema import alerts

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


class Told:
    """An installation, and ticks of its alert sensor that go on from each other."""

    def __init__(self, pipeline: Pipeline) -> None:
        self.pipeline = pipeline
        self.cursor: str | None = None
        self.instance = pipeline.instance

    def tick(self) -> str:
        """What it said."""
        tick = self.pipeline.tick(ALERT_SENSOR, self.cursor)
        assert not tick.run_requests
        self.cursor = tick.cursor
        return tick.skip_message

    def age(self, minutes: int) -> None:
        """As if the last tick had been so long ago: in the cursor and in the outbox."""

        def earlier(time: str) -> str:
            return (datetime.fromisoformat(time) - timedelta(minutes=minutes)).isoformat()

        cursor = json.loads(self.cursor or "{}")
        cursor["waiting"] = {one: earlier(since) for one, since in cursor["waiting"].items()}
        cursor["newest_landed_at"] = earlier(cursor["newest_landed_at"])
        self.cursor = json.dumps(cursor)
        with self.store() as store, store.writing() as connection:
            for one in recent(store, 100):
                ago = one.next_attempt_at - timedelta(minutes=minutes)
                connection.execute(
                    update(alerts).where(alerts.c.id == one.id).values(next_attempt_at=ago)
                )

    def store(self) -> PredictionStore:
        return PredictionStore(self.pipeline.settings.store_sqlalchemy_url)

    def outbox(self) -> list[StoredAlert]:
        with self.store() as store:
            return recent(store, 100)

    def only(self) -> StoredAlert:
        (found,) = self.outbox()
        return found

    def drift(self, index: int) -> None:
        """The policy warns of drift at the close of a day."""
        text = "drift share 0.42 >= 0.30"
        self.pipeline.decide(
            day(index),
            "warn",
            rule="findings",
            champion="3",
            reason=text,
            findings=[{"kind": "drift", "text": text, "since": str(day(19))}],
            numbers={"drift_share": 0.42, "score_drift": None, "days": 4},
        )

    def promotion(self, index: int, action: str, **changes: Any) -> None:
        values = {
            "day": day(index), "action": action, "version": "4", "previous_version": "3",
            "model_hash": "h", "reason": "average precision gain -0.012 (-0.041 to 0.018) < 0",
        }  # fmt: skip
        with self.store() as store:
            record(store, Promotion(**{**values, **changes}))

    def fail(self, error: Exception | None = None, **tags: str) -> str:
        """A real run whose only step fails; gives its id."""

        @dg.op
        def close_the_day() -> None:
            raise error or OSError("the disk of the lake is full")

        @dg.job
        def nightly() -> None:
            close_the_day()

        result = nightly.execute_in_process(instance=self.instance, tags=tags, raise_on_error=False)
        assert not result.success
        return result.run_id


@pytest.fixture
def build(make, webhook) -> Callable[..., Told]:
    """An installation that tells the webhook, with the settings of alerts as given."""

    def built(*, source: dict[str, Any] | None = None, **choices: Any) -> Told:
        settings = {"urls": [webhook.url()], "ui_url": "http://ui:3000", **choices}
        return Told(make(alerts=settings, **(source or {})))

    return built


@pytest.fixture
def told(build) -> Told:
    return build()
