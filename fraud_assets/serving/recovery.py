"""What the service knows again after a restart: the state of its features, and its answers.

The state comes from its snapshot and the answers since, else from the lake and the store's
answers. Nothing that was acknowledged is missing: what the journal held is stored before this is
asked. Labels follow by `learning`.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
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
from fraud_assets.serving.learning import Feed, FeedPosition
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

_log = logging.getLogger(__name__)

_SCHEMA: Final = {
    TRANSACTION_ID: pl.String,
    EVENT_TIME: pl.Int64,
    EVENT_ORDER: pl.Int64,
    AMOUNT: pl.Float64,
    PAYER: pl.String,
    PAYEE: pl.String,
}
_ROWS_AT_ONCE: Final = 100_000

_MARGIN_US: Final = 600 * 1_000_000
"""Ten minutes: longer than any worker takes from the log to its answer, or clocks are apart."""


class Position(msgspec.Struct, frozen=True):
    """Up to where a snapshot holds the answers of its worker, and what else became known.

    `unanswered` are transactions that it holds beside them: their answers could not be kept, and
    may be given later. `store` says which one the numbers are of.
    """

    sequence: int
    feed: FeedPosition
    store: str
    unanswered: list[str] = []


@dataclass(frozen=True)
class Log:
    """What is to be known of a shared log, to tell which of its entries the state holds already.

    Attributes:
        ids: of the transactions in it.
        read_at_us: when they were read. Answers given since, or shortly before, may be in it too.
    """

    ids: set[str]
    read_at_us: int


@dataclass(frozen=True)
class Recovered:
    """The state, and a sentence about where it came from.

    `held` are transactions that a shared log may hold as well: id, event time, and digest if known.
    """

    state: OnlineFeatures
    told: str
    held: list[tuple[str, int, str | None]] = field(default_factory=list)


def snapshot_path(folder: Path, worker: str) -> Path:
    """Where a worker's snapshot lies."""
    return folder / f"state-{worker}.snapshot"


def capture(state: OnlineFeatures, feed: Feed, *, sequence: int, unanswered: list[str]) -> Capture:
    """The state as it is after the answer numbered `sequence`, to be written by a thread."""
    position = Position(sequence, feed.position, repr(feed.store), unanswered)
    return Capture.of(state, msgspec.json.encode(position).decode())


def recover(
    features: FeatureSet,
    feed: Feed,
    *,
    worker: str,
    late_days: float,
    snapshot: Path | None,
    log: Log | None,
) -> Recovered:
    """The state as it was, or as it should be. Blocking.

    Args:
        features: the declarations.
        feed: names the store and the lake; its position is moved to what the state holds.
        worker: whose answers a snapshot is continued with.
        late_days: how late transactions are still remembered.
        snapshot: None does without one, as several workers do: their log is not in it.
        log: the log of several workers.

    Raises:
        StoreError: the store does not answer.
    """
    if snapshot is not None:
        try:
            found = _from_snapshot(features, feed, worker, snapshot, late_days)
        except (msgspec.MsgspecError, ValueError, ArithmeticError) as error:
            _log.warning("the snapshot %s is not used: %s", snapshot, type(error).__name__)
            found = None
        if found is not None:
            return found
    feed.position = FeedPosition()
    return _from_lake_and_store(features, feed, late_days, log)


def _from_snapshot(
    features: FeatureSet, feed: Feed, worker: str, path: Path, late_days: float
) -> Recovered | None:
    restored = restore(features, path, late_days=late_days)
    if restored is None:
        return None
    state, text = restored
    position = msgspec.json.decode(text, type=Position)
    if position.store != repr(feed.store):
        _log.warning("the snapshot %s is not used: it is of another store", path)
        return None
    held = set(position.unanswered)
    since = 0
    for answer in answers_after(feed.store, worker, position.sequence):
        if answer.transaction_id not in held:
            state.observe(transaction_of(answer))
        since += 1
    feed.position = position.feed
    return Recovered(state, f"its snapshot and {since} answers since")


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


def _from_lake_and_store(
    features: FeatureSet, feed: Feed, late_days: float, log: Log | None
) -> Recovered:
    warm = warm_state(feed.lake, features, late_days=late_days)
    feed.position = FeedPosition(label_day=warm.last_label_day, day=warm.last_day)
    newest = max([day for day in (warm.last_day, _newest_answer(feed.store)) if day], default=None)
    if newest is None:
        return Recovered(warm.state, "nothing: the lake and the store are empty")
    first = newest - timedelta(days=features.lookback_days + ceil(late_days) + 1)
    # Not what lands from now on: the feed will bring it.
    landed = [day for day in feed.lake.days(VALIDATED) if first <= day <= (warm.last_day or first)]
    known = feed.lake.read_existing(VALIDATED, landed, (TRANSACTION_ID, EVENT_TIME))
    lake_has_ids = feed.profile.columns.transaction_id is not None
    if warm.last_day is not None and not lake_has_ids:
        # Nothing tells which rows of the lake were asked about: its days are taken as they are.
        first = max(first, warm.last_day + timedelta(days=1))
    held = _in_log(known, log) if known is not None and log is not None else []
    answered = 0
    for part in _parts(feed.store, first):
        if log is not None:
            held += [
                (one.transaction_id, one.event_time_us, one.digest)
                for one in part
                if one.transaction_id in log.ids or one.scored_at_us > log.read_at_us - _MARGIN_US
            ]
        rows = _frame(part)
        # What the API was asked may have reached the lake as well, by the daily file.
        new = rows if known is None else rows.join(known, on=TRANSACTION_ID, how="anti")
        # What came too late to be remembered then is remembered now, as it is in the lake.
        warm.state.load_transactions(new.sort(EVENT_ORDER, maintain_order=True))
        answered += new.height
    return Recovered(
        warm.state,
        f"{warm.transactions} transactions of the lake and {answered} answers of the store",
        held,
    )


def _in_log(rows: pl.DataFrame, log: Log) -> list[tuple[str, int, str | None]]:
    both = rows.filter(pl.col(TRANSACTION_ID).is_in(list(log.ids)))
    times = both[EVENT_TIME].dt.epoch("us").to_list()
    return [(name, time, None) for name, time in zip(both[TRANSACTION_ID], times, strict=True)]


def _newest_answer(store: PredictionStore) -> date | None:
    found, _ = newest_answers(store, 1)
    return found[0].day if found else None


def _frame(answers: Iterable[StoredAnswer]) -> pl.DataFrame:
    rows = [
        (a.transaction_id, a.event_time_us, a.event_order_us, a.amount, a.payer_id, a.payee_id)
        for a in answers
    ]
    return pl.DataFrame(rows, schema=_SCHEMA, orient="row").with_columns(
        pl.col(EVENT_TIME).cast(pl.Datetime("us")).dt.replace_time_zone("UTC")
    )


def _parts(store: PredictionStore, first_day: date) -> Iterator[list[StoredAnswer]]:
    """The store's answers from a day on, in lists of bounded size."""
    answers = answers_since(store, first_day)
    while part := list(islice(answers, _ROWS_AT_ONCE)):  # itertools.batched: Python 3.12
        yield part
