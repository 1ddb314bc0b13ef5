"""The candidate's report: metrics, page and card, and whether it may replace the champion."""

import json
from collections.abc import Iterator
from datetime import date
from typing import Any, Final

import dagster as dg

from fraud_assets.assets import EVALUATION, FEATURES, LABELS, MODEL, VALIDATED
from fraud_assets.assets.champion import ChampionInForce, champion_in_force
from fraud_assets.assets.decorator import asset
from fraud_assets.assets.describe import fold_table, pictures, table
from fraud_assets.assets.models.setting import (
    CANDIDATE_FILE,
    EVALUATION_FILE,
    EVALUATION_PAGE,
    MODEL_CARD,
    ModelSetting,
)
from fraud_assets.lake import Lake
from fraud_assets.metadata import EvaluationRecord, ModelRecord
from fraud_assets.modeling.leakage import (
    ALARMING_AUC,
    ALARMING_AVERAGE_PRECISION,
    ALARMING_RULE_AVERAGE_PRECISION,
    LeakageAlarm,
    ShuffledLabelControl,
)
from fraud_assets.modeling.registry import ModelRegistry
from fraud_assets.modeling.report import GateReport, judge_candidate
from fraud_assets.modeling.scoring import FraudModel
from fraud_assets.modeling.splits import SplitPlan
from fraud_assets.partitions import run_days, trailing_mapping
from fraud_assets.resources.tracking import Tracking
from fraud_assets.store.engine import PredictionStore

LEAKAGE_CHECK: Final = "no_feature_knows_the_answer"
CONTROL_CHECK: Final = "shuffled_labels_cannot_be_predicted"


