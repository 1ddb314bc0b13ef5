"""This worker's entries on their way into the shared log: sent once, whatever gets lost.

An entry gets a number when it is sent first, and keeps it for every repetition; the log takes
numbers only if they grow. So an entry whose answer got lost may be sent again. How entries are
sent belongs in `redis_log`.
"""

from __future__ import annotations

import asyncio
from collections import deque
from itertools import chain, islice
from typing import Final, Generic, TypeVar

T = TypeVar("T")

MAX_BATCH: Final = 256
MAX_LATER: Final = 100_000
MAX_SETTLED: Final = 1_000


class Outgoing(Generic[T]):
    """An entry, and who waits for its result. No `number`: it is certainly not in the log."""

    __slots__ = ("entry", "future", "is_applied", "is_later", "number", "since")

    def __init__(self, entry: bytes, *, since: float, future: asyncio.Future[T] | None) -> None:
        self.entry = entry
        self.since = since
        self.future = future
        self.number: int | None = None
        self.is_later = False
        self.is_applied = False

    @property
    def is_awaited(self) -> bool:
        """Whether somebody waits who has not been told anything yet."""
        return self.future is not None and not self.future.done()

    def fail(self, error: Exception) -> None:
        """Tell who waits, if somebody does."""
        if self.future is not None and not self.future.done():
            self.future.set_exception(error)


class Outbox(Generic[T]):
    """What is to be sent, what is sent and not applied yet, and what became of what failed."""

    def __init__(self) -> None:
        self.dropped = 0
        """Entries that were to be sent later and found no room."""
        self._newest = 0
        self._queue: deque[Outgoing[T]] = deque()
        self._later: deque[Outgoing[T]] = deque()
        self._batch: list[Outgoing[T]] = []
        self._sent: dict[int, Outgoing[T]] = {}
        # By content: what was told to have failed, or is to be sent later, and what became of it.
        self._known: dict[bytes, Outgoing[T]] = {}
        self._settled: dict[bytes, T] = {}

    def __bool__(self) -> bool:
        return bool(self._queue or self._later)

    @property
    def waiting(self) -> int:
        """Entries that are to be sent later."""
        return len(self._later)

    def put(self, entry: bytes, now: float) -> asyncio.Future[T]:
        """Send an entry with the next batch; a known one that failed is sent by its old number.

        Returns:
            Its result to come.
        """
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        if entry in self._settled:
            future.set_result(self._settled.pop(entry))
            return future
        outgoing = self._known.get(entry)
        if outgoing is None:
            self._queue.append(Outgoing(entry, since=now, future=future))
            return future
        if outgoing.future is not None and not outgoing.future.done():
            return outgoing.future
        outgoing.since, outgoing.future = now, future
        if not outgoing.is_later:
            del self._known[entry]
            self._queue.append(outgoing)
        return future

    def put_later(self, entry: bytes) -> None:
        """Send an entry before all that are put from now on, unless it is known to be applied."""
        if entry in self._settled:
            del self._settled[entry]
            return
        outgoing = self._known.get(entry)
        if outgoing is None:
            outgoing = self._known[entry] = Outgoing(entry, since=0.0, future=None)
        if outgoing.is_later:
            return
        outgoing.is_later = True
        self._later.append(outgoing)
        if len(self._later) > MAX_LATER:
            self.dropped += 1
            self._forget(self._later.popleft())

    def batch(self) -> list[tuple[int, bytes]]:
        """What is sent now, by growing numbers, which begin with what was sent before."""
        batch = [one for one in islice(self._later, MAX_BATCH) if not one.is_applied]
        while self._queue and len(batch) < MAX_BATCH:
            outgoing = self._queue.popleft()
            if outgoing.is_awaited:
                batch.append(outgoing)
            elif outgoing.number is not None and not (outgoing.is_later or outgoing.is_applied):
                self._known[outgoing.entry] = outgoing
        sent: list[tuple[int, bytes]] = []
        for outgoing in batch:
            if outgoing.number is None:
                self._newest += 1
                outgoing.number = self._newest
                self._sent[self._newest] = outgoing
            sent.append((outgoing.number, outgoing.entry))
        self._batch = batch
        return sorted(sent)

    def applied(self, number: int, result: T) -> None:
        """An entry of ours came back and was applied."""
        outgoing = self._sent.pop(number, None)
        if outgoing is None:
            return
        outgoing.is_applied = True
        if outgoing.future is not None and not outgoing.future.done():
            outgoing.future.set_result(result)
        elif outgoing.entry in self._known:
            # Its publisher was told that it failed, and may come again.
            self._settled[outgoing.entry] = result
            if len(self._settled) > MAX_SETTLED:
                del self._settled[next(iter(self._settled))]
        self._known.pop(outgoing.entry, None)

    def failed(self, number: int, error: Exception) -> None:
        """An entry of ours came back and could not be applied."""
        outgoing = self._sent.pop(number, None)
        if outgoing is not None:
            outgoing.is_applied = True
            outgoing.fail(error)
            self._known.pop(outgoing.entry, None)

    def settle(self) -> None:
        """The batch was sent, and the log is applied to its end.

        What was sent by then and did not come back never will: its number is too old.
        """
        while self._later and self._later[0].is_applied:
            self._later.popleft()
        if self._sent and self._batch:
            newest = max(one.number or 0 for one in self._batch)
            for number in [one for one in self._sent if one <= newest]:
                outgoing = self._sent.pop(number)
                outgoing.number = None
                if outgoing.is_later:
                    continue
                if outgoing.is_awaited:
                    self._queue.appendleft(outgoing)
                elif self._known.get(outgoing.entry) is outgoing:
                    del self._known[outgoing.entry]
        self._batch = []

    def fail(self, error: Exception) -> None:
        """Tell everybody who waits. What was sent may be in the log, and is remembered."""
        for outgoing in chain(self._batch, self._queue, self._later):
            self._disappoint(outgoing, error)
        self._batch = []
        self._queue.clear()

    def fail_older(self, than: float, error: Exception) -> float | None:
        """Tell those who wait since then or longer.

        Returns:
            Since when the first of the others waits; None where nobody does.
        """
        oldest: float | None = None
        for outgoing in chain(self._batch, self._queue, islice(self._later, MAX_BATCH)):
            if not outgoing.is_awaited:
                continue
            if outgoing.since <= than:
                self._disappoint(outgoing, error)
            elif oldest is None or outgoing.since < oldest:
                oldest = outgoing.since
        return oldest

    def _disappoint(self, outgoing: Outgoing[T], error: Exception) -> None:
        outgoing.fail(error)
        if outgoing.number is not None and not outgoing.is_applied:
            self._known.setdefault(outgoing.entry, outgoing)
            if len(self._known) > MAX_LATER + MAX_SETTLED:
                self._forget(next(one for one in self._known.values() if not one.is_later))

    def _forget(self, outgoing: Outgoing[T]) -> None:
        if outgoing.number is not None:
            self._sent.pop(outgoing.number, None)
        if self._known.get(outgoing.entry) is outgoing:
            del self._known[outgoing.entry]
