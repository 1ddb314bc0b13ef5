"""How much one caller may ask for: requests per time, and bytes per request.

Rates are those of the library `limits`, kept in the memory of one process: with several workers
each of them allows the whole rate. Who a caller is belongs in `keys`.
"""

from __future__ import annotations

import math
import time
from typing import Final

from limits import RateLimitItem, parse
from limits.storage import MemoryStorage
from limits.strategies import SlidingWindowCounterRateLimiter
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope

from fraud_assets.serving.problems import ProblemError


class RateLimits:
    """One limit for scoring and one for all other requests, per caller.

    Args:
        score_rate: as `1000/second`; None for no limit.
        other_rate: the same for what is no scoring.

    Raises:
        ValueError: a rate cannot be read.
    """

    def __init__(self, score_rate: str | None, other_rate: str | None) -> None:
        self._score = _rate("FRAUD_API__SCORE_RATE", score_rate)
        self._other = _rate("FRAUD_API__OTHER_RATE", other_rate)
        self._limiter = SlidingWindowCounterRateLimiter(MemoryStorage())

    def check(self, who: str, *, scoring: bool) -> None:
        """Count a request of a caller.

        Raises:
            ProblemError: 429, with the seconds to wait in `Retry-After`.
        """
        rate = self._score if scoring else self._other
        if rate is None or self._limiter.hit(rate, "score" if scoring else "other", who):
            return
        stats = self._limiter.get_window_stats(rate, "score" if scoring else "other", who)
        wait = max(1, math.ceil(stats.reset_time - time.time()))
        raise ProblemError(
            429,
            f"more than {rate.amount} requests per {rate.get_expiry()} s; ask again in {wait} s",
            headers={"Retry-After": str(wait)},
        )


def _rate(setting: str, text: str | None) -> RateLimitItem | None:
    if text is None:
        return None
    try:
        return parse(text)
    except ValueError as error:
        raise ValueError(f"{setting}: no rate, as 100/second or 5000/minute: {text!r}") from error


async def read_body(scope: Scope, receive: Receive, max_bytes: int) -> bytes:
    """The whole body of a request, also one that does not say how long it is.

    Raises:
        ProblemError: 413, as soon as it is longer than `max_bytes`.
        ClientDisconnect: the client went away before it had sent everything.
    """
    for name, value in scope["headers"]:
        if name == b"content-length" and value.isdigit() and int(value) > max_bytes:
            raise _too_large(max_bytes)
    message = await receive()
    if message["type"] == "http.request" and not message.get("more_body"):
        body: bytes = message.get("body", b"")  # nearly every request: no copy
        if len(body) > max_bytes:
            raise _too_large(max_bytes)
        return body
    parts = bytearray()
    while message["type"] == "http.request":
        parts += message.get("body", b"")
        if len(parts) > max_bytes:
            raise _too_large(max_bytes)
        if not message.get("more_body"):
            return bytes(parts)
        message = await receive()
    raise ClientDisconnect


def _too_large(max_bytes: int) -> ProblemError:
    # The rest is not read: the connection must not be used for another request.
    return ProblemError(
        413,
        f"the body has more than {max_bytes} bytes (FRAUD_API__MAX_BODY_BYTES); send several "
        "smaller requests",
        headers={"Connection": "close"},
    )


def check_content_type(scope: Scope, body: bytes) -> None:
    """Refuse a body that does not say that it is JSON.

    A page in a browser on this machine could otherwise send one as plain text, which needs no
    permission of this server, to an API that asks loopback for no key.

    Raises:
        ProblemError: 415.
    """
    if not body:
        return
    for name, value in scope["headers"]:
        if name == b"content-type":
            kind = value.partition(b";")[0].strip().lower()
            if kind == _JSON or (kind.startswith(b"application/") and kind.endswith(b"+json")):
                return
            break
    raise ProblemError(
        415,
        "send the body as JSON, with `Content-Type: application/json`",
        headers={"Accept": "application/json"},
    )


_JSON: Final = b"application/json"
