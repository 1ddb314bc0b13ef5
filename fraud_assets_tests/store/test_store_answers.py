from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import func, insert, select, text
from sqlalchemy.exc import DatabaseError, IntegrityError

from fraud_assets.store import answers, schema
from fraud_assets.store.answers import (
    AnswersRefusedError,
    InsertReport,
    ShadowScore,
    StoredAnswer,
    answers_after,
    answers_since,
    get_answer,
    insert_answers,
    last_sequence,
    newest_answers,
)
from fraud_assets.store.engine import PredictionStore

DAY = date(2024, 3, 5)
NEXT = date(2024, 3, 6)
MINUTE = 60_000_000
MakeAnswer = Callable[..., StoredAnswer]


def shadow(transaction_id: str, version: str = "2", **given: object) -> ShadowScore:
    at = int(datetime(2024, 3, 5, 12, tzinfo=UTC).timestamp()) * 1_000_000
    usual = {"event_time_us": at, "score": 0.5, "decision": "pass", "scored_at_us": at}
    named = {"transaction_id": transaction_id, "model_version": version}
    return ShadowScore(**usual | named | given)


def count(store: PredictionStore, table: str) -> int:
    with store.reading() as connection:
        query = select(func.count()).select_from(schema.metadata.tables[table])
        return connection.execute(query).scalar_one()


TEXTS = st.text(
    st.one_of(
        st.sampled_from("\"'\\,;:%\n\r\t \x01\x7f\u2028\u00e9\U0001f600ab.N"),
        st.characters(exclude_categories=["Cs"], exclude_characters="\0"),
    ),
    max_size=12,
)
# SQLite knows no negative zero.
FINITE = st.floats(allow_nan=False, allow_infinity=False).map(lambda value: value + 0.0)
ANY_TIME = st.integers(-62_135_596_800_000_000, 253_402_300_799_999_999)
ANSWER = st.builds(
    StoredAnswer,
    transaction_id=TEXTS,
    event_time_us=ANY_TIME,
    event_order_us=ANY_TIME,
    payer_id=st.none() | TEXTS | st.sampled_from(["", "\\N", "\\.", "NULL", "null", " "]),
    payee_id=st.none() | TEXTS,
    kind=st.none() | TEXTS,
    amount=FINITE,
    extras=st.dictionaries(TEXTS, st.none() | TEXTS | FINITE, max_size=3),
    score=st.floats(0, 1),
    decision=st.sampled_from(["alert", "pass"]),
    threshold=FINITE,
    reasons=st.lists(TEXTS, max_size=3),
    model_version=TEXTS,
    model_hash=TEXTS,
    served_by=st.sampled_from(["champion", "traffic", "rules"]),
    fallback=st.none() | TEXTS,
    is_late=st.booleans(),
    digest=TEXTS,
    worker=TEXTS,
    sequence=st.integers(0, 2**63 - 1),
    scored_at_us=ANY_TIME,
)


@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(made=st.lists(ANSWER, max_size=4, unique_by=lambda one: one.transaction_id))
def test_any_answer_is_read_as_it_was_given(
    store: PredictionStore, made: list[StoredAnswer]
) -> None:
    with store.writing() as connection:
        connection.execute(schema.answers.delete())
    assert insert_answers(store, made) == InsertReport(len(made), 0, ())
    for answer in made:
        found = get_answer(store, answer.transaction_id)
        assert found == answer
        # Equality alone would take 5 for 5.0.
        assert msgspec.json.encode(found) == msgspec.json.encode(answer)
    with store.reading() as connection:
        days = dict(
            connection.execute(select(schema.answers.c.transaction_id, schema.answers.c.day)).all()
        )
    assert days == {one.transaction_id: one.day for one in made}


