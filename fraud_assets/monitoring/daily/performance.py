"""What was realised on the day whose labels have matured, and what to expect of the day itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any, Final

import polars as pl

from fraud_assets.modeling.metrics import average_precision
from fraud_assets.modeling.rules import RuleSet
from fraud_assets.modeling.scoring import FraudModel
from fraud_assets.monitoring.comparison import compare_models, shadow_rows
from fraud_assets.monitoring.daily.models import GateLevel, Watched
from fraud_assets.monitoring.estimation import estimate_performance
from fraud_assets.monitoring.intervals import day_average_precision, mean_daily_average_precision
from fraud_assets.monitoring.performance import MODEL_VERSION, judged_day, realised_performance
from fraud_assets.monitoring.rates import compare_rates
from fraud_assets.monitoring.reconciliation import reconcile
from fraud_assets.monitoring.records import DayPerformance
from fraud_assets.transactions.columns import DAY, DECISION, LABEL, SCORE, TRANSACTION_ID
from fraud_assets.transactions.profile import Profile

WEEK: Final = 7
INTERVAL_SAMPLES: Final = 200


@dataclass(frozen=True)
class PerformanceOfDay:
    """The record of a day's performance, and the judged rows (see `performance.judged_day`)."""

    record: DayPerformance
    judged: pl.DataFrame | None


@dataclass(frozen=True)
class Matured:
    """The day whose labels have matured, as it was predicted and as it is told now.

    `predictions` are those that were made then. `labels` are the events known now that concern the
    day or the days before it. `features` reads its features, for the models that are compared.
    """

    day: date
    predictions: pl.DataFrame
    labels: pl.DataFrame
    features: Callable[[], pl.DataFrame]


def performance_of_day(
    day: date,
    today: pl.DataFrame,
    matured: Matured | None,
    *,
    judged_before: pl.DataFrame | None,
    earlier: Mapping[date, DayPerformance],
    watched: Watched,
    gate: GateLevel | None,
    profile: Profile,
) -> PerformanceOfDay:
    """Judge the day whose labels have matured, and estimate the day itself.

    Args:
        day: the day at whose end is looked.
        today: predictions of `day`.
        matured: None where no predicted day has matured yet.
        judged_before: judged rows of the matured days before, all models; None without any.
        earlier: reports of the days before, by their day.
        watched: the models of `day`.
        gate: what the champion of `day` reached when it was promoted; None for the rules.
        profile: label delay, budget, costs and windows.
    """
    values = {**_nothing_realised(day, watched, gate), **_estimated(today, watched)}
    if matured is None or matured.predictions.is_empty():
        at = matured.day if matured else None
        return PerformanceOfDay(DayPerformance(**{**values, "matured_day": at}), None)
    judged = judged_day(matured.predictions, matured.labels, day, profile.label_delay_days)
    shadows = _shadows(matured, judged, watched)
    rows = pl.concat([frame for frame in (judged_before, judged, shadows) if frame is not None])
    # A day matures twice where the label delay was raised in between.
    rows = rows.unique([DAY, TRANSACTION_ID, MODEL_VERSION], keep="last", maintain_order=True)
    versions = judged.get_column(MODEL_VERSION).unique().to_list()
    values |= _realised(matured, judged, day, profile)
    values |= _recent(rows, matured.day, watched, gate, profile)
    values |= _fraud_rate(judged, earlier, watched, profile.monitoring.rate_factor)
    if versions and watched.rules.version not in versions:
        values |= _reconciled(judged)
    values["alternatives"] = compare_models(
        _last_days(rows, profile.monitoring.compared_days),
        watched.in_force.version,
        watched.others,
        decision=profile.decision,
        gate=profile.gate,
        seed=profile.training.seed,
    )
    kept = pl.concat([judged, shadows]) if shadows is not None else judged
    return PerformanceOfDay(DayPerformance(**values), kept)


def _realised(
    matured: Matured, judged: pl.DataFrame, day: date, profile: Profile
) -> dict[str, Any]:
    """What the predictions came to, by the decisions as they were made."""
    found = realised_performance(
        matured.predictions, matured.labels, day, profile.label_delay_days, profile.decision
    ).overall
    precision = day_average_precision(judged, **_bootstrap(profile))
    return {
        "matured_day": matured.day,
        "model_version": found.model_version or "",
        "rows": found.rows,
        "labelled_share": found.coverage,
        "judged_rows": found.judged,
        "positives": found.frauds,
        "average_precision": found.average_precision,
        "average_precision_low": precision.low,
        "average_precision_high": precision.high,
        "card_precision": found.card_precision,
        "card_precision_ceiling": found.card_precision_achievable,
        "recall_at_budget": found.recall_at_budget,
        "alert_precision": found.precision,
        "alert_recall": found.recall,
        "brier": found.brier,
        "savings": found.savings,
        "loss_without_alerts": found.loss_without_alerts,
    }


