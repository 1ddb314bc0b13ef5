"""Endpoints that do nothing: what the framework and the server alone cost.

Served by uvicorn, `serving_empty:fastapi_app` and `serving_empty:asgi_app`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import FastAPI

fastapi_app = FastAPI()


@fastapi_app.post("/score")
async def score() -> dict[str, float]:
    """A constant; the body of the request is received and not looked at."""
    return {"probability": 0.5}


_HEADERS = [(b"content-type", b"application/json"), (b"content-length", b"19")]


async def asgi_app(
    scope: dict[str, Any],  # noqa: ARG001 - the interface
    receive: Callable[[], Awaitable[dict[str, Any]]],  # noqa: ARG001
    send: Callable[[dict[str, Any]], Awaitable[None]],
) -> None:
    """The same without a framework."""
    await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
    await send({"type": "http.response.body", "body": b'{"probability":0.5}'})