def test_an_answer_that_is_stored_again_stays_as_it_is(
    store: PredictionStore, answer_of: MakeAnswer
) -> None:
    first = [answer_of("a"), answer_of("b")]
    assert insert_answers(store, first, [shadow("a")]) == InsertReport(2, 0, ())
    again = [
        answer_of("c"),
        answer_of("b", score=0.5),
        answer_of("a", digest="other", amount=1.0),
        answer_of("c", digest="third"),
    ]
    report = insert_answers(store, again, [shadow("a", score=0.75), shadow("a", "3")])
    assert report == InsertReport(inserted=1, repeated=1, conflicting=("a", "c"))
    assert [get_answer(store, one.transaction_id) for one in first] == first
    assert get_answer(store, "c") == again[0]
    assert get_answer(store, "nobody") is None
    with store.reading() as connection:
        scores = connection.execute(select(schema.shadow_scores.c.score)).scalars().all()
    assert sorted(scores) == [0.5, 0.5]


def test_nothing_is_stored_of_nothing(store: PredictionStore) -> None:
    assert insert_answers(store, []) == InsertReport(0, 0, ())
    assert last_sequence(store, "w0") == 0
    assert newest_answers(store, 5) == ([], True)
    assert list(answers_since(store, date.min)) == list(answers_after(store, "w0", 0)) == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"transaction_id": "a\0b"},
        {"transaction_id": "x" * 301},
        {"worker": "x" * 301},
        {"payer_id": "secret-\0payer"},
        {"payee_id": "secret-\ud800payer"},
        {"kind": "\0"},
        {"fallback": "\0"},
        {"digest": "\0"},
        {"worker": "\0"},
        {"model_version": "\0"},
        {"model_hash": "\0"},
        {"reasons": ["fine", "\0"]},
        {"extras": {"\0": 1.0}},
        {"extras": {"device": "\0"}},
        {"extras": {"age": float("nan")}},
        {"amount": float("inf")},
        {"threshold": float("nan")},
        {"score": float("nan")},
        {"score": 1.0000001},
        {"score": -0.1},
        {"decision": "review"},
        {"served_by": "oracle"},
        {"event_time_us": 253_402_300_800_000_000},
        {"scored_at_us": -62_135_596_800_000_001},
        {"event_order_us": 2**63},
        {"sequence": 2**63},
        {"sequence": -1},
    ],
)
def test_an_answer_that_one_database_would_refuse_both_refuse_by_its_transaction(
    store: PredictionStore, answer_of: MakeAnswer, wrong: dict[str, object]
) -> None:
    bad = msgspec.structs.replace(answer_of("bad"), **wrong)
    with pytest.raises(AnswersRefusedError) as refused:
        insert_answers(store, [answer_of("good"), bad])
    assert refused.value.transaction_id == bad.transaction_id
    assert refused.value.is_shadow is False
    assert repr(bad.transaction_id) in str(refused.value)
    assert "secret" not in str(refused.value)
    str(refused.value).encode()
    assert count(store, "answers") == 0


@pytest.mark.parametrize(
    "wrong",
    [{"model_version": "\0"}, {"model_version": "x" * 301}, {"score": 2.0}, {"decision": "?"}],
)
def test_a_refused_shadow_score_is_told_from_an_answer(
    store: PredictionStore, answer_of: MakeAnswer, wrong: dict[str, object]
) -> None:
    with pytest.raises(AnswersRefusedError, match=r"shadow score of transaction 'b'") as refused:
        insert_answers(store, [answer_of("a")], [shadow("a"), shadow("b", **wrong)])
    assert (refused.value.transaction_id, refused.value.is_shadow) == ("b", True)
    assert count(store, "answers") == count(store, "shadow_scores") == 0


@pytest.mark.parametrize("length", [300, 299])
def test_the_longest_keys_fit_both_databases(
    store: PredictionStore, answer_of: MakeAnswer, length: int
) -> None:
    # Four bytes each, and none alike: PostgreSQL compresses what repeats.
    name = "".join(chr(0x10000 + 7 * n) for n in range(length))
    made = answer_of(name, worker=name[::-1])
    assert insert_answers(store, [made], [shadow(name, name[::-1])]).inserted == 1
    assert list(answers_after(store, name[::-1], 0)) == [made]


