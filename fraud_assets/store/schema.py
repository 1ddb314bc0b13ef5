"""The tables of the store, as the code sees them: columns, keys, indexes and checks.

Only declarations belong here. How a database gets these tables, and the triggers that keep
`labels`, `promotions`, `decisions` and `traffic` append-only and the `api_keys` as they were made,
is said by `migrations`; a test compares the two.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Date,
    DateTime,
    Dialect,
    Float,
    ForeignKey,
    Identity,
    Index,
    Integer,
    MetaData,
    SmallInteger,
    Table,
    Text,
)
from sqlalchemy.types import TypeDecorator

HEAD_REVISION: Final = "0004"
"""The newest migration, repeated here so that an up-to-date store is opened without Alembic."""

VERSION_TABLE: Final = "fraud_assets_version"
"""Not Alembic's default name: Dagster and MLflow may share the database and use that one."""

ALERT: Final = "alert"
PASS: Final = "pass"  # noqa: S105 - a decision, not a password


class UtcDateTime(TypeDecorator[datetime]):
    """An instant in UTC; SQLite, which knows no time zones, holds it as UTC without saying so."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Convert to UTC; a time without a zone is refused, for nobody can tell which it is."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"{value.isoformat()} has no time zone: give it one")
        in_utc = value.astimezone(UTC)
        return in_utc.replace(tzinfo=None) if dialect.name == "sqlite" else in_utc

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Give the instant with its zone."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if dialect.name == "sqlite" else value.astimezone(UTC)


def _identifier() -> Text:
    """Text compared byte by byte, so that both databases sort alike and indexes are quick."""
    return Text().with_variant(Text(collation="C"), "postgresql")


def _row_id() -> BigInteger:
    # Only a plain INTEGER key numbers its rows by itself in SQLite.
    return BigInteger().with_variant(Integer(), "sqlite")


metadata = MetaData()

predictions = Table(
    "predictions",
    metadata,
    Column("day", Date, primary_key=True),
    Column("transaction_id", _identifier(), primary_key=True),
    Column("event_time", UtcDateTime, nullable=False),
    Column("payer_id", Text),
    Column("amount", Float(53), nullable=False),
    Column("score", Float(53), nullable=False),
    Column("decision", Text, nullable=False),
    Column("threshold", Float(53), nullable=False),
    Column("reasons", JSON, nullable=False),
    Column("model_version", Text, nullable=False),
    Column("model_hash", Text, nullable=False),
    CheckConstraint("score >= 0 AND score <= 1", name="predictions_score_is_a_probability"),
    CheckConstraint("decision IN ('alert', 'pass')", name="predictions_decision_is_known"),
    # In SQLite the rows lie in the order of the key: a day is one run of pages and one index less.
    sqlite_with_rowid=False,
)
"""One row per transaction of a scored day. A day has one champion, hence the version is not in
the key; and no time of scoring is kept, so that scoring a day twice leaves the same rows."""

Index("predictions_by_transaction", predictions.c.transaction_id)
Index(
    "predictions_alerts_by_day",
    predictions.c.day,
    predictions.c.score,
    # The queue of alerts is what is read by decision, and it is a few rows in a thousand: as a
    # partial index it costs a bulk load nothing.
    postgresql_where=predictions.c.decision == ALERT,
    sqlite_where=predictions.c.decision == ALERT,
)

labels = Table(
    "labels",
    metadata,
    Column("id", _row_id(), Identity(always=True), primary_key=True),
    Column("transaction_id", _identifier(), nullable=False),
    Column("event_time", UtcDateTime, nullable=False),
    Column("event_order_us", BigInteger),
    Column("payer_id", Text),
    Column("payee_id", Text),
    Column("label", SmallInteger, nullable=False),
    Column("labelled_at", UtcDateTime, nullable=False),
    Column("source", Text, nullable=False),
    Column("author", Text, nullable=False),
    Column("note", Text),
    Column("amount", Float(53)),
    CheckConstraint("label IN (0, 1)", name="labels_label_is_zero_or_one"),
    CheckConstraint("labelled_at >= event_time", name="labels_not_known_before_the_event"),
    CheckConstraint("author <> ''", name="labels_have_an_author"),
)
"""What analysts said, in the order in which they said it; append-only."""

Index("labels_by_time", labels.c.labelled_at)
Index("labels_by_transaction", labels.c.transaction_id)

promotions = Table(
    "promotions",
    metadata,
    Column("id", _row_id(), Identity(always=True), primary_key=True),
    Column("day", Date, nullable=False),
    Column("action", Text, nullable=False),
    Column("version", Text, nullable=False),
    Column("model_hash", Text, nullable=False),
    Column("previous_version", Text),
    Column("reason", Text, nullable=False),
    Column("numbers", JSON, nullable=False),
    Column("run_id", Text),
    Column("created_at", UtcDateTime, nullable=False),
    CheckConstraint(
        "action IN ('promote', 'keep', 'rollback', 'fallback', 'restore')",
        name="promotions_action_is_known",
    ),
)
"""Which model was put in force, kept out or taken back, and why; append-only."""

Index("promotions_by_day", promotions.c.day, promotions.c.id)

decisions = Table(
    "decisions",
    metadata,
    Column("id", _row_id(), Identity(always=True), primary_key=True),
    Column("day", Date, nullable=False),
    Column("action", Text, nullable=False),
    Column("rule", Text, nullable=False),
    Column("champion", Text, nullable=False),
    Column("target", Text),
    Column("since", Date),
    Column("waiting_for", Text),
    Column("reason", Text, nullable=False),
    Column("findings", JSON, nullable=False),
    Column("numbers", JSON, nullable=False),
    Column("fingerprint", Text, nullable=False),
    Column("run_id", Text),
    Column("created_at", UtcDateTime, nullable=False),
    CheckConstraint(
        "action IN ('nothing', 'warn', 'retrain', 'fall_back', 'roll_back', 'restore')",
        name="decisions_action_is_known",
    ),
)
"""What was decided at the close of a day, and why; append-only. A day that is closed again gets
another row only if what it was decided from has changed: that is what the fingerprint tells."""

Index("decisions_by_day", decisions.c.day, decisions.c.id)
Index("decisions_are_taken_once", decisions.c.day, decisions.c.fingerprint, unique=True)

alerts = Table(
    "alerts",
    metadata,
    Column("id", _row_id(), Identity(always=True), primary_key=True),
    Column("key", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("severity", Text, nullable=False),
    Column("first_day", Date),
    Column("last_day", Date),
    Column("occurrences", Integer, nullable=False),
    Column("source", Text, nullable=False),
    Column("title", Text, nullable=False),
    Column("body", Text, nullable=False),
    Column("link", Text),
    Column("numbers", JSON, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("state", Text, nullable=False),
    Column("reminders", Integer, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("next_attempt_at", UtcDateTime, nullable=False),
    Column("delivered", JSON, nullable=False),
    Column("sent_at", UtcDateTime),
    Column("last_error", Text),
    CheckConstraint("severity IN ('info', 'warning', 'critical')", name="alerts_severity_is_known"),
    CheckConstraint(
        "state IN ('pending', 'sent', 'failed', 'not_sent')", name="alerts_state_is_known"
    ),
    CheckConstraint(
        "(first_day IS NULL) = (last_day IS NULL)", name="alerts_have_both_days_or_none"
    ),
)
"""The outbox: one row per episode of what people should know of, and how far its message got."""

Index("alerts_by_key", alerts.c.key, alerts.c.id)
Index("alerts_by_state", alerts.c.state)

alert_sources = Table(
    "alert_sources",
    metadata,
    Column("key", Text, primary_key=True),
    Column("source", Text, primary_key=True),
    Column("alert_id", _row_id(), ForeignKey("alerts.id"), nullable=False),
)
"""What was counted for which alert. The newest source alone would not do: a tick that is repeated
after a crash brings several again, the older ones first."""

answers = Table(
    "answers",
    metadata,
    Column("transaction_id", _identifier(), primary_key=True),
    Column("day", Date, nullable=False),
    Column("event_time", UtcDateTime, nullable=False),
    Column("event_order_us", BigInteger, nullable=False),
    Column("payer_id", Text),
    Column("payee_id", Text),
    Column("kind", Text),
    Column("amount", Float(53), nullable=False),
    Column("extras", JSON, nullable=False),
    Column("score", Float(53), nullable=False),
    Column("decision", Text, nullable=False),
    Column("threshold", Float(53), nullable=False),
    Column("reasons", JSON, nullable=False),
    Column("model_version", Text, nullable=False),
    Column("model_hash", Text, nullable=False),
    Column("served_by", Text, nullable=False),
    Column("fallback", Text),
    Column("is_late", Boolean, nullable=False),
    Column("digest", Text, nullable=False),
    Column("worker", _identifier(), nullable=False),
    Column("sequence", BigInteger, nullable=False),
    Column("scored_at", UtcDateTime, nullable=False),
    CheckConstraint("score >= 0 AND score <= 1", name="answers_score_is_a_probability"),
    CheckConstraint("decision IN ('alert', 'pass')", name="answers_decision_is_known"),
    CheckConstraint(
        "served_by IN ('champion', 'traffic', 'rules')", name="answers_server_is_known"
    ),
)
"""What the API answered, once per transaction: nobody was told anything else, so that a row is
never changed. Unlike `predictions` it is a plain table in SQLite too: rows come in no order of
their ids, and are long."""

Index("answers_by_day", answers.c.day, answers.c.event_order_us)
Index(
    "answers_alerts_by_day",
    answers.c.day,
    answers.c.score,
    postgresql_where=answers.c.decision == ALERT,
    sqlite_where=answers.c.decision == ALERT,
)
Index("answers_by_payer", answers.c.payer_id, answers.c.day)
Index("answers_by_sequence", answers.c.worker, answers.c.sequence)

shadow_scores = Table(
    "shadow_scores",
    metadata,
    Column("transaction_id", _identifier(), primary_key=True),
    Column("model_version", _identifier(), primary_key=True),
    Column("day", Date, nullable=False),
    Column("score", Float(53), nullable=False),
    Column("decision", Text, nullable=False),
    Column("scored_at", UtcDateTime, nullable=False),
    CheckConstraint("score >= 0 AND score <= 1", name="shadow_scores_score_is_a_probability"),
    CheckConstraint("decision IN ('alert', 'pass')", name="shadow_scores_decision_is_known"),
)
"""What a model that does not answer would have said; nobody was told."""

Index("shadow_scores_by_day", shadow_scores.c.day)

api_keys = Table(
    "api_keys",
    metadata,
    Column("id", _identifier(), primary_key=True),
    Column("hash", _identifier(), nullable=False),
    Column("name", Text, nullable=False),
    Column("scopes", JSON, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("revoked_at", UtcDateTime),
    CheckConstraint("name <> ''", name="api_keys_have_a_name"),
)
"""Who may ask the API for what. The only change that a key sees is to be revoked, once."""

Index("api_keys_by_hash", api_keys.c.hash, unique=True)
Index(
    "api_keys_active_names_differ",
    api_keys.c.name,
    unique=True,
    postgresql_where=api_keys.c.revoked_at.is_(None),
    sqlite_where=api_keys.c.revoked_at.is_(None),
)

traffic = Table(
    "traffic",
    metadata,
    Column("id", _row_id(), Identity(always=True), primary_key=True),
    Column("version", Text),
    Column("share", Float(53), nullable=False),
    Column("author", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    CheckConstraint("share >= 0 AND share <= 1", name="traffic_share_is_a_share"),
    CheckConstraint("version IS NOT NULL OR share = 0", name="traffic_goes_to_a_version"),
    CheckConstraint("author <> ''", name="traffic_has_an_author"),
)
"""Which share of the transactions a version other than the champion answers; append-only."""
