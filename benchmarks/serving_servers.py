"""Servers as processes of their own: started, waited for, put to sleep, and ended for certain.

Nothing here knows what is measured. All of them listen on the loopback interface only.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from serving_world import World

HERE = Path(__file__).resolve().parent
START_SECONDS = 180.0
STOP_SECONDS = 30.0
LOOPBACK = "127.0.0.1"


class ServerFailedError(RuntimeError):
    """A server did not start, or ended by itself; shows the end of its log."""


@dataclass(frozen=True)
class ServerPlan:
    """How to start a server.

    Attributes:
        name: for the table.
        command: with `{port}` where the port goes.
        route: where transactions are posted.
        ready: where an answer of 200 says that it can serve.
        takes: `transactions` to be looked up and stored, `features`, or `anything`.
        environment: beside that of this process, without an installation's settings.
    """

    name: str
    command: Sequence[str]
    route: str
    ready: str
    takes: str
    environment: Mapping[str, str] = field(default_factory=dict)


def ours(world: World, **settings: str) -> ServerPlan:
    """Our service on the world's installation; `settings` are variables of its environment."""
    command = [str(Path(sys.executable).with_name("fraud-assets")), "serve"]
    environment = {**world.environment, "FRAUD_API__PORT": "{port}", **settings}
    return ServerPlan("ours", command, "/v1/score", "/ready", "transactions", environment)


def plain(world: World) -> ServerPlan:
    """FastAPI, pandas and `predict_proba`, as a `def` route on FastAPI's threads."""
    return _plain("plain", "serving_plain:app", world)


def plain_async(world: World) -> ServerPlan:
    """The same as an `async def` route, one request after another."""
    return _plain("plain, async", "serving_plain:async_app", world)


def plain_folder(world: World, name: str) -> Path:
    """Where a plain service keeps its model and its database: each has its own."""
    return world.plain_folder / name.replace(", ", "-")


def _plain(name: str, app: str, world: World) -> ServerPlan:
    folder = plain_folder(world, name)
    shutil.copytree(world.plain_folder / "files", folder)
    environment = {"PLAIN_FOLDER": str(folder)}
    return ServerPlan(name, _uvicorn(app), "/score", "/openapi.json", "transactions", environment)


def mlflow(world: World) -> ServerPlan:
    """MLflow's own scoring server. Features are in its requests, and it stores nothing."""
    command = [
        *(sys.executable, "-m", "mlflow", "models", "serve", "--env-manager", "local"),
        *("--model-uri", str(world.mlflow_model), "--host", LOOPBACK, "--port", "{port}"),
        *("--workers", "1"),
    ]
    return ServerPlan("MLflow", command, "/invocations", "/ping", "features")


def empty() -> ServerPlan:
    """FastAPI that answers a constant."""
    command = _uvicorn("serving_empty:fastapi_app")
    return ServerPlan("empty FastAPI", command, "/score", "/openapi.json", "anything")


def bare() -> ServerPlan:
    """A constant without a framework."""
    command = [*_uvicorn("serving_empty:asgi_app"), "--lifespan", "off"]
    return ServerPlan("empty ASGI", command, "/score", "/", "anything")


def _uvicorn(app: str) -> list[str]:
    # Without a line in the log for each request, which is no server's task here.
    return [
        *(sys.executable, "-m", "uvicorn", app, "--app-dir", str(HERE), "--workers", "1"),
        *("--host", LOOPBACK, "--port", "{port}", "--log-level", "warning", "--no-access-log"),
    ]


class Server:
    """A running server; a context manager that ends its whole process group.

    Args:
        plan: how to start it.
        folder: where it runs and writes its log; made if need be.
    """

    def __init__(self, plan: ServerPlan, folder: Path) -> None:
        self.plan = plan
        self.port = _free_port()
        self._folder = folder
        self._log = folder / "server.log"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where transactions are posted."""
        return self.at(self.plan.route)

    @property
    def pid(self) -> int:
        """Of the process that was started."""
        if self._process is None:
            raise RuntimeError(f"{self.plan.name} has not been started")
        return self._process.pid

    def at(self, route: str) -> str:
        """The URL of a route."""
        return f"http://{LOOPBACK}:{self.port}{route}"

    def __enter__(self) -> Self:
        self._folder.mkdir(parents=True, exist_ok=True)
        environment = {k: v for k, v in os.environ.items() if not k.startswith("FRAUD_")}
        # A row for itself is too small to be shared out; with two threads the peers were slower.
        environment |= {
            "OMP_NUM_THREADS": "1",
            "OMP_WAIT_POLICY": "PASSIVE",
            "MLFLOW_DISABLE_TELEMETRY": "true",
            # MLflow looks for uvicorn there.
            "PATH": os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"])),
        }
        port = str(self.port)
        for name, value in self.plan.environment.items():
            environment[name] = value.replace("{port}", port)
        command = [part.replace("{port}", port) for part in self.plan.command]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                command, cwd=self._folder, env=environment, stdin=subprocess.DEVNULL,
                stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip
        try:
            self._wait_until_ready()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def sleep(self) -> None:
        """Take its processor time away, so that it costs the others nothing."""
        os.killpg(self.pid, signal.SIGSTOP)

    def wake(self) -> None:
        """Let it go on."""
        os.killpg(self.pid, signal.SIGCONT)

    def check(self) -> None:
        """Whether it still runs.

        Raises:
            ServerFailedError: it has ended.
        """
        if self._process is not None and self._process.poll() is not None:
            raise ServerFailedError(f"{self.plan.name} has ended:\n{self.log_tail()}")

    def log_tail(self, characters: int = 3_000) -> str:
        """The end of what it wrote."""
        return self._log.read_text("utf-8", errors="replace")[-characters:]

    def stop(self) -> int | None:
        """Ask it to end, wait, and make it end; returns its exit code."""
        if self._process is None:
            return None
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGTERM)
            os.killpg(self._process.pid, signal.SIGCONT)
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(STOP_SECONDS)
        # What is left of the group, also where the first process has ended without its children.
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        return self._process.wait(5.0)

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            self.check()
            try:
                with urllib.request.urlopen(self.at(self.plan.ready), timeout=5.0) as answer:
                    if answer.status == 200:
                        return
            except (urllib.error.URLError, OSError):
                pass
            time.sleep(0.1)
        raise ServerFailedError(
            f"{self.plan.name} is not ready after {START_SECONDS:.0f} s:\n{self.log_tail()}"
        )


def end_on_signals() -> None:
    """Let ctrl-C or `kill` end the servers before this script, and a second one not stop that."""

    def interrupt(_signal: int, _frame: object) -> None:
        for kind in (signal.SIGINT, signal.SIGTERM):
            signal.signal(kind, signal.SIG_IGN)
        raise KeyboardInterrupt

    for kind in (signal.SIGINT, signal.SIGTERM):
        signal.signal(kind, interrupt)


def _free_port() -> int:
    with socket.socket() as found:
        found.bind((LOOPBACK, 0))
        return int(found.getsockname()[1])
