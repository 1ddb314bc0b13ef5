"""The shared log against real Redis servers, which stop, come back empty, and lose answers."""

from __future__ import annotations

import asyncio
import json
import logging
import random
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fraud_assets.serving import redis_log, redis_outbox
from fraud_assets.serving.redis_log import GapError, SharedLog, SharedLogUnavailableError
from fraud_assets_tests.serving.redis_server import SECRET, RedisServer, Wire


class Worker:
    """A log, and what was applied of it. The result of an entry is (its own content, its place)."""

    def __init__(self, url: str, name: str = "w0", **options: Any) -> None:
        self.applied: list[bytes] = []
        self.ids: list[str] = []
        options = {"keep_entries": 100_000, "timeout_seconds": 20.0} | options
        self.log = SharedLog(url, self._apply, worker=name, **options)

    def _apply(self, stream_id: str, entry: bytes) -> tuple[bytes, int]:
        self.applied.append(entry)
        self.ids.append(stream_id)
        if entry.startswith(b"bad"):
            raise ValueError(f"cannot apply {entry!r}")
        return entry, len(self.applied)

    async def publish(self, entry: bytes) -> tuple[bytes, int]:
        return await self.log.publish(entry)

    async def publish_somehow(self, entry: bytes) -> None:
        """As the service does: what fails is sent later."""
        try:
            result = await self.log.publish(entry)
        except SharedLogUnavailableError:
            self.log.publish_later(entry)
        else:
            assert result[0] == entry


