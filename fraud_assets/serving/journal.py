"""Acknowledged answers on disk, before the store has them: JSON Lines in segments.

An answer that was written survives the end of the process at any moment; with `fsync`, that of the
machine too. How the answers come into the store belongs in `writer`; what is remembered of them in
memory, in `recent`.

Files of one worker, in a folder of its own, readable by this user alone:

- `0000000001.jsonl`, …: the segments, an answer a line, in the order in which they were written.
- `lock`: held while a process uses the folder; says which one, and the next sequence number.
- `refused.jsonl`: what could not be stored, and why; for people, nothing reads it.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import re
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Final

import msgspec

from fraud_assets.store.answers import StoredAnswer

REFUSED: Final = "refused.jsonl"
_LOCK: Final = "lock"
_SEGMENT: Final = re.compile(r"\d{10}\.jsonl")
_MODE: Final = 0o600
_BYTES_A_LINE: Final = 1_000
"""About what an answer takes; only how much is read at once depends on it."""

_encoder: Final = msgspec.json.Encoder()
_decoder: Final = msgspec.json.Decoder(StoredAnswer)


class JournalError(RuntimeError):
    """The answer cannot be written, so it must not be given; the message holds the remedy."""


class JournalInUseError(JournalError):
    """Another process writes the journal of this worker."""


class _Segment:
    """The file being written. `length` counts the bytes that are acknowledged, and no others."""

    def __init__(self, path: Path, fd: int) -> None:
        self.path = path
        self.name = str(path)
        self.fd = fd
        self.inode = os.fstat(fd).st_ino
        self.length = 0

    def write(self, data: bytes) -> None:
        """Write all of it; the file may have a part of it after an error."""
        written = os.write(self.fd, data)
        while written < len(data):
            written += os.write(self.fd, data[written:])
        # Writing to a file that was deleted or moved away goes well, and nobody would find it.
        if os.stat(self.name).st_ino != self.inode:  # noqa: PTH116 - half the time of Path.stat
            raise FileNotFoundError(None, "the file was deleted", self.name)


class Journal:
    """The journal of one worker. All but `segments` and `extent` is for the event loop's thread.

    Files are made by the first append, so that an idle process leaves none.

    Args:
        folder: of the journals of all workers; made if it is not there.
        worker: names this one.
        fsync: acknowledge only what the disk has, so that it outlives a power cut.
        segment_bytes: a segment that has reached this length is followed by another one.
    """

    def __init__(
        self, folder: Path, worker: str, *, fsync: bool = False, segment_bytes: int = 8_000_000
    ) -> None:
        self.folder = folder / worker
        self._worker = worker
        self._fsync = fsync
        self._segment_bytes = segment_bytes
        self._lock: int | None = None
        self._next_sequence = 1
        self._next_segment = 1
        self._complete_below = 0
        self._current: _Segment | None = None
        self._ends: dict[Path, int] = {}
        self._stored: tuple[Path, int] | None = None
        self._lines: list[bytes] = []
        self._waiting: list[asyncio.Future[None]] = []
        self._syncer: ThreadPoolExecutor | None = None
        self._is_syncing = False
        self.received = 0
        """Answers that were acknowledged, and lines that were there when it was opened."""

    def open(self, next_sequence: int) -> None:
        """Take the journal for this process, and look at what earlier ones left.

        Args:
            next_sequence: the number after the last one in the store. Where the leftover segments
                or the lock file say a larger one, that one counts.

        Raises:
            JournalInUseError: another process has it.
            JournalError: the folder cannot be used.
        """
        try:
            mark = self._take_lock()
            found = [next_sequence, mark]
            for path in self.segments():
                found.append(self._look_through(path))
                self._next_segment = int(path.stem) + 1
            self._complete_below = self._next_segment
            self._next_sequence = max(found)
            self._write_mark()
        except OSError as error:
            # Else the next try would find the journal taken, by this very process.
            if self._lock is not None:
                os.close(self._lock)
                self._lock = None
            self.received = 0
            raise self._cannot(error) from error
        if self._fsync:
            self._syncer = ThreadPoolExecutor(1, thread_name_prefix="journal-sync")

    def take_sequence(self) -> int:
        """The next number; none is given twice, also after a restart, if it was written."""
        number = self._next_sequence
        self._next_sequence = number + 1
        return number

    async def append(self, answer: StoredAnswer) -> None:
        """Write an answer; it may be given once this returns.

        What is appended within one turn of the event loop is written at once.

        Raises:
            JournalError: it is not written, and will not be found in the journal later.
        """
        if self._lock is None:
            raise JournalError(f"the answer journal {self.folder} is closed: restart the service")
        try:
            line = _encoder.encode(answer)
        except (TypeError, ValueError, msgspec.MsgspecError):
            # The cause is dropped on purpose: it may quote what the answer holds.
            raise JournalError("the answer holds what JSON cannot say: check the request") from None
        loop = asyncio.get_running_loop()
        # Not one future for all: whoever is cancelled would cancel it for the others.
        future: asyncio.Future[None] = loop.create_future()
        if not self._lines and not self._is_syncing:
            loop.call_soon(self._flush)
        self._lines.append(line)
        self._waiting.append(future)
        await future

    def segments(self) -> list[Path]:
        """The segments, oldest first; the one being written is the last. For any thread."""
        try:
            names = os.listdir(self.folder)  # noqa: PTH208 - names are all that is needed
        except FileNotFoundError:
            return []
        return [self.folder / name for name in sorted(names) if _SEGMENT.fullmatch(name)]

    def extent(self, path: Path) -> tuple[int, bool]:
        """How much of a segment may be read, and whether it is complete. For any thread.

        Beyond that lies what is being written, and may be taken back.
        """
        current = self._current
        if current is not None and current.path == path:
            return current.length, False
        if int(path.stem) >= self._complete_below:
            return 0, False  # just made, and about to be the current one
        end = self._ends.get(path)
        return (path.stat().st_size if end is None else end), True

    def stored(self, path: Path, offset: int, *, is_complete: bool) -> None:
        """Take note that the store has a segment up to there; a complete one is removed.

        For the writer's thread. The segment being written goes with `close`.
        """
        if is_complete:
            path.unlink(missing_ok=True)
            self._ends.pop(path, None)
        else:
            self._stored = (path, offset)

    def close(self) -> None:
        """Let go of the journal; an append that is under way fails, unless it is written."""
        if self._lock is None:
            return
        if self._syncer is not None:
            self._syncer.shutdown(wait=True)
        waiting, self._waiting, self._lines = self._waiting, [], []
        _fail(waiting, JournalError(f"the answer journal {self.folder} was closed"))
        with suppress(OSError):  # as where the disk is full: the segments say it too
            self._write_mark()
        current, self._current = self._current, None
        if current is not None:
            if self._stored == (current.path, os.fstat(current.fd).st_size):
                current.path.unlink(missing_ok=True)
            os.close(current.fd)
        os.close(self._lock)
        self._lock = None

    def _look_through(self, path: Path) -> int:
        """Count a leftover segment's lines; returns the number after the highest one there."""
        offset, following = 0, 1
        while True:
            broken: list[tuple[bytes, str]] = []
            answers, end = read_segment(path, offset, max_lines=10_000, broken=broken)
            if end == offset:
                return following
            offset = end
            self.received += len(answers) + len(broken)
            following = max(following, *(answer.sequence + 1 for answer in answers), 1)

    def _flush(self) -> None:
        """Write what this turn of the event loop has brought."""
        if self._lock is None or not self._lines:
            return
        lines, self._lines = self._lines, []
        waiting, self._waiting = self._waiting, []
        lines.append(b"")
        data = b"\n".join(lines)
        try:
            segment = self._writable()
            segment.write(data)
        except OSError as error:
            self._take_back()
            _fail(waiting, self._cannot(error))
            return
        except JournalError as error:
            # The folder was made anew, and another process was quicker to take it.
            _fail(waiting, error)
            return
        if self._syncer is None:
            self._acknowledge(segment, len(data), waiting)
            return
        # In a thread: the disk takes milliseconds, in which the loop answers others; what they
        # append meanwhile is written, and synced, together.
        self._is_syncing = True
        done = asyncio.get_running_loop().run_in_executor(self._syncer, os.fdatasync, segment.fd)
        done.add_done_callback(partial(self._synced, segment, len(data), waiting))

    def _synced(
        self,
        segment: _Segment,
        size: int,
        waiting: list[asyncio.Future[None]],
        done: asyncio.Future[None],
    ) -> None:
        self._is_syncing = False
        error = done.exception()
        if error is None:
            self._acknowledge(segment, size, waiting)
        else:
            # Whether a second try would tell the truth is not known of any file system.
            self._take_back()
            self._seal()
            _fail(waiting, self._cannot(error))
        self._flush()

    def _acknowledge(
        self, segment: _Segment, size: int, waiting: list[asyncio.Future[None]]
    ) -> None:
        segment.length += size
        self.received += len(waiting)
        for future in waiting:
            if not future.done():  # its request was cancelled
                future.set_result(None)

    def _writable(self) -> _Segment:
        """The segment to write to, a new one where there is none or it is long enough."""
        current = self._current
        if current is not None and current.length < self._segment_bytes:
            return current
        try:
            return self._start_segment()
        except OSError:
            if current is None:
                raise
            return current  # as where no more files can be opened: better too long than refused

    def _start_segment(self) -> _Segment:
        if not (self.folder / _LOCK).exists():
            # Somebody removed the folder; without a lock another process could take the new one.
            if self._lock is not None:
                os.close(self._lock)
                self._lock = None
            self._take_lock()
        self._write_mark()
        path = self.folder / f"{self._next_segment:010d}.jsonl"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND
        segment = _Segment(path, os.open(path, flags, _MODE))
        self._next_segment += 1
        self._seal()
        self._current = segment
        if self._fsync:
            try:
                _sync_folder(self.folder)
            except OSError:
                self._seal()  # the next attempt begins with a file that will be found again
                raise
        return segment

    def _take_back(self) -> None:
        """Leave no part of a write that failed: the next line would be joined to it."""
        current = self._current
        if current is None:
            return
        try:
            if os.stat(current.name).st_ino != current.inode:  # noqa: PTH116
                raise FileNotFoundError
            os.ftruncate(current.fd, current.length)
        except OSError:
            self._seal()

    def _seal(self) -> None:
        """Write no more to this segment; only what was acknowledged of it counts."""
        current = self._current
        if current is not None:
            # In this order: the writer's thread may look at any moment.
            self._ends[current.path] = current.length
            self._complete_below = int(current.path.stem) + 1
            self._current = None
            os.close(current.fd)

    def _take_lock(self) -> int:
        """Lock the folder; returns the next sequence number as the lock file has it."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(self.folder / _LOCK, os.O_RDWR | os.O_CREAT, _MODE)
        said = os.pread(lock, 100, 0).split()
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            owner = f"process {int(said[0])}" if said else "another process"
            raise JournalInUseError(
                f"the answer journal {self.folder} is in use by {owner}: end that one, or give "
                "this service a FRAUD_DATA_DIR of its own"
            ) from None
        self._lock = lock
        return int(said[1]) if len(said) == 2 else 1

    def _write_mark(self) -> None:
        """Say the next sequence number where it outlives the segments and the store's rows."""
        if self._lock is not None:
            os.pwrite(self._lock, f"{os.getpid():10d} {self._next_sequence:20d}\n".encode(), 0)

    def _cannot(self, error: BaseException) -> JournalError:
        why = getattr(error, "strerror", None) or type(error).__name__
        return JournalError(
            f"the answer journal {self.folder} cannot be written: {why}; free space on its disk, "
            "and see that the folder exists and belongs to this user"
        )


