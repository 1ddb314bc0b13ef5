"""A candidate, its report, and the promotion."""

import json
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any, Final

import dagster as dg

from fraud_assets.assets import CHAMPION, EVALUATION, FEATURES, LABELS, MODEL, OWNERS
from fraud_assets.assets.champion import ChampionInForce, champion_in_force
from fraud_assets.assets.describe import column_schema, table
from fraud_assets.features.definitions import FeatureSet
from fraud_assets.lake import Lake
from fraud_assets.metadata import EvaluationRecord, ModelRecord, PromotionRecord
from fraud_assets.modeling.registry import ModelRegistry
from fraud_assets.modeling.report import GateReport, judge_candidate
from fraud_assets.modeling.splits import NotEnoughHistoryError, SplitPlan, days_looked_at
from fraud_assets.partitions import SimulationDays, run_days, trailing_mapping
from fraud_assets.resources.tracking import Tracking
from fraud_assets.store.engine import PredictionStore
from fraud_assets.transactions.profile import Profile

CANDIDATE_FILE: Final = "candidate.json"
EVALUATION_FILE: Final = "evaluation.json"
PROMOTION_FILE: Final = "promotion.json"

LEAKAGE_CHECK: Final = "no_feature_knows_the_answer"
LEAKAGE_AUC: Final = 0.97
"""A single feature that ranks frauds this well is an alarm, not a success: PaySim's balances do."""


class TrainingConfig(dg.Config):
    """The search budget of one retraining, from the launchpad; the profile's where left out."""

    trials: int | None = None
    timeout_seconds: float | None = None

    def applied_to(self, profile: Profile) -> Profile:
        """The profile with this budget.

        Raises:
            pydantic.ValidationError: a value is out of range.
        """
        asked = {k: v for k, v in self.model_dump().items() if v is not None}
        if not asked:
            return profile
        training = {**profile.training.model_dump(), **asked}
        return Profile.model_validate({**profile.model_dump(), "training": training})


@dataclass(frozen=True)
class Setting:
    """What the three assets share."""

    days: SimulationDays
    profile: Profile
    features: FeatureSet
    threads: int

    @property
    def history(self) -> int:
        """Days before a training day that it may read."""
        return days_looked_at(self.profile.label_delay_days, self.profile.training)

    @property
    def common(self) -> dict[str, Any]:
        """Arguments of every asset of the group."""
        return {
            "group_name": "models",
            "owners": OWNERS,
            "partitions_def": self.days.definition,
            "backfill_policy": dg.BackfillPolicy.single_run(),
            "code_version": "1",
            "pool": "training",
        }

    @property
    def data(self) -> list[dg.AssetDep]:
        """The trailing days of features and labels."""
        window = trailing_mapping(self.history)
        return [
            dg.AssetDep(FEATURES, partition_mapping=window),
            dg.AssetDep(LABELS, partition_mapping=window),
        ]

    def split(self, day: date) -> SplitPlan:
        """The days of a training as of `day`; fails without a retry where history is too short."""
        try:
            return SplitPlan.as_of(
                day, self.profile.label_delay_days, self.profile.training, self.days.first_day
            )
        except NotEnoughHistoryError as error:
            raise dg.Failure(str(error), allow_retries=False) from error


def build_model_assets(
    days: SimulationDays, profile: Profile, features: FeatureSet, threads: int
) -> list[dg.AssetsDefinition]:
    """The group `models`."""
    setting = Setting(days, profile, features, threads)
    return [_fraud_model(setting), _evaluation_report(setting), _champion_model(setting)]


def _asset(**arguments: Any) -> Callable[[Callable[..., Any]], dg.AssetsDefinition]:  # noqa: ANN401
    """`dg.asset` as far as the type checker can follow arguments given as a dictionary."""
    decorator: Callable[[Callable[..., Any]], dg.AssetsDefinition] = dg.asset(**arguments)
    return decorator


