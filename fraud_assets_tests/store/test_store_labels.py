from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta, timezone

import polars as pl
import pytest
from sqlalchemy import text
from sqlalchemy.exc import DatabaseError

from fraud_assets.store import labels
from fraud_assets.store.engine import PredictionStore
from fraud_assets.store.labels import (
    FRAME_SCHEMA,
    AnalystLabel,
    LabelsRefusedError,
    append_labels,
    append_unsaid,
    label_history,
    labels_after,
    labels_known_on,
    latest_labels,
)
from fraud_assets.store.predictions import replace_day

DAY = date(2024, 3, 5)
NOON = datetime(2024, 3, 5, 12, tzinfo=UTC)


def word(transaction: str, label: int = 1, at: datetime = NOON, **more: object) -> dict:
    known = {"event_time": NOON - timedelta(days=2), "labelled_at": at, "author": "ada"}
    return {"transaction_id": transaction, "label": label, **known, **more}


def test_labels_come_back_on_the_day_they_became_known(store: PredictionStore) -> None:
    midnight = datetime(2024, 3, 5, tzinfo=UTC)
    rows = [
        word("next", at=midnight + timedelta(days=1)),
        word("last", at=midnight + timedelta(days=1, microseconds=-1)),
        word("b", 0, payer_id="p", payee_id="q", event_order_us=77),
        word("first", at=midnight),
        word("before", at=midnight - timedelta(microseconds=1)),
        word("a"),
    ]
    assert append_labels(store, rows) == 6
    found = labels_known_on(store, DAY)
    assert found.schema == FRAME_SCHEMA
    assert found["transaction_id"].to_list() == ["first", "a", "b", "last"]
    assert found.row(2, named=True) == {
        "transaction_id": "b",
        "event_time": NOON - timedelta(days=2),
        "event_order_us": 77,
        "payer_id": "p",
        "payee_id": "q",
        "amount": None,
        "label": 0,
        "label_known_at": NOON,
        "label_source": "analyst",
        "scenario": None,
    }
    event = found.row(0, named=True)
    assert event["event_order_us"] == int(event["event_time"].timestamp() * 1_000_000)


def test_a_label_carries_the_amount_that_its_author_gave(store: PredictionStore) -> None:
    given = {"a": 12.34, "b": 0.1 + 0.2, "c": 0.0, "d": 5, "e": None}
    rows = [word(name, amount=amount) for name, amount in given.items()]
    append_labels(store, [*rows, word("f")])
    expected = given | {"f": None}
    found = labels_known_on(store, DAY)
    assert dict(found.select("transaction_id", "amount").iter_rows()) == expected
    said = {name: [label.amount for label in label_history(store, name)] for name in expected}
    assert said == {name: [amount] for name, amount in expected.items()}


def test_scoring_a_transaction_does_not_change_its_labels(
    store: PredictionStore, day_frame: Callable[..., pl.DataFrame]
) -> None:
    predictions = day_frame(DAY, 3)
    scored = predictions["transaction_id"].to_list()
    append_labels(store, [word(scored[1], amount=7.5), word(scored[2])])
    before = labels_known_on(store, DAY)
    replace_day(store, DAY, predictions)
    assert labels_known_on(store, DAY).equals(before)
    assert before["amount"].to_list() == [7.5, None]


def test_a_day_without_labels_is_an_empty_frame_of_the_same_schema(store: PredictionStore) -> None:
    assert append_labels(store, []) == 0
    assert labels_known_on(store, DAY).schema == FRAME_SCHEMA
    assert labels_known_on(store, DAY).is_empty()


def test_a_second_opinion_stands_beside_the_first(store: PredictionStore) -> None:
    append_labels(store, [word("a", 1, note="looks bad")])
    append_labels(store, [AnalystLabel(**word("a", 0, author="bob", note="it's \\ \u00e9\n"))])
    assert labels_known_on(store, DAY)["label"].to_list() == [1, 0]
    opinions = label_history(store, "a")
    assert [(said.author, said.label, said.note) for said in opinions] == [
        ("ada", 1, "looks bad"),
        ("bob", 0, "it's \\ \u00e9\n"),
    ]
    assert opinions[0].labelled_at == NOON
    assert opinions[0].source == "analyst"


