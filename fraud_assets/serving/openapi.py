"""The OpenAPI document: FastAPI's own, and the scoring routes, which FastAPI does not serve.

Their schemas come from the very types that decode and encode them; the profile says which extra
numbers and categories there are.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from fraud_assets.serving.bodies import FieldProblem, Problem
from fraud_assets.serving.hot import BATCH_PATH, SCORE_PATH
from fraud_assets.serving.logs import REQUEST_ID
from fraud_assets.serving.problems import PROBLEM_JSON
from fraud_assets.serving.requests import AnswerBody, ScoreRequest
from fraud_assets.serving.routes.common import SECURITY_SCHEME, problems
from fraud_assets.serving.service import ScoringService
from fraud_assets.transactions.profile import Profile

_REF: Final = "#/components/schemas/"

_DESCRIPTION: Final = """\
Is this transaction fraud? Answers come from the same features as in batch, and every answer is
kept. Times are RFC 3339 with a zone; refusals are `application/problem+json` (RFC 9457).
"""

_REQUEST_ID_HEADER: Final = {
    "description": f"That of the request, if it sent a plain one as `{REQUEST_ID}`, else a new one",
    "schema": {"type": "string"},
}

_ANSWER: Final = {
    "transaction_id": "tx-1001",
    "probability": 0.874,
    "decision": "alert",
    "threshold": 0.31,
    "reasons": ["amount 912.40 is high for this payer"],
    "model_version": "4",
    "model_hash": "9f2c…",
    "served_by": "champion",
    "fallback": None,
    "repeated": False,
    "scored_at": "2026-11-22T10:15:00.004213Z",
}


def document(app: FastAPI, service: ScoringService) -> dict[str, Any]:
    """The whole document, OpenAPI 3.1."""
    made = get_openapi(
        title=app.title, version=app.version, description=_DESCRIPTION, routes=app.routes
    )
    schemas = made["components"]["schemas"]
    for model in (FieldProblem, Problem):
        schema = model.model_json_schema(ref_template=_REF + "{model}")
        schema.pop("$defs", None)
        schemas[model.__name__] = schema
    _, own = msgspec.json.schema_components(
        [ScoreRequest, AnswerBody], ref_template=_REF + "{name}"
    )
    schemas |= own
    example = _describe_request(schemas["ScoreRequest"], service.profile)
    schemas["AnswerBody"]["examples"] = [_ANSWER]
    made["paths"] = {
        SCORE_PATH: {"post": _score(example)},
        BATCH_PATH: {"post": _score_batch(example, service.settings.api.max_batch)},
        **made["paths"],
    }
    _describe_refusals(made["paths"])
    return made


def _describe_refusals(paths: dict[str, Any]) -> None:
    """Say of every problem that its header names the request, as `app` and `hot` see to it."""
    for operations in paths.values():
        for operation in operations.values():
            for answer in operation["responses"].values():
                if PROBLEM_JSON in answer.get("content", {}):
                    answer["headers"] = {REQUEST_ID: _REQUEST_ID_HEADER}


def _describe_request(schema: dict[str, Any], profile: Profile) -> dict[str, Any]:
    """Say what the profile asks of a transaction; returns an example that it takes."""
    roles, properties = profile.columns, schema["properties"]
    required: list[str] = schema["required"]
    example: dict[str, Any] = {
        "transaction_id": "tx-1001",
        "event_time": "2026-11-22T10:15:00Z",
        "amount": roles.amount.minimum or 912.4,
    }
    properties["amount"] |= _bounds(roles.amount.minimum, roles.amount.maximum)
    if roles.payer is None:
        del properties["payer_id"]
    else:
        required.append("payer_id")
        example["payer_id"] = "payer-17"
    if roles.payee is None:
        del properties["payee_id"]
    else:
        example["payee_id"] = "payee-4"
    if roles.kind is None:
        del properties["kind"]
    else:
        required.append("kind")
        properties["kind"] = _category(roles.kind.allowed, nullable=False)
        example["kind"] = (roles.kind.allowed or ["PAYMENT"])[0]
    numbers = {
        one.name: {"type": _type("number", one.nullable), **_bounds(one.minimum, one.maximum)}
        for one in profile.numeric
    }
    categories = {
        one.name: _category(one.allowed, nullable=one.nullable) for one in profile.categorical
    }
    needed: dict[str, float | str] = {
        one.name: one.minimum or 0.0 for one in profile.numeric if not one.nullable
    }
    needed |= {
        one.name: (one.allowed or ["other"])[0] for one in profile.categorical if not one.nullable
    }
    extras: dict[str, Any] = {
        "type": "object",
        "description": "The profile's extra numbers and categories, by name",
        "properties": {**numbers, **categories},
        "additionalProperties": False,
    }
    if needed:
        extras["required"] = list(needed)
        required.append("extras")
        example["extras"] = needed
    else:
        extras["default"] = {}
    properties["extras"] = extras
    schema["examples"] = [example]
    return example


def _type(name: str, nullable: bool) -> str | list[str]:  # noqa: FBT001
    return [name, "null"] if nullable else name


def _bounds(minimum: float | None, maximum: float | None) -> dict[str, float]:
    found = {"minimum": minimum, "maximum": maximum}
    return {name: value for name, value in found.items() if value is not None}


def _category(allowed: list[str] | None, *, nullable: bool) -> dict[str, Any]:
    if allowed is None:
        return {"type": _type("string", nullable)}
    return {"enum": [*allowed, *([None] if nullable else [])]}


def _score(example: dict[str, Any]) -> dict[str, Any]:
    return _operation(
        "score",
        "Score a transaction",
        "The same id with the same content is answered as before (`repeated`); with other content "
        "it is refused (409).",
        request=_json({"$ref": _REF + "ScoreRequest"}, example),
        answer=_json({"$ref": _REF + "AnswerBody"}, _ANSWER),
        refusals=problems(409, 422, body=True),
    )


def _score_batch(example: dict[str, Any], max_batch: int) -> dict[str, Any]:
    transactions = {
        "type": "array",
        "items": {"$ref": _REF + "ScoreRequest"},
        "maxItems": max_batch,
    }
    answers = {
        "type": "array",
        "items": {"anyOf": [{"$ref": _REF + "AnswerBody"}, {"$ref": _REF + "Problem"}]},
    }
    return _operation(
        "score_batch",
        "Score several transactions",
        "Answered one by one and in their order: each entry is an answer or a problem, and one "
        "that is refused does not touch the others.",
        request=_json(_object("transactions", transactions), {"transactions": [example]}),
        answer=_json(_object("answers", answers), {"answers": [_ANSWER]}),
        refusals=problems(422, body=True),
    )


def _operation(
    name: str,
    summary: str,
    description: str,
    *,
    request: dict[str, Any],
    answer: dict[str, Any],
    refusals: dict[int | str, dict[str, Any]],
) -> dict[str, Any]:
    return {
        "tags": ["scoring"],
        "operationId": name,
        "summary": summary,
        "description": description,
        "security": [{SECURITY_SCHEME: ["score"]}],
        "requestBody": {**request, "required": True},
        "responses": {
            "200": {"description": "The answer", **answer},
            **{str(status): said for status, said in refusals.items()},
        },
    }


def _object(name: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {name: schema},
        "required": [name],
        "additionalProperties": False,
    }


def _json(schema: dict[str, Any], example: dict[str, Any]) -> dict[str, Any]:
    return {"content": {"application/json": {"schema": schema, "example": example}}}
