"""Drift against the champion's training window, and performance as labels mature."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any, Final

import dagster as dg
import polars as pl

from fraud_assets.assets import (
    DRIFT,
    EVALUATION,
    FEATURES,
    LABELS,
    OWNERS,
    PERFORMANCE,
    PREDICTIONS,
)
from fraud_assets.assets.champion import ChampionInForce, champion_in_force
from fraud_assets.assets.describe import table
from fraud_assets.assets.label_history import LabelHistory
from fraud_assets.assets.models.setting import EVALUATION_FILE
from fraud_assets.features.definitions import FeatureSet
from fraud_assets.lake import Lake
from fraud_assets.metadata import DriftRecord, EvaluationRecord, PerformanceRecord
from fraud_assets.modeling.registry import ModelRegistry
from fraud_assets.modeling.scoring import FraudModel
from fraud_assets.modeling.splits import days_looked_at
from fraud_assets.monitoring.drift import (
    DriftColumns,
    DriftResult,
    drift_columns,
    measure_drift,
    sample_rows,
)
from fraud_assets.monitoring.estimation import estimate_performance
from fraud_assets.monitoring.performance import mature_day, realised_performance
from fraud_assets.partitions import SimulationDays, run_days, trailing_mapping
from fraud_assets.store.engine import PredictionStore
from fraud_assets.transactions.columns import DECISION, SCORE, TRANSACTION_ID
from fraud_assets.transactions.profile import Profile

DRIFT_CHECK: Final = "inputs_have_not_drifted"
DECAY_CHECK: Final = "performance_has_not_decayed"
REPORT_FILE: Final = "report.html"
METHOD: Final = "normalised Wasserstein (numbers), Jensen-Shannon (categories)"


def build_monitoring_assets(
    days: SimulationDays, profile: Profile, features: FeatureSet
) -> list[dg.AssetsDefinition]:
    """The group `monitoring`."""
    choices = profile.monitoring
    columns = drift_columns(features)
    delay = profile.label_delay_days
    history = days_looked_at(delay, profile.training)

    @dg.asset(
        key=DRIFT,
        group_name="monitoring",
        owners=OWNERS,
        kinds={"evidently", "html"},
        partitions_def=days.definition,
        backfill_policy=dg.BackfillPolicy.single_run(),
        code_version="1",
        deps=[
            dg.AssetDep(PREDICTIONS),
            dg.AssetDep(FEATURES, partition_mapping=trailing_mapping(history)),
        ],
        check_specs=[
            dg.AssetCheckSpec(
                DRIFT_CHECK,
                asset=DRIFT,
                description=(
                    f"Fewer than {choices.drift_share_threshold:.0%} of the inputs have drifted. "
                    "A warning: drift is not degradation."
                ),
            )
        ],
        description=(
            "The day against the champion's training window, column by column, by effect size; "
            "the score distribution beside it, against the champion's gate days, which it was not "
            "fitted on. Evidently's full report is kept as HTML."
        ),
    )
    def drift_report(
        context: dg.AssetExecutionContext,
        lake: dg.ResourceParam[Lake],
        store: dg.ResourceParam[PredictionStore],
        registry: dg.ResourceParam[ModelRegistry],
    ) -> Iterator[dg.MaterializeResult[None]]:
        loaded: dict[str, ChampionInForce] = {}
        references: dict[str, Reference] = {}
        shares: dict[date, float | None] = {}
        for day in run_days(context):
            champion = champion_in_force(store, registry, day, loaded, context.log)
            if not isinstance(champion.model, FraudModel):
                record = _no_reference(day, champion, profile)
                context.add_asset_metadata(record.to_dagster(), partition_key=day.isoformat())
                continue
            if champion.version not in references:
                references[champion.version] = read_reference(
                    lake, champion.model, columns, profile
                )
            reference = references[champion.version]
            current = lake.read_days(FEATURES, [day]).join(
                lake.read_days(PREDICTIONS, [day], [TRANSACTION_ID, SCORE]),
                on=TRANSACTION_ID,
                maintain_order="left",
            )
            result = measure_drift(
                current, reference.frame, columns, choices, profile.training.seed, html=True
            )
            shares[day] = result.drift_share
            rows = result.table().to_dicts()
            report_path = ""
            if result.html is not None:
                report_path = lake.write_document(DRIFT, day, REPORT_FILE, result.html)
            record = DriftRecord(
                day=day,
                status=result.status if result.reason is None else result.reason,
                drift_share=result.drift_share,
                drifted_columns=list(result.drifted_columns),
                score_drift=result.score_drift.value if result.score_drift else None,
                rows=result.rows_current,
                reference_rows=reference.rows,
                reference=reference.days,
                method=METHOD,
                column_threshold=choices.column_threshold,
                champion_version=champion.version,
                report_path=report_path,
            )
            content: dict[str, Any] = record.to_dagster()
            if rows:
                content.update(table("columns", rows))
                content["picture"] = _picture(result, choices.column_threshold)
            if report_path:
                content["report_path"] = dg.MetadataValue.path(report_path)
            context.add_asset_metadata(content, partition_key=day.isoformat())
        yield dg.MaterializeResult(check_results=[_drift_check(shares, profile)])

    @dg.asset(
        key=PERFORMANCE,
        group_name="monitoring",
        owners=OWNERS,
        kinds={"python", "polars"},
        partitions_def=days.definition,
        backfill_policy=dg.BackfillPolicy.single_run(),
        code_version="1",
        deps=[
            dg.AssetDep(PREDICTIONS, partition_mapping=trailing_mapping(delay)),
            dg.AssetDep(LABELS, partition_mapping=trailing_mapping(history)),
        ],
        description=(
            "What was realised on the day whose labels have just matured, and the label-free "
            "estimate of the day itself. The estimate is shown, never acted on."
        ),
        check_specs=[
            dg.AssetCheckSpec(
                DECAY_CHECK,
                asset=PERFORMANCE,
                description=(
                    "The matured day's average precision is less than "
                    f"{choices.performance_drop:.0%} below the champion's at its gate. A warning; "
                    "the sensor looks at several days before it acts."
                ),
            )
        ],
    )
    def performance_report(
        context: dg.AssetExecutionContext,
        lake: dg.ResourceParam[Lake],
        store: dg.ResourceParam[PredictionStore],
        registry: dg.ResourceParam[ModelRegistry],
    ) -> Iterator[dg.MaterializeResult[None]]:
        records: list[PerformanceRecord] = []
        told = LabelHistory(lake, days, history)
        loaded: dict[str, ChampionInForce] = {}
        for day in run_days(context):
            today = lake.read_days(PREDICTIONS, [day])
            estimate = estimate_performance(
                today[SCORE].to_numpy(), (today[DECISION] == "alert").to_numpy()
            )
            matured = mature_day(day, delay)
            labels = told.judging(matured, day)
            champion = champion_in_force(
                store, registry, day + timedelta(days=1), loaded, context.log
            )
            record = PerformanceRecord(
                day=day,
                matured_day=matured if matured in days else None,
                **_realised(lake, labels, day, matured if matured in days else None, profile),
                estimated_frauds=estimate.expected_frauds,
                estimated_alert_precision=estimate.precision,
                estimated_alert_recall=estimate.recall,
                champion_gate_average_precision=gate_average_precision(lake, champion),
            )
            records.append(record)
            context.add_asset_metadata(record.to_dagster(), partition_key=day.isoformat())
        yield dg.MaterializeResult(check_results=[_decay_check(records, profile)])

    return [drift_report, performance_report]


@dataclass(frozen=True)
class Reference:
    """What a champion's days are compared with."""

    frame: pl.DataFrame
    rows: int
    days: str