def test_a_frame_of_labels_is_taken_and_times_of_other_zones_become_utc(
    store: PredictionStore,
) -> None:
    tokyo = timezone(timedelta(hours=9))
    late = datetime(2024, 3, 6, 5, tzinfo=tokyo)  # 2024-03-05 20:00 UTC
    frame = pl.DataFrame([word("a", at=late)], schema_overrides={"label": pl.Int8()})
    assert append_labels(store, frame) == 1
    assert append_labels(store, [word("b", at=late)]) == 1
    assert labels_known_on(store, DAY)["label_known_at"].to_list() == [late, late]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"label": 2}, "must be 0"),
        ({"label": None}, "label"),
        ({"label": True}, "label"),
        ({"label": "1"}, "label"),
        ({"labelled_at": NOON - timedelta(days=3)}, "is before the transaction's event_time"),
        ({"labelled_at": NOON.replace(tzinfo=None)}, "labelled_at"),
        ({"author": "  "}, "author"),
        ({"author": None}, "author"),
        ({"transaction_id": ""}, "transaction_id"),
        ({"note": "a\0b"}, "note"),
        ({"amount": -0.01}, "amount"),
        ({"amount": float("nan")}, "amount"),
        ({"amount": float("inf")}, "amount"),
        ({"amount": 9.1e14}, "amount: greater than 9e\\+14"),
        ({"amount": "5"}, "amount"),
        ({"amount": True}, "amount"),
        ({"verdict": 1}, "verdict"),
    ],
)
def test_a_bad_label_is_refused_with_its_position_and_nothing_is_stored(
    store: PredictionStore, wrong: dict[str, object], said: str
) -> None:
    with pytest.raises(LabelsRefusedError, match=said) as refused:
        append_labels(store, [word("good"), word("bad") | wrong])
    assert "label 1 (" in str(refused.value)
    assert labels_known_on(store, DAY).is_empty()


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE labels SET label = 0",
        "DELETE FROM labels",
        "DELETE FROM labels WHERE id = 1",
    ],
)
def test_the_database_refuses_to_change_a_label(store: PredictionStore, change: str) -> None:
    append_labels(store, [word("a")])
    with pytest.raises(DatabaseError, match="labels is append-only"), store.writing() as connection:
        connection.execute(text(change))
    assert labels_known_on(store, DAY)["label"].to_list() == [1]


def test_the_database_refuses_the_roundabout_ways_too(store: PredictionStore) -> None:
    append_labels(store, [word("a")])
    roundabout = (
        "TRUNCATE labels"
        if store.dialect == "postgresql"
        else "INSERT OR REPLACE INTO labels SELECT id, transaction_id, event_time, event_order_us, "
        "payer_id, payee_id, 0, labelled_at, source, author, note, amount FROM labels"
    )
    with pytest.raises(DatabaseError, match="labels is append-only"), store.writing() as connection:
        connection.execute(text(roundabout))
    assert labels_known_on(store, DAY)["label"].to_list() == [1]


def test_a_reader_goes_on_from_the_last_label_that_it_saw(store: PredictionStore) -> None:
    assert labels_after(store, 0, 10) == []
    append_labels(store, [word(name, amount=1.5) for name in "bac"])
    first = labels_after(store, 0, 2)
    assert [label.transaction_id for _, label in first] == ["b", "a"]
    assert first[0][1] == AnalystLabel(**word("b", amount=1.5))
    rest = labels_after(store, first[-1][0], 2)
    assert [label.transaction_id for _, label in rest] == ["c"]
    assert labels_after(store, rest[-1][0], 2) == []