@asynccontextmanager
async def workers(*all_of_them: Worker) -> AsyncIterator[None]:
    for worker in all_of_them:
        await worker.log.open()
    try:
        yield
    finally:
        for worker in all_of_them:
            await worker.log.close()


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with RedisServer(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
def server(running: RedisServer) -> RedisServer:
    running.ask("FLUSHALL")
    return running


def run(what: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(what, 120))


async def eventually(is_so: Callable[[], object], seconds: float = 10) -> None:
    end = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < end
        await asyncio.sleep(0.005)


def commands(server: RedisServer, name: str) -> int:
    for line in server.ask("INFO", "commandstats").decode().splitlines():
        if line.startswith(f"cmdstat_{name}:"):
            return int(line.split("calls=")[1].split(",")[0])
    return 0


# --- the order -----------------------------------------------------------------------------------


def test_two_workers_apply_the_same_entries_in_the_same_order(server: RedisServer) -> None:
    async def test() -> None:
        first, second = Worker(server.url, "w0"), Worker(server.url, "w1")
        async with workers(first, second):

            async def many(worker: Worker, name: str) -> None:
                for number in range(100):
                    entries = [f"{name}{number}.{i}".encode() for i in range(3)]
                    results = await asyncio.gather(*map(worker.publish, entries))
                    assert [result[0] for result in results] == entries
                    for entry, place in results:
                        assert worker.applied[place - 1] == entry

            await asyncio.gather(many(first, "a"), many(second, "b"))
            await asyncio.gather(first.log.follow(), second.log.follow())
            assert first.applied == second.applied
            assert len(first.applied) == len(set(first.applied)) == 600
            assert first.ids == second.ids
            assert first.log.cursor == second.log.cursor == first.ids[-1]

    run(test())


PROCESS = """
import asyncio, json, sys
from fraud_assets.serving.redis_log import SharedLog
async def main(url, name):
    applied = []
    def apply(_, entry):
        applied.append(entry.decode())
        return entry
    log = SharedLog(url, apply, worker=name, keep_entries=10_000, timeout_seconds=20)
    await log.open()
    for number in range(150):
        entry = f"{name}-{number}".encode()
        assert await log.publish(entry) == entry
    while len(applied) < 300:
        await log.follow()
        await asyncio.sleep(0.005)
    await log.close()
    print(json.dumps(applied))
asyncio.run(main(*sys.argv[1:]))
"""


def test_two_processes_apply_the_same_entries_in_the_same_order(server: RedisServer) -> None:
    running = [
        subprocess.Popen(
            [sys.executable, "-c", PROCESS, server.url, name], stdout=subprocess.PIPE, text=True
        )
        for name in ("a", "b")
    ]
    first, second = [json.loads(process.communicate(timeout=60)[0]) for process in running]
    assert first == second
    assert sorted(first) == sorted(f"{name}-{number}" for name in "ab" for number in range(150))


def test_entries_of_one_tick_are_one_round_trip(server: RedisServer) -> None:
    async def test() -> None:
        worker = Worker(server.url)
        async with workers(worker):
            await worker.publish(b"warm")
            before = commands(server, "evalsha")
            await asyncio.gather(*(worker.publish(b"%d" % number) for number in range(50)))
            assert commands(server, "evalsha") == before + 1

    run(test())


def test_entries_published_during_a_call_wait_for_the_next_one(server: RedisServer) -> None:
    async def test() -> None:
        worker = Worker(server.url)
        async with workers(worker):
            await worker.publish(b"warm")
            before = commands(server, "evalsha")
            early = asyncio.ensure_future(worker.publish(b"early"))
            for _ in range(3):
                await asyncio.sleep(0)
            late = [asyncio.ensure_future(worker.publish(b"%d" % number)) for number in range(20)]
            await asyncio.gather(early, *late)
            assert commands(server, "evalsha") == before + 2
            assert worker.applied[1:] == [b"early", *(b"%d" % number for number in range(20))]

    run(test())


def test_more_entries_than_fit_in_a_call_keep_their_order(server: RedisServer) -> None:
    async def test() -> None:
        worker = Worker(server.url)
        entries = [b"%d" % number for number in range(3 * redis_log.MAX_BATCH + 7)]
        async with workers(worker):
            results = await asyncio.gather(*map(worker.publish, entries))
            assert [entry for entry, _ in results] == entries == worker.applied

    run(test())


def test_a_late_worker_reads_the_backlog_without_blocking_the_loop(server: RedisServer) -> None:
    async def test() -> None:
        first, late = Worker(server.url), Worker(server.url, "w1")
        async with workers(first):
            entries = [b"%d" % number for number in range(5_000)]
            await asyncio.gather(*map(first.publish, entries))
            turns: list[int] = []

            async def look() -> None:
                while True:
                    turns.append(len(late.applied))
                    await asyncio.sleep(0)

            looking = asyncio.ensure_future(look())
            async with workers(late):
                looking.cancel()
                assert late.applied == entries
            steps = [after - before for before, after in pairwise(turns)]
            assert max(steps) <= redis_log.SLICE

    run(test())


def test_a_worker_goes_on_at_its_cursor(server: RedisServer) -> None:
    async def test() -> None:
        first, second = Worker(server.url), Worker(server.url)
        async with workers(first):
            await first.publish(b"old")
            cursor = first.log.cursor
            await first.publish(b"new")
            await second.log.open(cursor)
            assert second.applied == [b"new"]
            # It is another process by the same name: Redis knows it by another token.
            assert (await second.publish(b"own"))[0] == b"own"
            await second.log.close()

    run(test())


def test_nothing_is_published_before_the_log_is_open(server: RedisServer) -> None:
    async def test() -> None:
        worker = Worker(server.url)
        with pytest.raises(SharedLogUnavailableError, match="not open"):
            await worker.publish(b"x")
        with pytest.raises(SharedLogUnavailableError, match="not open"):
            await worker.log.follow()
        assert not worker.log.is_available
        await worker.log.close()

    run(test())


# --- bad entries ---------------------------------------------------------------------------------


def test_an_entry_that_cannot_be_applied_fails_its_publisher_only(
    server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    async def test() -> None:
        first, second = Worker(server.url), Worker(server.url, "w1")
        async with workers(first, second):
            results = await asyncio.gather(
                *map(first.publish, [b"one", b"bad payer-77", b"two"]), return_exceptions=True
            )
            assert results[0] == (b"one", 1)
            assert isinstance(results[1], ValueError)
            assert results[2] == (b"two", 3)
            await second.log.follow()
            assert (await second.publish(b"three")) == (b"three", 4)
            assert first.log.is_available

    with caplog.at_level(logging.DEBUG):
        run(test())
    assert "cannot be applied: ValueError" in caplog.text
    assert "payer-77" not in caplog.text


def test_a_foreign_entry_in_the_stream_is_skipped(
    server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    async def test() -> None:
        worker = Worker(server.url)
        async with workers(worker):
            server.ask("XADD", "fraud_assets:log", "*", "name", "payer-77")
            assert await worker.publish(b"own") == (b"own", 1)

    run(test())
    assert "none of ours" in caplog.text
    assert "payer-77" not in caplog.text


# --- lost answers --------------------------------------------------------------------------------


def test_an_entry_whose_answer_got_lost_is_appended_and_applied_once(server: RedisServer) -> None:
    async def test() -> None:
        async with Wire(server.port) as wire:
            worker = Worker(wire.url, timeout_seconds=0.4)
            other = Worker(server.url, "w1")
            async with workers(worker, other):
                await worker.publish(b"first")
                wire.answers_pass = False
                with pytest.raises(SharedLogUnavailableError):
                    await worker.publish(b"lost")
                assert wire.swallowed > 0
                worker.log.publish_later(b"lost")
                assert worker.applied == [b"first"]
                await other.publish(b"between")
                wire.answers_pass = True
                await asyncio.sleep(redis_log.RETRY_SECONDS)
                assert await worker.publish(b"last") == (b"last", 4)
                await other.log.follow()
                assert worker.applied == other.applied == [b"first", b"lost", b"between", b"last"]
                assert worker.log.waiting == 0

    run(test())


def test_an_entry_that_never_arrived_is_sent_later_in_order(server: RedisServer) -> None:
    async def test() -> None:
        async with Wire(server.port) as wire:
            worker = Worker(wire.url, timeout_seconds=0.4)
            async with workers(worker):
                await worker.publish(b"first")
                wire.questions_pass = False
                await asyncio.gather(
                    *map(worker.publish_somehow, [b"second", b"third"]), return_exceptions=True
                )
                for entry in (b"fourth", b"fifth"):
                    await worker.publish_somehow(entry)
                assert worker.log.waiting == 4
                wire.questions_pass = True
                wire.cut()
                await asyncio.sleep(redis_log.RETRY_SECONDS)
                await worker.publish(b"last")
                assert worker.applied == [
                    b"first", b"second", b"third", b"fourth", b"fifth", b"last",
                ]  # fmt: skip

    run(test())


@pytest.mark.parametrize("arrives", [True, False])
def test_a_failed_entry_that_is_published_again_is_the_same_entry(
    server: RedisServer, arrives: bool
) -> None:
    async def test() -> None:
        async with Wire(server.port) as wire:
            worker = Worker(wire.url, timeout_seconds=0.4)
            async with workers(worker):
                await worker.publish(b"first")
                wire.answers_pass = False
                wire.questions_pass = arrives
                with pytest.raises(SharedLogUnavailableError):
                    await worker.publish(b"again")
                wire.answers_pass = wire.questions_pass = True
                wire.cut()
                await asyncio.sleep(redis_log.RETRY_SECONDS)
                assert await worker.publish(b"again") == (b"again", 2)
                await worker.log.follow()
                assert worker.applied == [b"first", b"again"]

    run(test())


def test_a_failed_entry_that_was_applied_meanwhile_has_its_result_kept(
    server: RedisServer,
) -> None:
    async def test() -> None:
        async with Wire(server.port) as wire:
            worker = Worker(wire.url, timeout_seconds=0.4)
            async with workers(worker):
                wire.answers_pass = False
                with pytest.raises(SharedLogUnavailableError):
                    await worker.publish(b"again")
                wire.answers_pass = True
                wire.cut()
                await asyncio.sleep(redis_log.RETRY_SECONDS)
                await worker.log.follow()
                assert await worker.publish(b"again") == (b"again", 1)
                await worker.publish(b"last")
                assert worker.applied == [b"again", b"last"]

    run(test())


def test_an_abandoned_entry_does_not_keep_later_ones_from_being_sent(server: RedisServer) -> None:
    async def test() -> None:
        async with Wire(server.port) as wire:
            worker = Worker(wire.url, timeout_seconds=0.4)
            async with workers(worker):
                await worker.publish(b"first")
                wire.questions_pass = False
                with pytest.raises(SharedLogUnavailableError):
                    await worker.publish(b"abandoned")
                wire.questions_pass = True
                wire.cut()
                await asyncio.sleep(redis_log.RETRY_SECONDS)
                await worker.publish(b"second")
                # Its number is older than the newest that Redis took: it gets a new one.
                worker.log.publish_later(b"abandoned")
                await worker.publish(b"third")
                assert worker.applied == [b"first", b"second", b"abandoned", b"third"]

    run(test())


def test_a_cancelled_publisher_disturbs_nobody(server: RedisServer) -> None:
    async def test() -> None:
        first, second = Worker(server.url), Worker(server.url, "w1")
        async with workers(first, second):
            tasks = [asyncio.ensure_future(first.publish(b"%d" % i)) for i in range(10)]
            await asyncio.sleep(0)
            tasks[3].cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
            assert isinstance(results[3], asyncio.CancelledError)
            assert [r[0] for r in results if isinstance(r, tuple)] == [
                b"%d" % i for i in range(10) if i != 3
            ]
            await second.log.follow()
            assert first.applied == second.applied

    run(test())


# --- Redis away ----------------------------------------------------------------------------------


def test_publishers_hear_within_the_timeout_that_redis_hangs_then_at_once(
    server: RedisServer,
) -> None:
    async def test() -> None:
        async with Wire(server.port) as wire:
            worker = Worker(wire.url, timeout_seconds=0.4)
            async with workers(worker):
                await worker.publish(b"first")
                wire.answers_pass = False
                started = time.monotonic()
                early = asyncio.ensure_future(worker.publish(b"early"))
                await asyncio.sleep(0.1)
                late = asyncio.ensure_future(worker.publish(b"late"))  # waits behind the first
                with pytest.raises(SharedLogUnavailableError):
                    await early
                assert 0.3 < time.monotonic() - started < 1.0
                with pytest.raises(SharedLogUnavailableError):
                    await late
                assert time.monotonic() - started < 1.0
                assert not worker.log.is_available
                started = time.monotonic()
                for _ in range(50):
                    with pytest.raises(SharedLogUnavailableError, match="a moment ago"):
                        await worker.publish(b"x")
                with pytest.raises(SharedLogUnavailableError, match="a moment ago"):
                    await worker.log.get_answer("x")
                assert time.monotonic() - started < 0.3
                await asyncio.sleep(redis_log.RETRY_SECONDS)
                wire.answers_pass = True
                wire.cut()
                trial = asyncio.ensure_future(worker.publish(b"trial"))
                await asyncio.sleep(0)
                with pytest.raises(SharedLogUnavailableError):  # one finds out; no other waits
                    await worker.publish(b"beside the trial")
                await trial
                assert worker.log.is_available

    run(test())


def test_a_log_of_more_entries_than_one_call_takes_is_sent_after_an_outage(
    server: RedisServer,
) -> None:
    async def test() -> None:
        async with Wire(server.port) as wire:
            worker, other = Worker(wire.url, timeout_seconds=0.4), Worker(server.url, "w1")
            entries = [b"%d" % number for number in range(1_000)]
            async with workers(worker, other):
                wire.answers_pass = wire.questions_pass = False
                for entry in entries:
                    await worker.publish_somehow(entry)
                wire.answers_pass = wire.questions_pass = True
                wire.cut()
                await asyncio.sleep(redis_log.RETRY_SECONDS)
                with pytest.raises(SharedLogUnavailableError, match="catching up"):
                    await worker.publish(b"new")
                await eventually(lambda: worker.log.is_available)
                await worker.publish(b"new")
                await other.log.follow()
                assert worker.applied == other.applied == [*entries, b"new"]

    run(test())


def test_what_finds_no_room_to_wait_is_counted(
    server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_outbox, "MAX_LATER", 3)

    async def test() -> None:
        worker = Worker(server.url)
        for number in range(5):
            worker.log.publish_later(b"%d" % number)
        assert (worker.log.waiting, worker.log.dropped) == (3, 2)
        async with workers(worker):
            assert worker.applied == [b"2", b"3", b"4"]

    run(test())


def test_what_was_never_sent_is_told_when_the_log_is_closed(
    server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    async def test() -> None:
        worker = Worker(server.url)
        worker.log.publish_later(b"payer-77")
        await worker.log.close()

    run(test())
    assert "1 entries never reached the shared log" in caplog.text
    assert "payer-77" not in caplog.text


def test_closing_fails_who_waits(server: RedisServer) -> None:
    async def test() -> None:
        async with Wire(server.port) as wire:
            worker = Worker(wire.url)
            await worker.log.open()
            wire.answers_pass = False
            waiting = asyncio.ensure_future(worker.publish(b"x"))
            await asyncio.sleep(0.05)
            await worker.log.close()
            with pytest.raises(SharedLogUnavailableError, match="closed"):
                await waiting

    run(test())


def test_opening_without_redis_says_where_it_was_looked_for(tmp_path: Path) -> None:
    async def test() -> None:
        server = RedisServer(tmp_path)
        worker = Worker(server.url)
        with pytest.raises(SharedLogUnavailableError, match=f"{server.port} cannot be reached"):
            await worker.log.open()
        with server:
            await worker.log.open()
            assert (await worker.publish(b"x")) == (b"x", 1)
            await worker.log.close()

    run(test())


def test_a_restart_of_a_durable_redis_is_not_noticed(tmp_path: Path) -> None:
    async def test() -> None:
        with RedisServer(tmp_path, durable=True) as server:
            worker = Worker(server.url)
            async with workers(worker):
                await worker.publish(b"before")
                await worker.log.put_answer("t1", b"answer", seconds=60)
                server.restart()
                assert await worker.publish(b"after") == (b"after", 2)
                assert await worker.log.get_answer("t1") == b"answer"

    run(test())


# --- Redis without the newest entries ------------------------------------------------------------


@pytest.mark.parametrize("is_refilled", [False, True])
def test_a_redis_that_came_back_empty_is_noticed_and_gone_on_with(
    tmp_path: Path, is_refilled: bool
) -> None:
    async def test() -> None:
        with RedisServer(tmp_path) as server:
            worker, other = Worker(server.url), Worker(server.url, "w1")
            async with workers(worker, other):
                await worker.publish(b"old")
                server.restart()
                if is_refilled:
                    fresh = Worker(server.url, "w2")
                    async with workers(fresh):
                        await fresh.publish(b"fresh")
                with pytest.raises(GapError, match="lost entries"):
                    await worker.publish(b"new")
                assert worker.log.lost is not None
                assert not worker.log.is_available
                worker.log.publish_later(b"new")
                with pytest.raises(GapError):
                    await worker.log.follow()
                await worker.log.open("0-0")
                assert worker.log.lost is None
                found = [b"fresh"] if is_refilled else []
                assert worker.applied == [b"old", *found, b"new"]
                assert (await worker.publish(b"newer"))[0] == b"newer"
                # The other worker had applied nothing: it has missed what the first one has.
                await other.log.follow()
                assert other.applied == [*found, b"new", b"newer"]

    run(test())


def test_a_stream_without_its_newest_entries_is_noticed(server: RedisServer) -> None:
    async def test() -> None:
        worker = Worker(server.url)
        async with workers(worker):
            await worker.publish(b"kept")
            await worker.publish(b"lost")
            server.ask("XDEL", "fraud_assets:log", worker.log.cursor)
            with pytest.raises(GapError):
                await worker.log.follow()

    run(test())


def test_a_stream_trimmed_past_the_cursor_is_noticed(server: RedisServer) -> None:
    async def test() -> None:
        first = Worker(server.url, keep_entries=1_000)
        late, early = Worker(server.url, "w1"), Worker(server.url, "w2")
        async with workers(first, late):
            await first.publish(b"old")
            await late.log.follow()
            cursor = first.log.cursor
            entries = [b"%d" % number for number in range(3_000)]
            await asyncio.gather(*map(first.publish, entries))
            kept = int(server.ask("XLEN", "fraud_assets:log").strip(b":\r\n"))
            assert 1_000 <= kept <= 1_100 + redis_log.MAX_BATCH
            with pytest.raises(GapError):
                await late.publish(b"not appended")
            with pytest.raises(GapError):
                await early.log.open(cursor)
            await early.log.open()
            assert early.applied == entries[-kept:]
            await early.log.close()

    run(test())


def test_too_few_entries_to_keep_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 1000"):
        Worker("redis://127.0.0.1", keep_entries=999)


# --- any interleaving ----------------------------------------------------------------------------

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("publish"), st.integers(0, 2), st.integers(1, 5)),
        st.tuples(st.just("follow"), st.integers(0, 2), st.just(0)),
        st.tuples(st.just("swallow"), st.integers(0, 2), st.just(0)),
        st.tuples(st.just("block"), st.integers(0, 2), st.just(0)),
        st.tuples(st.just("pass"), st.integers(0, 2), st.just(0)),
        st.tuples(st.just("cut"), st.integers(0, 2), st.just(0)),
        st.tuples(st.just("restart"), st.just(0), st.just(0)),
        st.tuples(st.just("pause"), st.just(0), st.integers(1, 30)),
    ),
    min_size=5,
    max_size=30,
)


@given(steps=STEPS, seed=st.integers(0, 1_000))
@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_after_any_outage_all_workers_have_applied_every_entry_once_in_one_order(
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
    steps: list[tuple[str, int, int]],
    seed: int,
) -> None:
    monkeypatch.setattr(redis_log, "RETRY_SECONDS", 0.02)

    async def test() -> None:
        folder = tmp_path_factory.mktemp("redis")
        with RedisServer(folder, durable=True) as server:
            async with Wire(server.port) as a, Wire(server.port) as b, Wire(server.port) as c:
                wires = [a, b, c]
                all_of_them = [
                    Worker(wire.url, f"w{number}", timeout_seconds=0.06)
                    for number, wire in enumerate(wires)
                ]
                async with workers(*all_of_them):
                    published = await interleave(server, wires, all_of_them, steps, seed)
                    for wire in wires:
                        wire.answers_pass = wire.questions_pass = True
                        wire.cut()
                    for worker in all_of_them * 2:
                        await settle(worker)
                    orders = [worker.applied for worker in all_of_them]
                    assert orders[0] == orders[1] == orders[2]
                    assert sorted(orders[0]) == sorted(published)
                    assert all_of_them[0].ids == all_of_them[2].ids

    run(test())


async def settle(worker: Worker) -> None:
    end = time.monotonic() + 20
    while True:
        try:
            await worker.log.follow()
        except GapError:
            raise
        except SharedLogUnavailableError:
            assert time.monotonic() < end
            await asyncio.sleep(0.02)
        else:
            assert worker.log.waiting == 0
            return


def disturb(wire: Wire, what: str) -> None:
    if what == "swallow":
        wire.answers_pass = False
    elif what == "block":
        wire.questions_pass = False
    else:
        if what == "pass":
            wire.answers_pass = wire.questions_pass = True
        wire.cut()


async def interleave(
    server: RedisServer,
    wires: list[Wire],
    all_of_them: list[Worker],
    steps: list[tuple[str, int, int]],
    seed: int,
) -> list[bytes]:
    chance = random.Random(seed)
    published: list[bytes] = []
    tasks: list[asyncio.Task[None]] = []

    async def follow(worker: Worker) -> None:
        with suppress(SharedLogUnavailableError):
            await worker.log.follow()

    for what, who, much in steps:
        worker = all_of_them[who]
        if what == "publish":
            for _ in range(much):
                entry = b"%d" % len(published)
                published.append(entry)
                tasks.append(asyncio.create_task(worker.publish_somehow(entry)))
        elif what == "follow":
            tasks.append(asyncio.create_task(follow(worker)))
        elif what == "restart":
            await asyncio.to_thread(server.restart)
        elif what == "pause":
            await asyncio.sleep(much / 200)
        else:
            disturb(wires[who], what)
        for _ in range(chance.randrange(6)):
            await asyncio.sleep(0)
    await asyncio.gather(*tasks)
    return published


# --- answers, secrets ----------------------------------------------------------------------------


def test_workers_find_each_others_answers_until_they_expire(server: RedisServer) -> None:
    async def test() -> None:
        first, second = Worker(server.url), Worker(server.url, "w1")
        async with workers(first, second):
            assert await second.log.get_answer("t1") is None
            before = commands(server, "evalsha") + commands(server, "eval")
            await asyncio.gather(
                first.log.put_answer("t1", b"\xff\x00 one", seconds=1),
                first.log.put_answer("t2", b"two", seconds=60),
            )
            assert commands(server, "evalsha") + commands(server, "eval") <= before + 2
            assert await second.log.get_answer("t1") == b"\xff\x00 one"
            assert await second.log.get_answer("t2") == b"two"
            await asyncio.sleep(1.1)
            assert await second.log.get_answer("t1") is None
            assert await second.log.get_answer("t2") == b"two"

    run(test())


def test_no_error_and_no_log_line_holds_the_password(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    told: list[str] = []

    async def test() -> None:
        with RedisServer(tmp_path, password=True) as server:
            worker = Worker(server.url)
            async with workers(worker):
                await worker.publish(b"x")
            wrong = server.url.replace(SECRET, f"{SECRET}-wrong")
            for url in (wrong, server.url.replace(f":{SECRET}@", "")):
                with pytest.raises(
                    SharedLogUnavailableError, match="user or the password"
                ) as error:
                    await Worker(url).log.open()
                told.append(f"{error.value!r} {error.value.__cause__!r}")
            server.kill()
            with pytest.raises(SharedLogUnavailableError) as gone:
                await Worker(server.url).log.open()
            told.append(repr(gone.value))

    with caplog.at_level(logging.DEBUG):
        run(test())
    for bad in (f"redis://user:pa#{SECRET}@host", f"redis://:{SECRET}@h:p", f"http://{SECRET}"):
        with pytest.raises(ValueError, match="cannot be read") as unread:
            Worker(bad)
        told.append(f"{unread.value!r} {unread.value.__cause__!r}")
    assert SECRET not in "".join(told) + caplog.text


def test_the_url_cannot_change_how_the_log_is_read(server: RedisServer) -> None:
    async def test() -> None:
        worker = Worker(f"{server.url}?decode_responses=True&socket_timeout=0.000001")
        async with workers(worker):
            assert await worker.publish(b"\xff") == (b"\xff", 1)

    run(test())


def test_an_error_of_redis_is_told_without_what_was_sent(server: RedisServer) -> None:
    async def test() -> None:
        worker = Worker(server.url)
        async with workers(worker):
            server.ask("SET", "fraud_assets:log", "no stream")
            with pytest.raises(SharedLogUnavailableError) as error:
                await worker.publish(b"payer-77")
            assert "ResponseError" in str(error.value)
            assert "payer-77" not in f"{error.value!r} {error.value.__context__!r}"

    run(test())
