"""Days as they should not be, through the real graph: what stops, what is said, what survives."""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest
import yaml

from fraud_assets.assets import (
    CHAMPION,
    DRIFT,
    FEATURES,
    LABELS,
    PERFORMANCE,
    PREDICTIONS,
    QUARANTINED,
    RAW,
    VALIDATED,
)
from fraud_assets.definitions import build_defs
from fraud_assets.jobs import DAILY_PIPELINE, RETRAINING
from fraud_assets.lake import Lake
from fraud_assets.metadata import (
    DriftRecord,
    PerformanceRecord,
    PredictionRecord,
    PromotionRecord,
    Record,
    ValidationRecord,
    latest,
)
from fraud_assets.settings import Settings
from fraud_assets.simulation import quiet_logs

FIRST = date(2026, 3, 1)
HEADER = "id,at,amount,from,to,fraud"
AFTER_VALIDATION = (LABELS, FEATURES, PREDICTIONS, DRIFT, PERFORMANCE)

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
    "features": {
        "calendar": ["hour"],
        "payer": {"windows_days": [1, 2], "aggregates": ["count", "mean"]},
        "payee": {"windows_days": [2], "aggregates": ["count"], "risk": {"windows_days": [2]}},
    },
    "validation": {"max_reject_share": 0.05, "duplicate_lookback_days": 5},
    "decision": {"alert_budget_per_day": 20, "review_cost": 1.0},
    "training": {
        "window_days": 5, "validation_days": 2, "gate_days": 2, "min_train_positives": 5,
        "trials": 0, "max_rounds": 20,
    },
    "gate": {"min_positives": 2, "bootstrap_samples": 100, "max_latency_ms": 1000.0,
             "max_calibration_error": 1.0, "max_calibration_ratio": 1000.0, "min_ap_gain": -1.0},
    "monitoring": {"min_rows": 50, "sample_rows": 200},
}  # fmt: skip


def day(index: int) -> date:
    return FIRST + timedelta(days=index)


def rows_of(index: int, count: int = 200) -> list[str]:
    """Rows of a day; one in twenty is a fraud, of a large amount at one payee."""
    random_ = random.Random(index)
    start = datetime(FIRST.year, FIRST.month, FIRST.day, tzinfo=UTC) + timedelta(days=index)
    rows = []
    for i in range(count):
        at = start + timedelta(seconds=86400 * i / count)
        fraud = i % 20 == 7
        amount = random_.uniform(300, 500) if fraud else random_.uniform(1, 60)
        payee = "m0" if fraud else f"m{random_.randrange(10)}"
        rows.append(
            f"{index:02d}-{i:04d},{at:%Y-%m-%dT%H:%M:%S},{amount:.2f},c{random_.randrange(40)},"
            f"{payee},{int(fraud)}"
        )
    return rows


class Installation:
    """A landing folder with its profile, its lake and its instance."""

    def __init__(self, folder: Path, instance: dg.DagsterInstance) -> None:
        self.folder, self.instance = folder, instance
        self.landing = folder / "landing"
        self.landing.mkdir(exist_ok=True)
        profile = folder / "profile.yaml"
        profile.write_text(yaml.safe_dump(PROFILE), "utf-8")
        self.settings = Settings(
            _env_file=None,
            data_dir=folder / "data",
            profile=str(profile),
            source="folder",
            source_path=self.landing,
            first_day=FIRST,
            days=20,
            history_days=3,
            threads=1,
        )
        self.lake = Lake(self.settings.lake_root)
        self.repository = build_defs(self.settings).get_repository_def()

    def land(self, index: int, rows: list[str], header: str = HEADER) -> Path:
        file = self.landing / f"{day(index)}.csv"
        file.write_text("\n".join([header, *rows]) + "\n", "utf-8")
        return file

    def close(
        self,
        first: int,
        last: int | None = None,
        job: str = DAILY_PIPELINE,
        only: str | None = None,
    ) -> dg.ExecuteInProcessResult:
        tags = {}
        if last is not None:
            tags = {
                "dagster/asset_partition_range_start": str(day(first)),
                "dagster/asset_partition_range_end": str(day(last)),
            }
        with quiet_logs():
            return self.repository.get_job(job).execute_in_process(
                instance=self.instance,
                partition_key=None if last is not None else str(day(first)),
                tags=tags,
                asset_selection=[dg.AssetKey(only)] if only else None,
                raise_on_error=False,
            )

    def said(self, asset: str, index: int, kind: type[Record]) -> Any:
        return latest(self.instance, asset, day(index), kind)


def failure(result: dg.ExecuteInProcessResult) -> tuple[str, str]:
    """The step that failed, and the message of its cause."""
    assert not result.success
    event = next(iter(result.filter_events(lambda e: e.is_step_failure)))
    error = event.step_failure_data.error
    return str(event.step_key), (error.cause or error).message


