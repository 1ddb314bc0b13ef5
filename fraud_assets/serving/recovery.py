"""What the service knows again after a restart: the state of its features, and its answers.

The state comes from its snapshot and the answers since, else from the lake and the store's
answers. Nothing that was acknowledged is missing: what the journal held is stored before this is
asked. Labels follow by `learning`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import islice
from math import ceil
from pathlib import Path
from typing import Final

import msgspec
import polars as pl

from fraud_assets.features.definitions import FeatureSet
from fraud_assets.features.online.events import OnlineTransaction
from fraud_assets.features.online.snapshot import Capture, restore
from fraud_assets.features.online.state import OnlineFeatures
from fraud_assets.features.online.warm import warm_state
from fraud_assets.lake import VALIDATED
from fraud_assets.serving.learning import LabelFeed
from fraud_assets.store.answers import StoredAnswer, answers_after, answers_since, newest_answers
from fraud_assets.store.engine import PredictionStore
from fraud_assets.transactions.columns import (
    AMOUNT,
    EVENT_ORDER,
    EVENT_TIME,
    PAYEE,
    PAYER,
    TRANSACTION_ID,
)

_SCHEMA: Final = {
    TRANSACTION_ID: pl.String,
    EVENT_TIME: pl.Int64,
    EVENT_ORDER: pl.Int64,
    AMOUNT: pl.Float64,
    PAYER: pl.String,
    PAYEE: pl.String,
}
_ROWS_AT_ONCE: Final = 100_000


class Position(msgspec.Struct, frozen=True):
    """Up to where a snapshot holds the answers of its worker, and the labels."""

    sequence: int
    label_id: int
    label_day: date | None


@dataclass(frozen=True)
class Recovered:
    """The state, the labels' feed behind it, and a sentence about where they came from."""

    state: OnlineFeatures
    feed: LabelFeed
    told: str


def snapshot_path(folder: Path, worker: str) -> Path:
    """Where a worker's snapshot lies."""
    return folder / f"state-{worker}.snapshot"


def capture(state: OnlineFeatures, feed: LabelFeed, sequence: int) -> Capture:
    """The state as it is after the answer numbered `sequence`, to be written by a thread."""
    position = Position(sequence, feed.last_id, feed.last_day)
    return Capture.of(state, msgspec.json.encode(position).decode())


def recover(
    features: FeatureSet,
    feed: LabelFeed,
    *,
    worker: str,
    late_days: float,
    snapshot: Path | None,
) -> Recovered:
    """The state as it was, or as it should be. Blocking.

    Args:
        features: the declarations.
        feed: names the store and the lake; is moved to where the state's labels end.
        worker: whose answers a snapshot is continued with.
        late_days: how late transactions are still remembered.
        snapshot: None does without one, as several workers do: their log is not in it.

    Raises:
        StoreError: the store does not answer.
    """
    found = restore(features, snapshot, late_days=late_days) if snapshot is not None else None
    if found is not None:
        state, text = found
        position = msgspec.json.decode(text, type=Position)
        feed.last_id, feed.last_day = position.label_id, position.label_day
        since = 0
        for answer in answers_after(feed.store, worker, position.sequence):
            state.observe(transaction_of(answer))
            since += 1
        return Recovered(state, feed, f"its snapshot and {since} answers since")
    return _from_lake_and_store(features, feed, late_days)


def transaction_of(answer: StoredAnswer) -> OnlineTransaction:
    """The transaction that an answer is about."""
    return OnlineTransaction(
        transaction_id=answer.transaction_id,
        event_time_us=answer.event_time_us,
        amount=answer.amount,
        payer_id=answer.payer_id,
        payee_id=answer.payee_id,
        kind=answer.kind,
        extras=answer.extras,
    )


def _from_lake_and_store(features: FeatureSet, feed: LabelFeed, late_days: float) -> Recovered:
    warm = warm_state(feed.lake, features, late_days=late_days)
    feed.last_day = warm.last_label_day
    newest = max([day for day in (warm.last_day, _newest_answer(feed.store)) if day], default=None)
    if newest is None:
        return Recovered(warm.state, feed, "nothing: the lake and the store are empty")
    first = newest - timedelta(days=features.lookback_days + ceil(late_days) + 1)
    landed = [day for day in feed.lake.days(VALIDATED) if day >= first]
    known = feed.lake.read_existing(VALIDATED, landed, (TRANSACTION_ID,))
    answered = 0
    for part in _parts(feed.store, first):
        # What the API was asked may have reached the lake as well, by the daily file.
        new = part if known is None else part.join(known, on=TRANSACTION_ID, how="anti")
        # What came too late to be remembered then is remembered now, as it is in the lake.
        warm.state.load_transactions(new.sort(EVENT_ORDER, maintain_order=True))
        answered += new.height
    return Recovered(
        warm.state,
        feed,
        f"{warm.transactions} transactions of the lake and {answered} answers of the store",
    )


def _newest_answer(store: PredictionStore) -> date | None:
    found, _ = newest_answers(store, 1)
    return found[0].day if found else None


def _parts(store: PredictionStore, first_day: date) -> Iterator[pl.DataFrame]:
    """The store's answers from a day on, as frames of bounded size."""
    for part in _batched(answers_since(store, first_day), _ROWS_AT_ONCE):
        yield _frame(part)


def _frame(answers: Iterable[StoredAnswer]) -> pl.DataFrame:
    rows = [
        (a.transaction_id, a.event_time_us, a.event_order_us, a.amount, a.payer_id, a.payee_id)
        for a in answers
    ]
    return pl.DataFrame(rows, schema=_SCHEMA, orient="row").with_columns(
        pl.col(EVENT_TIME).cast(pl.Datetime("us")).dt.replace_time_zone("UTC")
    )


def _batched(rows: Iterable[StoredAnswer], size: int) -> Iterator[list[StoredAnswer]]:
    # itertools.batched comes with Python 3.12
    source = iter(rows)
    while part := list(islice(source, size)):
        yield part
