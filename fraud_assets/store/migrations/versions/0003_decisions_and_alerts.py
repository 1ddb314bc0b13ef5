"""Decisions, the outbox of alerts, and two more actions of a promotion: fallback and restore.

Nothing that is there is lost: promotions keep their ids, their order and their triggers.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

ACTIONS = "action IN ('promote', 'keep', 'rollback', 'fallback', 'restore')"
OLD_ACTIONS = "action IN ('promote', 'keep', 'rollback')"

SAME_ID = "id = NEW.id"
SAME_DECISION = "id = NEW.id OR (day = NEW.day AND fingerprint = NEW.fingerprint)"


def upgrade() -> None:
    """Allow the actions, and create the tables."""
    _allow(OLD_ACTIONS, ACTIONS)
    _create_decisions()
    _create_alerts()


def downgrade() -> None:
    """Drop the tables, and call a fallback and a restore what the older code knows: a rollback.

    All three put an earlier version in force, so that every day keeps its champion.
    """
    op.drop_table("alert_sources")
    op.drop_table("alerts")
    op.drop_table("decisions")
    change = "UPDATE promotions SET action = 'rollback' WHERE action IN ('fallback', 'restore')"
    if op.get_bind().dialect.name == "postgresql":
        op.execute("ALTER TABLE promotions DISABLE TRIGGER promotions_append_only")
        op.execute(change)
        op.execute("ALTER TABLE promotions ENABLE TRIGGER promotions_append_only")
    else:
        op.execute("DROP TRIGGER promotions_no_update")
        op.execute(change)
    _allow(ACTIONS, OLD_ACTIONS)


def _allow(before: str, after: str) -> None:
    """Change the check on promotions; SQLite cannot, so that its table is copied with the rows."""
    table = sa.Table(
        "promotions",
        sa.MetaData(),
        sa.Column("id", _row_id(), sa.Identity(always=True), primary_key=True),
        sa.Column("day", sa.Date, nullable=False),
        sa.Column("action", sa.Text, nullable=False),
        sa.Column("version", sa.Text, nullable=False),
        sa.Column("model_hash", sa.Text, nullable=False),
        sa.Column("previous_version", sa.Text),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("numbers", sa.JSON, nullable=False),
        sa.Column("run_id", sa.Text),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint(before, name="promotions_action_is_known"),
    )
    sa.Index("promotions_by_day", table.c.day, table.c.id)
    with op.batch_alter_table("promotions", copy_from=table) as batch:
        batch.drop_constraint("promotions_action_is_known", type_="check")
        batch.create_check_constraint("promotions_action_is_known", sa.text(after))
    if op.get_bind().dialect.name == "sqlite":  # the triggers went with the old table
        _make_append_only_in_sqlite("promotions", SAME_ID)


def _create_decisions() -> None:
    op.create_table(
        "decisions",
        sa.Column("id", _row_id(), sa.Identity(always=True), primary_key=True),
        sa.Column("day", sa.Date, nullable=False),
        sa.Column("action", sa.Text, nullable=False),
        sa.Column("rule", sa.Text, nullable=False),
        sa.Column("champion", sa.Text, nullable=False),
        sa.Column("target", sa.Text),
        sa.Column("since", sa.Date),
        sa.Column("waiting_for", sa.Text),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("findings", sa.JSON, nullable=False),
        sa.Column("numbers", sa.JSON, nullable=False),
        sa.Column("fingerprint", sa.Text, nullable=False),
        sa.Column("run_id", sa.Text),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint(
            "action IN ('nothing', 'warn', 'retrain', 'fall_back', 'roll_back', 'restore')",
            name="decisions_action_is_known",
        ),
    )
    op.create_index("decisions_by_day", "decisions", ["day", "id"])
    op.create_index("decisions_are_taken_once", "decisions", ["day", "fingerprint"], unique=True)
    if op.get_bind().dialect.name == "postgresql":
        # The function is that of revision 0001.
        op.execute(
            "CREATE TRIGGER decisions_append_only BEFORE UPDATE OR DELETE ON decisions "
            "FOR EACH ROW EXECUTE FUNCTION fraud_assets_refuse_change()"
        )
        op.execute(
            "CREATE TRIGGER decisions_no_truncate BEFORE TRUNCATE ON decisions "
            "FOR EACH STATEMENT EXECUTE FUNCTION fraud_assets_refuse_change()"
        )
    else:
        _make_append_only_in_sqlite("decisions", SAME_DECISION)


def _create_alerts() -> None:
    op.create_table(
        "alerts",
        sa.Column("id", _row_id(), sa.Identity(always=True), primary_key=True),
        sa.Column("key", sa.Text, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("severity", sa.Text, nullable=False),
        sa.Column("first_day", sa.Date),
        sa.Column("last_day", sa.Date),
        sa.Column("occurrences", sa.Integer, nullable=False),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("title", sa.Text, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        sa.Column("link", sa.Text),
        sa.Column("numbers", sa.JSON, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("reminders", sa.Integer, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("next_attempt_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("delivered", sa.JSON, nullable=False),
        sa.Column("sent_at", sa.DateTime(timezone=True)),
        sa.Column("last_error", sa.Text),
        sa.CheckConstraint(
            "severity IN ('info', 'warning', 'critical')", name="alerts_severity_is_known"
        ),
        sa.CheckConstraint(
            "state IN ('pending', 'sent', 'failed', 'not_sent')", name="alerts_state_is_known"
        ),
        sa.CheckConstraint(
            "(first_day IS NULL) = (last_day IS NULL)", name="alerts_have_both_days_or_none"
        ),
    )
    op.create_index("alerts_by_key", "alerts", ["key", "id"])
    op.create_index("alerts_by_state", "alerts", ["state"])
    op.create_table(
        "alert_sources",
        sa.Column("key", sa.Text, primary_key=True),
        sa.Column("source", sa.Text, primary_key=True),
        sa.Column("alert_id", _row_id(), sa.ForeignKey("alerts.id"), nullable=False),
    )


def _row_id() -> sa.types.TypeEngine[int]:
    return sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def _make_append_only_in_sqlite(table: str, same: str) -> None:
    for change in ("UPDATE", "DELETE"):
        op.execute(
            f"CREATE TRIGGER {table}_no_{change.lower()} BEFORE {change} ON {table} "
            f"BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"
        )
    # INSERT OR REPLACE deletes the rows in its way without calling the triggers on DELETE.
    op.execute(
        f"CREATE TRIGGER {table}_no_replace BEFORE INSERT ON {table} "  # noqa: S608  # nosec B608
        f"WHEN EXISTS (SELECT 1 FROM {table} WHERE {same}) "
        f"BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"
    )
