"""Whatever is wrong with a request, the answer is a problem that says so."""

from __future__ import annotations

import http.client
import json

import anyio
import pytest

from fraud_assets.serving.app import Shell
from fraud_assets.serving.gate import Gate
from fraud_assets.serving.keys import KeyRing
from fraud_assets.store.engine import PredictionStore
from fraud_assets_tests.serving.api.running_api import problem_of, transaction


def test_a_path_that_does_not_exist_is_a_problem(api) -> None:
    assert "openapi.json" in problem_of(api.get("/v1/nothing"), 404)["detail"]


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [("DELETE", "/v1/labels", "POST"), ("GET", "/v1/score", "POST"), ("POST", "/v1/frauds", "GET")],
)
def test_a_method_that_a_path_does_not_take_is_a_problem(api, method, path, allowed) -> None:
    answer = api.client.request(method, path)
    problem_of(answer, 405)
    assert allowed in answer.headers["allow"]


@pytest.mark.parametrize("path", ["/v1/score", "/v1/labels"])
def test_broken_json_is_named_with_its_place(api, path) -> None:
    headers = {"Content-Type": "application/json"}
    answer = api.client.post(path, content=b'{"transaction_id": "x", ', headers=headers)
    assert "JSON" in problem_of(answer, 400)["detail"]


def test_the_place_of_broken_json_is_told(api) -> None:
    headers = {"Content-Type": "application/json"}
    answer = api.client.post("/v1/labels", content=b'{"label": fraud}', headers=headers)
    assert "character 10" in problem_of(answer, 400)["detail"]


@pytest.mark.parametrize("content", [b"\xff\xfe", b"[" * 100_000, b"9" * 5_000])
def test_bytes_that_no_parser_likes_are_refused(api, content) -> None:
    headers = {"Content-Type": "application/json"}
    answer = api.client.post("/v1/labels", content=content, headers=headers)
    assert answer.status_code in (400, 422)
    problem_of(answer, answer.status_code)


@pytest.mark.parametrize("path", ["/v1/score", "/v1/labels"])
@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", None])
def test_a_body_that_is_not_said_to_be_json_is_refused(api, path, kind) -> None:
    headers = {} if kind is None else {"Content-Type": kind}
    answer = api.client.post(path, content=json.dumps(transaction("t")).encode(), headers=headers)
    problem_of(answer, 415)


@pytest.mark.parametrize("path", ["/v1/score", "/v1/labels"])
def test_a_large_body_is_refused(api, path) -> None:
    content = b" " * (api.settings.api.max_body_bytes + 1)
    answer = api.client.post(path, content=content, headers={"Content-Type": "application/json"})
    assert str(api.settings.api.max_body_bytes) in problem_of(answer, 413)["detail"]


@pytest.mark.parametrize("path", ["/v1/score", "/v1/labels"])
def test_a_large_body_that_does_not_say_its_length_is_refused(api, path) -> None:
    def parts():
        for _ in range(api.settings.api.max_body_bytes // 50_000 + 1):
            yield b" " * 50_000

    answer = api.client.post(path, content=parts(), headers={"Content-Type": "application/json"})
    problem_of(answer, 413)


def test_every_field_that_is_wrong_is_named_without_its_value(api) -> None:
    body = {"transaction_id": "", "label": "perhaps", "colour": "secret-value"}
    answer = api.post("/v1/labels", body)
    found = {one["field"] for one in problem_of(answer, 422)["problems"]}
    assert any("transaction_id" in field for field in found)
    assert any("label" in field for field in found)
    assert any("colour" in field for field in found)
    assert "secret-value" not in answer.text


def test_a_request_keeps_the_id_that_its_sender_gave(api) -> None:
    answer = api.get("/v1/nothing", headers={"X-Request-ID": "order-17"})
    assert answer.headers["x-request-id"] == "order-17"
    assert answer.json()["request_id"] == "order-17"


@pytest.mark.parametrize("given", ["a b", "x" * 65, "line\tbreak"])
def test_an_id_that_would_not_do_in_a_log_is_replaced(api, given) -> None:
    answer = api.get("/health", headers={"X-Request-ID": given})
    assert answer.headers["x-request-id"] not in ("", given)


def test_no_other_origin_may_read_the_answers(api) -> None:
    answer = api.get("/health", headers={"Origin": "https://elsewhere.example"})
    assert not [name for name in answer.headers if name.startswith("access-control")]


def test_a_store_that_does_not_answer_is_told_without_its_password(own_api) -> None:
    api = own_api()
    url = "postgresql://me:pass-w0rd@127.0.0.1:9/none?connect_timeout=1"
    kept, api.service.store = api.service.store, PredictionStore(url)
    try:
        answer = api.get("/v1/predictions")
    finally:
        api.service.store = kept
    assert "127.0.0.1" in problem_of(answer, 503)["detail"]
    assert "pass-w0rd" not in answer.text
    assert answer.headers["retry-after"]


async def _fails(*_: object) -> None:
    raise RuntimeError("payer-1 paid 42.50")


def test_an_error_in_the_server_is_told_without_its_words(api) -> None:
    sent = []

    async def send(message) -> None:
        sent.append(message)

    async def receive():
        return {"type": "http.request", "body": b"", "more_body": False}

    scope = {
        "type": "http", "method": "GET", "path": "/health", "headers": [(b"host", b"localhost")],
    }  # fmt: skip
    gate = Gate(KeyRing(api.service.store), api.settings.api)
    shell = Shell(_fails, gate, api.settings.api)
    anyio.run(shell, scope, receive, send)
    assert sent[0]["status"] == 500
    content = json.loads(sent[1]["body"])
    assert "payer-1" not in content["detail"]
    assert content["request_id"]


def test_a_connection_goes_on_after_a_refusal(api) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", api.port, timeout=10)
    for _ in range(2):
        connection.request("POST", "/v1/score", b"{", {"Content-Type": "application/json"})
        answer = connection.getresponse()
        assert answer.status == 400
        answer.read()
    connection.close()
