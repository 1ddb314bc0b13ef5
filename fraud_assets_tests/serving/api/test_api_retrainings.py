"""Retrainings: what is refused here, and what is said while Dagster is away."""

from __future__ import annotations

from datetime import date

import pytest

from fraud_assets.store.decisions import StoredDecision, record
from fraud_assets_tests.serving.api.running_api import problem_of


def closed(api, day: date, fingerprint: str) -> None:
    """Let a day be closed in the store."""
    record(
        api.service.store,
        StoredDecision(
            day=day, action="nothing", rule="quiet", champion="1", reason="quiet",
            fingerprint=fingerprint,
        ),
    )  # fmt: skip


def test_without_a_closed_day_one_has_to_be_given(own_api) -> None:
    api = own_api()
    assert "`day`" in problem_of(api.post("/v1/retrainings", {"reason": "r"}), 409)["detail"]


def test_while_dagster_is_away_the_remedy_is_told(own_api) -> None:
    api = own_api()
    closed(api, api.settings.first_day, "a")
    for answer in (
        api.post("/v1/retrainings", {"reason": "r"}),
        api.get("/v1/retrainings/0b1c"),
    ):
        assert "fraud-assets dev" in problem_of(answer, 503)["detail"]
        assert answer.headers["retry-after"]


@pytest.mark.parametrize(
    "changes",
    [{"day": "2001-01-01"}, {"day": "yesterday"}, {"day": 20260101}, {"reason": ""}, {"x": 1}],
)
def test_a_retraining_that_cannot_be_is_refused(api, changes) -> None:
    (found,) = problem_of(api.post("/v1/retrainings", {"reason": "r", **changes}), 422)["problems"]
    assert found["field"] == next(iter(changes))


@pytest.mark.parametrize("run_id", ["a b", "a%00", "..%2F", "x" * 65])
def test_what_is_no_run_is_refused(api, run_id) -> None:
    assert api.get(f"/v1/retrainings/{run_id}").status_code in (404, 422)
