"""What becomes known beside the requests while the service runs: labels, and closed days.

Analysts' labels come from the store, whoever wrote them there; the source's, and transactions that
nobody asked about, from the lake, as its days are closed. Nothing is decided here: when a label may
be used is said by `semantics`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Final

import msgspec
import polars as pl

from fraud_assets.features.batch import label_events
from fraud_assets.features.expressions import KNOWN
from fraud_assets.features.online.events import LabelEvent
from fraud_assets.lake import LABELS, VALIDATED, Lake
from fraud_assets.store.answers import answered_ids
from fraud_assets.store.engine import PredictionStore
from fraud_assets.store.labels import AnalystLabel, labels_after
from fraud_assets.store.records import EPOCH, MICROSECOND
from fraud_assets.transactions.columns import (
    AMOUNT,
    EVENT_ORDER,
    EVENT_TIME,
    LABEL,
    LABEL_SOURCE,
    PAYEE,
    PAYER,
    TRANSACTION_ID,
)
from fraud_assets.transactions.labels import FROM_SOURCE
from fraud_assets.transactions.profile import Profile

ROWS_AT_ONCE: Final = 5_000

_EMPTY: Final = pl.DataFrame(
    schema={
        TRANSACTION_ID: pl.String,
        EVENT_TIME: pl.Datetime("us", "UTC"),
        EVENT_ORDER: pl.Int64,
        AMOUNT: pl.Float64,
        PAYER: pl.String,
        PAYEE: pl.String,
    }
)
"""What the state needs of a transaction, without any."""


class FeedPosition(msgspec.Struct, frozen=True):
    """Up to where a state has learnt: the last analyst's label, and the lake's last days."""

    label_id: int = 0
    label_day: date | None = None
    day: date | None = None


@dataclass(frozen=True)
class News:
    """What was not known before, and the position once it is."""

    labels: list[LabelEvent]
    transactions: pl.DataFrame
    position: FeedPosition


@dataclass
class Feed:
    """Where more becomes known, and what is known so far.

    Attributes:
        store: analysts' labels, and the transactions that were answered.
        lake: the source's labels by the day on which they became known, and closed days.
        profile: labels are used no sooner than its delay after their transaction.
        position: how far the state is; moved by whoever has brought it there.
    """

    store: PredictionStore
    lake: Lake
    profile: Profile
    position: FeedPosition = field(default_factory=FeedPosition)

    def read(self, is_answered: Callable[[str], bool]) -> News:
        """Everything new since `position`, which stays. Blocking.

        Of a day that the lake has closed, the transactions that were never asked about are news:
        the batch counts them too. A day of labels that is materialised again is not read again.

        Args:
            is_answered: whether an answer is known that the store may not have yet.

        Raises:
            StoreError, OSError: the store or the lake does not answer; try again later.
        """
        delay = self.profile.label_delay_days
        labels: list[LabelEvent] = []
        last_id = self.position.label_id
        while rows := labels_after(self.store, last_id, ROWS_AT_ONCE):
            labels += [event_of(label, delay) for _, label in rows]
            last_id = rows[-1][0]
        label_days = _after(self.lake.days(LABELS), self.position.label_day)
        for day in label_days:
            told = self.lake.read_days(LABELS, [day]).filter(pl.col(LABEL_SOURCE) == FROM_SOURCE)
            labels += events_of(told, delay)
        days = _after(self.lake.days(VALIDATED), self.position.day)
        transactions = pl.concat([_EMPTY, *(self._unasked(day, is_answered) for day in days)])
        position = FeedPosition(
            last_id,
            label_days[-1] if label_days else self.position.label_day,
            days[-1] if days else self.position.day,
        )
        return News(labels, transactions, position)

    def _unasked(self, day: date, is_answered: Callable[[str], bool]) -> pl.DataFrame:
        rows = self.lake.read_days(VALIDATED, [day], _EMPTY.columns)
        asked = answered_ids(self.store, day)
        if self.profile.columns.transaction_id is None:
            # Its ids are made of the day and the row: nothing tells which of them were asked.
            return rows.clear() if asked else rows
        known = {name for name in rows[TRANSACTION_ID] if name in asked or is_answered(name)}
        return rows.filter(~pl.col(TRANSACTION_ID).is_in(list(known)))


def _after(days: list[date], last: date | None) -> list[date]:
    return [day for day in days if last is None or day > last]


def event_of(label: AnalystLabel, delay_days: int) -> LabelEvent:
    """An analyst's label as an event of the state; see `features.batch.label_events`."""
    usable = max(label.event_time + timedelta(days=delay_days), label.labelled_at)
    return LabelEvent(
        known_us=(usable - EPOCH) // MICROSECOND,
        label=label.label,
        amount=label.amount,
        payer_id=label.payer_id,
        payee_id=label.payee_id,
    )


def events_of(labels: pl.DataFrame, delay_days: int) -> list[LabelEvent]:
    """The rows of the lake's `fraud_labels` as events of the state."""
    columns = (KNOWN, LABEL, AMOUNT, PAYER, PAYEE)
    rows = label_events(labels, delay_days).select(columns)
    return [LabelEvent(*row) for row in rows.iter_rows()]
