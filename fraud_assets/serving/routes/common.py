"""What the routes share: who asks, the service that answers, and the problems they may answer."""

from __future__ import annotations

from typing import Annotated, Any, Final, cast

from fastapi import Depends, Request, Security
from fastapi.security import APIKeyHeader, SecurityScopes

from fraud_assets.serving.gate import KEY_HEADER, Gate
from fraud_assets.serving.keys import Caller
from fraud_assets.serving.problems import PROBLEM_JSON
from fraud_assets.serving.service import ScoringService

# Only describes the header in the OpenAPI document; the gate reads it.
SECURITY_SCHEME: Final = "ApiKey"
_header: Final = APIKeyHeader(
    name=KEY_HEADER,
    scheme_name=SECURITY_SCHEME,
    auto_error=False,
    description="Made by `fraud-assets api-keys create`; not needed on loopback while none exists",
)


async def _service(request: Request) -> ScoringService:
    return cast("ScoringService", request.app.state.service)


async def _gate(request: Request) -> Gate:
    return cast("Gate", request.app.state.gate)


async def _caller(
    needed: SecurityScopes,
    request: Request,
    gate: Annotated[Gate, Depends(_gate)],
    _key: Annotated[str | None, Security(_header)],
) -> Caller:
    return gate.authorise(request.scope, needed.scopes[0])


Service = Annotated[ScoringService, Depends(_service)]
TheGate = Annotated[Gate, Depends(_gate)]
Reader = Annotated[Caller, Security(_caller, scopes=["read"])]
Labeller = Annotated[Caller, Security(_caller, scopes=["label"])]
Trainer = Annotated[Caller, Security(_caller, scopes=["train"])]

_DESCRIPTIONS: Final = {
    400: "The body is not JSON, or the cursor cannot be read",
    401: "No valid API key",
    403: "The API key has not the scope",
    404: "There is no such thing",
    409: "It contradicts what is there",
    413: "The body is too large",
    415: "The body is not said to be JSON",
    421: "Without API keys only names of this machine are served",
    422: "The request is refused; `problems` says where",
    429: "Too many requests; `Retry-After` says when to ask again",
    500: "An error on the server",
    503: "Something that is needed does not answer; asking again is safe",
}
_ALWAYS: Final = (401, 403, 421, 429, 500, 503)
_WITH_BODY: Final = (400, 413, 415)


def problems(*statuses: int, body: bool = False) -> dict[int | str, dict[str, Any]]:
    """The problems that a route may answer, for the OpenAPI document.

    Args:
        statuses: those of its own, beside the ones that every route has.
        body: whether it takes a body.
    """
    every = {*_ALWAYS, *statuses, *(_WITH_BODY if body else ())}
    return {
        status: {
            "description": _DESCRIPTIONS[status],
            "content": {PROBLEM_JSON: {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
        for status in sorted(every)
    }
