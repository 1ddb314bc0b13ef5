"""The HTTP application: which part answers which path, and what surrounds every request.

The two scoring routes go straight to `hot`; all others to FastAPI, behind a shell that asks for
the key, reads the body within its limit, sets the constant headers and writes one line of log.
What the routes do is in `routes`, what scoring is in `service`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from importlib.metadata import version
from typing import Any, Final

import structlog
from fastapi import FastAPI
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fraud_assets.modeling.registry import ModelRegistry
from fraud_assets.serving import problems
from fraud_assets.serving.cards import ModelCards
from fraud_assets.serving.gate import Gate
from fraud_assets.serving.hot import BATCH_PATH, SCORE_PATH, ScoreEndpoint
from fraud_assets.serving.keys import KeyRing
from fraud_assets.serving.limits import check_content_type, read_body
from fraud_assets.serving.lineup import Lineup
from fraud_assets.serving.logs import REQUEST_ID, request_id_of
from fraud_assets.serving.metrics import ServedModel
from fraud_assets.serving.openapi import document
from fraud_assets.serving.problems import CONSTANT_HEADERS, INTERNAL, ProblemError, send_problem
from fraud_assets.serving.retraining import Retrainings
from fraud_assets.serving.routes import health, labels, model, predictions, retrainings
from fraud_assets.serving.service import ScoringService
from fraud_assets.settings import ApiSettings
from fraud_assets.store.engine import StoreError

_log = structlog.stdlib.get_logger("fraud_assets.serving.app")

OPEN_PATHS: Final = frozenset({"/health", "/ready", "/metrics", "/docs", "/openapi.json"})
"""Paths without a key. The metrics ask for one themselves where others can reach them."""

_HOT: Final = frozenset({SCORE_PATH, BATCH_PATH})
_WITH_BODY: Final = frozenset({"POST", "PUT", "PATCH", "DELETE"})
_FIRST_KEYS_SECONDS: Final = 0.2
CLIENT_GONE: Final = 499
"""The status in the log of a request whose sender did not wait; nobody is sent it."""


def create_app(service: ScoringService) -> ASGIApp:
    """The API around a service, which starts and stops with it (ASGI's lifespan).

    Args:
        service: not started yet; its settings say who is let in.

    Raises:
        ValueError: a rate among the settings cannot be read.
    """
    settings = service.settings.api
    keys = KeyRing(service.store)
    gate = Gate(keys, settings)
    app = _routes(service, gate, keys)
    return Dispatcher(ScoreEndpoint(service, gate), Shell(app, gate, settings))


class Dispatcher:
    """Sends transactions straight to the scoring, and everything else to the rest."""

    def __init__(self, hot: ASGIApp, rest: ASGIApp) -> None:
        self._hot = hot
        self._rest = rest

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or live through the process's lifespan."""
        if scope["type"] == "http" and scope["path"] in _HOT and scope["method"] == "POST":
            await self._hot(scope, receive, send)
        else:
            await self._rest(scope, receive, send)


class Shell:
    """What happens around every request that is not scoring."""

    def __init__(self, app: ASGIApp, gate: Gate, settings: ApiSettings) -> None:
        self._app = app
        self._gate = gate
        self._max_bytes = settings.max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; whatever goes wrong is answered as a problem."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        scope["request_id"] = request_id = request_id_of(scope["headers"])
        own = (REQUEST_ID.lower().encode(), request_id.encode())
        status: int | None = None

        async def send_on(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = [*message["headers"], *CONSTANT_HEADERS, own]
                message = {**message, "headers": headers}
            await send(message)

        failure: BaseException | None = None
        try:
            await self._answer(scope, receive, send_on)
        except ClientDisconnect:
            status = CLIENT_GONE
        except ProblemError as problem:
            status = problem.status
            await send_problem(send, problem, request_id=request_id, headers=[own])
        except Exception as error:  # noqa: BLE001  the last place: it is logged, and answered
            failure = error
            if status is None:
                status, unexpected = 500, ProblemError(500, INTERNAL)
                await send_problem(send, unexpected, request_id=request_id, headers=[own])
        finally:
            _log_request(scope, status, time.perf_counter() - started, failure)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] in OPEN_PATHS:
            self._gate.check_host(scope)
        else:
            # Before anything is read: who may not ask is not told what is wrong with a body.
            scope["caller"] = self._gate.identify(scope)
        if scope["path"] in _HOT:
            raise ProblemError(
                405, f"this path does not take {scope['method']}", headers={"Allow": "POST"}
            )
        if scope["method"] in _WITH_BODY:
            body = await read_body(scope, receive, self._max_bytes)
            check_content_type(scope, body)
            receive = _replay(body, receive)
        await self._app(scope, receive, send)


def _replay(body: bytes, receive: Receive) -> Receive:
    """A body that has been read, for those that come later."""
    messages: Iterator[Message] = iter([{"type": "http.request", "body": body, "more_body": False}])

    async def again() -> Message:
        return next(messages, None) or await receive()

    return again


def _log_request(
    scope: Scope, status: int | None, seconds: float, failure: BaseException | None
) -> None:
    # The route and not the path, and no query: they hold ids of transactions and payers.
    route = getattr(scope.get("route"), "path", None)
    caller = scope.get("caller")
    said = {
        "method": scope["method"],
        "route": route or "none",
        "status": status,
        "ms": round(seconds * 1e3, 1),
        "request_id": scope["request_id"],
        "key": None if caller is None else caller.key_id,
    }
    stored = scope.get("failure")
    if failure is not None:
        _log.error("request", **said, exc_info=failure)
    elif stored is not None:
        _log.error("request", **said, problem=str(stored))
    else:
        _log.info("request", **said)


def _routes(service: ScoringService, gate: Gate, keys: KeyRing) -> FastAPI:
    settings = service.settings.api

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        await service.start()
        upkeep = asyncio.create_task(_keep_up(service, keys))
        try:
            yield
        finally:
            upkeep.cancel()
            with suppress(asyncio.CancelledError):
                await upkeep
            await service.stop()

    app = FastAPI(
        title="fraud_assets",
        version=version("fraud-assets"),
        lifespan=lifespan,
        docs_url="/docs" if settings.docs else None,
        redoc_url=None,
        openapi_url="/openapi.json" if settings.docs else None,
        swagger_ui_oauth2_redirect_url=None,
        redirect_slashes=False,
        # Two models of one name would be told apart by their modules' paths.
        separate_input_output_schemas=False,
    )
    app.state.service = service
    app.state.gate = gate
    app.state.retrainings = Retrainings(settings.dagster_url)
    app.state.cards = ModelCards(
        ModelRegistry(
            service.settings.mlflow_uri,
            service.settings.registered_model,
            service.settings.cache_dir / "models",
        )
    )
    problems.install(app)
    for module in (predictions, labels, retrainings, model, health):
        app.include_router(module.router)
    app.openapi = _once(lambda: document(app, service))  # type: ignore[method-assign]
    return app


def _once(make: Callable[[], dict[str, Any]]) -> Callable[[], dict[str, Any]]:
    made: list[dict[str, Any]] = []

    def get() -> dict[str, Any]:
        if not made:
            made.append(make())
        return made[0]

    return get


async def _keep_up(service: ScoringService, keys: KeyRing) -> None:
    """Follow the keys in the store, and show which models are in use."""
    wait = service.settings.api.refresh_seconds
    was_away = False
    while True:
        try:
            await asyncio.to_thread(keys.refresh)
            was_away = False
        except StoreError as error:
            # At the first start the store has no tables yet; the service makes them meanwhile.
            if keys.is_read and not was_away:
                _log.warning("the API keys stay those of before", problem=str(error))
                was_away = True
        except Exception:  # noqa: BLE001  this task must go on, or no key could be revoked
            _log.exception("the API keys stay those of before")
        service.metrics.observe_models(_served(service.models.lineup))
        await asyncio.sleep(wait if keys.is_read else min(wait, _FIRST_KEYS_SECONDS))


def _served(lineup: Lineup) -> list[ServedModel]:
    scorers = {
        "champion": lineup.champion,
        "challenger": lineup.challenger,
        "traffic": lineup.traffic,
    }
    return [
        ServedModel(role, scorer.version, scorer.model_hash, scorer.form)
        for role, scorer in scorers.items()
        if scorer is not None
    ]
