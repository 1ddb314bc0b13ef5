"""The two scoring routes as plain ASGI: bytes in, the service's answer out.

FastAPI's routing, middleware and validation cost several times what features and model do, so that
these two routes do without; they are described with all others in the OpenAPI document.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Final

import msgspec
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

from fraud_assets.serving.gate import Gate
from fraud_assets.serving.limits import check_content_type, read_body
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

_log = logging.getLogger(__name__)

SCORE_PATH: Final = "/v1/score"
BATCH_PATH: Final = "/v1/score/batch"

_AT_ONCE: Final = 50
"""Transactions of a batch between which no other request gets a turn: about three milliseconds."""

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
                content = _encode({"answers": await self._score_batch(body)})
        except ProblemError as problem:
            await send_problem(send, problem)
        except ClientDisconnect:
            return
        except Exception:  # noqa: BLE001 - every request is answered
            _log.exception("a scoring request failed")
            self._service.metrics.observe_failure("error")
            await send_problem(send, ProblemError(500, INTERNAL))
        else:
            length = (b"content-length", b"%d" % len(content))
            headers = [_JSON, length, *CONSTANT_HEADERS]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await send({"type": "http.response.body", "body": content})

    async def _score(self, body: bytes) -> AnswerBody:
        try:
            request = _one.decode(body)
        except msgspec.MsgspecError as error:
            raise self._unreadable(error) from None
        return await self._answer(request)

    async def _score_batch(self, body: bytes) -> list[AnswerBody | dict[str, object]]:
        try:
            given = _many.decode(body).transactions
        except msgspec.MsgspecError as error:
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
            answers += await asyncio.gather(*(self._answer_or_problem(one) for one in part))
            await asyncio.sleep(0)
        return answers

    async def _answer_or_problem(self, one: msgspec.Raw) -> AnswerBody | dict[str, object]:
        try:
            return await self._score(bytes(one))
        except ProblemError as problem:
            return problem.as_dict()

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

    def _unreadable(self, error: msgspec.MsgspecError) -> ProblemError:
        self._service.metrics.observe_failure("unreadable")
        if isinstance(error, msgspec.ValidationError):
            reason, _, place = str(error).partition(" - at ")
            field = place.strip("`").removeprefix("$").lstrip(".") or "body"
            problems = [{"field": field, "message": reason}]
            return ProblemError(422, "the transaction is refused", problems=problems)
        return ProblemError(400, f"the body is no JSON: {error}")


_JSON: Final = (b"content-type", b"application/json")
