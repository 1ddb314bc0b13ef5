"""Dropping what the store keeps of single transactions once it is old enough.

Labels, promotions, decisions, alerts and the traffic stay: they are the record of what was said and
decided.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from typing import Final

from sqlalchemy import Table, delete, func, select

from fraud_assets.store.engine import PredictionStore
from fraud_assets.store.schema import answers, predictions, shadow_scores

_ROWS_AT_ONCE: Final = 10_000
"""Rows of one transaction: SQLite has one writer at a time, and the API's may be waiting."""


@dataclass(frozen=True)
class RetentionReport:
    """How many rows went, by table."""

    predictions: int
    answers: int
    shadow_scores: int


def delete_before(store: PredictionStore, day: date) -> RetentionReport:
    """Drop the predictions, answers and shadow scores of all days before `day`.

    A slice at a time, the oldest day first, and each slice is committed: a reader may see a part of
    a day that is going, and what an interrupted call has left goes with the next one. A
    transaction whose answer is gone may be answered again.

    Raises:
        StoreUnavailableError: the database is away or stays locked.
    """
    return RetentionReport(
        predictions=_delete(store, predictions, day),
        answers=_delete(store, answers, day),
        shadow_scores=_delete(store, shadow_scores, day),
    )


def keep_newest(store: PredictionStore, keep_days: int) -> RetentionReport:
    """Drop all days but the newest `keep_days`, counted back from the newest that the store has.

    From the newest one and not from today, so that replayed history is kept as live days are.

    Raises:
        ValueError: fewer than one day is to be kept.
        StoreUnavailableError: the database is away or stays locked.
    """
    if keep_days < 1:
        raise ValueError(f"{keep_days} days are to be kept: keep at least one")
    with store.reading() as connection:
        newest = [
            connection.execute(select(func.max(table.c.day))).scalar_one()
            for table in (predictions, answers)
        ]
    last = max((day for day in newest if day is not None), default=None)
    if last is None:
        return RetentionReport(0, 0, 0)
    return delete_before(store, last - timedelta(days=keep_days - 1))


def _delete(store: PredictionStore, table: Table, day: date) -> int:
    deleted = 0
    oldest = select(func.min(table.c.day)).where(table.c.day < day)
    while True:
        with store.writing() as connection:
            going = connection.execute(oldest).scalar_one()
            if going is None:
                return deleted
            # By day first: it is an index of every table, and the whole key of a batch's rows.
            slice_of_it = (
                select(table.c.transaction_id).where(table.c.day == going).limit(_ROWS_AT_ONCE)
            )
            gone = delete(table).where(
                table.c.day == going, table.c.transaction_id.in_(slice_of_it)
            )
            deleted += connection.execute(gone).rowcount
