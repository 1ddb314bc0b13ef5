from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from pydantic import ValidationError
from sqlalchemy import insert, text
from sqlalchemy.exc import DatabaseError

from fraud_assets.store import schema
from fraud_assets.store.engine import PredictionStore
from fraud_assets.store.traffic import current, history, set_share


def test_the_last_share_is_in_force_and_the_others_are_remembered(store: PredictionStore) -> None:
    assert current(store) is None
    assert history(store) == []
    first = set_share(store, "7", 0.1, "ada", "a first try")
    second = set_share(store, None, 0.0, "bob", "too many alerts")
    assert current(store) == second
    assert history(store) == [second, first]
    assert history(store, limit=1) == [second]
    assert (first.version, first.share, first.author, first.reason) == (
        "7",
        0.1,
        "ada",
        "a first try",
    )
    assert first.created_at is not None
    assert abs(first.created_at - datetime.now(UTC)) < timedelta(minutes=1)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"share": 1.01}, "share"),
        ({"share": -0.1}, "share"),
        ({"share": float("nan")}, "share"),
        ({"version": None}, "a share of 0.5 needs a version"),
        ({"version": ""}, "version"),
        ({"version": "a\0"}, "version"),
        ({"author": ""}, "author"),
        ({"reason": ""}, "reason"),
    ],
)
def test_a_share_that_makes_no_sense_is_refused(
    store: PredictionStore, wrong: dict[str, object], said: str
) -> None:
    usual = {"version": "7", "share": 0.5, "author": "ada", "reason": "why"}
    with pytest.raises(ValidationError, match=said):
        set_share(store, **usual | wrong)
    assert current(store) is None


@pytest.mark.parametrize(
    ("wrong", "check"),
    [
        ({"share": 1.5}, "traffic_share_is_a_share"),
        ({"version": None}, "traffic_goes_to_a_version"),
        ({"author": ""}, "traffic_has_an_author"),
    ],
)
def test_the_database_itself_refuses_nonsense(
    store: PredictionStore, wrong: dict[str, object], check: str
) -> None:
    row = {"version": "7", "share": 0.5, "author": "ada", "reason": "why"}
    row |= {"created_at": datetime.now(UTC)}
    with pytest.raises(DatabaseError, match=check), store.writing() as connection:
        connection.execute(insert(schema.traffic).values(**row | wrong))


def test_the_database_refuses_to_change_the_record(store: PredictionStore) -> None:
    stored = set_share(store, "7", 0.5, "ada", "why")
    ways = ["UPDATE traffic SET share = 1", "DELETE FROM traffic"]
    if store.dialect == "postgresql":
        ways.append("TRUNCATE traffic")
    else:
        ways.append(
            "INSERT OR REPLACE INTO traffic SELECT id, version, 1, author, reason, created_at "
            "FROM traffic"
        )
    for way in ways:
        with (
            pytest.raises(DatabaseError, match="traffic is append-only"),
            store.writing() as connection,
        ):
            connection.execute(text(way))
    assert history(store) == [stored]