def _fraud_model(setting: Setting) -> dg.AssetsDefinition:
    @_asset(
        key=MODEL,
        kinds={"xgboost", "optuna", "mlflow"},
        deps=setting.data,
        description=(
            "A candidate trained as of the day on labels that were known by its end: tuned, "
            "calibrated and given its threshold on later days than it was fitted on, then "
            "registered. It serves nobody until it has cleared the gate."
        ),
        **setting.common,
    )
    def fraud_model(
        context: dg.AssetExecutionContext,
        config: TrainingConfig,
        lake: dg.ResourceParam[Lake],
        registry: dg.ResourceParam[ModelRegistry],
        tracking: dg.ResourceParam[Tracking],
    ) -> None:
        from fraud_assets.modeling.bundle import save_bundle
        from fraud_assets.modeling.dataset import labelled_rows
        from fraud_assets.modeling.training import NotEnoughLabelsError, train_candidate

        profile = config.applied_to(setting.profile)
        for day in run_days(context):
            split = setting.split(day)
            learnt = sorted({*split.fold_train_days, *split.train_days})
            labelled = setting.days.trailing(day, (day - learnt[0]).days)
            rows = labelled_rows(
                lake.read_days(FEATURES, learnt), lake.read_days(LABELS, labelled), day
            )
            started = time.perf_counter()
            tags = {"day": day.isoformat(), "dagster_run_id": context.run_id}
            with (
                tracking.nested_run(f"{MODEL} {day}", tags) as mlflow_run,
                tempfile.TemporaryDirectory() as scratch,
            ):
                try:
                    candidate = train_candidate(
                        rows,
                        split,
                        (setting.features.numeric_names, setting.features.categorical_names),
                        profile,
                        threads=setting.threads,
                        on_trial=tracking.log_trial,
                        lookback_days=setting.features.lookback_days,
                        history_start=setting.days.first_day,
                    )
                except NotEnoughLabelsError as error:
                    raise dg.Failure(str(error), allow_retries=False) from error
                folder = Path(scratch) / "bundle"
                model_hash = save_bundle(candidate, folder)
                found = candidate.manifest
                tracking.log_params({**found.params, "rounds": found.rounds, **split.describe()})
                tracking.log_metrics({f"validation_{k}": v for k, v in found.metrics.items()})
                version = registry.register(folder, model_hash, mlflow_run, tags)
            registry.set_alias("challenger", version)
            record = ModelRecord(
                version=version,
                model_hash=model_hash,
                mlflow_run_id=mlflow_run,
                train_first_day=found.train_window.first,
                train_last_day=found.train_window.last,
                train_rows=found.train_rows,
                train_positives=found.train_positives,
                validation_average_precision=found.metrics["average_precision"],
                threshold=candidate.policy.threshold,
                threshold_version=candidate.policy.version,
                trials=len(candidate.trials),
                training_seconds=round(time.perf_counter() - started, 3),
            )
            lake.write_document(MODEL, day, CANDIDATE_FILE, record.model_dump_json(indent=1))
            trials = [{k: v for k, v in one.items() if k != "params"} for one in candidate.trials]
            context.add_asset_metadata(
                {
                    **record.to_dagster(),
                    "days": dg.MetadataValue.json(split.describe()),
                    "parameters": dg.MetadataValue.json(found.params),
                    "features": dg.MetadataValue.json(list(found.feature_names)),
                    **table("trial_table", trials),
                },
                partition_key=day.isoformat(),
            )

    return fraud_model


def _evaluation_report(setting: Setting) -> dg.AssetsDefinition:
    profile = setting.profile

    @_asset(
        key=EVALUATION,
        kinds={"mlflow", "python"},
        deps=[dg.AssetDep(MODEL), *setting.data],
        description=(
            "The candidate against the champion on the gate days, which neither has seen and "
            "whose labels are mature: metrics, a paired day-block bootstrap on average precision "
            "and cost, calibration, latency, and the decision with its numbers."
        ),
        check_specs=[
            dg.AssetCheckSpec(
                LEAKAGE_CHECK,
                asset=EVALUATION,
                description=(
                    f"No feature alone reaches an ROC AUC of {LEAKAGE_AUC} on the gate days. A "
                    "warning: look whether it holds something that is known only afterwards."
                ),
            )
        ],
        **setting.common,
    )
    def evaluation_report(
        context: dg.AssetExecutionContext,
        lake: dg.ResourceParam[Lake],
        store: dg.ResourceParam[PredictionStore],
        registry: dg.ResourceParam[ModelRegistry],
        tracking: dg.ResourceParam[Tracking],
    ) -> Iterator[dg.MaterializeResult[None]]:
        from fraud_assets.modeling.dataset import known_payers_by_day, labelled_rows
        from fraud_assets.modeling.plots import as_markdown_image

        records: list[EvaluationRecord] = []
        loaded: dict[str, ChampionInForce] = {}
        for day in run_days(context):
            split = setting.split(day)
            trained = ModelRecord.model_validate(lake.read_json(MODEL, day, CANDIDATE_FILE))
            champion = champion_in_force(store, registry, day, loaded, context.log)
            if champion.is_missing:
                # Judged against the rules instead, a worse model than the champion could pass.
                raise dg.Failure(
                    f"{day}: nothing to compare the candidate with, as the champion's "
                    f"{champion.fallback}; restore it, or roll back, and evaluate again",
                    allow_retries=False,
                )
            labels = lake.read_days(LABELS, setting.days.trailing(day, setting.history))
            report = judge_candidate(
                registry.load(trained.version),
                champion.model,
                labelled_rows(lake.read_days(FEATURES, split.gate_days), labels, day),
                known_by_day=known_payers_by_day(labels, split.gate_days),
                profile=profile,
                feature_names=setting.features.names,
                champion_title=champion.title,
            )
            record = _evaluation_record(report, trained.version, champion.version, split)
            records.append(record)
            content = {
                "record": record.model_dump(mode="json"),
                "model_hash": trained.model_hash,
                **report.document(),
            }
            document = json.dumps(content, indent=1, allow_nan=False) + "\n"
            path = lake.write_document(EVALUATION, day, EVALUATION_FILE, document)
            tags = {"day": day.isoformat(), "version": trained.version}
            with tracking.nested_run(f"{EVALUATION} {day}", tags):
                tracking.log_metrics(report.decision.numbers)
                tracking.log_document(EVALUATION_FILE, document)
            pictures = {
                name: dg.MetadataValue.md(as_markdown_image(png))
                for name, png in report.pictures(profile).items()
            }
            context.add_asset_metadata(
                {
                    **record.to_dagster(),
                    **table("gate", [one.model_dump() for one in report.decision.checks]),
                    **table("slices", [one.model_dump() for one in report.candidate.slices]),
                    "confusion": dg.MetadataValue.json(report.confusion()),
                    "report": dg.MetadataValue.path(path),
                    **pictures,
                },
                partition_key=day.isoformat(),
            )
        yield dg.MaterializeResult(check_results=[_leakage_check(records)])

    return evaluation_report


