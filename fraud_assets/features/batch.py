"""Features of whole days, computed by DuckDB from the declarations compiled to Ibis.

Which rows reach the engine, and putting its answers in order, belong here; what a feature means
is said in `definitions` and `semantics`, and how it is computed in `expressions`.

Days are computed in chunks, to bound the memory. A chunk reads, for each window, three stretches
of history: rows that are in the window of some of the chunk's rows only (*edge*), rows that are
in the window of all of them (*carried*), and the chunk itself. Carried rows enter as one total
per entity, which makes a day by itself cheap: a 7-day window frames two days of rows, not eight.
Totals are integers, so that no choice of chunks alters a bit.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import polars as pl

from fraud_assets.features.definitions import (
    CalendarFeature,
    FeatureDefinition,
    FeatureSet,
    LabelHistory,
)
from fraud_assets.features.expressions import KNOWN, POSITION, Source, chunk_expression, measures_of
from fraud_assets.features.semantics import DAY_US, window_reach_us
from fraud_assets.transactions.columns import (
    AMOUNT,
    EVENT_ORDER,
    EVENT_TIME,
    LABEL,
    LABEL_KNOWN_AT,
    PAYEE,
    PAYER,
    TRANSACTION_ID,
)

if TYPE_CHECKING:
    import duckdb

CHUNK_ROWS = 1_000_000
"""Rows to compute at once, unless a single day has more: about 1 GB beside the input."""

Integers = npt.NDArray[np.int64]


class FeatureInputError(ValueError):
    """Transactions that features cannot be computed from: a column is missing, or the order."""


def _usable_us(delay_days: int) -> pl.Expr:
    return pl.max_horizontal(
        pl.col(EVENT_TIME).dt.epoch("us") + delay_days * DAY_US,
        pl.col(LABEL_KNOWN_AT).dt.epoch("us"),
    )


def label_events(labels: pl.DataFrame, delay_days: int) -> pl.DataFrame:
    """When each label may be used: `payer_id`, `payee_id`, `known_us` (Int64), `label`, `amount`.

    `known_us` is the later of `event_time + delay_days` and `label_known_at`, in microseconds
    since the epoch. Sorted by it. Every label row is one event, also if a transaction has several.
    """
    events = labels.select(PAYER, PAYEE, _usable_us(delay_days).alias(KNOWN), LABEL, AMOUNT)
    return events.sort(KNOWN, maintain_order=True)


def compute_features(
    feature_set: FeatureSet,
    transactions: pl.DataFrame,
    labels: pl.DataFrame,
    days: Sequence[date],
    *,
    threads: int | None = None,
    chunk_rows: int = CHUNK_ROWS,
) -> pl.DataFrame:
    """The features of every transaction of `days`, point in time.

    Args:
        feature_set: the declarations.
        transactions: canonical transactions, sorted by `event_order_us`, of the days and of
            `feature_set.lookback_days` before each. Days missing there count as empty.
        labels: labels by the day they became known, of the days and of
            `feature_set.label_lookback_days` before each; any order.
        days: the days to compute, in any order; they need not be consecutive.
        threads: threads of DuckDB; all cores if None.
        chunk_rows: rows to compute at once; changes memory and time, and no value.

    Returns:
        One row per transaction of `days`, sorted by `event_order_us`: `transaction_id`,
        `event_time`, `event_order_us`, `payer_id`, `amount` (Float64) and the features
        (Float32; categories Utf8; null where missing).

    Raises:
        FeatureInputError: a required column is missing, or the rows are not in order.
    """
    _check(feature_set, transactions)
    history = _History.of(feature_set, transactions, labels)
    empty = _assemble(feature_set, transactions.clear(), {})
    with _connection(threads) as connection:
        parts = [
            _compute_chunk(connection, feature_set, transactions, history, span)
            for span in _chunks(transactions[EVENT_TIME], days, chunk_rows)
        ]
    return pl.concat([empty, *parts])  # not rechunked: that would hold the result twice


def _check(feature_set: FeatureSet, transactions: pl.DataFrame) -> None:
    missing = [c for c in feature_set.required_columns if c not in transactions.columns]
    if missing:
        raise FeatureInputError(
            f"transactions lack {', '.join(missing)}: pass the columns that validation writes"
        )
    order, times = transactions[EVENT_ORDER], transactions[EVENT_TIME]
    if not times.is_sorted() or (transactions.height > 1 and not (order.diff()[1:] > 0).all()):
        raise FeatureInputError(
            f"transactions are not strictly in order of {EVENT_ORDER}: sort them, and make the key "
            "over all days at once"
        )


def _microseconds(day: date) -> int:
    midnight = datetime(day.year, day.month, day.day, tzinfo=UTC)
    return (midnight - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


def _chunks(times: pl.Series, days: Sequence[date], chunk_rows: int) -> list[tuple[int, int]]:
    """Stretches of consecutive days as (first row, row after the last), empty ones left out."""
    epoch: Integers = times.dt.epoch("us").to_numpy()
    found: list[tuple[int, int]] = []
    previous: date | None = None
    for day in sorted(set(days)):
        bounds = [_microseconds(day), _microseconds(day) + DAY_US]
        start, stop = (int(i) for i in np.searchsorted(epoch, bounds, side="left"))
        adjacent = previous is not None and day - previous == timedelta(days=1)
        if adjacent and found and stop - found[-1][0] <= chunk_rows:
            found[-1] = (found[-1][0], stop)
        elif stop > start:
            found.append((start, stop))
        previous = day
    return found


def _entity_ids(ids: pl.Series) -> pl.Series:
    """Ids as 64-bit integers (null stays null), as windows over text cost half as much again.

    Two among a million entities share a hash with a chance of 3e-8. A hash needs no dictionary
    of all ids, which would cost more than the windows of a single day.
    """
    hashed = ids.hash(seed=0).reinterpret(signed=True)
    return hashed if ids.null_count() == 0 else hashed.set(ids.is_null(), None)


@dataclass(frozen=True)
class _Stream:
    """Rows in the order of `keys`: entity ids as integers, and what the measures add up."""

    keys: Integers
    frame: pl.DataFrame

    def between(self, first_us: int, end_us: int) -> pl.DataFrame:
        """The rows with first_us <= key < end_us, without a copy."""
        start, stop = np.searchsorted(self.keys, [first_us, end_us], side="left")
        return self.frame.slice(int(start), int(stop - start))


@dataclass(frozen=True)
class _History:
    """All that windows read: the transactions, and the label events of the risk features."""

    transactions: _Stream
    labels: _Stream | None

    @classmethod
    def of(
        cls, feature_set: FeatureSet, transactions: pl.DataFrame, labels: pl.DataFrame
    ) -> _History:
        used = {key for d in feature_set.definitions for m in measures_of(d) for key in m.keys}
        entities = sorted(used)
        ids = [_entity_ids(transactions[name]) for name in entities]
        frame = transactions.select(EVENT_ORDER, AMOUNT).with_columns(ids)
        stream = _Stream(frame[EVENT_ORDER].to_numpy(), frame)
        delays = {d.delay_days for d in feature_set.definitions if isinstance(d, LabelHistory)}
        if not delays:
            return cls(stream, None)
        # ids are hashed before the sort, which then moves 33 bytes a row and no text
        told = labels.select(_usable_us(max(delays)).alias(EVENT_ORDER), LABEL, AMOUNT)
        told = told.with_columns([_entity_ids(labels[name]) for name in entities]).sort(EVENT_ORDER)
        return cls(stream, _Stream(told[EVENT_ORDER].to_numpy(), told))


def _compute_chunk(
    connection: duckdb.DuckDBPyConnection,
    feature_set: FeatureSet,
    transactions: pl.DataFrame,
    history: _History,
    span: tuple[int, int],
) -> pl.DataFrame:
    start, stop = span
    own = transactions.slice(start, stop - start)
    positions = pl.int_range(stop - start, dtype=pl.Int32, eager=True).alias(POSITION)
    columns: dict[str, pl.Series] = {}
    calendar = tuple(d for d in feature_set.definitions if isinstance(d, CalendarFeature))
    if calendar:
        rows = own.select(EVENT_TIME).with_columns(positions)
        columns |= _run(connection, calendar, rows, None, own.height)
    groups: dict[tuple[Source, tuple[str, ...]], list[FeatureDefinition]] = defaultdict(list)
    for definition in feature_set.definitions:
        for measure in measures_of(definition)[:1]:
            groups[measure.source, measure.keys].append(definition)
    asking = history.transactions.frame.slice(start, stop - start).with_columns(positions)
    for (source, keys), definitions in groups.items():
        wanted = [EVENT_ORDER, *keys, POSITION, *([AMOUNT] if source == "transactions" else [])]
        asked = asking.select(wanted).drop_nulls(keys)
        if asked.height == 0:
            continue
        past = history.transactions if source == "transactions" else history.labels
        if past is None:  # pragma: no cover - groups of labels exist only with label features
            raise AssertionError("label features without label events")
        for batch in _batches(definitions, asked, past, source, keys):
            columns |= _run(connection, batch.definitions, batch.rows, batch.carried, own.height)
    return _assemble(feature_set, own, columns)


@dataclass(frozen=True)
class _Batch:
    """Features that are computed by one query, and the rows that it reads."""

    definitions: tuple[FeatureDefinition, ...]
    rows: pl.DataFrame
    carried: pl.DataFrame | None


def _batches(
    definitions: Sequence[FeatureDefinition],
    asked: pl.DataFrame,
    past: _Stream,
    source: Source,
    keys: tuple[str, ...],
) -> Iterator[_Batch]:
    """One query for all windows without carried rows, and one for each window with some."""
    first = int(asked[EVENT_ORDER][0])
    last = int(asked[EVENT_ORDER][-1])
    present = asked.select(keys).unique()

    def stretch(first_us: int, end_us: int) -> pl.DataFrame:
        found = past.between(first_us, end_us).drop_nulls(keys)
        return found.join(present, on=keys, how="semi") if found.height else found

    def rows_from(first_us: int, end_us: int) -> pl.DataFrame:
        parts = [stretch(first_us, end_us)]
        if source == "labels":  # labels that become usable while the chunk goes on
            parts.append(stretch(first, last + 1))
        before = pl.concat(parts).with_columns(pl.lit(-1, pl.Int32).alias(POSITION))
        values = (AMOUNT,) if source == "transactions" else (LABEL, AMOUNT)
        both = pl.concat([asked, before], how="diagonal")
        return both.select(EVENT_ORDER, *keys, POSITION, *values)

    by_window: dict[int, list[FeatureDefinition]] = defaultdict(list)
    for definition in definitions:
        by_window[measures_of(definition)[0].window_days].append(definition)
    together = [w for w in by_window if last - window_reach_us(w) >= first]
    if together:
        chosen = tuple(d for w in together for d in by_window[w])
        yield _Batch(chosen, rows_from(first - window_reach_us(max(together)), first), None)
    for window in (w for w in by_window if w not in together):
        edge = last - window_reach_us(window)
        yield _Batch(
            tuple(by_window[window]),
            rows_from(first - window_reach_us(window), edge),
            stretch(edge, first),
        )


@lru_cache(maxsize=256)
def _sql(
    definitions: tuple[FeatureDefinition, ...],
    columns: tuple[tuple[str, str], ...],
    *,
    carries: bool,
) -> str:
    """DuckDB's SQL for `chunk_expression`; kept, as compiling takes as long as a small day."""
    import ibis

    rows = ibis.table(dict(columns), name="chunk_rows")
    past = {name: kind for name, kind in columns if name != POSITION}
    carried = ibis.table(past, name="carried_rows") if carries else None
    return str(ibis.to_sql(chunk_expression(definitions, rows, carried), dialect="duckdb"))


