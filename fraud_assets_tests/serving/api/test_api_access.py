"""Who is let in: keys, scopes, limits, and the names under which this machine is asked."""

from __future__ import annotations

import pytest

from fraud_assets.store import api_keys
from fraud_assets_tests.serving.api.running_api import Api, problem_of, transaction


def make_key(api: Api, name: str, *scopes: str) -> dict[str, str]:
    """A key that the server has heard of, as the headers of a request."""
    _, secret = api_keys.create(api.service.store, name, scopes)
    headers = {"X-API-Key": secret}
    api.until(lambda: api.get("/v1/predictions", headers=headers).status_code in (200, 403))
    api.until(lambda: api.get("/v1/predictions").status_code == 401)
    return headers


def test_without_any_key_this_machine_may_ask_everything(api) -> None:
    assert api.score("open-1")["transaction_id"] == "open-1"
    assert api.get("/v1/predictions").status_code == 200
    assert api.post("/v1/labels", {"transaction_id": "open-1", "label": "fraud"}).status_code == 201


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "10.0.0.1", "[::2]:1"]
)
@pytest.mark.parametrize(("method", "path"), [("GET", "/health"), ("POST", "/v1/score")])
def test_without_any_key_a_foreign_name_of_this_machine_is_refused(api, host, method, path) -> None:
    answer = api.client.request(method, path, headers={"Host": host})
    problem_of(answer, 421)


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:8000", "127.0.0.1:1", "[::1]", "[::1]:8"])
def test_names_of_loopback_are_served(api, host) -> None:
    assert api.get("/health", headers={"Host": host}).status_code == 200


def test_from_the_first_key_on_a_key_is_needed(own_api) -> None:
    api = own_api()
    headers = make_key(api, "shop", "score", "read")
    for wrong in ({}, {"X-API-Key": "fa_no"}, {b"X-API-Key": b"\xff"}):
        for method, path in [("GET", "/v1/predictions"), ("POST", "/v1/score")]:
            answer = api.client.request(method, path, headers=wrong)
            problem_of(answer, 401)
            assert "X-API-Key" in answer.headers["www-authenticate"]
    assert api.post("/v1/score", transaction("k-1"), headers=headers).status_code == 200
    assert api.get("/health").status_code == 200
    assert api.get("/ready").status_code == 200
    # Whoever has a key is no page in a browser: the name does not matter any more.
    named = {**headers, "Host": "fraud.example"}
    assert api.get("/v1/predictions", headers=named).status_code == 200


def test_an_unknown_key_is_refused_before_its_body_is_looked_at(own_api) -> None:
    api = own_api(require_keys=True)
    headers = {"Content-Type": "application/json", "X-API-Key": "fa_x"}
    for path in ("/v1/score", "/v1/labels"):
        problem_of(api.client.post(path, content=b"{", headers=headers), 401)


@pytest.mark.parametrize(
    ("method", "path", "needed"),
    [
        ("POST", "/v1/score", "score"),
        ("POST", "/v1/score/batch", "score"),
        ("GET", "/v1/predictions", "read"),
        ("GET", "/v1/frauds", "read"),
        ("GET", "/v1/statistics?first_day=2026-01-01&last_day=2026-01-02", "read"),
        ("GET", "/v1/labels/x", "read"),
        ("GET", "/v1/model", "read"),
        ("GET", "/v1/model/card", "read"),
        ("POST", "/v1/labels", "label"),
        ("POST", "/v1/retrainings", "train"),
        ("PUT", "/v1/model/traffic", "train"),
    ],
)
def test_a_key_opens_what_its_scopes_name(limited, method, path, needed) -> None:
    api, keys = limited
    bodies = {
        "/v1/labels": {"transaction_id": "x", "label": "fraud"},
        "/v1/retrainings": {"reason": "r"},
        "/v1/model/traffic": {"version": None, "share": 0, "reason": "r"},
    }
    body = bodies.get(path, {}) if method != "GET" else None
    for scope, headers in keys.items():
        answer = api.client.request(method, path, headers=headers, json=body)
        if scope == needed:
            assert answer.status_code not in (401, 403), answer.text
        else:
            assert f"'{needed}'" in problem_of(answer, 403)["detail"]


@pytest.fixture(scope="module")
def limited(settings_of, running, tmp_path_factory):
    """A server with one key for each scope."""
    with running(settings_of(tmp_path_factory.mktemp("limited"))) as api:
        yield api, {scope: make_key(api, scope, scope) for scope in api_keys.SCOPES}


def test_a_revoked_key_is_refused_and_the_last_one_does_not_open_the_server(own_api) -> None:
    api = own_api()
    headers = make_key(api, "shop", "read")
    (key,) = api_keys.active_keys(api.service.store)
    api_keys.revoke(api.service.store, key.id)
    api.until(lambda: api.get("/v1/predictions", headers=headers).status_code == 401)
    assert api.get("/v1/predictions").status_code == 401


def test_keys_can_be_required_before_there_is_one(own_api) -> None:
    api = own_api(require_keys=True)
    assert "api-keys create" in problem_of(api.get("/v1/predictions"), 401)["detail"]


def test_more_requests_than_the_rate_are_put_off_per_caller(own_api) -> None:
    api = own_api(other_rate="3/minute", score_rate="2/minute")
    first = [api.get("/v1/predictions").status_code for _ in range(4)]
    assert first == [200, 200, 200, 429]
    answer = api.get("/v1/predictions")
    problem_of(answer, 429)
    assert 1 <= int(answer.headers["retry-after"]) <= 60
    scored = [api.post("/v1/score", transaction(f"r-{i}")).status_code for i in range(3)]
    assert scored == [200, 200, 429]
    assert api.get("/health").status_code == 200
    _, secret = api_keys.create(api.service.store, "other", ["score"])
    headers = {"X-API-Key": secret}
    api.until(lambda: api.post("/v1/score", transaction("r-9"), headers=headers).status_code == 200)


def test_metrics_are_open_on_loopback_also_where_there_are_keys(limited) -> None:
    api, _ = limited
    assert api.get("/metrics").status_code == 200
