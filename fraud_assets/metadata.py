"""The typed records that assets write as metadata and that sensors and summaries read back.

A number becomes a plottable number in the UI; what could not be computed is left out of the plot
and said in words. No other module knows a metadata key.
"""

from __future__ import annotations

from datetime import date
from typing import Any, Final, Self, TypeVar

import dagster as dg
from pydantic import BaseModel, ConfigDict, ValidationError

from fraud_assets.monitoring.records import DayDrift, DayPerformance

PARTITION_TAG: Final = "dagster/partition"
RANGE_START_TAG: Final = "dagster/asset_partition_range_start"
RANGE_END_TAG: Final = "dagster/asset_partition_range_end"
"""Dagster's own tags: the days of a run."""

RECORDS_PER_PAGE: Final = 200

R = TypeVar("R", bound="Record")


class Record(BaseModel):
    """One day's facts about an asset, as numbers and short texts."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    def to_dagster(self) -> dict[str, Any]:
        """Metadata by key; None becomes the words "not computable" under `<key>_note`."""
        content: dict[str, Any] = {}
        for key, value in self.model_dump().items():
            if value is None:
                content[f"{key}_note"] = "not computable"
            elif isinstance(value, bool | str | int | float):
                content[key] = value
            elif isinstance(value, date):
                content[key] = value.isoformat()
            else:
                content[key] = dg.MetadataValue.json(value)
        return content

    @classmethod
    def from_event(cls, event: dg.AssetMaterialization) -> Self:
        """Read the record back from a materialisation.

        Raises:
            pydantic.ValidationError: the event was written by code that knew other fields.
        """
        values: dict[str, Any] = {}
        for key in cls.model_fields:
            if key in event.metadata:
                values[key] = event.metadata[key].value
            elif f"{key}_note" in event.metadata:
                values[key] = None
        return cls.model_validate(values)


class RawRecord(Record):
    """`raw_transactions`: the day as the source gave it."""

    rows: int
    size_bytes: int
    sha256: str
    source: str


class ValidationRecord(Record):
    """`validated_transactions`: where each raw row went."""

    raw_rows: int
    validated_rows: int
    quarantined_rows: int
    duplicate_rows: int
    reject_share: float
    sha256: str


class LabelRecord(Record):
    """`fraud_labels`: the labels that became known on the day."""

    labels: int
    frauds: int
    analyst_labels: int
    labels_beyond_delay: int
    fraud_share: float | None


class FeatureRecord(Record):
    """`transaction_features`: the point-in-time matrix."""

    rows: int
    features: int
    lookback_days: int
    null_share: float | None
    sha256: str


class ModelRecord(Record):
    """`fraud_model`: a registered candidate, and all that is needed to load it."""

    version: str
    model_hash: str
    mlflow_run_id: str
    estimator: str
    train_first_day: date
    train_last_day: date
    train_rows: int
    train_positives: int
    validation_average_precision: float | None
    folds: int
    fold_average_precision: float | None
    fold_deviation: float | None
    threshold: float
    threshold_version: str
    trials: int
    training_seconds: float


class EvaluationRecord(Record):
    """`evaluation_report`: candidate against champion on the gate days."""

    candidate_version: str
    champion_version: str
    gate_first_day: date
    gate_last_day: date
    rows: int
    positives: int
    candidate_average_precision: float | None
    champion_average_precision: float | None
    ap_gain: float | None
    ap_gain_low: float | None
    ap_gain_high: float | None
    cost_gain: float | None
    cost_gain_low: float | None
    cost_gain_high: float | None
    candidate_roc_auc: float | None
    candidate_card_precision: float | None
    champion_card_precision: float | None
    card_precision_ceiling: float | None
    recall_at_budget: float | None
    precision_at_90_recall: float | None
    brier: float | None
    candidate_calibration_error: float | None
    savings: float | None
    best_single_feature: str
    best_single_feature_auc: float | None
    shuffled_label_auc: float | None
    shuffled_auc_passed: bool | None
    latency_ms: float | None
    promote: bool
    reasons: str


class PromotionRecord(Record):
    """`champion_model`: which version is champion from the next day on."""

    action: str
    version: str
    previous_version: str
    effective_from: date
    reason: str


class PredictionRecord(Record):
    """`fraud_predictions`: the day as the champion in force scored it."""

    rows: int
    alerts: int
    alert_share: float | None
    mean_score: float | None
    threshold: float | None
    model_version: str
    fallback: str
    sha256: str


class DriftRecord(Record, DayDrift):
    """`drift_report`: the day against the champion's training window."""


class PerformanceRecord(Record, DayPerformance):
    """`performance_report`: what was realised on the day whose labels have just matured."""


class DecisionRecord(Record):
    """`loop_decision`: what was decided at the close of the day; `decision_id` names its row."""

    day: date
    decision_id: int
    action: str
    rule: str
    champion: str
    target: str
    since: date | None
    waiting_for: str
    reason: str
    findings: list[str]
    repeated: bool


class DashboardRecord(Record):
    """`debugging_dashboard`: where the page lies; empty where nothing was out of order."""

    status: str
    findings: int
    page: str


def latest(instance: dg.DagsterInstance, asset: str, day: date, record: type[R]) -> R | None:
    """The newest record of an asset's day; None where there is none that this code can read."""
    found = instance.fetch_materializations(
        dg.AssetRecordsFilter(asset_key=dg.AssetKey(asset), asset_partitions=[day.isoformat()]),
        limit=1,
    ).records
    return _readable(found[0], record) if found else None


def latest_by_day(instance: dg.DagsterInstance, asset: str, record: type[R]) -> dict[date, R]:
    """The newest record of every day of an asset that has one which this code can read."""
    found: dict[date, R] = {}
    cursor: str | None = None
    while True:
        page = instance.fetch_materializations(
            dg.AssetKey(asset), limit=RECORDS_PER_PAGE, cursor=cursor
        )
        for event in page.records:
            if event.partition_key is not None:
                day = date.fromisoformat(event.partition_key)
                if day not in found and (one := _readable(event, record)) is not None:
                    found[day] = one
        if not page.has_more:
            return found
        cursor = page.cursor


def _readable(event: dg.EventLogRecord, record: type[R]) -> R | None:
    """The record of an event; None for one that older code wrote with other fields."""
    try:
        return record.from_event(materialization(event))
    except ValidationError:
        return None


def materialization(event: dg.EventLogRecord) -> dg.AssetMaterialization:
    """The materialisation that an event of the log tells of.

    Raises:
        TypeError: it tells of something else.
    """
    found = event.asset_materialization
    if found is None:
        raise TypeError(f"event {event.storage_id} is not a materialisation")
    return found
