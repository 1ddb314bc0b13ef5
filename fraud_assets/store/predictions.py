"""Scores of a day: writing a day as a whole, and asking for rows again.

A day's batch scoring has one champion. So a day holds exactly the rows of its last scoring:
writing it replaces whatever was there, also the rows of an earlier champion.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from datetime import date
from typing import Any, Final

import polars as pl
from sqlalchemy import (
    Connection,
    Select,
    Text,
    case,
    cast,
    delete,
    func,
    insert,
    select,
)

from fraud_assets.store.engine import PredictionStore
from fraud_assets.store.schema import ALERT, PASS, predictions

_DAY_LOCKS: Final = 0x6672_6464
"""First half of PostgreSQL's advisory lock on a day; the day's number is the second."""

_ROWS_AT_ONCE: Final = 4_000
"""A frame is sent in slices, so that its text never lies in memory as a whole. A slice is about
what the socket to the server holds: it loads one while the next is made."""

SCHEMA: Final = pl.Schema(
    {
        "transaction_id": pl.Utf8(),
        "event_time": pl.Datetime("us", "UTC"),
        "payer_id": pl.Utf8(),
        "amount": pl.Float64(),
        "score": pl.Float64(),
        "decision": pl.Utf8(),
        "threshold": pl.Float64(),
        "reasons": pl.List(pl.Utf8()),
        "model_version": pl.Utf8(),
        "model_hash": pl.Utf8(),
    }
)
"""Columns of a frame of predictions. Only the payer may be missing (null)."""

_COLUMNS: Final = ("day", *SCHEMA)


class PredictionsRefusedError(ValueError):
    """A frame that is not one day's predictions of one model; the message says where."""


def replace_day(store: PredictionStore, day: date, frame: pl.DataFrame) -> int:
    """Make `frame` the predictions of `day`, instead of all that were there; returns its rows.

    One transaction: readers, and the next process after a crash, see the old day or the new one.
    Two writers of one day take turns. Writing the same frame twice leaves the same rows; an
    empty frame empties the day.

    Args:
        store: the store.
        day: the UTC date of every row's event time.
        frame: columns of `SCHEMA` (others are ignored), one row per transaction, one model.

    Raises:
        PredictionsRefusedError: a column is missing or of another type, a value is null, a score
            is no probability, a transaction comes twice or is of another day, or several models
            have scored. Nothing is changed then.
    """
    rows = _checked(day, frame)
    with store.writing() as connection:
        if store.dialect == "postgresql":
            connection.execute(select(func.pg_advisory_xact_lock(_DAY_LOCKS, day.toordinal())))
        connection.execute(delete(predictions).where(predictions.c.day == day))
        load = _copy if store.dialect == "postgresql" else _insert_many
        load(connection, _stored_form(day, rows))
    return rows.height


def read_day(store: PredictionStore, day: date) -> pl.DataFrame:
    """The predictions of a day with the columns of `SCHEMA`, by event time, then transaction.

    A day that was never scored gives no rows.
    """
    found = _fetch(store, _rows().where(predictions.c.day == day))
    return found.drop("day").sort("event_time", "transaction_id")


def get(store: PredictionStore, transaction_id: str) -> dict[str, Any] | None:
    """The latest prediction of a transaction (`day` and the columns of `SCHEMA`), or None."""
    query = _rows().where(predictions.c.transaction_id == transaction_id)
    found = _fetch(store, query.order_by(predictions.c.day.desc()).limit(1))
    return None if found.is_empty() else found.row(0, named=True)


def counts_by_day(
    store: PredictionStore, first_day: date | None = None, last_day: date | None = None
) -> pl.DataFrame:
    """How much was scored: `day`, `model_version`, `predictions`, `alerts`; oldest first.

    Reads every row of the range; give one where the store is large.
    """
    table = predictions.c
    alerts = func.sum(case((table.decision == ALERT, 1), else_=0))
    within = [table.day >= first_day] if first_day is not None else []
    if last_day is not None:
        within.append(table.day <= last_day)
    query = (
        select(table.day, table.model_version, func.count(), alerts)
        .where(*within)
        .group_by(table.day, table.model_version)
        .order_by(table.day)
    )
    with store.reading() as connection:
        rows = [tuple(row) for row in connection.execute(query)]
    schema = {
        "day": pl.Date(),
        "model_version": pl.Utf8(),
        "predictions": pl.Int64(),
        "alerts": pl.Int64(),
    }
    return pl.DataFrame(rows, schema=schema, orient="row")


def _rows() -> Select[Any]:
    table = predictions.c
    # Text, because Polars parses a column of lists much faster than Python a list at a time.
    reasons = cast(table.reasons, Text).label("reasons")
    return select(*(reasons if name == "reasons" else table[name] for name in _COLUMNS))


def _fetch(store: PredictionStore, query: Select[Any]) -> pl.DataFrame:
    with store.reading() as connection:
        rows = [tuple(row) for row in connection.execute(query)]
    stored = {"day": pl.Date(), **SCHEMA, "reasons": pl.Utf8()}
    frame = pl.DataFrame(rows, schema=stored, orient="row")
    return frame.with_columns(pl.col("reasons").str.json_decode(SCHEMA["reasons"]))


