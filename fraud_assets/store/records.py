"""Records of the serving process as rows of a table, many at once and each at most once.

A record is a struct whose fields are the table's columns; instants are its fields `…_us`, which
count microseconds since 1970 in UTC. What records there are belongs elsewhere (`answers`).
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec
from sqlalchemy import Connection, Date, Table, text
from sqlalchemy.dialects import postgresql

from fraud_assets.store.schema import UtcDateTime, answers, shadow_scores

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND: Final = timedelta(microseconds=1)

read_extras: Final = msgspec.json.Decoder(dict[str, float | str | None]).decode
read_reasons: Final = msgspec.json.Decoder(list[str]).decode
"""What JSON columns hold; whole numbers come back as the floats that they were."""


def insert_records(connection: Connection, table: Table, records: Iterable[msgspec.Struct]) -> int:
    """Add the records whose key is not there yet; returns how many rows that are.

    They go in in the order of the key, in which two who store the same ones at once cannot wait
    for each other.

    Args:
        connection: within a transaction.
        table: `answers` or `shadow_scores`.
        records: with a field for every column, no two with the same key.
    """
    rows = sorted(records, key=_transaction_id)
    if not rows:
        return 0
    if connection.dialect.name == "postgresql":
        content = msgspec.json.encode(rows).decode()
        return connection.execute(text(_POSTGRESQL[table.name]), {"rows": content}).rowcount
    return connection.exec_driver_sql(_SQLITE[table.name], [_as_text(row) for row in rows]).rowcount


def _transaction_id(record: Any) -> str:  # noqa: ANN401 - a struct that has one
    return str(record.transaction_id)


def _sqlite_statement(table: Table) -> str:
    names = table.columns.keys()
    values = ", ".join(f":{name}" for name in names)
    return f"INSERT INTO {table.name} ({', '.join(names)}) VALUES ({values}) ON CONFLICT DO NOTHING"  # noqa: S608  # nosec B608


def _postgresql_statement(table: Table) -> str:
    """One statement with all rows as one JSON text, which msgspec writes in no time.

    COPY into a temporary table and INSERT from that takes half as long again at 500 rows, and
    leaves dead rows in the server's catalogue with every batch (`benchmarks/store.py`).
    """
    dialect = postgresql.dialect()  # type: ignore[no-untyped-call]
    fields: dict[str, str] = {}
    values = []
    for column in table.columns:
        us = "event_time_us" if column.name == "day" else f"{column.name}_us"
        # Whole seconds by themselves: the server multiplies floats, which hold no more exactly.
        instant = (
            f"'epoch' + {us} / 1000000 * interval '1 second' "
            f"+ {us} % 1000000 * interval '1 microsecond'"
        )
        if isinstance(column.type, UtcDateTime):
            fields[us] = "bigint"
            values.append(f"timestamptz {instant}")
        elif isinstance(column.type, Date):
            fields[us] = "bigint"
            values.append(f"CAST(timestamp {instant} AS date)")
        else:
            fields[column.name] = column.type.compile(dialect)
            values.append(column.name)
    given = ", ".join(f"{name} {kind}" for name, kind in fields.items())
    return (
        f"INSERT INTO {table.name} ({', '.join(table.columns.keys())}) "  # noqa: S608  # nosec B608
        f"SELECT {', '.join(values)} FROM json_to_recordset(:rows) AS given ({given}) "
        "ON CONFLICT DO NOTHING"
    )


_SQLITE: Final = {table.name: _sqlite_statement(table) for table in (answers, shadow_scores)}
_POSTGRESQL: Final = {
    table.name: _postgresql_statement(table) for table in (answers, shadow_scores)
}


def _as_text(record: msgspec.Struct) -> dict[str, Any]:
    """The columns as SQLite holds them; its driver passes over the other keys."""
    values = msgspec.structs.asdict(record)
    event_time = _time_text(values["event_time_us"])
    values |= {
        "day": event_time[:10],
        "event_time": event_time,
        "scored_at": _time_text(values["scored_at_us"]),
    }
    for name, value in values.items():
        if isinstance(value, (dict, list)):
            values[name] = msgspec.json.encode(value).decode()
    return values


def _time_text(us: int) -> str:
    return (EPOCH + us * MICROSECOND).replace(tzinfo=None).isoformat(" ", "microseconds")
