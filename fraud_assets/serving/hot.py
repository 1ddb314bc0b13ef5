"""The two scoring routes as plain ASGI: bytes in, the service's answer out.

FastAPI's routing, middleware and validation cost several times what features and model do, so that
these two routes do without; they are described with all others in the OpenAPI document.
"""

from __future__ import annotations

import asyncio
from typing import Final

import msgspec
import structlog
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

from fraud_assets.serving.gate import Gate
from fraud_assets.serving.limits import check_content_type, read_body
from fraud_assets.serving.logs import REQUEST_ID, request_id_of
from fraud_assets.serving.problems import CONSTANT_HEADERS, INTERNAL, ProblemError, send_problem
from fraud_assets.serving.requests import (
    AnswerBody,
    BatchRequest,
    ConflictError,
    RefusedTransactionError,
    ScoreRequest,
    UnavailableError,
)
from fraud_assets.serving.service import ScoringService

_log = structlog.stdlib.get_logger(__name__)

SCORE_PATH: Final = "/v1/score"
BATCH_PATH: Final = "/v1/score/batch"

_AT_ONCE: Final = 50
"""Transactions of a batch between which no other request gets a turn: about three milliseconds."""

_UNREADABLE: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""What decoding raises: the last two of text that is no UTF-8, and of too many brackets."""

_one: Final = msgspec.json.Decoder(ScoreRequest)
_many: Final = msgspec.json.Decoder(BatchRequest)
_encode: Final = msgspec.json.Encoder().encode


class ScoreEndpoint:
    """POST /v1/score and /v1/score/batch."""

    def __init__(self, service: ScoringService, gate: Gate) -> None:
        self._service = service
        self._gate = gate
        self._max_bytes = service.settings.api.max_body_bytes
        self._max_batch = service.settings.api.max_batch

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; whatever goes wrong is answered as a problem."""
        try:
            self._gate.authorise(scope, "score")
            body = await read_body(scope, receive, self._max_bytes)
            check_content_type(scope, body)
            if scope["path"] == SCORE_PATH:
                content = _encode(await self._score(body))
            else:
                content = _encode({"answers": await self._score_batch(scope, body)})
        except ProblemError as problem:
            await _refuse(scope, send, problem)
        except ClientDisconnect:
            return
        except Exception:  # noqa: BLE001 - every request is answered
            await _refuse(scope, send, self._unexpected(scope))
        else:
            length = (b"content-length", b"%d" % len(content))
            headers = [_JSON, length, *CONSTANT_HEADERS]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await send({"type": "http.response.body", "body": content})

    async def _score(self, body: bytes) -> AnswerBody:
        try:
            request = _one.decode(body)
        except _UNREADABLE as error:
            raise self._unreadable(error) from None
        return await self._answer(request)

    async def _score_batch(self, scope: Scope, body: bytes) -> list[AnswerBody | dict[str, object]]:
        try:
            given = _many.decode(body).transactions
        except _UNREADABLE as error:
            raise self._unreadable(error) from None
        if len(given) > self._max_batch:
            raise ProblemError(
                413,
                f"{len(given)} transactions in one request, at most {self._max_batch} are taken "
                "(FRAUD_API__MAX_BATCH); send several requests",
            )
        answers: list[AnswerBody | dict[str, object]] = []
        for first in range(0, len(given), _AT_ONCE):
            part = given[first : first + _AT_ONCE]
            answers += await asyncio.gather(*(self._answer_or_problem(scope, one) for one in part))
            await asyncio.sleep(0)
        return answers

    async def _answer_or_problem(
        self, scope: Scope, one: msgspec.Raw
    ) -> AnswerBody | dict[str, object]:
        try:
            return await self._score(bytes(one))
        except ProblemError as problem:
            return problem.as_dict()
        except Exception:  # noqa: BLE001 - the others are answered all the same
            return self._unexpected(scope).as_dict(_request_id(scope))

    async def _answer(self, request: ScoreRequest) -> AnswerBody:
        try:
            answer, repeated = await self._service.score(request)
        except RefusedTransactionError as error:
            raise ProblemError(422, "the transaction is refused", problems=error.problems) from None
        except ConflictError as error:
            raise ProblemError(409, str(error)) from None
        except UnavailableError as error:
            raise ProblemError(503, str(error), headers={"Retry-After": "1"}) from error
        return AnswerBody.of(answer, repeated=repeated)

    def _unexpected(self, scope: Scope) -> ProblemError:
        """To be called while an exception is handled: it is logged."""
        _log.exception("a scoring request failed", request_id=_request_id(scope))
        self._service.metrics.observe_failure("error")
        return ProblemError(500, INTERNAL)

    def _unreadable(self, error: Exception) -> ProblemError:
        self._service.metrics.observe_failure("unreadable")
        if isinstance(error, msgspec.ValidationError):
            reason, _, place = str(error).partition(" - at ")
            field = place.strip("`").removeprefix("$").lstrip(".") or "body"
            problems = [{"field": field, "message": reason}]
            return ProblemError(422, "the transaction is refused", problems=problems)
        if isinstance(error, RecursionError):
            return ProblemError(400, "the body is nested too deeply")
        return ProblemError(400, f"the body is no JSON: {error}")


def _request_id(scope: Scope) -> str:
    """What is only worked out when something went wrong, and then once: the log has it too."""
    known: str | None = scope.get("request_id")
    if known is None:
        known = scope["request_id"] = request_id_of(scope["headers"])
    return known


async def _refuse(scope: Scope, send: Send, problem: ProblemError) -> None:
    request_id = _request_id(scope)
    own = (REQUEST_ID.lower().encode(), request_id.encode())
    await send_problem(send, problem, request_id=request_id, headers=[own])


_JSON: Final = (b"content-type", b"application/json")
