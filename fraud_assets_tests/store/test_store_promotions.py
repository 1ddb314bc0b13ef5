from __future__ import annotations

import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from sqlalchemy import text
from sqlalchemy.exc import DatabaseError

from fraud_assets.store import promotions
from fraud_assets.store.engine import PredictionStore
from fraud_assets.store.migrate import migrate
from fraud_assets.store.promotions import (
    Promotion,
    champion_on,
    former_champions,
    history,
    record,
    suspended_on,
)


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


def test_a_fallback_serves_until_the_suspended_champion_is_restored(
    store: PredictionStore,
) -> None:
    record(store, decided(5, "promote", "1"))
    record(store, decided(7, "fallback", "rules-1", previous_version="1", numbers={"rule": "x"}))
    record(store, decided(8, "keep", "2", previous_version="rules-1"))
    record(store, decided(9, "restore", "1", previous_version="rules-1"))
    served = [champion(store, day) for day in (7, 8, 9, 10)]
    assert served == ["1", "rules-1", "rules-1", "1"]
    found = [suspended_on(store, date(2024, 3, day)) for day in (5, 7, 8, 9, 10)]
    versions = [None if one is None else one.version for one in found]
    assert versions == [None, None, "1", "1", None]
    assert found[2].first.numbers == {"rule": "x"}


def test_a_stand_in_that_fails_too_does_not_become_what_is_waited_for(
    store: PredictionStore,
) -> None:
    record(store, decided(5, "promote", "3"))
    record(store, decided(7, "fallback", "2", previous_version="3", numbers={"rule": "broken"}))
    record(store, decided(8, "fallback", "rules-1", previous_version="2", numbers={"rule": "gone"}))
    found = suspended_on(store, date(2024, 3, 10))
    assert found is not None
    assert (found.version, found.first.numbers["rule"]) == ("3", "broken")
    assert found.latest.version == "rules-1"


def test_a_promotion_that_is_recorded_after_a_later_fallback_is_what_is_waited_for(
    store: PredictionStore,
) -> None:
    record(store, decided(5, "promote", "3"))
    record(store, decided(9, "fallback", "rules-1", previous_version="3"))
    record(store, decided(8, "promote", "4", previous_version="3"))
    assert champion(store, 10) == "rules-1"
    found = suspended_on(store, date(2024, 3, 10))
    assert found is not None
    assert found.version == "4"


def test_a_promotion_ends_a_fallback(store: PredictionStore) -> None:
    record(store, decided(5, "promote", "1"))
    record(store, decided(7, "fallback", "rules-1", previous_version="1"))
    record(store, decided(8, "promote", "2", previous_version="rules-1"))
    assert suspended_on(store, date(2024, 3, 9)) is None
    assert formers(store, 9) == ["1"]


def formers(store: PredictionStore, day: int, limit: int | None = None) -> list[str]:
    return former_champions(store, date(2024, 3, day), limit, rules="rules-1")


def test_former_champions_are_those_that_served_the_last_one_first(store: PredictionStore) -> None:
    assert formers(store, 30) == []
    for day, version in ((1, "1"), (2, "2"), (4, "3"), (6, "1"), (8, "4")):
        record(store, decided(day, "promote", version))
    record(store, decided(9, "keep", "5", previous_version="4"))
    assert formers(store, 1) == []
    assert formers(store, 2) == []
    assert formers(store, 5) == ["2", "1"]
    assert formers(store, 7) == ["3", "2"]  # 1 serves again
    assert formers(store, 30) == ["1", "3", "2"]
    assert formers(store, 30, limit=2) == ["1", "3"]


def test_the_suspended_champion_is_a_former_one_and_the_rules_are_none(
    store: PredictionStore,
) -> None:
    record(store, decided(1, "promote", "1"))
    record(store, decided(2, "promote", "2", previous_version="1"))
    record(store, decided(5, "fallback", "rules-1", previous_version="2"))
    assert formers(store, 6) == ["2", "1"]
    record(store, decided(7, "restore", "2", previous_version="rules-1"))
    assert formers(store, 8) == ["1"]


def test_a_champion_that_was_judged_worse_does_not_come_back_until_it_is_promoted_again(
    store: PredictionStore,
) -> None:
    record(store, decided(1, "promote", "1"))
    record(store, decided(2, "promote", "2", previous_version="1"))
    record(store, decided(4, "rollback", "1", previous_version="2"))
    assert formers(store, 4) == ["1"]  # not known yet
    assert formers(store, 5) == []
    record(store, decided(6, "promote", "3", previous_version="1"))
    assert formers(store, 7) == ["1"]
    record(store, decided(8, "promote", "2", previous_version="3"))
    record(store, decided(9, "promote", "4", previous_version="2"))
    assert formers(store, 10) == ["2", "3", "1"]


def test_what_was_displaced_on_its_own_day_never_served(store: PredictionStore) -> None:
    record(store, decided(1, "promote", "1"))
    record(store, decided(3, "promote", "2", previous_version="1"))
    record(store, decided(3, "promote", "3", previous_version="2"))
    assert formers(store, 9) == ["1"]


@settings(deadline=None, max_examples=40)
@given(
    st.lists(
        st.tuples(
            st.integers(1, 9),
            st.sampled_from(["promote", "keep", "rollback", "fallback", "restore"]),
            st.sampled_from(["rules-1", "1", "2", "3"]),
        ),
        max_size=8,
    )
)
def test_former_champions_scored_a_day_before(rows: list[tuple[int, str, str]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{folder}/store.db"
        migrate(url)
        with PredictionStore(url) as store:
            for day, action, version in rows:
                previous = champion(store, day + 1)
                record(store, decided(day, action, version, previous_version=previous))
            served = {champion(store, day) for day in range(1, 11)} - {None, "rules-1"}
            found = formers(store, 10)
            assert champion(store, 10) not in found
            assert len(set(found)) == len(found)
            if not any(action == "rollback" for _, action, _ in rows):
                assert set(found) == served - {champion(store, 10)}
            assert set(found) <= served


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
