"""Predictions, analysts' labels and promotions.

The tables are spelt out rather than taken from `schema`, which will move on while this file
must go on making what it makes today.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

APPEND_ONLY = ("labels", "promotions")


def upgrade() -> None:
    """Create the tables, and the triggers that refuse changes to what is append-only."""
    identifier = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
    row_id = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    instant = sa.DateTime(timezone=True)

    op.create_table(
        "predictions",
        sa.Column("day", sa.Date, primary_key=True),
        sa.Column("transaction_id", identifier, primary_key=True),
        sa.Column("event_time", instant, nullable=False),
        sa.Column("payer_id", sa.Text),
        sa.Column("amount", sa.Float(53), nullable=False),
        sa.Column("score", sa.Float(53), nullable=False),
        sa.Column("decision", sa.Text, nullable=False),
        sa.Column("threshold", sa.Float(53), nullable=False),
        sa.Column("reasons", sa.JSON, nullable=False),
        sa.Column("model_version", sa.Text, nullable=False),
        sa.Column("model_hash", sa.Text, nullable=False),
        sa.CheckConstraint("score >= 0 AND score <= 1", name="predictions_score_is_a_probability"),
        sa.CheckConstraint("decision IN ('alert', 'pass')", name="predictions_decision_is_known"),
        sqlite_with_rowid=False,
    )
    op.create_index("predictions_by_transaction", "predictions", ["transaction_id"])
    op.create_index(
        "predictions_alerts_by_day",
        "predictions",
        ["day", "score"],
        postgresql_where=sa.text("decision = 'alert'"),
        sqlite_where=sa.text("decision = 'alert'"),
    )

    op.create_table(
        "labels",
        sa.Column("id", row_id, sa.Identity(always=True), primary_key=True),
        sa.Column("transaction_id", identifier, nullable=False),
        sa.Column("event_time", instant, nullable=False),
        sa.Column("event_order_us", sa.BigInteger),
        sa.Column("payer_id", sa.Text),
        sa.Column("payee_id", sa.Text),
        sa.Column("label", sa.SmallInteger, nullable=False),
        sa.Column("labelled_at", instant, nullable=False),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("author", sa.Text, nullable=False),
        sa.Column("note", sa.Text),
        sa.CheckConstraint("label IN (0, 1)", name="labels_label_is_zero_or_one"),
        sa.CheckConstraint("labelled_at >= event_time", name="labels_not_known_before_the_event"),
        sa.CheckConstraint("author <> ''", name="labels_have_an_author"),
    )
    op.create_index("labels_by_time", "labels", ["labelled_at"])
    op.create_index("labels_by_transaction", "labels", ["transaction_id"])

    op.create_table(
        "promotions",
        sa.Column("id", row_id, sa.Identity(always=True), primary_key=True),
        sa.Column("day", sa.Date, nullable=False),
        sa.Column("action", sa.Text, nullable=False),
        sa.Column("version", sa.Text, nullable=False),
        sa.Column("model_hash", sa.Text, nullable=False),
        sa.Column("previous_version", sa.Text),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("numbers", sa.JSON, nullable=False),
        sa.Column("run_id", sa.Text),
        sa.Column("created_at", instant, nullable=False),
        sa.CheckConstraint(
            "action IN ('promote', 'keep', 'rollback')", name="promotions_action_is_known"
        ),
    )
    op.create_index("promotions_by_day", "promotions", ["day", "id"])

    if op.get_bind().dialect.name == "postgresql":
        _make_append_only_in_postgresql()
    else:
        _make_append_only_in_sqlite()


def downgrade() -> None:
    """Drop everything, the labels and promotions too."""
    op.drop_table("promotions")
    op.drop_table("labels")
    op.drop_table("predictions")
    if op.get_bind().dialect.name == "postgresql":
        op.execute("DROP FUNCTION fraud_assets_refuse_change()")


def _make_append_only_in_postgresql() -> None:
    op.execute(
        "CREATE FUNCTION fraud_assets_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$ "
        "BEGIN RAISE EXCEPTION USING MESSAGE = TG_TABLE_NAME || ' is append-only'; END $$"
    )
    for table in APPEND_ONLY:
        op.execute(
            f"CREATE TRIGGER {table}_append_only BEFORE UPDATE OR DELETE ON {table} "
            "FOR EACH ROW EXECUTE FUNCTION fraud_assets_refuse_change()"
        )
        op.execute(
            f"CREATE TRIGGER {table}_no_truncate BEFORE TRUNCATE ON {table} "
            "FOR EACH STATEMENT EXECUTE FUNCTION fraud_assets_refuse_change()"
        )


def _make_append_only_in_sqlite() -> None:
    for table in APPEND_ONLY:
        for change in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER {table}_no_{change.lower()} BEFORE {change} ON {table} "
                f"BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"
            )
        # INSERT OR REPLACE deletes the old row without calling the triggers on DELETE.
        op.execute(
            f"CREATE TRIGGER {table}_no_replace BEFORE INSERT ON {table} "  # noqa: S608  # nosec B608
            f"WHEN EXISTS (SELECT 1 FROM {table} WHERE id = NEW.id) "
            f"BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"
        )
