"""Whatever bytes the scoring routes are sent, they answer, and errors name the request.

What the service does is told in `test_service`; here it is a stand-in that reads requests by the
real rules and then does what the test wants.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import anyio
import pytest
import structlog
from hypothesis import example, given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from fraud_assets.serving.hot import BATCH_PATH, SCORE_PATH, ScoreEndpoint
from fraud_assets.serving.metrics import ServingMetrics
from fraud_assets.serving.problems import ProblemError
from fraud_assets.serving.requests import (
    ConflictError,
    RequestRules,
    ScoreRequest,
    UnavailableError,
    digest_of,
)
from fraud_assets.settings import ApiSettings
from fraud_assets.store.answers import StoredAnswer
from fraud_assets.transactions.profile import load_profile

NOW = datetime(2026, 3, 5, 12, tzinfo=UTC)
RULES = RequestRules(load_profile("simulator"), max_ahead_seconds=300)
LIMITS = ApiSettings(max_body_bytes=300_000, max_batch=5)
GOOD = {
    "transaction_id": "t1",
    "event_time": NOW.isoformat(),
    "amount": 12.5,
    "payer_id": "A",
    "payee_id": "X",
    "kind": "PAYMENT",
}
BODY = json.dumps(GOOD).encode()
FAILURES = {
    "conflict": ConflictError("answered for other content"),
    "unavailable": UnavailableError("the disk is full"),
    "unexpected": RuntimeError("payer-1 paid 42.50"),
}


class Service:
    """Fails for transactions that are named after a failure, and answers for all others."""

    def __init__(self) -> None:
        self.settings = SimpleNamespace(api=LIMITS)
        self.registry = CollectorRegistry()
        self.metrics = ServingMetrics(self.registry)

    async def score(self, request: ScoreRequest) -> tuple[StoredAnswer, bool]:
        transaction = RULES.read(request, NOW)
        if transaction.transaction_id in FAILURES:
            raise FAILURES[transaction.transaction_id]
        answer = StoredAnswer(
            transaction_id=transaction.transaction_id,
            event_time_us=transaction.event_time_us,
            event_order_us=transaction.event_time_us,
            payer_id=transaction.payer_id,
            payee_id=transaction.payee_id,
            kind=transaction.kind,
            amount=transaction.amount,
            extras=transaction.extras,
            score=0.5,
            decision="alert",
            threshold=0.5,
            reasons=[],
            model_version="1",
            model_hash="h",
            served_by="champion",
            fallback=None,
            is_late=False,
            digest=digest_of(transaction),
            worker="w0",
            sequence=1,
            scored_at_us=transaction.event_time_us,
        )
        return answer, False

    def failures(self, reason: str) -> float:
        name = "failed_transactions_total"
        return sum(
            sample.value
            for metric in self.registry.collect()
            for sample in metric.samples
            if sample.name.endswith(name) and sample.labels.get("reason") == reason
        )


class Gate:
    """Lets everyone in who does not send the wrong key."""

    def authorise(self, scope: dict[str, Any], _needed: str) -> None:
        if (b"x-api-key", b"wrong") in scope["headers"]:
            raise ProblemError(401, "the API key is unknown or has been revoked")


class Answer:
    """What was sent."""

    def __init__(self, messages: list[dict[str, Any]]) -> None:
        start, body = messages
        self.status: int = start["status"]
        self.headers = {name.decode(): value.decode() for name, value in start["headers"]}
        self.content = json.loads(body["body"])


def ask(body: bytes, path: str = SCORE_PATH, *, service: Any = None, **headers: str) -> Answer:
    sent: list[dict[str, Any]] = []

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    given = {"content-type": "application/json"} | headers
    scope = {
        "type": "http",
        "method": "POST",
        "path": path,
        "headers": [(name.replace("_", "-").encode(), v.encode()) for name, v in given.items()],
    }
    endpoint = ScoreEndpoint(service or Service(), Gate())
    anyio.run(endpoint, scope, receive, send)
    return Answer(sent)


@pytest.fixture
def lines() -> Iterator[list[dict[str, Any]]]:
    """What the routes log, line by line."""
    with structlog.testing.capture_logs() as captured:
        yield captured


# Texts, numbers and structures with which decoders have had trouble.
TEXTS = st.one_of(
    st.sampled_from(["", " ", "NA", "t\x00", "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59Z"]),
    st.sampled_from(["2026-03-05T12:00:00", "2026-03-05T12:00:00-23:59", *FAILURES, "x" * 300]),
    st.text(max_size=10),
)
VALUES = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(), st.floats(allow_nan=True), TEXTS,
        st.sampled_from([10**400, 2**63, -(2**64), 1e308, -0.0]),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(TEXTS, inner, max_size=3)
    ),
    max_leaves=6,
)  # fmt: skip
TRANSACTIONS = st.builds(
    lambda changes, left_out: {
        name: value for name, value in (GOOD | changes).items() if name not in left_out
    },
    st.dictionaries(st.sampled_from([*GOOD, "extras", "nonsense"]), VALUES, max_size=2),
    st.sets(st.sampled_from(sorted(GOOD)), max_size=1),
)
DOCUMENTS = st.one_of(
    VALUES,
    TRANSACTIONS,
    st.fixed_dictionaries({"transactions": st.one_of(VALUES, st.lists(TRANSACTIONS, max_size=6))}),
)


@st.composite
def bodies(draw: st.DrawFn) -> bytes:
    body = json.dumps(draw(DOCUMENTS)).encode()
    if draw(st.booleans()):
        return body
    place = draw(st.integers(0, len(body)))
    width = draw(st.integers(0, 3))
    return body[:place] + draw(st.binary(max_size=3)) + body[place + width :]


def check_is_answered(body: bytes, path: str) -> None:
    service = Service()
    asked_to_fail = b"unexpected" in body
    answer = ask(body, path, service=service)
    if not asked_to_fail:
        assert answer.status in (200, 400, 409, 413, 415, 422, 503), answer.content
        assert service.failures("error") == 0
    if answer.status == 200:
        assert answer.headers["content-type"] == "application/json"
        for one in answer.content.get("answers", [answer.content]):
            assert "probability" in one or asked_to_fail or one["status"] in (400, 409, 422, 503)
    else:
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.content["status"] == answer.status
        assert answer.content["request_id"] == answer.headers["x-request-id"]


PATHS = pytest.mark.parametrize("path", [SCORE_PATH, BATCH_PATH])


@PATHS
@settings(max_examples=250, deadline=None)
@given(body=bodies())
def test_every_document_is_answered(body: bytes, path: str) -> None:
    check_is_answered(body, path)


@PATHS
@settings(max_examples=100, deadline=None)
@given(body=st.binary(max_size=60))
@example(body=b"")
@example(body=b"\xff\xfe")
@example(body=b"\xef\xbb\xbf{}")
@example(body=b'{"\xff": 1}')
@example(body=b'{"transaction_id": "\xff"}')
@example(body=b'{"transaction_id": "\\ud800"}')
@example(body=b'{"transactions": ["\xff"]}')
@example(body=b'{"transactions": [{"transaction_id": "\xff"}]}')
@example(body=b"[" * 100_000)
@example(body=b'{"transactions": [' + b"[" * 100_000)
@example(body=b'{"transactions": [' + b"[" * 100_000 + b"]" * 100_000 + b"]}")
@example(body=b'{"extras": ' + b'{"a": ' * 10_000)
@example(body=b'{"transaction_id": ' + b"9" * 5_000 + b"}")
@example(body=BODY.replace(b"12.5", b"1" * 400))
@example(body=BODY.replace(b"12.5", b"NaN"))
def test_all_bytes_are_answered(body: bytes, path: str) -> None:
    check_is_answered(body, path)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b'{"transaction_id": "\xff"}', 400),
        (b'{"transactions": ' + b"[" * 100_000, 400),
        (b'{"transactions": "' + b"\xff" + b'"}', 422),
    ],
)
def test_a_body_that_cannot_be_read_is_the_senders_fault(body: bytes, status: int) -> None:
    service = Service()
    path = BATCH_PATH if b"transactions" in body else SCORE_PATH
    assert ask(body, path, service=service).status == status
    assert service.failures("unreadable") == 1
    assert service.failures("error") == 0


ERRORS = {
    401: (BODY, {"x_api_key": "wrong"}),
    400: (b"{", {}),
    409: (json.dumps(GOOD | {"transaction_id": "conflict"}).encode(), {}),
    413: (b" " * (LIMITS.max_body_bytes + 1), {}),
    415: (BODY, {"content-type": "text/plain"}),
    422: (json.dumps(GOOD | {"kind": "GIFT"}).encode(), {}),
    503: (json.dumps(GOOD | {"transaction_id": "unavailable"}).encode(), {}),
    500: (json.dumps(GOOD | {"transaction_id": "unexpected"}).encode(), {}),
}


OF_THE_REQUEST = (401, 400, 413, 415)
"""Of a batch the others are told in the entries."""


@pytest.mark.parametrize(
    ("status", "path"),
    [*((status, SCORE_PATH) for status in ERRORS)]
    + [(status, BATCH_PATH) for status in OF_THE_REQUEST],
)
def test_a_refusal_names_the_request_as_its_sender_did(status: int, path: str) -> None:
    body, headers = ERRORS[status]
    answer = ask(body, path, x_request_id="order-17", **headers)
    assert answer.status == status
    assert answer.headers["x-request-id"] == "order-17"
    assert answer.content["request_id"] == "order-17"


@pytest.mark.parametrize("given_id", [None, "a b", "x" * 65])
def test_a_refusal_without_a_plain_id_gets_one(given_id: str | None) -> None:
    headers = {} if given_id is None else {"x_request_id": given_id}
    first, second = ask(b"{", **headers), ask(b"{", **headers)
    assert first.headers["x-request-id"] not in ("", given_id)
    assert first.headers["x-request-id"] != second.headers["x-request-id"]


def test_an_unexpected_error_is_in_the_log_under_the_id_that_the_sender_is_told(lines) -> None:
    service = Service()
    answer = ask(ERRORS[500][0], service=service)
    assert answer.status == 500
    assert "payer-1" not in json.dumps(answer.content)
    assert [line["request_id"] for line in lines] == [answer.content["request_id"]]
    assert lines[0]["exc_info"]
    assert service.failures("error") == 1


def test_only_unexpected_errors_are_in_the_log(lines) -> None:
    for status, (body, headers) in ERRORS.items():
        if status != 500:
            ask(body, **headers)
    assert lines == []


def test_one_entry_that_fails_does_not_touch_the_others(lines) -> None:
    names = ["t1", "unexpected", "conflict", "unavailable", "t2"]
    entries = [GOOD | {"transaction_id": name} for name in names]
    body = json.dumps({"transactions": entries}).encode()
    answer = ask(body, BATCH_PATH, x_request_id="order-17")
    assert answer.status == 200
    found = answer.content["answers"]
    assert [one.get("status", 200) for one in found] == [200, 500, 409, 503, 200]
    assert found[1]["request_id"] == "order-17"
    assert [line["request_id"] for line in lines] == ["order-17"]


def test_an_answer_is_what_was_asked_for() -> None:
    answer = ask(BODY, x_request_id="order-17")
    assert answer.status == 200
    assert answer.content["transaction_id"] == "t1"
    assert answer.content["probability"] == 0.5
