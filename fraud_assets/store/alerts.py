"""The outbox of alerts: what people should know of, and how far the message of it got.

What is worth an alert is decided elsewhere (`monitoring.alerts`), and how a message travels is
the business of `resources.alerts`. Here is what keeps people from being told the same thing every
day, from not being told at all, and from being told of one event twice.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime, timedelta
from typing import Annotated, Any, Final, Literal

from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field
from sqlalchemy import Connection, Row, func, insert, select, update

from fraud_assets.store.engine import PredictionStore
from fraud_assets.store.schema import alert_sources, alerts
from fraud_assets.store.values import JsonObject, Name

MAX_ATTEMPTS: Final = 12
"""With the waits between them these take about six hours; then the alert has failed."""

FIRST_WAIT: Final = timedelta(minutes=1)
LONGEST_WAIT: Final = timedelta(hours=1)

_ALERT_LOCK: Final = 0x6672_616C
"""Key of PostgreSQL's advisory lock: alerts are raised one at a time."""


def _without_nul(value: object) -> object:
    # PostgreSQL has no such character, and an alert is not lost for what a broken file brought.
    return value.replace("\x00", "\N{REPLACEMENT CHARACTER}") if isinstance(value, str) else value


Line = Annotated[Name, BeforeValidator(_without_nul)]


class NewAlert(BaseModel):
    """Something that people should know of, as plain values.

    Attributes:
        key: what it is about; alerts with one key are told as one episode.
        kind: sort of the alert.
        severity: how urgent it is.
        day: the day that it is about; None for what belongs to no day.
        source: what it was made from, as `decision:17`; counted once for its key.
        title: one line.
        body: the message.
        link: where to look.
        numbers: what it rests on; plain JSON, with None for "not computable".
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    key: Line
    kind: Line
    severity: Literal["info", "warning", "critical"]
    day: date | None = None
    source: Line
    title: Line
    body: Line
    link: Line | None = None
    numbers: JsonObject = Field(default_factory=dict)


class StoredAlert(BaseModel):
    """One episode in the outbox.

    Attributes:
        id: place in the outbox.
        key: as in `NewAlert`, like `kind`, `severity`, `title`, `body`, `link` and `numbers`, which
            are those of the newest day.
        first_day: first day of the episode.
        last_day: last day so far.
        occurrences: how many sources were counted.
        source: the one that was counted last.
        created_at: when the episode was first heard of.
        state: `pending` is to be delivered, `sent` has been, `failed` was given up, and `not_sent`
            is only kept: nobody wants it, or nobody is named.
        reminders: how often it was told again.
        attempts: deliveries that were tried of this message, without success at every channel.
        next_attempt_at: not to be tried before.
        delivered: the channels that have this message.
        sent_at: when a channel last took a message of the episode.
        last_error: why the last attempt failed.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: int
    key: str
    kind: str
    severity: Literal["info", "warning", "critical"]
    first_day: date | None
    last_day: date | None
    occurrences: int
    source: str
    title: str
    body: str
    link: str | None
    numbers: dict[str, Any]
    created_at: AwareDatetime
    state: Literal["pending", "sent", "failed", "not_sent"]
    reminders: int
    attempts: int
    next_attempt_at: AwareDatetime
    delivered: list[str]
    sent_at: AwareDatetime | None
    last_error: str | None

    @property
    def message_id(self) -> str:
        """The same for every delivery of one message, so that a receiver can tell a repetition."""
        return f"{self.id}.{self.reminders}" if self.reminders else str(self.id)


def raise_alert(
    store: PredictionStore,
    values: NewAlert | Mapping[str, Any],
    now: datetime,
    *,
    quiet_days: int,
    remind_days: int,
    quiet_hours: int = 0,
) -> bool:
    """Put an alert into the outbox, or count it for the episode that it belongs to.

    A source that was counted for the key before changes nothing, so that whoever raises alerts may
    begin again after a crash. An episode goes on while its key comes back within `quiet_days` of
    its days (also for an older day), and without a day within `quiet_hours` of its beginning.
    What goes on is told again when `remind_days` have passed since it was last told. An episode
    that nobody was told of, because its delivery failed or nobody was named, is told as it goes on.

    Args:
        store: the store.
        values: the fields of `NewAlert`.
        now: the time.
        quiet_days: in days of the data.
        remind_days: by the clock on the wall.
        quiet_hours: by the clock on the wall.

    Returns:
        Whether a message is due because of it: a new one or a reminder.
    """
    given = NewAlert.model_validate(values)
    with store.writing() as connection:
        if store.dialect == "postgresql":
            connection.execute(select(func.pg_advisory_xact_lock(_ALERT_LOCK)))
        if _is_counted(connection, given):
            return False
        found = _episode(connection, given, now, quiet_days, timedelta(hours=quiet_hours))
        if found is None:
            added = insert(alerts).values(**_first(given, now)).returning(alerts.c.id)
            alert_id, due = connection.execute(added).scalar_one(), True
        else:
            again = _telling_again(found, now, timedelta(days=remind_days))
            _change(connection, found.id, **_next(found, given), **again)
            alert_id, due = found.id, bool(again)
        connection.execute(
            insert(alert_sources).values(key=given.key, source=given.source, alert_id=alert_id)
        )
    return due


