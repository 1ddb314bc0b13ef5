"""What the scoring API keeps: answers, shadow scores, keys, and the share of traffic.

Only new tables: nothing that is there is touched.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

SAME_KEY = "id = NEW.id OR hash = NEW.hash OR (name = NEW.name AND revoked_at IS NULL)"

REVOKED_ONLY = (
    "OLD.revoked_at IS NULL AND NEW.revoked_at IS NOT NULL AND NEW.id = OLD.id "
    "AND NEW.hash = OLD.hash AND NEW.name = OLD.name "
    "AND CAST(NEW.scopes AS TEXT) = CAST(OLD.scopes AS TEXT) AND NEW.created_at = OLD.created_at"
)
"""JSON has no equality in PostgreSQL, hence its text."""


def upgrade() -> None:
    """Create the tables, and the triggers that refuse changes."""
    _create_answers()
    _create_shadow_scores()
    _create_api_keys()
    _create_traffic()
    if op.get_bind().dialect.name == "postgresql":
        _refuse_changes_in_postgresql()
    else:
        _refuse_changes_in_sqlite()


def downgrade() -> None:
    """Drop the tables, and all that the API was asked and told."""
    for table in ("traffic", "api_keys", "shadow_scores", "answers"):
        op.drop_table(table)
    if op.get_bind().dialect.name == "postgresql":
        op.execute("DROP FUNCTION fraud_assets_refuse_all_but_revoking()")


def _create_answers() -> None:
    op.create_table(
        "answers",
        sa.Column("transaction_id", _identifier(), primary_key=True),
        sa.Column("day", sa.Date, nullable=False),
        sa.Column("event_time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("event_order_us", sa.BigInteger, nullable=False),
        sa.Column("payer_id", sa.Text),
        sa.Column("payee_id", sa.Text),
        sa.Column("kind", sa.Text),
        sa.Column("amount", sa.Float(53), nullable=False),
        sa.Column("extras", sa.JSON, nullable=False),
        sa.Column("score", sa.Float(53), nullable=False),
        sa.Column("decision", sa.Text, nullable=False),
        sa.Column("threshold", sa.Float(53), nullable=False),
        sa.Column("reasons", sa.JSON, nullable=False),
        sa.Column("model_version", sa.Text, nullable=False),
        sa.Column("model_hash", sa.Text, nullable=False),
        sa.Column("served_by", sa.Text, nullable=False),
        sa.Column("fallback", sa.Text),
        sa.Column("is_late", sa.Boolean, nullable=False),
        sa.Column("digest", sa.Text, nullable=False),
        sa.Column("worker", _identifier(), nullable=False),
        sa.Column("sequence", sa.BigInteger, nullable=False),
        sa.Column("scored_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("score >= 0 AND score <= 1", name="answers_score_is_a_probability"),
        sa.CheckConstraint("decision IN ('alert', 'pass')", name="answers_decision_is_known"),
        sa.CheckConstraint(
            "served_by IN ('champion', 'traffic', 'rules')", name="answers_server_is_known"
        ),
    )
    op.create_index("answers_by_day", "answers", ["day", "event_order_us"])
    op.create_index(
        "answers_alerts_by_day",
        "answers",
        ["day", "score"],
        postgresql_where=sa.text("decision = 'alert'"),
        sqlite_where=sa.text("decision = 'alert'"),
    )
    op.create_index("answers_by_payer", "answers", ["payer_id", "day"])
    op.create_index("answers_by_sequence", "answers", ["worker", "sequence"])


def _create_shadow_scores() -> None:
    op.create_table(
        "shadow_scores",
        sa.Column("transaction_id", _identifier(), primary_key=True),
        sa.Column("model_version", _identifier(), primary_key=True),
        sa.Column("day", sa.Date, nullable=False),
        sa.Column("score", sa.Float(53), nullable=False),
        sa.Column("decision", sa.Text, nullable=False),
        sa.Column("scored_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint(
            "score >= 0 AND score <= 1", name="shadow_scores_score_is_a_probability"
        ),
        sa.CheckConstraint("decision IN ('alert', 'pass')", name="shadow_scores_decision_is_known"),
    )
    op.create_index("shadow_scores_by_day", "shadow_scores", ["day"])


def _create_api_keys() -> None:
    op.create_table(
        "api_keys",
        sa.Column("id", _identifier(), primary_key=True),
        sa.Column("hash", _identifier(), nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("scopes", sa.JSON, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("revoked_at", sa.DateTime(timezone=True)),
        sa.CheckConstraint("name <> ''", name="api_keys_have_a_name"),
    )
    op.create_index("api_keys_by_hash", "api_keys", ["hash"], unique=True)
    op.create_index(
        "api_keys_active_names_differ",
        "api_keys",
        ["name"],
        unique=True,
        postgresql_where=sa.text("revoked_at IS NULL"),
        sqlite_where=sa.text("revoked_at IS NULL"),
    )


def _create_traffic() -> None:
    row_id = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    op.create_table(
        "traffic",
        sa.Column("id", row_id, sa.Identity(always=True), primary_key=True),
        sa.Column("version", sa.Text),
        sa.Column("share", sa.Float(53), nullable=False),
        sa.Column("author", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("share >= 0 AND share <= 1", name="traffic_share_is_a_share"),
        sa.CheckConstraint("version IS NOT NULL OR share = 0", name="traffic_goes_to_a_version"),
        sa.CheckConstraint("author <> ''", name="traffic_has_an_author"),
    )


def _identifier() -> sa.types.TypeEngine[str]:
    return sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def _refuse_changes_in_postgresql() -> None:
    # The function fraud_assets_refuse_change is that of revision 0001.
    op.execute(
        "CREATE FUNCTION fraud_assets_refuse_all_but_revoking() RETURNS trigger "
        f"LANGUAGE plpgsql AS $$ BEGIN IF {REVOKED_ONLY} THEN RETURN NEW; END IF; "
        "RAISE EXCEPTION USING MESSAGE = TG_TABLE_NAME || ' may only be revoked, once'; END $$"
    )
    op.execute(
        "CREATE TRIGGER api_keys_only_revoked BEFORE UPDATE ON api_keys "
        "FOR EACH ROW EXECUTE FUNCTION fraud_assets_refuse_all_but_revoking()"
    )
    op.execute(
        "CREATE TRIGGER api_keys_append_only BEFORE DELETE ON api_keys "
        "FOR EACH ROW EXECUTE FUNCTION fraud_assets_refuse_change()"
    )
    op.execute(
        "CREATE TRIGGER traffic_append_only BEFORE UPDATE OR DELETE ON traffic "
        "FOR EACH ROW EXECUTE FUNCTION fraud_assets_refuse_change()"
    )
    for table in ("api_keys", "traffic"):
        op.execute(
            f"CREATE TRIGGER {table}_no_truncate BEFORE TRUNCATE ON {table} "
            "FOR EACH STATEMENT EXECUTE FUNCTION fraud_assets_refuse_change()"
        )


def _refuse_changes_in_sqlite() -> None:
    op.execute(
        "CREATE TRIGGER api_keys_only_revoked BEFORE UPDATE ON api_keys "
        f"WHEN NOT ({REVOKED_ONLY}) "
        "BEGIN SELECT RAISE(ABORT, 'api_keys may only be revoked, once'); END"
    )
    op.execute(
        "CREATE TRIGGER traffic_no_update BEFORE UPDATE ON traffic "
        "BEGIN SELECT RAISE(ABORT, 'traffic is append-only'); END"
    )
    for table, same in (("api_keys", SAME_KEY), ("traffic", "id = NEW.id")):
        op.execute(
            f"CREATE TRIGGER {table}_no_delete BEFORE DELETE ON {table} "
            f"BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"
        )
        # INSERT OR REPLACE deletes the rows in its way without calling the triggers on DELETE.
        op.execute(
            f"CREATE TRIGGER {table}_no_replace BEFORE INSERT ON {table} "  # noqa: S608  # nosec B608
            f"WHEN EXISTS (SELECT 1 FROM {table} WHERE {same}) "
            f"BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"
        )
