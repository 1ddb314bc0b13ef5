from __future__ import annotations

import operator
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from functools import reduce

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from fraud_assets.store.answers import StoredAnswer, insert_answers
from fraud_assets.store.engine import PredictionStore
from fraud_assets.store.labels import append_labels
from fraud_assets.store.listing import (
    DayStatistics,
    ListingFilter,
    PageKey,
    ScoredRow,
    _conditions,
    _half,
    list_scored,
    page_end,
    statistics,
)
from fraud_assets.store.predictions import replace_day

FIRST = date(2024, 3, 5)
DAYS = [FIRST + timedelta(days=n) for n in range(3)]
NOON = datetime(2024, 3, 5, 12, tzinfo=UTC)
MakeAnswer = Callable[..., StoredAnswer]
MakeDay = Callable[..., pl.DataFrame]


@pytest.fixture
def filled(store: PredictionStore, answer_of: MakeAnswer, day_frame: MakeDay) -> PredictionStore:
    """Three days of both kinds: a third of the ids in both, many scores alike, some labels."""
    made = []
    for number, day in enumerate(DAYS):
        frame = day_frame(day, 60, version=str(number))
        replace_day(store, day, frame)
        names = [*frame["transaction_id"][:20], *(f"online-{number}-{n}" for n in range(20))]
        made += [
            answer_of(
                name,
                day,
                payer_id=None if n % 3 else f"payer-{n}",
                payee_id="shop",
                score=0.9 if n % 10 == 0 else n % 4 / 10,
                decision="alert" if n % 10 == 0 else "pass",
                served_by="rules" if n % 5 == 0 else "champion",
                fallback="no champion" if n % 5 == 0 else None,
                model_version=str(n % 2),
                extras={"age": float(n), "device": "phone", "town": None},
                reasons=["high amount"] if n % 10 == 0 else [],
                is_late=n % 7 == 0,
                sequence=n,
            )
            for n, name in enumerate(names)
        ]
    insert_answers(store, made)
    words = [
        (name, n % 2) for n, name in enumerate(sorted(one.transaction_id for one in made)[::4])
    ]
    words += [(name, 1 - label) for name, label in words[::3]]  # a change of mind
    append_labels(store, [word(name, label) for name, label in words])
    # Appended last, and known before the others: it is not the latest.
    append_labels(store, [word(words[0][0], 0, at=NOON - timedelta(days=9))])
    return store


def word(name: str, label: int, at: datetime = NOON + timedelta(days=5)) -> dict[str, object]:
    known = {"event_time": NOON - timedelta(days=20), "labelled_at": at, "author": "ada"}
    return {"transaction_id": name, "label": label, **known}


def everything(store: PredictionStore) -> list[ScoredRow]:
    return list_scored(store, limit=100_000)


def order(row: ScoredRow) -> tuple[object, ...]:
    return (-row.day.toordinal(), -row.score, row.transaction_id, row.origin)


def is_wanted(row: ScoredRow, wanted: ListingFilter) -> bool:
    label = {1: "fraud", 0: "legitimate", None: "unlabelled"}[row.label]
    bounds = [
        (wanted.first_day, row.day, operator.le),
        (wanted.last_day, row.day, operator.ge),
        (wanted.min_score, row.score, operator.le),
        (wanted.max_score, row.score, operator.ge),
        (wanted.decision, row.decision, operator.eq),
        (wanted.payer_id, row.payer_id, operator.eq),
        (wanted.model_version, row.model_version, operator.eq),
        (wanted.label, label, operator.eq),
        (wanted.origin, row.origin, operator.eq),
    ]
    return all(
        bound is None or (value is not None and holds(bound, value))
        for bound, value, holds in bounds
    )


