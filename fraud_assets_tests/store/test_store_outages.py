from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from datetime import UTC, date, datetime
from pathlib import Path

import polars as pl
import pytest
from sqlalchemy import Connection, text
from sqlalchemy.exc import DatabaseError

from fraud_assets.store import engine, predictions
from fraud_assets.store.answers import StoredAnswer, get_answer, insert_answers
from fraud_assets.store.engine import PredictionStore, StoreUnavailableError
from fraud_assets.store.labels import append_labels, labels_after
from fraud_assets.store.migrate import migrate
from fraud_assets.store.predictions import read_day, replace_day

DAY = date(2024, 3, 5)
MakeAnswer = Callable[..., StoredAnswer]
MakeDay = Callable[..., pl.DataFrame]


@contextmanager
def unavailable(said: str) -> Iterator[None]:
    """Expects an outage that names the store and gives a remedy, and quotes no row."""
    with pytest.raises(StoreUnavailableError, match=said) as failed:
        yield
    assert "try again" in str(failed.value)
    assert "payer" not in str(failed.value)
    assert failed.value.__cause__ is None
    assert failed.value.__suppress_context__


@pytest.fixture
def sqlite(tmp_path: Path) -> Iterator[PredictionStore]:
    url = f"sqlite:///{tmp_path}/store.db"
    migrate(url)
    with PredictionStore(url) as store:
        yield store


@pytest.fixture
def postgresql(request: pytest.FixtureRequest, postgresql_server: str) -> Iterator[PredictionStore]:
    admin = PredictionStore(postgresql_server)._engine.execution_options(
        isolation_level="AUTOCOMMIT"
    )
    with admin.connect() as connection:
        connection.execute(text("CREATE DATABASE outages"))
    url = postgresql_server.replace("/postgres?", "/outages?")
    migrate(url)
    with PredictionStore(url) as store:
        yield store
    with admin.connect() as connection:
        connection.execute(text("DROP DATABASE outages WITH (FORCE)"))
    admin.dispose()


def terminate(connection: Connection) -> None:
    """The server ends the session, as when it is shut down."""
    pid = connection.execute(text("SELECT pg_backend_pid()")).scalar_one()
    with connection.engine.connect() as other:
        other.execute(text(f"SELECT pg_terminate_backend({pid}, 5000)"))


def cut(connection: Connection) -> None:
    """The network goes away, without a word from the server."""
    descriptor = connection.connection.driver_connection.fileno()
    with socket.socket(fileno=descriptor) as line:
        line.shutdown(socket.SHUT_RDWR)
        line.detach()


@pytest.mark.parametrize("breaks", [terminate, cut])
def test_a_connection_that_breaks_within_a_transaction_is_an_outage_and_the_next_one_works(
    postgresql: PredictionStore, answer_of: MakeAnswer, breaks: Callable[[Connection], None]
) -> None:
    for using in (postgresql.reading, postgresql.writing):
        with unavailable("failed in the middle of a transaction"), using() as connection:
            breaks(connection)
            connection.execute(text("SELECT 1"))
        assert insert_answers(postgresql, [answer_of(using.__name__)]).inserted == 1


@pytest.mark.parametrize("breaks", [terminate, cut])
def test_a_connection_that_breaks_before_the_commit_is_an_outage(
    postgresql: PredictionStore, breaks: Callable[[Connection], None]
) -> None:
    with unavailable("middle of a transaction"), postgresql.writing() as connection:
        connection.execute(text("DELETE FROM answers"))
        breaks(connection)


