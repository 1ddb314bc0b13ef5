"""Performance as labels mature, and the estimate before they do."""

from collections.abc import Iterator
from datetime import date
from functools import partial
from typing import Any, Final

import dagster as dg
import polars as pl

from fraud_assets.assets import EVALUATION, FEATURES, LABELS, PERFORMANCE, PREDICTIONS
from fraud_assets.assets.champion import ChampionInForce, service_of
from fraud_assets.assets.decorator import asset
from fraud_assets.assets.describe import column_schema, pictures, table
from fraud_assets.assets.label_history import LabelHistory
from fraud_assets.assets.models.setting import EVALUATION_FILE
from fraud_assets.assets.monitoring.setting import (
    RECORD_FILE,
    TREND_DAYS,
    MonitoringSetting,
    Records,
)
from fraud_assets.lake import Lake
from fraud_assets.metadata import EvaluationRecord, PerformanceRecord
from fraud_assets.modeling.evaluation import Evaluation
from fraud_assets.modeling.registry import ModelRegistry
from fraud_assets.modeling.scoring import FraudModel
from fraud_assets.monitoring.daily.models import GateLevel
from fraud_assets.monitoring.daily.performance import WEEK, Matured, performance_of_day
from fraud_assets.monitoring.performance import mature_day
from fraud_assets.monitoring.records import DayPerformance
from fraud_assets.partitions import earlier_mapping, run_days, trailing_mapping
from fraud_assets.store.engine import PredictionStore
from fraud_assets.transactions.profile import Profile

DECAY_CHECK: Final = "performance_has_not_decayed"


def build_performance_report(setting: MonitoringSetting) -> dg.AssetsDefinition:
    """The asset `performance_report`."""
    profile, choices = setting.profile, setting.profile.monitoring

    @asset(
        key=PERFORMANCE,
        kinds={"python", "polars"},
        code_version="2",
        deps=[
            dg.AssetDep(PREDICTIONS, partition_mapping=trailing_mapping(setting.delay)),
            dg.AssetDep(FEATURES, partition_mapping=trailing_mapping(setting.delay)),
            dg.AssetDep(LABELS, partition_mapping=trailing_mapping(setting.history)),
            dg.AssetDep(PERFORMANCE, partition_mapping=earlier_mapping(setting.history)),
        ],
        description=(
            "What was realised on the day whose labels have just matured, with intervals, by day "
            "and by week; what former champions and the rules would have reached on the same "
            "days; and the label-free estimate of the day itself, reconciled with what was "
            "realised. The estimate is shown, never acted on."
        ),
        metadata=column_schema(
            [
                ("transaction_id", "string", "a judged transaction of the matured day"),
                ("day", "date", "the matured day"),
                ("payer_id", "string", "its payer, not known to be compromised before"),
                ("amount", "float64", "its amount"),
                ("label", "int8", "1 fraud, 0 legitimate, as known when the day matured"),
                ("model_version", "string", "who scored it"),
                ("score", "float64", "score"),
                ("alert", "bool", "whether it was alerted, or would have been"),
                (
                    "in_force",
                    "bool",
                    "scored then; the others are for comparison",
                ),
            ]
        ),
        check_specs=[
            dg.AssetCheckSpec(
                DECAY_CHECK,
                asset=PERFORMANCE,
                description=(
                    "The champion's average precision over the last "
                    f"{choices.performance_days} matured days is not "
                    f"{choices.performance_drop:.0%} below its gate's, beyond its "
                    "interval. A warning; what is done about it is said by loop_decision."
                ),
            )
        ],
        **setting.common,
    )
    def performance_report(
        context: dg.AssetExecutionContext,
        lake: dg.ResourceParam[Lake],
        store: dg.ResourceParam[PredictionStore],
        registry: dg.ResourceParam[ModelRegistry],
    ) -> Iterator[dg.MaterializeResult[None]]:
        told = LabelHistory(lake, setting.days, setting.history)
        loaded: dict[str, ChampionInForce] = {}
        records = Records(lake, PERFORMANCE, DayPerformance, [])
        days = run_days(context)
        for day in days:
            service = service_of(
                store,
                registry,
                day,
                most_formers=choices.former_champions,
                loaded=loaded,
                log=context.log,
            )
            found = performance_of_day(
                day,
                lake.read_days(PREDICTIONS, [day]),
                _matured(setting, lake, told, day),
                judged_before=_judged_before(setting, lake, day),
                earlier=records.up_to(setting.days.trailing(day, setting.history)[:-1]),
                watched=service.watched,
                gate=gate_level(lake, service.champion),
                profile=profile,
            )
            record = found.record
            if found.judged is not None:
                lake.write_day(PERFORMANCE, day, found.judged)
            lake.write_document(PERFORMANCE, day, RECORD_FILE, record.model_dump_json(indent=1))
            records.put(day, record)
            # Of many days in one run, the last one's picture shows them all.
            trend = (
                records.up_to(setting.days.trailing(day, TREND_DAYS)) if day == days[-1] else None
            )
            context.add_asset_metadata(
                {
                    **PerformanceRecord(**record.model_dump()).to_dagster(),
                    **_details(record, trend),
                },
                partition_key=day.isoformat(),
            )
        written = [records.up_to(days)[day] for day in days]
        yield dg.MaterializeResult(check_results=[_decay_check(written, profile)])

    return performance_report