def instance_in(folder: Path) -> dg.DagsterInstance:
    home = folder / "dagster"
    home.mkdir(exist_ok=True)
    return dg.DagsterInstance.local_temp(str(home))


@pytest.fixture
def installation(tmp_path: Path) -> Iterator[Installation]:
    with instance_in(tmp_path) as instance:
        yield Installation(tmp_path, instance)


def test_a_day_with_too_many_rejects_stops_at_the_check_and_goes_no_further(installation) -> None:
    rows = rows_of(0)
    bad = [r.replace(r.split(",")[2], "many", 1) if i % 5 == 0 else r for i, r in enumerate(rows)]
    installation.land(0, bad)
    result = installation.close(0)
    step, message = failure(result)
    assert step == "validate_transactions"
    assert "reject_share_within_limit" in message
    check = next(
        c for c in result.get_asset_check_evaluations() if c.check_name.startswith("reject")
    )
    assert not check.passed
    assert str(day(0)) in check.description
    assert "5.0%" in check.description
    assert "materialise the day again" in check.description
    assert check.metadata["worst_reject_share"].value == pytest.approx(0.2)
    for asset in AFTER_VALIDATION:
        assert not installation.lake.has_day(asset, day(0)), asset
        assert not installation.instance.get_materialized_partitions(dg.AssetKey(asset)), asset
    quarantined = installation.lake.read_days(QUARANTINED, [day(0)])
    assert quarantined.height == 40
    assert quarantined["reject_reasons"].list.len().min() > 0


def test_a_day_that_was_mended_is_closed_by_materialising_it_again(installation) -> None:
    rows = rows_of(0)
    installation.land(0, [*rows[20:], *["x,never,1.0,c,m,0"] * 20])
    assert not installation.close(0).success
    installation.land(0, rows)
    assert installation.close(0).success
    assert installation.lake.row_count(VALIDATED, day(0)) == len(rows)


def test_a_corrupt_file_fails_the_raw_asset_and_is_named(installation) -> None:
    file = installation.landing / f"{day(0)}.parquet"
    file.write_bytes(b"PAR1 cut short" * 20)
    step, message = failure(installation.close(0))
    assert step == RAW
    assert file.name in message
    assert not installation.lake.has_day(RAW, day(0))


def test_an_empty_day_goes_through_to_the_end(installation) -> None:
    installation.land(0, rows_of(0))
    installation.land(1, [])
    installation.land(2, rows_of(2))
    assert installation.close(0, 2).success
    for asset in (RAW, VALIDATED, QUARANTINED, FEATURES, PREDICTIONS):
        assert installation.lake.row_count(asset, day(1)) == 0, asset
    scored = installation.said(PREDICTIONS, 1, PredictionRecord)
    assert (scored.rows, scored.alerts) == (0, 0)
    assert scored.alert_share is None
    assert scored.mean_score is None
    assert installation.said(VALIDATED, 1, ValidationRecord).reject_share == 0
    realised = installation.said(PERFORMANCE, 2, PerformanceRecord)
    assert (realised.matured_day, realised.rows) == (day(1), 0)
    assert realised.average_precision is None
    event = installation.instance.fetch_materializations(dg.AssetKey(PERFORMANCE), limit=1)
    shown = event.records[0].asset_materialization.metadata
    assert shown["average_precision_note"].value == "not computable"


def test_a_missing_column_is_named(installation) -> None:
    rows = [",".join(r.split(",")[:3] + r.split(",")[4:]) for r in rows_of(0)]
    installation.land(0, rows, "id,at,amount,to,fraud")
    step, message = failure(installation.close(0))
    assert step == "validate_transactions"
    assert "'from'" in message
    assert not installation.lake.has_day(VALIDATED, day(0))


def test_a_transaction_that_is_sent_again_on_a_later_day_is_a_duplicate(installation) -> None:
    installation.land(0, rows_of(0))
    again = rows_of(0)[3].split(",")
    later = ",".join([again[0], f"{day(1)}T10:00:00", *again[2:]])
    installation.land(1, [*rows_of(1), later])
    assert installation.close(0).success
    assert installation.close(1).success
    record = installation.said(VALIDATED, 1, ValidationRecord)
    assert (record.duplicate_rows, record.quarantined_rows) == (1, 0)
    assert record.reject_share == 0
    rejects = installation.lake.read_days(QUARANTINED, [day(1)])
    assert rejects.filter(pl.col("is_duplicate"))["id"].to_list() == [again[0]]


def test_a_duplicate_within_one_run_of_many_days_is_found_too(installation) -> None:
    installation.land(0, rows_of(0))
    again = rows_of(0)[3].split(",")
    later = ",".join([again[0], f"{day(1)}T10:00:00", *again[2:]])
    installation.land(1, [*rows_of(1), later])
    assert installation.close(0, 1).success
    assert installation.said(VALIDATED, 1, ValidationRecord).duplicate_rows == 1


