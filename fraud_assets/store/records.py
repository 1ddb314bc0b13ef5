"""Records of the serving process as rows of a table, many at once and each at most once.

A record is a struct whose fields are the table's columns; instants are its fields `…_us`, which
count microseconds since 1970 in UTC. What records there are belongs elsewhere (`answers`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from operator import attrgetter
from typing import Any, Final

import msgspec
from sqlalchemy import JSON, Connection, Date, Table, text
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
    statement, values_of = _SQLITE[table.name]
    return connection.exec_driver_sql(statement, [values_of(row) for row in rows]).rowcount


def _transaction_id(record: Any) -> str:  # noqa: ANN401 - a struct that has one
    return str(record.transaction_id)


def _sqlite(table: Table) -> tuple[str, Callable[[Any], tuple[object, ...]]]:
    """A statement, and what gives its values for a record, in the order of its columns.

    By position and by attribute: with a dictionary for each row and parameters by name an insertion
    took a sixth longer, in a thread beside the event loop, which wants the interpreter too.
    """
    kinds = {column.name: column.type for column in table.columns}
    times = [name for name, kind in kinds.items() if isinstance(kind, UtcDateTime)]
    texts = [name for name, kind in kinds.items() if isinstance(kind, JSON)]
    plain = [name for name in kinds if name not in (*times, *texts, "day")]
    get_plain = attrgetter(*plain)
    get_times = [attrgetter(f"{name}_us") for name in times]
    get_texts = [attrgetter(name) for name in texts]

    def values_of(record: Any) -> tuple[object, ...]:  # noqa: ANN401 - a struct of the table
        day = (EPOCH + record.event_time_us * MICROSECOND).date().isoformat()
        instants = [_time_text(get(record)) for get in get_times]
        return (*get_plain(record), day, *instants, *(_json(get(record)) for get in get_texts))

    names = (*plain, "day", *times, *texts)
    marks = ", ".join("?" * len(names))
    statement = (
        f"INSERT INTO {table.name} ({', '.join(names)}) VALUES ({marks}) ON CONFLICT DO NOTHING"  # noqa: S608  # nosec B608
    )
    return statement, values_of


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode() if value else "{}" if value == {} else "[]"


def _postgresql_statement(table: Table) -> str:
    """One statement with all rows as one JSON text, which msgspec writes in no time.

    COPY into a temporary table and INSERT from that takes a fifth longer at 500 rows, and
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


_SQLITE: Final = {table.name: _sqlite(table) for table in (answers, shadow_scores)}
_POSTGRESQL: Final = {
    table.name: _postgresql_statement(table) for table in (answers, shadow_scores)
}


def _time_text(us: int) -> str:
    return (EPOCH + us * MICROSECOND).replace(tzinfo=None).isoformat(" ", "microseconds")
