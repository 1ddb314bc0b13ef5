"""How a day's predictions really did, once its labels are mature.

Only predictions that were made then are judged here, against labels that were known by a given
day. Judging a model on features belongs in `modeling.evaluation`; guesses before the labels are
there, in `estimation`; what follows from a bad day, in `policy`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import polars as pl

from fraud_assets.modeling import metrics
from fraud_assets.modeling.dataset import (
    known_fraud_payers,
    labelled_rows,
    without_known_payers,
)
from fraud_assets.modeling.decision import ALERT, PASS
from fraud_assets.transactions.columns import (
    AMOUNT,
    DAY,
    DECISION,
    EVENT_TIME,
    LABEL,
    PAYER,
    SCORE,
    TRANSACTION_ID,
)
from fraud_assets.transactions.profile import DecisionChoices

Array = npt.NDArray[Any]

MODEL_VERSION: Final = "model_version"
ALERTED: Final = "alert"
IN_FORCE: Final = "in_force"

JUDGED_SCHEMA: Final[dict[str, Any]] = {
    TRANSACTION_ID: pl.String, DAY: pl.Date, PAYER: pl.String, AMOUNT: pl.Float64, LABEL: pl.Int8,
    MODEL_VERSION: pl.String, SCORE: pl.Float64, ALERTED: pl.Boolean, IN_FORCE: pl.Boolean,
}  # fmt: skip
"""One row per judged transaction and model: as it was predicted then (`in_force`), or a shadow."""

_OF_THE_BUDGET: Final = frozenset(
    {"card_precision", "card_precision_achievable", "recall_at_budget"}
)


@dataclass(frozen=True)
class RealisedMetrics:
    """What the predictions of one model version, or of all, came to.

    `rows` were predicted, `labelled` of them have a label, and `judged` are those of payers who
    were not known to be compromised before the day; `frauds`, `alerts` and all metrics are over
    the judged rows. `loss_without_alerts` is what these frauds would have taken had nothing been
    alerted, in the amounts' currency. A metric that is None has its reason in `not_computable`.
    """

    model_version: str | None
    rows: int
    labelled: int
    judged: int
    frauds: int
    alerts: int
    average_precision: float | None
    roc_auc: float | None
    card_precision: float | None
    card_precision_achievable: float | None
    recall_at_budget: float | None
    precision: float | None
    recall: float | None
    brier: float | None
    calibration_ratio: float | None
    savings: float | None
    loss_without_alerts: float
    not_computable: dict[str, str]

    @property
    def coverage(self) -> float | None:
        """Share of the predicted rows that have a label; None without rows."""
        return self.labelled / self.rows if self.rows else None


@dataclass(frozen=True)
class RealisedPerformance:
    """One day's predictions judged by what was known at the end of `as_of`.

    `by_version` has an entry per model version if several predicted that day, and is empty
    otherwise.
    """

    day: date
    as_of: date
    alert_budget: int
    overall: RealisedMetrics
    by_version: tuple[RealisedMetrics, ...] = ()


def mature_day(as_of: date, label_delay_days: int) -> date:
    """The latest day all of whose labels are known at the end of `as_of`."""
    return as_of - timedelta(days=label_delay_days)


def realised_performance(
    predictions: pl.DataFrame,
    labels: pl.DataFrame,
    as_of: date,
    label_delay_days: int,
    choices: DecisionChoices,
) -> RealisedPerformance:
    """Judge the predictions of `mature_day(as_of, label_delay_days)`.

    A row without a label is unknown and is left out, not taken as legitimate; `coverage` tells
    how many there are. Precision and recall are those of the decisions as they were made; the
    rest is computed from the scores. Measures of the alert budget are not given per version,
    because the versions shared the budget.

    Args:
        predictions: `transaction_id`, `event_time`, `payer_id`, `amount`, `score`, `decision`
            ("alert" or "pass") and `model_version`; rows of other days are ignored.
        labels: every label event up to `as_of` that concerns the day or, to leave out payers who
            were known, the days before it; later events are ignored.
        as_of: the day at whose end is looked at the labels.
        label_delay_days: days after which the labels count as mature.
        choices: alert budget and costs.

    Raises:
        ValueError: a transaction was predicted twice, a score is not a probability, or a decision
            is neither "alert" nor "pass".
    """
    day = mature_day(as_of, label_delay_days)
    rows, labelled, judged = _select(predictions, labels, as_of, day)
    versions = rows.get_column(MODEL_VERSION).unique().sort().to_list()
    several = [
        _metrics(
            *(frame.filter(pl.col(MODEL_VERSION).eq_missing(version))
              for frame in (rows, labelled, judged)),
            choices=choices,
            model_version=str(version),
            sharing=len(versions),
        )
        for version in versions
    ]  # fmt: skip
    if len(versions) == 1:
        return RealisedPerformance(day, as_of, choices.alert_budget_per_day, several[0])
    overall = _metrics(rows, labelled, judged, choices=choices, model_version=None, sharing=1)
    return RealisedPerformance(day, as_of, choices.alert_budget_per_day, overall, tuple(several))


def judged_day(
    predictions: pl.DataFrame, labels: pl.DataFrame, as_of: date, label_delay_days: int
) -> pl.DataFrame:
    """The rows that `realised_performance` judges, one per transaction, in the predictions' order.

    Args:
        predictions: as there.
        labels: as there.
        as_of: as there.
        label_delay_days: as there.

    Returns:
        The columns of `JUDGED_SCHEMA`, `in_force` everywhere.

    Raises:
        ValueError: as there.
    """
    day = mature_day(as_of, label_delay_days)
    judged = _select(predictions, labels, as_of, day)[2]
    found = judged.with_columns(
        (pl.col(DECISION) == ALERT).alias(ALERTED), pl.lit(value=True).alias(IN_FORCE)
    )
    return found.select(pl.col(name).cast(kind) for name, kind in JUDGED_SCHEMA.items())


def _select(
    predictions: pl.DataFrame, labels: pl.DataFrame, as_of: date, day: date
) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """The rows predicted on `day`, those of them with a label, and those that are judged."""
    rows = predictions.filter(pl.col(EVENT_TIME).dt.date() == day)
    _check(rows, day)
    labelled = labelled_rows(rows, labels, as_of)
    return rows, labelled, without_known_payers(labelled, {day: known_fraud_payers(labels, day)})


def _check(rows: pl.DataFrame, day: date) -> None:
    twice = rows.height - rows.get_column(TRANSACTION_ID).n_unique()
    if twice:
        raise ValueError(f"predictions of {day}: {twice} transactions were predicted twice")
    other = rows.filter(~pl.col(DECISION).is_in([ALERT, PASS]).fill_null(value=False)).height
    if other:
        raise ValueError(f"predictions of {day}: {other} decisions are neither alert nor pass")


def _metrics(
    rows: pl.DataFrame,
    labelled: pl.DataFrame,
    judged: pl.DataFrame,
    *,
    choices: DecisionChoices,
    model_version: str | None,
    sharing: int,
) -> RealisedMetrics:
    label, score = judged.get_column(LABEL).to_numpy(), judged.get_column(SCORE).to_numpy()
    alert: Array = (judged.get_column(DECISION) == ALERT).to_numpy()
    amount = judged.get_column(AMOUNT).to_numpy()
    k = choices.alert_budget_per_day
    counts = metrics.confusion(label, alert)
    own_budget = sharing == 1
    cards = metrics.card_precision_at_k(judged, k) if own_budget else None
    values: dict[str, float | None] = {
        "average_precision": metrics.average_precision(label, score),
        "roc_auc": metrics.roc_auc(label, score),
        "card_precision": cards.value if cards else None,
        "card_precision_achievable": cards.achievable if cards else None,
        "recall_at_budget": (
            metrics.recall_at_budget(label, score, judged.get_column(DAY).to_numpy(), k)
            if own_budget
            else None
        ),
        "precision": counts.precision,
        "recall": counts.recall,
        "brier": metrics.brier(label, score),
        "calibration_ratio": metrics.calibration_ratio(label, score),
        "savings": metrics.savings(label, amount, alert, choices.review_cost, choices.loss_share),
    }
    return RealisedMetrics(
        model_version=model_version,
        rows=rows.height,
        labelled=labelled.height,
        judged=judged.height,
        frauds=int(np.sum(label == 1)),
        alerts=int(np.sum(alert)),
        loss_without_alerts=float(np.sum(amount * (label == 1)) * choices.loss_share),
        not_computable={
            name: _why_not(name, rows.height, labelled.height, judged, sharing)
            for name, value in values.items()
            if value is None
        },
        **values,
    )


def _why_not(name: str, rows: int, labelled: int, judged: pl.DataFrame, sharing: int) -> str:
    """Why a metric has no value, the most fundamental reason first."""
    frauds = int((judged.get_column(LABEL) == 1).sum())
    reasons = (
        (rows == 0, "no predictions"),
        (labelled == 0, f"none of {rows} predictions has a label"),
        (judged.is_empty(), f"all {labelled} labelled rows are of payers known to be compromised"),
        (
            sharing > 1 and name in _OF_THE_BUDGET,
            f"the alert budget was shared by {sharing} model versions",
        ),
        (name == "precision", f"no alerts among {judged.height} judged rows"),
        (frauds == 0, f"no frauds among {judged.height} judged rows"),
        (name == "roc_auc", f"no legitimate rows among {judged.height} judged rows"),
        (name == "savings", f"nothing would be lost to the {frauds} frauds: no amount"),
    )
    return next(
        (reason for holds, reason in reasons if holds), f"none of the {frauds} frauds has a payer"
    )
