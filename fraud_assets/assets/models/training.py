"""A candidate: trained, logged with its pictures, and registered."""

import tempfile
import time
from datetime import date
from pathlib import Path
from typing import Any, Final

import dagster as dg

from fraud_assets.assets import FEATURES, LABELS, MODEL
from fraud_assets.assets.decorator import asset
from fraud_assets.assets.describe import fold_table, pictures, table
from fraud_assets.assets.models.setting import CANDIDATE_FILE, ModelSetting
from fraud_assets.lake import Lake
from fraud_assets.metadata import ModelRecord
from fraud_assets.modeling.registry import ModelRegistry
from fraud_assets.modeling.splits import SplitPlan
from fraud_assets.modeling.training import Candidate
from fraud_assets.partitions import run_days
from fraud_assets.resources.tracking import Tracking
from fraud_assets.transactions.profile import Profile

KINDS: Final = {
    "xgboost": "xgboost",
    "lightgbm": "lightgbm",
    "random_forest": "xgboost",
    "logistic_regression": "scikitlearn",
    "auto": "python",
}
"""The library behind each family, as the UI shows it."""


class TrainingConfig(dg.Config):
    """The search of one retraining, from the launchpad; the profile's where left out."""

    estimator: str | None = None
    trials: int | None = None
    timeout_seconds: float | None = None

    def applied_to(self, profile: Profile) -> Profile:
        """The profile with this search.

        Raises:
            pydantic.ValidationError: a value is out of range, or no family has that name.
        """
        asked = {k: v for k, v in self.model_dump().items() if v is not None}
        if not asked:
            return profile
        training = {**profile.training.model_dump(), **asked}
        return Profile.model_validate({**profile.model_dump(), "training": training})


def build_fraud_model(setting: ModelSetting) -> dg.AssetsDefinition:
    """The asset `fraud_model`."""

    @asset(
        key=MODEL,
        kinds={KINDS[setting.profile.training.estimator], "optuna", "mlflow"},
        deps=setting.data(),
        description=(
            "A candidate trained as of the day on labels that were known by its end: tuned on "
            "folds in time, calibrated and given its threshold on later days than it was fitted "
            "on, then registered. It serves nobody until it has cleared the gate."
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
        from fraud_assets.modeling.search.families import forget_searches

        profile = config.applied_to(setting.profile)
        for day in run_days(context):
            split = setting.split(day)
            started = time.perf_counter()
            tags = {"day": day.isoformat(), "dagster_run_id": context.run_id}
            with (
                tracking.nested_run(f"{MODEL} {day}", tags) as mlflow_run,
                tempfile.TemporaryDirectory() as scratch,
            ):
                candidate = _trained(setting, profile, split, lake, tracking)
                folder = Path(scratch) / "bundle"
                model_hash = save_bundle(candidate, folder)
                pngs = _drawn(candidate)
                _log(tracking, candidate, split, pngs)
                version = registry.register(folder, model_hash, mlflow_run, tags)
            registry.set_alias("challenger", version)
            seconds = round(time.perf_counter() - started, 3)
            record = _record(candidate, version, model_hash, mlflow_run, seconds)
            lake.write_document(MODEL, day, CANDIDATE_FILE, record.model_dump_json(indent=1))
            forget_searches(setting.study_folder(day))  # not before the candidate is safe
            context.add_asset_metadata(
                {**record.to_dagster(), **_details(candidate, split, pngs)},
                partition_key=day.isoformat(),
            )

    return fraud_model


def _trained(
    setting: ModelSetting, profile: Profile, split: SplitPlan, lake: Lake, tracking: Tracking
) -> Candidate:
    from fraud_assets.modeling.dataset import known_payers_by_day, labelled_rows
    from fraud_assets.modeling.training import NotEnoughLabelsError, train_candidate

    day, learnt = split.day, split.learning_days
    labels = lake.read_days(LABELS, setting.days.trailing(day, setting.history))
    validation: list[date] = sorted({d for fold in split.folds for d in fold.validation_days})
    try:
        return train_candidate(
            labelled_rows(lake.read_days(FEATURES, learnt), labels, day),
            split,
            (setting.features.numeric_names, setting.features.categorical_names),
            profile,
            threads=setting.threads,
            on_trial=tracking.log_trial,
            lookback_days=setting.features.lookback_days,
            history_start=setting.days.first_day,
            known_by_day=known_payers_by_day(labels, validation),
            study_folder=setting.study_folder(day),
        )
    except NotEnoughLabelsError as error:
        raise dg.Failure(str(error), allow_retries=False) from error


def _drawn(candidate: Candidate) -> dict[str, bytes]:
    from fraud_assets.modeling.reporting import training_plots

    found = candidate.manifest
    return {
        "feature_importance": training_plots.feature_importance(found.feature_importance),
        "search_history": training_plots.search_history(candidate.trials),
        "param_importance": training_plots.param_importance(found.param_importance),
    }


def _log(
    tracking: Tracking, candidate: Candidate, split: SplitPlan, pngs: dict[str, bytes]
) -> None:
    found = candidate.manifest
    choices = {"estimator": found.estimator, "imbalance": found.imbalance}
    tracking.log_params({**choices, **found.params, "rounds": found.rounds, **split.describe()})
    tracking.log_metrics(
        {
            **{f"validation_{name}": value for name, value in found.metrics.items()},
            "folds_average_precision": found.fold_average_precision,
            "folds_deviation": found.fold_deviation,
        }
    )
    for name, png in pngs.items():
        tracking.log_document(f"{name}.png", png)


def _record(
    candidate: Candidate, version: str, model_hash: str, mlflow_run: str, seconds: float
) -> ModelRecord:
    found = candidate.manifest
    return ModelRecord(
        version=version,
        model_hash=model_hash,
        mlflow_run_id=mlflow_run,
        estimator=found.estimator,
        train_first_day=found.train_window.first,
        train_last_day=found.train_window.last,
        train_rows=found.train_rows,
        train_positives=found.train_positives,
        validation_average_precision=found.metrics["average_precision"],
        folds=sum(one.average_precision is not None for one in found.folds),
        fold_average_precision=found.fold_average_precision,
        fold_deviation=found.fold_deviation,
        threshold=candidate.policy.threshold,
        threshold_version=candidate.policy.version,
        trials=found.trials,
        training_seconds=seconds,
    )


def _details(
    candidate: Candidate, split: SplitPlan, pngs: dict[str, bytes]
) -> dict[str, dg.MetadataValue[Any]]:
    """Tables and pictures of one training for the UI."""
    found = candidate.manifest
    trials = [{k: v for k, v in one.items() if k != "params"} for one in candidate.trials]
    return {
        "days": dg.MetadataValue.json(split.describe()),
        "parameters": dg.MetadataValue.json(found.params),
        "features": dg.MetadataValue.json(list(found.feature_names)),
        **fold_table("fold_table", found.folds),
        **table("family_table", [one.model_dump() for one in found.families]),
        **table("trial_table", trials),
        **pictures(pngs),
    }
