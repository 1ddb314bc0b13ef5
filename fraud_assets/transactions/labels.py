"""Labels: what became known of a transaction, when, and from whom.

A transaction has one of three states as of a day: fraud, legitimate, or *unknown*. Unknown is
the absence of a row here, and never means legitimate: a model that took recent transactions for
legitimate would learn that there is no fraud. Labels are appended, never overwritten; which one
counts is decided when they are read. Labels typed in by analysts are stored in `store` and only
joined here.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Final

import polars as pl

from fraud_assets.transactions import columns as c
from fraud_assets.transactions.profile import Profile

FROM_SOURCE: Final = "source"
FROM_ANALYST: Final = "analyst"

LATE_LABEL_DAYS: Final = 7
"""Days beyond `delay_days` in which labels with their own `known_at` are still found."""

LABELS_SCHEMA: Final[dict[str, pl.DataType]] = {
    c.TRANSACTION_ID: pl.String(),
    c.EVENT_TIME: pl.Datetime("us", "UTC"),
    c.EVENT_ORDER: pl.Int64(),
    c.PAYER: pl.String(),
    c.PAYEE: pl.String(),
    c.AMOUNT: pl.Float64(),
    c.LABEL: pl.Int8(),
    c.LABEL_KNOWN_AT: pl.Datetime("us", "UTC"),
    c.LABEL_SOURCE: pl.String(),
    c.SCENARIO: pl.String(),
}


def label_lookback_days(profile: Profile) -> int:
    """How many days before D hold transactions whose label may become known on D.

    Without `known_at` every label comes `delay_days` after its transaction, exactly. With it, a
    label may come at any time: most within `delay_days`, and the rest is looked for over
    `LATE_LABEL_DAYS` more. What comes later still is in no day's labels; it is not lost in
    silence, as `labels_beyond_delay` counts it on the day of its transaction, and the remedy is
    a larger `delay_days`.
    """
    label = profile.columns.label
    if label is None:
        return 0
    return label.delay_days + (LATE_LABEL_DAYS if label.known_at else 0)


def labels_beyond_delay(transactions: pl.DataFrame, profile: Profile) -> int:
    """How many labels of these transactions come too late for any day's labels to hold them.

    Args:
        transactions: validated transactions, of any days.
        profile: gives the days that are looked back (`label_lookback_days`).
    """
    waited = pl.col(c.SOURCE_LABEL_KNOWN_AT).dt.date() - pl.col(c.EVENT_TIME).dt.date()
    late = waited > timedelta(days=label_lookback_days(profile))
    labelled = pl.col(c.SOURCE_LABEL).is_not_null()
    return transactions.filter(labelled & late).height


def labels_known_on(
    transactions: pl.DataFrame,
    day: date,
    profile: Profile,
    analyst_labels: pl.DataFrame | None = None,
) -> pl.DataFrame:
    """The labels that became known within a day, from the source and from analysts.

    Args:
        transactions: validated transactions of `day` and of `label_lookback_days` before it.
        day: the partition; a label belongs to the UTC day of its `label_known_at`.
        profile: without a mapped label only analysts' labels are taken.
        analyst_labels: a frame of `LABELS_SCHEMA`, of any days.

    Returns:
        A frame of `LABELS_SCHEMA`, sorted by `label_known_at`, `transaction_id`, source.

    Raises:
        ValueError: an analyst's label has no value, no moment, or one before its transaction.
    """
    start = _midnight(day)
    within = pl.col(c.LABEL_KNOWN_AT).is_between(start, start + timedelta(days=1), closed="left")
    parts = [pl.DataFrame(schema=LABELS_SCHEMA)]
    if profile.columns.label is not None:
        parts.append(
            transactions.filter(pl.col(c.SOURCE_LABEL).is_not_null())
            .select(
                c.TRANSACTION_ID,
                c.EVENT_TIME,
                c.EVENT_ORDER,
                c.PAYER,
                c.PAYEE,
                c.AMOUNT,
                pl.col(c.SOURCE_LABEL).alias(c.LABEL),
                pl.col(c.SOURCE_LABEL_KNOWN_AT).alias(c.LABEL_KNOWN_AT),
                pl.lit(FROM_SOURCE).alias(c.LABEL_SOURCE),
                pl.col(c.SOURCE_SCENARIO).alias(c.SCENARIO),
            )
            .filter(within)
        )
    if analyst_labels is not None:
        parts.append(_checked(analyst_labels).filter(within))
    return pl.concat(parts).sort(
        [c.LABEL_KNOWN_AT, c.TRANSACTION_ID, c.LABEL_SOURCE], maintain_order=True
    )


def known_as_of(labels: pl.DataFrame, as_of: date) -> pl.DataFrame:
    """The labels that were known before the midnight (UTC) that ends `as_of`."""
    return labels.filter(pl.col(c.LABEL_KNOWN_AT) < _midnight(as_of) + timedelta(days=1))


def latest_labels(labels: pl.DataFrame, as_of: date) -> pl.DataFrame:
    """One row for each transaction with a label as of a day: the last that was known by then.

    Of labels of the same moment an analyst's wins. Transactions that are not in the result are
    unknown, which is not legitimate. Sorted by `label_known_at`, `transaction_id`.
    """
    known = known_as_of(labels, as_of)
    if known[c.TRANSACTION_ID].n_unique() < known.height:
        by_analyst = pl.col(c.LABEL_SOURCE) == FROM_ANALYST
        known = known.sort([pl.col(c.LABEL_KNOWN_AT), by_analyst], maintain_order=True)
        known = known.unique(c.TRANSACTION_ID, keep="last", maintain_order=True)
    return known.sort([c.LABEL_KNOWN_AT, c.TRANSACTION_ID])


def _checked(analyst_labels: pl.DataFrame) -> pl.DataFrame:
    labels = analyst_labels.select(pl.col(n).cast(dtype) for n, dtype in LABELS_SCHEMA.items())
    sound = pl.col(c.LABEL).is_in([0, 1]) & (pl.col(c.LABEL_KNOWN_AT) >= pl.col(c.EVENT_TIME))
    wrong = labels.filter(~sound.fill_null(value=False))
    if wrong.height:
        names = ", ".join(wrong[c.TRANSACTION_ID].cast(pl.String).head(5).to_list())
        raise ValueError(
            f"{wrong.height} analyst labels are neither 0 nor 1, or have no moment, or one before "
            f"the transaction: {names}"
        )
    return labels


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)