def read_reference(
    lake: Lake, model: FraudModel, columns: DriftColumns, profile: Profile
) -> Reference:
    """A seeded sample of the champion's warm training days, with scores of its gate days.

    The inputs come from the days that the model was fitted on. Its scores on those days would look
    better than any later day's, so the scores come from the gate days, which it had not seen.
    """
    window = model.manifest.reference_window
    training = [
        window.first + timedelta(days=i) for i in range((window.last - window.first).days + 1)
    ]
    gate = model.manifest.gate_window
    judged = [gate.first + timedelta(days=i) for i in range((gate.last - gate.first).days + 1)]
    names = [*columns.numeric, *columns.categorical]
    wanted, seed = profile.monitoring.sample_rows, profile.training.seed
    inputs = lake.read_days(FEATURES, training, names)
    rows = inputs.height
    sample = sample_rows(inputs, wanted, (seed, 2))
    scored = model.score(sample_rows(lake.read_days(FEATURES, judged), sample.height, (seed, 3)))
    sides = sample_rows(sample, scored.height, (seed, 4)), scored.select(SCORE)
    frame = pl.concat(sides, how="horizontal")
    return Reference(frame, rows, str(window))


def gate_average_precision(lake: Lake, champion: ChampionInForce) -> float | None:
    """The champion's own average precision on the days that it was promoted on."""
    if not isinstance(champion.model, FraudModel):
        return None
    report = lake.read_json(EVALUATION, champion.model.manifest.trained_as_of, EVALUATION_FILE)
    record = EvaluationRecord.model_validate(report["record"])
    # The day may have been trained again since, and then its report is of another version.
    return (
        record.candidate_average_precision if record.candidate_version == champion.version else None
    )


