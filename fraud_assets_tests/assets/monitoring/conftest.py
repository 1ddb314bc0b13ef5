"""A small installation with a landing folder, two models and real sensors; copies for each test."""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml

from fraud_assets.assets import (
    CHAMPION,
    DECISION,
    DRIFT,
    PERFORMANCE,
    PREDICTIONS,
    VALIDATED,
)
from fraud_assets.assets.monitoring.setting import RECORD_FILE
from fraud_assets.definitions import build_defs
from fraud_assets.jobs import DAILY_PIPELINE, RETRAINING
from fraud_assets.lake import Lake
from fraud_assets.metadata import (
    RANGE_END_TAG,
    RANGE_START_TAG,
    PredictionRecord,
    PromotionRecord,
    Record,
    latest,
)
from fraud_assets.modeling.registry import ModelRegistry
from fraud_assets.monitoring.records import DayDrift, DayPerformance
from fraud_assets.rollback import MOVE_CHAMPION, ROLLBACK
from fraud_assets.sensors import ALERT_SENSOR, LOOP_SENSOR, NEW_DAY_SENSOR
from fraud_assets.settings import Settings
from fraud_assets.simulation import ClosedDays, Simulation, quiet_logs
from fraud_assets.store import decisions as decision_log
from fraud_assets.store import promotions as promotion_log
from fraud_assets.store.decisions import StoredDecision
from fraud_assets.store.engine import PredictionStore
from fraud_assets.store.promotions import Promotion, champion_on

FIRST = date(2026, 3, 1)
HISTORY = 10
"""Days 0 to 9 are closed in one run, at whose end version 1 is trained."""

HEADER = "id,at,amount,from,to,device_age,battery,fraud"

PROFILE: dict[str, Any] = {
    "name": "landing",
    "columns": {
        "transaction_id": "id",
        "time": {"column": "at"},
        "amount": {"column": "amount"},
        "payer": "from",
        "payee": "to",
        "label": {"column": "fraud", "delay_days": 1},
    },
    "numeric": [
        {"name": "device_age", "column": "device_age"},
        {"name": "battery", "column": "battery"},
    ],
    "features": {
        "calendar": ["hour"],
        "payer": {"windows_days": [1], "aggregates": ["count", "mean"]},
        "payee": {"risk": {"windows_days": [2]}},
    },
    "validation": {"max_reject_share": 0.05, "duplicate_lookback_days": 5},
    "decision": {"alert_budget_per_day": 20, "review_cost": 1.0},
    "training": {
        "window_days": 5, "validation_days": 2, "gate_days": 2, "min_train_positives": 5,
        "trials": 0, "max_rounds": 20, "folds": 1,
    },
    "gate": {
        "min_positives": 2, "bootstrap_samples": 100, "max_latency_ms": 1000.0,
        "max_calibration_error": 1.0, "max_calibration_ratio": 1000.0, "min_ap_gain": -1.0,
    },
    "monitoring": {
        # Of 240 rows a day chance alone gives distances of nearly 0.1.
        "column_threshold": 0.3, "min_rows": 50, "sample_rows": 1000, "performance_days": 2,
        "compared_days": 4, "min_mature_positives": 15, "cooldown_days": 2, "healthy_days": 2,
    },
}  # fmt: skip

Row = dict[str, str]
Spoil = Callable[[Row], Row]


def day(index: int) -> date:
    return FIRST + timedelta(days=index)


def rows_of(index: int, count: int = 240) -> list[Row]:
    """Rows of a day; one in fifteen is a fraud, and comes from a device that is new."""
    random_ = random.Random(index)
    start = datetime(FIRST.year, FIRST.month, FIRST.day, tzinfo=UTC) + timedelta(days=index)
    rows = []
    for i in range(count):
        fraud = i % 15 == 7
        values = (
            f"{index:02d}-{i:04d}",
            f"{start + timedelta(seconds=86400 * i / count):%Y-%m-%dT%H:%M:%S}",
            f"{random_.uniform(5, 90):.2f}",
            f"c{random_.randrange(5000)}",
            f"m{random_.randrange(12)}",
            f"{random_.gauss(12 if fraud else 40, 8):.2f}",
            f"{random_.uniform(1, 100):.2f}",
            str(int(fraud)),
        )
        rows.append(dict(zip(HEADER.split(","), values, strict=True)))
    return rows


