from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DatabaseError

from fraud_assets.store import api_keys
from fraud_assets.store.api_keys import (
    ApiKey,
    KeyRefusedError,
    UnknownKeyError,
    active_keys,
    create,
    hash_of,
    revoke,
)
from fraud_assets.store.engine import PredictionStore


def test_a_key_is_found_by_the_hash_of_its_secret_and_the_secret_is_nowhere(
    store: PredictionStore,
) -> None:
    key, secret = create(store, "till", ["read", "score", "read"])
    assert re.fullmatch(rf"fa_{key.id}_[A-Za-z0-9_-]{{43}}", secret)
    assert key.scopes == ("score", "read")
    assert key.hash == hash_of(secret) == hashlib.sha256(secret.encode()).hexdigest()
    assert abs(key.created_at - datetime.now(UTC)) < timedelta(minutes=1)
    assert active_keys(store) == [key]
    with store.reading() as connection:
        kept = str(connection.execute(text("SELECT * FROM api_keys")).all())
    assert secret.rpartition(key.id)[2] not in kept + repr(key)
    assert key.hash not in repr(key)


def test_no_two_secrets_are_alike(store: PredictionStore) -> None:
    made = [create(store, f"key-{n}", ["score"]) for n in range(20)]
    assert len({secret for _, secret in made}) == len({key.id for key, _ in made}) == 20


def test_a_revoked_key_is_gone_and_its_name_is_free(store: PredictionStore) -> None:
    first, _ = create(store, "till", ["score"])
    other, _ = create(store, "desk", ["label"])
    revoked = revoke(store, first.id)
    assert revoked.revoked_at is not None
    assert revoke(store, first.id) == revoked  # the moment stays
    assert active_keys(store) == [other]
    again, _ = create(store, "till", ["score"])
    assert [key.name for key in active_keys(store)] == ["desk", "till"]
    assert again.id != first.id
    with pytest.raises(UnknownKeyError, match="no API key with the id 'nobody'"):
        revoke(store, "nobody")


@pytest.mark.parametrize(
    ("name", "scopes", "said"),
    [
        ("till", ["score", "admin"], "unknown scopes admin; there are score, read, label, train"),
        ("till", [], "needs a scope; there are score"),
        ("", ["score"], "1 to 100 printable"),
        ("  ", ["score"], "1 to 100 printable"),
        ("x" * 101, ["score"], "1 to 100 printable"),
        ("a\0b", ["score"], "1 to 100 printable"),
        ("a\ud800", ["score"], "1 to 100 printable"),
        ("taken", ["score"], "has the name 'taken': revoke it first"),
    ],
)
def test_a_key_that_will_not_do_is_refused(
    store: PredictionStore, name: str, scopes: list[str], said: str
) -> None:
    create(store, "taken", ["train"])
    with pytest.raises(KeyRefusedError, match=said):
        create(store, name, scopes)
    assert [key.name for key in active_keys(store)] == ["taken"]


def test_of_two_who_take_a_name_at_once_one_gets_it(
    store: PredictionStore, meet_after: Callable[[object, str], None]
) -> None:
    meet_after(api_keys, "select")

    def attempt(_: int) -> ApiKey | None:
        try:
            return create(store, "till", ["score"])[0]
        except KeyRefusedError:
            return None

    with ThreadPoolExecutor(2) as pool:
        made = [key for key in pool.map(attempt, range(2)) if key is not None]
    assert active_keys(store) == made
    assert len(made) == 1


@pytest.mark.parametrize(
    "change",
    [
        "DELETE FROM api_keys",
        "UPDATE api_keys SET scopes = '[\"train\"]'",
        "UPDATE api_keys SET hash = 'x'",
        "UPDATE api_keys SET name = 'x'",
        "UPDATE api_keys SET id = 'x'",
        "UPDATE api_keys SET created_at = '2020-01-01 00:00:00+00:00'",
        "UPDATE api_keys SET revoked_at = '2020-01-01 00:00:00+00:00', hash = 'x'",
        "UPDATE api_keys SET revoked_at = NULL",
    ],
)
@pytest.mark.parametrize("is_revoked", [False, True])
def test_the_database_lets_a_key_be_revoked_and_nothing_else(
    store: PredictionStore, change: str, is_revoked: bool
) -> None:
    key, _ = create(store, "till", ["score"])
    if is_revoked:
        key = revoke(store, key.id)
    with (
        pytest.raises(DatabaseError, match=r"api_keys (is append-only|may only be revoked)"),
        store.writing() as connection,
    ):
        connection.execute(text(change))
    assert revoke(store, key.id) == key if is_revoked else active_keys(store) == [key]


def test_the_database_refuses_the_roundabout_ways_too(store: PredictionStore) -> None:
    key, _ = create(store, "till", ["score"])
    row = "'{}', '{}', '{}', '[\"train\"]', created_at, NULL"
    ways = ["TRUNCATE api_keys"]
    if store.dialect == "sqlite":
        ways = [
            f"INSERT OR REPLACE INTO api_keys SELECT {row.format(*values)} FROM api_keys"
            for values in ((key.id, "h", "n"), ("i", key.hash, "n"), ("i", "h", "till"))
        ]
    for way in ways:
        with pytest.raises(DatabaseError, match="append-only"), store.writing() as connection:
            connection.execute(text(way))
    assert active_keys(store) == [key]