def gate_level(lake: Lake, champion: ChampionInForce) -> GateLevel | None:
    """What the champion reached on the days on which it was promoted; None for the rules."""
    if not isinstance(champion.model, FraudModel):
        return None
    judged = champion.model.manifest.trained_as_of
    # A version that was put in force by hand may never have been judged.
    if not lake.has_day(EVALUATION, judged, EVALUATION_FILE):
        return GateLevel(None, None)
    report = lake.read_json(EVALUATION, judged, EVALUATION_FILE)
    record = EvaluationRecord.model_validate(report["record"])
    # The day may have been trained again since, and then its report is of another version.
    if record.candidate_version != champion.version:
        return GateLevel(None, None)
    return GateLevel.of(Evaluation.model_validate(report["candidate"]))


def _matured(
    setting: MonitoringSetting, lake: Lake, told: LabelHistory, day: date
) -> Matured | None:
    matured = mature_day(day, setting.delay)
    if matured not in setting.days:
        return None
    predictions = lake.read_existing(PREDICTIONS, [matured])
    if predictions is None:
        return None
    return Matured(
        matured,
        predictions,
        told.judging(matured, day),
        partial(lake.read_days, FEATURES, [matured]),
    )


def _judged_before(setting: MonitoringSetting, lake: Lake, day: date) -> pl.DataFrame | None:
    """What the reports of the days before judged, as far back as anything is averaged."""
    choices = setting.profile.monitoring
    most = max(WEEK, choices.compared_days, choices.performance_days) - 1
    return lake.read_existing(PERFORMANCE, setting.days.trailing(day, most)[:-1])


def _details(record: DayPerformance, trend: Records[DayPerformance] | None) -> dict[str, Any]:
    from fraud_assets.monitoring.reconciliation import reconciliation_summary
    from fraud_assets.monitoring.reporting.trends import performance_trend

    content: dict[str, Any] = table("compared", [one.model_dump() for one in record.alternatives])
    if trend is not None:
        days = list(trend.values())
        content |= pictures({"trend": performance_trend(days)})
        summary = vars(reconciliation_summary(days))
        content["estimate_so_far"] = dg.MetadataValue.json(summary)
    return content


def _decay_check(records: list[DayPerformance], profile: Profile) -> dg.AssetCheckResult:
    allowed = profile.monitoring.performance_drop
    decayed = {
        str(r.matured_day): r.recent_average_precision
        for r in records
        if r.recent_average_precision is not None
        and r.champion_gate_average_precision is not None
        and r.recent_days >= profile.monitoring.performance_days
        and r.recent_average_precision < (1 - allowed) * r.champion_gate_average_precision
        and r.recent_high is not None
        and r.recent_high < r.champion_gate_average_precision
    }
    return dg.AssetCheckResult(
        check_name=DECAY_CHECK,
        passed=not decayed,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={"allowed_drop": allowed, "decayed_days": decayed},
        description=(
            f"average precision up to {', '.join(decayed)} is more than {allowed:.0%} below the "
            "champion's at its gate; look at what loop_decision says"
            if decayed
            else None
        ),
    )
