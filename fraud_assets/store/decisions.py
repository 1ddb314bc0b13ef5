"""The record of what was decided at the close of each day.

How a decision is taken is none of this module's business (`monitoring.policy`), nor is what is
done about it. The record is what the next day's decision looks back on, and what sensors act on.
"""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any, Final, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field
from sqlalchemy import ColumnElement, Connection, Row, and_, func, insert, select

from fraud_assets.store.engine import PredictionStore
from fraud_assets.store.schema import decisions
from fraud_assets.store.values import JsonObject, JsonObjects, Name, Text

_DECISION_LOCK: Final = 0x6672_6463
"""Key of PostgreSQL's advisory lock: decisions are recorded one at a time."""


class StoredDecision(BaseModel):
    """One decision, as plain values.

    Attributes:
        day: the day at whose close it was taken.
        action: what to do.
        rule: the rule that decided.
        champion: the version in force on the day.
        target: the version to put in force, if the action names one.
        since: the first day of the change that is to be learnt, if there is one.
        waiting_for: what stops a retraining that there is reason for.
        reason: one sentence for people.
        findings: what was out of order that day; plain JSON.
        numbers: what the reason rests on; plain JSON, with None for "not computable".
        fingerprint: of what the decision was taken from; the same one is recorded once a day.
        run_id: the Dagster run; None for a decision by hand.
        created_at: when it was recorded; filled in by `record`.
        id: place in the record; filled in by `record`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    day: date
    action: Literal["nothing", "warn", "retrain", "fall_back", "roll_back", "restore"]
    rule: Name
    champion: Text
    target: Name | None = None
    since: date | None = None
    waiting_for: Name | None = None
    reason: Name
    findings: JsonObjects = Field(default_factory=list)
    numbers: JsonObject = Field(default_factory=dict)
    fingerprint: Name
    run_id: Name | None = None
    created_at: AwareDatetime | None = None
    id: int | None = None


def record(store: PredictionStore, decision: StoredDecision) -> StoredDecision:
    """Append a decision, and return it as stored.

    A day that is closed again with the same fingerprint adds nothing: the row that is there is
    returned, also to the slower of two that record it at once.
    """
    with store.writing() as connection:
        if store.dialect == "postgresql":
            connection.execute(select(func.pg_advisory_xact_lock(_DECISION_LOCK)))
        known = _recorded(connection, decision)
        if known is not None:
            return known
        stored = decision.model_copy(
            update={"created_at": decision.created_at or datetime.now(UTC), "id": None}
        )
        added = connection.execute(
            insert(decisions).values(**stored.model_dump(exclude={"id"})).returning(decisions)
        )
        return _decision(added.one())


def latest_of(store: PredictionStore, day: date) -> StoredDecision | None:
    """The last decision that was recorded for `day`; None if there is none."""
    return _latest(store, decisions.c.day == day)


def last_retraining(store: PredictionStore, up_to: date) -> StoredDecision | None:
    """The decision of the newest day up to `up_to`, that one included, that asked to retrain."""
    return _latest(store, and_(decisions.c.day <= up_to, decisions.c.action == "retrain"))


def history(
    store: PredictionStore,
    since_id: int = 0,
    limit: int | None = None,
    *,
    newest_first: bool = False,
) -> list[StoredDecision]:
    """Decisions in the order in which they were recorded, which is that of their ids.

    Args:
        store: the store.
        since_id: only those recorded after the one with this id. None that is recorded later has
            a lower id, so that a reader may go on from the last id that it saw.
        limit: at most this many; None for all.
        newest_first: the other way round.
    """
    order = decisions.c.id.desc() if newest_first else decisions.c.id
    query = select(decisions).where(decisions.c.id > since_id).order_by(order).limit(limit)
    with store.reading() as connection:
        return [_decision(row) for row in connection.execute(query)]


def _latest(store: PredictionStore, which: ColumnElement[bool]) -> StoredDecision | None:
    query = select(decisions).where(which)
    query = query.order_by(decisions.c.day.desc(), decisions.c.id.desc()).limit(1)
    with store.reading() as connection:
        row = connection.execute(query).one_or_none()
    return None if row is None else _decision(row)


def _recorded(connection: Connection, decision: StoredDecision) -> StoredDecision | None:
    row = connection.execute(
        select(decisions).where(
            decisions.c.day == decision.day, decisions.c.fingerprint == decision.fingerprint
        )
    ).one_or_none()
    return None if row is None else _decision(row)


def _decision(row: Row[Any]) -> StoredDecision:
    return StoredDecision(**row._mapping)  # noqa: SLF001 - SQLAlchemy's public name for it


def last_closed_day(store: PredictionStore) -> date | None:
    """The newest day that was decided on; None before the first."""
    with store.reading() as connection:
        found: date | None = connection.execute(select(func.max(decisions.c.day))).scalar_one()
    return found
