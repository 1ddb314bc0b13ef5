"""Lists of what was scored: filters, pages that stay apart, and what is not in the store yet."""

from __future__ import annotations

from datetime import date

import pytest

from fraud_assets.store.predictions import replace_day
from fraud_assets_tests.serving.api.running_api import problem_of
from fraud_assets_tests.serving.api.test_api_labels import batch_day

DAY = date(2026, 5, 2)
IDS = [f"b-{i}" for i in range(9)]


@pytest.fixture(scope="module")
def filled(api):
    """Nine of the batch, and three of the API that the store has."""
    replace_day(api.service.store, DAY, batch_day(DAY, *IDS))
    for i in range(3):
        api.score(f"o-{i}", payer_id=f"payer-{i}", amount=10.0 + i)
    api.until(lambda: api.service.writer.status.waiting == 0)
    api.until(lambda: len(api.get("/v1/predictions?origin=online").json()["items"]) == 3)
    return api


def ids(api, query: str, path: str = "/v1/predictions") -> list[str]:
    answer = api.get(f"{path}?{query}")
    assert answer.status_code == 200, answer.text
    return [one["transaction_id"] for one in answer.json()["items"]]


def test_both_kinds_are_listed_newest_first_and_then_by_score(filled) -> None:
    found = ids(filled, "")
    assert found[3:] == IDS[::-1]
    assert sorted(found[:3]) == ["o-0", "o-1", "o-2"]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (f"last_day={DAY}&min_score=0.75", {"b-8", "b-7"}),
        (f"first_day={DAY}&last_day={DAY}&max_score=0.15", {"b-0"}),
        ("payer_id=payer-1", {"o-1"}),
        ("origin=batch&model_version=7", set(IDS)),
        ("model_version=none", set()),
        ("label=fraud", set()),
        ("origin=batch&label=unlabelled", set(IDS)),
        ("decision=alert&origin=batch", set()),
    ],
)
def test_a_filter_gives_what_it_names(filled, query, expected) -> None:
    assert set(ids(filled, query)) == expected


@pytest.mark.parametrize("limit", [1, 2, 5, 12])
def test_pages_together_are_the_list(filled, limit) -> None:
    found, cursor = [], ""
    while True:
        page = filled.get(f"/v1/predictions?limit={limit}{cursor}").json()
        found += [one["transaction_id"] for one in page["items"]]
        assert len(page["items"]) <= limit
        if page["next_cursor"] is None:
            break
        assert page["items"]
        cursor = f"&cursor={page['next_cursor']}"
    assert found == ids(filled, "")


def test_frauds_and_non_frauds_share_the_list_between_them(filled) -> None:
    frauds = ids(filled, "", "/v1/frauds")
    others = ids(filled, "", "/v1/non-frauds")
    assert sorted(frauds + others) == sorted(ids(filled, ""))
    assert frauds == ids(filled, "decision=alert")
    assert set(IDS) <= set(others)


def test_a_cursor_goes_with_its_filters_only(filled) -> None:
    cursor = filled.get("/v1/predictions?limit=1").json()["next_cursor"]
    other = filled.get(f"/v1/predictions?limit=1&origin=batch&cursor={cursor}")
    assert "filters" in problem_of(other, 400)["detail"]
    problem_of(filled.get(f"/v1/frauds?cursor={cursor}"), 400)


@pytest.mark.parametrize("cursor", ["x", "", "%00", "AAAA", "é", "W10", "A" * 3_000])
def test_what_is_no_cursor_is_refused(filled, cursor) -> None:
    problem_of(filled.get(f"/v1/predictions?cursor={cursor}"), 400)


@pytest.mark.parametrize(
    "query",
    [
        "limit=0", "limit=1001", "limit=x", "first_day=20260502", "first_day=1700000000",
        "first_day=2026-02-30", "decision=fraud", "min_score=nan", "max_score=2", "label=1",
        "origin=both", "payer_id=%00",
    ],
)  # fmt: skip
def test_a_filter_that_cannot_be_is_refused_with_its_name(filled, query) -> None:
    (found,) = problem_of(filled.get(f"/v1/predictions?{query}"), 422)["problems"]
    assert found["field"].endswith(query.split("=")[0])


def test_an_answer_is_found_before_the_store_has_it(filled) -> None:
    answer = filled.score("fresh-1", amount=11.0)
    found = filled.get("/v1/predictions/fresh-1").json()
    for name in ("probability", "decision", "threshold", "reasons", "model_version", "scored_at"):
        assert found[name] == answer[name], name
    assert (found["origin"], found["label"], found["amount"]) == ("online", None, 11.0)


def test_a_batch_prediction_is_found_with_null_for_what_it_has_not(filled) -> None:
    found = filled.get("/v1/predictions/b-3").json()
    assert found["probability"] == pytest.approx(0.4)
    assert (found["origin"], found["served_by"], found["scored_at"]) == ("batch", None, None)
    assert found["event_time"].startswith("2026-05-02T00:00:00")


def test_a_transaction_that_was_never_scored_is_not_found(filled) -> None:
    assert "nobody-1" in problem_of(filled.get("/v1/predictions/nobody-1"), 404)["detail"]


def test_statistics_count_by_day_origin_and_version(filled) -> None:
    answer = filled.get(f"/v1/statistics?first_day={DAY}&last_day={DAY}").json()
    (day,) = answer["days"]
    assert (day["day"], day["origin"], day["model_version"]) == (str(DAY), "batch", "7")
    assert (day["scored"], day["alerts"], day["labelled"]) == (9, 0, 0)
    assert day["mean_probability"] == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("first", "last"),
    [("2026-05-02", "2026-05-01"), ("2024-01-01", "2026-01-01"), ("9999-12-31", "9999-12-31")],
)
def test_days_that_are_no_short_range_are_refused_or_empty(filled, first, last) -> None:
    answer = filled.get(f"/v1/statistics?first_day={first}&last_day={last}")
    if first == last:
        assert answer.json() == {"days": []}
    else:
        problem_of(answer, 422)
