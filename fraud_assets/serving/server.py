"""Running the API: one process, or several that share one socket.

Uvicorn accepts the connections (uvloop, httptools) and ends in order on SIGTERM: what is under way
is answered, then the service stores what it has. What is served is said in `app`.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import socket
from pathlib import Path
from types import FrameType
from typing import IO, Final

import uvicorn
from starlette.types import ASGIApp

from fraud_assets.serving import logs
from fraud_assets.serving.app import create_app
from fraud_assets.serving.gate import MAKE_A_KEY
from fraud_assets.serving.metrics import MULTIPROCESS_DIR, forget_dead_workers
from fraud_assets.serving.service import ScoringService
from fraud_assets.settings import Settings
from fraud_assets.store.api_keys import active_keys
from fraud_assets.store.engine import PredictionStore, StoreUnavailableError
from fraud_assets.store.migrate import migrate

_FACTORY: Final = "fraud_assets.serving.server:build"
_ENV: Final = "FRAUD_API__"
_BACKLOG: Final = 2_048
_IDLE_SECONDS: Final = 75
"""Longer than clients keep idle connections, so that none is closed as a request arrives on it."""

_GRACE_SECONDS: Final = 15
"""How long requests that are under way may still take when the server is to stop."""

_locks: Final[list[IO[str]]] = []
"""Held, and so kept open, until this process ends."""


class ServerInUseError(ValueError):
    """The address, or the folder, is taken by another server."""


def needs_keys(settings: Settings) -> bool:
    """Whether a request will need a key, as far as can be said before the start.

    While the store is away nobody can say, and the server starts all the same: until the keys are
    known it lets nobody in.

    Raises:
        ValueError: the address can be reached from elsewhere, and there is no key.
        StoreError: the store, which holds the keys, cannot be used as it is.
    """
    url = settings.store_sqlalchemy_url
    try:
        migrate(url)
        with PredictionStore(url) as store:
            has_keys = bool(active_keys(store))
    except StoreUnavailableError:
        return True
    if not settings.api.is_loopback and not has_keys:
        raise ValueError(
            f"{settings.api.host} can be reached from other machines, and there is no API key: "
            f"make one with `{MAKE_A_KEY}`, or serve on 127.0.0.1"
        )
    return has_keys or settings.api.require_keys or not settings.api.is_loopback


def bind(settings: Settings) -> socket.socket:
    """Take the address; connections wait until the server answers.

    Raises:
        ServerInUseError: another process has it.
        OSError: it is none of this machine's, or not this user's to take.
    """
    host, port = settings.api.host, settings.api.port
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        bound = socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except OSError as error:
        raise ServerInUseError(
            f"port {port} of {host} cannot be taken ({error.strerror}): end what listens there, "
            "or choose another with --port"
        ) from error
    bound.set_inheritable(True)
    return bound


def run(settings: Settings, bound: socket.socket) -> None:
    """Serve until SIGTERM or SIGINT.

    Several workers read the settings from the environment again, each for itself; what concerns the
    address they have in common is put there.

    Raises:
        ServerInUseError: another server works in the same folder.
    """
    several = settings.api.workers > 1
    _hurry_mlflow()
    if several:
        _tell_workers(settings)
        # Before any worker imports prometheus_client, which looks for it once.
        folder = settings.serving_dir / "metrics"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        os.environ[MULTIPROCESS_DIR] = str(folder)
    config = uvicorn.Config(
        _FACTORY if several else _application(settings),
        factory=several,
        workers=settings.api.workers,
        loop="uvloop",
        http="httptools",
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,  # it would show queries; `app` writes a line without them
        server_header=False,
        # Nothing here depends on the client's address but the limits of those without a key,
        # and a header that anyone may write should not lift these.
        proxy_headers=False,
        timeout_keep_alive=_IDLE_SECONDS,
        timeout_graceful_shutdown=_GRACE_SECONDS,
    )
    logs.configure()
    if several:
        from uvicorn.supervisors import Multiprocess

        Multiprocess(config, sockets=[bound]).run()
    else:
        for ending in (signal.SIGTERM, signal.SIGINT):
            # Uvicorn raises it again once all is done, and the process would end by it.
            signal.signal(ending, _is_done)
        uvicorn.Server(config).run(sockets=[bound])


def _is_done(_signal: int, _frame: FrameType | None) -> None:
    """The server has ended in order, as it was told to."""


def _tell_workers(settings: Settings) -> None:
    """Let every worker believe what this process has bound and promised.

    One that follows a dead worker reads `.env` as it is then. With another address there it would
    take itself for one that only this machine can reach, and ask nobody for a key.
    """
    api = settings.api
    told = {
        "HOST": api.host,
        "PORT": str(api.port),
        "WORKERS": str(api.workers),
        "REQUIRE_KEYS": str(api.require_keys).lower(),
    }
    for name in [name for name in os.environ if name.upper() in {f"{_ENV}{end}" for end in told}]:
        del os.environ[name]  # names in other letters count too, and the last one wins
    os.environ.update({f"{_ENV}{name}": value for name, value in told.items()})


def _hurry_mlflow() -> None:
    """Give up soon on a registry that is away; before MLflow is imported.

    By default MLflow asks for about four minutes, through which no alias would be followed and the
    start would wait. Here it is asked again every few seconds anyway.
    """
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "5")


def build() -> ASGIApp:
    """The application of one worker among several, from the environment; uvicorn calls it."""
    _hurry_mlflow()
    logs.configure()
    forget_dead_workers()
    return _application(Settings())


def _application(settings: Settings) -> ASGIApp:
    worker = claim_worker(settings.serving_dir, settings.api.workers)
    return create_app(ScoringService(settings, worker=worker))


def claim_worker(folder: Path, workers: int) -> str:
    """The first name of `w0`, `w1`, … that no living process has; held until this one ends.

    A worker's journal and the numbers of its answers go by its name, so that the worker that
    follows one that died takes up what it left.

    Raises:
        ServerInUseError: all names are taken.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(workers):
        lock = (folder / f"w{number}.lock").open("w")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.close()
            continue
        _locks.append(lock)
        return f"w{number}"
    raise ServerInUseError(
        f"another server works in {folder}: end it, or give this one another FRAUD_DATA_DIR"
    )
