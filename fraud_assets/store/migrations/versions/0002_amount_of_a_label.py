"""The amount of a label's transaction, as the label's author gives it.

Labels that are there already keep a null: they are append-only, and nobody gave them an amount.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column; both databases do so without touching a row, so no trigger objects."""
    op.add_column("labels", sa.Column("amount", sa.Float(53)))


def downgrade() -> None:
    """Drop the column and the amounts in it; the labels stay."""
    op.drop_column("labels", "amount")
