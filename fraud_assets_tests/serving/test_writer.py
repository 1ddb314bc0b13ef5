from __future__ import annotations

import asyncio
import json
import stat
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fraud_assets.serving.journal import Journal
from fraud_assets.serving.writer import AnswerWriter
from fraud_assets.store.answers import (
    ShadowScore,
    StoredAnswer,
    answers_after,
    get_answer,
    insert_answers,
)
from fraud_assets.store.engine import PredictionStore, StoreUnavailableError
from fraud_assets.store.migrate import migrate
from fraud_assets.store.schema import shadow_scores
from fraud_assets_tests.serving.postgres_server import PostgresServer


def answer(number: int, **changes: object) -> StoredAnswer:
    values: dict[str, object] = {
        "transaction_id": f"tx-{number}",
        "event_time_us": 1_760_000_000_000_000 + number,
        "event_order_us": 1_760_000_000_000_000 + number,
        "amount": 10.1 + number,
        "payer_id": f"payer-{number % 9}",
        "extras": {"distance": 1.5, "country": "DE"},
        "score": 0.1,
        "decision": "pass",
        "threshold": 0.5,
        "reasons": ["new payee"],
        "model_version": "1",
        "model_hash": "hash",
        "served_by": "champion",
        "digest": f"digest-{number}",
        "worker": "w0",
        "sequence": number,
        "scored_at_us": 1_760_000_000_000_000 + number,
    }
    return StoredAnswer(**values | changes)


def answers_of(numbers: range) -> list[StoredAnswer]:
    return [answer(number) for number in numbers]


def append(journal: Journal, answers: list[StoredAnswer]) -> None:
    async def go() -> None:
        for one in answers:
            await journal.append(one)

    asyncio.run(go())


def stored(store: PredictionStore) -> list[StoredAnswer]:
    return list(answers_after(store, "w0", -1))


def refused_in(journal: Journal) -> list[dict[str, str]]:
    return [json.loads(line) for line in (journal.folder / "refused.jsonl").open()]


