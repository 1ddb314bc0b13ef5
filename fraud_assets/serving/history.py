"""How a transaction enters the state of the features: in this process, or through a shared log.

One worker keeps its state for itself. Several workers append every transaction to a Redis Stream
and apply the stream in its order, so that each holds the state of all of them, by the same code.
Models, answers and journals are the business of `service`.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections import OrderedDict
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, Protocol

import msgspec

from fraud_assets.features.online.events import Observation, OnlineTransaction
from fraud_assets.features.online.state import OnlineFeatures
from fraud_assets.serving.redis_log import GapError, SharedLog, SharedLogUnavailableError
from fraud_assets.store.answers import StoredAnswer

_log = logging.getLogger(__name__)

ANSWER_SECONDS: Final = 3_600
"""How long an answer lies in Redis for the other workers; the store has it within a second."""

WAIT_SECONDS: Final = 1.0
"""How long one worker waits for the answer of another that was asked about the same transaction."""

POLL_SECONDS: Final = 0.005
PUT_TRIES: Final = 5
MIN_ENTRIES: Final = 100_000
MOST_FOREIGN: Final = 10_000
NEVER: Final = -(2**63)


class HistoryUnavailableError(RuntimeError):
    """The history of the entities cannot be reached now; the rules do without it."""


class AskedElsewhereError(Exception):
    """Another worker was asked about the transaction first, and has not told its answer.

    `observation` is what that worker saw of it, as far as this one remembers: should the other
    have died, this one can answer with it.
    """

    def __init__(self, transaction_id: str, observation: Observation | None) -> None:
        self.observation = observation
        super().__init__(transaction_id)


class OtherContentError(Exception):
    """The transaction id is in the log for other content."""


class History(Protocol):
    """The transactions so far, as features of the next one."""

    state: OnlineFeatures

    async def observe(self, transaction: OnlineTransaction, digest: str) -> Observation:
        """Remember a transaction, and give its features.

        Raises:
            HistoryUnavailableError: the shared log does not answer; the transaction will be
                appended to it later.
            AskedElsewhereError: another worker has it, and `recall` found no answer in time.
            OtherContentError: the id is another transaction's.
        """

    def may_be_answered(self, transaction_id: str, event_time_us: int) -> bool:
        """Whether another worker may have answered: `recall` or the store tell."""

    async def recall(self, transaction_id: str) -> StoredAnswer | None:
        """What another worker answered lately, if it can be told at once."""

    def answered(self, answer: StoredAnswer) -> None:
        """Let the other workers know an answer."""

    async def start(self) -> None:
        """Apply what happened while this process was away."""

    async def follow(self) -> None:
        """Apply what other workers were asked meanwhile."""

    async def close(self) -> None:
        """Let go of the connection."""

    @property
    def problem(self) -> str | None:
        """Why features lack the shared history now, if they do."""


class LocalHistory:
    """The state of one process, for itself."""

    def __init__(self, state: OnlineFeatures) -> None:
        self.state = state

    async def observe(self, transaction: OnlineTransaction, digest: str) -> Observation:
        """Remember a transaction, and give its features."""
        del digest
        return self.state.observe(transaction)

    def may_be_answered(self, transaction_id: str, event_time_us: int) -> bool:
        """There is no other worker."""
        del transaction_id, event_time_us
        return False

    async def recall(self, transaction_id: str) -> StoredAnswer | None:
        """There is no other worker."""
        del transaction_id
        return None

    def answered(self, answer: StoredAnswer) -> None:
        """Nobody else wants to know."""

    async def start(self) -> None:
        """Nothing happened that the recovery did not bring."""

    async def follow(self) -> None:
        """Nobody else is asked."""

    async def close(self) -> None:
        """Nothing is open."""

    @property
    def problem(self) -> str | None:
        """Nothing that could be away."""
        return None


class _Entry(msgspec.Struct, array_like=True, gc=False):
    """What stands in the log: a transaction, the process that was asked, its content's hash."""

    process: str
    digest: str
    transaction: OnlineTransaction


@dataclass(frozen=True)
class _Taken:
    """What applying a transaction gives that is in the log already; the digest may be unknown."""

    digest: str | None


