from __future__ import annotations

import asyncio
import errno
import json
import os
import resource
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest
import uvloop
from hypothesis import given, settings
from hypothesis import strategies as st

from fraud_assets.serving.journal import Journal, JournalError, JournalInUseError, read_segment
from fraud_assets.store.answers import StoredAnswer


def answer(number: int, **changes: object) -> StoredAnswer:
    values: dict[str, object] = {
        "transaction_id": f"tx-{number}",
        "event_time_us": 1_760_000_000_000_000 + number,
        "event_order_us": 1_760_000_000_000_000 + number,
        "amount": 10.1 + number,
        "payer_id": f"payer-{number % 9}",
        "extras": {"distance": 1.5, "country": "DE", "device": None},
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


def held(journal: Journal) -> list[StoredAnswer]:
    return [one for path in journal.segments() for one in read_segment(path, 0)[0]]


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    opened = Journal(tmp_path, "w0")
    opened.open(1)
    yield opened
    opened.close()


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """As a full disk: a write beyond it is cut short, and the next one refused."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


async def outcomes(journal: Journal, answers: list[StoredAnswer]) -> list[object]:
    return await asyncio.gather(*map(journal.append, answers), return_exceptions=True)


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run])
@pytest.mark.parametrize("fsync", [False, True])
def test_what_was_appended_is_in_the_file_when_append_returns(tmp_path, run, fsync):
    journal = Journal(tmp_path, "w0", fsync=fsync)
    journal.open(1)

    async def go() -> None:
        for number in range(20):
            await journal.append(answer(number))
            assert held(journal)[-1] == answer(number)
        await asyncio.gather(*(journal.append(answer(number)) for number in range(20, 90)))

    run(go())
    assert held(journal) == [answer(number) for number in range(90)]
    journal.close()


def test_all_appends_of_one_turn_of_the_loop_are_one_write(journal, monkeypatch):
    writes = []
    write = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: writes.append(len(data)) or write(fd, data))

    async def go() -> None:
        await asyncio.gather(*(journal.append(answer(number)) for number in range(50)))
        await journal.append(answer(50))

    asyncio.run(go())
    first, second = writes
    assert first > 20 * second
    assert len(held(journal)) == 51


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


@settings(max_examples=50)
@given(
    st.lists(
        st.builds(
            answer,
            st.integers(0, 1_000),
            transaction_id=texts,
            payer_id=st.none() | texts,
            amount=st.floats(allow_nan=False, allow_infinity=False),
            extras=st.dictionaries(
                texts, st.none() | texts | st.floats(allow_nan=False, allow_infinity=False)
            ),
            reasons=st.lists(texts, max_size=3),
        ),
        max_size=8,
    )
)
def test_answers_come_back_as_they_were(tmp_path_factory, answers):
    journal = Journal(tmp_path_factory.mktemp("journal"), "w0")
    journal.open(1)
    assert asyncio.run(outcomes(journal, answers)) == [None] * len(answers)
    assert held(journal) == answers
    journal.close()


def test_an_answer_that_json_cannot_hold_fails_alone_and_is_not_quoted(journal):
    bad = answer(1, payer_id="secret\ud800")
    results = asyncio.run(outcomes(journal, [answer(0), bad, answer(2)]))
    assert results[0] is results[2] is None
    assert isinstance(results[1], JournalError)
    assert "secret" not in str(results[1])
    assert held(journal) == [answer(0), answer(2)]


def test_a_cancelled_append_disturbs_no_other(journal):
    async def go() -> list[object]:
        tasks = [asyncio.create_task(journal.append(answer(number))) for number in range(3)]
        await asyncio.sleep(0)
        tasks[1].cancel()
        return await asyncio.gather(*tasks, return_exceptions=True)

    results = asyncio.run(go())
    assert results[0] is results[2] is None
    assert isinstance(results[1], asyncio.CancelledError)
    assert [one.sequence for one in held(journal)][::2] == [0, 2]


def test_segments_follow_each_other_at_the_given_length(tmp_path):
    journal = Journal(tmp_path, "w0", segment_bytes=2_000)
    journal.open(1)

    async def go() -> None:
        for number in range(30):
            await journal.append(answer(number))

    asyncio.run(go())
    *complete, current = journal.segments()
    assert len(complete) > 3
    assert all(2_000 <= path.stat().st_size < 3_000 for path in complete)
    assert [journal.extent(path)[1] for path in (*complete, current)] == [True] * len(complete) + [
        False
    ]
    assert held(journal) == [answer(number) for number in range(30)]
    journal.close()


def test_a_segment_is_not_complete_at_the_moment_when_it_is_made(tmp_path, monkeypatch):
    journal = Journal(tmp_path, "w0", segment_bytes=1_000)
    journal.open(1)
    seen = []
    open_file = os.open

    def look(path: Path, *more: int) -> int:
        fd = open_file(path, *more)
        if str(path).endswith(".jsonl"):
            seen.append(journal.extent(Path(path)))  # as the writer's thread may
        return fd

    async def go() -> None:
        for number in range(10):
            await journal.append(answer(number))

    with monkeypatch.context() as watched:
        watched.setattr(os, "open", look)
        asyncio.run(go())
    assert len(seen) > 2
    assert set(seen) == {(0, False)}
    journal.close()


def test_only_this_user_can_read_the_files(journal):
    asyncio.run(journal.append(answer(1)))
    (path,) = journal.segments()
    with path.open("ab") as file:
        file.write(b"nonsense\n")
    read_segment(path, 0)
    for file in path.parent.iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600, file.name
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


@pytest.mark.parametrize("fsync", [False, True])
def test_a_full_disk_refuses_all_of_the_turn_and_leaves_no_part_of_it(tmp_path, fsync):
    journal = Journal(tmp_path, "w0", fsync=fsync)
    journal.open(1)
    first = [answer(number) for number in range(20)]
    lost = [answer(number) for number in range(20, 60)]
    last = [answer(number) for number in range(60, 80)]

    async def go() -> None:
        assert await outcomes(journal, first) == [None] * 20
        (path,) = journal.segments()
        with largest_file(path.stat().st_size + 1_234):
            for result in await outcomes(journal, lost):
                assert isinstance(result, JournalError)
                assert "free space" in str(result)
        assert held(journal) == first
        assert await outcomes(journal, last) == [None] * 20

    asyncio.run(go())
    assert held(journal) == first + last
    assert journal.received == 40
    journal.close()


def test_what_cannot_be_taken_back_is_not_read(journal, monkeypatch):
    def refuse(fd: int, length: int) -> None:
        raise OSError(5, "Input/output error")

    async def go() -> None:
        await journal.append(answer(0))
        (path,) = journal.segments()
        with monkeypatch.context() as broken, largest_file(path.stat().st_size + 3_000):
            broken.setattr(os, "ftruncate", refuse)
            await outcomes(journal, [answer(number) for number in range(1, 50)])
        await journal.append(answer(50))

    asyncio.run(go())
    torn, _ = journal.segments()
    end, is_complete = journal.extent(torn)
    assert is_complete
    assert end < torn.stat().st_size
    readable = [
        one
        for path in journal.segments()
        for one in read_segment(path, 0, end=journal.extent(path)[0])[0]
    ]
    assert readable == [answer(0), answer(50)]


def test_a_failed_sync_refuses_and_goes_on_in_a_new_segment(tmp_path, monkeypatch):
    journal = Journal(tmp_path, "w0", fsync=True)
    journal.open(1)

    def refuse(fd: int) -> None:
        raise OSError(5, "Input/output error")

    async def go() -> None:
        await journal.append(answer(0))
        with monkeypatch.context() as broken:
            broken.setattr(os, "fdatasync", refuse)
            with pytest.raises(JournalError, match="Input/output error"):
                await journal.append(answer(1))
        await journal.append(answer(2))

    asyncio.run(go())
    assert len(journal.segments()) == 2
    assert held(journal) == [answer(0), answer(2)]
    journal.close()


@pytest.mark.parametrize("moved", [False, True])
def test_a_folder_that_is_gone_refuses_once_and_is_made_again(tmp_path, moved):
    journal = Journal(tmp_path / "journal", "w0")
    journal.open(1)

    async def go() -> None:
        await journal.append(answer(0))
        if moved:
            (tmp_path / "journal").rename(tmp_path / "elsewhere")
        else:
            shutil.rmtree(tmp_path / "journal")
        with pytest.raises(JournalError, match="cannot be written"):
            await journal.append(answer(1))
        await journal.append(answer(2))

    asyncio.run(go())
    assert held(journal) == [answer(2)]
    with pytest.raises(JournalInUseError):
        Journal(tmp_path / "journal", "w0").open(1)
    journal.close()


def test_a_folder_that_cannot_be_made_is_said(tmp_path):
    (tmp_path / "journal").write_text("in the way")
    with pytest.raises(JournalError, match="cannot be written"):
        Journal(tmp_path / "journal", "w0").open(1)


def test_no_room_for_a_new_segment_goes_on_in_the_old_one(tmp_path):
    journal = Journal(tmp_path, "w0", segment_bytes=1_000)
    journal.open(1)
    used = resource.getrlimit(resource.RLIMIT_NOFILE)

    async def go() -> None:
        for number in range(5):
            await journal.append(answer(number))
        lowest = os.open(os.devnull, os.O_RDONLY)
        os.close(lowest)
        resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, used[1]))
        try:
            await outcomes(journal, [answer(number) for number in range(5, 20)])
            await journal.append(answer(20))
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, used)

    asyncio.run(go())
    assert held(journal) == [answer(number) for number in range(21)]
    journal.close()


def test_appending_to_a_closed_journal_is_refused(journal):
    journal.close()
    with pytest.raises(JournalError, match="closed"):
        asyncio.run(journal.append(answer(1)))


def test_closing_refuses_what_is_not_written_yet(journal):
    async def go() -> list[object]:
        task = asyncio.create_task(journal.append(answer(1)))
        await asyncio.sleep(0)  # up to its wait; the write comes with the next turn
        journal.close()
        return await asyncio.gather(task, return_exceptions=True)

    (result,) = asyncio.run(go())
    assert held(journal) == ([answer(1)] if result is None else [])


def test_numbers_go_on_after_what_the_store_or_the_journal_or_the_lock_file_has(tmp_path):
    first = Journal(tmp_path, "w0")
    first.open(7)
    assert [first.take_sequence() for _ in range(3)] == [7, 8, 9]
    first.close()
    second = Journal(tmp_path, "w0")
    second.open(1)  # as after the store's rows were deleted
    assert second.take_sequence() == 10
    second.close()
    third = Journal(tmp_path, "w0")
    third.open(40)
    assert third.take_sequence() == 40
    third.close()


def test_numbers_go_on_after_the_leftovers_of_a_process_that_was_killed(tmp_path):
    first = Journal(tmp_path, "w0")
    first.open(1)
    asyncio.run(outcomes(first, [answer(number) for number in (3, 12, 5)]))
    shutil.copytree(tmp_path, tmp_path / "crashed")
    first.close()
    second = Journal(tmp_path / "crashed", "w0")
    second.open(1)
    assert second.take_sequence() == 13
    assert second.received == 3
    second.close()


def test_a_second_process_is_told_who_has_the_journal(journal):
    script = (
        "import sys; from pathlib import Path; from fraud_assets.serving.journal import *\n"
        "try: Journal(Path(sys.argv[1]), 'w0').open(1)\n"
        "except JournalInUseError as error: print(error)\n"
    )
    told = subprocess.run(
        [sys.executable, "-c", script, str(journal.folder.parent)],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    asyncio.run(journal.append(answer(1)))
    again = subprocess.run(
        [sys.executable, "-c", script, str(journal.folder.parent)],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    for said in (told, again):
        assert f"in use by process {os.getpid()}" in said
        assert "FRAUD_DATA_DIR" in said


def test_workers_have_journals_of_their_own(tmp_path, journal):
    other = Journal(tmp_path, "w1")
    other.open(1)
    asyncio.run(journal.append(answer(1)))
    assert other.segments() == []
    other.close()


def test_reading_stops_before_a_torn_last_line_and_goes_on_when_it_is_whole(tmp_path):
    path = tmp_path / "0000000001.jsonl"
    lines = [msgspec.json.encode(answer(number)) + b"\n" for number in range(3)]
    path.write_bytes(b"".join(lines)[:-40])
    answers, offset = read_segment(path, 0)
    assert answers == [answer(0), answer(1)]
    assert offset == len(lines[0] + lines[1])
    assert read_segment(path, offset) == ([], offset)
    path.write_bytes(b"".join(lines))
    assert read_segment(path, offset) == ([answer(2)], path.stat().st_size)
    assert not (tmp_path / "refused.jsonl").exists()


@given(st.integers(0, 2_000), st.integers(1, 4))
def test_reading_in_parts_gives_every_whole_line_once(tmp_path_factory, end, at_once):
    path = tmp_path_factory.mktemp("segment") / "0000000001.jsonl"
    data = b"".join(msgspec.json.encode(answer(number)) + b"\n" for number in range(5))
    path.write_bytes(data)
    found: list[StoredAnswer] = []
    offset = 0
    while True:
        answers, reached = read_segment(path, offset, end=end, max_lines=at_once)
        assert len(answers) <= at_once
        if reached == offset:
            break
        found, offset = found + answers, reached
    assert found == [answer(number) for number in range(data[:end].count(b"\n"))]


@pytest.mark.parametrize(
    "line", [b"{", b"", b"\x00\x00", b"[1]", b'{"transaction_id": "x"}', b"\xff\xfe", b'"\xed\xa0"']
)
def test_a_broken_line_is_set_aside_with_the_reason_and_the_rest_is_read(tmp_path, line):
    path = tmp_path / "0000000001.jsonl"
    good = [msgspec.json.encode(answer(number)) for number in range(2)]
    path.write_bytes(b"\n".join([good[0], line, good[1], b""]))
    answers, offset = read_segment(path, 0)
    assert answers == [answer(0), answer(1)]
    assert offset == path.stat().st_size
    (refused,) = map(json.loads, (tmp_path / "refused.jsonl").read_text().splitlines())
    assert refused["record"] == line.decode("utf-8", "backslashreplace")
    assert "not an answer" in refused["reason"]


def test_a_journal_that_could_not_be_opened_can_be_opened_later(tmp_path, monkeypatch):
    journal = Journal(tmp_path, "w0")

    def full(_journal: Journal) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Journal, "_write_mark", full)
        for _ in range(2):  # the second try says the same, and not that the journal is taken
            with pytest.raises(JournalError, match="No space left"):
                journal.open(1)
    journal.open(1)
    journal.close()