def build_evaluation_report(setting: ModelSetting) -> dg.AssetsDefinition:
    """The asset `evaluation_report`, with its leakage checks."""
    profile = setting.profile
    history = trailing_mapping(setting.history + setting.features.lookback_days)

    @asset(
        key=EVALUATION,
        kinds={"mlflow", "python"},
        deps=[
            dg.AssetDep(MODEL),
            dg.AssetDep(VALIDATED, partition_mapping=history),
            *setting.data(setting.features.label_lookback_days),
        ],
        description=(
            "The candidate against the champion on the gate days, which neither has seen and "
            "whose labels are mature: metrics, a paired day-block bootstrap on average precision "
            "and cost, slices, baselines, leakage checks, calibration, latency, and the decision "
            "with its numbers; as metadata, as a page and as a model card."
        ),
        check_specs=[
            dg.AssetCheckSpec(
                LEAKAGE_CHECK,
                asset=EVALUATION,
                description=(
                    f"On the gate days no feature alone reaches an ROC AUC of {ALARMING_AUC} or an "
                    f"average precision of {ALARMING_RULE_AVERAGE_PRECISION}, and the candidate no "
                    f"average precision of {ALARMING_AVERAGE_PRECISION}. A warning: look whether a "
                    "column holds what is known only afterwards."
                ),
            ),
            dg.AssetCheckSpec(
                CONTROL_CHECK,
                asset=EVALUATION,
                description=(
                    "A model learns from features that were computed anew from shuffled labels; it "
                    "may not predict shuffled labels of later days. If it does, a feature sees the "
                    "label of its own transaction."
                ),
            ),
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

        records: list[EvaluationRecord] = []
        alarms: dict[date, list[LeakageAlarm]] = {}
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
            candidate = registry.load(trained.version)
            report = judge_candidate(
                candidate,
                champion.model,
                labelled_rows(lake.read_days(FEATURES, split.gate_days), labels, day),
                known_by_day=known_payers_by_day(labels, split.gate_days),
                profile=profile,
                feature_names=setting.features.names,
                champion_title=champion.title,
                baselines=registry.baselines(trained.version),
                control=_control(setting, split, lake),
            )
            record = _evaluation_record(report, trained.version, champion.version, split)
            records.append(record)
            alarms[day] = list(report.leakage_alarms)
            # Drawn once, for the page and for the UI: drawing takes longer than judging.
            pngs = report.pictures(profile)
            files = _files(setting, report, record, candidate, pngs)
            paths = {
                name: lake.write_document(EVALUATION, day, name, text)
                for name, text in files.items()
            }
            tags = {"day": day.isoformat(), "version": trained.version}
            with tracking.nested_run(f"{EVALUATION} {day}", tags):
                tracking.log_metrics(report.decision.numbers)
                for name, text in files.items():
                    tracking.log_document(name, text)
            registry.annotate(trained.version, files[MODEL_CARD])
            context.add_asset_metadata(
                {
                    **record.to_dagster(),
                    **_tables(report, candidate),
                    "confusion": dg.MetadataValue.json(report.confusion()),
                    "model_card": dg.MetadataValue.md(files[MODEL_CARD]),
                    "page": dg.MetadataValue.path(paths[EVALUATION_PAGE]),
                    "report": dg.MetadataValue.path(paths[EVALUATION_FILE]),
                    **pictures(pngs),
                },
                partition_key=day.isoformat(),
            )
        yield dg.MaterializeResult(
            check_results=[_leakage_check(records, alarms), _control_check(records, alarms)]
        )

    return evaluation_report


def _control(setting: ModelSetting, split: SplitPlan, lake: Lake) -> ShuffledLabelControl:
    """The shuffled-label control: learns from the validation days, judged on the gate days."""
    from fraud_assets.modeling.leakage import shuffled_label_control

    features, first = setting.features, split.validation_days[0]

    def trailing(lookback: int) -> list[date]:
        return setting.days.trailing(split.day, (split.day - first).days + lookback)

    return shuffled_label_control(
        features,
        lake.read_days(VALIDATED, trailing(features.lookback_days), features.required_columns),
        lake.read_days(LABELS, trailing(features.label_lookback_days)),
        train_days=split.validation_days,
        test_days=split.gate_days,
        as_of=split.day,
        seed=setting.profile.training.seed,
        threads=setting.threads,
    )


def _files(
    setting: ModelSetting,
    report: GateReport,
    record: EvaluationRecord,
    candidate: FraudModel,
    pngs: dict[str, bytes],
) -> dict[str, str]:
    """The report as JSON, page and card, by file name."""
    from fraud_assets.modeling.reporting.card import model_card
    from fraud_assets.modeling.reporting.page import evaluation_page

    document = report.document()
    content = {
        "record": record.model_dump(mode="json"),
        "model_hash": candidate.model_hash,
        **document,
    }
    as_of = candidate.manifest.trained_as_of
    return {
        EVALUATION_FILE: json.dumps(content, indent=1, allow_nan=False) + "\n",
        EVALUATION_PAGE: evaluation_page(
            candidate.manifest,
            document,
            pngs,
            policy=candidate.policy,
            title=f"{MODEL} version {candidate.version}, as of {as_of}",
        ),
        MODEL_CARD: model_card(
            candidate.manifest,
            document,
            policy=candidate.policy,
            version=candidate.version,
            description=setting.profile.description,
        ),
    }


def _tables(report: GateReport, candidate: FraudModel) -> dict[str, Any]:
    judged = report.candidate
    baselines = [
        {
            "name": one.name, "detail": one.detail, "average_precision": one.average_precision,
            "card_precision": one.card_precision, "roc_auc": one.roc_auc,
            "candidate_gain": one.candidate_gain.estimate,
            "gain_low": one.candidate_gain.low, "gain_high": one.candidate_gain.high,
        }
        for one in report.baselines
    ]  # fmt: skip
    return {
        **table("gate", [one.model_dump() for one in report.decision.checks]),
        **table("slice_table", [one.model_dump() for one in judged.slices]),
        **table(
            "false_positive_ratios", [one.model_dump() for one in judged.false_positive_ratios]
        ),
        **table("baselines", baselines),
        **fold_table("folds", candidate.manifest.folds),
    }


def _leakage_check(
    records: list[EvaluationRecord], alarms: dict[date, list[LeakageAlarm]]
) -> dg.AssetCheckResult:
    found = _told(alarms, ("single feature", "one rule", "average precision"))
    areas = {r.best_single_feature: r.best_single_feature_auc for r in records}
    measured = {
        "best_single_feature_auc": [r.best_single_feature_auc for r in records],
        "average_precision": [r.candidate_average_precision for r in records],
    }
    highest = {
        name: max(value for value in values if value is not None)
        for name, values in measured.items()
        if any(value is not None for value in values)
    }
    return dg.AssetCheckResult(
        check_name=LEAKAGE_CHECK,
        passed=not found,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={
            **highest,  # plotted over the runs; the limits stand in the description
            "best_single_features": {k: v for k, v in areas.items() if v is not None},
        },
        description=found,
    )


def _control_check(
    records: list[EvaluationRecord], alarms: dict[date, list[LeakageAlarm]]
) -> dg.AssetCheckResult:
    found = _told(alarms, ("shuffled labels",))
    measured = [r.shuffled_label_auc for r in records if r.shuffled_label_auc is not None]
    return dg.AssetCheckResult(
        check_name=CONTROL_CHECK,
        passed=not found,
        severity=dg.AssetCheckSeverity.ERROR,
        metadata={"highest_auc": max(measured)} if measured else {},
        description=found or (None if measured else "not computable: too few frauds"),
    )


def _told(alarms: dict[date, list[LeakageAlarm]], names: tuple[str, ...]) -> str | None:
    found = [f"{day}: {a.text}" for day, some in alarms.items() for a in some if a.name in names]
    return " ".join(found) or None


def _evaluation_record(
    report: GateReport, candidate: str, champion: str, split: SplitPlan
) -> EvaluationRecord:
    found, gain = report.candidate, report.comparison.average_precision_gain
    money, control = report.comparison.cost_gain_per_day, report.control
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
        cost_gain=money.estimate,
        cost_gain_low=money.low,
        cost_gain_high=money.high,
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
        shuffled_label_auc=control.roc_auc if control else None,
        shuffled_auc_passed=control.passed if control else None,
        latency_ms=report.latency_ms,
        promote=report.decision.promote,
        reasons="; ".join(report.decision.reasons),
    )