def _realised(
    lake: Lake, labels: pl.DataFrame, day: date, matured: date | None, profile: Profile
) -> dict[str, Any]:
    predictions = lake.read_existing(PREDICTIONS, [matured]) if matured is not None else None
    if predictions is None or predictions.is_empty():
        unknown = dict.fromkeys(REALISED, None)
        return {**unknown, "rows": 0, "positives": 0, "model_version": ""}
    found = realised_performance(
        predictions, labels, day, profile.label_delay_days, profile.decision
    ).overall
    return {
        "rows": found.rows,
        "labelled_share": found.coverage,
        "positives": found.frauds,
        "average_precision": found.average_precision,
        "card_precision": found.card_precision,
        "card_precision_ceiling": found.card_precision_achievable,
        "recall_at_budget": found.recall_at_budget,
        "alert_precision": found.precision,
        "alert_recall": found.recall,
        "brier": found.brier,
        "savings": found.savings,
        "loss_without_alerts": found.loss_without_alerts,
        "model_version": found.model_version or "",
    }


REALISED: Final = (
    "labelled_share",
    "average_precision",
    "card_precision",
    "card_precision_ceiling",
    "recall_at_budget",
    "alert_precision",
    "alert_recall",
    "brier",
    "savings",
    "loss_without_alerts",
)


def _picture(result: DriftResult, threshold: float) -> dg.MarkdownMetadataValue:
    from fraud_assets.modeling.reporting.plots import as_markdown_image, drift_bars

    distances = {c.column: c.value for c in result.columns if c.value is not None}
    return dg.MetadataValue.md(as_markdown_image(drift_bars(distances, threshold)))


def _no_reference(day: date, champion: ChampionInForce, profile: Profile) -> DriftRecord:
    return DriftRecord(
        day=day,
        status=f"nothing to compare with: {champion.fallback}",
        drift_share=None,
        drifted_columns=[],
        score_drift=None,
        rows=0,
        reference_rows=0,
        reference="",
        method=METHOD,
        column_threshold=profile.monitoring.column_threshold,
        champion_version=champion.version,
        report_path="",
    )


def _drift_check(shares: dict[date, float | None], profile: Profile) -> dg.AssetCheckResult:
    limit = profile.monitoring.drift_share_threshold
    over = {str(d): s for d, s in shares.items() if s is not None and s >= limit}
    return dg.AssetCheckResult(
        check_name=DRIFT_CHECK,
        passed=not over,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={
            "threshold": limit,
            "days_over_the_threshold": over,
            "days_measured": sum(s is not None for s in shares.values()),
        },
        description=(
            f"{', '.join(over)}: {max(over.values()):.0%} of the inputs have drifted; look at the "
            "per-column table, and whether the score distribution and realised performance moved"
            if over
            else None
        ),
    )


def _decay_check(records: list[PerformanceRecord], profile: Profile) -> dg.AssetCheckResult:
    allowed = profile.monitoring.performance_drop
    decayed = {
        str(r.matured_day): r.average_precision
        for r in records
        if r.average_precision is not None
        and r.champion_gate_average_precision is not None
        and r.average_precision < (1 - allowed) * r.champion_gate_average_precision
    }
    return dg.AssetCheckResult(
        check_name=DECAY_CHECK,
        passed=not decayed,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={"allowed_drop": allowed, "decayed_days": decayed},
        description=(
            f"average precision of {', '.join(decayed)} is more than {allowed:.0%} below the "
            "champion's at its gate; look at the drift report of these days, and whether "
            "performance_retraining_sensor is running"
            if decayed
            else None
        ),
    )
