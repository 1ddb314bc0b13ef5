"""The Fraud Detection Handbook's data and protocols: its days, its features, its weeks of tests.

What is measured on them stands in `handbook.py`. Everything is read through the application's own
code: validation, labels by the day they became known, and point-in-time features. The data carries
no licence and is not part of the project: give the path of the public raw daily files, joined.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import polars as pl
from history import History

from fraud_assets.modeling.dataset import without_known_payers
from fraud_assets.transactions.columns import DAY, LABEL, PAYER, SOURCE_ROW
from fraud_assets.transactions.profile import Profile

FIRST_DAY = date(2018, 4, 1)
DELAY = 7
WEEK = 7

CHAPTER_3 = date(2018, 7, 25)
"""First training day of chapter 3, and of the oldest fold of chapter 5."""

HANDBOOK_FEATURES = (
    "amount", "is_weekend", "is_night",
    "payer_count_1d", "payer_mean_amount_1d", "payer_count_7d", "payer_mean_amount_7d",
    "payer_count_30d", "payer_mean_amount_30d",
    "payee_labelled_count_1d", "payee_risk_1d", "payee_labelled_count_7d", "payee_risk_7d",
    "payee_labelled_count_30d", "payee_risk_30d",
)  # fmt: skip
"""The Handbook's fifteen, in its order (chapter 3.2)."""


@dataclass(frozen=True)
class Fold:
    """A training week, a week of delay, and a test week, as in the Handbook's chapters 3 and 5."""

    start: date

    @property
    def train_days(self) -> tuple[date, date]:
        """First and last day of the training week."""
        return self.start, self.start + timedelta(days=WEEK - 1)

    @property
    def test_days(self) -> tuple[date, ...]:
        """The seven test days, a week of delay after the training week."""
        first = self.start + timedelta(days=WEEK + DELAY)
        return tuple(first + timedelta(days=i) for i in range(WEEK))


FOLDS = tuple(Fold(CHAPTER_3 + timedelta(days=WEEK * i)) for i in range(4))
"""The four test weeks of chapter 5, 8 August to 4 September."""

LATER_FOLDS = tuple(Fold(CHAPTER_3 + timedelta(days=WEEK * i)) for i in range(4, 7))
"""Three weeks more, 5 to 25 September: nothing in this project was chosen by looking at them."""

LAST_DAY = date(2018, 9, 30)


def read_handbook(path: Path, profile: Profile, last_day: date) -> History:
    """Every day up to `last_day`; nothing of the data may be quarantined."""
    columns = profile.columns
    raw = pl.read_parquet(path).sort(columns.time.column, columns.transaction_id)
    dated = raw.with_columns(
        pl.int_range(pl.len()).alias(SOURCE_ROW), pl.col(columns.time.column).dt.date().alias(DAY)
    )
    by_day = {key[0]: part.drop(DAY) for key, part in dated.partition_by(DAY, as_dict=True).items()}
    history = History.of(((d, by_day[d]) for d in sorted(by_day) if d <= last_day), profile)
    if history.quarantined:
        raise ValueError(f"{path}: {history.quarantined} rows were quarantined")
    return history


def between(rows: pl.DataFrame, first: date, last: date) -> pl.DataFrame:
    """The rows of the days `first` to `last`, both included."""
    return rows.filter(pl.col(DAY).is_between(first, last))


def known_cards(rows: pl.DataFrame, fold: Fold) -> dict[date, pl.Series]:
    """Cards known to be compromised before each test day, by the Handbook's own rule.

    Those with a fraud in the training week, and from then on up to `DELAY` days before the day
    (`get_train_test_set`). Frauds before the training week are forgotten, unlike in the
    application: the test rows are to be the book's.
    """
    frauds = rows.filter(pl.col(LABEL) == 1).select(DAY, PAYER)
    return {
        day: between(frauds, fold.start, day - timedelta(days=DELAY + 1))[PAYER].unique()
        for day in fold.test_days
    }


def test_rows(rows: pl.DataFrame, fold: Fold) -> pl.DataFrame:
    """The fold's test rows, without the cards that were known before their day."""
    week = between(rows, fold.test_days[0], fold.test_days[-1])
    return without_known_payers(week, known_cards(rows, fold))


def matrix(rows: pl.DataFrame, names: Sequence[str]) -> np.ndarray:
    """Features as float32, shape (rows, names)."""
    return rows.select(pl.col(name).cast(pl.Float32) for name in names).to_numpy(order="c")
