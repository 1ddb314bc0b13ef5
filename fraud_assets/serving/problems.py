"""What every refusal looks like: `application/problem+json` (RFC 9457), without a stack trace.

When something is refused is decided where it is found out; here is only how it is said. The same
words serve FastAPI's routes and the scoring routes, which do without FastAPI.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final, cast

import msgspec
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.types import Send

from fraud_assets.store.engine import StoreError

PROBLEM_JSON: Final = "application/problem+json"

CONSTANT_HEADERS: Final[tuple[tuple[bytes, bytes], ...]] = (
    (b"x-content-type-options", b"nosniff"),
    (b"cache-control", b"no-store"),
)
"""On every answer. What is answered concerns one caller and one moment, so nobody may keep it."""

INTERNAL: Final = "an error on the server; its log has the request id"


class ProblemError(Exception):
    """A request that is refused.

    Args:
        status: the HTTP status.
        detail: what is wrong, and how to put it right.
        headers: additional headers of the answer, such as `Retry-After`.
        problems: what is wrong field by field, each as `{"field": …, "message": …}`.
    """

    def __init__(
        self,
        status: int,
        detail: str,
        *,
        headers: Mapping[str, str] | None = None,
        problems: Sequence[Mapping[str, str]] = (),
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.headers = dict(headers or {})
        self.problems = list(problems)

    def as_dict(self, request_id: str | None = None) -> dict[str, Any]:
        """The members of the problem object; `type` is `about:blank`, so the status says which."""
        content: dict[str, Any] = {
            "type": "about:blank",
            "title": title_of(self.status),
            "status": self.status,
            "detail": self.detail,
        }
        if self.problems:
            content["problems"] = self.problems
        if request_id is not None:
            content["request_id"] = request_id
        return content

    def body(self, request_id: str | None = None) -> bytes:
        """The problem object as JSON."""
        return msgspec.json.encode(self.as_dict(request_id))


def title_of(status: int) -> str:
    """The status's name; RFC 9457 wants it as the title of a problem of type `about:blank`."""
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Error"


async def send_problem(
    send: Send,
    problem: ProblemError,
    *,
    request_id: str | None = None,
    headers: Iterable[tuple[bytes, bytes]] = (),
) -> None:
    """Answer a request with a problem, below any framework; `CONSTANT_HEADERS` come with it.

    Args:
        send: ASGI's.
        problem: what is wrong.
        request_id: told to the client, where the log has it too.
        headers: beside those of the problem.
    """
    content = problem.body(request_id)
    own = [(name.lower().encode(), value.encode()) for name, value in problem.headers.items()]
    await send(
        {
            "type": "http.response.start",
            "status": problem.status,
            "headers": [
                (b"content-type", PROBLEM_JSON.encode()),
                (b"content-length", b"%d" % len(content)),
                *own,
                *CONSTANT_HEADERS,
                *headers,
            ],
        }
    )
    await send({"type": "http.response.body", "body": content})


def install(app: FastAPI) -> None:
    """Let every error of the application's routes be answered as a problem."""
    app.add_exception_handler(ProblemError, _answer_problem)
    app.add_exception_handler(HTTPException, _answer_http)
    app.add_exception_handler(RequestValidationError, _answer_invalid)
    app.add_exception_handler(StoreError, _answer_store)
    app.add_exception_handler(Exception, _answer_unexpected)


def _answer(request: Request, problem: ProblemError) -> Response:
    return Response(
        problem.body(request.scope.get("request_id")),
        status_code=problem.status,
        media_type=PROBLEM_JSON,
        headers=problem.headers,
    )


def _answer_problem(request: Request, error: Exception) -> Response:
    return _answer(request, cast("ProblemError", error))


def _answer_http(request: Request, error: Exception) -> Response:
    found = cast("HTTPException", error)
    details = {
        404: "there is nothing at this path; /openapi.json lists the paths",
        405: f"this path does not take {request.method}",
    }
    detail = details.get(found.status_code, str(found.detail))
    return _answer(request, ProblemError(found.status_code, detail, headers=found.headers))


def _answer_invalid(request: Request, error: Exception) -> Response:
    found = cast("RequestValidationError", error).errors()
    for item in found:
        if item["type"] == "json_invalid":
            where, why = item["loc"][-1], item["ctx"]["error"]
            return _answer(request, ProblemError(400, f"not JSON at character {where}: {why}"))
    # Only places and reasons: the values are the caller's own, but they end up in its logs.
    problems = [{"field": field_of(item["loc"]), "message": item["msg"]} for item in found]
    return _answer(request, ProblemError(422, "the request is refused", problems=problems))


def field_of(place: Sequence[str | int]) -> str:
    """Where in a request something is, without the part that says that it is the body.

    >>> field_of(("body", "labels", 0, "label"))
    'labels.0.label'
    """
    inner = place[1:] if place[:1] == ("body",) else place
    return ".".join(str(part) for part in inner) or "body"


def _answer_store(request: Request, error: Exception) -> Response:
    # The store's messages hold the remedy and never a password.
    request.scope["failure"] = error
    problem = ProblemError(503, str(error), headers={"Retry-After": "5"})
    return _answer(request, problem)


def _answer_unexpected(request: Request, _error: Exception) -> Response:
    return _answer(request, ProblemError(500, INTERNAL))
