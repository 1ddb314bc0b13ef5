"""Labels that become known while the service runs, brought to its state.

Analysts' labels come from the store, whoever wrote them there, and the source's from the lake, as
its days are closed. Nothing is decided here: when a label may be used is said by `semantics`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from typing import Final

import polars as pl

from fraud_assets.features.batch import label_events
from fraud_assets.features.expressions import KNOWN
from fraud_assets.features.online.events import LabelEvent
from fraud_assets.lake import LABELS, Lake
from fraud_assets.store.engine import PredictionStore
from fraud_assets.store.labels import AnalystLabel, labels_after
from fraud_assets.store.records import EPOCH, MICROSECOND
from fraud_assets.transactions.columns import AMOUNT, LABEL, LABEL_SOURCE, PAYEE, PAYER
from fraud_assets.transactions.labels import FROM_SOURCE

ROWS_AT_ONCE: Final = 5_000


@dataclass
class LabelFeed:
    """What the state has learnt so far, and where more comes from.

    Attributes:
        store: analysts' labels.
        lake: the source's labels, by the day on which they became known.
        delay_days: labels are not used sooner after their transaction.
        last_id: the last analyst's label that was read.
        last_day: the last day of the lake that was read; None: it has none yet.
    """

    store: PredictionStore
    lake: Lake
    delay_days: int
    last_id: int = 0
    last_day: date | None = None

    def read(self) -> list[LabelEvent]:
        """Everything new since the last time. Blocking.

        Raises:
            StoreError: the store does not answer; what was not read is read the next time.
        """
        return [*self._analysts(), *self._source()]

    def _analysts(self) -> list[LabelEvent]:
        found: list[LabelEvent] = []
        while rows := labels_after(self.store, self.last_id, ROWS_AT_ONCE):
            found += [event_of(label, self.delay_days) for _, label in rows]
            self.last_id = rows[-1][0]
        return found

    def _source(self) -> list[LabelEvent]:
        found: list[LabelEvent] = []
        after = self.last_day or date.min
        for day in (day for day in self.lake.days(LABELS) if day > after):
            labels = self.lake.read_days(LABELS, [day]).filter(pl.col(LABEL_SOURCE) == FROM_SOURCE)
            found += events_of(labels, self.delay_days)
            self.last_day = day
        return found


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
