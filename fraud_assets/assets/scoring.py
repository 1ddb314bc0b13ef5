"""Predictions of the champion in force, in the lake and in the prediction store."""

import dagster as dg
import polars as pl

from fraud_assets.assets import CHAMPION, FEATURES, OWNERS, PREDICTIONS
from fraud_assets.assets.champion import ChampionInForce, champion_in_force
from fraud_assets.assets.describe import column_schema, table
from fraud_assets.lake import Lake
from fraud_assets.metadata import PredictionRecord
from fraud_assets.modeling.registry import ModelRegistry
from fraud_assets.modeling.scoring import score_day
from fraud_assets.partitions import SimulationDays, earlier_mapping, run_days
from fraud_assets.store.engine import PredictionStore
from fraud_assets.transactions.columns import DECISION, SCORE


def build_scoring_assets(days: SimulationDays) -> list[dg.AssetsDefinition]:
    """The group `scoring`."""

    @dg.asset(
        key=PREDICTIONS,
        group_name="scoring",
        owners=OWNERS,
        kinds={"parquet", "python", "sqlalchemy"},
        partitions_def=days.definition,
        backfill_policy=dg.BackfillPolicy.single_run(),
        code_version="1",
        deps=[
            dg.AssetDep(FEATURES),
            dg.AssetDep(CHAMPION, partition_mapping=earlier_mapping(days.count)),
        ],
        description=(
            "The day as scored by the champion in force on it: the version with the latest "
            "promotion before the day, so a backfill of an old day uses the champion of that day. "
            "Without a champion, or when it cannot be loaded, the versioned rule set scores."
        ),
        metadata=column_schema(
            [
                ("transaction_id", "string", "key"),
                ("event_time", "timestamp[us, UTC]", "when it happened"),
                ("payer_id", "string", "its payer"),
                ("amount", "float64", "its amount"),
                ("score", "float64", "calibrated probability of fraud"),
                ("decision", "string", "alert or pass"),
                ("threshold", "float64", "frozen with the model"),
                ("reasons", "list[string]", "for alerts: what raised the score most"),
                ("model_version", "string", "registry version, or rules-…"),
                ("model_hash", "string", "hash that was verified before loading"),
            ]
        ),
    )
    def fraud_predictions(
        context: dg.AssetExecutionContext,
        lake: dg.ResourceParam[Lake],
        store: dg.ResourceParam[PredictionStore],
        registry: dg.ResourceParam[ModelRegistry],
    ) -> None:
        from fraud_assets.store.predictions import replace_day

        loaded: dict[str, ChampionInForce] = {}
        for day in run_days(context):
            champion = champion_in_force(store, registry, day, loaded, context.log)
            predictions = score_day(champion.model, lake.read_days(FEATURES, [day]))
            written = lake.write_day(PREDICTIONS, day, predictions)
            replace_day(store, day, predictions)
            context.add_asset_metadata(
                {
                    **_record(predictions, champion, written.sha256).to_dagster(),
                    "dagster/row_count": predictions.height,
                    "path": dg.MetadataValue.path(written.path),
                    **_top_alerts(predictions),
                },
                partition_key=day.isoformat(),
            )

    return [fraud_predictions]


def _record(predictions: pl.DataFrame, champion: ChampionInForce, sha256: str) -> PredictionRecord:
    alerts = int((predictions[DECISION] == "alert").sum())
    rows = predictions.height
    return PredictionRecord(
        rows=rows,
        alerts=alerts,
        alert_share=alerts / rows if rows else None,
        mean_score=float(predictions[SCORE].mean()) if rows else None,  # type: ignore[arg-type]
        threshold=float(predictions["threshold"][0]) if rows else None,
        model_version=champion.version,
        fallback=champion.fallback,
        sha256=sha256,
    )


def _top_alerts(predictions: pl.DataFrame) -> dict[str, dg.TableMetadataValue]:
    alerts = (
        predictions.filter(pl.col(DECISION) == "alert")
        .sort(SCORE, "transaction_id", descending=[True, False])
        .head(10)
        .select(
            "transaction_id",
            "payer_id",
            "amount",
            SCORE,
            reasons=pl.col("reasons").list.join(" · "),
        )
    )
    return table("top_alerts", alerts.to_dicts())
