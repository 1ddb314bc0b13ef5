"""From the journal to the store: a thread that follows the segments and removes what is stored.

It reads files and keeps no queue, so that a database that is away for a day costs disk and not
memory. How answers get into the journal belongs in `journal`, what the store does with them in
`store.answers`.

The thread shares Python's lock (GIL) with the event loop. Whoever waits for that lock asks for it
only after `sys.getswitchinterval()`, 5 ms unless told otherwise, which every wake-up of the loop
then pays while a batch is being prepared. See `SWITCH_SECONDS` for what was measured.
"""

from __future__ import annotations

import logging
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fraud_assets.serving.journal import Journal, encode_answer, read_segment, set_aside
from fraud_assets.store.answers import (
    AnswersRefusedError,
    ShadowScore,
    StoredAnswer,
    get_answer,
    insert_answers,
)
from fraud_assets.store.engine import PredictionStore, StoreError

_log = logging.getLogger(__name__)

SWITCH_SECONDS: Final = 0.0005
"""How soon the event loop gets Python's lock back while a batch is being prepared.

Preparing 500 answers takes 13 ms of this thread's time for SQLite; with the interpreter's 5 ms each
wake-up of the loop could wait that long. What no interval helps against is one call into C that
keeps the lock: quoting a batch for PostgreSQL takes 0.3 ms at 500 answers and 2.6 ms at 2,000,
hence the default of `max_batch`."""

MAX_SHADOWS: Final = 20_000
"""Shadow scores that wait in memory while the database is away; the oldest are dropped first."""

_LONGEST_PAUSE: Final = 5.0


@dataclass(frozen=True)
class WriterStatus:
    """How far the store is behind.

    Attributes:
        waiting: answers in the journal that the store does not have.
        stored: answers that it has since the start, by this writer; repeated ones among them.
        conflicting: answers for whose transaction it has one for other content; set aside.
        refused: records that cannot be stored; set aside.
        last_error: why the last attempt failed, without secrets or content; None if it did not.
        failing_since: Unix time of the first of the attempts that failed in a row.
    """

    waiting: int
    stored: int
    conflicting: int
    refused: int
    last_error: str | None
    failing_since: float | None


