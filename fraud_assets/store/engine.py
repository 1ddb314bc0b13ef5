"""Opening the store: URLs, connections, transactions, and what is said when that fails.

No query on a table of the store belongs here. SQLAlchemy is imported where it is used, so that
this module can be imported when Dagster loads the definitions.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

if TYPE_CHECKING:
    from sqlalchemy import URL, Connection, Engine

LOCK_TIMEOUT_SECONDS: Final = 30
"""How long a writer waits for another one before it gives up."""

_SQLITE_OUTAGES: Final = frozenset(
    (
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_INTERRUPT,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_PROTOCOL,
        sqlite3.SQLITE_NOTADB,
    )
)

_POSTGRESQL_OUTAGES: Final = (
    "08",  # connection exceptions
    "25006",  # read-only, as a stand-by that has not taken over yet
    "40",  # deadlocks and their like
    "53",  # disk full, out of memory, too many connections
    "55P03",  # a lock that was not to be had in time
    "57",  # shutting down, starting up, cancelled
    "58",  # errors of the system under the server
)
"""Beginnings of SQLSTATE codes."""

SPARE_CONNECTIONS: Final = 45
"""Beside five that stay open, to PostgreSQL: the API answers up to forty slow routes at once, and
its writer must not wait for them."""

POOL_TIMEOUT_SECONDS: Final = 10.0

_BEGIN_OPTION: Final = "fraud_assets_begin"
_MIGRATE: Final = "fraud_assets.store.migrate.migrate(url)"


class StoreError(RuntimeError):
    """The store cannot be used as asked; the message holds the remedy and never a password."""


class StoreUnavailableError(StoreError):
    """The database cannot be reached, broke off, is full, or is locked by another process."""


class SchemaMismatchError(StoreError):
    """The database's tables are missing, or older or newer than this code."""