def _recent(
    rows: pl.DataFrame,
    matured: date,
    watched: Watched,
    gate: GateLevel | None,
    profile: Profile,
) -> dict[str, Any]:
    """Means over the last matured days: of whoever scored them, and of the champion."""
    how = _bootstrap(profile)
    at_rate = gate.fraud_share if gate is not None else None
    own = rows.filter(pl.col(MODEL_VERSION) == watched.in_force.version)
    # Days without a fraud say nothing, and would leave too few of those that do.
    telling = own.filter((pl.col(LABEL) == 1).any().over(DAY))
    recent = _last_days(telling, profile.monitoring.performance_days)
    recent_frauds = recent.filter(pl.col(LABEL) == 1)
    of_champion = mean_daily_average_precision(recent, **how, fraud_share=at_rate)
    that_day = own.filter(pl.col(DAY) == matured)
    week = _last_days(rows.filter("in_force"), WEEK)
    of_week = mean_daily_average_precision(week, **how)
    return {
        "average_precision_at_gate_rate": average_precision(
            that_day.get_column(LABEL).to_numpy(),
            that_day.get_column(SCORE).to_numpy(),
            fraud_share=at_rate,
        ),
        "week_average_precision": of_week.estimate,
        "week_low": of_week.low,
        "week_high": of_week.high,
        "week_days": week.get_column(DAY).n_unique(),
        "recent_average_precision": of_champion.estimate,
        "recent_low": of_champion.low,
        "recent_high": of_champion.high,
        "recent_days": recent.get_column(DAY).n_unique(),
        "recent_frauds": recent_frauds.height,
    }


def _bootstrap(profile: Profile) -> dict[str, Any]:
    return {
        "samples": INTERVAL_SAMPLES,
        "seed": profile.training.seed,
        "confidence": profile.gate.confidence,
    }


def _shadows(matured: Matured, judged: pl.DataFrame, watched: Watched) -> pl.DataFrame | None:
    """Scores of the other models, but not of one on a day that it may have learnt from."""
    there = set(judged.get_column(MODEL_VERSION).unique())
    models = [
        one
        for one in watched.all
        if one.version not in there
        and (not isinstance(one, FraudModel) or one.manifest.trained_as_of < matured.day)
    ]
    if not models or judged.is_empty():
        return None
    features = matured.features()
    able = [one for one in models if _columns_of(one) <= set(features.columns)]
    return shadow_rows(features, judged, able) if able else None


def _columns_of(model: FraudModel | RuleSet) -> set[str]:
    """What a model cannot do without; a former one may want features that are made no more."""
    return set(model.encoder.columns) if isinstance(model, FraudModel) else set()


def _last_days(rows: pl.DataFrame, days: int) -> pl.DataFrame:
    """The rows of the last `days` days that there are rows of."""
    last = rows.get_column(DAY).unique().sort(descending=True).head(days)
    return rows.filter(pl.col(DAY).is_in(last.implode()))


def _fraud_rate(
    judged: pl.DataFrame, earlier: Mapping[date, DayPerformance], watched: Watched, factor: float
) -> dict[str, Any]:
    """The matured day's fraud rate against that of the model's training days."""
    positives, rows = int((judged.get_column(LABEL) == 1).sum()), judged.height
    share = {"fraud_share": positives / rows if rows else None}
    model = watched.reference_model
    if model is None:
        return share
    window = model.manifest.train_window
    trained = [
        (report.positives, report.judged_rows)
        for report in earlier.values()
        if report.matured_day is not None and window.first <= report.matured_day <= window.last
    ]
    if not trained:
        return share
    change = compare_rates([(positives, rows)], trained, factor)
    return {
        **share,
        "reference_fraud_share": change.reference,
        "fraud_rate_ratio": change.ratio,
        "fraud_rate_moved": change.moved,
    }


def _estimated(today: pl.DataFrame, watched: Watched) -> dict[str, float | None]:
    """The label-free estimate of the day; the rules' scores are no probabilities and have none."""
    versions = today.get_column(MODEL_VERSION).unique().to_list()
    if not isinstance(watched.in_force, FraudModel) or versions != [watched.in_force.version]:
        return {}
    found = estimate_performance(
        today.get_column(SCORE).to_numpy(), (today.get_column(DECISION) == "alert").to_numpy()
    )
    return {
        "estimated_frauds": found.expected_frauds,
        "estimated_average_precision": found.average_precision,
        "estimated_alert_precision": found.precision,
        "estimated_alert_recall": found.recall,
    }


def _reconciled(judged: pl.DataFrame) -> dict[str, float | None]:
    """The estimate that the day's scores gave, and how far it was off."""
    columns = (judged.get_column(name).to_numpy() for name in (SCORE, "alert", LABEL))
    found = reconcile(*columns)
    return {
        "matured_estimated_frauds": found.estimated_frauds,
        "matured_estimated_average_precision": found.estimated_average_precision,
        "estimate_error": found.estimate_error,
        "frauds_surprise": found.frauds_surprise,
    }


def _nothing_realised(day: date, watched: Watched, gate: GateLevel | None) -> dict[str, Any]:
    """The fields of a record where no labels have matured."""
    counts = ("rows", "judged_rows", "positives", "week_days", "recent_days", "recent_frauds")
    return {
        **dict.fromkeys(DayPerformance.model_fields),
        **dict.fromkeys(counts, 0),
        "day": day,
        "model_version": "",
        "champion_version": watched.in_force.version,
        "champion_gate_average_precision": gate.average_precision if gate else None,
        "alternatives": [],
    }
