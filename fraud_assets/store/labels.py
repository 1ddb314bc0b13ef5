"""What analysts said of transactions: appended as they say it, read by the day it became known.

Labels that the source data brings are no business of this module (`transactions.labels`), nor is
the choice between several labels of one transaction.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from datetime import UTC, date, datetime, time, timedelta
from operator import attrgetter
from typing import Annotated, Any, Final

import polars as pl
from pydantic import (
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    field_validator,
    model_validator,
)
from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    ScalarSelect,
    Select,
    func,
    insert,
    select,
    tuple_,
)

from fraud_assets.store.engine import PredictionStore
from fraud_assets.store.schema import labels

ANALYST: Final = "analyst"

_LABEL_LOCK: Final = 0x6672_6C62
"""Key of PostgreSQL's advisory lock: labels are appended one batch at a time. An id is taken before
its row is committed, and a reader that goes on from the last id would pass over a slower one."""

MAX_AMOUNT: Final = 9e14
"""Beyond it the features cannot count: they sum up ten-thousandths in 64 bits."""

SAME_WORD_HOURS: Final = 24
"""An undated label that says within so many hours what its author said last is the same word."""

_IDS_AT_ONCE: Final = 5_000
"""SQLite has a limit on the parameters of a statement."""

FRAME_SCHEMA: Final = pl.Schema(
    {
        "transaction_id": pl.Utf8(),
        "event_time": pl.Datetime("us", "UTC"),
        "event_order_us": pl.Int64(),
        "payer_id": pl.Utf8(),
        "payee_id": pl.Utf8(),
        "amount": pl.Float64(),
        "label": pl.Int8(),
        "label_known_at": pl.Datetime("us", "UTC"),
        "label_source": pl.Utf8(),
        "scenario": pl.Utf8(),
    }
)
"""Columns of a frame of labels, as the asset `fraud_labels` holds them."""

_NUL: Final = r"^[^\x00]*$"  # PostgreSQL has no such character
Text = Annotated[str, StringConstraints(pattern=_NUL)]
Name = Annotated[str, StringConstraints(pattern=_NUL, strip_whitespace=True, min_length=1)]
Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class LabelsRefusedError(ValueError):
    """A label that must not be stored; the message names its position and the field."""


class AnalystLabel(BaseModel):
    """One analyst's word on one transaction.

    `label` is 1 for fraud and 0 for legitimate; `labelled_at` is when it became known; `source`
    is the channel through which it came; `event_order_us` is the transaction's order key, and its
    event time stands in for it where the caller does not know it. `amount` is the transaction's,
    as the author gives it: it is not looked up anywhere, and stays null if none is given.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    transaction_id: Name
    event_time: AwareDatetime
    event_order_us: int | None = None
    payer_id: Text | None = None
    payee_id: Text | None = None
    amount: Amount | None = None
    label: int
    labelled_at: AwareDatetime
    source: Name = ANALYST
    author: Name
    note: Text | None = None

    @field_validator("label")
    @classmethod
    def _is_zero_or_one(cls, value: int) -> int:
        if value not in (0, 1):
            raise ValueError(f"must be 0 (legitimate) or 1 (fraud), not {value}")
        return value

    @model_validator(mode="after")
    def _is_not_known_before_the_event(self) -> AnalystLabel:
        if self.labelled_at < self.event_time:
            raise ValueError(
                f"labelled_at {self.labelled_at.isoformat()} is before the transaction's "
                f"event_time {self.event_time.isoformat()}"
            )
        return self


def append_labels(
    store: PredictionStore, rows: pl.DataFrame | Iterable[AnalystLabel | dict[str, Any]]
) -> int:
    """Add analysts' labels, all or none; returns how many.

    A second label of a transaction stands beside the first. A frame has the fields of
    `AnalystLabel` as columns; those with a default may be left out.

    Raises:
        LabelsRefusedError: a field is missing or unknown, the label is not 0 or 1, it was given
            before the transaction happened, a time has no zone, the amount is negative, not
            finite or beyond `MAX_AMOUNT`, or nobody signs it.
    """
    given = rows.iter_rows(named=True) if isinstance(rows, pl.DataFrame) else rows
    new = [_checked(position, row) for position, row in enumerate(given)]
    if new:
        with store.writing() as connection:
            _append(connection, new)
    return len(new)


