"""The server as an operator meets it: a process with an address, logs, and an end."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from pathlib import Path

import httpx
import pytest

from fraud_assets.serving import server
from fraud_assets.serving.server import ServerInUseError, claim_worker
from fraud_assets.settings import ApiSettings, Settings
from fraud_assets.store.answers import answers_since, get_answer
from fraud_assets.store.engine import PredictionStore
from fraud_assets_tests.serving.redis_server import RedisServer

COMMAND = str(Path(sys.executable).with_name("fraud-assets"))
TRANSACTION = {
    "transaction_id": "secret-tx",
    "event_time": datetime.now(UTC).isoformat(),
    "amount": 4242.42,
    "payer_id": "secret-payer",
    "kind": "PAYMENT",
}


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as bound:
        return int(bound.getsockname()[1])


def environment(folder: Path, **given: str) -> dict[str, str]:
    """Nothing of ours in it, but what is given."""
    clean = {
        k: v for k, v in os.environ.items() if not k.startswith(("FRAUD_", "DAGSTER_", "MLFLOW_"))
    }
    return {
        **clean, "FRAUD_DATA_DIR": str(folder / "data"), "MLFLOW_DISABLE_TELEMETRY": "true",
        "FRAUD_API__REFRESH_SECONDS": "0.2", **given,
    }  # fmt: skip


class Served:
    """`fraud-assets serve` in a process of its own."""

    def __init__(self, folder: Path, *arguments: str, **given: str) -> None:
        self.port = free_port()
        self.folder = folder
        self._output = (folder / "output.log").open("w+")
        self.process = subprocess.Popen(
            [COMMAND, "serve", "--port", str(self.port), *arguments],
            cwd=folder,
            env=environment(folder, **given),
            stdout=self._output,
            stderr=subprocess.STDOUT,
        )
        self.client = httpx.Client(
            base_url=f"http://127.0.0.1:{self.port}", timeout=20, trust_env=False
        )

    def until_ready(self, headers: dict[str, str] | None = None) -> None:
        end = time.monotonic() + 90
        while True:
            with contextlib.suppress(httpx.TransportError):
                if self.client.get("/ready", headers=headers).status_code == 200:
                    return
            assert self.process.poll() is None, self.output()
            assert time.monotonic() < end, self.output()
            time.sleep(0.1)

    def output(self) -> str:
        return (self.folder / "output.log").read_text()

    def lines(self) -> list[dict]:
        return [json.loads(line) for line in self.output().splitlines() if line.startswith("{")]

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(40)

    def close(self) -> None:
        self.client.close()
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self._output.close()


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Served]]:
    with contextlib.ExitStack() as stack:

        def start(*arguments: str, **given: str) -> Served:
            served = Served(tmp_path, *arguments, **given)
            stack.callback(served.close)
            return served

        yield start


def refused(folder: Path, *arguments: str, **given: str) -> str:
    """What a refused command says, in one message."""
    done = subprocess.run(
        [COMMAND, *arguments], cwd=folder, env=environment(folder, **given),
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 2, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return " ".join(done.stderr.split())


@pytest.mark.slow
def test_a_server_says_where_it_listens_logs_no_person_and_ends_with_all_stored(serve) -> None:
    served = serve()
    served.until_ready()
    said = served.output()
    assert f"listening on http://127.0.0.1:{served.port}" in said
    assert f"http://127.0.0.1:{served.port}/docs" in said
    assert "no API key exists yet" in said

    assert served.client.post("/v1/score", json=TRANSACTION).status_code == 200
    label = {"transaction_id": "secret-tx", "label": "fraud", "note": "secret-note"}
    assert served.client.post("/v1/labels", json=label).status_code == 201
    query = "/v1/predictions?payer_id=secret-payer"
    assert served.client.get(query, headers={"X-API-Key": "fa_secret_key"}).status_code == 200
    assert served.client.get("/v1/predictions/secret-tx").status_code == 200
    assert served.client.post("/v1/labels", json={**label, "label": 9}).status_code == 422
    assert served.stop() == 0

    requests = [line for line in served.lines() if line["event"] == "request"]
    assert {line["route"] for line in requests} >= {"/v1/labels", "/v1/predictions"}
    assert all(line["request_id"] and line["ms"] >= 0 for line in requests)
    # The scoring leaves no line: it is counted instead.
    assert "/v1/score" not in {line["route"] for line in requests}
    text = served.output()
    assert "secret" not in text
    assert "4242" not in text
    url = f"sqlite:///{served.folder / 'data' / 'store.db'}"
    with PredictionStore(url) as store:
        assert get_answer(store, "secret-tx") is not None


@pytest.mark.slow
def test_workers_share_state_and_metrics_and_a_dead_one_is_followed(serve, tmp_path) -> None:
    redis = RedisServer(tmp_path)
    redis.start()
    try:
        served = serve("--workers", "2", FRAUD_API__REDIS_URL=redis.url)
        served.until_ready()
        for number in range(40):
            body = {**TRANSACTION, "transaction_id": f"several-{number}"}
            assert score(served, body)["repeated"] is False
            # A new connection each time: whichever worker takes it knows the answer.
            assert score(served, body)["repeated"] is True
        assert {scored_in(served) for _ in range(10)} == {40.0}
        workers = set(stored_by(served))
        assert workers == {"w0", "w1"}

        first = next(
            int(line["event"].split("[")[1].rstrip("]"))
            for line in served.lines()
            if line["event"].startswith("Started server process")
        )
        os.kill(first, signal.SIGKILL)
        end = time.monotonic() + 90
        while served.output().count("Application startup complete") < 3:
            assert time.monotonic() < end, served.output()
            time.sleep(0.2)
        served.until_ready()
        body = {**TRANSACTION, "transaction_id": "several-0"}
        assert all(score(served, body)["repeated"] for _ in range(10))
        assert {scored_in(served) for _ in range(5)} == {40.0}
        assert served.stop() == 0
    finally:
        redis.kill()


def score(served: Served, body: dict) -> dict:
    """An answer over a connection of its own; one that met a dying worker is tried again."""
    for _ in range(20):
        with contextlib.suppress(httpx.TransportError):
            answer = httpx.post(
                f"http://127.0.0.1:{served.port}/v1/score", json=body, trust_env=False, timeout=20
            )
            if answer.status_code == 200:
                return answer.json()
        time.sleep(0.5)
    raise AssertionError(served.output())


def scored_in(served: Served) -> float:
    text = httpx.get(f"http://127.0.0.1:{served.port}/metrics", trust_env=False).text
    return sum(
        float(line.split()[-1])
        for line in text.splitlines()
        if line.startswith("scored_transactions_total{")
    )


def stored_by(served: Served) -> list[str]:
    """The workers of the answers in the store, once all are there."""
    url = f"sqlite:///{served.folder / 'data' / 'store.db'}"
    with PredictionStore(url) as store:
        end = time.monotonic() + 30
        while True:
            found = list(answers_since(store, date(2000, 1, 1)))
            if len(found) == 40:
                return [one.worker for one in found]
            assert time.monotonic() < end
            time.sleep(0.1)


@pytest.mark.slow
def test_a_key_opens_a_server_that_others_can_reach(serve, tmp_path: Path) -> None:
    made = subprocess.run(
        [COMMAND, "api-keys", "create", "shop", "--scope", "score"],
        cwd=tmp_path, env=environment(tmp_path), capture_output=True, text=True, check=True,
    )  # fmt: skip
    secret = made.stdout.split()[-1]
    served = serve("--host", "0.0.0.0")
    served.until_ready()
    assert "requests need an API key, in the header X-API-Key" in served.output()
    assert served.client.post("/v1/score", json=TRANSACTION).status_code == 401
    assert served.client.get("/metrics").status_code == 401
    headers = {"X-API-Key": secret}
    assert served.client.post("/v1/score", json=TRANSACTION, headers=headers).status_code == 200
    assert served.client.get("/v1/predictions", headers=headers).status_code == 403
    assert secret not in served.output()

    listed = subprocess.run(
        [COMMAND, "api-keys", "list"],
        cwd=tmp_path, env=environment(tmp_path), capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "shop" in listed.stdout
    assert secret not in listed.stdout


def test_an_open_address_without_a_key_is_refused_with_the_remedy(tmp_path: Path) -> None:
    said = refused(tmp_path, "serve", "--host", "0.0.0.0", "--port", str(free_port()))
    assert "fraud-assets api-keys create" in said
    assert "127.0.0.1" in said


def test_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as bound:
        port = str(bound.getsockname()[1])
        said = refused(tmp_path, "serve", "--port", port)
    assert f"port {port} of 127.0.0.1" in said
    assert "--port" in said


def test_a_rate_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    said = refused(tmp_path, "serve", "--port", str(free_port()), FRAUD_API__SCORE_RATE="fast")
    assert "FRAUD_API__SCORE_RATE" in said


def test_several_workers_need_redis(tmp_path: Path) -> None:
    assert "FRAUD_API__REDIS_URL" in refused(tmp_path, "serve", "--workers", "2")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("api-keys", "create", "x", "--scope", "all"), "score, read, label, train"),
        (("api-keys", "revoke", "none"), "no API key with the id 'none'"),
        (("prune",), "FRAUD_KEEP_DAYS"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_message(tmp_path: Path, arguments, expected) -> None:
    assert expected in refused(tmp_path, *arguments)


def test_prune_says_what_went(tmp_path: Path) -> None:
    done = subprocess.run(
        [COMMAND, "prune", "--keep-days", "3"],
        cwd=tmp_path, env=environment(tmp_path), capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "deleted 0 predictions, 0 answers" in done.stdout


CLAIM = """
import sys, time
from pathlib import Path
from fraud_assets.serving.server import claim_worker
print(claim_worker(Path(sys.argv[1]), 2), flush=True)
time.sleep(60)
"""


def test_each_worker_has_a_name_of_its_own_and_the_next_one_takes_a_dead_ones(tmp_path) -> None:
    def claim() -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-c", CLAIM, str(tmp_path)], stdout=subprocess.PIPE, text=True
        )

    first = claim()
    assert first.stdout.readline().strip() == "w0"
    second = claim()
    assert second.stdout.readline().strip() == "w1"
    try:
        with pytest.raises(ServerInUseError, match="another server"):
            claim_worker(tmp_path, 2)
        first.kill()
        first.wait()
        third = claim()
        assert third.stdout.readline().strip() == "w0"
        third.kill()
        third.wait()
    finally:
        second.kill()
        second.wait()


def test_workers_believe_the_address_that_was_bound_whatever_the_file_says_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in os.environ if name.upper().startswith("FRAUD_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("fraud_api__host", "127.0.0.1")
    monkeypatch.chdir(tmp_path)
    bound = Settings(_env_file=None, api=ApiSettings(host="0.0.0.0", require_keys=True))
    with monkeypatch.context() as patch:
        for name in ("HOST", "PORT", "WORKERS", "REQUIRE_KEYS"):
            patch.setenv(f"FRAUD_API__{name}", "1")
        server._tell_workers(bound)
        (tmp_path / ".env").write_text("FRAUD_API__HOST=127.0.0.1\n")
        assert not Settings().api.is_loopback
        assert Settings().api.require_keys