@pytest.mark.parametrize("breaks", [terminate, cut])
def test_a_connection_that_breaks_within_a_bulk_load_leaves_the_old_day(
    postgresql: PredictionStore,
    day_frame: MakeDay,
    breaks: Callable[[Connection], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    replace_day(postgresql, DAY, day_frame(DAY, 50))
    copy = predictions._copy

    def break_and_copy(connection: Connection, rows: pl.DataFrame) -> None:
        breaks(connection)
        copy(connection, rows)

    monkeypatch.setattr(predictions, "_copy", break_and_copy)
    with unavailable("middle of a transaction"):
        replace_day(postgresql, DAY, day_frame(DAY, 90))
    assert read_day(postgresql, DAY).height == 50


def test_a_server_that_runs_out_of_something_is_an_outage(postgresql: PredictionStore) -> None:
    with unavailable("temp_file_limit|statement timeout"), postgresql.writing() as connection:
        connection.execute(text("SET LOCAL temp_file_limit = 0"))
        connection.execute(text("SET LOCAL work_mem = '64kB'"))
        connection.execute(
            text("SELECT count(*) FROM (SELECT n FROM generate_series(1, 90000) n ORDER BY -n) t")
        )
    with unavailable("statement timeout"), postgresql.writing() as connection:
        connection.execute(text("SET LOCAL statement_timeout = 20"))
        connection.execute(text("SELECT pg_sleep(5)"))
    with unavailable("read-only"), postgresql.writing() as connection:
        connection.execute(text("SET TRANSACTION READ ONLY"))
        connection.execute(text("DELETE FROM answers"))


def test_a_full_disk_under_sqlite_is_an_outage_and_nothing_is_lost(
    sqlite: PredictionStore, answer_of: MakeAnswer
) -> None:
    insert_answers(sqlite, [answer_of("before")])
    batch = [answer_of(f"t{n}", reasons=["x" * 500]) for n in range(500)]
    with sqlite.writing() as connection:  # the pool has one connection, which keeps the limit
        pages = connection.execute(text("PRAGMA page_count")).scalar_one()
        connection.execute(text(f"PRAGMA max_page_count = {pages + 5}"))
    with unavailable("database or disk is full"):
        insert_answers(sqlite, batch)
    assert get_answer(sqlite, "t0") is None
    with sqlite.writing() as connection:
        connection.execute(text("PRAGMA max_page_count = 1000000"))
    assert insert_answers(sqlite, batch).inserted == 500
    assert get_answer(sqlite, "before") is not None


def test_a_bulk_load_onto_a_full_disk_under_sqlite_is_an_outage(
    sqlite: PredictionStore, day_frame: MakeDay
) -> None:
    replace_day(sqlite, DAY, day_frame(DAY, 50))
    with sqlite.writing() as connection:
        pages = connection.execute(text("PRAGMA page_count")).scalar_one()
        connection.execute(text(f"PRAGMA max_page_count = {pages + 5}"))
    with unavailable("full"):
        replace_day(sqlite, DAY, day_frame(DAY, 9_000))
    assert read_day(sqlite, DAY).height == 50


def test_a_sqlite_file_that_may_only_be_read_or_is_locked_or_broken_is_an_outage(
    sqlite: PredictionStore, answer_of: MakeAnswer, tmp_path: Path
) -> None:
    insert_answers(sqlite, [answer_of(f"t{n}") for n in range(100)])
    with unavailable("readonly"), sqlite.writing() as connection:
        connection.execute(text("PRAGMA query_only = ON"))
        connection.execute(text("DELETE FROM answers"))
    sqlite.dispose()
    with (
        PredictionStore(f"sqlite:///{tmp_path}/store.db") as other,
        unavailable("locked"),
        sqlite.reading() as connection,  # which then writes, though another one came between
    ):
        connection.execute(text("SELECT count(*) FROM answers")).scalar_one()
        insert_answers(other, [answer_of("between")])
        connection.execute(text("DELETE FROM answers"))
    sqlite.dispose()
    path = tmp_path / "store.db"
    size = path.stat().st_size
    path.write_bytes(path.read_bytes()[:4096] + b"\x7f" * (size - 4096))
    with (
        pytest.raises(StoreUnavailableError, match=r"malformed|not a database"),
        PredictionStore(f"sqlite:///{path}") as broken,
    ):
        get_answer(broken, "t1")


def test_a_statement_that_is_wrong_is_no_outage(store: PredictionStore) -> None:
    for wrong in ("SELECT * FROM nowhere", "SELEKT 1"):
        with pytest.raises(DatabaseError), store.writing() as connection:
            connection.execute(text(wrong))
    with pytest.raises(ZeroDivisionError), store.writing():
        _ = 1 / 0


def test_a_long_reader_and_a_writer_do_not_hold_each_other_up(
    store: PredictionStore,
    store_url: str,
    answer_of: MakeAnswer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("fraud_assets.store.engine.LOCK_TIMEOUT_SECONDS", 0.2)
    count = text("SELECT count(*) FROM answers")
    insert_answers(store, [answer_of(f"t{n}") for n in range(300)])
    with PredictionStore(store_url) as other:
        with store.reading() as connection:  # a read that goes on
            rows = connection.execution_options(stream_results=True, max_row_buffer=10).execute(
                text("SELECT transaction_id FROM answers")
            )
            rows.fetchone()
            assert insert_answers(other, [answer_of("new")]).inserted == 1
            assert len(rows.fetchall()) == 299  # as of when it began
        with other.writing() as connection:  # a write that goes on
            connection.execute(text("DELETE FROM answers"))
            started = time.perf_counter()
            assert get_answer(store, "new") == answer_of("new")
            with store.reading() as reader:
                assert reader.execute(count).scalar_one() == 301
            assert time.perf_counter() - started < 0.2
        with store.reading() as reader:
            assert reader.execute(count).scalar_one() == 0


def test_what_sqlite_has_committed_outlives_a_power_cut(sqlite: PredictionStore) -> None:
    with sqlite.reading() as connection:
        assert connection.execute(text("PRAGMA journal_mode")).scalar_one() == "wal"
        assert connection.execute(text("PRAGMA synchronous")).scalar_one() == 2  # FULL


def test_a_reader_of_labels_passes_over_none_that_is_committed_later(
    postgresql: PredictionStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    noon = datetime(2024, 3, 5, 12, tzinfo=UTC)
    word = {"event_time": noon, "labelled_at": noon, "label": 1, "author": "ada"}
    begun = PredictionStore.writing
    slow_first = iter([0.5, 0.0])

    @contextmanager
    def slowly(self: PredictionStore) -> Iterator[Connection]:
        with begun(self) as connection:
            yield connection
            time.sleep(next(slow_first))  # after the statement, before the commit

    monkeypatch.setattr(PredictionStore, "writing", slowly)
    with ThreadPoolExecutor(2) as pool:
        pool.submit(append_labels, postgresql, [word | {"transaction_id": "slow"}])
        time.sleep(0.2)
        pool.submit(append_labels, postgresql, [word | {"transaction_id": "quick"}])
        seen, last_id, end = [], 0, time.monotonic() + 5
        while len(seen) < 2 and time.monotonic() < end:
            for number, label in labels_after(postgresql, last_id, 10):
                last_id = number
                seen.append(label.transaction_id)
            time.sleep(0.02)
    assert seen == ["slow", "quick"]


def test_when_all_connections_are_in_use_the_store_is_away_for_now(
    postgresql: PredictionStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "SPARE_CONNECTIONS", 0)
    monkeypatch.setattr(engine, "POOL_TIMEOUT_SECONDS", 0.1)
    with PredictionStore(postgresql._url) as small, ExitStack() as held:
        for _ in range(5):
            held.enter_context(small.reading())
        with pytest.raises(StoreUnavailableError, match="all connections"):
            held.enter_context(small.reading())