def _checked(day: date, frame: pl.DataFrame) -> pl.DataFrame:
    """The columns of `SCHEMA`, once every promise about them is found kept."""

    def refuse(problem: str) -> PredictionsRefusedError:
        return PredictionsRefusedError(f"predictions of {day.isoformat()} are refused: {problem}")

    missing = [name for name in SCHEMA if name not in frame.columns]
    if missing:
        raise refuse(f"columns {missing} are missing")
    zone = frame.schema["event_time"]
    if not isinstance(zone, pl.Datetime) or zone.time_zone != "UTC":
        raise refuse(f"event_time is {zone}, not a time in UTC")
    try:
        rows = frame.select(pl.col(name).cast(dtype) for name, dtype in SCHEMA.items())
    except pl.exceptions.PolarsError as error:
        raise refuse(f"a column has the wrong type: {error}") from error
    rows = rows.with_columns(pl.col("reasons").fill_null([]))
    for name in SCHEMA:
        if name != "payer_id" and rows[name].null_count():
            raise refuse(f"{name} is missing in {rows[name].null_count()} rows")
    problems = {
        "rows are of another day": pl.col("event_time").dt.date() != day,
        "scores are not between 0 and 1": ~pl.col("score").is_between(0.0, 1.0),
        "amounts or thresholds are not finite": ~(
            pl.col("amount").is_finite() & pl.col("threshold").is_finite()
        ),
        f"decisions are neither '{ALERT}' nor '{PASS}'": ~pl.col("decision").is_in([ALERT, PASS]),
        "transactions come more than once": pl.col("transaction_id").is_duplicated(),
        # PostgreSQL has no such text, and what one store takes the other must take as well.
        "texts hold a NUL character": pl.any_horizontal(
            pl.col(pl.Utf8).str.contains("\0", literal=True).fill_null(value=False)
        ),
    }
    counts = rows.select(condition.sum().alias(name) for name, condition in problems.items())
    for problem, count in counts.row(0, named=True).items():
        if count:
            raise refuse(f"{count} {problem}")
    if rows.select("model_version", "model_hash").n_unique() > 1:
        raise refuse("they come from more than one model, but a day has one champion")
    return rows


def _stored_form(day: date, rows: pl.DataFrame) -> pl.DataFrame:
    """The rows as both databases take them as text, in the order of the key.

    In that order every index but one is filled from left to right, which halves a bulk load.
    """
    reasons = rows["reasons"]
    texts = pl.Series("reasons", ["[]"]).new_from_index(0, rows.height)
    given = (reasons.list.len() > 0).arg_true()  # alerts only: the rest needs no encoding
    if len(given):
        encoded = [json.dumps(item, ensure_ascii=False) for item in reasons.gather(given).to_list()]
        texts = texts.scatter(given, pl.Series(encoded, dtype=pl.Utf8))
    return (
        rows.with_columns(
            pl.lit(day).alias("day"),
            pl.col("event_time").dt.strftime("%Y-%m-%d %H:%M:%S%.6f"),
            texts.alias("reasons"),
        )
        .select(_COLUMNS)
        .sort("transaction_id")
    )


def _parts(rows: pl.DataFrame) -> Iterator[pl.DataFrame]:
    return rows.iter_slices(_ROWS_AT_ONCE)


class _CsvStream:
    """What psycopg2 reads the rows from.

    Polars writes null as nothing and empty text as `""`, which is what COPY's CSV means by them.
    """

    def __init__(self, rows: pl.DataFrame) -> None:
        self._parts = _parts(rows)
        self._text = io.BytesIO()
        self.error: Exception | None = None

    def read(self, size: int) -> bytes:
        """The next bytes; none at the end."""
        try:
            while not (found := self._text.read(size)):
                part = next(self._parts, None)
                if part is None:
                    return b""
                self._text = io.BytesIO()
                in_utc = part.with_columns(pl.col("event_time") + "+00:00")
                in_utc.write_csv(self._text, include_header=False)
                self._text.seek(0)
        except Exception as error:
            self.error = error
            raise
        return found


def _copy(connection: Connection, rows: pl.DataFrame) -> None:
    """Load by COPY: the server parses the text, no statement per row."""
    statement = (
        f"COPY {predictions.name} ({', '.join(_COLUMNS)}) "
        "FROM STDIN WITH (FORMAT csv, NULL '', ENCODING 'utf8')"
    )
    stream = _CsvStream(rows)
    with _driver(connection).cursor() as cursor:
        try:
            cursor.copy_expert(statement, stream, size=1 << 16)
        except Exception:
            if stream.error is not None:  # psycopg2 makes it an error of the server's
                raise stream.error from None
            raise


def _insert_many(connection: Connection, rows: pl.DataFrame) -> None:
    """Load by one prepared statement on the driver's connection, within the transaction."""
    statement = str(insert(predictions).compile(dialect=connection.dialect))
    names = predictions.columns.keys()
    for part in _parts(rows):
        values = part.select(names).with_columns(pl.col("day").cast(pl.Utf8))
        _driver(connection).executemany(statement, values.iter_rows())


def _driver(connection: Connection) -> Any:  # noqa: ANN401 - sqlite3's or psycopg2's own
    raw = connection.connection.driver_connection
    if raw is None:
        raise RuntimeError("the connection was closed within its transaction")
    return raw
