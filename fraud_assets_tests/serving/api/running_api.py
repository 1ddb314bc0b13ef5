"""A running API, and what tests ask it."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import uvicorn

from fraud_assets.serving.app import create_app
from fraud_assets.serving.service import ScoringService
from fraud_assets.settings import Settings

NOW = datetime.now(UTC).replace(microsecond=0)


class Api:
    """A running server, and a client for it."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.service = ScoringService(settings)
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        config = uvicorn.Config(
            create_app(self.service), ws="none", lifespan="on", log_config=None, access_log=False
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(
            target=self._server.run, kwargs={"sockets": [self._socket]}, daemon=True
        )
        self.client = httpx.Client(base_url=self.url, timeout=60, trust_env=False)

    def start(self) -> None:
        self._thread.start()
        self.until(lambda: self.get("/ready").status_code == 200)

    def stop(self) -> None:
        self.client.close()
        self._server.should_exit = True
        self._thread.join(30)
        assert not self._thread.is_alive()

    def get(self, path: str, **options: Any) -> httpx.Response:
        return self.client.get(path, **options)

    def post(self, path: str, body: Any, **options: Any) -> httpx.Response:
        return self.client.post(path, json=body, **options)

    def put(self, path: str, body: Any, **options: Any) -> httpx.Response:
        return self.client.put(path, json=body, **options)

    def score(self, transaction_id: str, **changes: Any) -> dict[str, Any]:
        answer = self.post("/v1/score", transaction(transaction_id, **changes))
        assert answer.status_code == 200, answer.text
        return answer.json()

    @staticmethod
    def until(holds: Callable[[], bool], seconds: float = 60) -> None:
        """Waits for what happens beside the requests: keys, refreshes, the writer."""
        end = time.monotonic() + seconds
        while not holds():
            assert time.monotonic() < end, "it has not happened"
            time.sleep(0.02)


def transaction(transaction_id: str, **changes: Any) -> dict[str, Any]:
    """A transaction as the simulator's profile wants it."""
    return {
        "transaction_id": transaction_id,
        "event_time": (NOW - timedelta(minutes=5)).isoformat(),
        "amount": 42.5,
        "payer_id": "payer-1",
        "payee_id": "payee-1",
        "kind": "PAYMENT",
        **changes,
    }


def problem_of(answer: httpx.Response, status: int) -> dict[str, Any]:
    """The problem that was answered, once it is found to be one."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "no-store"
    found: dict[str, Any] = answer.json()
    assert found["status"] == status
    assert found["title"]
    assert "Traceback" not in answer.text
    return found
