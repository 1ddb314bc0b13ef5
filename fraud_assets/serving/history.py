"""How a transaction enters the state of the features: in this process, or through a shared log.

One worker keeps its state for itself. Several workers append every transaction to a Redis Stream
and apply the stream in its order, so that each holds the state of all of them, by the same code.
Models, answers and journals are the business of `service`.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
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
MIN_ENTRIES: Final = 100_000


class HistoryUnavailableError(RuntimeError):
    """The history of the entities cannot be reached now; the rules do without it."""


class AnsweredElsewhereError(Exception):
    """Another worker was asked about the transaction first, and this is its answer."""

    def __init__(self, answer: StoredAnswer) -> None:
        self.answer = answer
        super().__init__(answer.transaction_id)


class History(Protocol):
    """The transactions so far, as features of the next one."""

    state: OnlineFeatures

    async def observe(self, transaction: OnlineTransaction, digest: str) -> Observation:
        """Remember a transaction, and give its features.

        Raises:
            HistoryUnavailableError: the shared log does not answer; the transaction will be
                appended to it later.
            AnsweredElsewhereError: another worker has answered it.
        """

    def seen(self, transaction_id: str) -> bool:
        """Whether the log holds the transaction: the store may hold its answer."""

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

    def seen(self, transaction_id: str) -> bool:
        """There is no log."""
        del transaction_id
        return False

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
    """What stands in the log: a transaction, who was asked about it, and its content's hash."""

    worker: str
    digest: str
    transaction: OnlineTransaction


@dataclass(frozen=True)
class _Taken:
    """What applying a transaction gives that is in the log already."""

    worker: str
    digest: str


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
        self._worker = worker
        self._kept = max(remembered, MIN_ENTRIES)
        self._owners: OrderedDict[str, tuple[str, str]] = OrderedDict()
        self._foreign: OrderedDict[str, Observation] = OrderedDict()
        self._encoder = msgspec.msgpack.Encoder()
        self._decoder = msgspec.msgpack.Decoder(_Entry)
        self._answers = msgspec.msgpack.Decoder(StoredAnswer)
        self._tasks: set[asyncio.Task[None]] = set()
        self._log: SharedLog[Observation | _Taken] = SharedLog(
            url, self._apply, worker=worker, keep_entries=self._kept
        )

    def know(self, answer: StoredAnswer) -> None:
        """An answer that the recovered state holds: its entry in the log is not applied again."""
        self._remember(answer.transaction_id, answer.worker, answer.digest)

    async def observe(self, transaction: OnlineTransaction, digest: str) -> Observation:
        """Append to the log, apply it up to there, and give the features."""
        name = transaction.transaction_id
        entry = self._encoder.encode(_Entry(self._worker, digest, transaction))
        owner = self._owners.get(name)
        result: Observation | _Taken
        if owner is not None:
            result = _Taken(*owner)
        else:
            try:
                result = await self._log.publish(entry)
            except SharedLogUnavailableError as error:
                self._log.publish_later(entry)
                raise HistoryUnavailableError(str(error)) from error
        if isinstance(result, _Taken):
            return await self._taken(name)
        return result

    def seen(self, transaction_id: str) -> bool:
        """Whether some worker was asked about it before."""
        return transaction_id in self._owners

    def answered(self, answer: StoredAnswer) -> None:
        """Put an answer where the other workers find it at once."""
        task = asyncio.get_running_loop().create_task(self._put(answer))
        self._tasks.add(task)  # the loop itself keeps only a weak reference
        task.add_done_callback(self._tasks.discard)

    async def start(self) -> None:
        """Apply what the log still holds; what the recovered state holds already is skipped."""
        await self._log.open()

    async def follow(self) -> None:
        """Apply what the other workers were asked."""
        try:
            await self._log.follow()
        except GapError as error:
            # Cut or begun anew. This state holds what it has applied, and what is there now
            # is applied from its beginning, without the ids that are known.
            _log.warning("the shared log is taken up again: %s", error)
            await self._log.open()
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
        return "the rules score, because the shared log in Redis cannot be used now"

    def _apply(self, _: str, entry: bytes) -> Observation | _Taken:
        told = self._decoder.decode(entry)
        name = told.transaction.transaction_id
        owner = self._owners.get(name)
        if owner is not None:
            return _Taken(*owner)
        self._remember(name, told.worker, told.digest)
        observation = self.state.observe(told.transaction)
        if told.worker != self._worker:
            # Should that worker die before it answers, this one can.
            self._foreign[name] = observation
            if len(self._foreign) > MIN_ENTRIES // 10:
                self._foreign.popitem(last=False)
        return observation

    def _remember(self, name: str, worker: str, digest: str) -> None:
        self._owners[name] = (worker, digest)
        if len(self._owners) > 2 * self._kept:
            self._owners.popitem(last=False)

    async def _taken(self, name: str) -> Observation:
        """Another worker's answer, else the features that it saw."""
        end = asyncio.get_running_loop().time() + WAIT_SECONDS
        while True:
            try:
                content = await self._log.get_answer(name)
            except SharedLogUnavailableError as error:
                raise HistoryUnavailableError(str(error)) from error
            if content is not None:
                raise AnsweredElsewhereError(self._answers.decode(content))
            if asyncio.get_running_loop().time() > end:
                break
            await asyncio.sleep(POLL_SECONDS)
        observation = self._foreign.get(name)
        if observation is None:
            raise HistoryUnavailableError("another worker was asked first, and has not answered")
        return observation

    async def _put(self, answer: StoredAnswer) -> None:
        try:
            content = self._encoder.encode(answer)
            await self._log.put_answer(answer.transaction_id, content, seconds=ANSWER_SECONDS)
        except SharedLogUnavailableError:
            return  # the store will have it