_IBIS_TYPES = {
    EVENT_TIME: "timestamp(6)",
    EVENT_ORDER: "int64",
    AMOUNT: "float64",
    LABEL: "int8",
    POSITION: "int32",
    PAYER: "int64",
    PAYEE: "int64",
}


def _run(
    connection: duckdb.DuckDBPyConnection,
    definitions: tuple[FeatureDefinition, ...],
    rows: pl.DataFrame,
    carried: pl.DataFrame | None,
    height: int,
) -> dict[str, pl.Series]:
    """One query's features as full columns; rows that it did not answer for are null."""
    columns = tuple((name, _IBIS_TYPES[name]) for name in rows.columns)
    has_carried = carried is not None and carried.height > 0
    if EVENT_TIME in rows.columns:
        rows = rows.with_columns(pl.col(EVENT_TIME).dt.replace_time_zone(None))
    connection.register("chunk_rows", rows.to_arrow())
    if carried is not None and has_carried:
        names = [name for name in rows.columns if name != POSITION]
        connection.register("carried_rows", carried.select(names).to_arrow())
    answer: Any = connection.sql(_sql(definitions, columns, carries=has_carried)).to_arrow_table()
    positions = answer.column(POSITION).to_numpy()
    found: dict[str, pl.Series] = {}
    for definition in definitions:
        values = np.full(height, np.nan, dtype=np.float32)
        values[positions] = answer.column(definition.name).to_numpy()
        found[definition.name] = pl.Series(definition.name, values, nan_to_null=True)
    return found


def _assemble(
    feature_set: FeatureSet, own: pl.DataFrame, columns: dict[str, pl.Series]
) -> pl.DataFrame:
    """The output for the rows `own`: computed columns, and those that are passed through."""
    identity = [TRANSACTION_ID, EVENT_TIME, EVENT_ORDER, PAYER, AMOUNT]
    features: list[pl.Expr] = []
    for definition in feature_set.definitions:
        name = definition.name
        if name in identity:
            continue
        if name in columns:
            features.append(pl.lit(columns[name]).alias(name))
        elif isinstance(definition, CalendarFeature) or measures_of(definition):
            features.append(pl.lit(None, pl.Float32).alias(name))
        else:
            kind = pl.String if definition.is_categorical else pl.Float32
            features.append(pl.col(name).cast(kind))
    return own.select(*identity, *features)


@contextmanager
def _connection(threads: int | None) -> Iterator[duckdb.DuckDBPyConnection]:
    import duckdb

    # Answers are put in order by their positions, so DuckDB need not keep the order of its input.
    config: dict[str, str | int] = {"preserve_insertion_order": "false"}
    if threads is not None:
        config["threads"] = threads
    connection = duckdb.connect(":memory:", config=config)
    try:
        yield connection
    finally:
        connection.close()
