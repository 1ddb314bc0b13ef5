"""How much one caller may send: rates, and bodies of every shape."""

from __future__ import annotations

from collections.abc import Sequence

import anyio
import pytest
from starlette.requests import ClientDisconnect

from fraud_assets.serving.limits import RateLimits, check_content_type, read_body
from fraud_assets.serving.logs import places_of
from fraud_assets.serving.problems import ProblemError


def read(parts: Sequence[bytes], limit: int, *, ends: bool = True, **headers: str) -> bytes:
    messages = [
        {"type": "http.request", "body": part, "more_body": not ends or i + 1 < len(parts)}
        for i, part in enumerate(parts)
    ]
    messages.append({"type": "http.disconnect"})
    left = iter(messages)

    async def receive():
        return next(left)

    scope = {
        "headers": [(name.replace("_", "-").encode(), v.encode()) for name, v in headers.items()]
    }
    return anyio.run(read_body, scope, receive, limit)


@pytest.mark.parametrize("parts", [[b"abcd"], [b"ab", b"cd"], [b"", b"abcd", b""]])
def test_a_body_within_the_limit_comes_whole(parts) -> None:
    assert read(parts, 4) == b"abcd"


@pytest.mark.parametrize("parts", [[b"abcd"], [b"ab", b"cd"], [b"", b"abcd", b""]])
def test_a_body_beyond_the_limit_is_refused_however_it_comes(parts) -> None:
    with pytest.raises(ProblemError) as refused:
        read(parts, 3)
    assert refused.value.status == 413
    assert refused.value.headers["Connection"] == "close"


def test_a_length_beyond_the_limit_is_refused_before_anything_is_read() -> None:
    with pytest.raises(ProblemError):
        read([], 3, content_length="4")


def test_a_client_that_goes_away_is_not_waited_for() -> None:
    with pytest.raises(ClientDisconnect):
        read([b"ab"], 10, ends=False)


@pytest.mark.parametrize(
    "kind", ["application/json", "Application/JSON; charset=utf-8", "application/vnd.x+json"]
)
def test_kinds_of_json_are_taken(kind) -> None:
    check_content_type({"headers": [(b"content-type", kind.encode())]}, b"{}")


@pytest.mark.parametrize(
    "kind", ["text/json", "application/jsonp", "x+json", "multipart/form-data"]
)
def test_other_kinds_are_not(kind) -> None:
    with pytest.raises(ProblemError) as refused:
        check_content_type({"headers": [(b"content-type", kind.encode())]}, b"{}")
    assert refused.value.status == 415


def test_each_caller_has_a_rate_of_their_own() -> None:
    limits = RateLimits("2/minute", None)
    for who in ("ann", "bob"):
        limits.check(who, scoring=True)
        limits.check(who, scoring=True)
        with pytest.raises(ProblemError) as refused:
            limits.check(who, scoring=True)
        assert 1 <= int(refused.value.headers["Retry-After"]) <= 60
    for _ in range(100):
        limits.check("ann", scoring=False)


def test_a_rate_that_cannot_be_read_names_its_setting() -> None:
    with pytest.raises(ValueError, match="FRAUD_API__OTHER_RATE"):
        RateLimits(None, "often")


def test_an_exception_in_the_log_has_its_place_and_not_its_words() -> None:
    def inner() -> None:
        payer = "payer-1"
        raise KeyError(payer)

    try:
        try:
            inner()
        except KeyError as error:
            raise ValueError("payer-1 paid 42") from error
    except ValueError as error:
        found = places_of((type(error), error, error.__traceback__))
    assert [one["type"] for one in found] == ["ValueError", "KeyError"]
    assert any("test_serving_limits.py" in place and "inner" in place for place in found[1]["at"])
    assert "payer-1" not in str(found)
