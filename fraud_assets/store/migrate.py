"""Bringing a database to the schema of this code.

Only the running of migrations belongs here; what they do stands in `migrations/versions`.
A new migration is a file there, a new `schema.HEAD_REVISION`, and the change in `schema`.
"""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from sqlalchemy import URL, Engine, func, select

from fraud_assets.store.engine import (
    LOCK_TIMEOUT_SECONDS,
    StoreUnavailableError,
    begin,
    describe_url,
    newer_schema,
    open_engine,
    read_revision,
    read_url,
)
from fraud_assets.store.schema import HEAD_REVISION

if TYPE_CHECKING:
    from alembic.config import Config

_MIGRATION_LOCK: Final = 0x6672_6175
"""Key of PostgreSQL's advisory lock: any constant that no one else uses."""


def migrate(url: str) -> bool:
    """Create the store's tables, or bring them up to date; returns whether anything was done.

    A SQLite file and its folder are made if needed. An up-to-date database is left with one
    query. Processes that start together wait for each other, and all but one find nothing to do.
    The whole change is one transaction: it is there, or it is not.

    Raises:
        StoreError: the URL is not usable.
        StoreUnavailableError: the database cannot be reached or stays locked.
        SchemaMismatchError: the database was written by a newer version of this code.
    """
    parsed = read_url(url)
    if parsed.get_backend_name() == "sqlite" and not str(parsed.database).startswith("file:"):
        folder = Path(str(parsed.database)).parent
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreUnavailableError(
                f"the folder {folder} of the store cannot be made: {error.strerror}; choose one "
                "that this user may write to"
            ) from error
    engine = open_engine(parsed)
    try:
        with begin(engine, "DEFERRED") as connection:
            if read_revision(connection) == HEAD_REVISION:
                return False
        return _upgrade(engine, parsed)
    finally:
        engine.dispose()


def known_revisions() -> list[str]:
    """The migrations that come with this code, newest first."""
    from alembic.script import ScriptDirectory

    scripts = ScriptDirectory.from_config(_config())
    return [script.revision for script in scripts.walk_revisions()]


def _upgrade(engine: Engine, url: URL) -> bool:
    from alembic import command

    if engine.dialect.name == "sqlite":
        _write_ahead(engine)
    with begin(engine, "IMMEDIATE") as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(select(func.pg_advisory_xact_lock(_MIGRATION_LOCK)))
        found = read_revision(connection)  # again: another process may have been faster
        if found == HEAD_REVISION:
            return False
        if found is not None and found not in known_revisions():
            raise newer_schema(url, found)
        config = _config()
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
    return True


def _config() -> Config:
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", "fraud_assets.store:migrations")
    config.set_main_option("path_separator", "os")
    return config


def _write_ahead(engine: Engine) -> None:
    """Let readers and the writer of a SQLite file work side by side; the file remembers it.

    The switch needs the file for itself, and SQLite does not wait for that as it does elsewhere:
    two processes that start together would meet "database is locked".
    """
    deadline = time.monotonic() + LOCK_TIMEOUT_SECONDS
    raw = engine.raw_connection()
    try:
        while True:
            try:
                raw.cursor().execute("PRAGMA journal_mode = WAL")
            except sqlite3.OperationalError as error:
                if "locked" not in str(error) or time.monotonic() > deadline:
                    raise StoreUnavailableError(
                        f"the store {describe_url(engine.url)} cannot be prepared: {error}; check "
                        "that it is writable and that no other program holds it"
                    ) from error
                time.sleep(0.02)
            else:
                return
    finally:
        raw.close()
