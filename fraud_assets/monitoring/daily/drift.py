"""A day against the reference of its champion: inputs, their quality, scores and alerts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Final

import polars as pl

from fraud_assets.modeling.scoring import FraudModel
from fraud_assets.monitoring.causes import Cause, drifted_weight, find_causes
from fraud_assets.monitoring.daily.models import Reference, Watched
from fraud_assets.monitoring.data_quality import QualityResult, broken_weights, measure_quality
from fraud_assets.monitoring.drift import DriftColumns, DriftResult, measure_drift, sample_rows
from fraud_assets.monitoring.rates import compare_rates
from fraud_assets.monitoring.records import DayDrift
from fraud_assets.transactions.columns import DECISION, SCORE
from fraud_assets.transactions.profile import Profile

METHOD: Final = "normalised Wasserstein (numbers), Jensen-Shannon (categories)"
MEASURED: Final = "measured"
EXPLAINED_ROWS: Final = 300
"""Rows of a day whose contributions are averaged: enough to rank inputs, and quick for a forest."""


@dataclass(frozen=True)
class DriftOfDay:
    """The record of a day's drift, and the tables behind it; None where nothing was compared."""

    record: DayDrift
    result: DriftResult | None = None
    quality: QualityResult | None = None
    causes: tuple[Cause, ...] = ()


def drift_of_day(
    day: date,
    current: pl.DataFrame,
    reference: Reference | None,
    *,
    watched: Watched,
    columns: DriftColumns,
    profile: Profile,
    scored_by: str,
    without_reference: str = "no model yet",
    html: bool,
) -> DriftOfDay:
    """Compare a day with the reference of its champion: inputs, their quality, scores, alerts.

    Args:
        day: the day.
        current: its features, with `score` and `decision` as they were made.
        scored_by: the version that made them: the champion, or what stood in for it.
        reference: of `watched.reference_model`; None where there is no model.
        watched: the models of the day.
        columns: the inputs that are compared.
        profile: thresholds, sample size and seed.
        without_reference: why there is no reference, in words.
        html: whether to draw Evidently's page.
    """
    model, choices = watched.reference_model, profile.monitoring
    blank = _unmeasured(day, current.height, reference, watched, choices.column_threshold)
    if reference is None or model is None:
        why = f"nothing to compare with: {without_reference}"
        return DriftOfDay(blank.model_copy(update={"status": why}))
    scored_by_it = model.version == scored_by
    base, seen = reference.frame, current
    if not scored_by_it:  # the rules' scores are not the model's
        base, seen = base.drop(SCORE), seen.drop(SCORE)
    result = measure_drift(seen, base, columns, choices, profile.training.seed, html=html)
    if result.status != "measured":
        return DriftOfDay(blank.model_copy(update={"status": result.reason}), result)
    quality = measure_quality(current, base, columns, choices)
    trained = model.manifest.feature_importance
    today = model.importance(sample_rows(current, EXPLAINED_ROWS, (profile.training.seed, 5)))
    causes = find_causes(result.columns, trained, today)
    rate = None
    if scored_by_it:
        alerts = int((current.get_column(DECISION) == "alert").sum())
        rate = compare_rates(
            [(alerts, current.height)], reference.alerts_by_day, choices.rate_factor
        )
    importances = _importances(watched, current.columns)
    record = blank.model_copy(
        update={
            "status": result.reason or MEASURED,
            "drift_share": result.drift_share,
            "drifted_columns": list(result.drifted_columns),
            "drifted_weight": drifted_weight(result.columns, trained),
            "top_causes": [c.feature for c in causes if c.drifted][:5],
            "score_drift": result.score_drift.value if result.score_drift else None,
            "score_drifted": result.score_drift.drifted if result.score_drift else None,
            "alert_share": rate.current if rate else None,
            "reference_alert_share": rate.reference if rate else None,
            "alert_rate_ratio": rate.ratio if rate else None,
            "alert_rate_moved": rate.moved if rate else None,
            "broken_columns": list(quality.broken_columns),
            "broken_weights": broken_weights(quality.broken_columns, importances),
            "worst_missing_increase": quality.worst_missing_increase,
            "worst_unseen_share": quality.worst_unseen_share,
            "worst_out_of_range_share": quality.worst_out_of_range_share,
        }
    )
    return DriftOfDay(record, result, quality, causes)


def _importances(watched: Watched, names: Sequence[str]) -> dict[str, Mapping[str, float]]:
    """By version, what each model goes by."""
    return {
        one.version: one.manifest.feature_importance
        if isinstance(one, FraudModel)
        else one.importance(names)
        for one in watched.all
    }


def _unmeasured(
    day: date, rows: int, reference: Reference | None, watched: Watched, column_threshold: float
) -> DayDrift:
    """A record in which nothing has been measured yet."""
    return DayDrift(
        **{
            **dict.fromkeys(DayDrift.model_fields),
            "day": day,
            "status": "",
            "drifted_columns": [],
            "top_causes": [],
            "broken_columns": [],
            "broken_weights": {},
            "rows": rows,
            "reference_rows": reference.rows if reference else 0,
            "reference": reference.days if reference else "",
            "method": METHOD,
            "column_threshold": column_threshold,
            "champion_version": watched.in_force.version,
            "reference_version": reference.version if reference else "",
            "report_path": "",
        }
    )
