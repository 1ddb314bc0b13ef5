"""Rows that a model may learn from or be judged on: features joined to labels known by then.

Which days are used is decided in `splits`; how labels are made and superseded, in
`transactions.labels`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date, timedelta
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from fraud_assets.transactions.columns import (
    DAY,
    EVENT_TIME,
    LABEL,
    LABEL_KNOWN_AT,
    PAYER,
    SCENARIO,
    TRANSACTION_ID,
)
from fraud_assets.transactions.labels import latest_labels

KnownPayers = Mapping[date, pl.Series]
"""Per day, the payer ids that were known to be compromised before it."""


def labelled_rows(features: pl.DataFrame, labels: pl.DataFrame, as_of: date) -> pl.DataFrame:
    """The rows of `features` whose label is known at the end of `as_of`, in their order.

    A transaction without a label is unknown and left out. It is never taken as legitimate: a
    retraining on recent days would learn that there is no fraud (Dal Pozzolo et al. 2018).

    Args:
        features: one row per transaction, with `transaction_id` and `event_time`.
        labels: label events in any number per transaction; the latest known one counts.
        as_of: the day at whose end the labels are looked at.

    Returns:
        The columns of `features`, then `label` (Int8), `scenario` (Utf8, for evaluation only),
        `label_known_at` (UTC) and `day` (Date, UTC).
    """
    known = latest_labels(labels, as_of).select(
        TRANSACTION_ID,
        pl.col(LABEL).cast(pl.Int8),
        pl.col(SCENARIO).cast(pl.String),
        LABEL_KNOWN_AT,
    )
    return features.join(
        known, on=TRANSACTION_ID, how="inner", validate="1:1", maintain_order="left"
    ).with_columns(pl.col(EVENT_TIME).dt.date().alias(DAY))


def thin_negatives(
    label: npt.NDArray[Any], max_rows: int, seed: int
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.float32]] | None:
    """Positions to keep, in order, and their weights, so that at most `max_rows` remain.

    Every fraud is kept. Legitimate rows are drawn at random and weigh as many as they stand for,
    so that the probabilities stay those of all rows (undersampling without weights shifts them,
    Dal Pozzolo et al. 2015). At least as many legitimate rows as frauds are kept, even beyond
    `max_rows`. None where nothing has to go.
    """
    if label.size <= max_rows:
        return None
    frauds, legitimate = np.flatnonzero(label == 1), np.flatnonzero(label == 0)
    kept = min(max(max_rows - frauds.size, frauds.size), legitimate.size)
    drawn = np.random.default_rng(seed).choice(legitimate, kept, replace=False)
    rows = np.sort(np.concatenate([frauds, drawn]))
    weight = np.where(label[rows] == 1, 1.0, legitimate.size / max(kept, 1)).astype(np.float32)
    return rows, weight


def known_fraud_payers(labels: pl.DataFrame, before_day: date) -> pl.Series:
    """Payers with a fraud that was known before `before_day` began, sorted and unique (Utf8).

    Only what was known by then counts, and only the latest word on each transaction: a fraud
    label that was withdrawn by then does not mark its payer.
    """
    known = latest_labels(labels, before_day - timedelta(days=1))
    return (
        known.filter(pl.col(LABEL) == 1).get_column(PAYER).cast(pl.String).drop_nulls()
        .unique().sort()
    )  # fmt: skip


def known_payers_by_day(labels: pl.DataFrame, days: Iterable[date]) -> dict[date, pl.Series]:
    """`known_fraud_payers` for each of `days`."""
    # Only what was ever called a fraud can mark a payer; the rest would be sorted for every day.
    ever = labels.filter(pl.col(LABEL) == 1).select(TRANSACTION_ID).unique()
    suspects = labels.join(ever, on=TRANSACTION_ID, how="semi", maintain_order="left")
    return {day: known_fraud_payers(suspects, day) for day in days}


def without_known_payers(frame: pl.DataFrame, known_by_day: KnownPayers | None) -> pl.DataFrame:
    """`frame` (columns `day`, `payer_id`) without the rows of payers known before their day.

    A card that is known to be compromised is blocked, so it must not be counted as found again
    (Fraud Detection Handbook, chapter 3.2). Rows without a payer stay.

    Raises:
        KeyError: a day of the frame has no entry, so that "nobody known" cannot be confused with
            "not looked up".
    """
    if known_by_day is None or frame.is_empty():
        return frame
    days = frame.get_column(DAY).unique().sort().to_list()
    absent = [str(day) for day in days if day not in known_by_day]
    if absent:
        raise KeyError(f"known payers were not given for {', '.join(absent)}")
    known = pl.concat(
        [
            pl.DataFrame({PAYER: known_by_day[day].cast(pl.String)}).with_columns(
                pl.lit(day, dtype=pl.Date).alias(DAY)
            )
            for day in days
        ]
    )
    return frame.join(known, on=[DAY, PAYER], how="anti", maintain_order="left")
