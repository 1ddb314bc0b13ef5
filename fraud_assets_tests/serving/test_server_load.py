"""What happens to a server under load: it is killed, its model changes, its database goes away."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from fraud_assets.store.answers import get_answer, newest_answers
from fraud_assets.store.engine import PredictionStore
from fraud_assets_tests.serving.postgres_server import PostgresServer
from fraud_assets_tests.serving.service_world import DAYS, World, make_world
from fraud_assets_tests.serving.test_serving_server import Served, serve

__all__ = ["serve"]

CONNECTIONS = 16
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def world() -> World:
    return make_world()


def transaction(number: int) -> dict[str, Any]:
    return {
        "transaction_id": f"load-{number}",
        "event_time": datetime.now(UTC).isoformat(),
        "amount": 10.0 + number % 90,
        "payer_id": f"C{number % 50}",
        "payee_id": f"M{number % 20}",
        "kind": "PAYMENT",
    }


class Load:
    """Connections that send one new transaction after another and keep what they are answered."""

    def __init__(self, port: int) -> None:
        self.asked: dict[str, dict[str, Any]] = {}
        self.answered: dict[str, dict[str, Any]] = {}
        self.failed: list[str] = []
        self._port = port
        self._running = True
        self._number = 0

    async def _send(self) -> None:
        url = f"http://127.0.0.1:{self._port}"
        async with httpx.AsyncClient(base_url=url, timeout=20, trust_env=False) as client:
            while self._running:
                told = transaction(self._number)
                self._number += 1
                self.asked[told["transaction_id"]] = told
                try:
                    answer = await client.post("/v1/score", json=told)
                except httpx.TransportError as error:
                    self.failed.append(type(error).__name__)
                    return
                if answer.status_code == 200:
                    self.answered[told["transaction_id"]] = answer.json()
                else:
                    self.failed.append(f"{answer.status_code}: {answer.text}")

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        async with asyncio.TaskGroup() as group:
            for _ in range(CONNECTIONS):
                group.create_task(self._send())
            yield
            self._running = False

    async def until(self, count: int) -> None:
        """Wait for so many more answers."""
        wanted = len(self.answered) + count
        async with asyncio.timeout(60):
            while len(self.answered) < wanted:
                await asyncio.sleep(0.02)


def check_stored(url: str, load: Load) -> None:
    """Every answer that was given is in the store, as it was given."""
    with PredictionStore(url) as store:
        stored = {one.transaction_id: one for one in newest_answers(store, 100_000)[0]}
    missing = set(load.answered) - set(stored)
    assert not missing
    for name, answer in load.answered.items():
        assert stored[name].score == answer["probability"]
        assert stored[name].model_version == answer["model_version"]


@pytest.fixture
def environment(world: World, registered, tmp_path: Path) -> dict[str, str]:
    """A champion in force and a lake of days."""
    registry = registered.registry
    registry.set_alias("champion", registered.versions["xgboost"])
    world.write(str(tmp_path / "data" / "lake"), world.days[:DAYS])
    yield {
        "FRAUD_MLFLOW_TRACKING_URI": registry.tracking_uri,
        "FRAUD_REGISTERED_MODEL": "fraud",
    }
    registry.remove_alias("champion")


def test_a_server_that_is_killed_has_lost_no_answer_that_it_gave(
    serve: Callable[..., Served], environment: dict[str, str], tmp_path: Path
) -> None:
    loads = []
    for wait in (20, 300, 111):
        served = serve(**environment)
        served.until_ready()
        for load in loads:
            # Asked again after the kill, the answer is the one that was given before it.
            for name in list(load.answered)[-5:]:
                again = served.client.post("/v1/score", json=load.asked[name]).json()
                assert again == load.answered[name] | {"repeated": True}
        load = Load(served.port)
        load._number = 100_000 * len(loads)

        async def kill(load: Load = load, served: Served = served, wait: int = wait) -> None:
            async with load.running():
                await load.until(wait)
                served.process.send_signal(signal.SIGKILL)

        asyncio.run(kill())
        assert served.process.wait(10) == -signal.SIGKILL
        assert len(load.answered) >= wait
        loads.append(load)
        served.close()
    last = serve(**environment)
    last.until_ready()
    assert last.stop() == 0
    for load in loads:
        check_stored(f"sqlite:///{tmp_path / 'data' / 'store.db'}", load)


def test_the_alias_moves_under_load_and_no_request_fails(
    serve: Callable[..., Served], environment: dict[str, str], registered
) -> None:
    served = serve(**environment)
    served.until_ready()
    load = Load(served.port)
    versions = [registered.versions[family] for family in ("lightgbm", "xgboost") * 3]

    async def move() -> None:
        async with load.running():
            for version in versions:
                await asyncio.to_thread(registered.registry.set_alias, "champion", version)
                async with asyncio.timeout(30):
                    while list(load.answered.values())[-1:] == [] or (
                        list(load.answered.values())[-1]["model_version"] != version
                    ):
                        await asyncio.sleep(0.02)

    asyncio.run(move())
    assert load.failed == []
    assert {one["served_by"] for one in load.answered.values()} == {"champion"}
    assert {one["model_version"] for one in load.answered.values()} == set(versions)
    assert served.stop() == 0


@pytest.fixture
def database() -> Iterator[PostgresServer]:
    # Not under pytest's folder: as root the server runs as a user of its own, who cannot enter it.
    with tempfile.TemporaryDirectory(prefix="load-pg-") as folder:
        Path(folder).chmod(0o755)
        running = PostgresServer(Path(folder))
        try:
            yield running
        finally:
            running.stop()


def test_postgresql_goes_away_under_load_and_no_answer_is_refused_or_lost(
    serve: Callable[..., Served], environment: dict[str, str], database: PostgresServer
) -> None:
    served = serve(**environment, FRAUD_STORE_URL=database.url)
    served.until_ready()
    load = Load(served.port)

    async def interrupt() -> None:
        async with load.running():
            for _ in range(2):
                await load.until(200)
                await asyncio.to_thread(database.stop)
                await load.until(300)
                await asyncio.to_thread(database.start)
            await load.until(200)

    asyncio.run(interrupt())
    assert load.failed == []
    assert served.stop() == 0
    check_stored(database.url, load)
    with PredictionStore(database.url) as store:
        assert get_answer(store, "load-0") is not None
