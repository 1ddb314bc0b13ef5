"""The record of which version answers a share of the transactions in the champion's place.

Which transactions those are is the business of `serving`, and which version deserves it that of
people. The last entry is in force.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Final, Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, model_validator
from sqlalchemy import Row, func, insert, select

from fraud_assets.store.engine import PredictionStore
from fraud_assets.store.schema import traffic
from fraud_assets.store.values import Name

_TRAFFIC_LOCK: Final = 0x6672_7472
"""Key of PostgreSQL's advisory lock: an id is taken before its row is committed, and the entry that
was made last must have the highest one."""


class TrafficShare(BaseModel):
    """One change of the traffic.

    Attributes:
        version: the version of the registry that gets a share; None: the champion answers all.
        share: of the transactions, 0 to 1; 0 without a version.
        author: who changed it.
        reason: one sentence for people.
        created_at: since when it is in force; filled in when it is recorded.
        id: place in the record; filled in when it is recorded.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: Name | None
    share: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
    author: Name
    reason: Name
    created_at: AwareDatetime | None = None
    id: int | None = None

    @model_validator(mode="after")
    def _goes_to_a_version(self) -> Self:
        if self.version is None and self.share:
            raise ValueError(f"a share of {self.share:g} needs a version")
        return self


def set_share(
    store: PredictionStore, version: str | None, share: float, author: str, reason: str
) -> TrafficShare:
    """Put a share in force, and return it as stored.

    Raises:
        pydantic.ValidationError: the share is not within 0 and 1, goes to no version, or nobody
            signs it or says why.
    """
    wanted = TrafficShare(version=version, share=share, author=author, reason=reason)
    with store.writing() as connection:
        if store.dialect == "postgresql":
            connection.execute(select(func.pg_advisory_xact_lock(_TRAFFIC_LOCK)))
        values = wanted.model_dump(exclude={"id"}) | {"created_at": datetime.now(UTC)}
        return _share(connection.execute(insert(traffic).values(**values).returning(traffic)).one())


def current(store: PredictionStore) -> TrafficShare | None:
    """What is in force; None while nobody has ever set a share, so that the champion answers."""
    newest = history(store, limit=1)
    return newest[0] if newest else None


def history(store: PredictionStore, limit: int | None = None) -> list[TrafficShare]:
    """The changes of the traffic, the newest first; all of them, or at most `limit`."""
    query = select(traffic).order_by(traffic.c.id.desc()).limit(limit)
    with store.reading() as connection:
        return [_share(row) for row in connection.execute(query)]


def _share(row: Row[Any]) -> TrafficShare:
    return TrafficShare(**row._mapping)  # noqa: SLF001 - SQLAlchemy's public name for it