def test_both_kinds_are_listed_in_order_with_all_that_is_known_of_them(
    filled: PredictionStore,
) -> None:
    rows = everything(filled)
    assert len(rows) == 3 * (60 + 40)
    assert rows == sorted(rows, key=order)
    online = next(row for row in rows if row.transaction_id == "online-1-0")
    noon = int((NOON + timedelta(days=1)).timestamp()) * 1_000_000
    assert online == ScoredRow(
        origin="online",
        label=online.label,
        transaction_id="online-1-0",
        day=DAYS[1],
        event_time_us=noon,
        payer_id=None,
        payee_id="shop",
        kind=None,
        amount=12.5,
        extras={"age": 20.0, "device": "phone", "town": None},
        score=0.9,
        decision="alert",
        threshold=0.61,
        reasons=["high amount"],
        model_version="0",
        model_hash="hash-1",
        served_by="rules",
        fallback="no champion",
        is_late=False,
        scored_at_us=noon + 1,
    )
    batch = next(
        row for row in rows if (row.transaction_id, row.origin) == ("tx-0306-000010", "batch")
    )
    assert batch == ScoredRow(
        origin="batch",
        label=batch.label,
        transaction_id="tx-0306-000010",
        day=DAYS[1],
        event_time_us=int(datetime(2024, 3, 6, 0, 0, 10, tzinfo=UTC).timestamp()) * 1_000_000,
        payer_id=None,
        payee_id=None,
        kind=None,
        amount=pytest.approx(3.8),
        extras=None,
        score=0.9,
        decision="alert",
        threshold=0.61,
        reasons=["amount is high", "new payee"],
        model_version="1",
        model_hash="hash-1",
        served_by=None,
        fallback=None,
        is_late=None,
        scored_at_us=None,
    )


def test_a_label_is_the_one_that_became_known_last_for_both_kinds(
    filled: PredictionStore,
) -> None:
    append_labels(filled, [word("tx-0305-000000", 0)])
    append_labels(filled, [word("tx-0305-000000", 1)])
    append_labels(filled, [word("tx-0305-000000", 0, at=NOON)])
    rows = [row for row in everything(filled) if row.transaction_id == "tx-0305-000000"]
    assert [(row.origin, row.label) for row in rows] == [("batch", 1), ("online", 1)]
    assert {row.label for row in everything(filled)} == {0, 1, None}


FILTERS = st.builds(
    ListingFilter,
    first_day=st.none() | st.sampled_from(DAYS),
    last_day=st.none() | st.sampled_from(DAYS),
    decision=st.none() | st.sampled_from(["alert", "pass"]),
    payer_id=st.none() | st.sampled_from(["payer-3", "payer-9", "nobody"]),
    min_score=st.none() | st.sampled_from([0.0, 0.1, 0.3, 0.9, 1.0]),
    max_score=st.none() | st.sampled_from([0.0, 0.1, 0.3, 0.9, 1.0]),
    model_version=st.none() | st.sampled_from(["0", "1", "2"]),
    label=st.none() | st.sampled_from(["fraud", "legitimate", "unlabelled"]),
    origin=st.none() | st.sampled_from(["online", "batch"]),
)


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(wanted=FILTERS, limit=st.sampled_from([1, 2, 3, 7, 40, 300]))
def test_the_pages_of_any_filter_are_together_the_list_in_order(
    filled: PredictionStore, wanted: ListingFilter, limit: int
) -> None:
    pages, after = [], None
    for _ in range(30):
        page = list_scored(filled, wanted, limit=limit, after=after)
        pages.append(page)
        after = page_end(page)
        if after is None:
            break
    found = reduce(operator.add, pages, [])
    expected = [row for row in everything(filled) if is_wanted(row, wanted)]
    assert found == expected[: len(found)]
    assert after is not None or len(found) == len(expected)
    assert all(len(page) == limit for page in pages[:-2])


def test_pages_stay_apart_while_rows_are_added_and_taken(
    filled: PredictionStore, answer_of: MakeAnswer, day_frame: MakeDay
) -> None:
    before = everything(filled)
    page = list_scored(filled, limit=70)
    insert_answers(filled, [answer_of("new", DAYS[2], score=1.0), answer_of("newer", DAYS[0])])
    replace_day(filled, DAYS[2], day_frame(DAYS[2], 0))
    rest = list_scored(filled, limit=1_000, after=page_end(page))
    assert not {order(row) for row in page} & {order(row) for row in rest}
    still_there = [row for row in before[70:] if (row.day, row.origin) != (DAYS[2], "batch")]
    assert [row for row in rest if row.transaction_id != "newer"] == still_there