class Loop:
    """One folder with its landing zone, lake, store and registry, and a simulation over them.

    `live` moves the clock by a day, and the real sensors decide what runs. `close` only
    materialises. The instance is in memory: one on disk takes three times as long.
    """

    def __init__(self, folder: Path, instance: dg.DagsterInstance, **monitoring: Any) -> None:
        profile = {**PROFILE, "monitoring": {**PROFILE["monitoring"], **monitoring}}
        (folder / "profile.yaml").write_text(yaml.safe_dump(profile), "utf-8")
        self.folder, self.instance = folder, instance
        self.landing = folder / "landing"
        self.landing.mkdir(exist_ok=True)
        self.settings = Settings(
            _env_file=None,
            data_dir=folder / "data",
            profile=str(folder / "profile.yaml"),
            source="folder",
            source_path=self.landing,
            first_day=FIRST,
            days=40,
            history_days=HISTORY,
            threads=1,
        )
        self.lake = Lake(self.settings.lake_root)
        self.registry = ModelRegistry(
            self.settings.mlflow_uri,
            self.settings.registered_model,
            self.settings.cache_dir / "models",
        )
        self.repository = build_defs(self.settings).get_repository_def()
        self.simulation = Simulation(self.settings, instance)

    # --- what happens ---

    def land(self, index: int, spoil: Spoil = lambda row: row) -> None:
        rows = [",".join(spoil(row).values()) for row in rows_of(index)]
        text = "\n".join([HEADER, *rows]) + "\n"
        (self.landing / f"{day(index)}.csv").write_text(text, "utf-8")

    def live(self, spoil: Spoil = lambda row: row) -> ClosedDays:
        """The next day lands and is closed, and what is decided about it is done."""
        today = self.simulation.clock.today()
        assert today is not None
        self.land((today - FIRST).days + 1, spoil)
        with quiet_logs():
            [closed] = self.simulation.run(1)
        assert not [run.failure for run in closed.runs if run.failure]
        return closed

    def close(self, first: int, *assets: str, until: int | None = None) -> str:
        """Materialise a day, or the days to `until` in one run; returns the id of the run."""
        tags = {}
        if until is not None:
            tags = {RANGE_START_TAG: str(day(first)), RANGE_END_TAG: str(day(until))}
        with quiet_logs():
            result = self.repository.get_job(DAILY_PIPELINE).execute_in_process(
                instance=self.instance,
                partition_key=None if until is not None else str(day(first)),
                tags=tags,
                asset_selection=[dg.AssetKey(asset) for asset in assets] or None,
                raise_on_error=False,
            )
        assert result.success, failure(result)
        return str(result.run_id)

    def retrain(self, index: int) -> None:
        with quiet_logs():
            result = self.repository.get_job(RETRAINING).execute_in_process(
                instance=self.instance, partition_key=str(day(index)), raise_on_error=False
            )
        assert result.success, failure(result)

    def rollback(self, **config: Any) -> dg.ExecuteInProcessResult:
        """The job `rollback`; it may fail."""
        with quiet_logs():
            return self.repository.get_job(ROLLBACK).execute_in_process(
                instance=self.instance,
                run_config={"ops": {MOVE_CHAMPION: {"config": config}}},
                raise_on_error=False,
            )

    # --- what there is then ---

    def drift(self, index: int) -> DayDrift:
        return DayDrift.model_validate(self.lake.read_json(DRIFT, day(index), RECORD_FILE))

    def performance(self, index: int) -> DayPerformance:
        found = self.lake.read_json(PERFORMANCE, day(index), RECORD_FILE)
        return DayPerformance.model_validate(found)

    def said(self, asset: str, index: int, kind: type[Record]) -> Any:
        return latest(self.instance, asset, day(index), kind)

    def moves(self) -> list[tuple[date, PromotionRecord]]:
        """What rollbacks told of on `champion_model`, the oldest first, with their days."""
        found = self.instance.fetch_observations(
            dg.AssetKey(CHAMPION), limit=100, ascending=True
        ).records
        told = [event.asset_observation for event in found]
        return [
            (date.fromisoformat(one.partition or ""), PromotionRecord.from_event(one))  # type: ignore[arg-type]
            for one in told
            if one is not None
        ]

    def scored_by(self, index: int) -> str:
        """The version that scored a day, as the metadata and the lake say."""
        said = self.said(PREDICTIONS, index, PredictionRecord)
        written = self.lake.read_days(PREDICTIONS, [day(index)])
        assert written["model_version"].unique().to_list() == [said.model_version]
        return str(said.model_version)

    # Test files import no conftest; what they need of it hangs here.

    @staticmethod
    def day(index: int) -> date:
        return day(index)

    @staticmethod
    def failure(result: dg.ExecuteInProcessResult) -> tuple[str, str]:
        return failure(result)

    def store(self) -> PredictionStore:
        return PredictionStore(self.settings.store_sqlalchemy_url)

    def decisions(self) -> list[StoredDecision]:
        with self.store() as store:
            return decision_log.history(store)

    def decided(self, index: int) -> StoredDecision:
        with self.store() as store:
            found = decision_log.latest_of(store, day(index))
        assert found is not None, day(index)
        return found

    def promotions(self) -> list[Promotion]:
        with self.store() as store:
            return promotion_log.history(store)

    def champion(self, index: int) -> str | None:
        """The version that the record puts in force on a day."""
        with self.store() as store:
            found = champion_on(store, day(index))
        return found.version if found else None