def pending(store: PredictionStore, now: datetime) -> list[StoredAlert]:
    """What is to be delivered now, the longest due first."""
    due = select(alerts).where(alerts.c.state == "pending", alerts.c.next_attempt_at <= now)
    with store.reading() as connection:
        rows = connection.execute(due.order_by(alerts.c.next_attempt_at, alerts.c.id)).all()
    return [_alert(row) for row in rows]


def count_pending(store: PredictionStore) -> int:
    """How many are still to be delivered, now or later."""
    query = select(func.count()).select_from(alerts).where(alerts.c.state == "pending")
    with store.reading() as connection:
        count: int = connection.execute(query).scalar_one()
    return count


def recent(store: PredictionStore, limit: int) -> list[StoredAlert]:
    """The alerts in whatever state, the episodes that began last first."""
    with store.reading() as connection:
        rows = connection.execute(select(alerts).order_by(alerts.c.id.desc()).limit(limit)).all()
    return [_alert(row) for row in rows]


def mark_delivered(store: PredictionStore, alert_id: int, channel: str, now: datetime) -> None:
    """One channel has the message: it does not get it again when another one fails."""
    with store.writing() as connection:
        found = _pending_one(connection, alert_id)
        if found is not None and channel not in found.delivered:
            _change(connection, alert_id, delivered=[*found.delivered, channel], sent_at=now)


def mark_sent(store: PredictionStore, alert_id: int, now: datetime) -> None:
    """Every channel has the message."""
    with store.writing() as connection:
        if _pending_one(connection, alert_id) is not None:
            _change(connection, alert_id, state="sent", sent_at=now, last_error=None)


def mark_failed(store: PredictionStore, alert_id: int, error: str, now: datetime) -> bool:
    """A delivery failed: try again later, each time after twice the wait, and give up in the end.

    Returns:
        Whether it was given up.
    """
    with store.writing() as connection:
        found = _pending_one(connection, alert_id)
        if found is None:
            return False
        attempts = found.attempts + 1
        wait = min(LONGEST_WAIT, FIRST_WAIT * 2 ** (attempts - 1))
        given_up = attempts >= MAX_ATTEMPTS
        _change(
            connection,
            alert_id,
            state="failed" if given_up else "pending",
            attempts=attempts,
            next_attempt_at=now + wait,
            last_error=str(_without_nul(error)),
        )
    return given_up


def mark_not_sent(store: PredictionStore, alert_id: int, reason: str) -> None:
    """Nobody is to get the message: it is kept, and not delivered later either."""
    with store.writing() as connection:
        if _pending_one(connection, alert_id) is not None:
            _change(connection, alert_id, state="not_sent", last_error=reason)


def _is_counted(connection: Connection, given: NewAlert) -> bool:
    query = select(alert_sources).where(
        alert_sources.c.key == given.key, alert_sources.c.source == given.source
    )
    return connection.execute(query).one_or_none() is not None


def _episode(
    connection: Connection,
    given: NewAlert,
    now: datetime,
    quiet_days: int,
    quiet: timedelta,
) -> StoredAlert | None:
    query = select(alerts).where(alerts.c.key == given.key)
    if given.day is None:
        query = query.where(alerts.c.first_day.is_(None), alerts.c.created_at > now - quiet)
    else:
        query = query.where(
            alerts.c.first_day <= given.day + timedelta(days=quiet_days),
            alerts.c.last_day >= given.day - timedelta(days=quiet_days),
        )
    row = connection.execute(query.order_by(alerts.c.id.desc()).limit(1)).one_or_none()
    return None if row is None else _alert(row)


def _first(given: NewAlert, now: datetime) -> dict[str, Any]:
    return given.model_dump(exclude={"day"}) | {
        "first_day": given.day,
        "last_day": given.day,
        "occurrences": 1,
        "created_at": now,
        "state": "pending",
        "reminders": 0,
        "attempts": 0,
        "next_attempt_at": now,
        "delivered": [],
    }


def _next(found: StoredAlert, given: NewAlert) -> dict[str, Any]:
    """An episode that goes on says what its newest day says."""
    changes: dict[str, Any] = {"occurrences": found.occurrences + 1, "source": given.source}
    if given.day is not None and found.first_day is not None and found.last_day is not None:
        if given.day < found.last_day:
            return changes | {"first_day": min(found.first_day, given.day)}
        changes["last_day"] = given.day
    return changes | given.model_dump(exclude={"key", "day", "source"})


def _telling_again(found: StoredAlert, now: datetime, remind_after: timedelta) -> dict[str, Any]:
    """What makes a message due again; empty if none is, or one is due already."""
    if found.state == "pending":
        return {}
    again = {"state": "pending", "attempts": 0, "next_attempt_at": now}
    if found.sent_at is not None and now - found.sent_at >= remind_after:
        return again | {"delivered": [], "reminders": found.reminders + 1}
    # Nobody was told, or not everybody: those who were are in `delivered` and stay there.
    return again if found.state in ("failed", "not_sent") else {}


def _pending_one(connection: Connection, alert_id: int) -> StoredAlert | None:
    """The alert, locked, unless somebody else has settled it meanwhile."""
    query = select(alerts).where(alerts.c.id == alert_id, alerts.c.state == "pending")
    row = connection.execute(query.with_for_update()).one_or_none()
    return None if row is None else _alert(row)


def _change(connection: Connection, alert_id: int, **values: object) -> None:
    connection.execute(update(alerts).where(alerts.c.id == alert_id).values(**values))


def _alert(row: Row[Any]) -> StoredAlert:
    return StoredAlert(**row._mapping)  # noqa: SLF001 - SQLAlchemy's public name for it
