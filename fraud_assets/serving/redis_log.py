"""A log that several workers append to and apply in one order: a Redis Stream.

Each worker holds the same state because each applies the same entries in the same order, by the
same code. An entry's way is one round trip: a script appends it and returns what this worker has
not applied yet, up to and including it. What entries mean is the caller's business (`history`).

What can be lost. Redis is the order of things here, not the record: answers are in the journals
and the store. Where Redis comes back without the newest entries (restarted empty, restored, a
failover), each worker keeps what it applied, and an entry that one worker has applied and another
had not read yet is missing in the other's state. The worker whose newest entry is gone is told so
(`GapError`) and stays out until `open` is called again: with "0-0" to go on with the state that it
has, or after it has been built anew from the store. Entries that waited to be sent stay queued.
Run Redis with `appendonly yes` and `maxmemory-policy noeviction`, and it does not come to that.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable, Sequence
from typing import Final, Generic, TypeVar, cast

from fraud_assets.serving.redis_calls import RedisCalls, Script, SharedLogUnavailableError
from fraud_assets.serving.redis_outbox import MAX_BATCH, Outbox

__all__ = ["GapError", "SharedLog", "SharedLogUnavailableError"]

_log = logging.getLogger(__name__)

T = TypeVar("T")

START: Final = "0-0"
"""The cursor of a worker that has applied nothing: it begins with the oldest entry kept."""

MIN_ENTRIES: Final = 1_000
"""Redis trims by whole nodes of 100 entries, and a batch must fit in with room to spare."""

SLICE: Final = 256
"""Entries applied before the event loop gets its turn: some milliseconds."""

BEHIND_SLICES: Final = 4
"""After so many full slices a worker is behind: publishers are told at once, not at a timeout."""

RETRY_SECONDS: Final = 1.0
OPEN_SECONDS: Final = 5.0
SENT_SECONDS: Final = 7 * 86_400
"""How long Redis knows which entries a silent worker has sent: longer than an outage lasts."""


# Keys: the stream, this worker's newest counter. Arguments: cursor, entries to keep, entries to
# return, the worker's token, seconds to know the counter, then counter and content of each entry.
# The entry at the cursor must still be there: if not, entries after it may be gone as well, and
# that is so after a trim, an empty restart and a lost tail alike. It is looked at before anything
# is appended. The trim comes last, so that it takes nothing that this call returns.
_ADVANCE: Final = Script("""
local cursor = ARGV[1]
if cursor ~= '0-0' and #redis.call('XRANGE', KEYS[1], cursor, cursor) == 0 then
  return {0}
end
if #ARGV > 5 then
  local newest = tonumber(redis.call('GET', KEYS[2]) or '0')
  for i = 6, #ARGV, 2 do
    local counter = tonumber(ARGV[i])
    if counter > newest then
      redis.call('XADD', KEYS[1], '*', 't', ARGV[4] .. ':' .. ARGV[i], 'e', ARGV[i + 1])
      newest = counter
    end
  end
  redis.call('SET', KEYS[2], string.format('%.0f', newest), 'EX', ARGV[5])
end
local entries = redis.call('XRANGE', KEYS[1], '(' .. cursor, '+', 'COUNT', ARGV[3])
if #entries < tonumber(ARGV[3]) then
  redis.call('XTRIM', KEYS[1], 'MAXLEN', '~', ARGV[2])
end
return {1, entries}
""")

# Keys: of the answers. Arguments: content and seconds of each.
_KEEP_ANSWERS: Final = Script("""
for i = 1, #KEYS do
  redis.call('SET', KEYS[i], ARGV[2 * i - 1], 'EX', ARGV[2 * i])