class AnswerWriter:
    """Stores the answers of one worker's journal, in their order, in batches.

    A batch is stored whole or not at all, and the store takes what it has already for stored; so
    after a crash or an error it is simply tried again. No answer is ever dropped: what the store
    refuses for what it holds is set aside in the journal's `refused.jsonl`.

    Args:
        store: where to.
        journal: where from; opened by the caller.
        max_batch: answers per transaction of the database.
        interval_seconds: how long to wait where nothing more is to be stored.
    """

    def __init__(
        self,
        store: PredictionStore,
        journal: Journal,
        *,
        max_batch: int = 500,
        interval_seconds: float = 0.2,
    ) -> None:
        self._store = store
        self._journal = journal
        self._max_batch = max_batch
        self._interval = interval_seconds
        self._shadows: deque[ShadowScore] = deque(maxlen=MAX_SHADOWS)
        self._offsets: dict[Path, int] = {}
        self._handled = 0
        self._stored = 0
        self._conflicting = 0
        self._refused = 0
        self._last_error: str | None = None
        self._failing_since: float | None = None
        self._stopping = threading.Event()
        self._given_up = False
        self._thread: threading.Thread | None = None

    @property
    def status(self) -> WriterStatus:
        """How far the store is behind, now."""
        return WriterStatus(
            waiting=max(0, self._journal.received - self._handled),
            stored=self._stored,
            conflicting=self._conflicting,
            refused=self._refused,
            last_error=self._last_error,
            failing_since=self._failing_since,
        )

    def store_leftovers(self) -> int:
        """Store everything that the journal holds; for the start, before `start`. Blocking.

        Returns:
            How many answers the store has now because of that.

        Raises:
            StoreError: the database is away; what was stored until then is not tried again.
            OSError: the journal cannot be read.
        """
        before = self._stored
        while self._store_batch():
            pass
        return self._stored - before

    def start(self) -> None:
        """Begin to follow the journal in a thread of its own."""
        # For the whole process: nothing but this thread competes with the event loop for long.
        sys.setswitchinterval(min(SWITCH_SECONDS, sys.getswitchinterval()))
        self._thread = threading.Thread(target=self._run, name="answer-writer", daemon=True)
        self._thread.start()

    def stop(self, timeout: float) -> bool:
        """Store what there is, and end.

        Args:
            timeout: seconds after which the rest is left to the journal.

        Returns:
            Whether everything is stored.
        """
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(timeout)
            self._given_up = True  # a thread that hangs in the database ends behind that
        return self.status.waiting == 0

    def add_shadow(self, score: ShadowScore) -> None:
        """Have a shadow score stored with the next answers; best effort, from any thread."""
        self._shadows.append(score)

    def _run(self) -> None:
        pause = self._interval
        while not self._given_up:
            try:
                is_more = self._store_batch()
            except Exception as error:  # noqa: BLE001 - whatever it is, the next try may do
                self._failed(error)
                self._stopping.wait(pause) if not self._stopping.is_set() else time.sleep(0.05)
                pause = min(2 * pause, _LONGEST_PAUSE)
                continue
            self._succeeded()
            pause = self._interval
            if is_more:
                continue
            if self._stopping.is_set():
                return
            self._stopping.wait(self._interval)

    def _store_batch(self) -> bool:
        """Store the journal's next answers; returns whether there were any."""
        received = self._journal.received
        for path in self._journal.segments():
            try:
                end, is_complete = self._journal.extent(path)
                offset = self._offsets.get(path, 0)
                broken: list[tuple[bytes, str]] = []
                answers, reached = read_segment(
                    path,
                    offset,
                    end=end,
                    max_lines=self._max_batch,
                    broken=broken,
                )
            except FileNotFoundError:
                _log.error("segment %s of the answer journal is gone", path)
                continue
            if reached > offset:
                self._insert(answers, broken)
                self._handled += len(answers) + len(broken)
                self._offsets[path] = reached
                self._journal.stored(path, reached, is_complete=False)
                return True
            if is_complete:
                if end > reached:
                    _log.warning("%d bytes of a line cut short are dropped", end - reached)
                self._journal.stored(path, reached, is_complete=True)
                self._offsets.pop(path, None)
        # Nothing is left of what had been received: also where segments were deleted by others.
        self._handled = max(self._handled, received)
        if self._shadows:
            self._insert([], [])
        return False

    def _insert(self, answers: list[StoredAnswer], broken: list[tuple[bytes, str]]) -> None:
        shadows = [self._shadows.popleft() for _ in range(min(len(self._shadows), self._max_batch))]
        try:
            conflicting, refused = self._insert_good(answers, shadows)
            aside = [(encode_answer(answer), reason) for answer, reason in refused]
            aside += self._contradictions(answers, conflicting)
        except Exception:
            self._shadows.extendleft(reversed(shadows))
            raise
        # Only now: a batch that is tried again would set them aside again.
        for record, reason in broken + aside:
            set_aside(self._journal.folder, record, reason)
        self._stored += len(answers) - len(aside)
        self._conflicting += len(conflicting)
        self._refused += len(refused) + len(broken)
        if broken or aside:
            _log.error(
                "%d answers cannot be stored; they are in refused.jsonl in %s, with the reasons",
                len(broken) + len(aside),
                self._journal.folder,
            )

    def _insert_good(
        self, answers: list[StoredAnswer], shadows: list[ShadowScore]
    ) -> tuple[set[str], list[tuple[StoredAnswer, str]]]:
        """Store all but what the store refuses; returns conflicting ids, and what it refused."""
        conflicting: set[str] = set()
        refused: list[tuple[StoredAnswer, str]] = []
        while True:
            try:
                report = insert_answers(self._store, answers, shadows)
            except AnswersRefusedError as error:
                name = error.transaction_id
                if error.is_shadow:
                    shadows = [one for one in shadows if one.transaction_id != name]
                    continue
                # An id may be there twice, and one of the two be good.
                suspects = [one for one in answers if one.transaction_id == name]
                answers = [one for one in answers if one.transaction_id != name]
                for suspect in suspects:
                    try:
                        alone = insert_answers(self._store, [suspect])
                        conflicting.update(alone.conflicting)
                    except AnswersRefusedError as reason:
                        refused.append((suspect, str(reason)))
            else:
                return conflicting.union(report.conflicting), refused

    def _contradictions(
        self, answers: Sequence[StoredAnswer], conflicting: set[str]
    ) -> list[tuple[bytes, str]]:
        """The answers that were given beside another one: no table has them, and they were told."""
        found = []
        for answer in answers:
            if answer.transaction_id in conflicting:
                stored = get_answer(self._store, answer.transaction_id)
                if stored is not None and stored.digest != answer.digest:
                    found.append((encode_answer(answer), "the store has one for other content"))
        return found

    def _failed(self, error: Exception) -> None:
        if isinstance(error, StoreError):
            said = str(error)
        elif isinstance(error, OSError):
            said = f"the answer journal cannot be read: {error.strerror}"
        else:
            said = f"unexpected {type(error).__name__}"  # what it says may quote an answer
        if self._failing_since is None:
            self._failing_since = time.time()
            _log.warning("answers wait in the journal: %s", said)
            if not isinstance(error, StoreError | OSError):
                _log.error("".join(traceback.format_tb(error.__traceback__)))
        self._last_error = said

    def _succeeded(self) -> None:
        if self._failing_since is not None:
            seconds = time.time() - self._failing_since
            _log.info("answers are stored again, after %.0f seconds", seconds)
        self._failing_since = self._last_error = None