REFUSE_13 = {
    "postgresql": "ALTER TABLE answers ADD CONSTRAINT no_13 CHECK (amount <> 13)",
    "sqlite": "CREATE TRIGGER no_13 BEFORE INSERT ON answers WHEN NEW.amount = 13 "
    "BEGIN SELECT RAISE(ABORT, 'no 13'); END",
}


def test_what_only_the_database_objects_to_is_found_among_the_others(
    store: PredictionStore, answer_of: MakeAnswer
) -> None:
    with store.writing() as connection:
        connection.execute(text(REFUSE_13[store.dialect]))
    batch = [answer_of(f"t{n}", amount=float(n)) for n in range(10, 16)]
    with pytest.raises(AnswersRefusedError, match="'t13' is refused: the database") as refused:
        insert_answers(store, batch, [shadow("t10")])
    assert refused.value.transaction_id == "t13"
    assert refused.value.__cause__ is None
    assert refused.value.__suppress_context__
    assert count(store, "answers") == count(store, "shadow_scores") == 0
    assert insert_answers(store, [one for one in batch if one.amount != 13]).inserted == 5


def test_a_database_without_the_table_is_no_fault_of_any_answer(
    store: PredictionStore, answer_of: MakeAnswer
) -> None:
    insert_answers(store, [answer_of("a")])
    with store.writing() as connection:
        connection.execute(text("ALTER TABLE shadow_scores RENAME TO elsewhere"))
    with pytest.raises(DatabaseError, match="shadow_scores"):
        insert_answers(store, [answer_of("b")], [shadow("b")])
    assert get_answer(store, "b") is None


def test_a_workers_answers_come_in_the_order_of_their_numbers(
    store: PredictionStore, answer_of: MakeAnswer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answers, "_ROWS_AT_ONCE", 3)
    # Number 4 comes twice, at the border of a page, as after a journal that was lost.
    numbers = [9, 2, 4, 4, 7, 1, 8]
    made = [answer_of(f"t{n}", sequence=number) for n, number in enumerate(numbers)]
    insert_answers(store, [*made, answer_of("other", worker="w1", sequence=5)])
    found = list(answers_after(store, "w0", 1))
    assert [one.sequence for one in found] == [2, 4, 4, 7, 8, 9]
    assert {one.transaction_id for one in found} == {"t0", "t1", "t2", "t3", "t4", "t6"}
    assert list(answers_after(store, "w0", 9)) == []
    assert [last_sequence(store, worker) for worker in ("w0", "w1", "w2")] == [9, 5, 0]


