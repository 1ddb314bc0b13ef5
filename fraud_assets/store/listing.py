"""Scored transactions of both kinds, answers of the API and batch predictions: lists and counts.

Writing either kind, and reading one of them as a whole, belongs in `answers` and `predictions`. A
transaction that was both answered online and scored with its day is on the list twice.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Any, Final, Literal, NamedTuple, get_args

import msgspec
from sqlalchemy import (
    JSON,
    ColumnElement,
    Row,
    Select,
    Subquery,
    Table,
    Text,
    case,
    cast,
    func,
    literal_column,
    null,
    select,
    union_all,
)
from sqlalchemy.types import TypeEngine

from fraud_assets.store.engine import PredictionStore
from fraud_assets.store.labels import newest_label_of, newest_labels
from fraud_assets.store.records import EPOCH, MICROSECOND, read_extras, read_reasons
from fraud_assets.store.schema import ALERT, PASS, answers, labels, predictions

Origin = Literal["batch", "online"]
LabelState = Literal["fraud", "legitimate", "unlabelled"]

_TABLES: Final[dict[Origin, Table]] = {"batch": predictions, "online": answers}


class ScoredRow(msgspec.Struct, frozen=True, kw_only=True):
    """A scored transaction of either kind. Times are microseconds since 1970 in UTC.

    Attributes:
        origin: "online" for an answer of the API, "batch" for a prediction of a whole day.
        label: the latest that an analyst said of it: 1 is fraud, 0 legitimate, None nothing.

    The others are those of `answers.StoredAnswer`. The last seven are None for a batch
    prediction, which does not have them.
    """

    origin: Origin
    label: int | None
    transaction_id: str
    day: date
    event_time_us: int
    payer_id: str | None
    amount: float
    score: float
    decision: str
    threshold: float
    reasons: list[str]
    model_version: str
    model_hash: str
    payee_id: str | None
    kind: str | None
    extras: dict[str, float | str | None] | None
    served_by: str | None
    fallback: str | None
    is_late: bool | None
    scored_at_us: int | None


_COLUMNS: Final = [
    column
    for column in answers.columns
    if {column.name, f"{column.name}_us"} & set(ScoredRow.__struct_fields__)
]
"""What the list says of both kinds, under the names that it has for answers."""


class PageKey(NamedTuple):
    """Where a page ended; the next one begins behind it."""

    day: date
    score: float
    transaction_id: str
    origin: Origin


@dataclass(frozen=True, kw_only=True)
class ListingFilter:
    """Which scored transactions to list; None does not restrict, and both ends are included.

    Days, the alerts of a day, labels, and the payers of answers have an index. A batch's payers,
    versions and scores have none: give a range of days with them.
    """

    first_day: date | None = None
    last_day: date | None = None
    decision: str | None = None
    payer_id: str | None = None
    min_score: float | None = None
    max_score: float | None = None
    model_version: str | None = None
    label: LabelState | None = None
    origin: Origin | None = None


class DayStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """What one model said on one day, and what is known of it.

    Attributes:
        day: the UTC date of the transactions.
        origin: see `ScoredRow`.
        model_version: the version that scored.
        scored: transactions.
        alerts: those among them that were alerts.
        mean_score: over all of them.
        labelled: those with an analyst's label.
        frauds: those whose latest label says fraud.
        frauds_among_alerts: the alerts among the frauds.
        fallbacks: answers that the rules gave in the champion's place; 0 for batch predictions,
            which do not tell.
    """

    day: date
    origin: Origin
    model_version: str
    scored: int
    alerts: int
    mean_score: float
    labelled: int
    frauds: int
    frauds_among_alerts: int
    fallbacks: int


def page_end(page: list[ScoredRow]) -> PageKey | None:
    """The key to ask `list_scored` for the page behind this one; None behind an empty one."""
    if not page:
        return None
    last = page[-1]
    return PageKey(last.day, last.score, last.transaction_id, last.origin)


def list_scored(
    store: PredictionStore,
    wanted: ListingFilter | None = None,
    *,
    limit: int = 100,
    after: PageKey | None = None,
) -> list[ScoredRow]:
    """One page: newest day first, then the highest score, then transaction id, then origin.

    Args:
        store: the store.
        wanted: which rows; all when None.
        limit: at most this many rows.
        after: `page_end` of the page before. Pages stay apart even if rows are added between.

    Raises:
        ValueError: `limit` is below 1, or a decision, label or origin does not exist.
    """
    if limit < 1:
        raise ValueError(f"limit must be at least 1, not {limit}")
    wanted = wanted or ListingFilter()
    origins = _origins(wanted)
    found: list[ScoredRow] = []
    with store.reading() as connection:
        for stretch in zip(*(_stretches(origin, after) for origin in origins), strict=True):
            left = limit - len(found)
            if not left:
                break
            halves = [
                _half(origin, [*_conditions(origin, wanted), *behind], left)
                for origin, behind in zip(origins, stretch, strict=True)
            ]
            found += [_scored_row(row) for row in connection.execute(_merged(halves, left))]
    return found


def statistics(store: PredictionStore, first_day: date, last_day: date) -> list[DayStatistics]:
    """Counts by day, origin and model version, in that order; both days are included.

    Reads every row of these days.
    """
    wanted = ListingFilter(first_day=first_day, last_day=last_day)
    with store.reading() as connection:
        rows = [
            DayStatistics(**row._mapping, origin=origin)  # noqa: SLF001 - a public name
            for origin in _TABLES
            for row in connection.execute(_counts(origin, wanted))
        ]
    return sorted(rows, key=lambda one: (one.day, one.origin, one.model_version))


def _origins(wanted: ListingFilter) -> list[Origin]:
    known = {
        "decision": (wanted.decision, (ALERT, PASS)),
        "label": (wanted.label, get_args(LabelState)),
        "origin": (wanted.origin, get_args(Origin)),
    }
    for name, (value, values) in known.items():
        if value is not None and value not in values:
            raise ValueError(f"{name} is one of {', '.join(values)}, not {value!r}")
    return [origin for origin in _TABLES if wanted.origin in (None, origin)]


def _stretches(origin: Origin, key: PageKey | None) -> list[list[ColumnElement[bool]]]:
    """What lies behind a key: the rest of its score, the rest of its day, and earlier days.

    An index gives each of them in one go, but would not give the `or` of all three.
    """
    if key is None:
        return [[]]
    table = _TABLES[origin].c
    same_day = table.day == key.day
    is_behind = table.transaction_id > key.transaction_id
    if origin > key.origin:
        is_behind = table.transaction_id >= key.transaction_id
    return [
        [same_day, table.score == key.score, is_behind],
        [same_day, table.score < key.score],
        [table.day < key.day],
    ]


def _half(origin: Origin, conditions: list[ColumnElement[bool]], limit: int) -> Select[Any]:
    """The first rows of one table; of all the others none can be on the page."""
    table = _TABLES[origin].c
    columns = [_column(table.get(column.name), column.type) for column in _COLUMNS]
    named = [chosen.label(column.name) for chosen, column in zip(columns, _COLUMNS, strict=True)]
    order = (table.day.desc(), table.score.desc(), table.transaction_id)
    query = select(literal_column(f"'{origin}'", Text()).label("origin"), *named)
    return query.where(*conditions).order_by(*order).limit(limit)


def _column(column: ColumnElement[Any] | None, kind: TypeEngine[Any]) -> ColumnElement[Any]:
    """A column, or null of its type; JSON as text, which `msgspec` reads."""
    as_text = isinstance(kind, JSON)
    if column is None:
        return cast(null(), Text() if as_text else kind)
    return cast(column, Text) if as_text else column


def _merged(halves: list[Select[Any]], limit: int) -> Select[Any]:
    """The first of both halves, with the labels, which are looked up for the page alone."""

    def in_order(rows: Subquery) -> tuple[ColumnElement[Any], ...]:
        return (rows.c.day.desc(), rows.c.score.desc(), rows.c.transaction_id, rows.c.origin)

    both = union_all(*(select(half.subquery()) for half in halves)).subquery()
    page = select(both).order_by(*in_order(both)).limit(limit).subquery()
    label = newest_label_of(page.c.transaction_id).label("label")
    return select(page, label).order_by(*in_order(page))


def _conditions(origin: Origin, wanted: ListingFilter) -> list[ColumnElement[bool]]:
    table = _TABLES[origin].c
    conditions: list[ColumnElement[bool]] = []
    if wanted.first_day is not None:
        conditions.append(table.day >= wanted.first_day)
    if wanted.last_day is not None:
        conditions.append(table.day <= wanted.last_day)
    if wanted.decision is not None:
        # Spelt out, not bound: SQLite uses a partial index only for a value that it can read.
        conditions.append(table.decision == literal_column(f"'{wanted.decision}'"))
    if wanted.payer_id is not None:
        conditions.append(table.payer_id == wanted.payer_id)
    if wanted.min_score is not None:
        conditions.append(table.score >= wanted.min_score)
    if wanted.max_score is not None:
        conditions.append(table.score <= wanted.max_score)
    if wanted.model_version is not None:
        conditions.append(table.model_version == wanted.model_version)
    if wanted.label == "unlabelled":
        said = select(labels.c.id).where(labels.c.transaction_id == table.transaction_id)
        conditions.append(~said.exists())
    elif wanted.label is not None:
        # Labels are few: either database can begin with them, or look each row up among them.
        newest = newest_labels().subquery()
        value = 1 if wanted.label == "fraud" else 0
        named = select(newest.c.transaction_id).where(newest.c.label == value)
        conditions.append(table.transaction_id.in_(named))
    return conditions


def _counts(origin: Origin, wanted: ListingFilter) -> Select[Any]:
    table = _TABLES[origin]
    newest = newest_labels().subquery()
    is_alert, is_fraud = table.c.decision == ALERT, newest.c.label == 1
    fallback = table.c.get("fallback", null())

    def count(condition: ColumnElement[bool]) -> ColumnElement[int]:
        return func.sum(case((condition, 1), else_=0))

    return (
        select(
            table.c.day,
            table.c.model_version,
            func.count().label("scored"),
            count(is_alert).label("alerts"),
            func.avg(table.c.score).label("mean_score"),
            func.count(newest.c.label).label("labelled"),
            count(is_fraud).label("frauds"),
            count(is_alert & is_fraud).label("frauds_among_alerts"),
            count(fallback.is_not(None)).label("fallbacks"),
        )
        .select_from(table.outerjoin(newest, newest.c.transaction_id == table.c.transaction_id))
        .where(*_conditions(origin, wanted))
        .group_by(table.c.day, table.c.model_version)
    )


def _scored_row(row: Row[Any]) -> ScoredRow:
    values = dict(row._mapping)  # noqa: SLF001 - SQLAlchemy's public name for it
    event_time, scored_at = values.pop("event_time"), values.pop("scored_at")
    values["event_time_us"] = (event_time - EPOCH) // MICROSECOND
    values["scored_at_us"] = None if scored_at is None else (scored_at - EPOCH) // MICROSECOND
    values["reasons"] = read_reasons(values["reasons"])
    if values["extras"] is not None:
        values["extras"] = read_extras(values["extras"])
    return ScoredRow(**values)
