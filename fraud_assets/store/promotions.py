"""The record of promotions, and from it the champion of any day.

Whether a challenger deserves promotion is decided elsewhere (`modeling.gate`); where its files
lie is the registry's business. This record says which version was in force when, and why.
"""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from typing import Annotated, Any, Final, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints, field_validator
from sqlalchemy import Connection, Row, Select, and_, func, insert, select

from fraud_assets.store.engine import PredictionStore
from fraud_assets.store.schema import promotions

_PROMOTION_LOCK: Final = 0x6672_7072
"""Key of PostgreSQL's advisory lock: promotions are recorded one at a time."""

Name = Annotated[str, StringConstraints(min_length=1)]


class Promotion(BaseModel):
    """One decision on a model.

    Attributes:
        day: the day whose data decided; a promotion is in force from the day after.
        action: `promote` puts `version` in force, `rollback` puts it in force again, and `keep`
            refuses `version`, the challenger, in favour of `previous_version`, which stays.
        version: the version of the registry that the action is about.
        model_hash: content hash of that version's bundle.
        previous_version: the champion before the action; None for the first.
        reason: one sentence for people.
        numbers: what the decision rests on; plain JSON, with None for "not computable".
        run_id: the Dagster run; None for a decision by hand.
        created_at: when it was recorded; filled in by `record`.
        id: place in the record; filled in by `record`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    day: date
    action: Literal["promote", "keep", "rollback"]
    version: Name
    model_hash: Name
    previous_version: str | None = None
    reason: Name
    numbers: dict[str, Any] = Field(default_factory=dict)
    run_id: str | None = None
    created_at: AwareDatetime | None = None
    id: int | None = None

    @field_validator("numbers")
    @classmethod
    def _is_json(cls, value: dict[str, Any]) -> dict[str, Any]:
        try:
            json.dumps(value, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise ValueError(f"not plain JSON ({error}); write None for not computable") from error
        return value


def record(store: PredictionStore, promotion: Promotion) -> Promotion:
    """Append a decision, and return it as stored.

    Materialising a day again adds nothing: if the day's latest decision is this action on this
    model, or this run has already recorded it for the day, that row is returned instead. A
    decision that differs is appended, and the record then shows both.
    """
    with store.writing() as connection:
        if store.dialect == "postgresql":
            connection.execute(select(func.pg_advisory_xact_lock(_PROMOTION_LOCK)))
        known = _recorded(connection, promotion)
        if known is not None:
            return known
        stored = promotion.model_copy(
            update={"created_at": promotion.created_at or datetime.now(UTC), "id": None}
        )
        added = connection.execute(
            insert(promotions).values(**stored.model_dump(exclude={"id"})).returning(promotions)
        )
        return _promotion(added.one())


def champion_on(store: PredictionStore, day: date) -> Promotion | None:
    """The decision that put the champion of `day` in force; None while there is no model.

    That is the latest promotion or rollback of an earlier day, by day and, within a day, by the
    order of the record. A `keep` changes nothing. So a decision never acts on the day it rests
    on, and one that is recorded late, for an old day, does not displace a later day's.
    """
    in_force = and_(promotions.c.day < day, promotions.c.action.in_(("promote", "rollback")))
    with store.reading() as connection:
        row = connection.execute(_latest_first().where(in_force).limit(1)).one_or_none()
    return None if row is None else _promotion(row)


def history(store: PredictionStore) -> list[Promotion]:
    """Every decision, in the order in which it was recorded."""
    with store.reading() as connection:
        rows = connection.execute(select(promotions).order_by(promotions.c.id)).all()
    return [_promotion(row) for row in rows]


def _recorded(connection: Connection, promotion: Promotion) -> Promotion | None:
    of_day = connection.execute(_latest_first().where(promotions.c.day == promotion.day))
    for place, row in enumerate(of_day):
        found = _promotion(row)
        same_run = promotion.run_id is not None and found.run_id == promotion.run_id
        if _subject(found) == _subject(promotion) and (place == 0 or same_run):
            return found
    return None


def _subject(promotion: Promotion) -> tuple[str, str, str]:
    return (promotion.action, promotion.version, promotion.model_hash)


def _latest_first() -> Select[Any]:
    return select(promotions).order_by(promotions.c.day.desc(), promotions.c.id.desc())


def _promotion(row: Row[Any]) -> Promotion:
    return Promotion(**row._mapping)  # noqa: SLF001 - SQLAlchemy's public name for it