def failure(result: dg.ExecuteInProcessResult) -> tuple[str, str]:
    """The step that failed, and the message of its cause."""
    assert not result.success
    event = next(iter(result.filter_events(lambda e: e.is_step_failure)))
    error = event.step_failure_data.error
    return str(event.step_key), (error.cause or error).message


# --- copies ---------------------------------------------------------------------------------------


class Copies:
    """Makes installations in folders of their own, empty or as copies of others."""

    def __init__(self, make_folder: Callable[[], Path], stack: ExitStack) -> None:
        self._make_folder, self._stack = make_folder, stack

    def __call__(self, origin: Loop | None = None, **monitoring: Any) -> Loop:
        """A new installation, with these changes of the profile's section `monitoring`."""
        folder = self._make_folder()
        instance = self._stack.enter_context(dg.DagsterInstance.ephemeral())
        if origin is not None:
            # Whatever is written replaces its file, so that links are as good as copies; but
            # SQLite writes into its own, and tests damage those of models.
            shutil.copytree(origin.folder, folder, dirs_exist_ok=True, copy_function=_link_or_copy)
            _move_artifacts(folder / "data" / "mlflow.db", origin.folder, folder)
            _retell(origin.instance, instance)
        return Loop(folder, instance, **monitoring)


def _link_or_copy(source: str, target: str) -> None:
    if "/lake/" in source:
        os.link(source, target)
    else:
        shutil.copy2(source, target)


def _move_artifacts(database: Path, old: Path, new: Path) -> None:
    """MLflow keeps absolute paths; the copy's are its own."""
    places = [
        ("experiments", "artifact_location"), ("runs", "artifact_uri"),
        ("model_versions", "source"), ("model_versions", "storage_location"),
    ]  # fmt: skip
    with closing(sqlite3.connect(database)) as connection:
        for table, column in places:
            connection.execute(
                f"UPDATE {table} SET {column} = replace({column}, ?, ?)",
                (f"{old}/", f"{new}/"),
            )
        connection.commit()


def _retell(old: dg.DagsterInstance, new: dg.DagsterInstance) -> None:
    """The new instance knows what assets and sensors look back on."""
    for asset in (VALIDATED, DRIFT, PERFORMANCE, DECISION, CHAMPION):
        found = old.fetch_materializations(dg.AssetKey(asset), limit=1000, ascending=True)
        for event in found.records:
            assert event.asset_materialization is not None
            new.report_runless_asset_event(event.asset_materialization)
    keys = {f"fraud_assets/simulation/{s}" for s in (NEW_DAY_SENSOR, LOOP_SENSOR, ALERT_SENSOR)}
    new.run_storage.set_cursor_values(old.run_storage.get_cursor_values(keys))


@pytest.fixture(scope="session")
def copies(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Copies]:
    with ExitStack() as stack:
        yield Copies(lambda: tmp_path_factory.mktemp("loop"), stack)


@pytest.fixture(scope="session")
def young(copies: Copies) -> Loop:
    """Closed up to day 11; version 1, trained as of day 9, in force from day 10 on."""
    made = copies()
    for index in range(HISTORY):
        made.land(index)
    made.simulation.clock.set(day(HISTORY - 1))
    with quiet_logs():
        list(made.simulation.tick())
    for _ in range(2):
        made.live()
    assert [one.version for one in made.promotions()] == ["1"]
    return made


@pytest.fixture(scope="session")
def served(copies: Copies, young: Loop) -> Loop:
    """Closed up to day 13; version 2, trained as of day 11, in force from day 12 on."""
    made = copies(young)
    made.retrain(11)
    for _ in range(2):
        made.live()
    assert [one.version for one in made.promotions()] == ["1", "2"]
    return made


@pytest.fixture
def branch(tmp_path: Path) -> Iterator[Copies]:
    """Copies that belong to one test."""
    with ExitStack() as stack:
        yield Copies(lambda: tmp_path, stack)
