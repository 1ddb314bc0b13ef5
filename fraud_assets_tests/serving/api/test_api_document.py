"""The OpenAPI document says what the server does, and nothing that it allows breaks it."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime

import hypothesis
import pytest
import schemathesis
from schemathesis import checks
from schemathesis.core.control import SkipTest


@pytest.fixture(scope="module")
def document(api):
    return api.get("/openapi.json").json()


CHECKS = [
    checks.not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_schema_conformance,
]


@pytest.mark.slow
@pytest.mark.parametrize("modes", list(schemathesis.GenerationMode))
def test_whatever_the_document_allows_or_not_is_answered_as_it_says(api, modes) -> None:
    document = schemathesis.openapi.from_url(f"{api.url}/openapi.json")
    document.config.generation.update(modes=[modes])
    for found in document.get_all_operations():
        operation = found.ok()

        # Not schemathesis' own marks: they reach into pytest, and not into this one's version.
        @hypothesis.settings(
            max_examples=30, derandomize=True, deadline=None, database=None,
            suppress_health_check=list(hypothesis.HealthCheck),
        )  # fmt: skip
        @hypothesis.given(case=operation.as_strategy(generation_mode=modes))
        def every(case) -> None:
            answer = case.call(timeout=30)
            if case.operation.path.startswith("/v1/retrainings") and answer.status_code == 503:
                return  # Dagster is away here, which the document tells of
            case.validate_response(answer, checks=CHECKS)

        with suppress(SkipTest):  # nothing that could be wrong about it
            every()


def test_it_is_openapi_3_1_and_names_every_path(document) -> None:
    assert document["openapi"].startswith("3.1")
    assert set(document["paths"]) == {
        "/v1/score", "/v1/score/batch", "/v1/predictions", "/v1/predictions/{transaction_id}",
        "/v1/frauds", "/v1/non-frauds", "/v1/statistics", "/v1/labels",
        "/v1/labels/{transaction_id}", "/v1/retrainings", "/v1/retrainings/{run_id}", "/v1/model",
        "/v1/model/card", "/v1/model/traffic", "/health", "/ready", "/metrics",
    }  # fmt: skip


def references(part):
    if isinstance(part, dict):
        if "$ref" in part:
            yield part["$ref"]
        part = list(part.values())
    if isinstance(part, list):
        for value in part:
            yield from references(value)


def test_every_reference_leads_somewhere(document) -> None:
    known = {f"#/components/schemas/{name}" for name in document["components"]["schemas"]}
    found = set(references(document))
    assert found
    assert found <= known


def test_every_refusal_is_described_as_a_problem(document) -> None:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            for status, said in operation["responses"].items():
                if int(status) >= 400:
                    assert list(said["content"]) == ["application/problem+json"], (path, method)


def test_every_route_that_needs_a_key_names_its_scope(document) -> None:
    scopes = {
        (method, path): operation.get("security", [{}])[0].get("ApiKey")
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    }
    assert scopes.pop(("get", "/health")) is None
    assert scopes.pop(("get", "/ready")) is None
    assert scopes.pop(("get", "/metrics")) is None
    assert scopes["post", "/v1/score"] == ["score"]
    assert scopes["post", "/v1/labels"] == ["label"]
    assert scopes["put", "/v1/model/traffic"] == ["train"]
    assert all(found and len(found) == 1 for found in scopes.values())


def test_the_examples_are_taken_and_answered_as_shown(api, document) -> None:
    operation = document["paths"]["/v1/score"]["post"]
    example = operation["requestBody"]["content"]["application/json"]["example"]
    changes = {"transaction_id": "example", "event_time": datetime.now(UTC).isoformat()}
    answer = api.post("/v1/score", {**example, **changes})
    assert answer.status_code == 200, answer.text
    shown = operation["responses"]["200"]["content"]["application/json"]["example"]
    assert set(shown) == set(answer.json())
    batch = document["paths"]["/v1/score/batch"]["post"]
    example = batch["requestBody"]["content"]["application/json"]["example"]
    assert api.post("/v1/score/batch", example).status_code == 200


def test_the_request_is_described_by_the_profile(document) -> None:
    request = document["components"]["schemas"]["ScoreRequest"]
    assert {"transaction_id", "event_time", "amount", "payer_id", "kind"} <= set(
        request["required"]
    )
    assert request["properties"]["amount"]["maximum"] == 1e7
    assert "TRANSFER" in request["properties"]["kind"]["enum"]
    assert "payee_balance_before" in request["properties"]["extras"]["properties"]
    assert request["additionalProperties"] is False


def test_every_refusal_is_said_to_name_the_request(document) -> None:
    answers = [
        answer
        for methods in document["paths"].values()
        for operation in methods.values()
        for answer in operation["responses"].values()
    ]
    refusals = [one for one in answers if "application/problem+json" in one.get("content", {})]
    assert refusals
    assert all("X-Request-ID" in one["headers"] for one in refusals)


def test_a_described_transaction_lacks_nothing(api) -> None:
    assert api.score("doc-1", extras={"payer_balance_before": 1.5})["repeated"] is False


def test_the_page_can_be_switched_off(own_api) -> None:
    api = own_api(docs=False)
    assert api.get("/docs").status_code == 404
    assert api.get("/openapi.json").status_code == 404
    assert api.get("/health").status_code == 200


def test_the_page_is_served(api) -> None:
    answer = api.get("/docs")
    assert answer.status_code == 200
    assert "/openapi.json" in answer.text
