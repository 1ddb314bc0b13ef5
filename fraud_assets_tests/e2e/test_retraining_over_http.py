"""A retraining that is asked for over HTTP, on Dagster's own webserver and daemon."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from fraud_assets.settings import ApiSettings, Settings
from fraud_assets.store.decisions import StoredDecision, record
from fraud_assets_tests.serving.api.running_api import Api

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

REPOSITORY = Path(__file__).parents[2]
FIRST = date(2025, 1, 1)
PATIENCE_S = 300.0


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as bound:
        return int(bound.getsockname()[1])


@pytest.fixture(scope="module")
def dagster_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """`fraud-assets dev` on an installation whose days have not been closed."""
    folder = tmp_path_factory.mktemp("dagster")
    for name in ("dagster.yaml", "workspace.yaml"):
        shutil.copy(REPOSITORY / name, folder / name)
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("FRAUD_", "DAGSTER_"))}
    port = free_port()
    with (folder / "dev.log").open("wb") as log:
        process = subprocess.Popen(
            [str(Path(sys.executable).with_name("fraud-assets")), "dev", "--port", str(port)],
            cwd=folder,
            env={
                **inherited,
                "DAGSTER_HOME": str(folder),
                "FRAUD_FIRST_DAY": FIRST.isoformat(),
                "FRAUD_DAYS": "12",
                "FRAUD_HISTORY_DAYS": "5",
                "FRAUD_THREADS": "1",
                "MLFLOW_DISABLE_TELEMETRY": "true",
            },
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        url = f"http://127.0.0.1:{port}"
        deadline = time.monotonic() + PATIENCE_S
        while not answers(url):
            assert process.poll() is None, (folder / "dev.log").read_text()[-3000:]
            assert time.monotonic() < deadline
            time.sleep(0.5)
        yield url
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/server_info", trust_env=False).is_success
    except httpx.TransportError:
        return False


@pytest.fixture(scope="module")
def api(dagster_url, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    settings = Settings(
        _env_file=None,
        data_dir=tmp_path_factory.mktemp("api"),
        first_day=FIRST,
        days=12,
        history_days=5,
        api=ApiSettings(dagster_url=dagster_url, other_rate=None),
    )
    started = Api(settings)
    started.start()
    yield started
    started.stop()


def test_a_retraining_is_started_and_followed_to_its_end(api, dagster_url) -> None:
    body = {"day": str(FIRST), "reason": "new terminals"}
    before = datetime.now(UTC)
    answer = api.post("/v1/retrainings", body)
    assert answer.status_code == 202, answer.text
    run_id = answer.json()["run_id"]
    assert answer.headers["location"] == f"/v1/retrainings/{run_id}"
    second = api.post("/v1/retrainings", body)
    assert second.status_code == 409
    assert run_id in second.json()["detail"]

    deadline = time.monotonic() + PATIENCE_S
    while (run := api.get(answer.headers["location"]).json())["ended_at"] is None:
        assert run["status"] in ("queued", "not_started", "starting", "started"), run
        assert time.monotonic() < deadline, run
        time.sleep(0.5)
    assert (run["run_id"], run["day"]) == (run_id, str(FIRST))
    assert (run["reason"], run["author"]) == ("new terminals", "local")
    assert run["url"] == f"{dagster_url}/runs/{run_id}"
    # No day has been closed there, so that it has to fail, and to say why.
    assert run["status"] == "failure"
    assert run["error"]
    assert "\n" not in run["error"]
    created, started, ended = (
        datetime.fromisoformat(run[name]) for name in ("created_at", "started_at", "ended_at")
    )
    assert before <= created <= started <= ended


def test_without_a_day_it_is_the_last_closed_one(api) -> None:
    for number in (2, 1):
        decision = StoredDecision(
            day=FIRST + timedelta(days=number), action="nothing", rule="quiet", champion="1",
            reason="quiet", fingerprint=str(number),
        )  # fmt: skip
        record(api.service.store, decision)
    answer = api.post("/v1/retrainings", {"reason": "r"})
    assert answer.json()["day"] == str(FIRST + timedelta(days=2))


def test_an_unknown_run_is_not_found(api) -> None:
    answer = api.get("/v1/retrainings/0b1c")
    assert answer.status_code == 404
    assert "0b1c" in answer.json()["detail"]
