"""One call to Redis that answers in time, or fails with a reason that may be shown.

The library's messages stay out of ours: they may hold what was sent, or a part of the password.
What the calls are for belongs in `redis_log`.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from typing import Any, Final

from redis import exceptions as errors
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.connection import parse_url
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

MAX_CONNECTIONS: Final = 8

_REASONS: Final[tuple[tuple[type[Exception], str], ...]] = (
    (errors.AuthenticationError, "refuses the user or the password"),
    (errors.AuthorizationError, "refuses the user or the password"),
    (errors.NoPermissionError, "does not permit this user what the shared log needs"),
    (errors.BusyLoadingError, "is still loading its data"),
    (errors.OutOfMemoryError, "has no memory left: see its maxmemory"),
    (errors.ReadOnlyError, "is a replica that only reads: name the primary"),
    (errors.TimeoutError, "does not answer"),
    (TimeoutError, "does not answer"),
    (errors.ConnectionError, "cannot be reached"),
    (OSError, "cannot be reached"),
)


class SharedLogUnavailableError(RuntimeError):
    """Redis does not answer, or this worker cannot use the shared log now."""


class Script:
    """A Lua script, which Redis runs as a whole or not at all."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.sha = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


class RedisCalls:
    """Connections to one Redis, opened when they are needed.

    A call whose connection breaks is made once more at once, so it must be one that may run twice.
    """

    def __init__(self, url: str) -> None:
        """Read the URL; nothing is opened yet.

        Args:
            url: `redis://`, `rediss://` (TLS) or `unix://`.

        Raises:
            ValueError: it is no such URL.
        """
        try:
            options: dict[str, Any] = dict(parse_url(url))
        except ValueError:
            raise ValueError(
                "the URL of Redis cannot be read: write redis://user:password@host:6379/0 or "
                "rediss://…, with %-codes for special characters in the password"
            ) from None
        host, port = options.get("host", "localhost"), options.get("port", 6379)
        self.where: str = options.get("path") or f"{host}:{port}"
        # Ours come last: the URL's query must not undo them. The library's own timeouts and
        # repetitions would be beside ours.
        options |= {
            "max_connections": MAX_CONNECTIONS,
            "timeout": None,
            "decode_responses": False,
            "socket_timeout": None,
            "socket_connect_timeout": None,
            "retry": Retry(NoBackoff(), 0),
        }
        self._redis = Redis(connection_pool=BlockingConnectionPool(**options))

    async def call(self, *command: str | bytes | int, seconds: float) -> Any:  # noqa: ANN401
        """Send one command.

        Returns:
            Redis' reply: bytes, integers, None, and lists of these.

        Raises:
            SharedLogUnavailableError: no reply in time, or an error. The command may have run.
        """
        try:
            return await self._send(*command, seconds=seconds)
        except errors.NoScriptError:
            raise self._unavailable("does not know the script") from None

    async def run(
        self,
        script: Script,
        keys: Sequence[str],
        arguments: Sequence[str | bytes | int],
        *,
        seconds: float,
    ) -> Any:  # noqa: ANN401
        """Run a script, with its text where Redis does not know it yet.

        Raises:
            SharedLogUnavailableError: as in `call`.
        """
        rest = (len(keys), *keys, *arguments)
        try:
            return await self._send("EVALSHA", script.sha, *rest, seconds=seconds)
        except errors.NoScriptError:
            return await self.call("EVAL", script.text, *rest, seconds=seconds)

    async def close(self) -> None:
        """Close the connections."""
        await self._redis.aclose()
        await self._redis.connection_pool.disconnect()

    async def _send(self, *command: str | bytes | int, seconds: float) -> Any:  # noqa: ANN401
        try:
            # A call that is given up closes its connection: a late reply answers no other call.
            async with asyncio.timeout(seconds):
                try:
                    return await self._redis.execute_command(*command)  # type: ignore[no-untyped-call]
                except errors.ConnectionError as error:
                    if type(error) is not errors.ConnectionError:
                        raise
                # Redis was restarted, or closed what was idle: so it is with the other connections.
                await self._redis.connection_pool.disconnect(inuse_connections=False)
                return await self._redis.execute_command(*command)  # type: ignore[no-untyped-call]
        except errors.NoScriptError:
            raise
        except (errors.RedisError, OSError) as error:
            raise self._unavailable(_reason(error)) from None

    def _unavailable(self, reason: str) -> SharedLogUnavailableError:
        return SharedLogUnavailableError(f"Redis at {self.where} {reason}")


def _reason(error: Exception) -> str:
    for kind, reason in _REASONS:
        if isinstance(error, kind):
            return reason
    return f"failed with {type(error).__name__}"