def test_the_latest_label_is_the_one_that_became_known_last(
    store: PredictionStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(labels, "_IDS_AT_ONCE", 2)
    earlier = NOON - timedelta(hours=1)
    append_labels(store, [word("a", 1), word("b", 1), word("b", 0), word("c", 0), word("d")])
    append_labels(store, [word("a", 0, at=earlier), word("c", 1, at=NOON)])
    found = latest_labels(store, ["a", "b", "c", "nobody", "a"])
    assert {name: label.label for name, label in found.items()} == {"a": 1, "b": 0, "c": 1}
    assert found["c"] == AnalystLabel(**word("c", 1))
    assert latest_labels(store, []) == {}


def test_an_amount_from_before_there_was_a_limit_is_no_amount_to_the_features(
    store: PredictionStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as before:
        before.setattr(labels, "MAX_AMOUNT", float("inf"))
        append_labels(store, [word("a", amount=1e15)])
    append_labels(store, [word("b", amount=9e14)])
    assert label_history(store, "a")[0].amount == 1e15
    assert labels_known_on(store, DAY)["amount"].to_list() == [None, 9e14]


SECOND = timedelta(seconds=1)
HOURS = timedelta(hours=1)


@pytest.mark.parametrize(
    ("changes", "is_dated", "is_new"),
    [
        ({}, True, False),
        ({}, False, False),
        ({"labelled_at": NOON + SECOND}, True, True),
        ({"labelled_at": NOON + 23 * HOURS}, False, False),
        ({"labelled_at": NOON - SECOND}, False, False),  # a clock that is behind
        ({"labelled_at": NOON + 24 * HOURS}, False, True),
        ({"label": 0}, True, True),
        ({"label": 0}, False, True),
        ({"author": "bob"}, True, True),
        ({"author": "bob"}, False, True),
        ({"note": "chargeback"}, True, True),
        ({"note": "chargeback"}, False, True),
        ({"transaction_id": "other"}, False, True),
        ({"amount": 3.0}, True, False),
    ],
)
def test_a_label_that_was_said_is_not_said_again(
    store: PredictionStore, changes: dict[str, object], is_dated: bool, is_new: bool
) -> None:
    first, second = AnalystLabel(**word("a")), AnalystLabel(**word("a") | changes)
    assert append_unsaid(store, [first]) == ([first], 1)
    stored, added = append_unsaid(store, [second], undated=() if is_dated else {0})
    assert (stored, added) == (([second], 1) if is_new else ([first], 0))
    assert len(labels_after(store, 0, 10)) == 1 + is_new


def test_a_word_is_the_same_only_as_long_as_its_author_has_not_changed_it(
    store: PredictionStore,
) -> None:
    fraud, legitimate = AnalystLabel(**word("a")), AnalystLabel(**word("a", 0, NOON + SECOND))
    again = AnalystLabel(**word("a", at=NOON + 2 * SECOND))
    assert append_unsaid(store, [fraud, legitimate], undated={0, 1})[1] == 2
    assert append_unsaid(store, [again], undated={0}) == ([again], 1)
    # What somebody else says lies between, and changes nothing.
    append_labels(store, [word("a", 0, NOON + 3 * SECOND, author="bob")])
    later = AnalystLabel(**word("a", at=NOON + 4 * SECOND))
    assert append_unsaid(store, [later], undated={0}) == ([again], 0)


def test_one_request_says_a_label_once(store: PredictionStore) -> None:
    one, two = AnalystLabel(**word("a")), AnalystLabel(**word("a", at=NOON + SECOND))
    assert append_unsaid(store, [one, one, two], undated={2}) == ([one, one, one], 1)
    assert append_unsaid(store, []) == ([], 0)
    early = AnalystLabel(**word("a", 0, NOON - SECOND))
    # Dated before the last word, it is not the last word.
    assert append_unsaid(store, [early, two], undated={1}) == ([early, one], 1)


def test_two_requests_at_once_say_a_label_once(store: PredictionStore, store_url: str) -> None:
    label = AnalystLabel(**word("a"))

    def send(_: int) -> int:
        with PredictionStore(store_url) as own:
            return append_unsaid(own, [label], undated={0})[1]

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(send, range(12))) == 1
    assert len(labels_after(store, 0, 10)) == 1
