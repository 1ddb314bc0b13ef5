"""What the scoring API answered, one transaction at a time: kept once, never changed.

Batch predictions of whole days belong in `predictions`; lists over both kinds in `listing`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any, Final

import msgspec
from sqlalchemy import (
    JSON,
    ColumnElement,
    Connection,
    Row,
    Select,
    Text,
    cast,
    func,
    literal,
    select,
    tuple_,
)
from sqlalchemy.exc import DataError, IntegrityError

from fraud_assets.store.engine import PredictionStore
from fraud_assets.store.records import EPOCH, MICROSECOND, insert_records, read_extras, read_reasons
from fraud_assets.store.schema import ALERT, PASS, shadow_scores
from fraud_assets.store.schema import answers as answers_table

_MIN_US: Final = (datetime.min.replace(tzinfo=UTC) - EPOCH) // MICROSECOND
_MAX_US: Final = (datetime.max.replace(tzinfo=UTC) - EPOCH) // MICROSECOND

SERVED_BY: Final = ("champion", "traffic", "rules")

_MAX_KEY: Final = 300
"""PostgreSQL's indexes take up to about 2,700 bytes, and two keys of four-byte characters fit."""

_ROWS_AT_ONCE: Final = 5_000

_columns: Final = answers_table.c
_EVENT_ORDER: Final = (_columns.day, _columns.event_order_us, _columns.transaction_id)