def append_unsaid(
    store: PredictionStore, rows: Sequence[AnalystLabel], *, undated: Collection[int] = ()
) -> tuple[list[AnalystLabel], int]:
    """Add the labels that have not been said yet, all or none; what was said is not said twice.

    Whoever got no answer sends a label again, and each row counts in the features. A label has
    been said if its author gave the same one, with the same note, of the same transaction at the
    same `labelled_at`. For an undated one, whose `labelled_at` is the moment of the request, it is
    the author's last word on the transaction that counts, for `SAME_WORD_HOURS`.

    Args:
        store: the store.
        rows: the labels.
        undated: positions of those for which nobody said when they became known.

    Returns:
        For each row the label as it is stored, and how many were added.

    Raises:
        LabelsRefusedError: as `append_labels`.
    """
    given = [_checked(position, row) for position, row in enumerate(rows)]
    stored: list[AnalystLabel] = []
    new: list[AnalystLabel] = []
    with store.writing() as connection:
        # Before the question: of two requests at once, the second one must see the first.
        _lock(connection)
        said = _said_by_author(connection, {label.transaction_id for label in given})
        for position, label in enumerate(given):
            words = said.setdefault((label.transaction_id, label.author), [])
            known = _same(words, label, is_dated=position not in undated)
            if known is None:
                new.append(label)
                words.append(label)
                words.sort(key=attrgetter("labelled_at"))
            stored.append(known or label)
        if new:
            _append(connection, new)
    return stored, len(new)


def labels_known_on(store: PredictionStore, day: date) -> pl.DataFrame:
    """Analysts' labels that became known within the UTC day, by known time, then transaction.

    Returns:
        The columns of `FRAME_SCHEMA`: `label_source` is "analyst" and `scenario` null throughout;
        `amount` is what the label's author gave, null if nothing that can be one.
        Only the labels are read, never the predictions: those are made later from this frame, and a
        replay would find others.
        Labels of one transaction at one instant keep the order in which they were appended.
    """
    start = datetime.combine(day, time.min, tzinfo=UTC)
    table = labels.c
    return _fetch(
        store,
        select(labels)
        .where(table.labelled_at >= start, table.labelled_at < start + timedelta(days=1))
        .order_by(table.labelled_at, table.transaction_id, table.id),
    )


def label_history(store: PredictionStore, transaction_id: str) -> list[AnalystLabel]:
    """Everything that was said of a transaction, in the order in which it was appended."""
    query = select(labels).where(labels.c.transaction_id == transaction_id).order_by(labels.c.id)
    with store.reading() as connection:
        return [_label(row) for row in connection.execute(query)]


def labels_after(
    store: PredictionStore, last_id: int, limit: int
) -> list[tuple[int, AnalystLabel]]:
    """Labels appended after the one with the id `last_id`, with their ids, in that order.

    None that is appended later has a lower id, so that a reader may go on from the last id that it
    saw.

    Args:
        store: the store.
        last_id: 0 to begin with.
        limit: at most this many.
    """
    query = select(labels).where(labels.c.id > last_id).order_by(labels.c.id).limit(limit)
    with store.reading() as connection:
        return [(row.id, _label(row)) for row in connection.execute(query)]


def latest_labels(
    store: PredictionStore, transaction_ids: Iterable[str]
) -> dict[str, AnalystLabel]:
    """What was last said of each of these transactions; those without a label are left out.

    The last is the one that became known last, and of one moment the one appended last.
    """
    names = list(transaction_ids)
    found: dict[str, AnalystLabel] = {}
    with store.reading() as connection:
        for start in range(0, len(names), _IDS_AT_ONCE):
            part = names[start : start + _IDS_AT_ONCE]
            query = newest_labels().where(labels.c.transaction_id.in_(part))
            found |= {row.transaction_id: _label(row) for row in connection.execute(query)}
    return found


