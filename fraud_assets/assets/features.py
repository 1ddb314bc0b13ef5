"""Labels as they become known, and point-in-time features."""

from collections.abc import Sequence
from datetime import date
from typing import Final

import dagster as dg
import polars as pl

from fraud_assets.assets import FEATURES, LABELS, OWNERS, VALIDATED
from fraud_assets.assets.describe import column_schema, feature_columns
from fraud_assets.features.batch import compute_features
from fraud_assets.features.definitions import FeatureSet
from fraud_assets.lake import Lake
from fraud_assets.metadata import FeatureRecord, LabelRecord
from fraud_assets.partitions import SimulationDays, run_days, trailing_mapping
from fraud_assets.store.engine import PredictionStore
from fraud_assets.transactions.columns import (
    AMOUNT,
    EVENT_ORDER,
    EVENT_TIME,
    LABEL,
    LABEL_SOURCE,
    PAYEE,
    PAYER,
    SOURCE_LABEL_COLUMNS,
    TRANSACTION_ID,
)
from fraud_assets.transactions.labels import (
    label_lookback_days,
    labels_beyond_delay,
    labels_known_on,
)
from fraud_assets.transactions.profile import Profile

ROWS_IN_MEMORY: Final = 1_500_000
"""Rows of target days per pass: bounds the memory of a long backfill, never its result."""

LABEL_INPUT: Final = [
    *(TRANSACTION_ID, EVENT_TIME, EVENT_ORDER, AMOUNT, PAYER, PAYEE),
    *SOURCE_LABEL_COLUMNS,
]


def build_feature_assets(
    days: SimulationDays, profile: Profile, features: FeatureSet, threads: int
) -> list[dg.AssetsDefinition]:
    """The group `features`."""
    label_lookback = label_lookback_days(profile)

    @dg.asset(
        key=LABELS,
        group_name="features",
        owners=OWNERS,
        kinds={"parquet", "polars"},
        partitions_def=days.definition,
        backfill_policy=dg.BackfillPolicy.single_run(),
        code_version="2",
        deps=[dg.AssetDep(VALIDATED, partition_mapping=trailing_mapping(label_lookback))],
        description=(
            "The labels that became known on the day, from the source's delay and from analysts. "
            "A transaction without a row here is unknown, never legitimate."
        ),
        metadata=column_schema(
            [
                ("transaction_id", "string", "the transaction"),
                ("event_time", "timestamp[us, UTC]", "when the transaction happened"),
                ("event_order_us", "int64", "its order key"),
                ("payer_id", "string", "its payer"),
                ("payee_id", "string", "its payee"),
                ("amount", "double", "its amount"),
                ("label", "int8", "1 fraud, 0 legitimate"),
                ("label_known_at", "timestamp[us, UTC]", "when the label became known"),
                ("label_source", "string", "source or analyst"),
                ("scenario", "string", "the source's fraud scenario; for evaluation alone"),
            ]
        ),
    )
    def fraud_labels(
        context: dg.AssetExecutionContext,
        lake: dg.ResourceParam[Lake],
        store: dg.ResourceParam[PredictionStore],
    ) -> None:
        from fraud_assets.store.labels import labels_known_on as analyst_labels

        recent: dict[date, pl.DataFrame] = {}
        for day in run_days(context):
            window = days.trailing(day, label_lookback)
            # Windows of neighbouring days overlap: each day is read once per run.
            recent = {
                d: recent[d] if d in recent else lake.read_days(VALIDATED, [d], LABEL_INPUT)
                for d in window
            }
            transactions = pl.concat(recent.values())
            known = labels_known_on(transactions, day, profile, analyst_labels(store, day))
            lake.write_day(LABELS, day, known)
            frauds = int((known[LABEL] == 1).sum())
            record = LabelRecord(
                labels=known.height,
                frauds=frauds,
                analyst_labels=int((known[LABEL_SOURCE] == "analyst").sum()),
                labels_beyond_delay=labels_beyond_delay(recent[day], profile),
                fraud_share=frauds / known.height if known.height else None,
            )
            context.add_asset_metadata(
                {**record.to_dagster(), "dagster/row_count": known.height},
                partition_key=day.isoformat(),
            )

    lookback = features.lookback_days

    @dg.asset(
        key=FEATURES,
        group_name="features",
        owners=OWNERS,
        kinds={"parquet", "duckdb", "ibis"},
        partitions_def=days.definition,
        backfill_policy=dg.BackfillPolicy.single_run(),
        code_version="2",
        deps=[
            dg.AssetDep(VALIDATED, partition_mapping=trailing_mapping(lookback)),
            dg.AssetDep(LABELS, partition_mapping=trailing_mapping(features.label_lookback_days)),
        ],
        description=(
            "The point-in-time feature matrix: each value uses its transaction, earlier ones, and "
            "labels that were known by then. Declared once, compiled by Ibis to DuckDB."
        ),
        metadata=column_schema(feature_columns(features)),
    )
    def transaction_features(
        context: dg.AssetExecutionContext, lake: dg.ResourceParam[Lake]
    ) -> None:
        run = run_days(context)
        for chunk in lake.chunks_by_rows(VALIDATED, run, ROWS_IN_MEMORY):
            history = _window(days, chunk, lookback)
            labelled = _window(days, chunk, features.label_lookback_days)
            frame = compute_features(
                features,
                lake.read_days(VALIDATED, history, features.required_columns),
                lake.read_days(LABELS, labelled),
                chunk,
                threads=threads,
            )
            event_day = frame[EVENT_TIME].dt.date()
            for day in chunk:
                rows = frame.filter(event_day == day)
                written = lake.write_day(FEATURES, day, rows)
                record = FeatureRecord(
                    rows=rows.height,
                    features=len(features.names),
                    lookback_days=lookback,
                    null_share=_null_share(rows, features.names),
                    sha256=written.sha256,
                )
                context.add_asset_metadata(
                    {
                        **record.to_dagster(),
                        "dagster/row_count": rows.height,
                        "path": dg.MetadataValue.path(written.path),
                    },
                    partition_key=day.isoformat(),
                )

    return [fraud_labels, transaction_features]


def _window(days: SimulationDays, chunk: Sequence[date], lookback: int) -> list[date]:
    return sorted({day for target in chunk for day in days.trailing(target, lookback)})


def _null_share(frame: pl.DataFrame, names: Sequence[str]) -> float | None:
    if frame.is_empty():
        return None
    nulls = sum(frame[name].null_count() for name in names)
    return nulls / (frame.height * len(names))