def read_segment(
    path: Path,
    offset: int,
    *,
    end: int | None = None,
    max_lines: int | None = None,
    broken: list[tuple[bytes, str]] | None = None,
) -> tuple[list[StoredAnswer], int]:
    """Read whole lines of a segment.

    A last line without an end is a write that was cut short: it was not acknowledged, and is left.

    Args:
        path: the segment.
        offset: where to begin, in bytes; 0, or what this returned before.
        end: where to stop; None for the end of the file.
        max_lines: how many to read at most; None for all.
        broken: takes the lines that are no answers, with the reasons. None sets them aside in
            `refused.jsonl` beside the segment.

    Returns:
        The answers, and the offset behind the last line that was read.

    Raises:
        OSError: the file cannot be read, or the broken line not be set aside.
    """
    limit = (path.stat().st_size if end is None else end) - offset
    answers: list[StoredAnswer] = []
    read = 0
    with path.open("rb") as file:
        file.seek(offset)
        while limit > 0 and (max_lines is None or read < max_lines):
            line = file.readline(limit)
            if not line.endswith(b"\n"):
                break
            offset += len(line)
            limit -= len(line)
            read += 1
            try:
                answers.append(_decoder.decode(line))
            except (msgspec.MsgspecError, ValueError) as error:
                reason = f"not an answer: {type(error).__name__}"
                if broken is None:
                    set_aside(path.parent, line, reason)
                else:
                    broken.append((line, reason))
    return answers, offset


def set_aside(folder: Path, record: bytes, reason: str) -> None:
    """Keep a record that cannot be stored, with the reason, in the folder's `refused.jsonl`.

    Raises:
        OSError: it cannot be written.
    """
    said = {
        "refused_at": datetime.now(UTC),
        "reason": reason,
        "record": record.decode("utf-8", "backslashreplace").rstrip("\n"),
    }
    fd = os.open(folder / REFUSED, os.O_WRONLY | os.O_CREAT | os.O_APPEND, _MODE)
    with os.fdopen(fd, "ab") as file:
        file.write(_encoder.encode(said) + b"\n")


def encode_answer(answer: StoredAnswer) -> bytes:
    """An answer as it stands in a segment, without the end of the line."""
    return _encoder.encode(answer)


def _fail(waiting: list[asyncio.Future[None]], error: JournalError) -> None:
    for future in waiting:
        if not future.done():
            future.set_exception(error)


def _sync_folder(folder: Path) -> None:
    """Make sure that a new file is found again after a power cut."""
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
