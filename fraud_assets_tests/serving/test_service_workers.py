"""Several workers that share their transactions through a real Redis."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest

from fraud_assets.serving.history import AskedElsewhereError
from fraud_assets.serving.requests import ConflictError, digest_of
from fraud_assets.serving.service import ScoringService
from fraud_assets.settings import Settings
from fraud_assets_tests.serving.redis_server import RedisServer
from fraud_assets_tests.serving.service_world import (
    World,
    answers_of,
    make_world,
    request_of,
    requests_of,
    running,
    settings_in,
)


@pytest.fixture(scope="module")
def world() -> World:
    return make_world()


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    folder = tmp_path / "redis"
    folder.mkdir()
    server = RedisServer(folder)
    server.start()
    yield server
    server.kill()


@pytest.fixture
def settings(registered, tmp_path: Path, redis: RedisServer, world: World) -> Iterator[Settings]:
    registered.registry.set_alias("champion", registered.versions["xgboost"])
    found = settings_in(
        tmp_path, registered.registry.tracking_uri, redis_url=redis.url, workers=2,
        remembered_answers=1_000,
    )  # fmt: skip
    world.write(found.lake_root, world.days[:2])
    yield found
    registered.registry.remove_alias("champion")


@asynccontextmanager
async def two(settings: Settings) -> AsyncIterator[tuple[ScoringService, ScoringService]]:
    async with running(settings, "w0") as one, running(settings, "w1") as other:
        yield one, other


def live(world: World) -> pl.DataFrame:
    return pl.concat([world.transactions[day] for day in world.days[2:5]])


def size(service: ScoringService) -> int:
    return service._answering.history.state.size


async def caught_up(*services: ScoringService) -> None:
    for service in services:
        await service._answering.history.follow()


def test_two_workers_answer_as_one_would(
    settings: Settings, world: World, tmp_path: Path, registered
) -> None:
    requests = requests_of(live(world))
    alone = settings_in(tmp_path / "alone", registered.registry.tracking_uri)
    world.write(alone.lake_root, world.days[:2])

    async def by_turns() -> list:
        async with two(settings) as services:
            return [
                (await services[number % 2].score(request))[0]
                for number, request in enumerate(requests)
            ]

    async def by_one() -> list:
        async with running(alone) as service:
            return await answers_of(service, requests)

    together, single = asyncio.run(by_turns()), asyncio.run(by_one())
    assert {one.worker for one in together} == {"w0", "w1"}
    assert [(a.score, a.event_order_us) for a in together] == [
        (a.score, a.event_order_us) for a in single
    ]


def test_a_transaction_asked_again_at_the_other_worker_has_its_answer(
    settings: Settings, world: World
) -> None:
    row = live(world).row(0, named=True)

    async def run() -> None:
        async with two(settings) as (one, other):
            answer, _ = await one.score(request_of(row))
            assert await other.score(request_of(row)) == (answer, True)
            with pytest.raises(ConflictError):
                await other.score(request_of(row, amount=row["amount"] + 1))
            await caught_up(one, other)
            assert size(one) == size(other)

    asyncio.run(run())


def test_both_asked_at_once_give_one_answer(settings: Settings, world: World) -> None:
    requests = requests_of(live(world))[:40]

    async def run() -> None:
        async with two(settings) as (one, other):
            before = size(one)
            found = await asyncio.gather(
                *(service.score(request) for request in requests for service in (one, other))
            )
            await caught_up(one, other)
            assert size(one) == size(other) == before + len(requests)
        for first, second in zip(found[::2], found[1::2], strict=True):
            assert first[0] == second[0]
            assert {first[1], second[1]} == {True, False}

    asyncio.run(run())


def test_a_worker_that_starts_again_counts_nothing_twice(settings: Settings, world: World) -> None:
    rows = pl.concat([world.transactions[day] for day in world.days[2:9]])
    assert rows.height > settings.api.remembered_answers
    late = settings.api.model_copy(update={"late_days": 20.0})
    settings = settings.model_copy(update={"api": late})

    async def run() -> None:
        async with running(settings, "w0") as one:
            async with running(settings, "w1") as other:
                # In reverse, so that the newest by event time are not the newest in the log.
                requests = requests_of(rows)
                await answers_of(other, requests[1_200:])
                await answers_of(other, requests[:1_200])
            async with running(settings, "w1") as again:
                await caught_up(one, again)
                assert size(again) == size(one)

    asyncio.run(run())


def test_while_redis_is_away_the_rules_answer_and_nothing_is_lost_to_the_state(
    settings: Settings, world: World, redis: RedisServer
) -> None:
    requests = requests_of(live(world))

    async def run() -> None:
        async with two(settings) as (one, other):
            before, _ = await one.score(requests[0])
            await caught_up(other)
            redis.kill()
            away, _ = await one.score(requests[1])
            assert one.readiness() == []
            assert "Redis" in one.degraded[0]
            redis.start()
            async with asyncio.timeout(20):
                while one.degraded or other.degraded:
                    await asyncio.sleep(0.05)
            back, _ = await one.score(requests[2])
            assert [a.served_by for a in (before, away, back)] == ["champion", "rules", "champion"]
            assert "does not answer" in (away.fallback or "")
            assert await other.score(requests[1]) == (away, True)
            await caught_up(one, other)
            assert size(one) == size(other)

    asyncio.run(run())


def test_what_a_dead_worker_was_asked_another_answers_with_what_it_saw(
    settings: Settings, world: World
) -> None:
    request = requests_of(live(world))[0]

    async def run() -> None:
        async with two(settings) as (one, other):
            # Appended by a worker that dies before it answers.
            transaction = one._answering._rules.read(request, datetime.now(UTC))
            seen = await one._answering.history.observe(transaction, digest_of(transaction))
            await caught_up(other)
            before = size(other)
            answer, repeated = await other.score(request)
            assert not repeated
            assert (answer.served_by, answer.event_order_us) == ("champion", seen.event_order_us)
            assert size(other) == before
            with pytest.raises(AskedElsewhereError):
                await other._answering.history.observe(transaction, digest_of(transaction))

    asyncio.run(run())


def test_one_worker_after_several_knows_what_all_of_them_were_asked(
    settings: Settings, world: World
) -> None:
    single = settings.model_copy(
        update={"api": settings.api.model_copy(update={"redis_url": None, "workers": 1})}
    )
    requests = requests_of(live(world))[:60]

    async def run() -> None:
        async with running(single, "w0"):
            pass  # leaves a snapshot of before
        async with two(settings) as (one, other):
            await answers_of(one, requests[:30])
            await answers_of(other, requests[30:])
            expected = size(other)
        async with running(single, "w0") as service:
            assert size(service) == expected

    asyncio.run(run())
