"""The promotion: the gate's decision on the record, and the alias moved."""

import dagster as dg

from fraud_assets.assets import CHAMPION, EVALUATION
from fraud_assets.assets.decorator import asset
from fraud_assets.assets.describe import column_schema
from fraud_assets.assets.models.setting import (
    EVALUATION_FILE,
    MODEL_CARD,
    PROMOTION_FILE,
    ModelSetting,
)
from fraud_assets.lake import Lake
from fraud_assets.metadata import EvaluationRecord, PromotionRecord
from fraud_assets.modeling.registry import ModelRegistry
from fraud_assets.modeling.rules import RuleSet
from fraud_assets.partitions import day_after, run_days
from fraud_assets.store.engine import PredictionStore


def build_champion_model(setting: ModelSetting) -> dg.AssetsDefinition:
    """The asset `champion_model`."""

    @asset(
        key=CHAMPION,
        kinds={"mlflow", "sqlalchemy"},
        deps=[dg.AssetDep(EVALUATION)],
        description=(
            "The promotion: the gate's decision on the record, and the alias moved. The champion "
            "of a day is the version with the latest promotion before it, so a promotion is in "
            "force from the next day on, and an old day's never displaces a newer one."
        ),
        metadata=column_schema(
            [
                ("action", "string", "promote or keep"),
                ("version", "string", "the candidate"),
                ("previous_version", "string", "the champion before"),
                ("effective_from", "date", "first day that it scores"),
            ]
        ),
        **setting.common,
    )
    def champion_model(
        context: dg.AssetExecutionContext,
        lake: dg.ResourceParam[Lake],
        store: dg.ResourceParam[PredictionStore],
        registry: dg.ResourceParam[ModelRegistry],
    ) -> None:
        from fraud_assets.modeling.promotion import follow_the_record
        from fraud_assets.store.promotions import Promotion, champion_on, record

        for day in run_days(context):
            report = lake.read_json(EVALUATION, day, EVALUATION_FILE)
            judged = EvaluationRecord.model_validate(report["record"])
            in_force = champion_on(store, day)
            version = in_force.version if in_force else RuleSet().version
            if version != judged.champion_version:
                # As when several days are evaluated in one run before any is promoted: the second
                # would replace a champion with which it was never compared.
                raise dg.Failure(
                    f"{day}: the candidate was compared with {judged.champion_version}, and the "
                    f"champion in force is {version} by now; materialise {EVALUATION} of {day} "
                    "again, then this",
                    allow_retries=False,
                )
            decision = record(
                store,
                Promotion(
                    day=day,
                    action="promote" if judged.promote else "keep",
                    version=judged.candidate_version,
                    model_hash=report["model_hash"],
                    previous_version=judged.champion_version,
                    reason=judged.reasons,
                    numbers=report["decision"]["numbers"],
                    run_id=context.run_id,
                ),
            )
            follow_the_record(store, registry)
            promotion = PromotionRecord(
                action=decision.action,
                version=decision.version,
                previous_version=decision.previous_version or "",
                effective_from=day_after(day),
                reason=decision.reason,
            )
            lake.write_document(CHAMPION, day, PROMOTION_FILE, promotion.model_dump_json(indent=1))
            context.add_asset_metadata(
                {
                    **promotion.to_dagster(),
                    "numbers": dg.MetadataValue.json(decision.numbers),
                    "model_card": dg.MetadataValue.md(
                        lake.read_document(EVALUATION, day, MODEL_CARD).decode()
                    ),
                },
                partition_key=day.isoformat(),
            )

    return champion_model
