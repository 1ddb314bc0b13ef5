"""Alembic's environment and the migrations of the store, shipped with the package."""
