"""One page that gathers everything about a day on which something was out of order."""

from collections.abc import Sequence
from datetime import date
from typing import Any

import dagster as dg
import polars as pl

from fraud_assets.assets import (
    DASHBOARD,
    DECISION,
    DRIFT,
    PERFORMANCE,
    PREDICTIONS,
    QUARANTINED,
    VALIDATED,
)
from fraud_assets.assets.decorator import asset
from fraud_assets.assets.monitoring.setting import (
    DASHBOARD_FILE,
    REPORT_FILE,
    TABLES_FILE,
    TREND_DAYS,
    MonitoringSetting,
    Records,
)
from fraud_assets.lake import Lake
from fraud_assets.metadata import DashboardRecord, ValidationRecord, latest
from fraud_assets.monitoring.policy import Decision
from fraud_assets.monitoring.records import DayDrift, DayPerformance
from fraud_assets.partitions import day_after, run_days, trailing_mapping
from fraud_assets.store.decisions import StoredDecision
from fraud_assets.store.engine import PredictionStore
from fraud_assets.store.promotions import Promotion
from fraud_assets.transactions.columns import DECISION as ALERT_OR_PASS
from fraud_assets.transactions.columns import REASON, SCORE

SHOWN_ALERTS = 20
LOGGED = 200
"""Decisions that are read for the log of the last two weeks."""


def build_debugging_dashboard(setting: MonitoringSetting) -> dg.AssetsDefinition:
    """The asset `debugging_dashboard`."""

    @asset(
        key=DASHBOARD,
        kinds={"html"},
        code_version="1",
        deps=[
            dg.AssetDep(DECISION),
            dg.AssetDep(PREDICTIONS),
            dg.AssetDep(QUARANTINED),
            dg.AssetDep(DRIFT, partition_mapping=trailing_mapping(TREND_DAYS)),
            dg.AssetDep(PERFORMANCE, partition_mapping=trailing_mapping(TREND_DAYS)),
        ],
        description=(
            "For a day on which something was out of order: one self-contained page with what was "
            "decided and why, what to do, trends, causes of drift, broken inputs, quarantined "
            "rows, performance, the models compared, and the day's top alerts. Quiet days have "
            "none."
        ),
        **setting.common,
    )
    def debugging_dashboard(
        context: dg.AssetExecutionContext,
        lake: dg.ResourceParam[Lake],
        store: dg.ResourceParam[PredictionStore],
    ) -> None:
        from fraud_assets.monitoring.reporting.dashboard import dashboard_page
        from fraud_assets.store.decisions import history, latest_of
        from fraud_assets.store.promotions import champion_on, suspended_on

        drifts = Records(lake, DRIFT, DayDrift, [])
        performances = Records(lake, PERFORMANCE, DayPerformance, [])
        log = history(store, limit=LOGGED, newest_first=True)
        for day in run_days(context):
            stored = latest_of(store, day)
            if stored is None:
                raise dg.Failure(
                    f"{day}: nothing has been decided; materialise {DECISION} of {day} first",
                    allow_retries=False,
                )
            record = DashboardRecord(status=f"quiet: {stored.reason}", findings=0, page="")
            content: dict[str, Any] = {}
            suspended = suspended_on(store, day)
            if stored.findings or stored.action != "nothing":
                shown = setting.days.trailing(day, TREND_DAYS)
                page = dashboard_page(
                    _facts(
                        setting,
                        lake,
                        stored,
                        drifts=list(drifts.up_to(shown).values()),
                        performances=list(performances.up_to(shown).values()),
                        log=[one for one in log if one.day <= day],
                        quality=latest(context.instance, VALIDATED, day, ValidationRecord),
                        promotion=champion_on(store, day),
                        suspended=suspended.version if suspended is not None else None,
                    )
                )
                path = lake.write_document(DASHBOARD, day, DASHBOARD_FILE, page)
                record = DashboardRecord(
                    status=stored.action, findings=len(stored.findings), page=path
                )
                content["page"] = dg.MetadataValue.path(path)
            context.add_asset_metadata(
                {**record.to_dagster(), **content}, partition_key=day.isoformat()
            )

    return debugging_dashboard


def _facts(
    setting: MonitoringSetting,
    lake: Lake,
    stored: StoredDecision,
    *,
    drifts: Sequence[DayDrift],
    performances: Sequence[DayPerformance],
    log: Sequence[StoredDecision],
    quality: ValidationRecord | None,
    promotion: Promotion | None,
    suspended: str | None,
) -> Any:  # noqa: ANN401  the class is imported where it is used
    from fraud_assets.monitoring.reporting.dashboard import DashboardFacts

    day = stored.day
    tables = lake.read_json(DRIFT, day, TABLES_FILE)
    links = {"loop_decision in the UI": _in_ui(setting, DECISION, day)}
    if lake.has_day(DRIFT, day, REPORT_FILE):
        links["Evidently's report of the day"] = f"../../{DRIFT}/day={day}/{REPORT_FILE}"
    return DashboardFacts(
        profile=setting.profile.name,
        decision=as_decision(stored),
        choices=setting.profile.monitoring,
        champion_since=day_after(promotion.day) if promotion is not None else None,
        suspended=suspended,
        drift_days=drifts,
        performance_days=performances,
        past_decisions=[as_decision(one) for one in log if one.day < day],
        columns=tables.get("columns", ()),
        causes=tables.get("causes", ()),
        quality=tables.get("quality", ()),
        quarantine=_reasons(lake, day),
        quarantined_rows=quality.quarantined_rows if quality else None,
        raw_rows=quality.raw_rows if quality else None,
        top_alerts=_top_alerts(lake, day),
        links=links,
    )


def as_decision(stored: StoredDecision) -> Decision:
    """What the policy said, without what the record adds."""
    return Decision.model_validate(
        stored.model_dump(exclude={"id", "fingerprint", "run_id", "created_at"})
    )


def _in_ui(setting: MonitoringSetting, key: str, day: date) -> str:
    return f"{setting.ui_url.rstrip('/')}/assets/{key}?partition={day}"


def _reasons(lake: Lake, day: date) -> list[dict[str, Any]]:
    from fraud_assets.transactions.validation import counted_reasons

    rejected = lake.read_days(QUARANTINED, [day], [REASON, "is_duplicate"])
    return counted_reasons(rejected.filter(~pl.col("is_duplicate"))[REASON]).to_dicts()


def _top_alerts(lake: Lake, day: date) -> list[dict[str, Any]]:
    columns = ["transaction_id", "payer_id", "amount", SCORE, ALERT_OR_PASS, "reasons"]
    return (
        lake.read_days(PREDICTIONS, [day], columns)
        .filter(pl.col(ALERT_OR_PASS) == "alert")
        .sort(SCORE, "transaction_id", descending=[True, False])
        .head(SHOWN_ALERTS)
        .drop(ALERT_OR_PASS)
        .to_dicts()
    )
