"""The record of promotions, and from it the champion of any day.

Whether a challenger deserves promotion, or a champion is to be replaced by an earlier one, is
decided elsewhere (`modeling.gate`, `monitoring.policy`); where a model's files lie is the
registry's business. This record says which version was in force when, and why.
"""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any, Final, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field
from sqlalchemy import Connection, Row, Select, func, insert, select

from fraud_assets.store.engine import PredictionStore
from fraud_assets.store.schema import promotions
from fraud_assets.store.values import JsonObject, Name

_PROMOTION_LOCK: Final = 0x6672_7072
"""Key of PostgreSQL's advisory lock: promotions are recorded one at a time."""

_IN_FORCE: Final = promotions.c.action != "keep"


class Promotion(BaseModel):
    """One decision on a model.

    Attributes:
        day: the day whose data decided; a promotion is in force from the day after.
        action: `promote` puts `version` in force, and `keep` refuses it, the challenger, in favour
            of `previous_version`, which stays. The others put `version` in force again: `rollback`
            because `previous_version` is worse, `fallback` while `previous_version` cannot serve,
            and `restore` when it can.
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
    action: Literal["promote", "keep", "rollback", "fallback", "restore"]
    version: Name
    model_hash: Name
    previous_version: str | None = None
    reason: Name
    numbers: JsonObject = Field(default_factory=dict)
    run_id: str | None = None
    created_at: AwareDatetime | None = None
    id: int | None = None


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

    That is the latest decision of an earlier day that is no `keep`, by day and, within a day, by
    the order of the record. So a decision never acts on the day it rests on, and one that is
    recorded late, for an old day, does not displace a later day's.
    """
    query = _latest_first().where(promotions.c.day < day, _IN_FORCE).limit(1)
    with store.reading() as connection:
        row = connection.execute(query).one_or_none()
    return None if row is None else _promotion(row)


class Suspension(BaseModel):
    """A champion that was fallen back from, and is waited for.

    Attributes:
        version: the champion.
        first: the fallback that began it; others may have followed, where a stand-in failed too.
        latest: the fallback that put the model in force that serves now.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: str
    first: Promotion
    latest: Promotion


def suspended_on(store: PredictionStore, day: date) -> Suspension | None:
    """The champion that the one of `day` stands in for; None if it serves in its own right.

    Read from the record and not kept in it: a promotion as of an earlier day that is recorded only
    after the fallback makes its version the champion that is waited for.
    """
    query = _latest_first().where(promotions.c.day < day, _IN_FORCE)
    fallbacks: list[Promotion] = []
    with store.reading() as connection:
        for row in connection.execute(query):
            found = _promotion(row)
            if found.action != "fallback":
                break
            fallbacks.append(found)
        else:
            found = None
    if not fallbacks:
        return None
    version = found.version if found is not None else fallbacks[-1].previous_version
    if version is None:
        return None
    return Suspension(version=version, first=fallbacks[-1], latest=fallbacks[0])


def former_champions(
    store: PredictionStore, day: date, limit: int | None = None, *, rules: str
) -> list[str]:
    """Versions that served before the champion of `day`, those that served last first.

    Each comes once, and the champion itself does not. A version counts as having served if it was
    in force for a day: one that was displaced on the day that put it in force was not. A version
    that a rollback has judged worse is left out, unless it was put in force again after that. One
    that is suspended is not.

    Args:
        store: the store.
        day: only decisions of earlier days are looked at.
        limit: at most this many; None for all.
        rules: name of the rule set, which is no model and is left out.
    """
    with store.reading() as connection:
        rows = connection.execute(_latest_first().where(promotions.c.day < day, _IN_FORCE)).all()
    served: list[str] = []
    left_out, put_in_force_since = {rules}, set[str]()
    later_day = None
    for row in rows:  # newest first, so that the first row of a day is the one that held
        if row.day != later_day:
            served.append(row.version)
            later_day = row.day
        put_in_force_since.add(row.version)
        if row.action == "rollback" and row.previous_version not in put_in_force_since:
            left_out.add(row.previous_version)
    left_out.update(served[:1])  # the champion of the day
    return [version for version in dict.fromkeys(served) if version not in left_out][:limit]


def history(store: PredictionStore, since_id: int = 0) -> list[Promotion]:
    """Every decision after the one with the id `since_id`, in the order of the record."""
    query = select(promotions).where(promotions.c.id > since_id).order_by(promotions.c.id)
    with store.reading() as connection:
        rows = connection.execute(query).all()
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