def test_answers_come_in_the_order_of_their_events(
    store: PredictionStore, answer_of: MakeAnswer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answers, "_ROWS_AT_ONCE", 4)
    made = [
        answer_of(f"{day:%d}-{n}", day, sequence=n, event_order_us=n // 3)
        for day in (NEXT, DAY, DAY - timedelta(days=1))
        for n in range(10)
    ]
    insert_answers(store, made)
    in_order = sorted(made, key=lambda one: (one.day, one.event_order_us, one.transaction_id))
    assert list(answers_since(store, DAY)) == in_order[10:]
    assert list(answers_since(store, date.min)) == in_order
    assert newest_answers(store, 12) == (in_order[-12:], False)
    assert newest_answers(store, 30) == (in_order, True)


def test_reading_goes_on_while_others_write(
    store: PredictionStore, answer_of: MakeAnswer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fraud_assets.store.engine.LOCK_TIMEOUT_SECONDS", 0.2)
    monkeypatch.setattr(answers, "_ROWS_AT_ONCE", 2)
    insert_answers(store, [answer_of(f"t{n}", sequence=n) for n in range(1, 6)])
    reader = answers_after(store, "w0", 0)
    next(reader)
    insert_answers(store, [answer_of("t6", sequence=6)])
    assert [one.sequence for one in reader] == [2, 3, 4, 5, 6]


def test_two_who_store_the_same_answers_at_once_do_not_hold_each_other_up(
    store: PredictionStore, answer_of: MakeAnswer, meet_after: Callable[[object, str], None]
) -> None:
    batch = [answer_of(f"t{n:03d}") for n in range(200)]
    meet_after(answers, "_problem")
    with ThreadPoolExecutor(2) as pool:
        reports = list(pool.map(lambda rows: insert_answers(store, rows), (batch, batch[::-1])))
    assert sorted(one.inserted for one in reports) == [0, 200]
    assert sorted(one.repeated for one in reports) == [0, 200]


@pytest.mark.parametrize(
    ("table", "change", "check"),
    [
        ("answers", {"score": 2}, "answers_score_is_a_probability"),
        ("answers", {"decision": "?"}, "answers_decision_is_known"),
        ("answers", {"served_by": "?"}, "answers_server_is_known"),
        ("shadow_scores", {"score": -1}, "shadow_scores_score_is_a_probability"),
        ("shadow_scores", {"decision": "?"}, "shadow_scores_decision_is_known"),
    ],
)
def test_the_database_itself_refuses_nonsense(
    store: PredictionStore,
    answer_of: MakeAnswer,
    table: str,
    change: dict[str, object],
    check: str,
) -> None:
    insert_answers(store, [answer_of("a")], [shadow("a")])
    this = schema.metadata.tables[table]
    with store.reading() as connection:
        row = dict(connection.execute(select(this)).mappings().one())
    with pytest.raises(IntegrityError, match=check), store.writing() as connection:
        connection.execute(insert(this).values(**row | {"transaction_id": "b"} | change))


def test_every_column_of_the_tables_is_a_field_of_the_records() -> None:
    for table, record in ((schema.answers, StoredAnswer), (schema.shadow_scores, ShadowScore)):
        fields = {name.removesuffix("_us") for name in record.__struct_fields__}
        columns = {column.name.removesuffix("_us") for column in table.columns}
        assert columns | {"event_time"} == fields | {"day"}


def test_answers_are_found_through_indexes(store: PredictionStore, answer_of: MakeAnswer) -> None:
    made = [
        answer_of(
            f"t{n}",
            DAY + timedelta(days=n % 9),
            sequence=n,
            worker=f"w{n % 3}",
            payer_id=f"p{n % 500}",
        )
        for n in range(4_000)
    ]
    insert_answers(store, made)
    questions = {
        "WHERE transaction_id = 'x'": ("answers_pkey", "autoindex_answers"),
        "WHERE worker = 'w1' AND (sequence, transaction_id) > (3900, '') "
        "ORDER BY sequence, transaction_id LIMIT 10": ("answers_by_sequence",),
        "WHERE day >= '2024-03-12' AND (day, event_order_us, transaction_id) > "
        "('2024-03-12', 1, '') ORDER BY day, event_order_us, transaction_id LIMIT 10": (
            "answers_by_day",
        ),
        "WHERE day = '2024-03-05' AND decision = 'alert'": ("answers_alerts_by_day",),
        "WHERE payer_id = 'nobody'": ("answers_by_payer",),
    }
    explain = "EXPLAIN" if store.dialect == "postgresql" else "EXPLAIN QUERY PLAN"
    with store.writing() as connection:
        connection.execute(text("ANALYZE"))
        for question, indexes in questions.items():
            plan = str(
                connection.execute(text(f"{explain} SELECT * FROM answers {question}")).all()
            )
            assert any(index in plan for index in indexes), plan


def test_a_record_survives_the_journals_json() -> None:
    made = shadow("a")
    assert msgspec.json.decode(msgspec.json.encode(made), type=ShadowScore) == made
    assert (made.day, made.event_time_us % MINUTE) == (DAY, 0)
