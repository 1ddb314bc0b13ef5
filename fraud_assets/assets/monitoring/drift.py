"""Drift against the champion's training window."""

import json
from collections.abc import Iterator
from datetime import date, timedelta
from typing import Any, Final

import dagster as dg
import polars as pl

from fraud_assets.assets import DRIFT, FEATURES, PREDICTIONS
from fraud_assets.assets.champion import ChampionInForce, Service, service_of
from fraud_assets.assets.decorator import asset
from fraud_assets.assets.describe import pictures, table
from fraud_assets.assets.monitoring.setting import (
    RECORD_FILE,
    REPORT_FILE,
    TABLES_FILE,
    TREND_DAYS,
    MonitoringSetting,
    Records,
)
from fraud_assets.lake import Lake
from fraud_assets.metadata import DriftRecord
from fraud_assets.modeling.registry import ModelRegistry
from fraud_assets.modeling.scoring import MODEL_VERSION, FraudModel
from fraud_assets.monitoring.daily.drift import DriftOfDay, drift_of_day
from fraud_assets.monitoring.daily.models import Reference, build_reference
from fraud_assets.monitoring.policy import is_drifting
from fraud_assets.monitoring.records import DayDrift
from fraud_assets.partitions import earlier_mapping, run_days, trailing_mapping
from fraud_assets.store.engine import PredictionStore
from fraud_assets.transactions.columns import DECISION, SCORE, TRANSACTION_ID
from fraud_assets.transactions.profile import Profile

DRIFT_CHECK: Final = "inputs_have_not_drifted"
QUALITY_CHECK: Final = "inputs_are_whole"
PREDICTED: Final = (TRANSACTION_ID, SCORE, DECISION, MODEL_VERSION)


def build_drift_report(setting: MonitoringSetting) -> dg.AssetsDefinition:
    """The asset `drift_report`."""
    profile, choices = setting.profile, setting.profile.monitoring

    @asset(
        key=DRIFT,
        kinds={"evidently", "html"},
        code_version="2",
        deps=[
            dg.AssetDep(PREDICTIONS),
            dg.AssetDep(FEATURES, partition_mapping=trailing_mapping(setting.history)),
            dg.AssetDep(DRIFT, partition_mapping=earlier_mapping(TREND_DAYS)),
        ],
        check_specs=[
            dg.AssetCheckSpec(
                DRIFT_CHECK,
                asset=DRIFT,
                description=(
                    f"Fewer than {choices.drift_share_threshold:.0%} of the inputs have drifted. "
                    "A warning: drift is not degradation."
                ),
            ),
            dg.AssetCheckSpec(
                QUALITY_CHECK,
                asset=DRIFT,
                description=(
                    "No input is broken: missing, outside the reference's range or of kinds that "
                    "it never had, for more rows than the profile allows. A warning."
                ),
            ),
        ],
        description=(
            "The day against the champion's training window, column by column, by effect size; "
            "which drifted inputs matter to the model; data quality of the inputs; the scores and "
            "the rate of alerts against the champion's gate days, which it was not fitted on. "
            "Evidently's full report is kept as HTML."
        ),
        **setting.common,
    )
    def drift_report(
        context: dg.AssetExecutionContext,
        lake: dg.ResourceParam[Lake],
        store: dg.ResourceParam[PredictionStore],
        registry: dg.ResourceParam[ModelRegistry],
    ) -> Iterator[dg.MaterializeResult[None]]:
        loaded: dict[str, ChampionInForce] = {}
        references: dict[str, Reference] = {}
        records = Records(lake, DRIFT, DayDrift, [])
        todays = run_days(context)
        for day in todays:
            service = service_of(
                store,
                registry,
                day,
                most_formers=choices.former_champions,
                loaded=loaded,
                log=context.log,
            )
            predictions = lake.read_days(PREDICTIONS, [day], PREDICTED)
            current = lake.read_days(FEATURES, [day]).join(
                predictions.drop(MODEL_VERSION),
                on=TRANSACTION_ID,
                maintain_order="left",
            )
            found = drift_of_day(
                day,
                current,
                _reference(setting, lake, service, references),
                watched=service.watched,
                columns=setting.columns,
                profile=profile,
                scored_by=", ".join(predictions[MODEL_VERSION].unique().sort()),
                without_reference=service.champion.fallback,
                html=True,
            )
            record = _write(lake, found)
            records.put(day, record)
            # Of many days in one run, the last one's picture shows them all.
            trend = (
                records.up_to(setting.days.trailing(day, TREND_DAYS)) if day == todays[-1] else None
            )
            context.add_asset_metadata(
                {
                    **DriftRecord(**record.model_dump()).to_dagster(),
                    **_details(found, record, trend, profile),
                },
                partition_key=day.isoformat(),
            )
        written = [records.up_to(todays)[day] for day in todays]
        yield dg.MaterializeResult(
            check_results=[_drift_check(written, profile), _quality_check(written)]
        )

    return drift_report


