"""How the chosen parameters did on every fold in time, in the metrics that the gate looks at.

The folds' models and margins come from the search (`tuning`), the days from `splits`. The numbers
tell how steady a model is over time. As the parameters were chosen by the mean AP of these folds,
they flatter it a little; how good it is, is decided by `gate` on later days.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from fraud_assets.modeling import metrics
from fraud_assets.modeling.calibration import Calibrator, choose_calibrator
from fraud_assets.modeling.manifest import DayWindow, FoldRecord
from fraud_assets.modeling.metrics import Array
from fraud_assets.modeling.splits import FoldDays
from fraud_assets.transactions.columns import DAY, LABEL, PAYER, SCORE


@dataclass(frozen=True)
class JudgedFold:
    """A fold, and what the chosen parameters' model of it says of its validation rows.

    `validation` has `day`, `label` and, where payers are known, `payer_id`. `margin` has one value
    per row, or is None for a fold that had too few frauds to take part.
    """

    days: FoldDays
    train_rows: int
    train_positives: int
    validation: pl.DataFrame
    margin: Array | None


def fold_records(
    folds: Sequence[JudgedFold], *, label_delay_days: int, alert_budget_per_day: int
) -> tuple[FoldRecord, ...]:
    """One record per fold, in the order of `folds`, which is the oldest first.

    A fold is calibrated by the newest older one whose labels were known when its own validation
    began, that is, one whose validation ended more than `label_delay_days` before: in service no
    model is calibrated on yesterday's labels either.
    """
    return tuple(
        _record(
            fold, _calibrator_before(fold, folds[:place], label_delay_days), alert_budget_per_day
        )
        for place, fold in enumerate(folds)
    )


def _calibrator_before(
    fold: JudgedFold, older: Sequence[JudgedFold], label_delay_days: int
) -> Calibrator | None:
    first = fold.days.validation_days[0]
    for one in reversed(older):
        known = (first - one.days.validation_days[-1]).days > label_delay_days
        if known and one.margin is not None:
            label = one.validation.get_column(LABEL).to_numpy()
            return choose_calibrator(one.margin, label, one.validation.get_column(DAY).to_numpy())
    return None


def _record(fold: JudgedFold, calibrator: Calibrator | None, alert_budget: int) -> FoldRecord:
    label, margin = fold.validation.get_column(LABEL).to_numpy(), fold.margin
    cards, score = None, None
    if margin is not None and PAYER in fold.validation.columns:
        scored = fold.validation.with_columns(pl.Series(SCORE, margin))
        cards = metrics.card_precision_at_k(scored, alert_budget)
    if margin is not None and calibrator is not None:
        score = calibrator.apply(margin)
    return FoldRecord(
        train_window=DayWindow.of(fold.days.train_days),
        validation_window=DayWindow.of(fold.days.validation_days),
        train_rows=fold.train_rows,
        train_positives=fold.train_positives,
        rows=fold.validation.height,
        positives=int(label.sum()),
        average_precision=None if margin is None else metrics.average_precision(label, margin),
        card_precision=None if cards is None else cards.value,
        card_precision_ceiling=None if cards is None else cards.achievable,
        roc_auc=None if margin is None else metrics.roc_auc(label, margin),
        brier=None if score is None else metrics.brier(label, score),
        expected_calibration_error=(
            None if score is None else metrics.expected_calibration_error(label, score)
        ),
    )