def within(seconds: float, condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


@pytest.fixture
def store(tmp_path: Path) -> Iterator[PredictionStore]:
    url = f"sqlite:///{tmp_path}/store.db"
    migrate(url)
    with PredictionStore(url) as opened:
        yield opened


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    opened = Journal(tmp_path / "journal", "w0", segment_bytes=5_000)
    opened.open(1)
    yield opened
    opened.close()


@pytest.fixture
def server() -> Iterator[PostgresServer]:
    # Not under pytest's folder: as root the server runs as a user of its own, who cannot enter it.
    with tempfile.TemporaryDirectory(prefix="writer-pg-") as folder:
        Path(folder).chmod(0o755)
        running = PostgresServer(Path(folder))
        try:
            yield running
        finally:
            running.stop()


def test_what_is_appended_while_it_runs_is_stored_in_order_and_nothing_is_left(store, journal):
    writer = AnswerWriter(store, journal, max_batch=7, interval_seconds=0.01)
    writer.start()
    append(journal, answers_of(range(100)))
    assert writer.stop(10)
    assert stored(store) == answers_of(range(100))
    assert writer.status.stored == 100
    assert writer.status.waiting == 0
    journal.close()
    assert [path.name for path in journal.folder.iterdir()] == ["lock"]


def test_the_segment_being_written_is_kept_while_the_stored_ones_are_removed(store, journal):
    append(journal, answers_of(range(40)))
    assert len(journal.segments()) > 3
    writer = AnswerWriter(store, journal)
    assert writer.store_leftovers() == 40
    (current,) = journal.segments()
    assert journal.extent(current)[1] is False
    append(journal, answers_of(range(40, 41)))
    assert writer.store_leftovers() == 1
    assert stored(store) == answers_of(range(41))


def test_closing_keeps_the_last_segment_if_a_part_of_it_is_not_stored(store, journal, tmp_path):
    append(journal, answers_of(range(3)))
    writer = AnswerWriter(store, journal)
    writer.store_leftovers()
    append(journal, answers_of(range(3, 5)))
    assert writer.status.waiting == 2
    assert not writer.stop(1)
    journal.close()
    again = Journal(tmp_path / "journal", "w0")
    again.open(1)
    assert again.take_sequence() == 5
    AnswerWriter(store, again).store_leftovers()
    assert stored(store) == answers_of(range(5))
    assert again.segments() == []
    again.close()


def test_a_crash_between_the_commit_and_the_removal_stores_nothing_twice(store, journal):
    append(journal, answers_of(range(30)))
    insert_answers(store, answers_of(range(20)))
    writer = AnswerWriter(store, journal, max_batch=8)
    writer.store_leftovers()
    assert stored(store) == answers_of(range(30))
    assert writer.status.waiting == writer.status.conflicting == writer.status.refused == 0


def test_a_refused_record_is_set_aside_and_the_others_are_stored(store, journal):
    bad = {7: answer(7, payer_id="a\0b"), 8: answer(8, score=7.0), 20: answer(20, decision="no")}
    append(journal, [bad.get(number, answer(number)) for number in range(30)])
    writer = AnswerWriter(store, journal, max_batch=10)
    assert writer.store_leftovers() == 27
    assert [one.sequence for one in stored(store)] == [n for n in range(30) if n not in bad]
    assert writer.status.refused == 3
    assert writer.status.waiting == 0
    refused = refused_in(journal)
    assert [json.loads(one["record"])["sequence"] for one in refused] == list(bad)
    assert all(one["reason"] for one in refused)
    assert stat.S_IMODE((journal.folder / "refused.jsonl").stat().st_mode) == 0o600


def test_a_good_answer_beside_a_refused_one_of_the_same_id_is_stored(store, journal):
    append(journal, [answer(1, score=7.0), answer(1), answer(2)])
    writer = AnswerWriter(store, journal)
    assert writer.store_leftovers() == 2
    assert stored(store) == [answer(1), answer(2)]
    assert writer.status.refused == 1


def test_broken_lines_within_a_leftover_are_set_aside_and_counted(store, journal):
    append(journal, answers_of(range(5)))
    (path,) = journal.segments()
    lines = path.read_bytes().splitlines(keepends=True)
    left = path.with_name("0000000000.jsonl")  # a segment that an earlier process has left
    left.write_bytes(b"".join([*lines[:2], b'{"half": \n', b"\0\0\n", *lines[2:], lines[0][:50]]))
    path.unlink()
    writer = AnswerWriter(store, journal, max_batch=2)
    assert writer.store_leftovers() == 5
    assert stored(store) == answers_of(range(5))
    assert writer.status.refused == 2
    assert [one["record"] for one in refused_in(journal)] == ['{"half": ', "\0\0"]
    assert not left.exists()


def test_an_answer_that_contradicts_the_store_is_counted_and_set_aside(store, journal):
    insert_answers(store, [answer(3, digest="another", amount=1.0)])
    append(journal, answers_of(range(6)))
    writer = AnswerWriter(store, journal)
    assert writer.store_leftovers() == 5
    assert writer.status.conflicting == 1
    assert get_answer(store, "tx-3").digest == "another"
    (refused,) = refused_in(journal)
    assert json.loads(refused["record"])["digest"] == "digest-3"


def test_shadow_scores_are_stored_beside_the_answers_or_alone(store, journal):
    def shadow(number: int, score: float = 0.5) -> ShadowScore:
        return ShadowScore(
            transaction_id=f"tx-{number}",
            event_time_us=1_760_000_000_000_000,
            model_version="2",
            score=score,
            decision="alert",
            scored_at_us=1_760_000_000_000_000,
        )

    writer = AnswerWriter(store, journal, interval_seconds=0.01)
    writer.add_shadow(shadow(1))
    writer.add_shadow(shadow(2, score=9.0))  # is dropped, and holds nothing up
    append(journal, answers_of(range(3)))
    writer.store_leftovers()
    writer.start()
    writer.add_shadow(shadow(3))
    assert writer.stop(10)
    with store.reading() as connection:
        rows = connection.execute(shadow_scores.select()).all()
    assert sorted(row.transaction_id for row in rows) == ["tx-1", "tx-3"]
    assert stored(store) == answers_of(range(3))


def test_stopping_gives_up_at_the_timeout_and_leaves_the_rest_in_the_journal(tmp_path, journal):
    nowhere = PredictionStore(f"sqlite:///{tmp_path}/none/store.db")
    writer = AnswerWriter(nowhere, journal, interval_seconds=0.01)
    append(journal, answers_of(range(5)))
    with pytest.raises(RuntimeError, match="no tables yet"):
        writer.store_leftovers()
    writer.start()
    assert within(5, lambda: writer.status.failing_since is not None)
    start = time.monotonic()
    assert not writer.stop(0.3)
    assert time.monotonic() - start < 1
    assert writer.status.waiting == 5
    assert "no tables yet" in writer.status.last_error
    assert within(5, lambda: "answer-writer" not in [one.name for one in threading.enumerate()])
    journal.close()
    assert len(journal.segments()) == 1


def test_segments_that_somebody_deleted_do_not_stop_it(store, journal):
    append(journal, answers_of(range(40)))
    journal.segments()[0].unlink()
    writer = AnswerWriter(store, journal, interval_seconds=0.01)
    writer.start()
    append(journal, answers_of(range(40, 60)))
    assert writer.stop(10)
    left = [one.sequence for one in stored(store)]
    assert left == list(range(left[0], 60))
    assert 0 < left[0] < 20


def test_a_database_that_goes_away_and_comes_back_loses_nothing(server, tmp_path):
    migrate(server.url)
    store = PredictionStore(server.url)
    journal = Journal(tmp_path, "w0", segment_bytes=50_000)
    journal.open(1)
    writer = AnswerWriter(store, journal, max_batch=100, interval_seconds=0.02)
    writer.start()
    done = threading.Event()
    appended: list[StoredAnswer] = []

    async def traffic() -> None:
        while not done.is_set():
            for _ in range(10):
                one = answer(journal.take_sequence())
                await journal.append(one)
                appended.append(one)
            await asyncio.sleep(0.005)

    thread = threading.Thread(target=asyncio.run, args=(traffic(),))
    thread.start()
    try:
        assert within(10, lambda: writer.status.stored > 200)
        server.stop()
        stopped_at = time.time()
        assert within(10, lambda: writer.status.failing_since is not None)
        before = len(appended)
        assert within(20, lambda: len(appended) > before + 2_000)
        status = writer.status
        assert status.waiting > 1_500
        assert status.failing_since >= stopped_at - 1
        assert "127.0.0.1" in status.last_error
        assert "hush" not in status.last_error
        assert len(journal.segments()) > 5
        with pytest.raises(StoreUnavailableError):
            get_answer(store, "tx-1")
        server.start()
        assert within(20, lambda: writer.status.failing_since is None)
    finally:
        done.set()
        thread.join()
    assert writer.stop(20)
    assert stored(store) == appended
    assert writer.status.last_error is None
    assert writer.status.waiting == 0
    journal.close()
    assert journal.segments() == []
    store.dispose()


def test_what_is_written_and_not_acknowledged_yet_is_not_stored(store, journal):
    append(journal, answers_of(range(2)))
    (path,) = journal.segments()
    line = path.read_bytes().splitlines(keepends=True)[0].replace(b"tx-0", b"tx-9")
    with path.open("ab") as file:
        file.write(line)
    AnswerWriter(store, journal).store_leftovers()
    assert stored(store) == answers_of(range(2))
