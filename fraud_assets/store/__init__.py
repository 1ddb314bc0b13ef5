"""The prediction store: scores, analysts' labels and promotions in SQLite or PostgreSQL.

Nothing is imported here, because SQLAlchemy costs a fifth of a second and a code location that
only names the store must not pay it. `engine` is as cheap as this package; `predictions`,
`labels`, `promotions` and `migrate` are imported where they are used.
"""
