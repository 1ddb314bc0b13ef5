"""Transactions from any database that SQLAlchemy speaks to, a day per query.

How a query is bound, streamed and made a frame belongs here; the query is the user's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from urllib.parse import quote, quote_plus

import polars as pl
import sqlalchemy as sa

from fraud_assets.transactions.sources.base import SourceError, with_source_row

_SECRET_WORDS = ("pass", "pwd", "token", "secret", "key")
_QUERY_EXAMPLE = "SELECT * FROM t WHERE paid_at >= :start AND paid_at < :end ORDER BY paid_at, id"
_DAYS_EXAMPLE = "SELECT DISTINCT CAST(paid_at AS DATE) FROM t"


@dataclass(frozen=True)
class SqlSource:
    """A query that gives the rows of `:start <= event time < :end`, both UTC midnights.

    The query says the order of arrival by its ORDER BY. On PostgreSQL the bounds are
    timestamps with time zone and the session's zone is UTC, so that columns with and without a
    zone compare right; SQLite stores text, so there they are `YYYY-MM-DD HH:MM:SS`, which sorts
    rightly beside that form, the one with a fraction and the one with a `T`; elsewhere they are
    date-times without a zone. Nothing is written, and a transaction is never committed.

    Args:
        url: SQLAlchemy's; a password in it never appears in a message or a repr.
        query: SQL with `:start` and `:end`.
        days_query: SQL whose first column is the days that have data (dates, date-times or ISO
            text); without it `days` cannot tell.
        batch_rows: rows fetched at a time; only a day's frame is held whole.
    """

    url: str = field(repr=False)
    query: str
    days_query: str | None = None
    batch_rows: int = 50_000

    def __post_init__(self) -> None:
        bound = set(sa.text(self.query).compile().params)
        if bound != {"start", "end"}:
            raise SourceError(
                f"the query binds {sorted(bound) or 'nothing'} and must bind :start and :end: "
                f"{_QUERY_EXAMPLE}; write a colon that is no parameter as \\:"
            )

    @property
    def name(self) -> str:
        """The URL without password and options, for messages."""
        return _parsed(self.url).set(query={}).render_as_string(hide_password=True)

    def days(self) -> list[date]:
        """What `days_query` gives, sorted.

        Raises:
            SourceError: there is no `days_query`, it fails, or it gives something else.
        """
        if self.days_query is None:
            raise SourceError(
                f"{self.name}: without a days_query the days are not known; give one: "
                f"{_DAYS_EXAMPLE}"
            )
        with self._connection("the days") as connection:
            values = connection.execute(sa.text(self.days_query)).scalars().all()
        return sorted({self._day(value) for value in values if value is not None})

    def read_day(self, day: date) -> pl.DataFrame:
        """The rows of a day; a day without rows has the query's columns, as text.

        A column that is null all day, or whose values are of several kinds, is text.

        Raises:
            SourceError: the database cannot be reached or refuses the query.
        """
        with self._connection(str(day)) as connection:
            result = connection.execution_options(
                stream_results=True, max_row_buffer=self.batch_rows
            ).execute(sa.text(self.query), _bounds(day, connection.dialect.name))
            names = list(result.keys())
            if len(set(names)) < len(names):
                twice = sorted({name for name in names if names.count(name) > 1})
                raise SourceError(
                    f"{self.name}: the query gives {', '.join(twice)} twice; name its columns apart"
                )
            frames = [_frame(rows, names) for rows in result.partitions(self.batch_rows)]
        whole = _stacked(frames) if frames else pl.DataFrame(schema=dict.fromkeys(names, pl.Null))
        # A null column has no type of its own; as text it can be read as whatever its role needs.
        typed = whole.with_columns(pl.col(pl.Null).cast(pl.String))
        return with_source_row(typed, self.name)

    def note(self, day: date) -> dict[str, int | str]:
        """The database and the bounds of the day."""
        bounds = _bounds(day, "sqlite")
        return {"source_database": self.name, "start": bounds["start"], "end": bounds["end"]}

    @contextmanager
    def _connection(self, what: str) -> Iterator[sa.Connection]:
        """A connection whose every failure names the database and hides the password."""
        url = _parsed(self.url)
        try:
            engine = sa.create_engine(url, poolclass=sa.NullPool)
        except (ImportError, sa.exc.SQLAlchemyError) as error:
            remedy = "install the driver or name another one"
            if url.drivername == "postgresql":
                remedy = "plain postgresql:// means psycopg 3: write postgresql+psycopg2://"
            raise SourceError(f"{self.name}: {_hidden(error, url)}; {remedy}") from None
        try:
            with engine.connect() as connection:
                if connection.dialect.name == "postgresql":
                    connection.execution_options(postgresql_readonly=True)
                    connection.execute(sa.text("SET TIME ZONE 'UTC'"))
                yield connection
        except sa.exc.SQLAlchemyError as error:
            # `from None`: a driver's own text may repeat the URL.
            raise SourceError(
                f"{self.name}, {what}: {_hidden(error, url)}; check the URL, the query and that "
                "the database is up"
            ) from None
        finally:
            engine.dispose()

    def _day(self, value: object) -> date:
        if isinstance(value, datetime):
            return value.astimezone(UTC).date() if value.tzinfo else value.date()
        if isinstance(value, date):
            return value
        try:
            return date.fromisoformat(str(value)[:10])
        except ValueError:
            raise SourceError(
                f"{self.name}: the days_query gives {value!r}, which is no day; let it give dates"
            ) from None


def _parsed(url: str) -> sa.URL:
    try:
        return sa.make_url(url)
    except sa.exc.ArgumentError:
        raise SourceError(
            "the database URL is not one of SQLAlchemy's, such as "
            "postgresql+psycopg2://user:password@host/database (it is not shown: it may hold a "
            "password)"
        ) from None


def _bounds(day: date, dialect: str) -> dict[str, Any]:
    start = datetime.combine(day, time(), UTC)
    end = start + timedelta(days=1)
    if dialect == "postgresql":
        return {"start": start, "end": end}
    if dialect == "sqlite":
        return {"start": f"{start:%Y-%m-%d %H:%M:%S}", "end": f"{end:%Y-%m-%d %H:%M:%S}"}
    return {"start": start.replace(tzinfo=None), "end": end.replace(tzinfo=None)}


def _hidden(error: BaseException, url: sa.URL) -> str:
    """What the driver said, with every secret of the URL blotted out."""
    text = str(getattr(error, "orig", None) or error).strip()
    options: Mapping[str, str | Sequence[str]] = url.query
    secrets = [
        str(value)
        for name, value in options.items()
        if any(word in name.lower() for word in _SECRET_WORDS)
    ]
    if url.password:
        secrets.append(str(url.password))
    # A message may repeat the URL, in which the secrets are written with escapes.
    secrets += [written(secret) for secret in secrets for written in (quote, quote_plus)]
    for secret in sorted(filter(None, secrets), key=len, reverse=True):
        text = text.replace(secret, "***")
    return text


def _frame(rows: Sequence[Sequence[Any]], names: list[str]) -> pl.DataFrame:
    return pl.DataFrame(
        [
            _series(name, list(values))
            for name, values in zip(names, zip(*rows, strict=True), strict=True)
        ]
    )


def _series(name: str, values: list[Any]) -> pl.Series:
    """A column of one kind; mixed values (SQLite allows them) and foreign objects are text."""
    try:
        column = pl.DataFrame({name: values}, infer_schema_length=None).to_series()
    except (TypeError, ValueError, OverflowError, pl.exceptions.PolarsError):
        column = pl.Series(name, [], dtype=pl.Object)
    return _text(name, values) if column.dtype == pl.Object else column


def _text(name: str, values: list[Any]) -> pl.Series:
    return pl.Series(name, [None if v is None else str(v) for v in values], dtype=pl.String)


def _stacked(frames: list[pl.DataFrame]) -> pl.DataFrame:
    """Batches as one frame, though their columns' types were inferred apart."""
    columns = []
    for name in frames[0].columns:
        pieces = [frame.select(name) for frame in frames]
        try:
            columns.append(pl.concat(pieces, how="vertical_relaxed"))
        except pl.exceptions.PolarsError:
            columns.append(pl.concat([piece.cast(pl.String) for piece in pieces]))
    return pl.concat(columns, how="horizontal")
