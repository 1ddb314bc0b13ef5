"""The prediction store: scores, analysts' labels, promotions, decisions and alerts in a database.

SQLite or PostgreSQL. Nothing is imported here, because SQLAlchemy costs a fifth of a second and a
code location that only names the store must not pay it. `engine` is as cheap as this package; the
modules of the tables and `migrate` are imported where they are used.
"""