def _leakage_check(records: list[EvaluationRecord]) -> dg.AssetCheckResult:
    found = {
        r.best_single_feature: r.best_single_feature_auc
        for r in records
        if r.best_single_feature_auc is not None
    }
    alarming = {name: auc for name, auc in found.items() if auc >= LEAKAGE_AUC}
    return dg.AssetCheckResult(
        check_name=LEAKAGE_CHECK,
        passed=not alarming,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={"limit": LEAKAGE_AUC, "best_single_features": found},
        description=(
            f"{', '.join(alarming)} alone separates frauds with an AUC of "
            f"{max(alarming.values()):.3f}: take it out of the features in the profile unless it "
            "is known before the decision"
            if alarming
            else None
        ),
    )


def _evaluation_record(
    report: GateReport, candidate: str, champion: str, split: SplitPlan
) -> EvaluationRecord:
    found, gain = report.candidate, report.comparison.average_precision_gain
    return EvaluationRecord(
        candidate_version=candidate,
        champion_version=champion,
        gate_first_day=split.gate_days[0],
        gate_last_day=split.gate_days[-1],
        rows=found.rows,
        positives=found.positives,
        candidate_average_precision=report.comparison.candidate_average_precision,
        champion_average_precision=report.comparison.champion_average_precision,
        ap_gain=gain.estimate,
        ap_gain_low=gain.low,
        ap_gain_high=gain.high,
        cost_gain=report.comparison.cost_gain_per_day.estimate,
        candidate_roc_auc=found.roc_auc,
        candidate_card_precision=found.card_precision,
        champion_card_precision=report.champion.card_precision,
        card_precision_ceiling=found.card_precision_achievable,
        recall_at_budget=found.recall_at_budget,
        precision_at_90_recall=found.precision_at_90_recall,
        brier=found.brier,
        candidate_calibration_error=found.expected_calibration_error,
        savings=found.savings,
        best_single_feature=report.best_single_feature or "",
        best_single_feature_auc=report.best_single_feature_auc,
        latency_ms=report.latency_ms,
        promote=report.decision.promote,
        reasons="; ".join(report.decision.reasons),
    )


def _champion_model(setting: Setting) -> dg.AssetsDefinition:
    @_asset(
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
        from fraud_assets.store.promotions import Promotion, champion_on, record

        for day in run_days(context):
            report = lake.read_json(EVALUATION, day, EVALUATION_FILE)
            judged = EvaluationRecord.model_validate(report["record"])
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
            current = champion_on(store, date.max)
            if current is not None:
                registry.set_alias("champion", current.version)
            promotion = PromotionRecord(
                action=decision.action,
                version=decision.version,
                previous_version=decision.previous_version or "",
                effective_from=day + timedelta(days=1),
                reason=decision.reason,
            )
            lake.write_document(CHAMPION, day, PROMOTION_FILE, promotion.model_dump_json(indent=1))
            context.add_asset_metadata(
                {**promotion.to_dagster(), "numbers": dg.MetadataValue.json(decision.numbers)},
                partition_key=day.isoformat(),
            )

    return champion_model