end
return 1
""")


class GapError(SharedLogUnavailableError):
    """The log no longer holds all that this worker has not applied: `open` it again."""


class SharedLog(Generic[T]):
    """The log as one worker sees it. For one event loop; one call is under way at a time.

    Entries that are published meanwhile go with the next call, which is how they become batches.
    """

    def __init__(
        self,
        url: str,
        apply: Callable[[str, bytes], T],
        *,
        worker: str,
        keep_entries: int,
        timeout_seconds: float = 0.25,
        key_prefix: str = "fraud_assets",
    ) -> None:
        """Name the log; nothing is opened yet.

        Args:
            url: of Redis, `redis://` or `rediss://` (TLS).
            apply: is given every entry once, by its id in the stream and its content. Its result
                goes to the publisher in this worker, its exception too.
            worker: this worker's name, for who looks into the stream.
            keep_entries: entries that the stream keeps at least; Redis keeps some more.
            timeout_seconds: the longest that `publish` takes.
            key_prefix: begins the keys in Redis, one for each service that shares it.

        Raises:
            ValueError: the URL is none, or too few entries are to be kept.
        """
        if keep_entries < MIN_ENTRIES:
            raise ValueError(f"keep at least {MIN_ENTRIES} entries, not {keep_entries}")
        self._redis = RedisCalls(url)
        self._apply = apply
        self._token = f"{worker}.{secrets.token_hex(6)}".encode()
        self._keep = keep_entries
        self._timeout = timeout_seconds
        self._stream = f"{key_prefix}:log"
        self._sent_key = f"{key_prefix}:sent:{self._token.decode()}"
        self._answer_key = f"{key_prefix}:answer:"

        self.cursor = START
        self.lost: str | None = None
        """Why entries are missing from the log for this worker, until it is opened again."""
        self._is_open = False
        self._is_behind = False
        self._retry_at: float | None = None
        self._outbox: Outbox[T] = Outbox()
        self._followers: list[asyncio.Future[None]] = []
        self._task: asyncio.Task[None] | None = None
        self._watch: asyncio.TimerHandle | None = None
        self._answers: list[tuple[str, bytes, int]] = []
        self._answers_put: asyncio.Future[None] | None = None

    # --- what a worker does ------------------------------------------------------------------

    @property
    def is_available(self) -> bool:
        """Whether an entry would be published now, as far as is known."""
        return self._retry_at is None and self._refusal() is None

    @property
    def waiting(self) -> int:
        """Entries that are to be sent later."""
        return self._outbox.waiting

    @property
    def dropped(self) -> int:
        """Entries that were to be sent later and found no room."""
        return self._outbox.dropped

    async def open(self, cursor: str = START) -> None:
        """Apply everything after the cursor; also how to go on after a `GapError`.

        Raises:
            GapError: the stream no longer holds the entry at the cursor, so that later ones may be
                missing too. With the cursor "0-0" this cannot be.
            SharedLogUnavailableError: Redis does not answer.
        """
        if self._task is not None:
            await asyncio.wait([self._task])
        self._is_open, self._is_behind = False, False
        self.lost, self._retry_at, self.cursor = None, None, cursor
        await self._join()
        self._is_open = True

    async def publish(self, entry: bytes) -> T:
        """Append an entry, apply everything up to and including it, and give its result.

        An entry whose publication has failed may stand in the log nevertheless. Published again,
        byte for byte, it is the same entry: it is neither appended nor applied twice.

        Raises:
            SharedLogUnavailableError: it is not known to be applied within the timeout.
            Exception: whatever `apply` raised for it.
        """
        refusal = self._refusal()
        if refusal is not None:
            if self._outage() is None:
                self._begin()  # whom it would keep waiting is refused, but the catching up goes on
            raise refusal
        loop = asyncio.get_running_loop()
        future = self._outbox.put(entry, loop.time())
        if self._watch is None:
            self._watch = loop.call_at(loop.time() + self._timeout, self._give_up)
        self._begin()
        # Shielded: nobody else who waits for the same entry is cancelled with this publisher.
        return await asyncio.shield(future)

    def publish_later(self, entry: bytes) -> None:
        """Send an entry with the next call that succeeds, before newer ones; known as in `publish`.

        The oldest is dropped, and counted, where too many wait.
        """
        self._outbox.put_later(entry)

    async def follow(self) -> None:
        """Apply what the others appended, and send what was to be sent later.

        Raises:
            GapError: the log has lost entries that this worker has not applied.
            SharedLogUnavailableError: Redis does not answer.
        """
        outage = self._outage()
        if outage is not None:
            raise outage
        await self._join()

    async def put_answer(self, transaction_id: str, answer: bytes, *, seconds: int) -> None:
        """Let the other workers find an answer for some seconds.

        Raises:
            SharedLogUnavailableError: Redis does not answer.
        """
        self._check_reachable()
        self._answers.append((self._answer_key + transaction_id, answer, seconds))
        if self._answers_put is None:
            self._answers_put = asyncio.ensure_future(self._put_answers())
        await asyncio.shield(self._answers_put)

    async def get_answer(self, transaction_id: str) -> bytes | None:
        """An answer that some worker put, while it lasts.

        Raises:
            SharedLogUnavailableError: Redis does not answer.
        """
        self._check_reachable()
        key = self._answer_key + transaction_id
        return cast("bytes | None", await self._redis.call("GET", key, seconds=self._timeout))

    async def close(self) -> None:
        """Let go of the connections; what was to be sent later stays unsent, and is told."""
        if self._watch is not None:
            self._watch.cancel()
        self._is_open = False
        for task in (self._task, self._answers_put):
            if task is not None:
                task.cancel()
                await asyncio.wait([task])
        self._fail(SharedLogUnavailableError("the shared log is closed"))
        if self.waiting:
            _log.warning("%d entries never reached the shared log", self.waiting)
        await self._redis.close()

    # --- one call after the other ------------------------------------------------------------

    def _outage(self) -> SharedLogUnavailableError | None:
        """Why no call is made now. After a failure one call a second finds out whether to go on."""
        if self.lost is not None:
            return GapError(self.lost)
        if not self._is_open:
            return SharedLogUnavailableError("the shared log is not open")
        if self._retry_at is not None and (
            self._task is not None or asyncio.get_running_loop().time() < self._retry_at
        ):
            return SharedLogUnavailableError(f"Redis at {self._redis.where} failed a moment ago")
        return None

    def _refusal(self) -> SharedLogUnavailableError | None:
        """Why an entry would not be applied in time."""
        if self._is_behind or self.waiting >= MAX_BATCH:
            return self._outage() or SharedLogUnavailableError(
                "this worker is behind the shared log, and catching up"
            )
        return self._outage()

    def _check_reachable(self) -> None:
        if self._retry_at is not None:
            raise SharedLogUnavailableError(f"Redis at {self._redis.where} failed a moment ago")

    def _begin(self) -> None:
        if self._task is None:
            # Begins with the loop's next tick: whatever this one publishes goes along.
            self._task = asyncio.get_running_loop().create_task(self._run())

    async def _join(self) -> None:
        """Wait for a call that begins after now, and for all that it found to be applied."""
        follower: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._followers.append(follower)
        self._begin()
        await follower

    async def _run(self) -> None:
        try:
            while self._outbox or self._followers:
                followers, self._followers = self._followers, []
                try:
                    await self._advance()
                except asyncio.CancelledError:
                    self._followers += followers
                    raise
                except SharedLogUnavailableError as error:
                    self._followers += followers
                    self._fail(error)
                    return
                except Exception as error:  # noqa: BLE001
                    _log.error("the shared log failed with %s", type(error).__name__)
                    self._followers += followers
                    self._fail(SharedLogUnavailableError(f"failed with {type(error).__name__}"))
                    return
                for follower in followers:
                    if not follower.done():
                        follower.set_result(None)
        finally:
            self._task = None

    async def _advance(self) -> None:
        """Send what waits, and apply the log to its end."""
        sent: list[int | bytes] = [part for pair in self._outbox.batch() for part in pair]
        keys = (self._stream, self._sent_key)
        seconds = self._timeout if self._is_open else OPEN_SECONDS
        slices = 0
        while True:
            arguments = (self.cursor, self._keep, SLICE, self._token, SENT_SECONDS, *sent)
            reply = await self._redis.run(_ADVANCE, keys, arguments, seconds=seconds)
            if reply[0] == 0:
                self.lost = (
                    f"the shared log at {self._redis.where} has lost entries: it was trimmed, "
                    "emptied or restored; build the state anew, or go on with what it holds"
                )
                raise GapError(self.lost)
            self._retry_at = None
            entries, sent = reply[1], []
            for stream_id, fields in entries:
                self._take(stream_id.decode(), fields)
            slices += 1
            self._is_behind = len(entries) == SLICE and slices >= BEHIND_SLICES
            if len(entries) < SLICE:
                break
        self._outbox.settle()

    def _take(self, stream_id: str, fields: Sequence[bytes]) -> None:
        """Apply one entry of the stream."""
        self.cursor = stream_id
        if len(fields) != 4 or fields[0] != b"t" or fields[2] != b"e":
            _log.error("entry %s of the shared log is none of ours; it is skipped", stream_id)
            return
        token, _, counter = fields[1].rpartition(b":")
        number = int(counter) if token == self._token else 0
        try:
            result = self._apply(stream_id, fields[3])
        except Exception as error:  # noqa: BLE001
            # Not its text: that may tell what stands in the entry.
            _log.error(
                "entry %s of the shared log cannot be applied: %s", stream_id, type(error).__name__
            )
            self._outbox.failed(number, error)
        else:
            self._outbox.applied(number, result)

    # --- failures ----------------------------------------------------------------------------

    def _fail(self, error: SharedLogUnavailableError) -> None:
        """Tell everybody who waits; whatever has been sent may be in the log, and is remembered."""
        if not isinstance(error, GapError):
            self._retry_at = asyncio.get_running_loop().time() + RETRY_SECONDS
        self._is_behind = False
        self._outbox.fail(error)
        followers, self._followers = self._followers, []
        for follower in followers:
            if not follower.done():
                follower.set_exception(error)

    def _give_up(self) -> None:
        """Tell those who have waited for the timeout, and look again when the next will have."""
        loop = asyncio.get_running_loop()
        error = SharedLogUnavailableError(
            f"Redis at {self._redis.where} has not answered within {self._timeout} s"
        )
        oldest = self._outbox.fail_older(loop.time() - self._timeout, error)
        self._watch = (
            None if oldest is None else loop.call_at(oldest + self._timeout, self._give_up)
        )

    async def _put_answers(self) -> None:
        """All answers of a tick in one call."""
        await asyncio.sleep(0)
        answers, self._answers, self._answers_put = self._answers, [], None
        await self._redis.run(
            _KEEP_ANSWERS,
            [key for key, _, _ in answers],
            [part for _, answer, seconds in answers for part in (answer, seconds)],
            seconds=self._timeout,
        )