def newest_labels() -> Select[Any]:
    """The last label of each transaction that has one, as a part of other queries."""
    later = labels.alias()
    is_later = tuple_(later.c.labelled_at, later.c.id) > tuple_(labels.c.labelled_at, labels.c.id)
    same = later.c.transaction_id == labels.c.transaction_id
    return select(labels).where(~select(later.c.id).where(same, is_later).exists())


def newest_label_of(transaction_id: ColumnElement[str]) -> ScalarSelect[int]:
    """The last label of the row at hand, null without any, as a part of other queries."""
    said = select(labels.c.label).where(labels.c.transaction_id == transaction_id)
    return said.order_by(labels.c.labelled_at.desc(), labels.c.id.desc()).limit(1).scalar_subquery()


def _append(connection: Connection, new: Iterable[AnalystLabel]) -> None:
    _lock(connection)
    connection.execute(insert(labels), [label.model_dump() for label in new])


def _lock(connection: Connection) -> None:
    if connection.dialect.name == "postgresql":
        connection.execute(select(func.pg_advisory_xact_lock(_LABEL_LOCK)))


def _said_by_author(
    connection: Connection, transaction_ids: Iterable[str]
) -> dict[tuple[str, str], list[AnalystLabel]]:
    """What each author said of these transactions; the word that became known last is last."""
    names = sorted(transaction_ids)
    found: dict[tuple[str, str], list[AnalystLabel]] = {}
    for start in range(0, len(names), _IDS_AT_ONCE):
        part = names[start : start + _IDS_AT_ONCE]
        query = select(labels).where(labels.c.transaction_id.in_(part))
        for row in connection.execute(query.order_by(labels.c.labelled_at, labels.c.id)):
            found.setdefault((row.transaction_id, row.author), []).append(_label(row))
    return found


def _same(
    words: Sequence[AnalystLabel], label: AnalystLabel, *, is_dated: bool
) -> AnalystLabel | None:
    """The one among an author's words on a transaction that says the same; None if none does."""

    def says_it(word: AnalystLabel) -> bool:
        return (word.label, word.note) == (label.label, label.note)

    if is_dated:
        same = (word for word in words if word.labelled_at == label.labelled_at and says_it(word))
        return next(same, None)
    if not words or not says_it(words[-1]):
        return None
    age = label.labelled_at - words[-1].labelled_at
    return words[-1] if age < timedelta(hours=SAME_WORD_HOURS) else None


def _checked(position: int, row: AnalystLabel | dict[str, Any]) -> AnalystLabel:
    try:
        label = row if isinstance(row, AnalystLabel) else AnalystLabel(**row)
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(str(part) for part in item['loc']) or 'label'}: {item['msg']}"
            for item in error.errors(include_input=False)
        )
        name = dict(row).get("transaction_id")
        raise _refused(position, name, problems) from error
    # Not in the model itself: what an earlier version stored must still be read.
    if label.amount is not None and label.amount > MAX_AMOUNT:
        problem = f"amount: greater than {MAX_AMOUNT:g}, beyond which nothing can be summed up"
        raise _refused(position, label.transaction_id, problem)
    return label


def _refused(position: int, transaction_id: object, problems: str) -> LabelsRefusedError:
    return LabelsRefusedError(
        f"label {position} (transaction {transaction_id!r}) is refused, and nothing was stored: "
        f"{problems}"
    )


def _fetch(store: PredictionStore, query: Select[Any]) -> pl.DataFrame:
    with store.reading() as connection:
        rows = [_as_frame_row(row) for row in connection.execute(query)]
    return pl.DataFrame(rows, schema=FRAME_SCHEMA, orient="row")


def _label(row: Row[Any]) -> AnalystLabel:
    values = dict(row._mapping)  # noqa: SLF001 - SQLAlchemy's public name for it
    del values["id"]
    return AnalystLabel(**values)


def _as_frame_row(row: Row[Any]) -> tuple[Any, ...]:
    # Rows from before there was a limit; one of them would stop the features of every later day.
    amount = None if row.amount is not None and row.amount > MAX_AMOUNT else row.amount
    order = row.event_order_us
    if order is None:
        order = (row.event_time - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
    return (
        row.transaction_id,
        row.event_time,
        order,
        row.payer_id,
        row.payee_id,
        amount,
        row.label,
        row.labelled_at,
        ANALYST,
        None,
    )
