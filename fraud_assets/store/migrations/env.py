"""How Alembic reaches the database: on the connection that `store.migrate` hands over.

There is no `alembic.ini` and no offline mode: the caller holds the lock and the transaction.
"""

from __future__ import annotations

from alembic import context

from fraud_assets.store.schema import VERSION_TABLE, metadata

connection = context.config.attributes.get("connection")
if connection is None:
    raise RuntimeError("migrations run through fraud_assets.store.migrate.migrate(url)")
context.configure(connection=connection, target_metadata=metadata, version_table=VERSION_TABLE)
with context.begin_transaction():
    context.run_migrations()