class PredictionStore:
    """A database with the tables of `schema`, named by a SQLAlchemy URL.

    Constructing it only reads the URL; the first use connects and checks the schema's revision.
    SQLite (`sqlite:////path/to/store.db`) allows one writer at a time, and any number of readers
    beside it. PostgreSQL goes through psycopg2; `postgresql://` is understood as that.

    Raises:
        StoreError: the URL cannot be read, or names a database that is not supported.
    """

    def __init__(self, url: str) -> None:
        self._url = read_url(url)
        self._schema_is_checked = False

    def __repr__(self) -> str:
        return f"PredictionStore({describe_url(self._url)!r})"

    @property
    def dialect(self) -> str:
        """`sqlite` or `postgresql`."""
        return self._url.get_backend_name()

    @cached_property
    def _engine(self) -> Engine:
        return open_engine(self._url)

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A connection for questions; each statement sees only what was committed.

        Raises:
            StoreUnavailableError: the database cannot be reached.
            SchemaMismatchError: its tables are not those of this code.
        """
        with self._transaction("DEFERRED") as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """A connection whose changes are committed at the end, or undone by any exception.

        In SQLite the write lock is taken at once: a transaction that begins by reading and wants
        to write later is refused without waiting when another writer came between.

        Raises:
            StoreUnavailableError: the database cannot be reached or stays locked.
            SchemaMismatchError: its tables are not those of this code.
        """
        with self._transaction("IMMEDIATE") as connection:
            yield connection

    def dispose(self) -> None:
        """Close the pooled connections; the store can be used again afterwards."""
        if "_engine" in self.__dict__:
            self._engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.dispose()

    @contextmanager
    def _transaction(self, mode: str) -> Iterator[Connection]:
        if not self._schema_is_checked and _file_is_missing(self._url):
            # Connecting would leave an empty file behind.
            raise SchemaMismatchError(_no_tables(self._url))
        with begin(self._engine, mode) as connection:
            if not self._schema_is_checked:
                self._check_schema(connection)
            yield connection

    def _check_schema(self, connection: Connection) -> None:
        from fraud_assets.store.schema import HEAD_REVISION

        found = read_revision(connection)
        if found == HEAD_REVISION:
            self._schema_is_checked = True
            return
        place = describe_url(self._url)
        if found is None:
            raise SchemaMismatchError(_no_tables(self._url))
        from fraud_assets.store.migrate import known_revisions

        if found in known_revisions():
            raise SchemaMismatchError(
                f"the store {place} is at schema {found}, older than this code's {HEAD_REVISION}: "
                f"bring it up to date with {_MIGRATE}"
            )
        raise newer_schema(self._url, found)


def read_url(url: str) -> URL:
    """Parse and normalise a store's URL.

    Raises:
        StoreError: it is no URL, or names something else than a SQLite file or PostgreSQL.
    """
    from sqlalchemy import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        # The cause is dropped on purpose: it may quote the text, with the password in it.
        raise StoreError(
            "the store's URL cannot be read: expected sqlite:////path/to/store.db or "
            "postgresql://user:password@host:5432/name"
        ) from None
    if parsed.drivername in ("postgres", "postgresql"):
        # SQLAlchemy 2.1 would take psycopg 3, which dagster-postgres cannot work with.
        return parsed.set(drivername="postgresql+psycopg2")
    if parsed.drivername == "postgresql+psycopg2":
        return parsed
    if parsed.drivername in ("sqlite", "sqlite+pysqlite"):
        if parsed.database in (None, "", ":memory:"):
            raise StoreError("the store needs a file: sqlite:////path/to/store.db")
        return parsed
    raise StoreError(
        f"the store cannot be kept in '{parsed.drivername}': use sqlite or postgresql+psycopg2"
    )


def describe_url(url: URL) -> str:
    """The URL for messages: without the password, and without options that could hold one."""
    shown = {name: value for name, value in url.query.items() if name in ("host", "port")}
    return url.set(query=shown).render_as_string(hide_password=True)


def open_engine(url: URL) -> Engine:
    """An engine that is set up for the store; it does not connect yet.

    Raises:
        StoreError: the driver for PostgreSQL is not installed.
    """
    from sqlalchemy import create_engine, event

    options: dict[str, Any] = {
        # Errors end up in logs; payers and amounts do not belong there.
        "hide_parameters": True,
        # Sorted and strict, so that equal content gives equal text, and NaN is an error here
        # rather than invalid JSON in the database.
        "json_serializer": lambda value: json.dumps(
            value, ensure_ascii=False, sort_keys=True, allow_nan=False
        ),
    }
    if url.get_backend_name() == "postgresql":
        ours = {
            "connect_timeout": 10,
            "options": "-c timezone=UTC",
            # A server that is cut off without a word is given up within a minute.
            "keepalives_idle": 20,
            "keepalives_interval": 10,
            "keepalives_count": 3,
            "tcp_user_timeout": 60_000,
        }
        connect = {name: value for name, value in ours.items() if name not in url.query}
        options |= {"pool_pre_ping": True, "connect_args": connect}
        options |= {"max_overflow": SPARE_CONNECTIONS, "pool_timeout": POOL_TIMEOUT_SECONDS}
    else:
        options |= {"connect_args": {"timeout": LOCK_TIMEOUT_SECONDS}}
    try:
        engine = create_engine(url, **options)
    except ImportError as error:
        raise StoreError(
            "PostgreSQL needs psycopg2: install it with `pip install 'fraud-assets[postgres]'`"
        ) from error
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
    return engine


@contextmanager
def begin(engine: Engine, mode: str = "IMMEDIATE") -> Iterator[Connection]:
    """A transaction on a new connection; `mode` is SQLite's.

    Raises:
        StoreUnavailableError: the database cannot be reached, stays locked, or fails in the middle
            of the transaction. That is undone then, unless it was the commit that was not answered.
    """
    from sqlalchemy.exc import DatabaseError, OperationalError
    from sqlalchemy.exc import TimeoutError as PoolTimeoutError

    place = describe_url(engine.url)
    try:
        connection = engine.connect()
    except PoolTimeoutError as error:
        raise StoreUnavailableError(
            f"all connections to the store {place} are in use; try again, or ask for less at once"
        ) from error
    except DatabaseError as error:
        raise StoreUnavailableError(
            f"the store {place} cannot be opened: {first_line(error)}; check that the server "
            "runs (or that the folder exists and is writable) and that the URL is right"
        ) from error
    try:
        with connection:
            connection = connection.execution_options(**{_BEGIN_OPTION: mode})
            try:
                transaction = connection.begin()
            except OperationalError as error:
                raise StoreUnavailableError(
                    f"the store {place} is in use: {first_line(error)} for {LOCK_TIMEOUT_SECONDS} "
                    "seconds; let the other writer end, then try again"
                ) from error
            with transaction:
                yield connection
    except Exception as error:
        if not is_outage(error):
            raise
        # Without its cause: PostgreSQL quotes the line of a COPY that it was at, payer and all.
        raise StoreUnavailableError(
            f"the store {place} failed in the middle of a transaction: {first_line(error)}; check "
            "that the server runs and that its disk has space, then try again"
        ) from None


def is_outage(error: BaseException) -> bool:
    """Whether a database's error comes from its state, and not from what it was asked.

    What an outage refused may be tried again as it is. The error may be SQLAlchemy's or the
    driver's own.
    """
    cause = getattr(error, "orig", None) or error
    if isinstance(cause, sqlite3.Error):
        # The upper bytes tell more about the kind. Some errors are Python's, without a code.
        return getattr(cause, "sqlite_errorcode", 0) & 0xFF in _SQLITE_OUTAGES
    if type(cause).__module__.partition(".")[0] != "psycopg2":
        return False
    state = getattr(cause, "pgcode", None)
    if state is None:
        # No answer of the server's: the connection is broken. A subclass of these would be about
        # the statement.
        return type(cause).__name__ in ("OperationalError", "InterfaceError", "DatabaseError")
    return str(state).startswith(_POSTGRESQL_OUTAGES)


def read_revision(connection: Connection) -> str | None:
    """The schema revision that the database is at; None where there are no tables yet.

    Raises:
        StoreUnavailableError: what was opened is no database, or may not be read.
    """
    from sqlalchemy import inspect, text
    from sqlalchemy.exc import DatabaseError

    from fraud_assets.store.schema import VERSION_TABLE

    try:
        if not inspect(connection).has_table(VERSION_TABLE):
            return None
    except DatabaseError as error:  # SQLite looks into the file only now
        place = describe_url(connection.engine.url)
        raise StoreUnavailableError(
            f"the store {place} cannot be read: {first_line(error)}; name another file or database"
        ) from error
    found = connection.execute(text(f"SELECT version_num FROM {VERSION_TABLE}"))  # noqa: S608  # nosec B608
    value = found.scalar_one_or_none()
    return None if value is None else str(value)


def newer_schema(url: URL, found: str) -> SchemaMismatchError:
    """What to raise for a database at a revision that this code does not have."""
    from fraud_assets.store.schema import HEAD_REVISION

    return SchemaMismatchError(
        f"the store {describe_url(url)} is at schema {found}, which this code (schema "
        f"{HEAD_REVISION}) does not know: a newer fraud-assets wrote it; install that version here"
    )


def _prepare_sqlite(raw: Any, _record: Any) -> None:  # noqa: ANN401 - the driver's own types
    # Without this, sqlite3 begins transactions by itself, and not around DDL.
    raw.isolation_level = None
    raw.execute("PRAGMA foreign_keys = ON")
    # Some builds default to NORMAL, which loses the last commits in a power cut. The store holds
    # the only copy of labels and promotions, and answers leave the journal once they are here.
    raw.execute("PRAGMA synchronous = FULL")


def _begin_sqlite(connection: Connection) -> None:
    mode = connection.get_execution_options().get(_BEGIN_OPTION, "DEFERRED")
    connection.exec_driver_sql(f"BEGIN {mode}")


def _file_is_missing(url: URL) -> bool:
    if url.get_backend_name() != "sqlite":
        return False
    name = str(url.database)
    return not name.startswith("file:") and not Path(name).exists()


def _no_tables(url: URL) -> str:
    return f"the store {describe_url(url)} has no tables yet: create them with {_MIGRATE}"


def first_line(error: Exception) -> str:
    """What a database's error says, without the statement and its parameters."""
    cause = getattr(error, "orig", None) or error
    return str(cause).strip().split("\n", maxsplit=1)[0]