class SharedHistory:
    """The state of one of several workers, which apply one log."""

    def __init__(self, state: OnlineFeatures, url: str, *, worker: str, remembered: int) -> None:
        """Name the log.

        Args:
            state: what the recovery brought.
            url: of Redis.
            worker: this worker's name among the others.
            remembered: ids by which repeated transactions are told, at least.
        """
        self.state = state
        # Not the name alone: after a restart, what the process before it was asked is another's.
        self._process = f"{worker}:{secrets.token_hex(8)}"
        self._kept = max(remembered, MIN_ENTRIES)
        self._owners: OrderedDict[str, tuple[str | None, int]] = OrderedDict()
        self._forgotten_up_to = NEVER
        self._foreign: OrderedDict[str, Observation] = OrderedDict()
        self._encoder = msgspec.msgpack.Encoder()
        self._decoder = msgspec.msgpack.Decoder(_Entry)
        self._answers = msgspec.msgpack.Decoder(StoredAnswer)
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_open = False
        self._log: SharedLog[Observation | _Taken] = SharedLog(
            url, self._apply, worker=worker, keep_entries=self._kept
        )

    def know(self, transaction_id: str, event_time_us: int, digest: str | None) -> None:
        """A transaction that the recovered state holds: its entry is not applied again."""
        self._owners[transaction_id] = (digest, event_time_us)
        if len(self._owners) > 2 * self._kept:
            _, (_, gone_us) = self._owners.popitem(last=False)
            self._forgotten_up_to = max(self._forgotten_up_to, gone_us)

    async def observe(self, transaction: OnlineTransaction, digest: str) -> Observation:
        """Append to the log, apply it up to there, and give the features."""
        name = transaction.transaction_id
        owner = self._owners.get(name)
        result: Observation | _Taken
        if owner is not None:
            result = _Taken(owner[0])
        else:
            entry = self._encoder.encode(_Entry(self._process, digest, transaction))
            try:
                result = await self._log.publish(entry)
            except SharedLogUnavailableError as error:
                self._log.publish_later(entry)
                raise HistoryUnavailableError(str(error)) from error
        if not isinstance(result, _Taken):
            return result
        if result.digest not in (None, digest):
            raise OtherContentError(name)
        end = asyncio.get_running_loop().time() + WAIT_SECONDS
        while asyncio.get_running_loop().time() < end:
            if await self.recall(name) is not None:
                break
            await asyncio.sleep(POLL_SECONDS)
        raise AskedElsewhereError(name, self._foreign.get(name))

    def may_be_answered(self, transaction_id: str, event_time_us: int) -> bool:
        """Whether it is in the log, or so old that it may have been forgotten here."""
        return transaction_id in self._owners or event_time_us <= self._forgotten_up_to

    async def recall(self, transaction_id: str) -> StoredAnswer | None:
        """What another worker answered within the last hour; None also while Redis is away."""
        try:
            content = await self._log.get_answer(transaction_id)
        except SharedLogUnavailableError:
            return None
        return None if content is None else self._answers.decode(content)

    def answered(self, answer: StoredAnswer) -> None:
        """Put an answer where the other workers find it at once."""
        task = asyncio.get_running_loop().create_task(self._put(answer))
        self._tasks.add(task)  # the loop itself keeps only a weak reference
        task.add_done_callback(self._tasks.discard)

    async def start(self) -> None:
        """Apply what the log still holds; what the recovered state holds already is skipped."""
        await self._log.open()
        self._is_open = True

    async def follow(self) -> None:
        """Apply what the other workers were asked."""
        try:
            if not self._is_open:
                await self.start()
            await self._log.follow()
        except GapError as error:
            # Cut or begun anew. This state holds what it has applied; what is there now is applied
            # from its beginning by the next call, without the ids that are known.
            _log.warning("the shared log is taken up again: %s", error)
            self._is_open = False
        except SharedLogUnavailableError as error:
            _log.warning("the shared log cannot be followed: %s", error)

    async def close(self) -> None:
        """Finish what is under way, and let go of the connection."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=WAIT_SECONDS)
        await self._log.close()

    @property
    def problem(self) -> str | None:
        """What keeps this worker from the shared log."""
        if self._log.is_available:
            return None
        return "the rules answer, because the shared log in Redis cannot be used now"

    def _apply(self, _: str, entry: bytes) -> Observation | _Taken:
        told = self._decoder.decode(entry)
        transaction = told.transaction
        name = transaction.transaction_id
        owner = self._owners.get(name)
        if owner is not None:
            return _Taken(owner[0])
        self.know(name, transaction.event_time_us, told.digest)
        observation = self.state.observe(transaction)
        if told.process != self._process:
            # Should that process die before it answers, this one can.
            self._foreign[name] = observation
            if len(self._foreign) > MOST_FOREIGN:
                self._foreign.popitem(last=False)
        return observation

    async def _put(self, answer: StoredAnswer) -> None:
        content = self._encoder.encode(answer)
        for _ in range(PUT_TRIES):
            with suppress(SharedLogUnavailableError):
                await self._log.put_answer(answer.transaction_id, content, seconds=ANSWER_SECONDS)
                return
            await asyncio.sleep(WAIT_SECONDS)


async def logged_ids(url: str, worker: str) -> set[str]:
    """The ids of the transactions that the shared log holds now.

    Raises:
        SharedLogUnavailableError: Redis does not answer.
    """
    found: set[str] = set()
    decoder = msgspec.msgpack.Decoder(_Entry)

    def collect(_: str, entry: bytes) -> None:
        found.add(decoder.decode(entry).transaction.transaction_id)

    log: SharedLog[None] = SharedLog(url, collect, worker=worker, keep_entries=MIN_ENTRIES)
    try:
        await log.open()
    finally:
        await log.close()
    return found