def test_a_key_that_no_row_has_is_as_good_as_any(filled: PredictionStore) -> None:
    rows = everything(filled)
    key = PageKey(DAYS[1], 0.25, "m", "online")
    behind = [row for row in rows if order(row) > (-key.day.toordinal(), -0.25, "m", "online")]
    assert list_scored(filled, limit=1_000, after=key) == behind
    assert list_scored(filled, after=PageKey(date(1970, 1, 1), 0.0, "", "batch")) == []


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"limit": 0}, "limit must be at least 1"),
        ({"wanted": ListingFilter(decision="x' OR 1")}, "decision is one of alert, pass"),
        ({"wanted": ListingFilter(label="maybe")}, "label is one of fraud, legitimate, unlabelled"),
        ({"wanted": ListingFilter(origin="post")}, "origin is one of batch, online"),
    ],
)
def test_a_senseless_question_is_refused(
    store: PredictionStore, wrong: dict[str, object], said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        list_scored(store, **wrong)


def test_statistics_count_what_the_list_shows(filled: PredictionStore) -> None:
    rows = [row for row in everything(filled) if row.day in DAYS[:2]]
    groups: dict[tuple[object, ...], list[ScoredRow]] = {}
    for row in rows:
        groups.setdefault((row.day, row.origin, row.model_version), []).append(row)
    expected = [
        DayStatistics(
            day=key[0],
            origin=key[1],
            model_version=key[2],
            scored=len(group),
            alerts=sum(row.decision == "alert" for row in group),
            mean_score=pytest.approx(sum(row.score for row in group) / len(group)),
            labelled=sum(row.label is not None for row in group),
            frauds=sum(row.label == 1 for row in group),
            frauds_among_alerts=sum(row.label == 1 and row.decision == "alert" for row in group),
            fallbacks=sum(row.fallback is not None for row in group),
        )
        for key, group in sorted(groups.items())
    ]
    assert statistics(filled, DAYS[0], DAYS[1]) == expected
    assert sum(one.frauds_among_alerts for one in expected) > 0
    assert sum(one.fallbacks for one in expected) > 0
    assert statistics(filled, date(2020, 1, 1), date(2020, 1, 2)) == []


@pytest.mark.parametrize("origin", ["batch", "online"])
def test_the_first_page_of_a_filter_is_found_through_an_index(
    store: PredictionStore, answer_of: MakeAnswer, day_frame: MakeDay, origin: str
) -> None:
    days = [FIRST + timedelta(days=n) for n in range(40)]
    for day in days:
        replace_day(store, day, day_frame(day, 200))
    insert_answers(
        store,
        [
            answer_of(f"{day}-{n}", day, decision="alert" if n % 50 == 0 else "pass")
            for day in days
            for n in range(100)
        ],
    )
    append_labels(store, [word(f"tx-0305-{n:06d}", 1) for n in range(20)])
    by_id = {"batch": "predictions_by_transaction", "online": "autoindex_answers|answers_pkey"}
    by_alert = {"batch": "predictions_alerts_by_day", "online": "answers_alerts_by_day"}
    by_day = {"batch": "predictions_pkey|PRIMARY KEY", "online": "answers_by_day"}
    questions = {
        by_alert[origin]: ListingFilter(decision="alert", first_day=days[3], last_day=days[4]),
        by_day[origin]: ListingFilter(first_day=days[3], last_day=days[3]),
        by_id[origin]: ListingFilter(label="fraud"),
    }
    explain = "EXPLAIN" if store.dialect == "postgresql" else "EXPLAIN QUERY PLAN"
    with store.writing() as connection:
        connection.execute(text("ANALYZE"))
        for index, wanted in questions.items():
            query = _half(origin, _conditions(origin, wanted), 10).compile(
                connection, compile_kwargs={"literal_binds": True}
            )
            plan = str(connection.execute(text(f"{explain} {query}")).all())
            assert any(name in plan for name in index.split("|")), plan