class StoredAnswer(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One answer, with all that is needed to say it again and to rebuild the features' state.

    The one record of the journal, the writer, the API and the store. Times are microseconds since
    1970 in UTC.

    Attributes:
        transaction_id: the client's id; there is one answer per id.
        event_time_us: when the transaction happened.
        event_order_us: its place among the transactions, see `features.online`.
        payer_id: who paid; None if nobody said.
        payee_id: who was paid.
        kind: the kind of transaction.
        amount: in the currency's main unit.
        extras: the profile's extra numbers and categories, by name.
        score: probability of fraud.
        decision: "alert" or "pass".
        threshold: a score of at least this is an alert.
        reasons: why, for people; the strongest first.
        model_version: the version of the registry, or the name of the rule set.
        model_hash: content hash of what scored.
        served_by: "champion", "traffic" (another version, for a share) or "rules".
        fallback: why the rules answered in the champion's place; None if they did not.
        is_late: older than what had been seen by then.
        digest: hash of the request's content, by which a repeated request is told from another
            one of the same id.
        worker: the process that answered.
        sequence: the answer's number among that worker's.
        scored_at_us: when it was answered.
    """

    transaction_id: str
    event_time_us: int
    event_order_us: int
    payer_id: str | None = None
    payee_id: str | None = None
    kind: str | None = None
    amount: float
    extras: dict[str, float | str | None] = {}
    score: float
    decision: str
    threshold: float
    reasons: list[str]
    model_version: str
    model_hash: str
    served_by: str
    fallback: str | None = None
    is_late: bool = False
    digest: str
    worker: str
    sequence: int
    scored_at_us: int

    @property
    def day(self) -> date:
        """The UTC date of the transaction."""
        return (EPOCH + self.event_time_us * MICROSECOND).date()


class ShadowScore(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What a model that does not answer would have said of a transaction.

    Times are microseconds since 1970 in UTC.
    """

    transaction_id: str
    event_time_us: int
    model_version: str
    score: float
    decision: str
    scored_at_us: int

    @property
    def day(self) -> date:
        """The UTC date of the transaction."""
        return (EPOCH + self.event_time_us * MICROSECOND).date()


@dataclass(frozen=True)
class InsertReport:
    """What became of the answers that were to be stored; the three counts add up to them.

    Attributes:
        inserted: how many are new.
        repeated: how many were there already, for the same content.
        conflicting: ids that are there for other content, which stays as it is.
    """

    inserted: int
    repeated: int
    conflicting: tuple[str, ...]


class AnswersRefusedError(ValueError):
    """A record that no database takes for what it holds; nothing of its batch was stored.

    Attributes:
        transaction_id: whose record it is. The others may be stored without it.
        is_shadow: whether it is a shadow score.
    """

    def __init__(self, transaction_id: str, problem: str, *, is_shadow: bool) -> None:
        self.transaction_id = transaction_id
        self.is_shadow = is_shadow
        what = "shadow score" if is_shadow else "answer"
        super().__init__(f"the {what} of transaction {transaction_id!r} is refused: {problem}")


def insert_answers(
    store: PredictionStore,
    answers: Sequence[StoredAnswer],
    shadows: Sequence[ShadowScore] = (),
) -> InsertReport:
    """Store answers and shadow scores, all or none; what is there already stays as it is.

    So a batch whose fate is unknown, as after a crash, is simply stored again. Of answers of one
    transaction the first counts.

    Raises:
        AnswersRefusedError: a record cannot be stored; set it aside, and try again without it.
        StoreUnavailableError: the database is away, locked or full; try again later.
    """
    records: list[StoredAnswer | ShadowScore] = [*answers, *shadows]
    for record in records:
        problem = _problem(record)
        if problem is not None:
            raise _refusal(record, problem)
    try:
        with store.writing() as connection:
            return _insert_all(connection, answers, shadows)
    except (DataError, IntegrityError) as error:
        with store.writing() as connection:
            refused = _first_refused(connection, records)
        if refused is None:
            raise
        # By its kind alone and without its cause, both of which may quote the record.
        raise _refusal(refused, f"the database says {type(error.orig).__name__}") from None


def get_answer(store: PredictionStore, transaction_id: str) -> StoredAnswer | None:
    """What was answered about a transaction; None if nothing was."""
    with store.reading() as connection:
        row = connection.execute(_rows(_columns.transaction_id == transaction_id)).one_or_none()
    return None if row is None else _answer(row)


def answers_after(store: PredictionStore, worker: str, sequence: int) -> Iterator[StoredAnswer]:
    """A worker's answers with a number above `sequence`, in the order of the numbers.

    Read a few thousand at a time, so that neither memory nor a transaction is held for long.
    """
    order = (_columns.sequence, _columns.transaction_id)
    last: tuple[Any, ...] = (sequence,)
    while True:
        behind = tuple_(*order[: len(last)]) > _key(order, last)
        page = _read(store, _rows(_columns.worker == worker, behind).order_by(*order))
        yield from page
        if len(page) < _ROWS_AT_ONCE:
            return
        last = (page[-1].sequence, page[-1].transaction_id)


def answers_since(store: PredictionStore, first_day: date) -> Iterator[StoredAnswer]:
    """The answers for transactions of `first_day` and later, in the order of the events.

    Read a few thousand at a time, as by `answers_after`.
    """
    last: tuple[Any, ...] | None = None
    while True:
        conditions = [_columns.day >= (first_day if last is None else last[0])]
        if last is not None:
            conditions.append(tuple_(*_EVENT_ORDER) > _key(_EVENT_ORDER, last))
        page = _read(store, _rows(*conditions).order_by(*_EVENT_ORDER))
        yield from page
        if len(page) < _ROWS_AT_ONCE:
            return
        end = page[-1]
        last = (end.day, end.event_order_us, end.transaction_id)


def newest_answers(store: PredictionStore, limit: int) -> tuple[list[StoredAnswer], bool]:
    """The answers for the latest transactions, the oldest of them first, and whether that is all.

    Args:
        store: the store.
        limit: at most this many.
    """
    newest_first = [column.desc() for column in _EVENT_ORDER]
    query = _rows().order_by(*newest_first).limit(limit + 1)
    with store.reading() as connection:
        found = [_answer(row) for row in connection.execute(query)]
    return found[:limit][::-1], len(found) <= limit


def answered_ids(store: PredictionStore, day: date) -> set[str]:
    """The ids of the transactions of a day that were answered."""
    query = select(_columns.transaction_id).where(_columns.day == day)
    with store.reading() as connection:
        return set(connection.execute(query).scalars())


def last_sequence(store: PredictionStore, worker: str) -> int:
    """The highest number among a worker's answers; 0 if there are none."""
    query = select(func.max(_columns.sequence)).where(_columns.worker == worker)
    with store.reading() as connection:
        return connection.execute(query).scalar_one() or 0


def _problem(record: StoredAnswer | ShadowScore) -> str | None:
    """Why one of the databases would not take a record: what one refuses, both must."""
    keys = [record.transaction_id, record.model_version]
    texts = []
    numbers = [record.score]
    served_by, sequence = SERVED_BY[0], 0
    times = [record.event_time_us, record.scored_at_us]
    if isinstance(record, StoredAnswer):
        keys = [record.transaction_id, record.worker]
        told = (record.payer_id, record.payee_id, record.kind, record.fallback)
        texts = [record.model_version, record.model_hash, record.digest]
        texts += [*record.reasons, *record.extras]
        texts += [one for one in (*told, *record.extras.values()) if isinstance(one, str)]
        numbers += [record.amount, record.threshold]
        numbers += [one for one in record.extras.values() if isinstance(one, float)]
        served_by, sequence = record.served_by, record.sequence
        times.append(record.event_order_us)
    together = "".join((*keys, *texts))
    problems = (
        ("\0" in together, "a text holds a NUL character"),
        (not _is_unicode(together), "a text is not Unicode"),
        (max(map(len, keys)) > _MAX_KEY, f"a key is longer than {_MAX_KEY} characters"),
        (min(times) < _MIN_US or max(times) > _MAX_US, "a time is not within years 1 to 9999"),
        (not all(map(math.isfinite, numbers)), "a number is not finite"),
        (not 0.0 <= record.score <= 1.0, "the score is not between 0 and 1"),
        (not 0 <= sequence < 2**63, "the sequence is not a number of 63 bits"),
        (record.decision not in (ALERT, PASS), f"the decision is neither {ALERT} nor {PASS}"),
        (served_by not in SERVED_BY, f"served_by is none of {', '.join(SERVED_BY)}"),
    )
    return next((problem for is_so, problem in problems if is_so), None)


def _is_unicode(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:  # half of a surrogate pair
        return False
    return True


def _refusal(record: StoredAnswer | ShadowScore, problem: str) -> AnswersRefusedError:
    is_shadow = isinstance(record, ShadowScore)
    return AnswersRefusedError(record.transaction_id, problem, is_shadow=is_shadow)


def _insert_all(
    connection: Connection, answers: Sequence[StoredAnswer], shadows: Sequence[ShadowScore]
) -> InsertReport:
    first: dict[str, StoredAnswer] = {}
    for answer in answers:
        first.setdefault(answer.transaction_id, answer)
    inserted = insert_records(connection, answers_table, first.values())
    insert_records(connection, shadow_scores, shadows)
    if inserted == len(answers):
        return InsertReport(inserted, 0, ())
    stored = _digests(connection, list(first))
    conflicting = tuple(
        one.transaction_id
        for one in answers
        if stored.get(one.transaction_id, one.digest) != one.digest
    )
    return InsertReport(inserted, len(answers) - inserted - len(conflicting), conflicting)


def _digests(connection: Connection, names: list[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for start in range(0, len(names), _ROWS_AT_ONCE):  # SQLite has a limit on parameters
        part = names[start : start + _ROWS_AT_ONCE]
        query = select(_columns.transaction_id, _columns.digest)
        rows = connection.execute(query.where(_columns.transaction_id.in_(part)))
        found.update((row.transaction_id, row.digest) for row in rows)
    return found


def _first_refused(
    connection: Connection, records: Iterable[StoredAnswer | ShadowScore]
) -> StoredAnswer | ShadowScore | None:
    """The record that the database does not take, found by trying them one by one."""
    for record in records:
        table = shadow_scores if isinstance(record, ShadowScore) else answers_table
        savepoint = connection.begin_nested()
        try:
            insert_records(connection, table, [record])
        except (DataError, IntegrityError):
            return record
        finally:
            savepoint.rollback()
    return None


def _rows(*conditions: ColumnElement[bool]) -> Select[Any]:
    # JSON as text, which `msgspec` reads.
    chosen = (
        cast(column, Text).label(column.name) if isinstance(column.type, JSON) else column
        for column in answers_table.columns
        if column.name != "day"
    )
    return select(*chosen).where(*conditions)


def _read(store: PredictionStore, query: Select[Any]) -> list[StoredAnswer]:
    with store.reading() as connection:
        return [_answer(row) for row in connection.execute(query.limit(_ROWS_AT_ONCE))]


def _key(columns: Sequence[ColumnElement[Any]], values: Sequence[object]) -> ColumnElement[Any]:
    return tuple_(
        *(literal(value, column.type) for column, value in zip(columns, values, strict=False))
    )


def _answer(row: Row[Any]) -> StoredAnswer:
    values = dict(row._mapping)  # noqa: SLF001 - SQLAlchemy's public name for it
    event_time, scored_at = values.pop("event_time"), values.pop("scored_at")
    return StoredAnswer(
        **values
        | {
            "event_time_us": (event_time - EPOCH) // MICROSECOND,
            "scored_at_us": (scored_at - EPOCH) // MICROSECOND,
            "extras": read_extras(values["extras"]),
            "reasons": read_reasons(values["reasons"]),
        }
    )
