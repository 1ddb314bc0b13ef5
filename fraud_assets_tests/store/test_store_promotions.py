from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime

import pytest
from pydantic import ValidationError
from sqlalchemy import text
from sqlalchemy.exc import DatabaseError

from fraud_assets.store import promotions
from fraud_assets.store.engine import PredictionStore
from fraud_assets.store.promotions import Promotion, champion_on, history, record


def decided(day: int, action: str, version: str, **more: object) -> Promotion:
    given = {"model_hash": f"hash-{version}", "reason": "because", **more}
    return Promotion(day=date(2024, 3, day), action=action, version=version, **given)


def champion(store: PredictionStore, day: int) -> str | None:
    found = champion_on(store, date(2024, 3, day))
    return None if found is None else found.version


def test_a_decision_comes_back_as_it_was_recorded(store: PredictionStore) -> None:
    numbers = {"ap_gain": 0.0125, "cost_gain": None, "note": "é \\ \"'", "days": [1, 2]}
    stored = record(
        store, decided(5, "promote", "2", previous_version="1", numbers=numbers, run_id="r")
    )
    assert history(store) == [stored]
    assert stored.numbers == numbers
    assert stored.id is not None
    assert stored.created_at is not None
    assert abs((datetime.now(UTC) - stored.created_at).total_seconds()) < 60


def test_a_promotion_is_in_force_from_the_day_after(store: PredictionStore) -> None:
    assert champion(store, 5) is None
    record(store, decided(5, "promote", "1"))
    assert champion(store, 5) is None
    assert champion(store, 6) == "1"
    assert champion(store, 30) == "1"


def test_keeping_the_champion_changes_nothing(store: PredictionStore) -> None:
    record(store, decided(5, "promote", "1"))
    record(store, decided(7, "keep", "2", previous_version="1"))
    assert champion(store, 9) == "1"


def test_a_rollback_puts_the_earlier_version_in_force_again(store: PredictionStore) -> None:
    record(store, decided(5, "promote", "1"))
    record(store, decided(7, "promote", "2", previous_version="1"))
    record(store, decided(9, "rollback", "1", previous_version="2"))
    assert [champion(store, day) for day in (6, 7, 8, 9, 10)] == ["1", "1", "2", "2", "1"]


def test_the_later_of_two_decisions_of_one_day_counts(store: PredictionStore) -> None:
    record(store, decided(5, "promote", "2"))
    record(store, decided(5, "rollback", "1"))
    assert champion(store, 6) == "1"
    record(store, decided(5, "promote", "2"))
    assert champion(store, 6) == "2"
    assert len(history(store)) == 3


def test_an_old_day_recorded_late_does_not_displace_a_later_one(store: PredictionStore) -> None:
    record(store, decided(9, "promote", "3"))
    record(store, decided(5, "promote", "4"))
    assert champion(store, 8) == "4"
    assert champion(store, 10) == "3"


def test_materialising_a_day_again_adds_no_row(store: PredictionStore) -> None:
    first = record(store, decided(5, "promote", "2", run_id="run-1"))
    again = record(store, decided(5, "promote", "2", run_id="run-2", reason="other words"))
    assert again == first
    assert record(store, decided(6, "promote", "2", run_id="run-2")) != first
    assert len(history(store)) == 2


def test_a_retry_of_a_run_does_not_undo_what_came_between(store: PredictionStore) -> None:
    first = record(store, decided(5, "promote", "2", run_id="run-1"))
    record(store, decided(5, "rollback", "1"))
    assert record(store, decided(5, "promote", "2", run_id="run-1")) == first
    assert champion(store, 6) == "1"


def test_the_same_version_with_other_content_is_another_decision(store: PredictionStore) -> None:
    record(store, decided(5, "promote", "1"))
    record(store, decided(5, "promote", "1", model_hash="rebuilt"))
    found = champion_on(store, date(2024, 3, 6))
    assert found is not None
    assert found.model_hash == "rebuilt"


def test_two_who_record_the_same_decision_at_once_leave_one_row(
    store: PredictionStore, meet_after: Callable[[object, str], None]
) -> None:
    meet_after(promotions, "_recorded")
    with ThreadPoolExecutor(2) as pool:
        stored = list(pool.map(lambda run: record(store, decided(5, "promote", "1")), range(2)))
    assert stored[0] == stored[1]
    assert history(store) == stored[:1]


@pytest.mark.parametrize(
    "wrong",
    [
        {"action": "promot"},
        {"version": ""},
        {"reason": ""},
        {"numbers": {"ap": float("nan")}},
        {"numbers": {"ap": object()}},
        {"created_at": datetime.now(UTC).replace(tzinfo=None)},
    ],
)
def test_a_decision_that_says_too_little_or_nonsense_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        Promotion(**(decided(5, "keep", "2").model_dump() | wrong))


@pytest.mark.parametrize(
    "change", ["UPDATE promotions SET version = '9'", "DELETE FROM promotions"]
)
def test_the_database_refuses_to_change_the_record(store: PredictionStore, change: str) -> None:
    stored = record(store, decided(5, "promote", "1"))
    with (
        pytest.raises(DatabaseError, match="promotions is append-only"),
        store.writing() as connection,
    ):
        connection.execute(text(change))
    assert history(store) == [stored]
