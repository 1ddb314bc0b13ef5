"""The estimate without labels against what was realised, once the labels are mature.

Only the comparison belongs here; the estimate is made in `estimation`. Confidence-based estimation
cannot see concept drift, so an estimate may be right for months and wrong when it matters. That is
why both are shown side by side, and why nothing is ever promoted on an estimate.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import StatisticsError, correlation, fmean
from typing import Final

from fraud_assets.modeling.metrics import Array, average_precision, confusion
from fraud_assets.monitoring.estimation import PerformanceEstimate, estimate_performance
from fraud_assets.monitoring.records import DayPerformance

USUAL: Final = 3.0
"""Standard deviations within which the frauds of a day should lie if the scores are calibrated."""


@dataclass(frozen=True)
class Reconciliation:
    """Estimated and realised on the same rows.

    `estimate_error` is estimated less realised average precision. `frauds_surprise` is realised
    less estimated frauds, in standard deviations of the estimate. A value that is None has its
    reason in `not_computable`.
    """

    rows: int
    frauds: int
    estimated_frauds: float | None
    average_precision: float | None
    estimated_average_precision: float | None
    alert_precision: float | None
    estimated_alert_precision: float | None
    estimate_error: float | None
    frauds_surprise: float | None
    not_computable: dict[str, str]


@dataclass(frozen=True)
class ReconciliationSummary:
    """How good the estimates of many days were.

    `days` have an estimated and a realised average precision, and errors and correlation are over
    them. `counted_days` have a `frauds_surprise`, and `share_within` is the share of them within
    three standard deviations; frauds come in campaigns, so less than 99.7 % is usual.
    """

    days: int
    mean_error: float | None
    mean_absolute_error: float | None
    correlation: float | None
    counted_days: int
    share_within: float | None


def reconcile(score: Array, alert: Array, label: Array) -> Reconciliation:
    """Compare what a day's scores promised with what its labels say.

    Estimated from the scores alone, as if the labels were not there. That they are calibrated is
    assumed: the scores of the rule set are not, and their estimate means nothing.

    Args:
        score: calibrated probabilities of fraud of the judged rows of a matured day.
        alert: whether each row was alerted (boolean).
        label: 0 or 1.

    Raises:
        ValueError: the lengths differ, a label is not 0 or 1, or a score is not a probability.
    """
    estimated = estimate_performance(score, alert)
    realised = average_precision(label, score)
    counts = confusion(label, alert)
    frauds = counts.true_positives + counts.false_negatives
    expected, deviation = estimated.expected_frauds, estimated.expected_frauds_deviation
    promised = estimated.average_precision
    values: dict[str, float | None] = {
        "estimated_frauds": expected,
        "average_precision": realised,
        "estimated_average_precision": promised,
        "alert_precision": counts.precision,
        "estimated_alert_precision": estimated.precision,
        "estimate_error": None if promised is None or realised is None else promised - realised,
        "frauds_surprise": (frauds - expected) / deviation if expected and deviation else None,
    }
    return Reconciliation(
        rows=estimated.rows,
        frauds=frauds,
        not_computable={
            name: _why_not(name, estimated, frauds)
            for name, value in values.items()
            if value is None
        },
        **values,
    )


def reconciliation_summary(days: Sequence[DayPerformance]) -> ReconciliationSummary:
    """How far the estimates of `days` were from the truth, and whether they moved with it.

    Days without a matured day, an estimate or a fraud are left out. An error is None without days.
    The correlation (Pearson's, of estimated and realised average precision) is None with fewer
    than three days, where it says nothing, and where either never changed.
    """
    pairs = [
        (one.matured_estimated_average_precision, one.average_precision)
        for one in days
        if one.matured_estimated_average_precision is not None and one.average_precision is not None
    ]
    errors = [estimated - realised for estimated, realised in pairs]
    surprises = [one.frauds_surprise for one in days if one.frauds_surprise is not None]
    return ReconciliationSummary(
        days=len(pairs),
        mean_error=fmean(errors) if errors else None,
        mean_absolute_error=fmean(map(abs, errors)) if errors else None,
        correlation=_correlation(pairs),
        counted_days=len(surprises),
        share_within=fmean(abs(one) <= USUAL for one in surprises) if surprises else None,
    )


def _correlation(pairs: Sequence[tuple[float, float]]) -> float | None:
    if len(pairs) < 3:
        return None
    try:
        return correlation(*zip(*pairs, strict=True))
    except StatisticsError:  # one of the two is constant
        return None


def _why_not(name: str, estimated: PerformanceEstimate, frauds: int) -> str:
    """Why a value is missing, the most fundamental reason first."""
    rows = f"among {estimated.rows} judged rows"
    reasons = (
        (estimated.rows == 0, "no judged rows"),
        (name in {"alert_precision", "estimated_alert_precision"}, f"no alerts {rows}"),
        (name in {"average_precision", "estimate_error"} and frauds == 0, f"no frauds {rows}"),
        (estimated.reason is not None, str(estimated.reason)),
    )
    return next((text for holds, text in reasons if holds), "every score is 0 or 1")