def _reference(
    setting: MonitoringSetting, lake: Lake, service: Service, known: dict[str, Reference]
) -> Reference | None:
    """What the day is compared with, made once per model and run."""
    model = service.watched.reference_model
    if model is None:
        return None
    if model.version not in known:
        known[model.version] = read_reference(lake, model, setting)
    return known[model.version]


def read_reference(lake: Lake, model: FraudModel, setting: MonitoringSetting) -> Reference:
    """The reference of a model from the days that its manifest names."""
    window, gate = model.manifest.reference_window, model.manifest.gate_window
    columns = setting.columns
    inputs = lake.read_days(
        FEATURES, _days(window.first, window.last), [*columns.numeric, *columns.categorical]
    )
    judged = lake.read_days(FEATURES, _days(gate.first, gate.last))
    return build_reference(model, inputs, judged, columns, setting.profile)


def _days(first: date, last: date) -> list[date]:
    return [first + timedelta(days=i) for i in range((last - first).days + 1)]


def _write(lake: Lake, found: DriftOfDay) -> DayDrift:
    """Keep the day's page, tables and record; the record last, because it names the page."""
    day, result = found.record.day, found.result
    path = ""
    if result is not None and result.html is not None:
        path = lake.write_document(DRIFT, day, REPORT_FILE, result.html)
    lake.write_document(DRIFT, day, TABLES_FILE, json.dumps(_tables(found), allow_nan=False))
    record = found.record.model_copy(update={"report_path": path})
    lake.write_document(DRIFT, day, RECORD_FILE, record.model_dump_json(indent=1))
    return record


def _tables(found: DriftOfDay) -> dict[str, list[dict[str, Any]]]:
    from fraud_assets.monitoring.causes import cause_table

    frames: dict[str, pl.DataFrame] = {}
    if found.result is not None:
        frames["columns"] = found.result.table()
    if found.quality is not None:
        frames["quality"] = found.quality.table()
        frames["causes"] = cause_table(found.causes)
    return {name: frame.to_dicts() for name, frame in frames.items()}


def _details(
    found: DriftOfDay, record: DayDrift, trend: Records[DayDrift] | None, profile: Profile
) -> dict[str, Any]:
    from fraud_assets.modeling.reporting.plots import drift_bars
    from fraud_assets.monitoring.reporting.trends import cause_bars, drift_trend

    choices = profile.monitoring
    content: dict[str, Any] = {}
    for name, rows in _tables(found).items():
        content |= table(name, rows)
    pngs: dict[str, bytes] = {}
    if trend is not None:
        pngs["trend"] = drift_trend(list(trend.values()), choices.drift_share_threshold)
    if found.result is not None and found.result.columns:
        distances = {c.column: c.value for c in found.result.columns if c.value is not None}
        pngs["picture"] = drift_bars(distances, choices.column_threshold)
    if record.drifted_columns:
        pngs["causes_picture"] = cause_bars(found.causes)
    content |= pictures(pngs)
    if record.report_path:
        content["report_path"] = dg.MetadataValue.path(record.report_path)
    return content


def _drift_check(records: list[DayDrift], profile: Profile) -> dg.AssetCheckResult:
    limit = profile.monitoring.drift_share_threshold
    shares = {str(r.day): r.drift_share for r in records if r.drift_share is not None}
    over = {
        str(r.day): r.drift_share
        for r in records
        if r.drift_share is not None and is_drifting(r, profile.monitoring)
    }
    return dg.AssetCheckResult(
        check_name=DRIFT_CHECK,
        passed=not over,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={
            "threshold": limit,
            "days_over_the_threshold": over,
            "days_measured": len(shares),
        },
        description=(
            f"{', '.join(over)}: {max(over.values()):.0%} of the inputs have drifted; look at the "
            "table of causes, and at what loop_decision says"
            if over
            else None
        ),
    )


def _quality_check(records: list[DayDrift]) -> dg.AssetCheckResult:
    broken = {str(r.day): r.broken_columns for r in records if r.broken_columns}
    return dg.AssetCheckResult(
        check_name=QUALITY_CHECK,
        passed=not broken,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={"broken_inputs": broken},
        description=(
            f"{', '.join(broken)}: broken inputs {sorted(set().union(*broken.values()))}; look at "
            "the table of data quality, and repair the feed"
            if broken
            else None
        ),
    )
