from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime
from pathlib import Path
from typing import get_args

import pytest
from pydantic import ValidationError
from sqlalchemy import insert, text
from sqlalchemy.exc import DatabaseError

from fraud_assets.monitoring import policy
from fraud_assets.store import decisions, schema
from fraud_assets.store.decisions import (
    StoredDecision,
    history,
    last_closed_day,
    last_retraining,
    latest_of,
    record,
)
from fraud_assets.store.engine import PredictionStore
from fraud_assets.store.migrate import migrate


def day(number: int) -> date:
    return date(2024, 3, number)


def decided(number: int, action: str = "nothing", **more: object) -> StoredDecision:
    given = {"rule": "quiet", "champion": "3", "reason": "because", "fingerprint": "f", **more}
    return StoredDecision(day=day(number), action=action, **given)


def test_a_decision_comes_back_as_it_was_recorded(store: PredictionStore) -> None:
    given = decided(
        5,
        "fall_back",
        rule="broken_inputs",
        target="rules-1",
        since=day(2),
        waiting_for="frauds",
        reason="é \\ \"'",
        findings=[{"kind": "drift", "text": "much", "since": "2024-03-02"}, {"kind": "blind"}],
        numbers={"drift_share": 0.5, "recent": None, "days": [1, 2]},
        run_id="run-1",
    )
    stored = record(store, given)
    assert history(store) == [stored]
    assert stored.model_dump(exclude={"id", "created_at"}) == given.model_dump(
        exclude={"id", "created_at"}
    )
    assert stored.created_at is not None
    assert abs((datetime.now(UTC) - stored.created_at).total_seconds()) < 60


def test_a_decision_of_the_policy_can_be_recorded(store: PredictionStore) -> None:
    made = policy.Decision(
        day=day(5),
        action="warn",
        rule="decay",
        champion="3",
        since=day(2),
        waiting_for="cooldown",
        reason="why",
        findings=(policy.Finding(kind="decay", text="lower", since=day(2)),),
    )
    values = made.model_dump(mode="json")
    stored = record(store, StoredDecision.model_validate({**values, "fingerprint": "f"}))
    assert (
        policy.Decision.model_validate(stored.model_dump(include=set(policy.Decision.model_fields)))
        == made
    )


def test_the_store_knows_the_actions_of_the_policy(store: PredictionStore) -> None:
    assert get_args(StoredDecision.model_fields["action"].annotation) == policy.ACTIONS
    for number, action in enumerate(policy.ACTIONS, start=1):
        record(store, decided(number, action))
    assert [one.action for one in history(store)] == list(policy.ACTIONS)
    row = decided(9).model_dump(exclude={"id"}) | {
        "action": "pray",
        "created_at": datetime.now(UTC),
    }
    with (
        pytest.raises(DatabaseError, match="decisions_action_is_known"),
        store.writing() as connection,
    ):
        connection.execute(insert(schema.decisions), [row])


def test_a_day_that_is_closed_again_from_the_same_facts_adds_nothing(
    store: PredictionStore,
) -> None:
    first = record(store, decided(5, "warn", run_id="run-1"))
    assert record(store, decided(5, "nothing", run_id="run-2", reason="other")) == first
    other = record(store, decided(5, "nothing", fingerprint="g"))
    assert record(store, decided(6, "warn", run_id="run-1")).id not in (first.id, other.id)
    assert record(store, decided(5, "warn")) == first
    assert len(history(store)) == 3


def test_the_last_decision_of_the_newest_day_counts(store: PredictionStore) -> None:
    assert latest_of(store, day(5)) is None
    for number, fingerprint in ((7, "a"), (5, "a"), (5, "b"), (3, "a")):
        record(store, decided(number, fingerprint=fingerprint))

    def named(found: StoredDecision | None) -> tuple[int, str]:
        assert found is not None
        return found.day.day, found.fingerprint

    assert named(latest_of(store, day(5))) == (5, "b")
    assert latest_of(store, day(4)) is None


def test_the_last_retraining_is_the_newest_days_and_never_a_later_ones(
    store: PredictionStore,
) -> None:
    assert last_retraining(store, day(30)) is None
    record(store, decided(9, "retrain", since=day(4)))
    record(store, decided(4, "retrain", since=day(1)))  # an older day, recorded later
    record(store, decided(12, "warn"))
    found = [last_retraining(store, day(n)) for n in (3, 4, 8, 9, 30)]
    assert [one and one.day for one in found] == [None, day(4), day(4), day(9), day(9)]
    assert [one and one.since for one in found] == [None, day(1), day(1), day(4), day(4)]


def test_a_reader_goes_on_from_the_last_decision_that_it_saw(store: PredictionStore) -> None:
    stored = [record(store, decided(number)) for number in (7, 5, 6, 9)]
    assert history(store, limit=2) == stored[:2]
    assert history(store, since_id=stored[1].id) == stored[2:]
    assert history(store, since_id=stored[1].id, limit=1) == stored[2:3]
    assert history(store, since_id=stored[3].id) == []
    assert history(store, limit=2, newest_first=True) == stored[:-3:-1]


def test_two_who_record_the_same_day_at_once_leave_one_row(
    store: PredictionStore, meet_after: Callable[[object, str], None]
) -> None:
    meet_after(decisions, "_recorded")
    with ThreadPoolExecutor(2) as pool:
        stored = list(pool.map(lambda run: record(store, decided(5, run_id=run)), ("a", "b")))
    assert stored[0] == stored[1]
    assert history(store) == stored[:1]


@pytest.mark.parametrize(
    "wrong",
    [
        {"action": "pray"},
        {"rule": ""},
        {"reason": ""},
        {"reason": "a\0b"},
        {"fingerprint": ""},
        {"numbers": {"ap": float("nan")}},
        {"findings": [{"since": date(2024, 3, 1)}]},
        {"findings": ["drift"]},
        {"created_at": datetime.now(UTC).replace(tzinfo=None)},
        {"surprise": 1},
    ],
)
def test_a_decision_that_says_too_little_or_nonsense_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        StoredDecision(**(decided(5).model_dump() | wrong))


@pytest.mark.parametrize(
    "change", ["UPDATE decisions SET action = 'warn'", "DELETE FROM decisions"]
)
def test_the_database_refuses_to_change_the_record(store: PredictionStore, change: str) -> None:
    stored = record(store, decided(5))
    with (
        pytest.raises(DatabaseError, match="decisions is append-only"),
        store.writing() as connection,
    ):
        connection.execute(text(change))
    assert history(store) == [stored]


@pytest.mark.parametrize("other", [{"day": day(6)}, {"id": 99}])
def test_sqlite_refuses_to_replace_a_decision_by_its_id_or_by_its_fingerprint(
    tmp_path: Path, other: dict[str, object]
) -> None:
    url = f"sqlite:///{tmp_path}/store.db"
    migrate(url)
    with PredictionStore(url) as store:
        stored = record(store, decided(5))
        forged = stored.model_dump() | {"reason": "forged"} | other
        statement = insert(schema.decisions).prefix_with("OR REPLACE")
        with (
            pytest.raises(DatabaseError, match="decisions is append-only"),
            store.writing() as connection,
        ):
            connection.execute(statement, [forged])
        assert history(store) == [stored]


def test_the_last_closed_day_is_the_newest_one_whichever_was_decided_on_last(
    store: PredictionStore,
) -> None:
    assert last_closed_day(store) is None
    for number in (5, 9, 7):  # the last one is closed again
        record(store, decided(number))
    assert last_closed_day(store) == day(9)
