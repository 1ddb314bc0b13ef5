"""What a source holds, in short: for a user who has just written a profile.

Reads a few days and says what is there; it judges no row. `validation` does.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from itertools import pairwise

import polars as pl

from fraud_assets.transactions.canonical import (
    DerivedColumnError,
    MissingColumnError,
    event_time_expression,
)
from fraud_assets.transactions.columns import SOURCE_ROW
from fraud_assets.transactions.profile import Profile
from fraud_assets.transactions.sources.base import SourceError, TransactionSource


@dataclass(frozen=True)
class ColumnSeen:
    """A raw column over the days that were read."""

    dtype: str
    null_share: float
    examples: list[str]


@dataclass(frozen=True)
class DaySeen:
    """A day that was read; `outside` rows have an unreadable time or one of another day."""

    rows: int
    outside: int
    note: dict[str, int | str]


@dataclass(frozen=True)
class SourceDescription:
    """What `describe_source` found.

    `days` are the days that were read, `missing_days` the gaps between first and last day, and
    `problem` the profile's first misfit (a column that is not there), or None.
    """

    first_day: date
    last_day: date
    day_count: int
    missing_days: int
    days: dict[date, DaySeen]
    columns: dict[str, ColumnSeen]
    problem: str | None


def describe_source(
    source: TransactionSource, profile: Profile, limit: int = 7
) -> SourceDescription:
    """Read the first `limit` days of a source and say what they hold.

    Args:
        source: where the transactions come from.
        profile: says which column is the event time.
        limit: at most so many days are read, one in memory at a time.

    Raises:
        SourceError: the source cannot be read, or has no day yet.
    """
    if limit < 1:
        raise ValueError(f"limit is {limit}: at least one day has to be read")
    days = source.days()
    if not days:
        raise SourceError("the source has no day yet; put a day's transactions there first")
    seen: dict[date, DaySeen] = {}
    dtypes: dict[str, str] = {}
    nulls: dict[str, int] = {}
    rows: dict[str, int] = {}
    examples: dict[str, list[str]] = {}
    problem: str | None = None
    for day in days[:limit]:
        frame = source.read_day(day)
        raw = frame.drop(SOURCE_ROW)
        outside = 0
        try:
            event_day = frame.select(event_time_expression(profile, frame.schema).dt.date())
            outside = frame.height - int(event_day.to_series().eq(day).fill_null(value=False).sum())
        except (MissingColumnError, DerivedColumnError, pl.exceptions.PolarsError) as error:
            problem = problem or str(error)
        seen[day] = DaySeen(frame.height, outside, source.note(day))
        for column in raw.iter_columns():
            name = column.name
            dtypes.setdefault(name, str(column.dtype))
            nulls[name] = nulls.get(name, 0) + column.null_count()
            rows[name] = rows.get(name, 0) + column.len()
            if len(known := examples.setdefault(name, [])) < 3:
                fresh = column.drop_nulls().unique(maintain_order=True).head(3).to_list()
                known += [str(value) for value in fresh if str(value) not in known]
    columns = {
        name: ColumnSeen(dtype, nulls[name] / max(rows[name], 1), examples[name][:3])
        for name, dtype in dtypes.items()
    }
    missing = sum((later - earlier).days - 1 for earlier, later in pairwise(days))
    return SourceDescription(days[0], days[-1], len(days), missing, seen, columns, problem)
