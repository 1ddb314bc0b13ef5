"""What is recorded of each fold, and by which earlier fold it is calibrated."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import polars as pl
import pytest

from fraud_assets.modeling import metrics
from fraud_assets.modeling.calibration import choose_calibrator
from fraud_assets.modeling.manifest import DayWindow, FoldRecord
from fraud_assets.modeling.prequential import JudgedFold, fold_records
from fraud_assets.modeling.splits import FoldDays

VALIDATION_DAYS = 2
PER_DAY = 300


def judged(place: int, *, frauds: bool = True, seed: int = 0) -> JudgedFold:
    """The fold whose validation begins `place * VALIDATION_DAYS` days after 2025-06-10."""
    first = date(2025, 6, 10) + timedelta(days=place * VALIDATION_DAYS)
    days = tuple(first + timedelta(days=i) for i in range(VALIDATION_DAYS))
    rng = np.random.default_rng(100 + place + seed)
    margin = rng.normal(-4, 2, VALIDATION_DAYS * PER_DAY)
    label = (rng.random(margin.size) < 1 / (1 + np.exp(-margin))).astype(np.int8)
    validation = pl.DataFrame(
        {
            "day": [day for day in days for _ in range(PER_DAY)],
            "label": label,
            "payer_id": [f"p{i}" for i in rng.integers(0, 200, margin.size)],
        },
        schema_overrides={"day": pl.Date},
    )
    trained = FoldDays((date(2025, 6, 1), date(2025, 6, 2)), days)
    return JudgedFold(trained, 1_000, 40, validation, margin if frauds else None)


def records(folds: list[JudgedFold], delay: int = 0) -> tuple[FoldRecord, ...]:
    return fold_records(folds, label_delay_days=delay, alert_budget_per_day=10)


def score_by(earlier: JudgedFold, fold: JudgedFold) -> np.ndarray:
    validation = earlier.validation
    calibrator = choose_calibrator(
        earlier.margin, validation["label"].to_numpy(), validation["day"].to_numpy()
    )
    return calibrator.apply(fold.margin)


def test_a_record_has_the_fold_s_days_counts_and_metrics() -> None:
    fold = judged(0)

    (record,) = records([fold])

    label = fold.validation["label"].to_numpy()
    cards = metrics.card_precision_at_k(fold.validation.with_columns(score=fold.margin), 10)
    assert record == FoldRecord(
        train_window=DayWindow.of(fold.days.train_days),
        validation_window=DayWindow.of(fold.days.validation_days),
        train_rows=1_000,
        train_positives=40,
        rows=VALIDATION_DAYS * PER_DAY,
        positives=int(label.sum()),
        average_precision=metrics.average_precision(label, fold.margin),
        card_precision=cards.value,
        card_precision_ceiling=cards.achievable,
        roc_auc=metrics.roc_auc(label, fold.margin),
        brier=None,
        expected_calibration_error=None,
    )
    assert record.average_precision > 0.1
    assert 0 < record.card_precision <= record.card_precision_ceiling


def test_without_a_delay_a_fold_is_calibrated_by_the_one_before() -> None:
    folds = [judged(0), judged(1), judged(2)]

    found = records(folds)

    assert found[0].brier is None
    for earlier, fold, record in zip(folds, folds[1:], found[1:], strict=False):
        label = fold.validation["label"].to_numpy()
        score = score_by(earlier, fold)
        assert record.brier == metrics.brier(label, score)
        error = metrics.expected_calibration_error(label, score)
        assert record.expected_calibration_error == error
        assert error < 0.05


@pytest.mark.parametrize(("delay", "earlier"), [(0, 2), (1, 1), (2, 1), (3, 0), (4, 0), (5, None)])
def test_a_fold_is_calibrated_only_by_days_whose_labels_were_known_when_it_began(
    delay: int, earlier: int | None
) -> None:
    folds = [judged(place) for place in range(4)]

    newest = records(folds, delay)[-1]

    if earlier is None:
        assert newest.brier is None
        assert newest.expected_calibration_error is None
    else:
        known = folds[earlier].days.validation_days[-1]
        assert folds[-1].days.validation_days[0] - known > timedelta(days=delay)
        label = folds[-1].validation["label"].to_numpy()
        assert newest.brier == metrics.brier(label, score_by(folds[earlier], folds[-1]))


def test_no_fold_s_own_labels_touch_its_calibration() -> None:
    folds = [judged(0), judged(1)]
    other = [judged(0), judged(1)]
    turned = other[1].validation.with_columns(1 - pl.col("label"))
    other[1] = JudgedFold(other[1].days, 1_000, 40, turned, other[1].margin)

    label = turned["label"].to_numpy()

    assert records(other)[1].brier == metrics.brier(label, score_by(folds[0], folds[1]))


def test_a_fold_that_took_no_part_has_counts_and_no_metrics_and_calibrates_nothing() -> None:
    folds = [judged(0), judged(1, frauds=False), judged(2)]

    first, silent, newest = records(folds)

    assert (silent.rows, silent.train_rows) == (VALIDATION_DAYS * PER_DAY, 1_000)
    measured = silent.model_dump(
        include={
            "average_precision", "card_precision", "card_precision_ceiling", "roc_auc", "brier",
            "expected_calibration_error",
        }
    )  # fmt: skip
    assert set(measured.values()) == {None}
    assert first.average_precision is not None
    label = folds[2].validation["label"].to_numpy()
    assert newest.brier == metrics.brier(label, score_by(folds[0], folds[2]))


def test_without_payers_there_is_no_card_precision() -> None:
    fold = judged(0)
    bare = JudgedFold(fold.days, 1_000, 40, fold.validation.drop("payer_id"), fold.margin)

    (record,) = records([bare])

    assert (record.card_precision, record.card_precision_ceiling) == (None, None)
    assert record.average_precision is not None