def test_validating_a_day_again_does_not_make_duplicates_of_itself(installation) -> None:
    installation.land(0, rows_of(0))
    assert installation.close(0).success
    before = installation.lake.path(VALIDATED, day(0)).read_bytes()
    assert installation.close(0).success
    assert installation.said(VALIDATED, 0, ValidationRecord).duplicate_rows == 0
    assert installation.lake.path(VALIDATED, day(0)).read_bytes() == before


def test_a_day_without_its_history_fails_and_names_the_missing_days(installation) -> None:
    for index in (0, 3):
        installation.land(index, rows_of(index))
    assert installation.close(0).success
    step, message = failure(installation.close(3))
    assert step in (LABELS, FEATURES)
    assert str(day(2)) in message
    assert f"materialise {VALIDATED} for these days first" in message
    assert not installation.lake.has_day(FEATURES, day(3))


def test_without_a_champion_the_rules_score_and_say_so(installation) -> None:
    installation.land(0, rows_of(0))
    assert installation.close(0).success
    record = installation.said(PREDICTIONS, 0, PredictionRecord)
    assert (record.model_version, record.fallback) == ("rules-1", "no champion yet")
    assert "no champion yet" in installation.said(DRIFT, 0, DriftRecord).status


def test_training_on_too_short_a_history_says_when_it_will_do(installation) -> None:
    installation.land(0, rows_of(0))
    assert installation.close(0).success
    step, message = failure(installation.close(0, job=RETRAINING))
    assert step == "fraud_model"
    assert "the first day that works is" in message


# --- a champion whose files are damaged ----------------------------------------------------------

TRAINED = 9


@pytest.fixture(scope="module")
def trained_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten days, a model of the tenth in force, and the eleventh landed."""
    folder = tmp_path_factory.mktemp("trained")
    with instance_in(folder) as instance:
        made = Installation(folder, instance)
        for index in range(TRAINED + 2):
            made.land(index, rows_of(index))
        assert made.close(0, TRAINED).success
        result = made.close(TRAINED, job=RETRAINING)
        assert result.success
        promotion = made.said(CHAMPION, TRAINED, PromotionRecord)
        assert promotion.action == "promote", promotion.reason
        assert made.close(TRAINED + 1).success
        assert made.said(PREDICTIONS, TRAINED + 1, PredictionRecord).model_version == "1"
    return folder


@pytest.fixture
def trained(trained_folder: Path) -> Iterator[Installation]:
    """The same installation, its files put back afterwards; MLflow knows them by their place."""
    kept = trained_folder.with_name(trained_folder.name + "-kept")
    shutil.copytree(trained_folder / "data", kept)
    with instance_in(trained_folder) as instance:
        yield Installation(trained_folder, instance)
    shutil.rmtree(trained_folder / "data")
    kept.rename(trained_folder / "data")


def model_files(folder: Path) -> list[Path]:
    found = [p for p in folder.rglob("*") if p.is_file()]
    assert found, folder
    return found


def damage(installation: Installation, how: str) -> None:
    cache, store = installation.settings.cache_dir / "models", installation.settings.data_dir
    if "cache" in how:
        for file in model_files(cache):
            file.write_bytes(file.read_bytes()[:-7] + b"damaged")
    if "store" in how:
        for file in model_files(store / "mlflow"):
            file.write_bytes(b"")
    if "gone" in how:
        shutil.rmtree(cache)
        shutil.rmtree(store / "mlflow")


@pytest.mark.slow
def test_a_damaged_cache_is_downloaded_again_and_the_champion_scores(trained) -> None:
    before = trained.lake.path(PREDICTIONS, day(TRAINED + 1)).read_bytes()
    damage(trained, "cache")
    assert trained.close(TRAINED + 1).success
    assert trained.said(PREDICTIONS, TRAINED + 1, PredictionRecord).model_version == "1"
    assert trained.lake.path(PREDICTIONS, day(TRAINED + 1)).read_bytes() == before


@pytest.mark.slow
@pytest.mark.parametrize("how", ["cache and store", "gone"])
def test_a_champion_that_cannot_be_loaded_never_stops_a_day(trained, how) -> None:
    damage(trained, how)
    result = trained.close(TRAINED + 1)
    assert result.success, failure(result)
    record = trained.said(PREDICTIONS, TRAINED + 1, PredictionRecord)
    assert record.model_version == "rules-1"
    assert record.rows == 200
    assert "version 1" in record.fallback
    assert trained.said(DRIFT, TRAINED + 1, DriftRecord).drift_share is None
    scored = trained.lake.read_days(PREDICTIONS, [day(TRAINED + 1)])
    assert scored["model_version"].unique().to_list() == ["rules-1"]
