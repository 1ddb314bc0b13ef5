"""Labels that come back: looked up, appended, and seen by everyone who reads the store."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta

import polars as pl
import pytest

from fraud_assets.store.decisions import StoredDecision, record
from fraud_assets.store.labels import label_history
from fraud_assets.store.predictions import replace_day
from fraud_assets_tests.serving.api.running_api import NOW, problem_of


def batch_day(day: date, *ids: str) -> pl.DataFrame:
    """Predictions of a day as the batch writes them."""
    n = len(ids)
    return pl.DataFrame(
        {
            "transaction_id": list(ids),
            "event_time": pl.Series([day] * n).cast(pl.Datetime("us", "UTC")),
            "payer_id": ["payer-b"] * n,
            "amount": [9.5] * n,
            "score": [0.1 * (i + 1) for i in range(n)],
            "decision": ["pass"] * n,
            "threshold": [0.95] * n,
            "reasons": [[] for _ in range(n)],
            "model_version": ["7"] * n,
            "model_hash": ["h"] * n,
        },
        schema_overrides={"reasons": pl.List(pl.Utf8)},
    )


def decision(day: date) -> StoredDecision:
    """The word at the close of a day."""
    return StoredDecision(
        day=day, action="nothing", rule="none", champion="1", reason="all is well", fingerprint="f"
    )


def test_a_label_takes_what_is_known_of_its_transaction(api) -> None:
    api.score("l-1", amount=77.25)
    answer = api.post("/v1/labels", {"transaction_id": "l-1", "label": "fraud", "note": "phoned"})
    assert answer.status_code == 201, answer.text
    (label,) = label_history(api.service.store, "l-1")
    assert (label.amount, label.payer_id, label.payee_id) == (77.25, "payer-1", "payee-1")
    assert label.event_time == NOW - timedelta(minutes=5)
    assert (label.label, label.author, label.note) == (1, "local", "phoned")
    stored = api.service.remembered("l-1")
    assert label.event_order_us == stored.event_order_us
    (shown,) = answer.json()["labels"]
    assert (shown["label"], shown["amount"]) == ("fraud", 77.25)


def test_a_batch_prediction_is_known_too(api) -> None:
    replace_day(api.service.store, date(2026, 3, 1), batch_day(date(2026, 3, 1), "b-1"))
    assert api.post("/v1/labels", {"transaction_id": "b-1", "label": "legitimate"}).is_success
    (label,) = label_history(api.service.store, "b-1")
    assert (label.label, label.amount, label.payer_id) == (0, 9.5, "payer-b")
    assert label.event_time.date() == date(2026, 3, 1)


def test_a_second_label_stands_beside_the_first(api) -> None:
    api.score("l-2")
    for word, author in [("fraud", "ann"), ("legitimate", "bob")]:
        body = {"transaction_id": "l-2", "label": word, "author": author}
        assert api.post("/v1/labels", body).status_code == 201
    found = api.get("/v1/labels/l-2").json()["labels"]
    assert [(one["label"], one["author"]) for one in found] == [
        ("fraud", "ann"), ("legitimate", "bob"),
    ]  # fmt: skip
    assert api.get("/v1/predictions/l-2").json()["label"] == "legitimate"


def test_many_labels_are_stored_all_or_none(api) -> None:
    api.score("l-3")
    known = {"transaction_id": "l-3", "label": "fraud"}
    unknown = {"transaction_id": "l-never", "label": "fraud"}
    assert "l-never" in problem_of(api.post("/v1/labels", [known, unknown]), 404)["detail"]
    assert label_history(api.service.store, "l-3") == []
    assert api.post("/v1/labels", [known, {**known, "author": "ann"}]).status_code == 201
    assert len(label_history(api.service.store, "l-3")) == 2


def test_an_unknown_transaction_is_labelled_with_its_time(api) -> None:
    body = {"transaction_id": "l-4", "label": "fraud"}
    problem_of(api.post("/v1/labels", body), 404)
    body |= {"event_time": "2026-01-05T10:00:00+02:00", "amount": 5, "payer_id": "p"}
    assert api.post("/v1/labels", body).status_code == 201
    (label,) = label_history(api.service.store, "l-4")
    assert label.event_time.isoformat() == "2026-01-05T08:00:00+00:00"
    assert (label.amount, label.payer_id) == (5.0, "p")


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"labelled_at": (NOW - timedelta(days=1)).isoformat()}, "labelled_at"),
        ({"labelled_at": (NOW + timedelta(days=1)).isoformat()}, "labelled_at"),
        ({"labelled_at": "2026-11-22T10:00:00"}, "labelled_at"),
        ({"label": 1}, "label"),
        ({"note": "a\x00b"}, "note"),
        ({"author": " "}, "author"),
        ({"amount": -1}, "amount"),
        ({"amount": 1e15}, "amount"),
    ],
)
def test_a_label_that_cannot_be_is_refused_with_its_field(api, changes, field) -> None:
    api.score("l-5")
    body = {"transaction_id": "l-5", "label": "fraud", **changes}
    found = problem_of(api.post("/v1/labels", body), 422)["problems"]
    assert any(one["field"].split(".")[-1] == field for one in found)
    assert label_history(api.service.store, "l-5") == []


def test_an_amount_that_no_transaction_could_have_is_refused_and_scoring_goes_on(api) -> None:
    body = {"transaction_id": "l-9", "label": "fraud", "event_time": NOW.isoformat()}
    body |= {"payer_id": "payer-9", "payee_id": "payee-9"}
    for amount in (1e15, api.service.profile.columns.amount.maximum * 1.001):
        (found,) = problem_of(api.post("/v1/labels", body | {"amount": amount}), 422)["problems"]
        assert found["field"] == "amount"
    assert label_history(api.service.store, "l-9") == []
    most = api.service.profile.columns.amount.maximum
    assert api.post("/v1/labels", body | {"amount": most}).status_code == 201
    api.score("l-10", payer_id="payer-9", payee_id="payee-9")


def test_a_label_that_is_sent_again_is_answered_and_not_added(api) -> None:
    api.score("l-11")
    body = {"transaction_id": "l-11", "label": "fraud", "note": "phoned"}
    first = api.post("/v1/labels", body)
    again = api.post("/v1/labels", body)
    assert (first.status_code, again.status_code) == (201, 200)
    assert again.json() == first.json()
    assert len(label_history(api.service.store, "l-11")) == 1
    other = {"transaction_id": "l-11", "label": "legitimate"}
    mixed = api.post("/v1/labels", [body, other, other])
    assert mixed.status_code == 201
    assert [one["label"] for one in mixed.json()["labels"]] == ["fraud", "legitimate", "legitimate"]
    assert len(label_history(api.service.store, "l-11")) == 2
    assert (
        "24 hours" in api.get("/openapi.json").json()["paths"]["/v1/labels"]["post"]["description"]
    )


def test_a_label_on_a_closed_day_is_refused_unless_it_counts_from_now_on(own_api) -> None:
    api = own_api()
    early = NOW - timedelta(days=9)
    body = {"label": "fraud", "event_time": early.isoformat()}

    def at(number: int, moment: datetime) -> dict:
        return {**body, "transaction_id": f"c-{number}", "labelled_at": moment.isoformat()}

    # Nothing has been closed yet: the history may be brought in.
    assert api.post("/v1/labels", at(1, early)).status_code == 201
    closed = (NOW - timedelta(days=3)).date()
    for day in (closed, closed - timedelta(days=1)):
        record(api.service.store, decision(day))
    open_from = datetime.combine(closed + timedelta(days=1), time.min, tzinfo=UTC)
    last = at(2, open_from - timedelta(microseconds=1))
    (found,) = problem_of(api.post("/v1/labels", [at(2, open_from), last]), 422)["problems"]
    assert found["field"] == "1.labelled_at"
    assert f"{open_from:%Y-%m-%d}" in found["message"]
    assert "leave it out" in found["message"]
    assert label_history(api.service.store, "c-2") == []
    assert api.post("/v1/labels", at(2, open_from)).status_code == 201
    assert api.post("/v1/labels", {**body, "transaction_id": "c-3"}).status_code == 201
    (label,) = label_history(api.service.store, "c-3")
    assert label.labelled_at >= NOW


def test_where_days_are_closed_ahead_of_the_clock_a_label_counts_from_the_first_open_one(
    own_api,
) -> None:
    api = own_api()
    closed = (NOW + timedelta(days=3)).date()
    record(api.service.store, decision(closed))
    api.score("c-4")
    assert api.post("/v1/labels", {"transaction_id": "c-4", "label": "fraud"}).status_code == 201
    (label,) = label_history(api.service.store, "c-4")
    assert label.labelled_at.date() == closed + timedelta(days=1)


def test_a_list_names_the_position_of_what_is_wrong(api) -> None:
    api.score("l-6")
    early = {"labelled_at": (NOW - timedelta(days=1)).isoformat()}
    body = {"transaction_id": "l-6", "label": "fraud"}
    (found,) = problem_of(api.post("/v1/labels", [body, {**body, **early}]), 422)["problems"]
    assert found["field"] == "1.labelled_at"


@pytest.mark.parametrize("body", [[], [{}], "text", None, 7, [[]]])
def test_what_is_no_label_is_refused(api, body) -> None:
    problem_of(api.post("/v1/labels", body), 422)


def test_the_history_of_an_unknown_transaction_is_not_found(api) -> None:
    assert "l-7" in problem_of(api.get("/v1/labels/l-7"), 404)["detail"]
    api.score("l-8")
    assert api.get("/v1/labels/l-8").json() == {"labels": []}


def test_an_id_with_a_slash_has_its_own_address(api) -> None:
    api.score("shop/7?x")
    assert api.get("/v1/predictions/shop%2F7%3Fx").json()["transaction_id"] == "shop/7?x"
    assert api.get("/v1/labels/shop%2F7%3Fx").json() == {"labels": []}
