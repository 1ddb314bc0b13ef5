"""The typed records that assets write as metadata and that sensors and summaries read back.

A number becomes a plottable number in the UI; what could not be computed is left out of the plot
and said in words. No other module knows a metadata key.
"""

from __future__ import annotations

from datetime import date
from typing import Any, Self

import dagster as dg
from pydantic import BaseModel, ConfigDict


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


class DriftRecord(Record):
    """`drift_report`: the day against the champion's training window."""

    day: date
    status: str
    drift_share: float | None
    drifted_columns: list[str]
    score_drift: float | None
    rows: int
    reference_rows: int
    reference: str
    method: str
    column_threshold: float
    champion_version: str
    report_path: str


class PerformanceRecord(Record):
    """`performance_report`: what was realised on the day whose labels have just matured."""

    day: date
    matured_day: date | None
    rows: int
    labelled_share: float | None
    positives: int
    average_precision: float | None
    card_precision: float | None
    card_precision_ceiling: float | None
    recall_at_budget: float | None
    alert_precision: float | None
    alert_recall: float | None
    brier: float | None
    savings: float | None
    loss_without_alerts: float | None
    model_version: str
    estimated_frauds: float | None
    estimated_alert_precision: float | None
    estimated_alert_recall: float | None
    champion_gate_average_precision: float | None
